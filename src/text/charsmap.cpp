#include "text/charsmap.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <cstring>
#include <optional>
#include <vector>

#include "base/bounds.h"
#include "text/growth.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

constexpr BoundOf<std::size_t> kMaxRaw{Bound::charsmap_bytes};
constexpr std::size_t kMaxReplacement = 4096;

class Charsmap final : public Normalizer {
 public:
  Charsmap(std::vector<uint32_t> units, std::string replacements, bool by_grapheme)
      : units_(std::move(units)), replacements_(std::move(replacements)), by_grapheme_(by_grapheme) {}

  Status apply(std::string& text) const override {
    if (units_.empty()) return {};
    std::string out;
    out.reserve(text.size());
    const std::size_t most = most_grown(text.size(), kSequenceGrowth);  // a ligature of 3 bytes may stand for 33
    if (by_grapheme_) {
      apply_by_grapheme(text, out, most);
    } else {
      for (std::size_t at = 0; at < text.size() && out.size() <= most;) {
        const std::string_view rest = std::string_view(text).substr(at);
        std::size_t length = 0;
        const auto found = find(rest, true, &length);
        if (found) {
          out += *found;
          at += length;
        } else {
          const std::size_t n = utf8_length(text[at]);
          out += rest.substr(0, n);
          at += n;
        }
      }
    }
    if (out.size() > most) return grown_too_long(text.size(), kSequenceGrowth);
    text = std::move(out);
    return {};
  }

 private:
  void apply_by_grapheme(std::string_view text, std::string& out, std::size_t most) const {
    for (std::size_t at = 0; at < text.size() && out.size() <= most;) {
      const std::size_t end = grapheme_end(text, at);
      const std::string_view grapheme = text.substr(at, end - at);
      at = end;
      std::size_t unused;
      if (grapheme.size() < 6) {
        if (const auto found = find(grapheme, false, &unused)) {
          out += *found;
          continue;
        }
      }
      for (std::size_t i = 0; i < grapheme.size();) {
        const std::size_t n = utf8_length(grapheme[i]);
        const std::string_view one = grapheme.substr(i, n);
        i += n;
        const auto found = find(one, false, &unused);
        out += found ? *found : one;
      }
    }
  }

  static std::size_t grapheme_end(std::string_view text, std::size_t at) {
    const char* p = text.data() + at;
    const char* const end = text.data() + text.size();
    uint32_t before = next_valid_utf8(p);
    utf8proc_int32_t state = 0;
    while (p < end) {
      const char* q = p;
      const uint32_t c = next_valid_utf8(q);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before), static_cast<utf8proc_int32_t>(c),
                                           &state))
        break;
      before = c;
      p = q;
    }
    return static_cast<std::size_t>(p - text.data());
  }

  // The replacement of the shortest or longest entry that the text begins with.
  std::optional<std::string_view> find(std::string_view text, bool longest, std::size_t* length) const {
    std::optional<std::string_view> best;
    std::size_t node = offset(units_[0]);
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (byte == 0) break;
      node ^= byte;
      if (node >= units_.size()) break;
      const uint32_t unit = units_[node];
      if ((unit & ((1U << 31) | 0xFF)) != byte) break;
      node ^= offset(unit);
      if (node >= units_.size()) break;
      if ((unit >> 8) & 1) {
        const std::size_t at = units_[node] & 0x7FFFFFFF;
        if (at >= replacements_.size()) break;
        const std::string_view part = std::string_view(replacements_).substr(at, kMaxReplacement);
        best = part.substr(0, part.find('\0'));
        *length = i + 1;
        if (!longest) break;
      }
    }
    return best;
  }
  static std::size_t offset(uint32_t unit) noexcept { return std::size_t{unit >> 10} << ((unit & (1U << 9)) >> 6); }

  std::vector<uint32_t> units_;
  std::string replacements_;
  bool by_grapheme_;
};

}  // namespace

Result<std::string> decode_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    uint32_t value;
    if (c >= 'A' && c <= 'Z') {
      value = static_cast<uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      value = static_cast<uint32_t>(c - 'a' + 26);
    } else if (c >= '0' && c <= '9') {
      value = static_cast<uint32_t>(c - '0' + 52);
    } else if (c == '+') {
      value = 62;
    } else if (c == '/') {
      value = 63;
    } else {
      return Status(Code::corrupt, "a precompiled_charsmap is not base64");
    }
    bits = (bits << 6) | value;
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>((bits >> count) & 0xFF));
    }
  }
  return out;
}

Result<std::unique_ptr<Normalizer>> make_charsmap_normalizer(std::string_view raw, bool by_grapheme) {
  if (raw.empty())
    return std::unique_ptr<Normalizer>(std::make_unique<Charsmap>(std::vector<uint32_t>(), "", by_grapheme));
  if (raw.size() > kMaxRaw) return Status(Code::limit, fmt::format("a precompiled_charsmap has {} bytes", raw.size()));
  uint32_t bytes = 0;
  if (raw.size() < sizeof(bytes)) return Status(Code::corrupt, "a precompiled_charsmap is shorter than its size");
  std::memcpy(&bytes, raw.data(), sizeof(bytes));
  if (bytes < 4 || bytes % 4 != 0 || bytes > raw.size() - sizeof(bytes)) {
    return Status(Code::corrupt, fmt::format("a precompiled_charsmap of {} bytes says that {} of them are its trie",
                                             raw.size(), bytes));
  }
  std::vector<uint32_t> units(bytes / 4);
  std::memcpy(units.data(), raw.data() + sizeof(bytes), bytes);
  return std::unique_ptr<Normalizer>(
      std::make_unique<Charsmap>(std::move(units), std::string(raw.substr(sizeof(bytes) + bytes)), by_grapheme));
}

}  // namespace nbl::text
