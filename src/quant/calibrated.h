// Checks and measures that every method needs: finite weights, the error of a result against the Hessian.
#pragma once

#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "quant/method.h"

namespace nbl::quant {

/// Sizes agree, and no weight is NaN or infinite: the error names the first such row and column.
Status check_task(const LinearTask& task, Isa isa = best_isa());

/// Index of the first value that is NaN or infinite; else the number of values.
int64_t first_not_finite(std::span<const float> values, Isa isa = best_isa());

/// True when the statistics hold a usable Hessian; else a note says why not.
bool has_hessian(const LinearTask& task, std::vector<std::string>* notes);

/// How much an error in each of the task's k columns costs: the mean of x^2, from what statistics there are; floored at a small
/// share of its mean, so that no column is free. Empty (all alike) when there are none.
std::vector<float> column_importance(const LinearTask& task);

/// The scale for which the largest input that the calibration saw is `largest`; 0 (a scale of each token) with a note when there is
/// none.
float static_input_scale(const LinearTask& task, float largest, std::vector<std::string>* notes);

/// Sum over rows of e H e^T. e [n, k] row-major, h [k, k] symmetric.
double quadratic_error(std::span<const float> e, int64_t n, std::span<const float> h, int64_t k,
                       const MethodContext& context);

/// The same for one panel of errors [k][32].
double panel_quadratic_error(const float* panel, std::span<const float> h, int64_t k, Isa isa);

/// LinearResult::error of `tensor` as a replacement of the task's weight; into *relative_to, if given, LinearResult::reference.
double relative_error(const LinearTask& task, const QTensor& tensor, const MethodContext& context, double* relative_to = nullptr);

/// Makes columns that come from one row of their producer (LinearTask::producer_rows; empty: nothing to do) share one scale, the
/// geometric mean of theirs.
void tie_scales(std::span<const int64_t> producer_rows, std::vector<float>* scales);

/// Rows [row, row + 32) of a row-major [n, k] matrix as a panel [k][32]; rows beyond n are 0. order: column p of the panel is
/// column order[p] of the matrix (empty: p).
void load_panel(std::span<const float> matrix, int64_t n, int64_t k, int64_t row, std::span<const int32_t> order,
                float* panel);

/// 64-byte aligned numbers, not initialized: for kernels.
template <class T>
class AlignedArray {
 public:
  explicit AlignedArray(int64_t count)
      : data_(static_cast<T*>(
            ::operator new(static_cast<std::size_t>(count > 0 ? count : 1) * sizeof(T), std::align_val_t(64)))) {}
  ~AlignedArray() { ::operator delete(data_, std::align_val_t(64)); }
  AlignedArray(const AlignedArray&) = delete;
  AlignedArray& operator=(const AlignedArray&) = delete;
  T* data() noexcept { return data_; }

 private:
  T* data_;
};
using AlignedFloats = AlignedArray<float>;

/// "3, 5, 9, 12 and 4 more", ascending.
std::string first_few(std::vector<int64_t> numbers);

/// Wraps finished codes: the tensor, its error, its notes, to which rows of one value alone are added.
Result<LinearResult> finish_result(const LinearTask& task, QTensor tensor, std::vector<std::string> notes,
                                   const MethodContext& context);

}  // namespace nbl::quant
