// What kind of character a code point is, as the tokenizers' regular expressions see it (Unicode 16).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace nbl::text {

enum CharClass : uint16_t {
  kLetter = 1 << 0,         ///< general category L*
  kNumber = 1 << 1,         ///< N*
  kSpace = 1 << 2,          ///< the White_Space property: \s
  kMark = 1 << 3,           ///< M*
  kPunctuation = 1 << 4,    ///< P*
  kSymbol = 1 << 5,         ///< S*
  kUpper = 1 << 6,          ///< Lu, Lt
  kLower = 1 << 7,          ///< Ll
  kDigit = 1 << 8,          ///< Nd
  kConnector = 1 << 9,      ///< Pc
  kControl = 1 << 10,       ///< C*
  kLetterNumber = 1 << 11,  ///< Nl
  kNewer = 1 << 12,         ///< unknown to the older Unicode data of the regular expression library
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

/// \w: letters (circled ones too), marks, decimal digits, letter-like numbers, connectors, joiners.
inline bool is_word_char(uint32_t c, uint16_t bits) noexcept {
  return (bits & (kLetter | kMark | kDigit | kLetterNumber | kConnector)) != 0 || (c >= 0x24B6 && c <= 0x24E9) ||
         (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189) ||
         c == 0x200C || c == 0x200D;
}

// Sets that follow other editions of the character database, as the `tokenizers` library does.
bool is_split_punctuation(uint32_t c) noexcept;  ///< Punctuation and BertPreTokenizer
bool is_stripped_mark(uint32_t c) noexcept;      ///< StripAccents
bool is_bert_mark(uint32_t c) noexcept;          ///< BertNormalizer's accents
bool is_undecomposed(uint32_t c) noexcept;       ///< not touched by NFKC and NFKD
/// The lower case of one character; U+0130's is two characters and the caller's business.
uint32_t lower_case(uint32_t c) noexcept;

}  // namespace nbl::text
