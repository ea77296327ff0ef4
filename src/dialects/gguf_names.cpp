#include "dialects/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "dialects/common.h"

namespace nbl::dialects {
namespace {

// The numbers that stand where `pattern` has {l} and {e}; false when `name` is not of the pattern.
bool match(std::string_view pattern, std::string_view name, std::string& layer, std::string& expert) {
  while (true) {
    const std::size_t at = pattern.find('{');
    if (at == std::string_view::npos) return pattern == name;
    if (name.substr(0, at) != pattern.substr(0, at)) return false;
    std::string& number = pattern[at + 1] == 'l' ? layer : expert;
    pattern.remove_prefix(at + 3);
    name.remove_prefix(at);
    const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    if (digits == 0 || digits > 6) return false;
    number = name.substr(0, digits);
    name.remove_prefix(digits);
  }
}

std::string filled(std::string_view pattern, const std::string& layer) {
  std::string name(pattern);
  if (const std::size_t at = name.find("{l}"); at != std::string::npos) name.replace(at, 3, layer);
  return name;
}

std::optional<GgufPlace> translate(const GgufArch& arch, std::string_view name, std::string_view GgufName::*from,
                                   std::string_view GgufName::*to) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  for (const GgufName& known : arch.names) {
    const bool whole = known.gguf.ends_with(".bias");
    std::string layer, expert;
    if (!match(known.*from, whole ? name : name.substr(0, dot), layer, expert)) continue;
    GgufPlace place{filled(known.*to, layer) + std::string(whole ? "" : name.substr(dot)), known.change, -1};
    if (!expert.empty()) place.expert = std::stoll(expert);
    return place;
  }
  return std::nullopt;
}

// Names of the same function.
bool same_text(std::string_view a, std::string_view b) {
  const auto tanh_gelu = [](std::string_view name) {
    return name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast";
  };
  return a == b || (tanh_gelu(a) && tanh_gelu(b)) || ((a == "silu" || a == "swish") && (b == "silu" || b == "swish"));
}

std::string shown_value(const Json& value) { return shown(value.dump().substr(0, 60)); }

// What the config says against what follows from the architecture; empty: nothing. `path` is the key's, for the message.
std::string contradiction(const Json& implied, const Json& config, const std::string& path = {}) {
  for (const auto& [key, value] : implied.members()) {
    if (path.empty() && (key == "model_type" || key == "architectures")) continue;
    const Json* actual = config.find_value(key);
    if (actual == nullptr) continue;
    if (value.is_object() && actual->is_object()) {
      if (std::string inner = contradiction(value, *actual, path + key + "."); !inner.empty()) return inner;
      continue;
    }
    const bool same = value.is_string() && actual->is_string()   ? same_text(value.as_string(), actual->as_string())
                      : value.is_number() && actual->is_number() ? value.as_double() == actual->as_double()
                                                                 : value == *actual;
    if (!same) return fmt::format("{}{} is {} in config.json, and {} there", path, key, shown_value(*actual), shown_value(value));
  }
  return {};
}

// Lists with an entry a layer, against the rule that the architecture has for all layers.
std::string contradiction_of_layers(const Json& implied, const Json& config) {
  const Json *pattern = implied.find_value("sliding_window_pattern"), *types = config.find_value("layer_types");
  if (pattern != nullptr && types != nullptr) {
    const auto list = types->elements();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const bool full = (static_cast<int64_t>(i) + 1) % std::max<int64_t>(pattern->as_int(), 1) == 0;
      if (full != (list[i].as_string() == "full_attention")) {
        return fmt::format("layer {} is of type {} in config.json, and every {}th layer has full attention there", i,
                           shown_value(list[i]), pattern->as_int());
      }
    }
  }
  const Json *interval = implied.find_value("no_rope_layer_interval"), *turned = config.find_value("no_rope_layers");
  if (interval != nullptr && turned != nullptr) {
    const auto list = turned->elements();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const bool rope = (static_cast<int64_t>(i) + 1) % std::max<int64_t>(interval->as_int(), 1) != 0;
      if (rope != (list[i].as_int(-1) == 1)) {
        return fmt::format("no_rope_layers differs at layer {} from a layer in {} there", i, interval->as_int());
      }
    }
  }
  const Json *local = implied.find_value("rope_local_base_freq"), *rope = config.find_value("rope_parameters");
  const Json* sliding = rope == nullptr ? nullptr : rope->find_value("sliding_attention");
  const Json* theta = sliding == nullptr ? nullptr : sliding->find_value("rope_theta");
  if (local != nullptr && theta != nullptr && theta->as_double() != local->as_double()) {
    return fmt::format("rope_theta of sliding layers is {} in config.json, and {} there", shown_value(*theta),
                       shown_value(*local));
  }
  return {};
}

// How scores are scaled and capped, where readers of GGUF know it without being told.
std::string contradiction_of_scores(const GgufArch& arch, const Json& config) {
  const auto whole = [&](std::string_view key) {
    const Json* value = config.find_value(key);
    return value == nullptr ? int64_t{0} : value->as_int();
  };
  if (arch.wide_blocks == 0) return {};
  const int64_t heads = std::max<int64_t>(whole("num_attention_heads"), 1), width = whole("hidden_size") / heads;
  const int64_t head = config.find_value("head_dim") != nullptr ? whole("head_dim") : 256;
  const int64_t scalar = whole("num_hidden_layers") == arch.wide_blocks ? width : head;
  const Json* stated = config.find_value("query_pre_attn_scalar");
  if (stated != nullptr && stated->as_double() != static_cast<double>(scalar)) {
    return fmt::format("query_pre_attn_scalar is {} in config.json, and {} there", shown_value(*stated), scalar);
  }
  if (!arch.capped) return {};
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (const Json* cap = config.find(key); cap != nullptr && cap->is_null()) {
      return fmt::format("{} is null in config.json, and always a number there", key);
    }
  }
  return {};
}

}  // namespace

std::optional<GgufPlace> gguf_to_hf(const GgufArch& arch, std::string_view name) {
  return translate(arch, name, &GgufName::gguf, &GgufName::hf);
}

std::optional<GgufPlace> hf_to_gguf(const GgufArch& arch, std::string_view name) {
  return translate(arch, name, &GgufName::hf, &GgufName::gguf);
}

std::string with_expert(std::string_view name, int64_t expert) {
  std::string full(name);
  if (const std::size_t at = full.find("{e}"); at != std::string::npos) full.replace(at, 3, std::to_string(expert));
  return full;
}

Result<const GgufArch*> gguf_arch_of(const Json& config) {
  const Json* text = config.find_value("text_config");
  const Json& own = text != nullptr ? *text : config;
  const Json* type = own.find_value("model_type");
  std::string_view wanted = type == nullptr ? std::string_view("none") : type->as_string();
  const std::string stated(wanted);
  // Families that GGUF files under another one's name.
  if (wanted == "mistral") wanted = "llama";
  if (wanted == "gemma3") wanted = "gemma3_text";
  std::string why;
  for (const GgufArch& arch : gguf_archs()) {
    NBL_ASSIGN(const Json implied, Json::parse(arch.config, "built-in description"));
    const Json* name = implied.find("model_type");
    if (name == nullptr || name->as_string() != wanted) continue;
    std::string found = contradiction(implied, own);
    if (found.empty()) found = contradiction_of_layers(implied, own);
    if (found.empty()) found = contradiction_of_scores(arch, own);
    if (found.empty()) return &arch;
    why = fmt::format("GGUF's architecture {} cannot say what this model is: {}", arch.id, found);
  }
  if (why.empty()) {
    why = fmt::format("model_type '{}' has no architecture of GGUF that is written here; there are {}", shown(stated),
                      gguf_arch_ids());
  }
  return Status(Code::unsupported, why + ". The closest choice is the native format, or huggingface, which hold every model");
}

const GgufArch* gguf_arch_of(const io::Container& container, std::string_view id) {
  const auto& tensors = container.tensors();
  const GgufArch* plain = nullptr;
  for (const GgufArch& arch : gguf_archs()) {
    if (arch.id != id) continue;
    if (arch.marker.empty()) {
      plain = &arch;
    } else if (std::any_of(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name.ends_with(arch.marker); })) {
      return &arch;
    }
  }
  return plain;
}

static Result<RowMap> group_rows(int64_t rows, const Json& config) {
  const Json *all = config.find_value("num_attention_heads"), *shared = config.find_value("num_kv_heads");
  if (all == nullptr) all = config.find_value("n_head");
  if (shared == nullptr) shared = config.find_value("n_head_kv");
  const int64_t heads = all == nullptr ? 0 : all->as_int(), groups = shared == nullptr ? heads : shared->as_int();
  if (heads <= 0 || groups <= 0 || heads % groups != 0 || rows <= 0 || rows % (heads + 2 * groups) != 0) {
    return Status(Code::mismatch, fmt::format("{} rows for {} heads that share {} keys", rows, heads, groups));
  }
  const int64_t d = rows / (heads + 2 * groups), queries = heads / groups;
  return RowMap([=](int64_t row) {
    const int64_t group = row / ((queries + 2) * d), part = row / d % (queries + 2), i = row % d;
    if (part < queries) return (group * queries + part) * d + i;
    return (heads + (part - queries) * groups + group) * d + i;
  });
}

Result<RowMap> gguf_row_map(GgufChange change, int64_t rows, const Json& config) {
  const bool q = change == GgufChange::permute_q, k = change == GgufChange::permute_k;
  if (change == GgufChange::group_qkv) return group_rows(rows, config);
  if (!q && !k && change != GgufChange::neox_qkv) return RowMap();
  const Json* heads = k ? config.find_value("num_key_value_heads") : nullptr;
  if (heads == nullptr) heads = config.find_value("num_attention_heads");
  if (heads == nullptr) heads = config.find_value("n_head");
  const int64_t count = heads == nullptr ? 0 : heads->as_int();
  const int64_t pieces = change == GgufChange::neox_qkv ? 3 * count : 2 * count;
  if (count <= 0 || rows <= 0 || rows % pieces != 0) {
    return Status(Code::mismatch, fmt::format("{} rows for {} heads", rows, count));
  }
  if (change == GgufChange::neox_qkv) {
    const int64_t d = rows / pieces;
    return RowMap([=](int64_t row) {
      const int64_t head = row / (3 * d), part = row / d % 3;
      return (part * count + head) * d + row % d;
    });
  }
  const int64_t d = rows / count;
  return RowMap([=](int64_t row) {
    const int64_t head = row / d, within = row % d;
    const int64_t j = within / (d / 2), i = within % (d / 2);
    return head * d + 2 * i + j;
  });
}

}  // namespace nbl::dialects
