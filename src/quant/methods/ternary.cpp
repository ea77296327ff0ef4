// ternary: -s, 0 or s, one scale a group. In groups of 256 it is what GGUF's TQ1_0 and TQ2_0 hold. Scales are searched for the
// least error on the calibration, weights rounded with error feedback.
#include <algorithm>
#include <cmath>

#include "quant/affine.h"
#include "quant/block_search.h"
#include "quant/calibrated.h"
#include "quant/grid_feedback.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"group_size", OptionSpec::Type::integer, "256", -1, 65536, {}, "weights that share a scale; -1: a row"},
    {"feedback", OptionSpec::Type::boolean, "true", 0, 1, {}, "round with error feedback through the inputs' second moments"},
    kDampOption,
};

class TernaryMethod final : public Method {
 public:
  std::string_view id() const override { return "ternary"; }
  std::string_view summary() const override { return "-1, 0 or 1 times a group's scale (TQ1_0, TQ2_0)"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options& options) const override { return options.boolean("feedback") ? kNeedHessian : kNeedSquare; }
  double nominal_bits(const Options& options) const override {
    const double group = static_cast<double>(options.integer("group_size"));
    return 2.0 + (group > 0 ? 16.0 / group : 0.0);
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    const int64_t size = effective_group(options.integer("group_size"), task.k), groups = (task.k + size - 1) / size;
    const DType type = choose_scale_type(task.weight, 2, &notes);
    std::vector<float> importance = column_importance(task);
    if (importance.empty()) {
      notes.push_back("no calibration statistics: all inputs count alike");
      importance.assign(static_cast<std::size_t>(task.k), 1.0f);
    }
    Levels levels;
    levels.low = -1;
    levels.high = 1;
    std::vector<float> scales(static_cast<std::size_t>(task.n * groups));
    context.team->parallel_for(task.n, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t first = g * size, count = std::min(size, task.k - first);
          const float scale = fit_ternary(task.weight.data() + row * task.k + first, importance.data() + first, count, levels);
          scales[static_cast<std::size_t>(row * groups + g)] = scale > 0 ? round_scale(scale, type) : 0.0f;
        }
      }
    });
    std::vector<uint8_t> codes(task.weight.size());
    const auto round = [&](int64_t row, int64_t column, float w, float* value) {
      const float scale = scales[static_cast<std::size_t>(row * groups + column / size)];
      const uint8_t code = scale > 0 ? levels.code(w / scale) : uint8_t{1};
      codes[static_cast<std::size_t>(row * task.k + column)] = code;
      *value = scale * levels.level(code);
    };
    HessianFactor factor;
    if (options.boolean("feedback")) factor = feedback_factor(task, damping_of(options), context, &notes);
    if (factor.r.empty()) {
      context.team->parallel_for(task.n, 4, [&](int64_t begin, int64_t end) {
        float value;
        for (int64_t i = begin * task.k; i < end * task.k; ++i) round(i / task.k, i % task.k, task.weight[static_cast<std::size_t>(i)], &value);
      });
    } else {
      round_on_grids(task, factor, context, [&](int64_t row, int64_t rows, int64_t column, const float* target, float* value) {
        for (int64_t r = 0; r < rows; ++r) round(row + r, column, target[r], value + r);
      });
    }
    AffineParts parts;
    parts.bits = 2;
    parts.group_size = stored_group(size, task.k);
    parts.codes = codes;
    parts.scales = scales;
    parts.scale_type = type;
    parts.zero_kind = ZeroKind::code;
    const std::vector<float> zeros(scales.size(), 1.0f);
    parts.zeros = zeros;
    NBL_ASSIGN(Segment segment, pack_affine(task.n, task.k, parts));
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
  }

 private:
  /// The scale of least error: thresholds from 1/4 to all of the largest weight, each with its best scale (the weighted mean of what
  /// lies above it).
  static float fit_ternary(const float* w, const float* h, int64_t count, const Levels& levels) {
    float reach = 0;
    for (int64_t i = 0; i < count; ++i) reach = std::max(reach, std::fabs(w[i]));
    if (reach == 0) return 0;
    float best = reach;
    double least = scale_error(w, h, count, levels, reach);
    for (int step = 1; step <= 40; ++step) {
      const float threshold = reach * static_cast<float>(step) / 41.0f;
      double sum = 0, weight = 0;
      for (int64_t i = 0; i < count; ++i) {
        if (std::fabs(w[i]) <= threshold) continue;
        sum += static_cast<double>(h[i]) * static_cast<double>(std::fabs(w[i]));
        weight += static_cast<double>(h[i]);
      }
      if (!(weight > 0)) continue;
      const float scale = static_cast<float>(sum / weight);
      const double error = scale_error(w, h, count, levels, scale);
      if (error < least) {
        least = error;
        best = scale;
      }
    }
    return best;
  }
};

}  // namespace

const Method* ternary_method() {
  static const TernaryMethod method;
  return &method;
}

}  // namespace nbl::quant
