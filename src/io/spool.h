// Tensors on their way into a safetensors file. The header comes first in the file and needs every name and size, so
// what is finished is laid aside in an unnamed file on the same disk and copied in order at the end. That also makes
// the result the same whatever the order in which tensors came, and frees the space of each tensor as soon as it is in
// its place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "io/container.h"

namespace nbl::io {

class TensorSpool {
 public:
  struct Entry {
    SafetensorsWriter::Planned planned;
    int64_t offset = 0;  ///< in the spool
    std::string sha256;  ///< of the tensor's bytes, once write_file() has come to its Last
  };
  /// A tensor behind the others that says what they are: their hashes are known only when they have been written.
  struct Last {
    SafetensorsWriter::Planned planned;
    std::function<std::string()> make;  ///< its bytes, as many as planned
  };

  /// The unnamed file is made in `directory`, so that a full disk shows there.
  static Result<TensorSpool> create(const std::filesystem::path& directory);
  TensorSpool(TensorSpool&&) noexcept;
  TensorSpool& operator=(TensorSpool&&) noexcept;
  ~TensorSpool();

  /// The whole tensor. `bytes` is padded with zeros to a multiple of `pad` (1: not at all); a padded tensor must be of
  /// shape [bytes], which is corrected.
  Status add(std::string name, std::string type, Shape shape, std::span<const std::byte> bytes, int64_t pad = 1);

  const std::vector<Entry>& entries() const noexcept;

  /// Hands the bytes of one entry to `sink`, in pieces, and gives their space back: an entry can be read once.
  Status drain(std::size_t index, const std::function<Status(std::span<const std::byte>)>& sink);

  /// How many threads write_file() may use: with two, one copies and the other one hashes. 1 at first.
  void set_threads(int threads) noexcept;

  /// Writes the entries named by `order` (indices) to `file`, all or nothing, and returns the SHA-256 of the whole
  /// file. An entry can be written once: its space is given back. `last`: null, or what comes behind them.
  Result<std::string> write_file(const std::filesystem::path& file, std::span<const std::size_t> order,
                                 const std::map<std::string, std::string>& metadata, bool aligned, const Last* last = nullptr);

 private:
  struct State;
  explicit TensorSpool(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Compares names as people do: runs of digits by their value ("layers.2" before "layers.10").
bool natural_less(std::string_view a, std::string_view b) noexcept;

}  // namespace nbl::io
