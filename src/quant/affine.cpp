#include "quant/affine.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "base/half.h"
#include "kernels/panel/panel.h"
#include "quant/calibrated.h"

namespace nbl::quant {

using kernels::kPanelRows;

namespace {

struct Extent {
  float low = 0, high = 0;  ///< low <= 0 <= high: a grid always holds zero
};

Grid grid_of(Extent extent, const GridRule& rule) {
  const float max_code = static_cast<float>((1 << rule.bits) - 1);
  Grid grid;
  if (rule.symmetric) {
    const float reach = std::max(-extent.low, extent.high);
    grid.zero = static_cast<float>(1 << (rule.bits - 1));
    grid.scale = reach > 0 ? round_scale(2.0f * (reach / max_code), rule.scale_type) : 1.0f;
    return grid;
  }
  if (extent.low == extent.high) return grid;  // all zero: scale 1, zero code 0
  grid.scale = round_scale(extent.high / max_code - extent.low / max_code, rule.scale_type);
  grid.zero = std::min(max_code, std::max(0.0f, round_even(std::min(-extent.low / grid.scale, max_code))));
  return grid;
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

DType choose_scale_type(std::span<const float> weight, int bits, std::vector<std::string>* notes) {
  uint32_t bits_of_reach = 0;  // magnitudes compare as their bits do, and integers are compared in vectors
  for (const float w : weight) bits_of_reach = std::max(bits_of_reach, std::bit_cast<uint32_t>(w) & 0x7fffffffu);
  const float reach = std::bit_cast<float>(bits_of_reach);
  const float largest_scale = 2.0f * (reach / static_cast<float>((1 << bits) - 1));
  if (largest_scale <= 65504.0f) return DType::f16;
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
    grids[r] = grid_of({full[r].low * factor, full[r].high * factor}, rule);
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
      tried[r] = step == 0 ? grids[r] : grid_of({full[r].low * factor, full[r].high * factor}, rule);
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
  return pack_affine(n, k, parts);
}

void round_to_nearest(std::span<const float> weight, const GridRule& rule, std::span<const float> clip,
                      const MethodContext& context, AffineCodes* out) {
  const int64_t k = out->k, n = out->n, groups = out->groups();
  const float max_code = static_cast<float>((1 << rule.bits) - 1);
  context.team->parallel_for(ceil_div(n, kPanelRows), 1, [&](int64_t begin, int64_t end) {
    AlignedFloats panel(k * kPanelRows);
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first_row = p * kPanelRows, rows = std::min<int64_t>(kPanelRows, n - first_row);
      load_panel(weight, n, k, first_row, {}, panel.data());
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = g * out->group, count = std::min(out->group, k - first);
        Grid grids[kPanelRows];
        float factors[kPanelRows];
        for (int64_t r = 0; r < kPanelRows; ++r) {
          factors[r] = !clip.empty() && r < rows ? clip[static_cast<std::size_t>((first_row + r) * groups + g)] : 1.0f;
        }
        find_grids(panel.data() + first * kPanelRows, count, rule, nullptr, clip.empty() ? nullptr : factors, context.isa,
                   grids);
        for (int64_t r = 0; r < rows; ++r) {
          const std::size_t at = static_cast<std::size_t>((first_row + r) * groups + g);
          out->scales[at] = grids[r].scale;
          if (!rule.symmetric) out->zeros[at] = grids[r].zero;
          const float* w = weight.data() + (first_row + r) * k;
          uint8_t* codes = out->codes.data() + (first_row + r) * k;
          for (int64_t i = first; i < first + count; ++i) {
            codes[i] = static_cast<uint8_t>(nearest_code(w[i], grids[r], max_code));
          }
        }
      }
    }
  });
}

double nominal_affine_bits(int bits, bool symmetric, int64_t group) {
  if (group <= 0) return bits;
  return bits + (16.0 + (symmetric ? 0 : bits)) / static_cast<double>(group);
}

Status check_group_size(int64_t group_size) {
  if (group_size <= 0 || group_size % 16 == 0) return {};
  return Status(Code::invalid_argument,
                fmt::format("group_size is {}, expected -1 (one group a row) or a multiple of 16", group_size));
}

}  // namespace nbl::quant
