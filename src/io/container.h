// Containers: files of named byte ranges (safetensors, GGUF), read without knowing what the names mean.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "io/file_source.h"
#include "tensor/array.h"

namespace nbl::io {

/// A tensor as it lies in a file.
struct RawTensor {
  std::string name;
  std::string type;  ///< the container's own type name: "BF16", "I32", "Q4_1"
  Shape shape;       ///< row-major, slowest dimension first
  Storage bytes;     ///< borrowed from the mapping; of a file that a function reads, the size alone (data() is null) until load()
  std::string file;  ///< which shard, for messages
  std::shared_ptr<const FileSource> source = nullptr;  ///< where load() reads, from `offset` on; null when there is nothing to load
  int64_t offset = 0;

  bool in_memory() const noexcept { return bytes.empty() || bytes.data() != nullptr; }
};

/// The tensor with its bytes in memory: as it is, or read now. Errors: those of reading, naming the tensor.
Result<RawTensor> load(const RawTensor& tensor);

class Container {
 public:
  virtual ~Container() = default;
  virtual std::string format() const = 0;  ///< "safetensors", "gguf"
  virtual std::string origin() const = 0;
  virtual const std::vector<RawTensor>& tensors() const = 0;
  virtual const RawTensor* find(std::string_view name) const = 0;
  /// safetensors: __metadata__ as an object of strings; GGUF: all key-values (typed arrays as arrays).
  virtual const Json& metadata() const = 0;
  virtual int64_t file_bytes() const = 0;
};

/// One .safetensors file, or a set of shards given by an index file. Every offset, size and name is checked before
/// anything is believed (formats: safetensors README).
Result<std::unique_ptr<Container>> open_safetensors(const std::filesystem::path& file);
Result<std::unique_ptr<Container>> open_safetensors_index(const std::filesystem::path& index);
/// Several files that together are one model and come without an index.
Result<std::unique_ptr<Container>> open_safetensors_files(std::span<const std::filesystem::path> files);

/// A GGUF file (version 2 or 3, little-endian), or the first of a split set.
Result<std::unique_ptr<Container>> open_gguf(const std::filesystem::path& file);

/// Floating-point RawTensors of either container as an Array (F64 is converted to f32; integers keep their type). Block
/// types of GGUF are not Arrays: the gguf dialect reads them.
Result<Array> to_array(const RawTensor& tensor);

/// Writes one safetensors file. Tensors lie in the order of the plan, without gaps. When `aligned`, the header is
/// padded with spaces so that the first starts on a 64-byte boundary of the file: tensors of whole 64-byte lines then
/// all do.
class SafetensorsWriter {
 public:
  struct Planned {
    std::string name;
    std::string type;  ///< "U8", "F32", ...
    Shape shape;
    int64_t bytes = 0;
  };
  /// Names, types and sizes must be known before the first byte is written.
  static Result<SafetensorsWriter> create(const std::filesystem::path& file, std::vector<Planned> plan,
                                          const std::map<std::string, std::string>& metadata, bool aligned);
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();
  /// In plan order, in pieces of any size; a tensor's pieces must add up to its planned bytes before the next begins.
  Status write(std::span<const std::byte> bytes);
  Status commit();

 private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// The bytes before the data of a safetensors file of this plan: length, JSON, padding to 8 or (aligned) 64 bytes.
Result<std::string> safetensors_header(const std::vector<SafetensorsWriter::Planned>& plan,
                                       const std::map<std::string, std::string>& metadata, bool aligned);

}  // namespace nbl::io
