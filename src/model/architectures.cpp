#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "model/arch.h"

namespace nbl::model {

namespace arch {
#define NBL_ARCHITECTURE(name) extern const Architecture name;
#include "model/arch.inc"
#undef NBL_ARCHITECTURE
}  // namespace arch

namespace {

/// Insertions, deletions and substitutions that turn a into b.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string nearest_types(std::string_view wanted) {
  struct Candidate {
    std::size_t distance;
    std::string_view name;
  };
  std::vector<Candidate> all;
  for (const Architecture* a : architectures())
    for (std::string_view name : a->model_types) all.push_back({edit_distance(wanted, name), name});
  std::stable_sort(all.begin(), all.end(), [](const auto& x, const auto& y) { return x.distance < y.distance; });
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(all.size(), 3); ++i)
    text += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", all[i].name);
  return text;
}

}  // namespace

const TensorSpec* Architecture::find(Role role) const noexcept {
  for (const TensorSpec& spec : tensors)
    if (spec.role == role) return &spec;
  return nullptr;
}

std::span<const Architecture* const> architectures() {
  static const Architecture* const kAll[] = {
#define NBL_ARCHITECTURE(name) &arch::name,
#include "model/arch.inc"
#undef NBL_ARCHITECTURE
  };
  return kAll;
}

Result<const Architecture*> find_architecture(const Json& config, std::string_view origin) {
  const Json* type = config.find_value("model_type");
  if (type == nullptr || !type->is_string())
    return Status(Code::unsupported,
                  fmt::format("{}: config.json has no model_type, so its architecture is unknown", origin));
  // A model_type from a file may be any length; what is shown and compared is not.
  const std::string_view name = type->as_string().substr(0, 64);
  for (const Architecture* a : architectures())
    for (std::string_view known : a->model_types)
      if (known == type->as_string()) return a;
  return Status(Code::unsupported,
                fmt::format("{}: config.json's model_type \"{}\" is not implemented; the nearest known ones are {}",
                            origin, name, nearest_types(name)));
}

std::string tensor_name(const TensorSpec& spec, int64_t layer, std::string_view suffix) {
  std::string name(spec.pattern);
  if (const auto at = name.find("{l}"); at != std::string::npos) name.replace(at, 3, std::to_string(layer));
  if (!suffix.starts_with('.')) name += '.';
  return name.append(suffix);
}

Result<int64_t> dimension(std::string_view symbols, const Config& config) {
  int64_t total = 0;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i] == '+') continue;
    int64_t factor = 1;
    if (symbols[i] >= '0' && symbols[i] <= '9' && i + 1 < symbols.size()) factor = symbols[i++] - '0';
    int64_t value = 0;
    bool fits = true;
    switch (symbols[i]) {
      case 'V':
        value = config.vocab;
        break;
      case 'H':
        value = config.hidden;
        break;
      case 'F':
        value = config.ffn;
        break;
      case 'P':
        value = config.max_positions;
        break;
      case 'Q':
        fits = checked_mul(config.heads, config.head_dim, &value);
        break;
      case 'K':
        fits = checked_mul(config.kv_heads, config.head_dim, &value);
        break;
      default:
        return Status(Code::internal, fmt::format("unknown symbol in the shape \"{}\"", symbols));
    }
    if (!fits || !checked_mul(value, factor, &value) || !checked_add(total, value, &total))
      return Status(Code::corrupt, fmt::format("the dimension {} of this config does not fit 64 bits", symbols));
  }
  return total;
}

}  // namespace nbl::model
