// SHA-256, for manifests and content hashes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace nbl {

/// FIPS 180-4. Incremental: update any number of times, then finish once.
class Sha256 {
 public:
  Sha256() noexcept;
  void update(std::span<const std::byte> bytes) noexcept;
  std::array<uint8_t, 32> finish() noexcept;
  /// finish() in lower-case hexadecimal, 64 characters.
  std::string finish_hex();

  /// a.update(bytes) and b.update(bytes), in little more time than one of them takes by x86's instructions when both stand at a
  /// multiple of 64 bytes.
  friend void update_both(Sha256& a, Sha256& b, std::span<const std::byte> bytes) noexcept;

 private:
  std::array<uint32_t, 8> h_;
  std::array<uint8_t, 64> pending_{};
  uint64_t length_ = 0;
};

void update_both(Sha256& a, Sha256& b, std::span<const std::byte> bytes) noexcept;

std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace nbl
