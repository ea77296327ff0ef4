#include "text/byte_level.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace nbl::text {
namespace {

struct Tables {
  std::array<uint16_t, 256> to{};
  std::array<int16_t, 0x144> from{};
  constexpr Tables() {
    from.fill(-1);
    uint16_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      to[static_cast<std::size_t>(b)] = printable ? static_cast<uint16_t>(b) : next++;
      from[to[static_cast<std::size_t>(b)]] = static_cast<int16_t>(b);
    }
  }
};
constexpr Tables kTables;

}  // namespace

uint32_t byte_level_char(unsigned char byte) noexcept { return kTables.to[byte]; }

void append_byte_level(std::string& out, std::string_view bytes) {
  for (const char c : bytes) append_utf8(out, kTables.to[static_cast<unsigned char>(c)]);
}

std::optional<std::string> from_byte_level(std::string_view piece) {
  std::string out;
  out.reserve(piece.size());
  while (!piece.empty()) {
    const DecodedChar c = decode_utf8(piece);
    if (!c.valid || c.value >= kTables.from.size() || kTables.from[c.value] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kTables.from[c.value]));
    piece.remove_prefix(c.length);
  }
  return out;
}

}  // namespace nbl::text
