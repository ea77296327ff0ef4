#include "pipeline/dense_products.h"

#include <algorithm>

#include "base/cpu.h"
#include "pipeline/gram.h"
#include "tensor/dense_pack.h"

namespace nbl::pipeline {

DenseProducts::DenseProducts(Team& team, int64_t tokens, Compute compute)
    : team_(&team),
      tokens_(tokens),
      compute_{compute, best_isa()},
      bf16_(compute == Compute::fast && (compute_.isa == Isa::avx512bf16 || compute_.isa == Isa::amx)) {}

Status DenseProducts::set(const model::LayerWeights::Matrix& m, bool with_backward, Pair* pair) const {
  const float* w = m.w.data();
  const DType type = bf16_ ? DType::bf16 : DType::f32;
  const auto rows = [&](int64_t row, int64_t count, float* out) { std::copy_n(w + row * m.k, count * m.k, out); };
  NBL_ASSIGN(Segment forward, pack_dense_rows(*team_, m.n, m.k, type, rows));
  NBL_ASSIGN(pair->forward, Linear::create(make_qtensor(m.n, m.k, std::move(forward)), m.bias, compute_));
  if (!with_backward) return {};
  const auto columns = [&](int64_t column, int64_t count, float* out) {
    constexpr int64_t kBlock = 16;
    for (int64_t r0 = 0; r0 < m.n; r0 += kBlock)
      for (int64_t c = 0; c < count; ++c)
        for (int64_t r = r0; r < std::min(r0 + kBlock, m.n); ++r) out[c * m.n + r] = w[r * m.k + column + c];
  };
  NBL_ASSIGN(Segment backward, pack_dense_rows(*team_, m.k, m.n, type, columns));
  NBL_ASSIGN(pair->backward, Linear::create(make_qtensor(m.k, m.n, std::move(backward)), {}, compute_));
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

Result<std::vector<float>> DenseProducts::outer(Columns<const float> dy, int64_t n, Columns<const float> in, int64_t k,
                                                int64_t rows) const {
  NBL_ASSIGN(Panels left, Panels::create(n, bf16_));
  NBL_ASSIGN(Panels right, Panels::create(output_moments_ ? 0 : k, bf16_));
  NBL_ASSIGN(BlockSum sum, BlockSum::create(n, output_moments_ ? n : k, output_moments_));
  for (int64_t t = 0; t < rows; t += Panels::kBlockTokens) {
    const int64_t count = std::min(Panels::kBlockTokens, rows - t);
    left.pack(dy.data + t * dy.ld, dy.ld, nullptr, 0, nullptr, count, *team_);
    if (!output_moments_) right.pack(in.data + t * in.ld, in.ld, nullptr, 0, nullptr, count, *team_);
    sum.add(left, output_moments_ ? left : right, *team_);
  }
  std::vector<float> out;
  NBL_TRY(sum.finish(*team_, &out));
  return out;
}

}  // namespace nbl::pipeline
