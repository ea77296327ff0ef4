// Gemma 2: norms behind each block too, capped scores and logits, a window over every other layer.
#include "model/arch/gemma_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_gemma_config(reader, "gemma2",
                                         {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar",
                                          "sliding_window", "layer_types"}));
  NBL_TRY(read_gemma_caps(reader, 50, 30, &c));
  NBL_TRY(read_rope(reader, {}, &c));
  NBL_ASSIGN(const int64_t window, reader.count_or("sliding_window", 4096, kMaxPositions));
  NBL_TRY(apply_windows(reader, &c, window, [](const Json&, int64_t layer) { return layer % 2 == 0; }));
  return c;
}

}  // namespace

extern const Architecture gemma2;
const Architecture gemma2 = {.id = "gemma2",
                             .model_types = {"gemma2"},
                             .tensors = gemma2_tensors(),
                             .groups = llama_groups(),
                             .read_config = read_config};

}  // namespace nbl::model::arch
