#include "base/hash.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/sha256_blocks.h"

namespace nbl {
namespace {

inline uint32_t load_be(const uint8_t* p) noexcept {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_bswap32(v);
}

void one_block(uint32_t* state, const uint8_t* p) noexcept {
  static_assert(std::endian::native == std::endian::little);
  uint32_t w[64];
  for (int i = 0; i < 16; ++i) w[i] = load_be(p + 4 * i);
  for (int i = 16; i < 64; ++i) {
    const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
  // One round in place: the eight names rotate through the arguments instead of moving through the registers.
  const auto round = [&w](int i, uint32_t ra, uint32_t rb, uint32_t rc, uint32_t& rd, uint32_t re, uint32_t rf,
                          uint32_t rg, uint32_t& rh) {
    const uint32_t s1 = std::rotr(re, 6) ^ std::rotr(re, 11) ^ std::rotr(re, 25);
    const uint32_t t1 = rh + s1 + (rg ^ (re & (rf ^ rg))) + kSha256Rounds[i] + w[i];
    const uint32_t s0 = std::rotr(ra, 2) ^ std::rotr(ra, 13) ^ std::rotr(ra, 22);
    rd += t1;
    rh = t1 + s0 + ((ra & rb) | (rc & (ra | rb)));
  };
  for (int i = 0; i < 64; i += 8) {
    round(i + 0, a, b, c, d, e, f, g, h);
    round(i + 1, h, a, b, c, d, e, f, g);
    round(i + 2, g, h, a, b, c, d, e, f);
    round(i + 3, f, g, h, a, b, c, d, e);
    round(i + 4, e, f, g, h, a, b, c, d);
    round(i + 5, d, e, f, g, h, a, b, c);
    round(i + 6, c, d, e, f, g, h, a, b);
    round(i + 7, b, c, d, e, f, g, h, a);
  }
  const uint32_t sum[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state[i] += sum[i];
}

Sha256Blocks chosen_blocks() noexcept {
  static const Sha256Blocks blocks = [] {
    const Sha256Blocks native = sha256_blocks_native();
    return native != nullptr ? native : &sha256_blocks_scalar;
  }();
  return blocks;
}

}  // namespace

void sha256_blocks_scalar(uint32_t* h, const uint8_t* p, size_t count) noexcept {
  for (; count != 0; --count, p += 64) one_block(h, p);
}

Sha256Blocks sha256_blocks_native() noexcept {
  if (!cpu_has_sha256()) return nullptr;
#if defined(__x86_64__)
  return &sha256_blocks_x86;
#elif defined(__aarch64__)
  return &sha256_blocks_arm;
#else
  return nullptr;
#endif
}

Sha256::Sha256() noexcept
    : h_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::update(std::span<const std::byte> bytes) noexcept {
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  std::size_t n = bytes.size();
  if (n == 0) return;  // p may be null then
  const std::size_t held = length_ % 64;
  length_ += n;
  if (held != 0) {
    const std::size_t take = std::min(n, 64 - held);
    std::memcpy(pending_.data() + held, p, take);
    p += take;
    n -= take;
    if (held + take < 64) return;
    chosen_blocks()(h_.data(), pending_.data(), 1);
  }
  if (n >= 64) {
    chosen_blocks()(h_.data(), p, n / 64);
    p += n / 64 * 64;
    n %= 64;
  }
  if (n != 0) std::memcpy(pending_.data(), p, n);
}

void update_both(Sha256& a, Sha256& b, std::span<const std::byte> bytes) noexcept {
#if defined(__x86_64__)
  static const bool native = cpu_has_sha256();
  const std::size_t whole = bytes.size() / 64 * 64;
  if (native && whole > 0 && a.length_ % 64 == 0 && b.length_ % 64 == 0) {
    sha256_blocks_pair_x86(a.h_.data(), b.h_.data(), reinterpret_cast<const uint8_t*>(bytes.data()), whole / 64);
    a.length_ += whole;
    b.length_ += whole;
    bytes = bytes.subspan(whole);
  }
#endif
  a.update(bytes);
  b.update(bytes);
}

std::array<uint8_t, 32> Sha256::finish() noexcept {
  const uint64_t bits = length_ * 8;
  std::size_t held = length_ % 64;
  pending_[held++] = 0x80;
  if (held > 56) {
    std::fill(pending_.begin() + static_cast<std::ptrdiff_t>(held), pending_.end(), uint8_t{0});
    chosen_blocks()(h_.data(), pending_.data(), 1);
    held = 0;
  }
  std::fill(pending_.begin() + static_cast<std::ptrdiff_t>(held), pending_.begin() + 56, uint8_t{0});
  for (std::size_t i = 0; i < 8; ++i) pending_[56 + i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  chosen_blocks()(h_.data(), pending_.data(), 1);
  std::array<uint8_t, 32> out;
  for (std::size_t i = 0; i < 32; ++i) out[i] = static_cast<uint8_t>(h_[i / 4] >> (24 - 8 * (i % 4)));
  return out;
}

std::string Sha256::finish_hex() {
  std::string hex;
  hex.reserve(64);
  for (const uint8_t byte : finish()) {
    hex.push_back("0123456789abcdef"[byte >> 4]);
    hex.push_back("0123456789abcdef"[byte & 15]);
  }
  return hex;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 h;
  h.update(bytes);
  return h.finish_hex();
}

}  // namespace nbl
