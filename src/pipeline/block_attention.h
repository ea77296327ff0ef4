// Causal attention of one head over one window, forward and backward, by products of rows with panels of 32 columns.
#pragma once

#include <cstdint>

namespace nbl::pipeline {

/// Rows of one head: [length, dim], or [length, value_dim] of values and outputs; `ld` floats from one to the next.
struct HeadRows {
  const float* data = nullptr;
  int64_t ld = 0;
};
struct HeadGradient {
  float* data = nullptr;
  int64_t ld = 0;
};

/// What a head's attention is like.
struct HeadShape {
  int64_t length = 0, dim = 0, value_dim = 0;
  int64_t window = 0;  ///< positions a query sees, itself included; 0: all before it
  float scale = 1;     ///< of scores
  float cap = 0;       ///< scaled scores become cap * tanh(score / cap); 0: no cap
  float slope = 0;     ///< ALiBi: slope * (key's position - query's) is added to a score
};

/// p [length, padded_keys(length)]: the attention weights, kept for the backward pass. out [length, value_dim], ld_out.
void attend_head(const HeadShape& shape, const HeadRows& q, const HeadRows& k, const HeadRows& v, float* p, float* out,
                 int64_t ld_out);

/// Adds to dq, dk [length, dim] and dv [length, value_dim] what the gradient `d_out` of the head's output says.
void attend_head_backward(const HeadShape& shape, const HeadRows& q, const HeadRows& k, const HeadRows& v,
                          const HeadRows& d_out, const float* p, const HeadGradient& dq, const HeadGradient& dk,
                          const HeadGradient& dv);

inline int64_t padded_keys(int64_t length) noexcept { return (length + 31) / 32 * 32; }

}  // namespace nbl::pipeline
