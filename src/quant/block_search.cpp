#include "quant/block_search.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "quant/affine.h"

namespace nbl::quant {
namespace {

float to_half(float x) noexcept { return f16_to_f32(f32_to_f16(std::clamp(x, -65504.0f, 65504.0f))); }

/// Loops below keep eight sums side by side, so that they need no order of additions but their own and vectorize.
constexpr int64_t kLanes = 8;

double total(const float (&lanes)[kLanes]) noexcept {
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

float bounded(float x, float low, float high) noexcept {
  x = x < low ? low : x;
  return x > high ? high : x;
}

/// body(i, lane) for every i, whole lines of lanes first.
template <class Body>
void by_lanes(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) body(i + lane, lane);
  }
  for (int64_t lane = 0; i < count; ++i, ++lane) body(i, lane);
}

/// Sums for the least-squares fit of w by levels: sum h w l, sum h l l.
struct Sums {
  double wl = 0, ll = 0;
};

Sums sums_at(const float* w, const float* h, int64_t count, const Levels& levels, float inverse) noexcept {
  float wl[kLanes] = {}, ll[kLanes] = {};
  if (levels.table != nullptr) {
    by_lanes(count, [&](int64_t i, int64_t lane) {
      const float level = levels.table->value(w[i] * inverse);
      wl[lane] += h[i] * level * w[i];
      ll[lane] += h[i] * level * level;
    });
  } else {
    const float low = static_cast<float>(levels.low), high = static_cast<float>(levels.high);
    by_lanes(count, [&](int64_t i, int64_t lane) {
      const float level = round_even(bounded(w[i] * inverse, low, high));
      wl[lane] += h[i] * level * w[i];
      ll[lane] += h[i] * level * level;
    });
  }
  return {total(wl), total(ll)};
}

}  // namespace

uint8_t Levels::code(float x) const noexcept {
  if (table != nullptr) return table->code(x);
  const float bounded = std::clamp(x, static_cast<float>(low), static_cast<float>(high));
  return static_cast<uint8_t>(static_cast<int>(round_even(bounded)) - low);
}

uint8_t minimum_code(float w, const BlockFit& fit, int max_code) noexcept {
  if (!(fit.scale > 0)) return 0;
  const float x = (w - fit.minimum) / fit.scale;
  return static_cast<uint8_t>(round_even(std::clamp(x, 0.0f, static_cast<float>(max_code))));
}

double scale_error(const float* w, const float* h, int64_t count, const Levels& levels, float scale) {
  const float inverse = scale != 0 && std::isfinite(1.0f / scale) ? 1.0f / scale : 0.0f;
  float error[kLanes] = {};
  if (levels.table != nullptr) {
    by_lanes(count, [&](int64_t i, int64_t lane) {
      const float d = w[i] - scale * levels.table->value(w[i] * inverse);
      error[lane] += h[i] * (d * d);
    });
  } else {
    const float low = static_cast<float>(levels.low), high = static_cast<float>(levels.high);
    by_lanes(count, [&](int64_t i, int64_t lane) {
      const float d = w[i] - scale * round_even(bounded(w[i] * inverse, low, high));
      error[lane] += h[i] * (d * d);
    });
  }
  return total(error);
}

double minimum_error(const float* w, const float* h, int64_t count, int max_code, const BlockFit& fit) {
  const float inverse = fit.scale > 0 ? 1.0f / fit.scale : 0.0f, top = static_cast<float>(max_code);
  float error[kLanes] = {};
  const float scale = fit.scale, minimum = fit.minimum;
  by_lanes(count, [&](int64_t i, int64_t lane) {
    const float q = round_even(bounded((w[i] - minimum) * inverse, 0.0f, top));
    const float d = w[i] - (scale * q + minimum);
    error[lane] += h[i] * (d * d);
  });
  return total(error);
}

float fit_scale(const float* w, const float* h, int64_t count, const Levels& levels, int steps) {
  float extreme = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (std::fabs(w[i]) > std::fabs(extreme)) extreme = w[i];
  }
  if (extreme == 0) return 0;
  float best = 0;
  double gain = -1;  // how much of sum h w w the fit explains
  for (const float end : {levels.lowest(), levels.highest()}) {
    if (end == 0) continue;
    for (int s = 0; s < steps; ++s) {
      // The extreme weight lies at 0.7 to 1.15 times the end of the levels.
      const float at = end * (1.15f - 0.45f * static_cast<float>(s) / static_cast<float>(std::max(1, steps - 1)));
      const float inverse = at / extreme;
      if (!std::isfinite(inverse)) continue;
      const Sums sums = sums_at(w, h, count, levels, inverse);
      if (!(sums.ll > 0)) continue;
      const double explained = sums.wl * sums.wl / sums.ll;
      if (explained > gain) {
        gain = explained;
        best = static_cast<float>(sums.wl / sums.ll);
      }
    }
  }
  return best != 0 ? best : extreme / levels.lowest();
}

BlockFit refit_minimum(const float* w, const float* h, int64_t count, int max_code, BlockFit fit) {
  for (int turn = 0; turn < 20 && fit.scale > 0; ++turn) {
    double sh = 0, q1 = 0, q2 = 0, sw = 0, wq = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double q = minimum_code(w[i], fit, max_code), weight = static_cast<double>(h[i]), x = static_cast<double>(w[i]);
      sh += weight;
      q1 += weight * q;
      q2 += weight * q * q;
      sw += weight * x;
      wq += weight * x * q;
    }
    const double determinant = sh * q2 - q1 * q1;
    if (!(determinant > 0)) break;
    const double scale = (sh * wq - sw * q1) / determinant;
    const BlockFit next{static_cast<float>(scale), static_cast<float>((sw - scale * q1) / sh)};
    if (!(next.scale > 0) || (next.scale == fit.scale && next.minimum == fit.minimum)) break;
    fit = next;
  }
  return fit;
}

BlockFit fit_minimum(const float* w, const float* h, int64_t count, int max_code, bool below, int steps) {
  const auto [low_at, high_at] = std::minmax_element(w, w + count);
  float low = *low_at;
  const float high = *high_at;
  if (below) low = std::min(low, 0.0f);
  const float top = static_cast<float>(max_code);
  BlockFit best{(high - low) / top, low};
  if (!(high > low)) return {0, below ? std::min(0.0f, low) : low};
  double least = minimum_error(w, h, count, max_code, best);
  double sh = 0, sw = 0;
  for (int64_t i = 0; i < count; ++i) {
    sh += static_cast<double>(h[i]);
    sw += static_cast<double>(h[i] * w[i]);
  }
  for (int s = 0; s < 2 * steps; ++s) {
    // The range holds 0.7 to 1.1 times the codes that there are; then, finely, about as many as there are.
    const float place = static_cast<float>(s % steps) / static_cast<float>(std::max(1, steps - 1));
    const float span = s < steps ? top * (0.9f + 0.5f * place) : top - 0.9f + 1.8f * place;
    const float inverse = span / (high - low);
    if (!std::isfinite(inverse)) continue;
    float sums[3][kLanes] = {};
    const float middle = 0.5f * (high + low), centre = 0.5f * top;
    by_lanes(count, [&](int64_t i, int64_t lane) {
      const float q = round_even(bounded((w[i] - middle) * inverse + centre, 0.0f, top)), hq = h[i] * q;
      sums[0][lane] += hq;
      sums[1][lane] += hq * q;
      sums[2][lane] += hq * w[i];
    });
    const double q1 = total(sums[0]), q2 = total(sums[1]), wq = total(sums[2]);
    const double determinant = sh * q2 - q1 * q1;
    if (!(determinant > 0)) continue;
    BlockFit fit{static_cast<float>((sh * wq - sw * q1) / determinant), 0};
    fit.minimum = static_cast<float>((sw - static_cast<double>(fit.scale) * q1) / sh);
    if (below && fit.minimum > 0) fit = {static_cast<float>(wq / q2), 0};
    if (!(fit.scale > 0)) continue;
    const double error = minimum_error(w, h, count, max_code, fit);
    if (error < least) {
      least = error;
      best = fit;
    }
  }
  return below ? best : refit_minimum(w, h, count, max_code, best);
}

namespace {

/// A super-block while it is fitted.
struct SuperState {
  const float *w, *h;
  int64_t count, groups;
  const SuperRule& rule;

  const float* weights(int64_t g) const { return w + g * rule.group; }
  const float* importance(int64_t g) const { return h + g * rule.group; }
  int64_t size(int64_t g) const { return std::min(rule.group, count - g * rule.group); }
  BlockFit grid(const SuperFit& fit, int64_t g) const {
    const std::size_t i = static_cast<std::size_t>(g);
    return {fit.scale * static_cast<float>(fit.scale_multiple[i]), fit.minimum * static_cast<float>(fit.minimum_multiple[i])};
  }
  double error(const BlockFit& grid, int64_t g) const {
    if (rule.minimum_high > 0) return minimum_error(weights(g), importance(g), size(g), rule.max_code, grid);
    return scale_error(weights(g), importance(g), size(g), rule.levels, grid.scale);
  }
};

/// Each group's multiples moved by one where that lowers its error; returns the sum.
double move_multiples(const SuperState& state, SuperFit* fit) {
  const SuperRule& rule = state.rule;
  double total = 0;
  for (int64_t g = 0; g < state.groups; ++g) {
    const std::size_t i = static_cast<std::size_t>(g);
    const int s0 = fit->scale_multiple[i], m0 = fit->minimum_multiple[i];
    double least = INFINITY;
    int best_s = s0, best_m = m0;
    const int lowest = rule.minimum_high > 0 ? 1 : rule.scale_low;
    for (int s = std::max(lowest, s0 - 1); s <= std::min(rule.scale_high, s0 + 1); ++s) {
      const int reach = rule.minimum_high > 0 ? 1 : 0;
      for (int m = std::max(0, m0 - reach); m <= std::min(rule.minimum_high, m0 + reach); ++m) {
        fit->scale_multiple[i] = s;
        fit->minimum_multiple[i] = m;
        const double error = state.error(state.grid(*fit, g), g);
        if (error < least) {
          least = error;
          best_s = s;
          best_m = m;
        }
      }
    }
    fit->scale_multiple[i] = best_s;
    fit->minimum_multiple[i] = best_m;
    total += least;
  }
  return total;
}

/// The super-scale (and super-minimum) of least error for the codes and multiples as they are.
SuperFit refit(const SuperState& state, const SuperFit& fit) {
  const SuperRule& rule = state.rule;
  double aa = 0, ab = 0, bb = 0, wa = 0, wb = 0;  // w ~ scale a + minimum b
  for (int64_t g = 0; g < state.groups; ++g) {
    const BlockFit grid = state.grid(fit, g);
    const float *w = state.weights(g), *h = state.importance(g);
    const double s = fit.scale_multiple[static_cast<std::size_t>(g)], b = fit.minimum_multiple[static_cast<std::size_t>(g)];
    const float inverse = grid.scale != 0 ? 1.0f / grid.scale : 0.0f;
    for (int64_t i = 0; i < state.size(g); ++i) {
      const double level = rule.minimum_high > 0 ? static_cast<double>(minimum_code(w[i], grid, rule.max_code))
                                                 : static_cast<double>(rule.levels.level(rule.levels.code(w[i] * inverse)));
      const double a = s * level, hi = static_cast<double>(h[i]), wi = static_cast<double>(w[i]);
      aa += hi * a * a;
      ab += hi * a * b;
      bb += hi * b * b;
      wa += hi * wi * a;
      wb += hi * wi * b;
    }
  }
  SuperFit out = fit;
  const double determinant = aa * bb - ab * ab;
  if (rule.minimum_high > 0 && determinant > 1e-9 * aa * bb) {
    out.scale = to_half(static_cast<float>((bb * wa - ab * wb) / determinant));
    out.minimum = to_half(static_cast<float>((aa * wb - ab * wa) / determinant));
  } else if (aa > 0) {
    out.scale = to_half(static_cast<float>((wa - static_cast<double>(fit.minimum) * ab) / aa));
  }
  if (rule.minimum_high > 0 && (!(out.scale > 0) || out.minimum > 0)) return fit;
  return out;
}

}  // namespace

SuperFit fit_super(const float* w, const float* h, int64_t count, const SuperRule& rule) {
  const SuperState state{w, h, count, (count + rule.group - 1) / rule.group, rule};
  std::array<BlockFit, 16> own{};
  float largest = 0, lowest = 0;
  for (int64_t g = 0; g < state.groups; ++g) {
    BlockFit& fit = own[static_cast<std::size_t>(g)];
    if (rule.minimum_high > 0) {
      fit = fit_minimum(state.weights(g), state.importance(g), state.size(g), rule.max_code, true, rule.steps);
    } else {
      fit.scale = fit_scale(state.weights(g), state.importance(g), state.size(g), rule.levels, rule.steps);
    }
    if (std::fabs(fit.scale) > std::fabs(largest)) largest = fit.scale;
    lowest = std::min(lowest, fit.minimum);
  }
  SuperFit best;
  if (largest == 0 && lowest == 0) return best;
  double least = INFINITY;
  // The largest scale at the end of the multiples, or a little inside.
  const int far = -rule.scale_low > rule.scale_high ? rule.scale_low : rule.scale_high;
  for (const float share : {1.0f, 0.92f}) {
    SuperFit fit;
    fit.scale = to_half(largest / (share * static_cast<float>(far)));
    if (fit.scale == 0) fit.scale = std::copysign(f16_to_f32(1), largest == 0 ? 1.0f : largest / static_cast<float>(far));
    if (rule.minimum_high > 0) fit.minimum = to_half(lowest / (share * static_cast<float>(rule.minimum_high)));
    for (int64_t g = 0; g < state.groups; ++g) {
      const std::size_t i = static_cast<std::size_t>(g);
      const float scale = std::clamp(own[i].scale / fit.scale, -200.0f, 200.0f);
      fit.scale_multiple[i] = std::clamp(static_cast<int>(std::lrint(scale)), rule.minimum_high > 0 ? 1 : rule.scale_low, rule.scale_high);
      if (fit.minimum < 0) {
        fit.minimum_multiple[i] =
            std::clamp(static_cast<int>(std::lrint(std::min(200.0f, own[i].minimum / fit.minimum))), 0, rule.minimum_high);
      }
    }
    for (int round = 0; round < 3; ++round) {
      const double error = move_multiples(state, &fit);
      if (error < least) {
        least = error;
        best = fit;
      } else if (round > 0) {
        break;
      }
      fit = refit(state, fit);
    }
  }
  return best;
}

}  // namespace nbl::quant
