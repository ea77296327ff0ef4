#include "pipeline/block_attention.h"

#include <algorithm>
#include <cmath>

#include "base/cpu.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/panel/panel.h"
#include "quant/calibrated.h"

namespace nbl::pipeline {
namespace {

using kernels::kFeedbackColumns;
using kernels::kPanelRows;
using quant::AlignedFloats;

const kernels::PanelKernels& kernel() {
  static const kernels::PanelKernels& chosen = kernels::select_panel(static_cast<int>(best_isa()));
  return chosen;
}

/// Panels of the columns of rows: [ceil(dim / 32)][length][32], zeros beyond dim.
void column_panels(const HeadRows& rows, int64_t length, int64_t dim, float* out) {
  for (int64_t c = 0; c < dim; c += kPanelRows, out += length * kPanelRows) {
    const int64_t width = std::min(kPanelRows, dim - c);
    for (int64_t t = 0; t < length; ++t) {
      const float* from = rows.data + t * rows.ld + c;
      std::copy_n(from, width, out + t * kPanelRows);
      std::fill(out + t * kPanelRows + width, out + (t + 1) * kPanelRows, 0.0f);
    }
  }
}

int64_t column_floats(int64_t length, int64_t dim) { return (dim + kPanelRows - 1) / kPanelRows * length * kPanelRows; }

/// The same of the transposed rows: [ceil(length / 32)][dim][32].
void row_panels(const HeadRows& rows, int64_t length, int64_t dim, float* out) {
  for (int64_t t = 0; t < length; t += kPanelRows, out += dim * kPanelRows) {
    const int64_t count = std::min(kPanelRows, length - t);
    for (int64_t i = 0; i < dim; ++i) {
      for (int64_t r = 0; r < kPanelRows; ++r)
        out[i * kPanelRows + r] = r < count ? rows.data[(t + r) * rows.ld + i] : 0.0f;
    }
  }
}

/// product [rows <= 8][32] = rows of a times a panel over [begin, end) of the inner dimension.
void multiply(const float* a, int64_t lda, int64_t rows, const float* panel, int64_t begin, int64_t end,
              float* product) {
  kernel().feedback(kernels::FeedbackArgs{a, lda, static_cast<int>(rows), panel, begin, end, product});
}

void transpose(const float* a, int64_t rows, int64_t columns, float* out) {
  constexpr int64_t kBlock = 16;
  for (int64_t r = 0; r < rows; r += kBlock)
    for (int64_t c = 0; c < columns; c += kBlock)
      for (int64_t i = r; i < std::min(r + kBlock, rows); ++i)
        for (int64_t j = c; j < std::min(c + kBlock, columns); ++j) out[j * rows + i] = a[i * columns + j];
}

/// The first key that the query at `row` sees.
int64_t first_key(const HeadShape& shape, int64_t row) {
  return shape.window > 0 ? std::max<int64_t>(0, row + 1 - shape.window) : 0;
}

/// Products of rows [r0, r0 + rows) of queries with the tiles of keys that any of them sees, into rows of padded_keys()
/// floats; of gradients with values alike. dim: that the two have in common.
void scores(const HeadShape& shape, int64_t dim, const HeadRows& q, const float* k_panels, int64_t r0, int64_t rows,
            float* product, float* out) {
  const int64_t keys = padded_keys(shape.length);
  for (int64_t key = first_key(shape, r0) / kPanelRows * kPanelRows; key < r0 + rows; key += kPanelRows) {
    multiply(q.data + r0 * q.ld, q.ld, rows, k_panels + key * dim, 0, dim, product);
    for (int64_t r = 0; r < rows; ++r) std::copy_n(product + r * kPanelRows, kPanelRows, out + (r0 + r) * keys + key);
  }
}

}  // namespace

void attend_head(const HeadShape& shape, const HeadRows& q, const HeadRows& k, const HeadRows& v, float* p, float* out,
                 int64_t ld_out) {
  const kernels::ElementwiseKernels& elementwise = kernels::elementwise_kernels(best_isa());
  const int64_t length = shape.length, dim = shape.dim, value_dim = shape.value_dim;
  const int64_t keys = padded_keys(length);
  AlignedFloats k_panels(keys * dim), v_panels(column_floats(length, value_dim)), product(kFeedbackColumns * kPanelRows);
  row_panels(k, length, dim, k_panels.data());
  column_panels(v, length, value_dim, v_panels.data());
  for (int64_t r0 = 0; r0 < length; r0 += kFeedbackColumns) {
    const int64_t rows = std::min<int64_t>(kFeedbackColumns, length - r0);
    scores(shape, dim, q, k_panels.data(), r0, rows, product.data(), p);
    for (int64_t r = 0; r < rows; ++r) {
      float* row = p + (r0 + r) * keys;
      const int64_t first = first_key(shape, r0 + r), visible = r0 + r + 1 - first;
      elementwise.scale(row + first, shape.scale, visible);
      if (shape.cap > 0) elementwise.soft_cap(row + first, shape.cap, visible);
      if (shape.slope != 0)
        for (int64_t j = 0; j < visible; ++j) row[first + j] += shape.slope * static_cast<float>(j + 1 - visible);
      elementwise.scale(row + first, 1.0f / elementwise.exp_sum(row + first, visible), visible);
      std::fill(row, row + first, 0.0f);
      std::fill(row + first + visible, row + keys, 0.0f);
    }
    for (int64_t c = 0; c < value_dim; c += kPanelRows) {
      multiply(p + r0 * keys, keys, rows, v_panels.data() + c * length, first_key(shape, r0), r0 + rows,
               product.data());
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(product.data() + r * kPanelRows, std::min(kPanelRows, value_dim - c), out + (r0 + r) * ld_out + c);
    }
  }
}

void attend_head_backward(const HeadShape& shape, const HeadRows& q, const HeadRows& k, const HeadRows& v,
                          const HeadRows& d_out, const float* p, const HeadGradient& dq, const HeadGradient& dk,
                          const HeadGradient& dv) {
  const kernels::ElementwiseKernels& elementwise = kernels::elementwise_kernels(best_isa());
  const int64_t length = shape.length, dim = shape.dim, value_dim = shape.value_dim;
  const int64_t keys = padded_keys(length);
  AlignedFloats v_rows(keys * value_dim), k_columns(column_floats(length, dim)), q_columns(column_floats(length, dim)),
      d_columns(column_floats(length, value_dim)), ds(length * keys), turned(keys * length),
      product(kFeedbackColumns * kPanelRows);
  // Capped scores cannot be told from the weights that they became, so they are made again.
  AlignedFloats k_rows(shape.cap > 0 ? keys * dim : 0), capped(shape.cap > 0 ? length * keys : 0);
  row_panels(v, length, value_dim, v_rows.data());
  if (shape.cap > 0) row_panels(k, length, dim, k_rows.data());
  column_panels(k, length, dim, k_columns.data());
  column_panels(q, length, dim, q_columns.data());
  column_panels(d_out, length, value_dim, d_columns.data());
  const auto add = [&](const HeadGradient& to, int64_t width, int64_t r0, int64_t rows, int64_t c, float factor) {
    for (int64_t r = 0; r < rows; ++r) {
      float* row = to.data + (r0 + r) * to.ld + c;
      for (int64_t i = 0; i < std::min(kPanelRows, width - c); ++i) row[i] += factor * product.data()[r * kPanelRows + i];
    }
  };
  for (int64_t r0 = 0; r0 < length; r0 += kFeedbackColumns) {
    const int64_t rows = std::min<int64_t>(kFeedbackColumns, length - r0);
    for (int64_t r = 0; r < rows; ++r) std::fill_n(ds.data() + (r0 + r) * keys, keys, 0.0f);
    scores(shape, value_dim, d_out, v_rows.data(), r0, rows, product.data(), ds.data());
    if (shape.cap > 0) scores(shape, dim, q, k_rows.data(), r0, rows, product.data(), capped.data());
    for (int64_t r = 0; r < rows; ++r) {
      // Through the softmax: dS = P (dP - sum P dP); P is zero where a key is not seen.
      float* row = ds.data() + (r0 + r) * keys;
      const float* weight = p + (r0 + r) * keys;
      const int64_t first = first_key(shape, r0 + r), visible = r0 + r + 1 - first;
      float sum = 0;
      for (int64_t j = first; j < first + visible; ++j) sum += weight[j] * row[j];
      for (int64_t j = 0; j < keys; ++j) row[j] = weight[j] * (row[j] - sum);
      if (shape.cap == 0) continue;
      float* score = capped.data() + (r0 + r) * keys + first;
      elementwise.scale(score, shape.scale, visible);
      elementwise.soft_cap(score, shape.cap, visible);
      elementwise.scale(score, 1.0f / shape.cap, visible);
      for (int64_t j = 0; j < visible; ++j) row[first + j] *= 1.0f - score[j] * score[j];
    }
    for (int64_t c = 0; c < dim; c += kPanelRows) {
      multiply(ds.data() + r0 * keys, keys, rows, k_columns.data() + c * length, first_key(shape, r0), r0 + rows,
               product.data());
      add(dq, dim, r0, rows, c, shape.scale);
    }
  }
  // Keys and values: the rows of what is turned are keys, its columns the queries that see them.
  const auto gather = [&](AlignedFloats& columns, const HeadGradient& to, int64_t width, float factor) {
    for (int64_t r0 = 0; r0 < length; r0 += kFeedbackColumns) {
      const int64_t rows = std::min<int64_t>(kFeedbackColumns, length - r0);
      const int64_t last = shape.window > 0 ? std::min(length, r0 + rows - 1 + shape.window) : length;
      for (int64_t c = 0; c < width; c += kPanelRows) {
        multiply(turned.data() + r0 * length, length, rows, columns.data() + c * length, r0, last, product.data());
        add(to, width, r0, rows, c, factor);
      }
    }
  };
  transpose(ds.data(), length, keys, turned.data());
  gather(q_columns, dk, dim, shape.scale);
  transpose(p, length, keys, turned.data());
  gather(d_columns, dv, value_dim, 1.0f);
}

}  // namespace nbl::pipeline
