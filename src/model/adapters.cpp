#include "model/adapters.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/arch.h"
#include "model/weights.h"

namespace nbl::model {

Status Adapters::add(const Model& model, std::shared_ptr<const LoraAdapter> adapter) {
  const Model::Impl& m = model.impl();
  const auto all = architectures();
  const auto arch = std::find_if(all.begin(), all.end(), [&](const Architecture* a) { return a->id == m.config.architecture; });
  if (arch == all.end()) return Status(Code::internal, fmt::format("no architecture \"{}\"", m.config.architecture));
  std::unordered_map<std::string, const Linear*> named;
  for (const TensorSpec& spec : (*arch)->tensors) {
    if (spec.cols.empty() || is_expert_role(spec.role) || (spec.when & ~m.config.variant) != 0) continue;
    if (!is_layer_role(spec.role)) {
      if (spec.role == Role::lm_head && !m.config.tied_embeddings)
        named[tensor_name(spec, 0, "weight")] = &*m.weights.lm_head;
      for (const auto& [role, linear] : {std::pair(Role::project_in, &m.weights.project_in), std::pair(Role::project_out, &m.weights.project_out)})
        if (spec.role == role && *linear) named[tensor_name(spec, 0, "weight")] = &**linear;
      continue;
    }
    for (int64_t l = 0; l < m.config.layers; ++l)
      if (const Linear* linear = m.weights.layers[static_cast<std::size_t>(l)].linear(spec.role))
        named[tensor_name(spec, l, "weight")] = linear;
  }
  for (const auto& [name, delta] : adapter->deltas) {
    const auto found = named.find(name);
    if (found == named.end())
      return Status(Code::mismatch, fmt::format("{}: changes {}, which is no linear layer of this {} model", adapter->origin, name,
                                                m.config.architecture));
    const Linear& linear = *found->second;
    if (delta.n != linear.n() || delta.k != linear.k())
      return Status(Code::mismatch, fmt::format("{}: changes {} as [{}, {}], which is [{}, {}] in the model", adapter->origin,
                                                name, delta.n, delta.k, linear.n(), linear.k()));
    by_linear[&linear].push_back(&delta);
  }
  sources.push_back(std::move(adapter));
  return {};
}

}  // namespace nbl::model
