// The generic body of prepare_input, for any lanes T. Included inside an anonymous namespace after the lanes.

// v[0 ... count) of the packed columns from p on; count is a multiple of 16.
NBL_INLINE const float* gather_columns(const PrepareInputArgs& a, int64_t p, int64_t count, float* room) {
  if (a.order == nullptr && a.scale == nullptr && p + count <= a.k) return a.x + p;
  const int64_t full = a.k - p < count ? (a.k > p ? a.k - p : 0) : count;
  if (a.order == nullptr) {
    for (int64_t j = 0; j < full; ++j) room[j] = a.scale != nullptr ? a.x[p + j] * a.scale[p + j] : a.x[p + j];
  } else if (a.scale == nullptr) {
    for (int64_t j = 0; j < full; ++j) room[j] = a.x[a.order[p + j]];
  } else {
    for (int64_t j = 0; j < full; ++j) room[j] = a.x[a.order[p + j]] * a.scale[a.order[p + j]];
  }
  for (int64_t j = full; j < count; ++j) room[j] = 0.0f;
  return room;
}

// The scale and sums of a step of one plane.
NBL_INLINE void store_scale(const PrepareInputArgs& a, int64_t at, float d, float total) {
  a.d[at] = d;
  a.sums[at] = total;
  a.dsums[at] = d * total;
}

template <class T>
NBL_INLINE void quantize_step(const PrepareInputArgs& a, const float* v, int64_t p0, int64_t count) {
  using I = typename T::I;
  using F = typename T::F;
  // Magnitudes compare as integers, and a NaN is larger than all.
  I largest_bits = T::zero();
  for (int64_t j = 0; j < count; j += 16)
    largest_bits = T::max_i32(largest_bits, T::band(T::bits(T::load_f(v + j)), T::set1(0x7fffffff)));
  const int32_t bits = T::reduce_max(largest_bits);
  float largest;
  __builtin_memcpy(&largest, &bits, 4);
  const int64_t at = p0 / a.step * a.d_stride;
  if (!(largest >= 1e-35f) || bits >= 0x7f800000) {
    for (int64_t j = 0; j < count; j += 16) {
      int8_t* q = a.q + (p0 + j) / 64 * a.q_stride + (p0 + j) % 64;
      T::store_i8(q, T::zero());
      if (a.low_plane != 0) T::store_i8(q + a.low_plane, T::zero());
    }
    store_scale(a, at, largest < 1e-35f ? 0.0f : largest, 0.0f);
    if (a.low_plane != 0) store_scale(a, at + a.low_scales, 0.0f, 0.0f);
    return;
  }
  const F inverse = T::set1_f(127.0f / largest), finer = T::set1_f(254.0f);
  I sum = T::zero(), low_sum = T::zero();
  for (int64_t j = 0; j < count; j += 16) {
    const F scaled = T::mul_f(T::load_f(v + j), inverse);
    const I q = T::round_i(scaled);
    int8_t* out = a.q + (p0 + j) / 64 * a.q_stride + (p0 + j) % 64;
    sum = T::add(sum, q);
    T::store_i8(out, q);
    if (a.low_plane == 0) continue;
    const I low = T::round_i(T::mul_f(T::sub_f(scaled, T::to_f(q)), finer));
    low_sum = T::add(low_sum, low);
    T::store_i8(out + a.low_plane, low);
  }
  const float d = largest / 127.0f;
  store_scale(a, at, d, static_cast<float>(T::reduce_add(sum)));
  if (a.low_plane != 0) store_scale(a, at + a.low_scales, d / 254.0f, static_cast<float>(T::reduce_add(low_sum)));
}

template <class T>
NBL_INLINE void prepare_input_body(const PrepareInputArgs& a) {
  float room[128];
  for (int64_t p = a.begin; p < a.end;) {
    const int64_t block = a.end - p < 128 ? a.end - p : 128;
    const float* v = gather_columns(a, p, block, room);
    if (a.f32 != nullptr)
      for (int64_t j = 0; j < block; j += 16) T::store_f(a.f32 + p + j, T::load_f(v + j));
    if (a.bf16 != nullptr)
      for (int64_t j = 0; j < block; j += 16)
        T::store_bf16(a.bf16 + (p + j) / 32 * a.bf16_stride + (p + j) % 32, T::load_f(v + j));
    if (a.q != nullptr)
      for (int64_t j = 0; j < block; j += a.step)
        quantize_step<T>(a, v + j, p + j, block - j < a.step ? block - j : a.step);
    p += block;
  }
}
