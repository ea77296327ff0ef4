// What kind of character a code point is, as the tokenizers' regular expressions see it (Unicode 16).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace nbl::text {

enum CharClass : uint16_t {
  kLetter = 1 << 0,       ///< general category L*
  kNumber = 1 << 1,       ///< N*
  kSpace = 1 << 2,        ///< the White_Space property: \s
  kMark = 1 << 3,         ///< M*
  kPunctuation = 1 << 4,  ///< P*
  kSymbol = 1 << 5,       ///< S*
  kUpper = 1 << 6,        ///< Lu, Lt
  kLower = 1 << 7,        ///< Ll
  kDigit = 1 << 8,        ///< Nd
  kConnector = 1 << 9,    ///< Pc
  kControl = 1 << 10,     ///< C*
  kNewer = 1 << 11,       ///< unknown to the older Unicode data of the regular expression library
};

/// Class bits of every code point, built once.
class CharTable {
 public:
  static const CharTable& get();
  uint16_t operator[](uint32_t code_point) const noexcept {
    return code_point < 0x110000 ? blocks_[index_[code_point >> 7]][code_point & 127] : 0;
  }
  /// The first 128, for scanning ASCII.
  const uint16_t* ascii() const noexcept { return blocks_[index_[0]].data(); }

 private:
  CharTable();
  std::array<uint16_t, 0x110000 / 128> index_{};
  std::vector<std::array<uint16_t, 128>> blocks_;
};

/// Numbers that Unicode 17 brought: unknown to the regular expressions, known to what splits digits.
constexpr bool is_newest_number(uint32_t c) noexcept {
  return (c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6);
}

/// \w: letters, marks, decimal digits, connectors.
inline bool is_word_class(uint16_t bits) noexcept { return (bits & (kLetter | kMark | kDigit | kConnector)) != 0; }

/// The same for one character.
inline bool is_regex_word(uint32_t, uint16_t bits) noexcept { return is_word_class(bits); }

}  // namespace nbl::text
