// Which experts a token goes to: the same rule for a forward pass and for gradients through it.
#pragma once

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace nbl::model {

/// The experts of some rows, row by row and expert by expert.
struct ExpertChoices {
  std::vector<int32_t> chosen;    ///< [rows, per_token], ascending experts
  std::vector<float> weight;      ///< [rows, per_token]
  std::vector<int32_t> first;     ///< [experts + 1]: where an expert's rows begin in `row`
  std::vector<int32_t> row;       ///< the rows, expert by expert
  std::vector<float> row_weight;  ///< what the expert's output is multiplied by in that row
};

/// The experts of one row and their weights [per_token]. scores [count]: what the router says; they become probabilities. A bias
/// [count], or empty, may change who is chosen but not the weight. Among equals the lower index wins. order: room for `count`.
void choose_experts(const ExpertsConfig& config, const std::vector<float>& bias, float* scores, int32_t* order, int32_t* chosen,
                    float* weight);

/// Fills `first`, `row` and `row_weight`, which have room for it, from `chosen` and `weight` of so many rows.
void sort_rows(const ExpertsConfig& config, int64_t rows, ExpertChoices* choices);

}  // namespace nbl::model
