// Granite: Llama with multipliers on embeddings, scores, what each block adds, and logits.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "granite", {},
                                         {"embedding_multiplier", "residual_multiplier", "logits_scaling",
                                          "attention_multiplier"}));
  NBL_ASSIGN(const double embedding, reader.positive_or("embedding_multiplier", 1));
  NBL_ASSIGN(const double residual, reader.positive_or("residual_multiplier", 1));
  NBL_ASSIGN(const double attention, reader.positive_or("attention_multiplier", 1));
  NBL_ASSIGN(const double logits, reader.positive_or("logits_scaling", 1));
  c.embedding_scale = static_cast<float>(embedding);
  c.residual_scale = static_cast<float>(residual);
  c.attention_scale = static_cast<float>(attention);
  c.logit_scale = static_cast<float>(1 / logits);
  return c;
}

}  // namespace

extern const Architecture granite;
const Architecture granite = {.id = "granite",
                              .model_types = {"granite"},
                              .tensors = llama_tensors(Bias::optional, Bias::optional),
                              .groups = llama_groups(),
                              .read_config = read_config};

}  // namespace nbl::model::arch
