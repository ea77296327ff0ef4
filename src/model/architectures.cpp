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

const TensorSpec* Architecture::find(Role role, const Config& config) const noexcept {
  for (const TensorSpec& spec : tensors)
    if (spec.role == role && (spec.when & ~config.variant) == 0) return &spec;
  return nullptr;
}

bool has_tensor(const TensorSpec& spec, const Config& config, int64_t layer) noexcept {
  if ((spec.when & ~config.variant) != 0) return false;
  if (!is_layer_role(spec.role)) return true;
  const bool experts = config.layer[static_cast<std::size_t>(layer)].experts;
  switch (spec.role) {
    case Role::gate:
    case Role::up:
    case Role::gate_up:
    case Role::down:
      return !experts;
    case Role::router:
    case Role::router_bias:
    case Role::expert_gate:
    case Role::expert_up:
    case Role::expert_down:
      return experts;
    case Role::shared_gate:
    case Role::shared_up:
    case Role::shared_down:
    case Role::shared_router:
      return experts && config.experts.shared_ffn > 0;
    default:
      return true;
  }
}

std::vector<InputGroup> layer_groups(const Architecture& arch, const Config& config, int64_t layer) {
  std::vector<InputGroup> groups;
  for (const InputGroup& group : arch.groups) {
    if ((group.when & ~config.variant) != 0) continue;
    InputGroup here = group;
    here.linears.clear();
    bool experts = false;
    for (const Part& part : group.linears) {
      const TensorSpec* spec = arch.find(part.role, config);
      if (spec == nullptr || !has_tensor(*spec, config, layer)) continue;
      here.linears.push_back(part);
      experts = experts || is_expert_role(part.role);
    }
    if (here.linears.empty()) continue;
    // Clamping stands between the values and what reads them: scales do not pass it.
    const Role producer = here.producer_role.role;
    if (config.clip_qkv > 0 && (producer == Role::v || producer == Role::qkv)) here.producer = InputGroup::Producer::none;
    if (here.producer == InputGroup::Producer::norm) {
      const TensorSpec* norm = arch.find(producer, config);
      if (norm == nullptr || norm->pattern.empty()) here.producer = InputGroup::Producer::none;
    }
    if (!experts) {
      groups.push_back(std::move(here));
      continue;
    }
    for (int32_t e = 0; e < config.experts.count; ++e) {
      InputGroup one = here;
      for (Part& part : one.linears) part.expert = e;
      if (is_expert_role(producer)) one.producer_role.expert = e;
      groups.push_back(std::move(one));
    }
  }
  // In the order of their inputs on the way through the layer: an expert's two together.
  const auto rank = [](const InputGroup& group) {
    std::pair<int, int32_t> first{100, 0};
    for (const Part& part : group.linears) {
      const bool down = part.role == Role::expert_down;
      const int at = part.role < Role::kv_up                      ? 0
                     : part.role == Role::kv_up                   ? 2
                     : part.role == Role::attn_out                ? 3
                     : part.role == Role::down                    ? 5
                     : is_expert_role(part.role)                  ? 6
                     : part.role == Role::shared_down             ? 8
                     : part.role > Role::expert_down              ? 7
                                                                  : 4;
      first = std::min(first, std::pair{at, 2 * part.expert + (down ? 1 : 0)});
    }
    if (first.first == 0 && group.producer_role.role == Role::q_latent_norm) first.first = 1;
    return first;
  };
  std::stable_sort(groups.begin(), groups.end(),
                   [&](const InputGroup& a, const InputGroup& b) { return rank(a) < rank(b); });
  return groups;
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

std::string tensor_name(const TensorSpec& spec, int64_t layer, std::string_view suffix, int32_t expert) {
  std::string name(spec.pattern);
  if (const auto at = name.find("{l}"); at != std::string::npos) name.replace(at, 3, std::to_string(layer));
  if (const auto at = name.find("{e}"); at != std::string::npos) name.replace(at, 3, std::to_string(expert));
  if (spec.no_suffix) return name;
  if (!suffix.starts_with('.')) name += '.';
  return name.append(suffix);
}

Result<int64_t> dimension(std::string_view symbols, const Config& config) {
  int64_t total = 0;
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i] == '+') continue;
    int64_t factor = 1;
    if (symbols[i] >= '0' && symbols[i] <= '9' && i + 1 < symbols.size()) factor = symbols[i++] - '0';
    const LatentConfig& latent = config.latent;
    int64_t value = 0;
    bool fits = true;
    switch (symbols[i]) {
      case 'V':
        value = config.vocab;
        break;
      case 'H':
        value = config.hidden;
        break;
      case 'E':
        value = config.embed_dim();
        break;
      case 'F':
        value = config.ffn;
        break;
      case 'P':
        fits = checked_add(config.max_positions, config.position_offset, &value);
        break;
      case 'Q':
        fits = checked_mul(config.heads, config.head_dim, &value);
        break;
      case 'K':
        fits = checked_mul(config.kv_heads, config.head_dim, &value);
        break;
      case 'O':
        fits = checked_mul(config.heads, config.v_dim(), &value);
        break;
      case 'D':
        value = config.head_dim;
        break;
      case 'X':
        value = config.experts.count;
        break;
      case 'M':
        value = config.experts.ffn;
        break;
      case 'S':
        value = config.experts.shared_ffn;
        break;
      case 'A':
        value = latent.q_rank;
        break;
      case 'C':
        value = latent.kv_rank;
        break;
      case 'R':
        value = latent.rope_dim;
        break;
      case 'U':
        fits = checked_mul(config.heads, latent.nope_dim + config.v_dim(), &value);
        break;
      case '1':
        value = 1;
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
