// The body of the vector variants, over lanes T: sixteen floats F, sixteen integers I. Included inside the variant's namespace, after an
// unnamed one that defines T on top of kernels/simd's lanes:
//   div_f; least(x, y), greatest(x, y): y where x is no number; add_where_greater(i, x, y, step): i + step where x > y;
//   min_i32; where_less(i, j, x, y): x where i < j, else y; store_u8: the low bytes of the lanes.

namespace {

constexpr int64_t kLanes = 16;

// f(from, to, count of w) for whole vectors, then for what is left, which is copied so that nothing beyond it is touched.
struct Tail {
  alignas(64) float w[kLanes] = {};
  alignas(64) uint8_t codes[kLanes];
  NBL_INLINE Tail(const float* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) w[i] = from[i];
  }
  NBL_INLINE void put(uint8_t* out, int64_t count) const {
    for (int64_t i = 0; i < count; ++i) out[i] = codes[i];
  }
};

template <class Round>
NBL_INLINE void each_code(const float* w, int64_t n, uint8_t* codes, const Round& round) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) T::store_u8(codes + i, round(T::load_f(w + i)));
  if (i == n) return;
  Tail tail(w + i, n - i);
  T::store_u8(tail.codes, round(T::load_f(tail.w)));
  tail.put(codes + i, n - i);
}

template <class Value>
NBL_INLINE void each_value(const uint8_t* codes, int64_t n, float* out, const Value& value) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) T::store_f(out + i, value(T::widen_u8(codes + i)));
  if (i == n) return;
  uint8_t few[kLanes] = {};
  float values[kLanes];
  for (int64_t j = i; j < n; ++j) few[j - i] = codes[j];
  T::store_f(values, value(T::widen_u8(few)));
  for (int64_t j = i; j < n; ++j) out[j] = values[j - i];
}

NBL_INLINE float folded(F x, bool least) {
  alignas(64) float lane[kLanes];
  T::store_f(lane, x);
  float best = 0;
  for (const float v : lane) best = least ? (v < best ? v : best) : (v > best ? v : best);
  return best;
}

// The bits of e4m3 without a sign's branch: magnitudes from 2^-6 on are rounded as integers, smaller ones by an addition that leaves
// no bits below 2^-9.
NBL_INLINE I e4m3_bits(F x) {
  const I bits = T::bits(x), magnitude = T::band(bits, T::set1(0x7fffffff));
  const I capped = T::min_i32(magnitude, T::set1(0x43e00000));  // 448
  const I odd = T::band(T::template shift_right<20>(capped), T::set1(1));
  const I up = T::add(T::add(capped, T::set1(0x7ffff)), odd);
  const I normal = T::add(T::template shift_right<20>(up), T::set1(-(120 << 3)));
  const F units = T::set1_f(24576.0f);  // 1.5 * 2^14
  const I small = T::add(T::bits(T::add_f(T::as_f(capped), units)), T::set1(-0x46c00000));
  const I code = T::where_less(capped, T::set1(0x3c800000), small, normal);  // 2^-6
  const I sign = T::band(T::template shift_right<24>(bits), T::set1(0x80));
  return T::where_less(T::set1(0x7f800000), magnitude, T::set1(0x7f), T::bor(code, sign));
}

// e4m3 in the low byte of each lane to float: the bits of normal numbers move, multiples of 2^-9 below them are converted.
NBL_INLINE F e4m3_value(I code) {
  const I magnitude = T::band(code, T::set1(0x7f)), sign = T::template shift_right<-24>(T::band(code, T::set1(0x80)));
  const I normal = T::add(T::template shift_right<-20>(magnitude), T::set1(120 << 23));
  const I small = T::bits(T::mul_f(T::to_f(magnitude), T::set1_f(0x1p-9f)));
  const I value = T::where_less(magnitude, T::set1(8), small, normal);
  return T::as_f(T::bor(sign, T::where_less(T::set1(0x7e), magnitude, T::set1(0x7fc00000), value)));
}

}  // namespace

bool finite(const float* w, int64_t n) {
  // Magnitudes compare as integers; infinity and NaNs are the largest.
  I largest = T::zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = T::max_i32(largest, T::band(T::bits(T::load_f(w + i)), T::set1(0x7fffffff)));
  if (i < n) {
    const Tail tail(w + i, n - i);
    largest = T::max_i32(largest, T::band(T::bits(T::load_f(tail.w)), T::set1(0x7fffffff)));
  }
  return T::reduce_max(largest) < 0x7f800000;
}

void extent(const float* w, int64_t n, float* low, float* high) {
  F least[2] = {T::zero_f(), T::zero_f()}, greatest[2] = {T::zero_f(), T::zero_f()};
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    NBL_EACH (half, 2) {
      const F x = T::load_f(w + i + half * kLanes);
      least[half] = T::least(x, least[half]);
      greatest[half] = T::greatest(x, greatest[half]);
    }
  }
  for (; i < n; i += kLanes) {
    const Tail tail(w + i, n - i < kLanes ? n - i : kLanes);
    const F x = T::load_f(tail.w);
    least[0] = T::least(x, least[0]);
    greatest[0] = T::greatest(x, greatest[0]);
  }
  *low = folded(T::least(least[0], least[1]), true);
  *high = folded(T::greatest(greatest[0], greatest[1]), false);
}

void affine_codes(const float* w, int64_t n, float scale, float zero, float max_code, uint8_t* codes) {
  const F divisor = T::set1_f(scale), shift = T::set1_f(zero), top = T::set1_f(max_code), none = T::zero_f();
  each_code(w, n, codes, [&](F x) NBL_INLINE_LAMBDA {
    return T::round_i(T::least(T::greatest(T::add_f(T::div_f(x, divisor), shift), none), top));
  });
}

void centered_codes(const float* w, int64_t n, float factor, uint8_t* codes) {
  const F multiplier = T::set1_f(factor);
  const I center = T::set1(128);
  each_code(w, n, codes, [&](F x) NBL_INLINE_LAMBDA { return T::add(T::round_i(T::mul_f(x, multiplier)), center); });
}

void table_codes(const TableCodesArgs& a) {
  // Halving: whether 8 boundaries are below x, then 4 more, 2, 1. Each step's table is the boundaries, moved so that the place reached
  // so far is the index: 8 at most for the first, 12 and 14 for the others.
  const auto four = T::table_f(a.boundaries + 3), two = T::table_f(a.boundaries + 1), one = T::table_f(a.boundaries);
  const auto codes = T::table_f(a.order);
  const F middle = T::set1_f(a.boundaries[7]);
  const auto code = [&](F x) NBL_INLINE_LAMBDA {
    I place = T::add_where_greater(T::zero(), x, middle, T::set1(8));
    place = T::add_where_greater(place, x, T::lookup_f(four, place), T::set1(4));
    place = T::add_where_greater(place, x, T::lookup_f(two, place), T::set1(2));
    place = T::add_where_greater(place, x, T::lookup_f(one, place), T::set1(1));
    return T::round_i(T::lookup_f(codes, place));
  };
  const float inverse = a.scale > 0 ? 1.0f / a.scale : 0.0f;
  if (inverse < __builtin_inff()) {
    const F multiplier = T::set1_f(inverse);
    each_code(a.w, a.n, a.codes, [&](F x) NBL_INLINE_LAMBDA { return code(T::mul_f(x, multiplier)); });
  } else {
    const F divisor = T::set1_f(a.scale);
    each_code(a.w, a.n, a.codes, [&](F x) NBL_INLINE_LAMBDA { return code(T::div_f(x, divisor)); });
  }
}

void e4m3_codes(const float* w, int64_t n, float scale, uint8_t* codes) {
  const F divisor = T::set1_f(scale);
  each_code(w, n, codes, [&](F x) NBL_INLINE_LAMBDA { return e4m3_bits(T::div_f(x, divisor)); });
}

void squared_error(const float* w, const float* v, const float* importance, int64_t n, double* error, double* reference) {
  for (int64_t first = 0; first < n; first += 1024) {
    const int64_t last = n < first + 1024 ? n : first + 1024;
    F errors = T::zero_f(), squares = T::zero_f();
    for (int64_t i = first; i < last; i += kLanes) {
      F x, y, h = T::set1_f(1.0f);
      if (last - i >= kLanes) {
        x = T::load_f(w + i);
        y = T::load_f(v + i);
        if (importance != nullptr) h = T::load_f(importance + i);
      } else {  // zeros add nothing
        x = T::load_f(Tail(w + i, last - i).w);
        y = T::load_f(Tail(v + i, last - i).w);
        if (importance != nullptr) h = T::load_f(Tail(importance + i, last - i).w);
      }
      const F d = T::sub_f(x, y);
      errors = T::add_f(errors, T::mul_f(h, T::mul_f(d, d)));
      squares = T::add_f(squares, T::mul_f(h, T::mul_f(x, x)));
    }
    alignas(64) float lane[2][kLanes];
    T::store_f(lane[0], errors);
    T::store_f(lane[1], squares);
    for (int64_t j = 0; j < kLanes; ++j) {
      *error += static_cast<double>(lane[0][j]);
      *reference += static_cast<double>(lane[1][j]);
    }
  }
}

void widen_bf16(const void* x, int64_t n, float* out) {
  const uint8_t* from = static_cast<const uint8_t*>(x);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) T::store_f(out + i, T::from_bf16(from + 2 * i));
  for (; i < n; ++i) {
    uint16_t half;
    __builtin_memcpy(&half, from + 2 * i, sizeof(half));
    const uint32_t bits = uint32_t{half} << 16;
    __builtin_memcpy(out + i, &bits, sizeof(bits));
  }
}

void widen_e4m3(const uint8_t* codes, int64_t n, float* out) {
  each_value(codes, n, out, [](I code) NBL_INLINE_LAMBDA { return e4m3_value(code); });
}

void table_values(const uint8_t* codes, int64_t n, float scale, const float* table, float* out) {
  const auto values = T::table_f(table);
  const F factor = T::set1_f(scale);
  each_value(codes, n, out, [&](I code) NBL_INLINE_LAMBDA { return T::mul_f(factor, T::lookup_f(values, code)); });
}

void affine_values(const uint8_t* codes, int64_t n, float scale, float zero, float* out) {
  const F factor = T::set1_f(scale), shift = T::set1_f(zero);
  each_value(codes, n, out, [&](I code) NBL_INLINE_LAMBDA { return T::mul_f(factor, T::sub_f(T::to_f(code), shift)); });
}

void minimum_values(const uint8_t* codes, int64_t n, float scale, float minimum, float* out) {
  const F factor = T::set1_f(scale), shift = T::set1_f(minimum);
  each_value(codes, n, out, [&](I code) NBL_INLINE_LAMBDA { return T::add_f(T::mul_f(factor, T::to_f(code)), shift); });
}
