// SmolLM3: Llama in which some layers know no positions (NoPE).
#include <fmt/format.h>

#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "smollm3",
                                         {.tied = true, .rope = {.theta = 2e6}, .max_positions = 32768, .windows = true},
                                         {"no_rope_layers"}));
  NBL_ASSIGN(const int64_t interval, reader.count_or("no_rope_layer_interval", 4, kMaxLayers));
  const Json* list = config.find_value("no_rope_layers");
  if (list != nullptr && (!list->is_array() || list->size() != c.layer.size()))
    return reader.error("no_rope_layers", fmt::format("of {} entries", list->size()), fmt::format("{}", c.layers));
  for (std::size_t i = 0; i < c.layer.size(); ++i) {
    // 1 says that the layer turns its heads, whatever the key's name suggests.
    const bool turns = list == nullptr ? (static_cast<int64_t>(i) + 1) % interval != 0
                                       : list->elements()[i].as_int(1) != 0;
    c.layer[i].rope = turns ? 0 : -1;
  }
  NBL_ASSIGN(const bool use_window, reader.flag_or("use_sliding_window", false));
  int64_t window = 0;
  if (use_window) {
    NBL_ASSIGN(window, reader.count_or("sliding_window", 0, kMaxPositions));
  }
  NBL_TRY(apply_windows(reader, &c, window, no_layer));
  if (config.find_value("layer_types") == nullptr)
    for (LayerConfig& layer : c.layer) layer.window = layer.rope < 0 ? window : 0;
  return c;
}

}  // namespace

extern const Architecture smollm3;
const Architecture smollm3 = {.id = "smollm3",
                              .model_types = {"smollm3"},
                              .tensors = llama_tensors(Bias::optional, Bias::optional),
                              .groups = llama_groups(),
                              .read_config = read_config};

}  // namespace nbl::model::arch
