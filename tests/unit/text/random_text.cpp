#include "unit/text/random_text.h"

#include <string_view>

#include "text/utf8.h"

namespace nbl::text::testing {
namespace {

struct CharRange {
  uint32_t first;
  uint32_t last;
};

constexpr CharRange kRanges[] = {
    {0x20, 0x7E},       {0x61, 0x7A},       {0x61, 0x7A},       {0x41, 0x5A},       {0x30, 0x39},
    {0x21, 0x2F},       {0x00, 0x1F},       {0xA0, 0xFF},       {0x100, 0x24F},     {0x2B0, 0x36F},
    {0x370, 0x3FF},     {0x400, 0x4FF},     {0x590, 0x6FF},     {0x900, 0x97F},     {0xE00, 0xE7F},
    {0x1100, 0x11FF},   {0x1E00, 0x1FFF},   {0x2000, 0x206F},   {0x2070, 0x218F},   {0x2190, 0x2BFF},
    {0x3000, 0x30FF},   {0x4E00, 0x9FFF},   {0xAC00, 0xD7A3},   {0xE000, 0xE0FF},   {0xFB00, 0xFDFF},
    {0xFE00, 0xFFFD},   {0x10000, 0x107FF}, {0x1D400, 0x1D7FF}, {0x1F300, 0x1FAFF}, {0x20000, 0x2A6DF},
    {0xE0000, 0xE01EF},
};

using std::string_view_literals::operator""sv;

constexpr std::string_view kBits[] = {
    " "sv,
    "  "sv,
    "   "sv,
    "\n"sv,
    "\n\n"sv,
    "\t"sv,
    "\r\n"sv,
    " \n"sv,
    "\u00a0"sv,
    "\u3000"sv,
    "'s"sv,
    "'t"sv,
    "'re"sv,
    "'ve"sv,
    "'m"sv,
    "'ll"sv,
    "'d"sv,
    "'S"sv,
    "'LL"sv,
    "'Re"sv,
    "\u2019s"sv,
    "the"sv,
    " the"sv,
    "and "sv,
    " of"sv,
    "ing"sv,
    "Hello"sv,
    " world"sv,
    "123"sv,
    "1999"sv,
    " 42"sv,
    "3.14"sv,
    "0x1F"sv,
    "def "sv,
    "return "sv,
    "():"sv,
    "{"sv,
    "}"sv,
    "=="sv,
    "!="sv,
    "..."sv,
    "--"sv,
    "<s>"sv,
    "</s>"sv,
    "<|endoftext|>"sv,
    "<|im_start|>"sv,
    "<unk>"sv,
    "<0x0A>"sv,
    "\u2581"sv,
    "\u2581\u2581"sv,
    "e\u0301"sv,
    "\u212b"sv,
    "\ufb01"sv,
    "\u00df"sv,
    "\u0130"sv,
    "\u017f"sv,
    "'\u017f"sv,
    "\U0001f469\u200d\U0001f680"sv,
    "\u4f60\u597d"sv,
    "\u0417\u0434"sv,
    "\ufffd"sv,
    "\ufeff"sv,
    "\0"sv,
    "\xC2\x85"sv,
    "\u180e"sv,
    "\u200b"sv,
    "http://"sv,
    "@"sv,
    "#"sv,
    "a_b"sv,
    "CamelCase"sv,
    "na\u00efve"sv,
    "\u0130"sv,
};

}  // namespace

std::string random_text(SplitMix& rng) {
  std::string out;
  const uint64_t parts = 1 + rng.below(24);
  for (uint64_t i = 0; i < parts; ++i) {
    const uint64_t kind = rng.below(4);
    if (kind == 0) {
      out += kBits[rng.below(std::size(kBits))];
    } else if (kind == 1 && rng.below(8) == 0) {
      auto c = static_cast<uint32_t>(rng.below(0x110000));
      if (c >= 0xD800 && c < 0xE000) c = 0xFFFD;
      append_utf8(out, c);
    } else if (kind <= 2) {
      const CharRange range = kRanges[rng.below(std::size(kRanges))];
      const uint64_t n = 1 + rng.below(4);
      for (uint64_t j = 0; j < n; ++j) {
        append_utf8(out, static_cast<uint32_t>(range.first + rng.below(range.last - range.first + 1)));
      }
    } else {
      const uint64_t n = 1 + rng.below(9);
      for (uint64_t j = 0; j < n; ++j) out.push_back(static_cast<char>(0x61 + rng.below(26)));
      if (rng.below(2)) out.push_back(' ');
    }
  }
  return out;
}

}  // namespace nbl::text::testing
