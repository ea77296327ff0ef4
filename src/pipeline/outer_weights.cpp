#include "pipeline/outer_weights.h"

namespace nbl::pipeline {

Result<OuterRecipes> outer_recipes(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                                   const Overrides& overrides, const QuantizeOptions& options) {
  OuterRecipes found;
  for (const model::Role role : {model::Role::embedding, model::Role::lm_head}) {
    const model::TensorSpec* spec = arch.find(role, config);
    if (spec == nullptr) continue;
    const std::string name = model::tensor_name(*spec, 0, "weight");
    if (!input.has(name)) continue;
    NBL_ASSIGN(const quant::Recipe* recipe, overrides.find(name));
    if (recipe == nullptr) continue;
    const bool makes_logits = role == model::Role::lm_head ? !config.tied_embeddings : config.tied_embeddings;
    if (recipe->text != options.recipe.text || (options.include_lm_head && makes_logits)) found.emplace(name, recipe);
  }
  return found;
}

Result<quant::LinearResult> quantize_outer(const Checkpoint& input, const std::string& name, const quant::Recipe& recipe,
                                           uint64_t seed, Team& team) {
  NBL_ASSIGN(const QTensor tensor, input.matrix(name));
  std::vector<float> weight(static_cast<std::size_t>(tensor.n * tensor.k));
  team.parallel_for(tensor.n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) tensor.dequantize_row(r, weight.data() + r * tensor.k);
  });
  quant::LinearTask task;
  task.name = name;
  task.n = tensor.n;
  task.k = tensor.k;
  task.weight = weight;
  task.place.kind = quant::LinearPlace::Kind::output;
  quant::MethodContext context;
  context.team = &team;
  context.seed = seed;
  return recipe.method->quantize(task, recipe.options, context);
}

}  // namespace nbl::pipeline
