// Adapters beside a model's weights, found by the linear layer that they change.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "model/lora.h"
#include "tensor/linear.h"

namespace nbl::model {

class Model;

struct Adapters {
  std::vector<std::shared_ptr<const LoraAdapter>> sources;
  std::unordered_map<const Linear*, std::vector<const LoraDelta*>> by_linear;

  /// Finds the layers that the adapter changes. Code::mismatch when one is missing or of another shape.
  Status add(const Model& model, std::shared_ptr<const LoraAdapter> adapter);
  std::span<const LoraDelta* const> of(const Linear* linear) const noexcept {
    const auto found = by_linear.find(linear);
    return found == by_linear.end() ? std::span<const LoraDelta* const>() : found->second;
  }
};

}  // namespace nbl::model
