// hqq: half-quadratic quantization (Badri and Shaji, 2023). No calibration: the zero points are moved so that the p-norm (p < 1)
// of the weight error falls, which forgives few large errors for many small ones. Two alternating steps, each in closed form: a
// shrinkage of the error, and the zero that fits the shrunk weight.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "quant/affine.h"
#include "quant/calibrated.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"bits", OptionSpec::Type::integer, "4", 1, 8, {}, "bits a weight"},
    {"group_size", OptionSpec::Type::integer, "64", -1, 65536, {}, "weights that share a scale; -1: a row"},
    {"iterations", OptionSpec::Type::integer, "20", 0, 1000, {}, "rounds at most; they end when the error stops falling"},
    {"norm", OptionSpec::Type::real, "0.7", 0.1, 1, {}, "p of the norm that is minimized"},
    {"beta", OptionSpec::Type::real, "10", 0.001, 1e6, {}, "weight of the quadratic term at the beginning"},
    {"kappa", OptionSpec::Type::real, "1.01", 1, 10, {}, "growth of beta in a round"},
    {"refine", OptionSpec::Type::integer, "8", 0, 100, {}, "rounds of refitting scale and zero of each group afterwards; 0: the published result"},
};

/// One group's grid in the inverse form of the algorithm: q = round(w * inverse + zero).
struct Group {
  float inverse = 1, zero = 0;
};

struct Schedule {
  int iterations = 20;
  double norm = 0.7, beta = 10, kappa = 1.01;
};

/// Sign(x) max(0, |x| - |x|^(p-1) / beta).
float shrink(float x, float inverse_beta, float exponent) noexcept {
  const float magnitude = std::fabs(x);
  if (magnitude == 0) return 0;
  const float rest = magnitude - inverse_beta * std::pow(magnitude, exponent);
  return rest > 0 ? std::copysign(rest, x) : 0.0f;
}

Group start(const float* w, int64_t count, float max_code) noexcept {
  const auto [low, high] = std::minmax_element(w, w + count);
  Group g;
  const float span = *high - *low;
  // A constant group is the zero point of a grid as coarse as its value.
  g.inverse = span > 0 ? max_code / span : (*low != 0 ? 1.0f / std::fabs(*low) : 1.0f);
  if (!std::isfinite(g.inverse)) g.inverse = 1.0f;
  g.zero = -*low * g.inverse;
  return g;
}

/// One round on one group: returns the sum of |w - its old value|, and moves the zero.
double step(const float* w, int64_t count, float max_code, float beta, float exponent, Group* group) noexcept {
  const float inverse = group->inverse, zero = group->zero;
  double error = 0, sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float q = std::clamp(round_even(std::clamp(w[i] * inverse + zero, -1.0f, max_code + 1.0f)), 0.0f, max_code);
    const float difference = w[i] - (q - zero) / inverse;
    error += static_cast<double>(std::fabs(difference));
    sum += static_cast<double>(q - (w[i] - shrink(difference, beta, exponent)) * inverse);
  }
  group->zero = static_cast<float>(sum / static_cast<double>(count));
  return error;
}

/// A group as it is stored.
struct Stored {
  float scale = 1, zero = 0;
};

float code_of(float w, const Stored& s, float max_code) noexcept {
  return round_even(std::clamp(w / s.scale + s.zero, 0.0f, max_code));
}

Stored round_group(float scale, float zero, DType type) noexcept {
  Stored s;
  s.scale = round_scale(scale, type);
  s.zero = type == DType::f16 ? f16_to_f32(f32_to_f16(std::clamp(zero, -65504.0f, 65504.0f))) : zero;
  return s;
}

/// Sum of |w - value|^norm of a stored group.
double norm_error(const float* w, int64_t count, const Stored& s, float max_code, float norm) noexcept {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float d = std::fabs(w[i] - s.scale * (code_of(w[i], s, max_code) - s.zero));
    sum += norm == 2.0f ? static_cast<double>(d) * static_cast<double>(d) : static_cast<double>(std::pow(d, norm));
  }
  return sum;
}

/// Scale and zero refitted by least squares to the codes found, as long as the squared error falls.
Stored refit(const float* w, int64_t count, Stored best, int rounds, float max_code, DType type) noexcept {
  double least = norm_error(w, count, best, max_code, 2.0f);
  Stored now = best;
  for (int round = 0; round < rounds; ++round) {
    double q1 = 0, q2 = 0, w1 = 0, wq = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double q = static_cast<double>(code_of(w[i], now, max_code)), x = static_cast<double>(w[i]);
      q1 += q;
      q2 += q * q;
      w1 += x;
      wq += x * q;
    }
    const double m = static_cast<double>(count), spread = m * q2 - q1 * q1;
    if (!(spread > 0)) break;
    const double scale = (m * wq - q1 * w1) / spread;
    if (!(scale > 0)) break;
    const double minimum = (w1 - scale * q1) / m;
    now = round_group(static_cast<float>(scale), static_cast<float>(-minimum / scale), type);
    const double error = norm_error(w, count, now, max_code, 2.0f);
    if (!(error < least)) break;
    least = error;
    best = now;
  }
  return best;
}

class HqqMethod final : public Method {
 public:
  std::string_view id() const override { return "hqq"; }
  std::string_view summary() const override { return "zero points by half-quadratic optimization, no calibration"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options&) const override { return kNeedNone; }
  double nominal_bits(const Options& options) const override {
    const double group = static_cast<double>(options.integer("group_size"));
    return static_cast<double>(options.integer("bits")) + (group > 0 ? 32.0 / group : 0.0);
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    const int bits = static_cast<int>(options.integer("bits"));
    const float max_code = static_cast<float>((1 << bits) - 1);
    const int64_t size = effective_group(options.integer("group_size"), task.k), groups = (task.k + size - 1) / size;
    const DType type = choose_scale_type(task.weight, bits, &notes);
    std::vector<Group> grid(static_cast<std::size_t>(task.n * groups));
    const auto each_group = [&](int64_t begin, int64_t end, const auto& work) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t g = 0; g < groups; ++g) {
          work(static_cast<std::size_t>(row * groups + g), row * task.k + g * size, std::min(size, task.k - g * size));
        }
      }
    };
    const float* w = task.weight.data();
    context.team->parallel_for(task.n, 8, [&](int64_t begin, int64_t end) {
      each_group(begin, end, [&](std::size_t at, int64_t first, int64_t count) { grid[at] = start(w + first, count, max_code); });
    });

    // The published algorithm ends all groups together, in the round that no longer lowers the weight's mean error.
    const float exponent = static_cast<float>(options.real("norm") - 1);
    double beta = options.real("beta");
    float least = INFINITY;
    std::vector<double> errors(static_cast<std::size_t>(task.n));
    for (int64_t i = 0; i < options.integer("iterations"); ++i, beta *= options.real("kappa")) {
      const float inverse_beta = static_cast<float>(1 / beta);
      context.team->parallel_for(task.n, 8, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) errors[static_cast<std::size_t>(row)] = 0;
        each_group(begin, end, [&](std::size_t at, int64_t first, int64_t count) {
          errors[static_cast<std::size_t>(first / task.k)] += step(w + first, count, max_code, inverse_beta, exponent, &grid[at]);
        });
      });
      double sum = 0;
      for (const double e : errors) sum += e;
      // In float32, as published: a fall that it does not see is none.
      const float error = static_cast<float>(sum / static_cast<double>(task.n * task.k));
      if (!(error < least)) break;
      least = error;
    }

    std::vector<uint8_t> codes(task.weight.size());
    std::vector<float> scales(grid.size()), zeros(grid.size());
    const int refine = static_cast<int>(options.integer("refine"));
    context.team->parallel_for(task.n, 8, [&](int64_t begin, int64_t end) {
      each_group(begin, end, [&](std::size_t at, int64_t first, int64_t count) {
        Stored s = round_group(1.0f / grid[at].inverse, grid[at].zero, type);
        if (refine > 0) s = refit(w + first, count, s, refine, max_code, type);
        scales[at] = s.scale;
        zeros[at] = s.zero;
        for (int64_t c = 0; c < count; ++c) codes[static_cast<std::size_t>(first + c)] = static_cast<uint8_t>(code_of(w[first + c], s, max_code));
      });
    });
    AffineParts parts;
    parts.bits = bits;
    parts.group_size = stored_group(size, task.k);
    parts.codes = codes;
    parts.scales = scales;
    parts.scale_type = type;
    parts.zero_kind = ZeroKind::real;
    parts.zeros = zeros;
    parts.zero_type = type;
    NBL_ASSIGN(Segment segment, pack_affine(task.n, task.k, parts));
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
  }
};

}  // namespace

const Method* hqq_method() {
  static const HqqMethod method;
  return &method;
}

}  // namespace nbl::quant
