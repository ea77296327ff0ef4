#include "quant/affine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.h"
#include "base/half.h"

namespace nbl::quant {
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

double squared_error(const float* w, int64_t count, int64_t stride, const Grid& grid, float max_code,
                     const float* importance) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float x = w[i * stride];
    const float e = x - grid_value(nearest_code(x, grid, max_code), grid);
    sum += static_cast<double>(e * e) * (importance != nullptr ? static_cast<double>(importance[i]) : 1.0);
  }
  return sum;
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
  float reach = 0;
  for (float w : weight) reach = std::max(reach, std::fabs(w));
  const float largest_scale = 2.0f * (reach / static_cast<float>((1 << bits) - 1));
  if (largest_scale <= 65504.0f) return DType::f16;
  if (notes != nullptr) notes->push_back(fmt::format("scales stored as f32: weights up to {:g} exceed f16", reach));
  return DType::f32;
}

Grid find_grid(const float* w, int64_t count, int64_t stride, const GridRule& rule, const float* importance) {
  Extent full;
  for (int64_t i = 0; i < count; ++i) {
    full.low = std::min(full.low, w[i * stride]);
    full.high = std::max(full.high, w[i * stride]);
  }
  Grid best = grid_of(full, rule);
  if (rule.search_steps <= 0 || full.low == full.high) return best;
  const float max_code = static_cast<float>((1 << rule.bits) - 1);
  double best_error = squared_error(w, count, stride, best, max_code, importance);
  for (int step = 1; step < rule.search_steps; ++step) {
    const double shrink = 1.0 - static_cast<double>(step) / rule.search_steps;
    if (shrink < rule.search_floor) break;
    const float factor = static_cast<float>(shrink);
    const Grid grid = grid_of({full.low * factor, full.high * factor}, rule);
    const double error = squared_error(w, count, stride, grid, max_code, importance);
    if (error < best_error) {
      best_error = error;
      best = grid;
    }
  }
  return best;
}

Grid clipped_grid(const float* w, int64_t count, float factor, const GridRule& rule) {
  Extent extent;
  for (int64_t i = 0; i < count; ++i) {
    extent.low = std::min(extent.low, w[i]);
    extent.high = std::max(extent.high, w[i]);
  }
  return grid_of({extent.low * factor, extent.high * factor}, rule);
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

void round_to_nearest(std::span<const float> weight, const GridRule& rule, std::span<const float> importance,
                      std::span<const float> clip, Team& team, AffineCodes* out) {
  const int64_t k = out->k, groups = out->groups();
  const float max_code = static_cast<float>((1 << rule.bits) - 1);
  team.parallel_for(out->n, 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* w = weight.data() + row * k;
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = g * out->group, count = std::min(out->group, k - first);
        const std::size_t at = static_cast<std::size_t>(row * groups + g);
        Grid grid;
        if (clip.empty()) {
          grid = find_grid(w + first, count, 1, rule, importance.empty() ? nullptr : importance.data() + first);
        } else {
          grid = clipped_grid(w + first, count, clip[at], rule);
        }
        out->scales[at] = grid.scale;
        if (!rule.symmetric) out->zeros[at] = grid.zero;
        for (int64_t i = first; i < first + count; ++i) {
          out->codes[static_cast<std::size_t>(row * k + i)] = static_cast<uint8_t>(nearest_code(w[i], grid, max_code));
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
