#include "pipeline/dense_products.h"

#include <algorithm>

#include "base/cpu.h"
#include "base/half.h"
#include "pipeline/gram.h"

namespace nbl::pipeline {

DenseProducts::DenseProducts(Team& team, int64_t tokens, Compute compute)
    : team_(&team),
      tokens_(tokens),
      compute_{compute, best_isa()},
      bf16_(compute == Compute::fast && (compute_.isa == Isa::avx512bf16 || compute_.isa == Isa::amx)) {}

Result<Linear> DenseProducts::pack(const float* w, int64_t n, int64_t k, std::vector<float> bias) const {
  Segment segment;
  if (bf16_) {
    std::vector<uint16_t> rounded(static_cast<std::size_t>(n * k));
    team_->parallel_for(n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * k; i < end * k; ++i) rounded[static_cast<std::size_t>(i)] = f32_to_bf16(w[i]);
    });
    NBL_ASSIGN(segment, pack_dense(n, k, DType::bf16, rounded.data()));
  } else {
    NBL_ASSIGN(segment, pack_dense(n, k, DType::f32, w));
  }
  return Linear::create(make_qtensor(n, k, std::move(segment)), std::move(bias), compute_);
}

Status DenseProducts::set(const model::LayerWeights::Matrix& m, bool with_backward, Pair* pair) const {
  NBL_ASSIGN(pair->forward, pack(m.w.data(), m.n, m.k, m.bias));
  if (!with_backward) return {};
  constexpr int64_t kBlock = 16;
  std::vector<float> turned(m.w.size());
  team_->parallel_for((m.k + kBlock - 1) / kBlock, 4, [&](int64_t begin, int64_t end) {
    for (int64_t c0 = begin * kBlock; c0 < std::min(end * kBlock, m.k); c0 += kBlock)
      for (int64_t r0 = 0; r0 < m.n; r0 += kBlock)
        for (int64_t c = c0; c < std::min(c0 + kBlock, m.k); ++c)
          for (int64_t r = r0; r < std::min(r0 + kBlock, m.n); ++r)
            turned[static_cast<std::size_t>(c * m.n + r)] = m.w[static_cast<std::size_t>(r * m.k + c)];
  });
  NBL_ASSIGN(pair->backward, pack(turned.data(), m.k, m.n, {}));
  return {};
}

Status DenseProducts::apply(const Linear& linear, Columns<const float> in, Columns<float> out, int64_t rows) {
  const std::size_t bytes = linear.prepared_bytes(rows);
  if (prepared_.size() < bytes) {
    NBL_ASSIGN(prepared_, Buffer::create(bytes));
  }
  team_->run([&](Worker& worker) {
    linear.prepare(worker, in.data, in.ld, rows, prepared_.data());
    linear.multiply(worker, prepared_.data(), rows, out.data, out.ld);
  });
  return {};
}

Result<std::vector<float>> DenseProducts::outer(Columns<const float> dy, int64_t n, Columns<const float> in, int64_t k) const {
  NBL_ASSIGN(Panels left, Panels::create(n, bf16_));
  NBL_ASSIGN(Panels right, Panels::create(k, bf16_));
  NBL_ASSIGN(BlockSum sum, BlockSum::create(n, k, false));
  for (int64_t t = 0; t < tokens_; t += Panels::kBlockTokens) {
    const int64_t count = std::min(Panels::kBlockTokens, tokens_ - t);
    left.pack(dy.data + t * dy.ld, dy.ld, nullptr, 0, count, *team_);
    right.pack(in.data + t * in.ld, in.ld, nullptr, 0, count, *team_);
    sum.add(left, right, *team_);
  }
  std::vector<float> out;
  NBL_TRY(sum.finish(*team_, &out));
  return out;
}

}  // namespace nbl::pipeline
