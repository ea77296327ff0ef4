// A Hugging Face directory: config.json, safetensors, tokenizer files. Dense checkpoints and all the quantized ones
// that are such directories stand on this.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "io/container.h"
#include "tensor/checkpoint.h"

namespace nbl::dialects {

/// What lies in the directory, tensors under the names that the current Hugging Face classes give them.
class HfDirectory {
 public:
  static Result<std::unique_ptr<HfDirectory>> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept { return path_; }
  std::string origin() const { return path_.string(); }
  const Json& config() const noexcept { return base_ != nullptr ? base_->config() : config_; }
  /// quantization_config of config.json, or the content of quantize_config.json / quant_config.json; null when
  /// unquantized.
  const Json& quantization() const noexcept { return base_ != nullptr ? base_->quantization() : quantization_; }
  /// Which file quantization() came from.
  const std::string& quantization_origin() const noexcept { return quantization_origin_; }

  /// The same directory with the bytes of these tensors (names that it lacks are skipped) in memory: itself, or where a function reads
  /// its files an overlay that has read them, for as long as that lives.
  Result<std::shared_ptr<const HfDirectory>> with_loaded(std::span<const std::string> names) const;

  const io::RawTensor* find(std::string_view name) const;
  /// find(), or an error that names the tensor.
  Result<const io::RawTensor*> get(std::string_view name) const;
  /// Canonical name -> tensor, sorted.
  const std::map<std::string, const io::RawTensor*, std::less<>>& tensors() const noexcept {
    return base_ != nullptr ? base_->tensors() : tensors_;
  }

  bool has_asset(std::string_view name) const;
  Result<std::string> asset(std::string_view name) const;
  std::vector<std::string> asset_names() const;
  int64_t file_bytes() const noexcept { return container_->file_bytes(); }
  std::vector<std::string> warnings;

 private:
  Status read_configs();
  Status read_tensors();

  std::filesystem::path path_;
  Json config_, quantization_;
  std::string quantization_origin_;
  std::unique_ptr<io::Container> container_;
  std::map<std::string, const io::RawTensor*, std::less<>> tensors_;  ///< of an overlay: what it has read
  const HfDirectory* base_ = nullptr;  ///< of an overlay
  std::deque<io::RawTensor> loaded_;
};

/// Whether `path` is a directory of config.json and safetensors.
bool is_hf_directory(const std::filesystem::path& path);
/// quant_method of a directory's configuration without opening its tensors; empty when there is none.
std::string hf_quant_method(const std::filesystem::path& path);

/// A module's weight in some packed form: what a quantized dialect adds to a directory.
struct PackedModule {
  std::vector<std::string> consumed;  ///< canonical names of the tensors it is made of
  TensorInfo info;                    ///< name is "<module>.weight"
};

class Packing {
 public:
  virtual ~Packing() = default;
  /// Finds all packed modules of the directory: "<module>.weight" -> what it is made of. Checks shapes and types, reads at
  /// most samples of the weights, after with_loaded(). What it noticed and decided goes into the directory's warnings.
  virtual Result<std::map<std::string, PackedModule, std::less<>>> modules(HfDirectory& directory) = 0;
  /// The weight of one of them, whose tensors (`consumed`) are in memory. Called from several threads.
  virtual Result<QTensor> read(const HfDirectory& directory, std::string_view name) const = 0;
};

/// A Checkpoint over a directory. `packing` may be null: then all is dense.
Result<std::unique_ptr<Checkpoint>> make_hf_checkpoint(std::string format, std::unique_ptr<HfDirectory> directory,
                                                       std::unique_ptr<Packing> packing);

}  // namespace nbl::dialects
