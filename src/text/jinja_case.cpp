#include "text/jinja_case.h"

#include <utf8proc.h>

#include <cstdlib>
#include <new>

#include "base/foreign.h"
#include "text/jinja_value.h"
#include "text/utf8.h"

namespace nbl::text::jinja {
namespace {

utf8proc_category_t category(uint32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
bool cased(uint32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}
uint32_t to_upper(uint32_t c) { return static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
uint32_t to_lower(uint32_t c) { return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
uint32_t to_title(uint32_t c) { return static_cast<uint32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))); }

void append_upper(std::string& out, uint32_t c) {
  // The one letter of daily use whose upper case is two.
  if (c == 0xDF) {
    out += "SS";
  } else {
    append_utf8(out, to_upper(c));
  }
}

void append_lower(std::string& out, uint32_t c) {
  if (c == 0x130) {
    out += "i\xCC\x87";
  } else {
    append_utf8(out, to_lower(c));
  }
}

void append_title(std::string& out, uint32_t c) {
  if (c == 0xDF) {
    out += "Ss";
  } else {
    append_utf8(out, to_title(c));
  }
}

template <class Each>
std::string mapped(std::string_view text, Each&& each) {
  std::string out;
  out.reserve(text.size());
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) each(out, next_valid_utf8(p));
  return out;
}

template <class Each>
bool all(std::string_view text, Each&& each) {
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    if (!each(next_valid_utf8(p))) return false;
  }
  return !text.empty();
}

}  // namespace

std::string upper(std::string_view text) { return mapped(text, append_upper); }
std::string lower(std::string_view text) { return mapped(text, append_lower); }

std::string capitalize(std::string_view text) {
  bool first = true;
  return mapped(text, [&](std::string& out, uint32_t c) {
    if (std::exchange(first, false)) {
      append_title(out, c);
    } else {
      append_lower(out, c);
    }
  });
}

std::string title(std::string_view text) {
  bool inside = false;
  return mapped(text, [&](std::string& out, uint32_t c) {
    const bool letter = cased(c);
    if (letter && !inside) {
      append_title(out, c);
    } else {
      append_lower(out, c);
    }
    inside = letter;
  });
}

std::string swap_case(std::string_view text) {
  return mapped(text, [](std::string& out, uint32_t c) {
    if (category(c) == UTF8PROC_CATEGORY_LU) {
      append_lower(out, c);
    } else {
      append_upper(out, c);
    }
  });
}

std::string fold_case(std::string_view text) {
  utf8proc_uint8_t* folded = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                                 &folded, UTF8PROC_CASEFOLD);
  if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  if (size >= 0) filled_elsewhere(folded, static_cast<std::size_t>(size));
  std::string out = size < 0 ? lower(text) : std::string(reinterpret_cast<const char*>(folded), static_cast<std::size_t>(size));
  std::free(folded);
  return out;
}

bool is_upper(std::string_view text) {
  bool any = false;
  const bool none_lower = all(text, [&](uint32_t c) {
    any = any || category(c) == UTF8PROC_CATEGORY_LU;
    return category(c) != UTF8PROC_CATEGORY_LL && category(c) != UTF8PROC_CATEGORY_LT;
  });
  return none_lower && any;
}

bool is_lower(std::string_view text) {
  bool any = false;
  const bool none_upper = all(text, [&](uint32_t c) {
    any = any || category(c) == UTF8PROC_CATEGORY_LL;
    return category(c) != UTF8PROC_CATEGORY_LU && category(c) != UTF8PROC_CATEGORY_LT;
  });
  return none_upper && any;
}

bool is_alpha(std::string_view text) {
  return all(text, [](uint32_t c) {
    const auto k = category(c);
    return cased(c) || k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_LO;
  });
}

bool is_digit(std::string_view text) {
  return all(text, [](uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_ND || c == 0xB2 || c == 0xB3 || c == 0xB9 ||
           (c >= 0x2070 && c <= 0x2089 && c != 0x2071);
  });
}

bool is_decimal(std::string_view text) {
  return all(text, [](uint32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; });
}

bool is_numeric(std::string_view text) {
  return all(text, [](uint32_t c) {
    const auto k = category(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
  });
}

bool is_alnum(std::string_view text) {
  return all(text, [](uint32_t c) {
    const auto k = category(c);
    return cased(c) || k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_LO || k == UTF8PROC_CATEGORY_ND ||
           k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
  });
}

bool is_space(std::string_view text) { return all(text, is_space_char); }

bool is_title(std::string_view text) {
  bool inside = false, any = false;
  const bool ordered = all(text, [&](uint32_t c) {
    const bool begins = category(c) == UTF8PROC_CATEGORY_LU || category(c) == UTF8PROC_CATEGORY_LT;
    const bool letter = cased(c), right = !letter || begins != inside;
    inside = letter;
    any = any || letter;
    return right;
  });
  return ordered && any;
}

}  // namespace nbl::text::jinja
