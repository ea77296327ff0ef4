// A model as named tensors, whatever the file it came from. Dialects implement Checkpoint and CheckpointWriter; the model
// layer reads one and the pipeline writes one. Names, shapes and config are those of the Hugging Face checkpoint
// of the same model: a dialect that stores another naming or another order of rows translates.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/status.h"
#include "tensor/array.h"
#include "tensor/qtensor.h"

namespace nbl {

/// One stored tensor, for listing.
struct TensorInfo {
  std::string name;
  Shape shape;            ///< of the dequantized tensor
  std::string encoding;   ///< QTensor::description(), or a dtype name
  double bits = 0;        ///< stored bits per element
  int64_t group_size = 0;
  int64_t bytes = 0;      ///< as stored in the file
};

/// Const functions may be called from several threads at once.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  /// "huggingface", "native", "gguf", "llama2c", ...
  virtual std::string format() const = 0;
  /// Where it came from, for messages.
  virtual std::string origin() const = 0;
  /// The directory, or the files, that it is made of.
  virtual std::vector<std::string> sources() const { return {origin()}; }
  /// The Hugging Face config.json of the model (made up from metadata when the file has none).
  virtual const Json& config() const = 0;
  virtual std::vector<TensorInfo> tensors() const = 0;
  virtual bool has(std::string_view name) const = 0;

  /// A 2-D weight, by its Hugging Face parameter name with ".weight". Row-major dense files are packed on the way in; the
  /// native format maps. Validated. Dense floating-point weights keep their stored type.
  virtual Result<QTensor> matrix(std::string_view name) const = 0;
  /// The same weight where it lies, when the file keeps it as a plain row-major matrix of floating-point numbers: a reference, not
  /// a copy. Empty for every other; matrix() reads them all.
  virtual std::optional<Array> plain_matrix(std::string_view name) const {
    (void)name;
    return {};
  }
  /// Any tensor as a dense array (norm weights, biases, positions; 2-D ones as well, dequantized if need be).
  virtual Result<Array> array(std::string_view name) const = 0;

  /// Other files of the model: "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
  /// "manifest.json"...; a tokenizer carried in another form is given under "tokenizer.gguf" (a JSON document of its
  /// metadata) or "tokenizer.bin". Empty optional when there is none.
  virtual bool has_asset(std::string_view name) const = 0;
  virtual Result<std::string> asset(std::string_view name) const = 0;
  virtual std::vector<std::string> asset_names() const = 0;

  /// Things the reader noticed and decided (a zero-point convention, say).
  virtual std::vector<std::string> warnings() const { return {}; }
  /// Bytes of all the files it is made of.
  virtual int64_t file_bytes() const = 0;

  /// Compares everything with the hashes stored beside it. One sentence for each difference; unsupported when there are none
  /// to compare with.
  virtual Result<std::vector<std::string>> verify(const ProgressFn& progress = {}) const {
    (void)progress;
    return Status(Code::unsupported, origin() + ": a " + format() + " checkpoint carries no hashes");
  }
};

/// Writes one model: its config first, then tensor by tensor, in any order. Nothing is visible under the final name before finish() succeeded.
class CheckpointWriter {
 public:
  virtual ~CheckpointWriter() = default;
  virtual Status set_config(const Json& config) = 0;
  virtual Status add_asset(std::string_view name, std::string_view bytes) = 0;
  /// Code::unsupported when the format cannot hold these numbers; the writer is then as before the call.
  virtual Status add_matrix(std::string_view name, const QTensor& tensor) = 0;
  /// Whether a format may round what it stores changed (gguf stores some norm weights plus 1), instead of answering
  /// Code::unsupported. Off at first; for the calls that follow.
  virtual void set_rounding(bool allowed) { (void)allowed; }
  /// How many threads finish() may use; 1 at first.
  virtual void set_threads(int threads) { (void)threads; }
  virtual Status add_array(std::string_view name, const Array& array) = 0;
  /// What was done to make this model: stored beside the weights, with the tensors' hashes.
  virtual Status set_manifest(const Json& manifest) = 0;
  /// Completes the file and renames it into place. Returns the SHA-256 of its content in hexadecimal.
  virtual Result<std::string> finish() = 0;
};

}  // namespace nbl
