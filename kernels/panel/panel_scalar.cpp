#include <cstdint>

#include "kernels/panel/panel.h"

namespace nbl::kernels::panel_scalar {
namespace {

constexpr int kLanes = 1, kVectors = 4, kFeedbackBlock = 4;
using V = float;
inline V load(const float* p) { return *p; }
inline void store(float* p, V v) { *p = v; }
inline V zero(V) { return 0.0f; }
inline V broadcast(float v) { return v; }
inline V fma(V a, V b, V c) { return __builtin_fmaf(a, b, c); }
using D = double;
inline D load(const double* p) { return *p; }
inline void store(double* p, D v) { *p = v; }
inline D zero(D) { return 0.0; }
inline D broadcast(double v) { return v; }
inline D fma(D a, D b, D c) { return __builtin_fma(a, b, c); }
inline V mul(V a, V b) { return a * b; }
inline V add(V a, V b) { return a + b; }
inline V sub(V a, V b) { return a - b; }
inline V min(V a, V b) { return a < b ? a : b; }
inline V max(V a, V b) { return a > b ? a : b; }
using M = bool;
inline M greater(V a, V b) { return a > b; }
inline V select(M m, V yes, V no) { return m ? yes : no; }
inline uint32_t lane_bits(M m) { return m ? 1 : 0; }

}  // namespace

#include "kernels/panel/panel_body.inl"
#include "kernels/panel/panel_trellis.inl"

}  // namespace nbl::kernels::panel_scalar
