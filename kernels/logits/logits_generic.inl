// The body of the variants. The including file defines, in its anonymous namespace, a struct V with reg, kLanes and the
// operations used below. tail(p, count) loads count < kLanes floats and fills the rest with its second argument.

// exp of x in [-87, 0]: 2^n * exp(r), |r| <= ln 2 / 2, by the Taylor polynomial of degree 7 (error below 2^-24).
inline V::reg exp_negative(V::reg x) {
  const V::reg n = V::round(V::mul(x, V::set(1.44269504088896341f)));
  V::reg r = V::fmadd(n, V::set(-0.693359375f), x);
  r = V::fmadd(n, V::set(2.12194440e-4f), r);
  V::reg p = V::set(1.0f / 5040.0f);
  p = V::fmadd(p, r, V::set(1.0f / 720.0f));
  p = V::fmadd(p, r, V::set(1.0f / 120.0f));
  p = V::fmadd(p, r, V::set(1.0f / 24.0f));
  p = V::fmadd(p, r, V::set(1.0f / 6.0f));
  p = V::fmadd(p, r, V::set(0.5f));
  p = V::fmadd(p, r, V::set(1.0f));
  p = V::fmadd(p, r, V::set(1.0f));
  return V::scale(p, n);
}

constexpr float kLowest = -87.0f;
constexpr int kShortSum = 8;  // float terms a lane before they join the double sum

inline float max_body(const float* x, int64_t n, int64_t* index) {
  const float low = -__builtin_huge_valf();
  V::reg best = V::set(low);
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) best = V::max(best, V::load(x + i));
  if (i < n) best = V::max(best, V::tail(x + i, n - i, low));
  const float value = V::reduce_max(best);
  int64_t at = 0;
  while (at < n && !(x[at] == value)) ++at;
  *index = at;
  return value;
}

inline double sum_exp_body(const float* x, int64_t n, float max) {
  const V::reg m = V::set(max), lowest = V::set(kLowest);
  typename V::wide total = V::wide_zero();
  V::reg part = V::set(0.0f);
  int terms = 0;
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    part = V::add(part, exp_negative(V::max(V::sub(V::load(x + i), m), lowest)));
    if (++terms == kShortSum) {
      total = V::wide_add(total, part);
      part = V::set(0.0f);
      terms = 0;
    }
  }
  if (i < n) {
    const V::reg e = exp_negative(V::max(V::sub(V::tail(x + i, n - i, max), m), lowest));
    part = V::add(part, V::first(e, n - i));
  }
  return V::wide_sum(V::wide_add(total, part));
}

inline void sums_body(const float* a, const float* b, int64_t n, float max_a, float max_b, LogitSums* out) {
  const V::reg ma = V::set(max_a), mb = V::set(max_b), lowest = V::set(kLowest);
  typename V::wide sa = V::wide_zero(), sb = V::wide_zero(), cross = V::wide_zero();
  V::reg pa = V::set(0.0f), pb = V::set(0.0f), pc = V::set(0.0f);
  int terms = 0;
  for (int64_t i = 0; i < n; i += V::kLanes) {
    const int64_t left = n - i;
    const bool whole = left >= V::kLanes;
    const V::reg va = whole ? V::load(a + i) : V::tail(a + i, left, max_a);
    const V::reg vb = whole ? V::load(b + i) : V::tail(b + i, left, max_b);
    const V::reg xa = V::sub(va, ma);
    V::reg ea = exp_negative(V::max(xa, lowest));
    V::reg eb = exp_negative(V::max(V::sub(vb, mb), lowest));
    V::reg term = V::keep_above(V::mul(ea, V::sub(va, vb)), xa, lowest);
    if (!whole) {
      ea = V::first(ea, left);
      eb = V::first(eb, left);
      term = V::first(term, left);
    }
    pa = V::add(pa, ea);
    pb = V::add(pb, eb);
    pc = V::add(pc, term);
    if (++terms == kShortSum) {
      sa = V::wide_add(sa, pa);
      sb = V::wide_add(sb, pb);
      cross = V::wide_add(cross, pc);
      pa = pb = pc = V::set(0.0f);
      terms = 0;
    }
  }
  out->sum_a = V::wide_sum(V::wide_add(sa, pa));
  out->sum_b = V::wide_sum(V::wide_add(sb, pb));
  out->cross = V::wide_sum(V::wide_add(cross, pc));
}
