#include "text/char_table.h"

#include <utf8proc.h>

#include <algorithm>
#include <map>

namespace nbl::text {
namespace {

uint16_t class_of_category(int category) noexcept {
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return kLetter | kUpper;
    case UTF8PROC_CATEGORY_LL:
      return kLetter | kLower;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMark;
    case UTF8PROC_CATEGORY_ND:
      return kNumber | kDigit;
    case UTF8PROC_CATEGORY_NL:
      return kNumber | kLetterNumber;
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    case UTF8PROC_CATEGORY_PC:
      return kPunctuation | kConnector;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return kSymbol;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return kSpace;
    default:
      return kControl;
  }
}

struct Addition {
  uint32_t first;
  uint32_t last;
  int category;
};

constexpr Addition kAdditions[] = {
#define NBL_UNICODE(first, last, category) {first, last, category},
#include "text/unicode_additions.inc"
#undef NBL_UNICODE
};

struct CodeRange {
  uint32_t first;
  uint32_t last;
};
struct LowerRange {
  uint32_t first;
  uint32_t last;
  int32_t difference;
};

#include "text/unicode_sets.inc"

template <class Range, std::size_t N>
const Range* find_range(const Range (&ranges)[N], uint32_t c) noexcept {
  const Range* const end = ranges + N;
  const Range* const r =
      std::lower_bound(ranges, end, c, [](const Range& a, uint32_t value) { return a.last < value; });
  return r != end && r->first <= c ? r : nullptr;
}

}  // namespace

bool is_split_punctuation(uint32_t c) noexcept { return find_range(kPunctuationSet, c) != nullptr; }
bool is_stripped_mark(uint32_t c) noexcept { return find_range(kStrippedMarks, c) != nullptr; }
bool is_bert_mark(uint32_t c) noexcept { return find_range(kBertMarks, c) != nullptr; }
bool is_undecomposed(uint32_t c) noexcept { return find_range(kUndecomposed, c) != nullptr; }

uint32_t lower_case(uint32_t c) noexcept {
  if (const LowerRange* r = find_range(kLowerAdditions, c))
    return static_cast<uint32_t>(static_cast<int32_t>(c) + r->difference);
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

CharTable::CharTable() {
  std::map<std::array<uint16_t, 128>, uint16_t> seen;
  const Addition* addition = kAdditions;
  const Addition* const end = kAdditions + std::size(kAdditions);
  for (uint32_t b = 0; b < index_.size(); ++b) {
    std::array<uint16_t, 128> block;
    for (uint32_t i = 0; i < 128; ++i) {
      const uint32_t c = b * 128 + i;
      while (addition != end && addition->last < c) ++addition;
      if (addition != end && addition->first <= c) {
        block[i] = static_cast<uint16_t>(class_of_category(addition->category) | kNewer);
      } else {
        block[i] = class_of_category(utf8proc_category(static_cast<utf8proc_int32_t>(c)));
      }
      // White_Space is category Z and these controls.
      if ((c >= 0x09 && c <= 0x0D) || c == 0x85) block[i] = static_cast<uint16_t>(block[i] | kSpace);
    }
    const auto [it, fresh] = seen.try_emplace(block, static_cast<uint16_t>(blocks_.size()));
    if (fresh) blocks_.push_back(block);
    index_[b] = it->second;
  }
}

const CharTable& CharTable::get() {
  static const CharTable table;
  return table;
}

}  // namespace nbl::text
