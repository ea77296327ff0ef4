// Gemma 3, text: Gemma 2 without caps, with normed queries and keys, five windowed layers to one that sees everything,
// and a rope base for each kind. The multimodal models' text half is the same, its config one level down.
#include <fmt/format.h>

#include "model/arch/gemma_family.h"

namespace nbl::model::arch {
namespace {

bool slides(const Json& json, int64_t layer) {
  const Json* pattern = json.find_value("sliding_window_pattern");
  const int64_t n = pattern == nullptr ? 6 : std::max<int64_t>(1, pattern->as_int(6));
  return (layer + 1) % n != 0;
}

Result<Config> read_config(const Json& whole, std::string_view origin) {
  const Json* text = whole.find_value("text_config");
  const Json& config = text != nullptr && text->is_object() ? *text : whole;
  const ConfigReader reader(config, origin);
  // The published multimodal configs leave out what is as in the 4B model.
  NBL_ASSIGN(Config c, read_gemma_config(reader, "gemma3",
                                         {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar",
                                          "sliding_window", "layer_types", "rope_local_base_freq"},
                                         {.vocab = 262208, .heads = 8, .kv_heads = 4, .max_positions = 131072}));
  if (&config != &whole && c.eos.empty()) NBL_TRY(ConfigReader(whole, origin).read_tokens(&c));
  NBL_TRY(read_gemma_caps(reader, 0, 0, &c));
  c.score_cap = 0;  // its config has Gemma 2's key, which its attention does not read
  c.qk_norm = QkNorm::per_head;
  NBL_ASSIGN(const int64_t window, reader.count_or("sliding_window", 4096, kMaxPositions));
  NBL_TRY(apply_windows(reader, &c, window, slides));
  NBL_TRY(read_rope(reader, {.theta = 1e6}, &c, "full_attention"));
  // Windowed layers have a base of their own and, in the older spelling, no scaling.
  const Json* parameters = config.find_value("rope_parameters");
  if (parameters != nullptr && parameters->is_object() && parameters->find_value("sliding_attention") != nullptr) {
    NBL_TRY(read_rope(reader, {.theta = 1e4, .theta_key = "rope_local_base_freq"}, &c, "sliding_attention"));
  } else {
    NBL_ASSIGN(const double theta, reader.positive_or("rope_local_base_freq", 1e4));
    RopeSettings local;
    local.theta = theta;
    NBL_ASSIGN(RopeTable table, make_rope_table(local, config, origin, c.rotary_dim, c.max_positions));
    c.ropes.push_back(std::move(table));
  }
  for (LayerConfig& layer : c.layer) layer.rope = layer.window > 0 ? 1 : 0;
  return c;
}

}  // namespace

extern const Architecture gemma3;
const Architecture gemma3 = {.id = "gemma3",
                             .model_types = {"gemma3_text", "gemma3"},
                             .tensors = with(gemma2_tensors(),
                                             {norm(Role::q_norm, "model.layers.{l}.self_attn.q_norm", "D"),
                                              norm(Role::k_norm, "model.layers.{l}.self_attn.k_norm", "D")}),
                             .groups = llama_groups(),
                             .read_config = read_config};

}  // namespace nbl::model::arch
