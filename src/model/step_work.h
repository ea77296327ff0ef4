// What a step through a model reads and computes, for profiles: time alone does not say whether an operation is slow.
#pragma once

#include <cstdint>
#include <span>

#include "model/model.h"

namespace nbl::model {

struct StepWork {
  int64_t bytes[Profile::kOps] = {};       ///< of weights, keys and values read
  int64_t operations[Profile::kOps] = {};  ///< multiplications and additions of products with weights, keys and values

  /// The tokens of one sequence in a step: `rows` of them, the first at `position`.
  struct Rows {
    int64_t position = 0, rows = 0;
  };
  /// Adds a step of these sequences, with logits for `outputs` tokens; keys and values in the type that sessions choose on their own.
  void add(const Model& model, std::span<const Rows> sequences, int64_t outputs) noexcept;
};

struct ProfiledSteps {
  Profile profile;
  StepWork work;
};

/// The steps of a session, those of several tokens and those of one apart.
struct SessionProfile {
  ProfiledSteps prefill, decode;
};

}  // namespace nbl::model
