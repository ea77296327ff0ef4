#include "text/unicode.h"

#include <utf8proc.h>

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

}  // namespace

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
