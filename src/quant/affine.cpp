#include "quant/affine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "base/half.h"
#include "kernels/panel/panel.h"
#include "kernels/rounding/rounding.h"
#include "quant/calibrated.h"
#include "quant/trellis.h"

namespace nbl::quant {

using kernels::kPanelRows;

namespace {

struct Extent {
  float low = 0, high = 0;  ///< low <= 0 <= high: a grid always holds zero
};

Grid grid_of(Extent extent, const GridRule& rule, int64_t row) {
  const auto stored = [&](float scale) {
    return rule.steps == nullptr ? round_scale(scale, rule.scale_type) : round_to_steps(scale, rule.steps[row], rule.scale_top);
  };
  const float max_code = static_cast<float>((1 << rule.bits) - 1);
  Grid grid;
  if (rule.steps != nullptr) grid.scale = rule.steps[row];
  if (rule.symmetric) {
    const float reach = std::max(-extent.low, extent.high);
    grid.zero = static_cast<float>(1 << (rule.bits - 1));
    if (reach > 0) grid.scale = stored(2.0f * (reach / max_code));
    return grid;
  }
  if (extent.low == extent.high) return grid;  // all zero: any scale, zero code 0
  grid.scale = stored(extent.high / max_code - extent.low / max_code);
  grid.zero = std::min(max_code, std::max(0.0f, round_even(std::min(-extent.low / grid.scale, max_code))));
  return grid;
}

Extent extent_of(const float* w, int64_t count, const kernels::RoundingKernels& kernel) {
  Extent extent;
  kernel.extent(w, count, &extent.low, &extent.high);
  return extent;
}

}  // namespace

float round_scale(float scale, DType type) noexcept {
  switch (type) {
    case DType::f16: {
      const float rounded = f16_to_f32(f32_to_f16(std::min(scale, 65504.0f)));
      return rounded > 0 ? rounded : f16_to_f32(1);
    }
    case DType::bf16: {
      const float rounded = bf16_to_f32(f32_to_bf16(scale));
      return rounded > 0 && std::isfinite(rounded) ? rounded : scale;
    }
    default:
      return std::max(scale, 1.2e-38f);
  }
}

DType choose_scale_type(std::span<const float> weight, int bits, std::vector<std::string>* notes, Isa isa) {
  return choose_scale_type_of(weight, 2.0f / static_cast<float>((1 << bits) - 1), notes, isa);
}

DType choose_scale_type_of(std::span<const float> weight, float scale_of_reach, std::vector<std::string>* notes, Isa isa) {
  const Extent extent = extent_of(weight.data(), static_cast<int64_t>(weight.size()), kernels::rounding_kernels(isa));
  const float reach = std::max(-extent.low, extent.high);
  if (reach * scale_of_reach <= 65504.0f) return DType::f16;
  if (notes != nullptr) notes->push_back(fmt::format("scales stored as f32: weights up to {:g} exceed f16", reach));
  return DType::f32;
}

void find_grids(const float* panel, int64_t count, const GridRule& rule, const float* importance, const float* clip, Isa isa,
                Grid* grids) {
  Extent full[kPanelRows];
  for (int64_t c = 0; c < count; ++c) {
    const float* w = panel + c * kPanelRows;
    for (int64_t r = 0; r < kPanelRows; ++r) {
      full[r].low = std::min(full[r].low, w[r]);
      full[r].high = std::max(full[r].high, w[r]);
    }
  }
  for (int64_t r = 0; r < kPanelRows; ++r) {
    const float factor = clip != nullptr ? clip[r] : 1.0f;
    grids[r] = grid_of({full[r].low * factor, full[r].high * factor}, rule, r);
  }
  if (rule.search_steps <= 1 || clip != nullptr) return;

  alignas(64) float scale[kPanelRows], inverse[kPanelRows], zero[kPanelRows], error[kPanelRows], least[kPanelRows];
  kernels::GridErrorArgs args{};
  args.panel = panel;
  args.columns = count;
  args.importance = importance;
  args.scale = scale;
  args.inverse = inverse;
  args.zero = zero;
  args.max_code = static_cast<float>((1 << rule.bits) - 1);
  args.out = error;
  const auto& kernel = kernels::select_panel(static_cast<int>(isa));
  for (int step = 0; step < rule.search_steps; ++step) {
    const float factor = static_cast<float>(1.0 - (1.0 - rule.search_floor) * step / (rule.search_steps - 1));
    Grid tried[kPanelRows];
    for (int64_t r = 0; r < kPanelRows; ++r) {
      tried[r] = step == 0 ? grids[r] : grid_of({full[r].low * factor, full[r].high * factor}, rule, r);
      scale[r] = tried[r].scale;
      inverse[r] = 1.0f / tried[r].scale;
      zero[r] = tried[r].zero;
    }
    kernel.grid_error(args);
    for (int64_t r = 0; r < kPanelRows; ++r) {
      if (step > 0 && !(error[r] < least[r])) continue;
      least[r] = error[r];
      grids[r] = tried[r];
    }
  }
}

float AffineCodes::value(int64_t row, int64_t column) const noexcept {
  const uint8_t code = codes[static_cast<std::size_t>(row * k + column)];
  const std::size_t group_at = static_cast<std::size_t>(row * groups() + column / group);
  if (trellis) return scales[group_at] * trellis_table(bits).values[code];
  return grid_value(static_cast<float>(code), {scales[group_at], symmetric ? static_cast<float>(1 << (bits - 1)) : zeros[group_at]});
}

AffineCodes AffineCodes::create(int64_t n, int64_t k, int64_t group_size, const GridRule& rule) {
  AffineCodes out;
  out.n = n;
  out.k = k;
  out.group = std::max<int64_t>(1, effective_group(group_size, k));
  out.bits = rule.bits;
  out.symmetric = rule.symmetric;
  out.scale_type = rule.scale_type;
  out.codes.resize(static_cast<std::size_t>(n * k));
  out.scales.resize(static_cast<std::size_t>(n * out.groups()));
  if (!rule.symmetric) out.zeros.resize(out.scales.size());
  return out;
}

Result<Segment> AffineCodes::pack() const {
  AffineParts parts;
  parts.bits = bits;
  parts.group_size = stored_group(group, k);
  parts.codes = codes;
  parts.scales = scales;
  parts.scale_type = scale_type;
  parts.zero_kind = symmetric ? ZeroKind::symmetric : ZeroKind::code;
  parts.zeros = zeros;
  const TrellisParts paths{bits, parts.group_size, trellis ? trellis_table(bits).stored : std::array<float, 16>{}, codes, scales,
                           scale_bits == 0 ? scale_type : DType::f32};
  if (scale_bits == 0) return trellis ? pack_trellis(n, k, paths) : pack_affine(n, k, parts);
  ScaleCodes form;
  form.bits = scale_bits;
  form.rows = step_rows;
  form.groups = groups();
  form.super_type = scale_type;
  std::vector<uint8_t> scale_codes(scales.size());
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const float step = steps[i / static_cast<std::size_t>(groups() * step_rows)];
    scale_codes[i] = static_cast<uint8_t>(round_even(scales[i] / step));
  }
  NBL_ASSIGN(form, make_scale_codes(n, groups(), std::move(form), {scale_codes, steps, {}, {}}));
  parts.scale_type = DType::f32;
  NBL_ASSIGN(Segment segment, trellis ? pack_trellis(n, k, paths) : pack_affine(n, k, parts));
  NBL_TRY(set_scale_codes(n, std::move(form), &segment));
  return segment;
}

void AffineCodes::code_scales(std::span<const float> weight, int code_bits, const MethodContext& context) {
  constexpr int64_t kShared = 32;  // scales to a step, or more: it costs half a bit of each or less
  scale_bits = code_bits;
  step_rows = 1;
  while (step_rows < kMostStepRows && step_rows * groups() < kShared) step_rows *= 2;
  steps.assign(static_cast<std::size_t>(ceil_div(n, step_rows)), 1.0f);
  context.team->parallel_for(static_cast<int64_t>(steps.size()), 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * step_rows; row < std::min(n, end * step_rows); row += step_rows) {
      float largest[kMostStepRows];
      const int64_t rows = std::min(step_rows, n - row);
      for (int64_t r = 0; r < rows; ++r) largest[r] = largest_scale(weight.data() + (row + r) * k);
      fit_steps(row, std::span(largest, static_cast<std::size_t>(rows)));
    }
  });
}

void AffineCodes::fit_steps(int64_t row, std::span<const float> largest) {
  const float top = static_cast<float>((1 << scale_bits) - 1);
  const int64_t rows = static_cast<int64_t>(largest.size());
  for (int64_t first = 0; first < rows; first += step_rows) {
    const auto from = largest.begin() + first;
    const float most = *std::max_element(from, from + std::min(step_rows, rows - first));
    if (most > 0) steps[static_cast<std::size_t>((row + first) / step_rows)] = round_scale(most / top, scale_type);
  }
}

float AffineCodes::scale_for(float low, float high, float root_mean_square) const {
  if (trellis) return TrellisCoder::reach(trellis_table(bits), root_mean_square, std::max(-low, high));
  const float levels = static_cast<float>((1 << bits) - 1);
  return symmetric ? 2.0f * (std::max(-low, high) / levels) : high / levels - low / levels;
}

float AffineCodes::largest_scale(const float* row) const {
  float largest = 0;
  for (int64_t first = 0; first < k; first += group) {
    const int64_t count = std::min(group, k - first);
    double sum = 0;
    float low = 0, high = 0;
    for (int64_t c = first; c < first + count; ++c) {
      sum += static_cast<double>(row[c]) * static_cast<double>(row[c]);
      low = std::min(low, row[c]);
      high = std::max(high, row[c]);
    }
    largest = std::max(largest, scale_for(low, high, static_cast<float>(std::sqrt(sum / static_cast<double>(count)))));
  }
  return largest;
}

GridRule AffineCodes::rule_of(const GridRule& rule, int64_t row, float* panel_steps) const {
  GridRule own = rule;
  if (scale_bits == 0) return own;
  for (int64_t r = 0; r < kPanelRows; ++r)
    panel_steps[r] = steps[std::min(steps.size() - 1, static_cast<std::size_t>((row + r) / step_rows))];
  own.steps = panel_steps;
  own.scale_top = static_cast<float>((1 << scale_bits) - 1);
  return own;
}

void round_to_nearest(std::span<const float> weight, const GridRule& rule, std::span<const float> clip,
                      const MethodContext& context, AffineCodes* out) {
  const int64_t k = out->k, n = out->n, groups = out->groups();
  const float max_code = static_cast<float>((1 << rule.bits) - 1);
  const bool searched = rule.search_steps > 1 && clip.empty();
  const kernels::RoundingKernels& kernel = kernels::rounding_kernels(context.isa);
  context.team->parallel_for(ceil_div(n, kPanelRows), 1, [&](int64_t begin, int64_t end) {
    AlignedFloats panel(searched ? k * kPanelRows : 0);
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first_row = p * kPanelRows, rows = std::min<int64_t>(kPanelRows, n - first_row);
      if (searched) load_panel(weight, n, k, first_row, {}, panel.data());
      float steps[kPanelRows];
      const GridRule own = out->rule_of(rule, first_row, steps);
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = g * out->group, count = std::min(out->group, k - first);
        Grid grids[kPanelRows];
        if (searched) find_grids(panel.data() + first * kPanelRows, count, own, nullptr, nullptr, context.isa, grids);
        for (int64_t r = 0; r < rows; ++r) {
          const std::size_t at = static_cast<std::size_t>((first_row + r) * groups + g);
          const float* w = weight.data() + (first_row + r) * k;
          if (!searched) {
            const Extent full = extent_of(w + first, count, kernel);
            const float factor = clip.empty() ? 1.0f : clip[at];
            grids[r] = grid_of({full.low * factor, full.high * factor}, own, r);
          }
          out->scales[at] = grids[r].scale;
          if (!rule.symmetric) out->zeros[at] = grids[r].zero;
          kernel.affine_codes(w + first, count, grids[r].scale, grids[r].zero, max_code, out->codes.data() + (first_row + r) * k + first);
        }
      }
    }
  });
}

double nominal_affine_bits(int bits, bool symmetric, int64_t group, int scale_bits) {
  if (group <= 0) return bits;
  const double scale = scale_bits == 0 ? 16.0 : scale_bits + 16.0 / 32.0;
  return bits + (scale + (symmetric ? 0 : bits)) / static_cast<double>(group);
}

Status check_group_size(int64_t group_size) {
  if (group_size <= 0 || group_size % 16 == 0) return {};
  return Status(Code::invalid_argument,
                fmt::format("group_size is {}, expected -1 (one group a row) or a multiple of 16", group_size));
}

}  // namespace nbl::quant
