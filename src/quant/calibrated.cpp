#include "quant/calibrated.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>

#include "base/checked.h"
#include "kernels/panel/panel.h"
#include "kernels/rounding/rounding.h"

namespace nbl::quant {

using kernels::FeedbackArgs;
using kernels::kFeedbackColumns;
using kernels::kPanelRows;

int64_t first_not_finite(std::span<const float> values, Isa isa) {
  const int64_t count = static_cast<int64_t>(values.size());
  if (kernels::rounding_kernels(isa).finite(values.data(), count)) return count;
  return std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); }) - values.begin();
}

Status check_task(const LinearTask& task, Isa isa) {
  int64_t size = 0;
  if (task.n < 1 || task.k < 1 || !checked_mul(task.n, task.k, &size) ||
      static_cast<int64_t>(task.weight.size()) != size) {
    return Status(Code::invalid_argument,
                  fmt::format("{}: shape [{}, {}] does not describe {} weights", task.name, task.n, task.k,
                              task.weight.size()));
  }
  for (int64_t row = 0; row < task.n; ++row) {
    const int64_t i = first_not_finite(task.weight.subspan(static_cast<std::size_t>(row * task.k), static_cast<std::size_t>(task.k)), isa);
    if (i == task.k) continue;
    return Status(Code::corrupt, fmt::format("{}: weight at row {}, column {} is {}, expected a finite number", task.name, row, i,
                                             task.weight[static_cast<std::size_t>(row * task.k + i)]));
  }
  return {};
}

bool has_hessian(const LinearTask& task, std::vector<std::string>* notes) {
  const auto note = [&](std::string text) {
    if (notes != nullptr) notes->push_back(std::move(text));
    return false;
  };
  if (task.stats == nullptr || task.stats->hessian.empty()) return note("no calibration statistics");
  if (task.stats->k != task.k || static_cast<int64_t>(task.stats->hessian.size()) != task.k * task.k) {
    return note(fmt::format("statistics are for {} columns, the weight has {}", task.stats->k, task.k));
  }
  if (task.stats->tokens < 1) return note("calibration saw no tokens");
  double trace = 0;
  for (int64_t i = 0; i < task.k; ++i) {
    const float d = task.stats->hessian[static_cast<std::size_t>(i * task.k + i)];
    if (!std::isfinite(d) || d < 0) {
      return note(fmt::format("the Hessian's diagonal holds {} at column {}", d, i));
    }
    if (const int64_t j = first_not_finite({task.stats->hessian.data() + i * task.k, static_cast<std::size_t>(task.k)}); j < task.k) {
      return note(fmt::format("the Hessian holds {} at row {}, column {}", task.stats->hessian[static_cast<std::size_t>(i * task.k + j)], i, j));
    }
    trace += static_cast<double>(d);
  }
  if (trace <= 0) return note("every input column is zero in the calibration");
  return true;
}

std::vector<float> column_importance(const LinearTask& task) {
  if (task.stats == nullptr || task.stats->k != task.k || task.stats->tokens < 1) return {};
  const std::size_t k = static_cast<std::size_t>(task.k);
  std::vector<float> importance(k);
  if (task.stats->square.size() == k) {
    importance = task.stats->square;
  } else if (task.stats->hessian.size() == k * k) {
    for (std::size_t c = 0; c < k; ++c) importance[c] = task.stats->hessian[c * k + c];
  } else {
    return {};
  }
  double sum = 0;
  for (float& v : importance) {
    if (!(v >= 0) || !std::isfinite(v)) return {};
    v /= static_cast<float>(task.stats->tokens);
    sum += static_cast<double>(v);
  }
  if (!(sum > 0)) return {};
  const float floor = static_cast<float>(1e-4 * sum / static_cast<double>(k));
  for (float& v : importance) v = std::max(v, floor);
  return importance;
}

float static_input_scale(const LinearTask& task, float largest, std::vector<std::string>* notes) {
  float reach = 0;
  if (task.stats != nullptr) {
    for (const float v : task.stats->abs_max) reach = std::max(reach, v);
  }
  const float scale = reach / largest;
  if (scale > 0 && std::isfinite(scale)) return scale;
  notes->push_back("no calibration statistics of the inputs: each token gets its own scale");
  return 0;
}

void tie_scales(std::span<const int64_t> producer_rows, std::vector<float>* scales) {
  if (producer_rows.size() != scales->size()) return;
  std::map<int64_t, std::pair<double, int>> logs;
  for (std::size_t c = 0; c < scales->size(); ++c) {
    auto& [sum, count] = logs[producer_rows[c]];
    sum += std::log(static_cast<double>((*scales)[c]));
    ++count;
  }
  for (std::size_t c = 0; c < scales->size(); ++c) {
    const auto& [sum, count] = logs[producer_rows[c]];
    if (count > 1) (*scales)[c] = static_cast<float>(std::exp(sum / count));
  }
}

void load_panel(std::span<const float> matrix, int64_t n, int64_t k, int64_t row, std::span<const int32_t> order,
                float* panel) {
  const int64_t rows = std::min<int64_t>(kPanelRows, n - row);
  if (rows < kPanelRows) std::memset(panel, 0, static_cast<std::size_t>(k * kPanelRows) * sizeof(float));
  for (int64_t p = 0; p < k; ++p) {
    const int64_t column = order.empty() ? p : order[static_cast<std::size_t>(p)];
    const float* from = matrix.data() + row * k + column;
    for (int64_t r = 0; r < rows; ++r) panel[p * kPanelRows + r] = from[r * k];
  }
}

double panel_quadratic_error(const float* panel, std::span<const float> h, int64_t k, Isa isa) {
  // e H e^T = sum_j e_j (H_jj e_j + 2 sum_{i<j} H_ji e_i): half the products of the plain form.
  const auto feedback = kernels::select_panel(static_cast<int>(isa)).feedback;
  alignas(64) float product[kFeedbackColumns * kPanelRows];
  double sum = 0;
  for (int64_t j = 0; j < k; j += kFeedbackColumns) {
    const int columns = static_cast<int>(std::min<int64_t>(kFeedbackColumns, k - j));
    feedback(FeedbackArgs{h.data() + j * k, k, columns, panel, 0, j, product});
    for (int64_t c = 0; c < columns; ++c) {
      const float *row = h.data() + (j + c) * k, *ej = panel + (j + c) * kPanelRows;
      float inner[kPanelRows];
      for (int64_t r = 0; r < kPanelRows; ++r) inner[r] = product[c * kPanelRows + r];
      for (int64_t i = j; i < j + c; ++i) {
        for (int64_t r = 0; r < kPanelRows; ++r) inner[r] += row[i] * panel[i * kPanelRows + r];
      }
      float part = 0;
      for (int64_t r = 0; r < kPanelRows; ++r) part += ej[r] * (row[j + c] * ej[r] + 2 * inner[r]);
      sum += static_cast<double>(part);
    }
  }
  return sum;
}

double quadratic_error(std::span<const float> e, int64_t n, std::span<const float> h, int64_t k,
                       const MethodContext& context) {
  const int64_t panels = ceil_div(n, kPanelRows);
  std::vector<double> parts(static_cast<std::size_t>(panels));
  context.team->parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    AlignedFloats panel(k * kPanelRows);
    for (int64_t p = begin; p < end; ++p) {
      load_panel(e, n, k, p * kPanelRows, {}, panel.data());
      parts[static_cast<std::size_t>(p)] = panel_quadratic_error(panel.data(), h, k, context.isa);
    }
  });
  double total = 0;
  for (double part : parts) total += part;
  return total;
}

namespace {

/// The relative error where columns count by their mean square, or all alike.
double diagonal_error(const LinearTask& task, const QTensor& tensor, const MethodContext& context, double* relative_to) {
  const std::vector<float> importance = column_importance(task);
  std::vector<double> errors(static_cast<std::size_t>(task.n)), references(errors.size());
  const kernels::RoundingKernels& kernel = kernels::rounding_kernels(context.isa);
  context.team->parallel_for(task.n, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<std::size_t>(task.k));
    std::vector<std::byte> scratch(static_cast<std::size_t>(tensor.row_scratch_bytes()));
    for (int64_t r = begin; r < end; ++r) {
      tensor.dequantize_row(r, row.data(), scratch.data());
      const std::size_t at = static_cast<std::size_t>(r);
      kernel.squared_error(task.weight.data() + r * task.k, row.data(), importance.empty() ? nullptr : importance.data(), task.k, &errors[at],
                           &references[at]);
    }
  });
  double error = 0, reference = 0;
  for (const double e : errors) error += e;
  for (const double w : references) reference += w;
  *relative_to = reference;
  if (reference > 0 && std::isfinite(reference) && std::isfinite(error)) return error / reference;
  // Out of the range of float32: the same in double precision.
  error = reference = 0;
  std::vector<float> row(static_cast<std::size_t>(task.k));
  for (int64_t r = 0; r < task.n; ++r) {
    tensor.dequantize_row(r, row.data());
    for (int64_t i = 0; i < task.k; ++i) {
      const double w = static_cast<double>(task.weight[static_cast<std::size_t>(r * task.k + i)]);
      const double d = w - static_cast<double>(row[static_cast<std::size_t>(i)]);
      error += d * d;
      reference += w * w;
    }
  }
  *relative_to = reference;
  return reference > 0 ? error / reference : 0.0;
}

}  // namespace

double relative_error(const LinearTask& task, const QTensor& tensor, const MethodContext& context, double* relative_to) {
  double ignored = 0;
  if (relative_to == nullptr) relative_to = &ignored;
  if (!has_hessian(task, nullptr)) return diagonal_error(task, tensor, context, relative_to);
  std::vector<float> difference(task.weight.size());
  context.team->parallel_for(task.n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* out = difference.data() + row * task.k;
      tensor.dequantize_row(row, out);
      const float* w = task.weight.data() + row * task.k;
      for (int64_t i = 0; i < task.k; ++i) out[i] = w[i] - out[i];
    }
  });
  double error = 0, reference = 0;
  error = quadratic_error(difference, task.n, task.stats->hessian, task.k, context);
  reference = quadratic_error(task.weight, task.n, task.stats->hessian, task.k, context);
  *relative_to = reference;
  return reference > 0 ? std::max(0.0, error) / reference : 0.0;
}

std::string first_few(std::vector<int64_t> numbers) {
  constexpr std::size_t kShown = 4;
  std::sort(numbers.begin(), numbers.end());
  const std::size_t more = numbers.size() > kShown ? numbers.size() - kShown : 0;
  numbers.resize(numbers.size() - more);
  std::string text = fmt::format("{}", fmt::join(numbers, ", "));
  if (more > 0) text += fmt::format(" and {} more", more);
  return text;
}

namespace {

void note_constant_rows(const LinearTask& task, std::vector<std::string>* notes) {
  std::vector<int64_t> zero, constant;
  for (int64_t row = 0; row < task.n && task.k > 1; ++row) {
    const float* w = task.weight.data() + row * task.k;
    int64_t i = 1;
    while (i < task.k && w[i] == w[0]) ++i;
    if (i == task.k) (w[0] == 0 ? zero : constant).push_back(row);
  }
  if (!zero.empty()) notes->push_back(fmt::format("{} of {} rows hold zeros alone: {}", zero.size(), task.n, first_few(zero)));
  if (!constant.empty()) {
    notes->push_back(fmt::format("{} of {} rows hold one value alone: {}", constant.size(), task.n, first_few(constant)));
  }
}

}  // namespace

Result<LinearResult> finish_result(const LinearTask& task, QTensor tensor, std::vector<std::string> notes,
                                   const MethodContext& context) {
  LinearResult result;
  result.error = relative_error(task, tensor, context, &result.reference);
  result.tensor = std::move(tensor);
  note_constant_rows(task, &notes);
  result.notes = std::move(notes);
  return result;
}

}  // namespace nbl::quant
