// rtn: every weight to the nearest value of its group's grid. Needs no calibration.
#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "kernels/panel/panel.h"
#include "kernels/rounding/rounding.h"
#include "quant/affine.h"
#include "quant/calibrated.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"bits", OptionSpec::Type::integer, "4", 1, 8, {}, "bits a weight"},
    {"group_size", OptionSpec::Type::integer, "128", -1, 65536, {}, "weights that share a scale; -1: a row, 0: the whole tensor"},
    {"sym", OptionSpec::Type::boolean, "false", 0, 1, {}, "symmetric grid: no zero points"},
    {"mse", OptionSpec::Type::integer, "0", 0, 200, {}, "ranges tried for each grid, the least squared error taken; 0: the full one"},
};

/// One bit holds two values: mean +- mean |w - mean| in the symmetric case mean = 0, else the two means that Lloyd's
/// iteration finds. Stored as w = s * q + m.
void binary_group(const float* w, int64_t count, bool symmetric, float* scale, float* minimum, uint8_t* codes) {
  double magnitude = 0;
  for (int64_t i = 0; i < count; ++i) magnitude += static_cast<double>(std::fabs(w[i]));
  magnitude /= static_cast<double>(count);
  double low = -magnitude, high = magnitude;
  if (!symmetric) {
    for (int round = 0; round < 20; ++round) {
      const double cut = 0.5 * (low + high);
      double sum[2] = {0, 0};
      int64_t members[2] = {0, 0};
      for (int64_t i = 0; i < count; ++i) {
        const int side = static_cast<double>(w[i]) > cut ? 1 : 0;
        sum[side] += static_cast<double>(w[i]);
        ++members[side];
      }
      const double new_low = members[0] > 0 ? sum[0] / static_cast<double>(members[0]) : low;
      const double new_high = members[1] > 0 ? sum[1] / static_cast<double>(members[1]) : high;
      if (new_low == low && new_high == high) break;
      low = new_low;
      high = new_high;
    }
  }
  const float limit = 65504.0f;
  *minimum = f16_to_f32(f32_to_f16(std::clamp(static_cast<float>(low), -limit, limit)));
  *scale = high > low ? round_scale(static_cast<float>(high - low), DType::f16) : 0.0f;
  const float cut = *minimum + 0.5f * *scale;
  for (int64_t i = 0; i < count; ++i) codes[i] = w[i] > cut ? 1 : 0;
}

class RtnMethod final : public Method {
 public:
  std::string_view id() const override { return "rtn"; }
  std::string_view summary() const override { return "round to nearest, scales by group, no calibration"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options&) const override { return kNeedNone; }

  double nominal_bits(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    const int64_t group = options.integer("group_size");
    if (group == 0 && bits > 1) return bits;
    if (bits == 1) return 1.0 + (group > 0 ? 32.0 / static_cast<double>(group) : 0.0);
    return nominal_affine_bits(bits, options.boolean("sym"), group);
  }

  bool by_rows(const Options& options, int64_t) const override { return options.integer("group_size") != 0; }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task, context.isa));
    std::vector<std::string> notes;
    GridRule rule;
    rule.bits = static_cast<int>(options.integer("bits"));
    rule.symmetric = options.boolean("sym");
    rule.search_steps = static_cast<int>(options.integer("mse"));
    if (rule.bits == 1) return binary(task, options, context);
    rule.scale_type = choose_scale_type(task.weight, rule.bits, &notes, context.isa);
    if (options.integer("group_size") == 0) return whole_tensor(task, rule, std::move(notes), context);
    AffineCodes codes = AffineCodes::create(task.n, task.k, options.integer("group_size"), rule);
    round_to_nearest(task.weight, rule, {}, context, &codes);
    NBL_ASSIGN(Segment segment, codes.pack());
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
  }

 private:
  /// One grid for everything, stored once.
  static Result<LinearResult> whole_tensor(const LinearTask& task, const GridRule& rule, std::vector<std::string> notes,
                                           const MethodContext& context) {
    const auto [low, high] = std::minmax_element(task.weight.begin(), task.weight.end());
    AlignedFloats ends(2 * kernels::kPanelRows);
    std::fill_n(ends.data(), kernels::kPanelRows, *low);
    std::fill_n(ends.data() + kernels::kPanelRows, kernels::kPanelRows, *high);
    GridRule full = rule;
    full.search_steps = 0;
    const float max_code = static_cast<float>((1 << rule.bits) - 1);
    Grid best;
    double least = INFINITY;
    const int steps = std::max(1, rule.search_steps);
    for (int step = 0; step < steps; ++step) {
      Grid grids[kernels::kPanelRows];
      float clip[kernels::kPanelRows];
      std::fill_n(clip, kernels::kPanelRows,
                  static_cast<float>(1.0 - (1.0 - rule.search_floor) * step / std::max(1, steps - 1)));
      find_grids(ends.data(), 2, full, nullptr, clip, context.isa, grids);
      std::vector<double> errors(static_cast<std::size_t>(task.n));
      if (steps > 1) {
        context.team->parallel_for(task.n, 8, [&](int64_t begin, int64_t end) {
          for (int64_t row = begin; row < end; ++row) {
            for (int64_t i = row * task.k; i < (row + 1) * task.k; ++i) {
              const float w = task.weight[static_cast<std::size_t>(i)], d = w - grid_value(nearest_code(w, grids[0], max_code), grids[0]);
              errors[static_cast<std::size_t>(row)] += static_cast<double>(d) * static_cast<double>(d);
            }
          }
        });
      }
      double error = 0;
      for (const double e : errors) error += e;
      if (!(error < least)) continue;
      least = error;
      best = grids[0];
    }
    AffineCodes codes = AffineCodes::create(task.n, task.k, -1, rule);
    std::fill(codes.scales.begin(), codes.scales.end(), best.scale);
    std::fill(codes.zeros.begin(), codes.zeros.end(), best.zero);
    context.team->parallel_for(task.n, 8, [&](int64_t begin, int64_t end) {
      kernels::rounding_kernels(context.isa).affine_codes(task.weight.data() + begin * task.k, (end - begin) * task.k, best.scale, best.zero,
                                                          max_code, codes.codes.data() + begin * task.k);
    });
    NBL_ASSIGN(Segment segment, codes.pack());
    ScaleCodes form;
    form.super_type = DType::f32;
    form.rows = task.n;
    NBL_ASSIGN(form, make_scale_codes(task.n, 1, std::move(form), {{}, {&best.scale, 1}, {}, {}}));
    NBL_TRY(set_scale_codes(task.n, std::move(form), &segment));
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
  }

  static Result<LinearResult> binary(const LinearTask& task, const Options& options, const MethodContext& context) {
    const int64_t group = effective_group(options.integer("group_size"), task.k);
    const int64_t groups = (task.k + group - 1) / group;
    std::vector<uint8_t> codes(task.weight.size());
    std::vector<float> scales(static_cast<std::size_t>(task.n * groups)), minimums(scales.size());
    const bool symmetric = options.boolean("sym");
    context.team->parallel_for(task.n, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t first = row * task.k + g * group, count = std::min(group, task.k - g * group);
          const std::size_t at = static_cast<std::size_t>(row * groups + g);
          binary_group(task.weight.data() + first, count, symmetric, &scales[at], &minimums[at], codes.data() + first);
        }
      }
    });
    AffineParts parts;
    parts.bits = 1;
    parts.group_size = stored_group(group, task.k);
    parts.codes = codes;
    parts.scales = scales;
    parts.zero_kind = ZeroKind::minimum;
    parts.zeros = minimums;
    NBL_ASSIGN(Segment segment, pack_affine(task.n, task.k, parts));
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), {}, context);
  }
};

}  // namespace

const Method* rtn_method() {
  static const RtnMethod method;
  return &method;
}

}  // namespace nbl::quant
