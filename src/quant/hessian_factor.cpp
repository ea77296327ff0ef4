#include "quant/hessian_factor.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "quant/linalg.h"

namespace nbl::quant {
namespace {

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

HessianFactor factor_hessian(std::span<const float> hessian, int64_t k, std::vector<int32_t> order, double damp,
                             const MethodContext& context, std::vector<std::string>* notes) {
  HessianFactor factor;
  factor.k = k;
  factor.order = std::move(order);
  factor.dead.resize(static_cast<std::size_t>(k));
  double trace = 0;
  int64_t dead = 0;
  for (int64_t p = 0; p < k; ++p) {
    const int64_t column = factor.order.empty() ? p : factor.order[static_cast<std::size_t>(p)];
    const double d = static_cast<double>(hessian[static_cast<std::size_t>(column * (k + 1))]);
    factor.dead[static_cast<std::size_t>(p)] = d <= 0 ? 1 : 0;
    dead += d <= 0 ? 1 : 0;
    trace += d <= 0 ? 1 : d;
  }
  if (dead > 0) notes->push_back(fmt::format("{} of {} input columns never carried a value", dead, k));
  const double mean = trace / static_cast<double>(k);
  double damping = damp;
  for (int attempt = 0; attempt < 8; ++attempt) {
    std::vector<double> a = reversed(hessian, factor, damping * mean, context);
    if (cholesky_lower(a, k, context)) {
      if (attempt > 0) notes->push_back(fmt::format("damping raised from {:g} to {:g}", damp, damping));
      store_factor(a, &factor, context);
      factor.added = static_cast<float>(damping * mean);
      return factor;
    }
    damping = std::max(damping * 4, 1e-4);
  }
  notes->push_back(fmt::format("the Hessian is not positive definite even with damping {:g}", damping));
  return factor;
}

}  // namespace nbl::quant
