// Attention with linear biases (Press et al. 2021): the slope of each head.
#pragma once

#include <cstdint>
#include <vector>

namespace nbl::model::arch {

/// Bloom's and Falcon's: a geometric series for the largest power of two of heads, every other step of the next longer
/// series for the rest.
std::vector<float> alibi_slopes(int64_t heads);
/// MPT's: the series of the next power of two, its odd steps first.
std::vector<float> mpt_alibi_slopes(int64_t heads, double bias_max);

}  // namespace nbl::model::arch
