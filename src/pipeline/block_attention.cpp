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

/// The same of the transposed rows: [ceil(length / 32)][dim][32].
void row_panels(const HeadRows& rows, int64_t length, int64_t dim, float* out) {
  for (int64_t t = 0; t < length; t += kPanelRows, out += dim * kPanelRows) {
    const int64_t count = std::min(kPanelRows, length - t);
    for (int64_t i = 0; i < dim; ++i) {
      for (int64_t r = 0; r < kPanelRows; ++r) out[i * kPanelRows + r] = r < count ? rows.data[(t + r) * rows.ld + i] : 0.0f;
    }
  }
}

/// product [rows <= 8][32] = rows of a times a panel over [begin, end) of the inner dimension.
void multiply(const float* a, int64_t lda, int64_t rows, const float* panel, int64_t begin, int64_t end, float* product) {
  kernel().feedback(kernels::FeedbackArgs{a, lda, static_cast<int>(rows), panel, begin, end, product});
}

void transpose(const float* a, int64_t rows, int64_t columns, float* out) {
  constexpr int64_t kBlock = 16;
  for (int64_t r = 0; r < rows; r += kBlock)
    for (int64_t c = 0; c < columns; c += kBlock)
      for (int64_t i = r; i < std::min(r + kBlock, rows); ++i)
        for (int64_t j = c; j < std::min(c + kBlock, columns); ++j) out[j * rows + i] = a[i * columns + j];
}

}  // namespace

void attend_head(const HeadRows& q, const HeadRows& k, const HeadRows& v, int64_t length, int64_t dim, float scale, float* p,
                 float* out, int64_t ld_out) {
  const kernels::ElementwiseKernels& elementwise = kernels::elementwise_kernels(best_isa());
  const int64_t keys = padded_keys(length), tiles = (dim + kPanelRows - 1) / kPanelRows;
  AlignedFloats k_panels(keys * dim), v_panels(tiles * length * kPanelRows), product(kFeedbackColumns * kPanelRows);
  row_panels(k, length, dim, k_panels.data());
  column_panels(v, length, dim, v_panels.data());
  for (int64_t r0 = 0; r0 < length; r0 += kFeedbackColumns) {
    const int64_t rows = std::min<int64_t>(kFeedbackColumns, length - r0);
    for (int64_t key = 0; key < r0 + rows; key += kPanelRows) {
      multiply(q.data + r0 * q.ld, q.ld, rows, k_panels.data() + key * dim, 0, dim, product.data());
      for (int64_t r = 0; r < rows; ++r) std::copy_n(product.data() + r * kPanelRows, kPanelRows, p + (r0 + r) * keys + key);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float* row = p + (r0 + r) * keys;
      const int64_t visible = r0 + r + 1;
      elementwise.scale(row, scale, visible);
      elementwise.scale(row, 1.0f / elementwise.exp_sum(row, visible), visible);
      std::fill(row + visible, row + keys, 0.0f);
    }
    for (int64_t c = 0; c < dim; c += kPanelRows) {
      multiply(p + r0 * keys, keys, rows, v_panels.data() + c * length, 0, r0 + rows, product.data());
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(product.data() + r * kPanelRows, std::min(kPanelRows, dim - c), out + (r0 + r) * ld_out + c);
    }
  }
}

void attend_head_backward(const HeadRows& q, const HeadRows& k, const HeadRows& v, const HeadRows& d_out, int64_t length,
                          int64_t dim, float scale, const float* p, float* dq, float* dk, float* dv, int64_t ld_dq,
                          int64_t ld_dk) {
  const int64_t keys = padded_keys(length), tiles = (dim + kPanelRows - 1) / kPanelRows;
  AlignedFloats v_rows(keys * dim), k_columns(tiles * length * kPanelRows), q_columns(tiles * length * kPanelRows),
      d_columns(tiles * length * kPanelRows), ds(length * keys), turned(keys * length), product(kFeedbackColumns * kPanelRows);
  row_panels(v, length, dim, v_rows.data());
  column_panels(k, length, dim, k_columns.data());
  column_panels(q, length, dim, q_columns.data());
  column_panels(d_out, length, dim, d_columns.data());
  const auto add = [&](float* to, int64_t ld, int64_t r0, int64_t rows, int64_t c, float factor) {
    for (int64_t r = 0; r < rows; ++r) {
      float* row = to + (r0 + r) * ld + c;
      for (int64_t i = 0; i < std::min(kPanelRows, dim - c); ++i) row[i] += factor * product.data()[r * kPanelRows + i];
    }
  };
  for (int64_t r0 = 0; r0 < length; r0 += kFeedbackColumns) {
    const int64_t rows = std::min<int64_t>(kFeedbackColumns, length - r0);
    for (int64_t r = 0; r < rows; ++r) std::fill_n(ds.data() + (r0 + r) * keys, keys, 0.0f);
    for (int64_t key = 0; key < r0 + rows; key += kPanelRows) {
      multiply(d_out.data + r0 * d_out.ld, d_out.ld, rows, v_rows.data() + key * dim, 0, dim, product.data());
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(product.data() + r * kPanelRows, kPanelRows, ds.data() + (r0 + r) * keys + key);
    }
    for (int64_t r = 0; r < rows; ++r) {
      // Through the softmax: dS = P (dP - sum P dP); P is zero where a key is not seen.
      float* row = ds.data() + (r0 + r) * keys;
      const float* weight = p + (r0 + r) * keys;
      float sum = 0;
      for (int64_t j = 0; j <= r0 + r; ++j) sum += weight[j] * row[j];
      for (int64_t j = 0; j < keys; ++j) row[j] = weight[j] * (row[j] - sum);
    }
    for (int64_t c = 0; c < dim; c += kPanelRows) {
      multiply(ds.data() + r0 * keys, keys, rows, k_columns.data() + c * length, 0, r0 + rows, product.data());
      add(dq, ld_dq, r0, rows, c, scale);
    }
  }
  transpose(ds.data(), length, keys, turned.data());
  for (int64_t r0 = 0; r0 < length; r0 += kFeedbackColumns) {
    const int64_t rows = std::min<int64_t>(kFeedbackColumns, length - r0);
    for (int64_t c = 0; c < dim; c += kPanelRows) {
      multiply(turned.data() + r0 * length, length, rows, q_columns.data() + c * length, r0, length, product.data());
      add(dk, ld_dk, r0, rows, c, scale);
    }
  }
  transpose(p, length, keys, turned.data());
  for (int64_t r0 = 0; r0 < length; r0 += kFeedbackColumns) {
    const int64_t rows = std::min<int64_t>(kFeedbackColumns, length - r0);
    for (int64_t c = 0; c < dim; c += kPanelRows) {
      multiply(turned.data() + r0 * length, length, rows, d_columns.data() + c * length, r0, length, product.data());
      add(dv, ld_dk, r0, rows, c, 1.0f);
    }
  }
}

}  // namespace nbl::pipeline
