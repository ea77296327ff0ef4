#include "quant/linalg.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <cmath>

namespace nbl::quant {
namespace {

template <class T>
bool factor(std::span<T> a, int64_t n) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Matrix> map(a.data(), n, n);
  Eigen::LLT<Eigen::Ref<Matrix>, Eigen::Lower> llt(map);
  if (llt.info() != Eigen::Success) return false;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(map(i, i)) || map(i, i) <= 0) return false;
  }
  return true;
}

}  // namespace

bool cholesky_lower(std::span<double> a, int64_t n) { return factor(a, n); }
bool cholesky_lower(std::span<float> a, int64_t n) { return factor(a, n); }

}  // namespace nbl::quant
