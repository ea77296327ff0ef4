#include "quant/hessian_factor.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "quant/calibrated.h"
#include "quant/linalg.h"

namespace nbl::quant {
namespace {

/// Damping beyond this says that the matrix is wrong, not that it is close to singular: pivoting is the gentler step.
constexpr double kMostDamping = 0.25;
constexpr double kLeastDamping = 1e-5, kMostAutomaticDamping = 10;
constexpr double kLeastPivot = 1e-6;  ///< of the mean diagonal, when no damping was asked for

/// The damped matrix, its columns in order and back to front: its lower factor is R back to front.
std::vector<double> reversed(std::span<const float> hessian, const HessianFactor& factor, double added,
                        const MethodContext& context) {
  const int64_t k = factor.k;
  std::vector<double> a(static_cast<std::size_t>(k * k));
  context.team->parallel_for(k, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t p = k - 1 - i;
      const float* h = hessian.data() + (factor.order.empty() ? p : factor.order[static_cast<std::size_t>(p)]) * k;
      double* out = a.data() + i * k;
      for (int64_t j = 0; j <= i; ++j) {
        const int64_t c = k - 1 - j;
        out[j] = static_cast<double>(h[factor.order.empty() ? c : factor.order[static_cast<std::size_t>(c)]]);
      }
      if (factor.dead[static_cast<std::size_t>(p)] != 0) out[i] = 1;
      out[i] += added;
    }
  });
  return a;
}

void store_factor(const std::vector<double>& lower, HessianFactor* factor, const MethodContext& context) {
  const int64_t k = factor->k;
  factor->r.resize(static_cast<std::size_t>(k * k));
  context.team->parallel_for(k, 16, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      float* out = factor->r.data() + j * k;
      for (int64_t i = 0; i <= j; ++i) out[i] = static_cast<float>(lower[static_cast<std::size_t>((k - 1 - i) * k + k - 1 - j)]);
      const double* row = lower.data() + (k - 1 - j) * k;
      for (int64_t i = j + 1; i < k; ++i) out[i] = static_cast<float>(row[k - 1 - i]);
    }
  });
}

}  // namespace

std::vector<int32_t> descending_diagonal(std::span<const float> hessian, int64_t k) {
  std::vector<int32_t> order(static_cast<std::size_t>(k));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return hessian[static_cast<std::size_t>(a * (k + 1))] > hessian[static_cast<std::size_t>(b * (k + 1))];
  });
  return order;
}

std::vector<int32_t> descending_groups(std::span<const float> hessian, int64_t k, int64_t group) {
  const std::vector<int32_t> columns = descending_diagonal(hessian, k);
  const int64_t groups = (k + group - 1) / group;
  std::vector<double> size(static_cast<std::size_t>(groups));
  for (int64_t i = 0; i < k; ++i) {
    size[static_cast<std::size_t>(i / group)] += static_cast<double>(hessian[static_cast<std::size_t>(i * (k + 1))]);
  }
  std::vector<int64_t> by_size(static_cast<std::size_t>(groups));
  std::iota(by_size.begin(), by_size.end(), int64_t{0});
  std::stable_sort(by_size.begin(), by_size.end(), [&](int64_t a, int64_t b) {
    return size[static_cast<std::size_t>(a)] > size[static_cast<std::size_t>(b)];
  });
  std::vector<std::vector<int32_t>> members(static_cast<std::size_t>(groups));
  for (int32_t column : columns) members[static_cast<std::size_t>(column / group)].push_back(column);
  std::vector<int32_t> order;
  order.reserve(static_cast<std::size_t>(k));
  for (int64_t g : by_size) {
    const auto& m = members[static_cast<std::size_t>(g)];
    order.insert(order.end(), m.begin(), m.end());
  }
  return order;
}

double automatic_damping(std::span<const float> hessian, int64_t k, int64_t tokens) {
  double trace = 0, squares = 0;
  for (int64_t i = 0; i < k; ++i) {
    const float* row = hessian.data() + i * k;
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += static_cast<double>(row[j]) * static_cast<double>(row[j]);
    squares += sum;
    trace += static_cast<double>(row[i]);
  }
  const double p = static_cast<double>(k), n = static_cast<double>(tokens);
  // Of the estimate (1 - rho) S + rho tr(S) / p I; the sums are n S, and n cancels out.
  const double spread = (n + 1 - 2 / p) * (squares - trace * trace / p);
  const double rho = spread > 0 ? std::min(1.0, ((1 - 2 / p) * squares + trace * trace) / spread) : 1.0;
  return std::clamp(rho < 1 ? rho / (1 - rho) : kMostAutomaticDamping, kLeastDamping, kMostAutomaticDamping);
}

HessianFactor factor_hessian(const InputStats& stats, std::vector<int32_t> order, double damp, const MethodContext& context,
                             std::vector<std::string>* notes) {
  const std::span<const float> hessian = stats.hessian;
  const int64_t k = stats.k;
  HessianFactor factor;
  factor.k = k;
  factor.order = std::move(order);
  factor.dead.resize(static_cast<std::size_t>(k));
  double trace = 0;
  std::vector<int64_t> dead;
  for (int64_t p = 0; p < k; ++p) {
    const int64_t column = factor.order.empty() ? p : factor.order[static_cast<std::size_t>(p)];
    const double d = static_cast<double>(hessian[static_cast<std::size_t>(column * (k + 1))]);
    factor.dead[static_cast<std::size_t>(p)] = d <= 0 ? 1 : 0;
    if (d <= 0) dead.push_back(column);
    trace += d <= 0 ? 1 : d;
  }
  if (!dead.empty()) {
    notes->push_back(fmt::format("{} of {} input columns never carried a value: {}", dead.size(), k, first_few(dead)));
  }
  const double mean = trace / static_cast<double>(k);
  if (damp == kAutomaticDamping) {
    damp = automatic_damping(hessian, k, stats.tokens);
    notes->push_back(fmt::format("damping {:.3g} chosen for {} tokens", damp, stats.tokens));
  }
  double damping = damp;
  for (bool raised = false;; raised = true) {
    std::vector<double> a = reversed(hessian, factor, damping * mean, context);
    if (cholesky_lower(a, k, context)) {
      if (raised) notes->push_back(fmt::format("the Hessian is not positive definite: damping raised from {:g} to {:g}", damp, damping));
      store_factor(a, &factor, context);
      factor.added = static_cast<float>(damping * mean);
      return factor;
    }
    const double more = std::max(damping * 4, 1e-4);
    if (more > std::max(kMostDamping, damp)) break;
    damping = more;
  }
  std::vector<double> a = reversed(hessian, factor, damp * mean, context);
  const double floor = std::max(damp, kLeastPivot) * mean;
  const int64_t raised = pivoted_lower(a, k, floor);
  if (raised < 0) {
    notes->push_back(fmt::format("the Hessian holds values that are not finite, or too large; damping {:g} did not help", damping));
    return factor;
  }
  notes->push_back(fmt::format("the Hessian is not positive definite even with damping {:g}: pivoted factorization, {} of {} pivots raised",
                               damping, raised, k));
  store_factor(a, &factor, context);
  factor.added = static_cast<float>(std::max(damp * mean, floor));
  return factor;
}

}  // namespace nbl::quant
