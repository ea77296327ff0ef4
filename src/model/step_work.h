// What a step through a model reads and computes, for profiles: time alone does not say whether an operation is slow.
#pragma once

#include <cstdint>

#include "model/model.h"

namespace nbl::model {

struct StepWork {
  int64_t bytes[Profile::kOps] = {};       ///< of weights, keys and values read
  int64_t operations[Profile::kOps] = {};  ///< multiplications and additions of products with weights, keys and values

  /// Adds a step of `rows` tokens of one sequence, the first at `position`, with logits for `outputs` of them; keys and
  /// values in the type that sessions choose on their own.
  void add(const Model& model, int64_t position, int64_t rows, int64_t outputs) noexcept;
};

/// The steps of a session, those of several tokens and those of one apart.
struct SessionProfile {
  struct Steps {
    Profile profile;
    StepWork work;
  };
  Steps prefill, decode;
};

}  // namespace nbl::model
