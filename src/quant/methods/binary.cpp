// binary: one bit a weight with two values a group; in the columns that matter most a second bit holds the residual (after Huang et
// al., BiLLM, 2024, whose residual is binary with a scale of its own; here it is half the first one's step, so that both bits are one
// affine code). Errors of both are fed into later columns.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/checked.h"
#include "base/half.h"
#include "quant/affine.h"
#include "quant/block_search.h"
#include "quant/calibrated.h"
#include "quant/grid_feedback.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"group_size", OptionSpec::Type::integer, "128", -1, 65536, {}, "weights that share two values; -1: a row"},
    {"residual", OptionSpec::Type::real, "0.1", 0, 1, {}, "share of the columns with a second bit for what the first one misses, in steps of 64"},
    {"feedback", OptionSpec::Type::boolean, "true", 0, 1, {}, "round with error feedback through the inputs' second moments"},
    kDampOption,
};

/// Segments begin at multiples of this.
constexpr int64_t kSegmentStep = 64;

/// One segment of columns, packed order.
struct Part {
  int64_t begin = 0, count = 0, group = 0, groups = 0;
  int bits = 1;
  std::vector<uint8_t> codes;             ///< [n, count]
  std::vector<float> scales, minimums;    ///< [n, groups]
};

class BinaryMethod final : public Method {
 public:
  std::string_view id() const override { return "binary"; }
  std::string_view summary() const override { return "one bit a weight, a second one for the residual of the columns that matter"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options& options) const override { return options.boolean("feedback") ? kNeedHessian : kNeedSquare; }
  double nominal_bits(const Options& options) const override {
    const double group = static_cast<double>(options.integer("group_size"));
    return 1.0 + options.real("residual") + (group > 0 ? 32.0 / group : 0.0);
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options, const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    const int64_t n = task.n, k = task.k;
    const DType type = choose_scale_type(task.weight, 1, &notes);
    std::vector<float> importance = column_importance(task);
    if (importance.empty()) {
      notes.push_back("no calibration statistics: all inputs count alike");
      importance.assign(static_cast<std::size_t>(k), 1.0f);
    }
    const int64_t wanted = std::llround(options.real("residual") * static_cast<double>(k));
    // The first segment ends at a multiple of 64 or holds everything.
    int64_t two_bits = std::min(k, (wanted + kSegmentStep / 2) / kSegmentStep * kSegmentStep);
    if (wanted > 0 && two_bits == 0 && k > kSegmentStep) two_bits = kSegmentStep;
    const std::vector<int32_t> order = packed_order(task, importance, two_bits);
    std::vector<int64_t> place(order.size());
    for (std::size_t p = 0; p < order.size(); ++p) place[static_cast<std::size_t>(order[p])] = static_cast<int64_t>(p);

    std::vector<Part> parts;
    for (const auto& [begin, end, bits] : {std::tuple{int64_t{0}, two_bits, 2}, std::tuple{two_bits, k, 1}}) {
      if (begin == end) continue;
      Part part;
      part.begin = begin;
      part.count = end - begin;
      part.bits = bits;
      part.group = effective_group(options.integer("group_size"), part.count);
      part.groups = ceil_div(part.count, part.group);
      part.codes.resize(static_cast<std::size_t>(n * part.count));
      part.scales.resize(static_cast<std::size_t>(n * part.groups));
      part.minimums.resize(part.scales.size());
      fit(task, importance, order, type, context, &part);
      parts.push_back(std::move(part));
    }
    const auto round = [&](int64_t row, int64_t column, float w, float* value) {
      const int64_t p = place[static_cast<std::size_t>(column)];
      Part& part = p < parts.front().count ? parts.front() : parts.back();
      const std::size_t g = static_cast<std::size_t>(row * part.groups + (p - part.begin) / part.group);
      const BlockFit grid{part.scales[g], part.minimums[g]};
      const int code = minimum_code(w, grid, (1 << part.bits) - 1);
      part.codes[static_cast<std::size_t>(row * part.count + p - part.begin)] = static_cast<uint8_t>(code);
      *value = grid.scale * static_cast<float>(code) + grid.minimum;
    };
    HessianFactor factor;
    if (options.boolean("feedback")) factor = feedback_factor(task, damping_of(options), context, &notes);
    if (factor.r.empty()) {
      context.team->parallel_for(n, 4, [&](int64_t begin, int64_t end) {
        float value;
        for (int64_t i = begin * k; i < end * k; ++i) round(i / k, i % k, task.weight[static_cast<std::size_t>(i)], &value);
      });
    } else {
      round_on_grids(task, factor, context, [&](int64_t row, int64_t rows, int64_t column, const float* target, float* value) {
        for (int64_t r = 0; r < rows; ++r) round(row + r, column, target[r], value + r);
      });
    }
    QTensor tensor;
    tensor.n = n;
    tensor.k = k;
    for (const Part& part : parts) {
      AffineParts affine;
      affine.bits = part.bits;
      affine.group_size = stored_group(part.group, part.count);
      affine.codes = part.codes;
      affine.scales = part.scales;
      affine.scale_type = affine.zero_type = type;
      affine.zero_kind = ZeroKind::minimum;
      affine.zeros = part.minimums;
      NBL_ASSIGN(Segment segment, pack_affine(n, part.count, affine));
      segment.k_begin = part.begin;
      tensor.segments.push_back(std::move(segment));
    }
    if (!std::is_sorted(order.begin(), order.end())) {
      NBL_ASSIGN(tensor.column_order, Storage::copy(std::as_bytes(std::span(order))));
    }
    return finish_result(task, std::move(tensor), std::move(notes), context);
  }

 private:
  /// The `first` columns in which rounding costs most, then the others; both in their own order.
  static std::vector<int32_t> packed_order(const LinearTask& task, const std::vector<float>& importance, int64_t first) {
    std::vector<int32_t> order(importance.size());
    std::iota(order.begin(), order.end(), 0);
    if (first == 0 || first == task.k) return order;
    std::vector<double> cost(importance.size());
    for (int64_t row = 0; row < task.n; ++row) {
      const float* w = task.weight.data() + row * task.k;
      for (std::size_t c = 0; c < cost.size(); ++c) cost[c] += static_cast<double>(w[c]) * static_cast<double>(w[c]);
    }
    for (std::size_t c = 0; c < cost.size(); ++c) cost[c] *= static_cast<double>(importance[c]);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return cost[static_cast<std::size_t>(a)] > cost[static_cast<std::size_t>(b)]; });
    std::sort(order.begin(), order.begin() + first);
    std::sort(order.begin() + first, order.end());
    return order;
  }

  /// One mean deviation below the mean and one above.
  static BlockFit around_mean(const float* w, const float* h, int64_t count) {
    double weight = 0, mean = 0, deviation = 0;
    for (int64_t i = 0; i < count; ++i) weight += static_cast<double>(h[i]), mean += static_cast<double>(h[i]) * static_cast<double>(w[i]);
    mean /= weight;
    for (int64_t i = 0; i < count; ++i) deviation += static_cast<double>(h[i]) * std::fabs(static_cast<double>(w[i]) - mean);
    deviation /= weight;
    return {static_cast<float>(2 * deviation), static_cast<float>(mean - deviation)};
  }

  /// Two or four equally spaced values for each group of each row, of least weighted error.
  static void fit(const LinearTask& task, const std::vector<float>& importance, const std::vector<int32_t>& order, DType type,
                  const MethodContext& context, Part* part) {
    constexpr int kSteps = 20;
    context.team->parallel_for(task.n, 4, [&](int64_t begin, int64_t end) {
      std::vector<float> w(static_cast<std::size_t>(part->group)), h(w.size());
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t g = 0; g < part->groups; ++g) {
          const int64_t first = g * part->group, count = std::min(part->group, part->count - first);
          for (int64_t i = 0; i < count; ++i) {
            const std::size_t column = static_cast<std::size_t>(order[static_cast<std::size_t>(part->begin + first + i)]);
            w[static_cast<std::size_t>(i)] = task.weight[static_cast<std::size_t>(row * task.k) + column];
            h[static_cast<std::size_t>(i)] = importance[column];
          }
          const int top = (1 << part->bits) - 1;
          BlockFit best = fit_minimum(w.data(), h.data(), count, top, false, kSteps);
          if (part->bits == 1) {
            const BlockFit other = refit_minimum(w.data(), h.data(), count, top, around_mean(w.data(), h.data(), count));
            if (minimum_error(w.data(), h.data(), count, top, other) < minimum_error(w.data(), h.data(), count, top, best)) best = other;
          }
          const std::size_t at = static_cast<std::size_t>(row * part->groups + g);
          part->scales[at] = best.scale > 0 ? round_scale(best.scale, type) : 0.0f;
          part->minimums[at] = type == DType::f16 ? f16_to_f32(f32_to_f16(best.minimum)) : best.minimum;
        }
      }
    });
  }
};

}  // namespace

const Method* binary_method() {
  static const BinaryMethod method;
  return &method;
}

}  // namespace nbl::quant
