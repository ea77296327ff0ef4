#include "pipeline/kept_input.h"

#include <algorithm>
#include <new>

#include "base/cpu.h"
#include "base/half.h"
#include "kernels/rounding/rounding.h"

namespace nbl::pipeline {
namespace {

/// Fewer rows are multiplied in float32.
constexpr int64_t kLeastHalfRows = 64;

}  // namespace

KeptInput::KeptInput(Team& team, int64_t batches, int64_t batch_rows, int64_t last_rows, Compute compute)
    : team_(&team), batches_(batches), batch_rows_(batch_rows), last_rows_(last_rows), products_(team, batch_rows, compute) {
  half_ = products_.rounds() && std::min(batch_rows, last_rows) >= kLeastHalfRows;
}

Status KeptInput::start(const model::Part& part, int64_t k) {
  part_ = part;
  k_ = k;
  ready_ = false;
  const std::size_t count = static_cast<std::size_t>(((batches_ - 1) * batch_rows_ + last_rows_) * k);
  try {
    half_ ? halves_.resize(count) : floats_.resize(count);
    input_.resize(half_ ? static_cast<std::size_t>(batch_rows_ * k) : 0);
  } catch (const std::bad_alloc&) {
    part_.reset();  // it will be computed again
  }
  return {};
}

void KeptInput::store(int64_t batch, const float* x, int64_t ldx, int64_t rows) {
  if (!part_) return;
  const int64_t first = batch * batch_rows_ * k_;
  team_->parallel_for(rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* from = x + r * ldx;
      if (half_) {
        f32_to_bf16(from, k_, halves_.data() + first + r * k_);
      } else {
        std::copy_n(from, k_, floats_.data() + first + r * k_);
      }
    }
  });
}

Status KeptInput::set(const model::LayerWeights::Matrix& matrix) {
  NBL_TRY(products_.set(matrix, false, &linear_));
  ready_ = true;
  return {};
}

Status KeptInput::add(int64_t batch, float* stream) {
  const int64_t m = rows(batch), n = linear_.forward.n();
  const float* in = nullptr;
  if (half_) {
    const uint16_t* from = halves_.data() + batch * batch_rows_ * k_;
    team_->parallel_for(m, 64, [&](int64_t begin, int64_t end) {
      kernels::rounding_kernels(best_isa()).widen_bf16(from + begin * k_, (end - begin) * k_, input_.data() + begin * k_);
    });
    in = input_.data();
  } else {
    in = floats_.data() + batch * batch_rows_ * k_;
  }
  output_.resize(static_cast<std::size_t>(batch_rows_ * n));
  NBL_TRY(products_.apply(linear_.forward, in, output_.data(), m));
  team_->parallel_for(m, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * n; i < end * n; ++i) stream[i] += output_[static_cast<std::size_t>(i)];
  });
  return {};
}

}  // namespace nbl::pipeline
