// What every fuzz target stands on: bytes as a file, a budget that keeps one input cheap, and use of what was opened. A target
// is one file here, defines LLVMFuzzerTestOneInput, and is linked with libFuzzer (preset fuzz) or with replay.cpp, which
// runs the seeds and mutations of them as an ordinary test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tensor/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace nbl::fuzz {

/// A folder in memory that is removed with this object. Files are overwritten by name.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path put(std::string_view name, std::string_view bytes) const;
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

/// The process's one folder for this target's files.
const Folder& folder();

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A failure must say something: an empty message is a bug. Returns whether it was one.
inline bool failed(const Status& status) {
  if (status.ok()) return false;
  if (status.message().empty()) std::abort();
  return true;
}
template <class T>
bool failed(const Result<T>& result) {
  return !result.ok() && failed(result.status());
}

/// Lists the tensors of a checkpoint, reads each as matrix and as array, a row of each, its assets and warnings. Stops
/// after what would be more than `budget` elements.
void use(const Checkpoint& checkpoint, int64_t budget = int64_t{1} << 20);
/// A vocabulary as a model's files by name (tokenizer.json, tokenizer_config.json, tokenizer.model, tokenizer.gguf, tokenizer.bin): loads it
/// and its chat templates, and makes the GGUF metadata and the tokenizer.json that an export would write of it.
void use_vocabulary(const std::map<std::string, std::string, std::less<>>& files);
/// dialects::open() and use().
void open_and_use(const std::filesystem::path& path);

}  // namespace nbl::fuzz
