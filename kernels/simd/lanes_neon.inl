// Lanes for NEON with the dot product instructions: four registers hold a line of a tile. Included inside an anonymous
// namespace.

struct LanesNeon {
  struct I {
    int32x4_t v[4];
  };
  struct F {
    float32x4_t v[4];
  };
  struct TableF {
    uint8x16x4_t t;
  };
  struct TableB {
    uint8x16_t t;
  };
  static constexpr bool kSignedWide = true;  // SDOT takes signed bytes on both sides
  static constexpr int kRegisters = 16;      // of line size there are 8; the register blocks of 16 fit
  static constexpr bool kMatrix = false;
  static constexpr bool kPairs = false;

  template <class Op>
  static NBL_INLINE I each_i(const Op& op) {
    return {{op(0), op(1), op(2), op(3)}};
  }
  template <class Op>
  static NBL_INLINE F each_f(const Op& op) {
    return {{op(0), op(1), op(2), op(3)}};
  }
  static NBL_INLINE int8x16_t s8(int32x4_t v) { return vreinterpretq_s8_s32(v); }
  static NBL_INLINE uint8x16_t u8(int32x4_t v) { return vreinterpretq_u8_s32(v); }
  static NBL_INLINE uint32x4_t u32(int32x4_t v) { return vreinterpretq_u32_s32(v); }
  static NBL_INLINE int32x4_t s32(uint32x4_t v) { return vreinterpretq_s32_u32(v); }
  static NBL_INLINE int32x4_t s32(uint8x16_t v) { return vreinterpretq_s32_u8(v); }

  static NBL_INLINE I load(const void* p) {
    const uint8_t* b = static_cast<const uint8_t*>(p);
    return each_i([&](int i) NBL_INLINE_LAMBDA { return s32(vld1q_u8(b + 16 * i)); });
  }
  static NBL_INLINE void store(void* p, I v) {
    NBL_EACH (i, 4) vst1q_u8(static_cast<uint8_t*>(p) + 16 * i, u8(v.v[i]));
  }
  static NBL_INLINE I zero() { return set1(0); }
  static NBL_INLINE I set1(int32_t x) {
    const int32x4_t v = vdupq_n_s32(x);
    return {{v, v, v, v}};
  }
  static NBL_INLINE I band(I a, I b) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vandq_s32(a.v[i], b.v[i]); });
  }
  static NBL_INLINE I bor(I a, I b) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vorrq_s32(a.v[i], b.v[i]); });
  }
  static NBL_INLINE I bxor(I a, I b) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return veorq_s32(a.v[i], b.v[i]); });
  }
  static NBL_INLINE I add(I a, I b) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vaddq_s32(a.v[i], b.v[i]); });
  }
  template <int N>
  static NBL_INLINE I shift_right(I a) {
    if constexpr (N > 0)
      return each_i([&](int i) NBL_INLINE_LAMBDA { return s32(vshrq_n_u32(u32(a.v[i]), N)); });
    else if constexpr (N < 0)
      return each_i([&](int i) NBL_INLINE_LAMBDA { return vshlq_n_s32(a.v[i], -N); });
    else
      return a;
  }
  static NBL_INLINE I quad(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return set1(v);
  }
  static NBL_INLINE I dot_narrow(I acc, I w, I x) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vdotq_s32(acc.v[i], s8(w.v[i]), s8(x.v[i])); });
  }
  static NBL_INLINE I dot_wide(I acc, I w, I x) { return dot_narrow(acc, w, x); }

  static NBL_INLINE F load_f(const float* p) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vld1q_f32(p + 4 * i); });
  }
  static NBL_INLINE void store_f(float* p, F v) {
    NBL_EACH (i, 4) vst1q_f32(p + 4 * i, v.v[i]);
  }
  static NBL_INLINE F zero_f() { return set1_f(0.0f); }
  static NBL_INLINE F set1_f(float x) {
    const float32x4_t v = vdupq_n_f32(x);
    return {{v, v, v, v}};
  }
  static NBL_INLINE F add_f(F a, F b) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vaddq_f32(a.v[i], b.v[i]); });
  }
  static NBL_INLINE F sub_f(F a, F b) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vsubq_f32(a.v[i], b.v[i]); });
  }
  static NBL_INLINE F mul_f(F a, F b) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vmulq_f32(a.v[i], b.v[i]); });
  }
  static NBL_INLINE F fma(F a, F b, F c) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
  }
  static NBL_INLINE F fnma(F a, F b, F c) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vfmsq_f32(c.v[i], a.v[i], b.v[i]); });
  }
  static NBL_INLINE F to_f(I a) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vcvtq_f32_s32(a.v[i]); });
  }
  static NBL_INLINE F as_f(I a) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vreinterpretq_f32_s32(a.v[i]); });
  }
  static NBL_INLINE I bits(F a) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vreinterpretq_s32_f32(a.v[i]); });
  }

  static NBL_INLINE uint16x4_t load_u16(const void* p, int i) {
    return vreinterpret_u16_u8(vld1_u8(static_cast<const uint8_t*>(p) + 8 * i));
  }
  static NBL_INLINE F from_f16(const void* p) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vcvt_f32_f16(vreinterpret_f16_u16(load_u16(p, i))); });
  }
  static NBL_INLINE F from_bf16(const void* p) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vreinterpretq_f32_u32(vshll_n_u16(load_u16(p, i), 16)); });
  }
  static NBL_INLINE I widen_u8(const void* p) {
    const uint8x16_t v = vld1q_u8(static_cast<const uint8_t*>(p));
    const uint16x8_t low = vmovl_u8(vget_low_u8(v)), high = vmovl_u8(vget_high_u8(v));
    return {{s32(vmovl_u16(vget_low_u16(low))), s32(vmovl_u16(vget_high_u16(low))), s32(vmovl_u16(vget_low_u16(high))),
             s32(vmovl_u16(vget_high_u16(high)))}};
  }
  static NBL_INLINE F f16_in_lanes(I a) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(u32(a.v[i])))); });
  }

  static NBL_INLINE I max_i32(I a, I b) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vmaxq_s32(a.v[i], b.v[i]); });
  }
  static NBL_INLINE F where_ne(I a, I b, F v, F other) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vbslq_f32(vceqq_s32(a.v[i], b.v[i]), other.v[i], v.v[i]); });
  }
  static NBL_INLINE I round_i(F a) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vcvtnq_s32_f32(a.v[i]); });
  }
  static NBL_INLINE void store_i8(void* p, I a) {
    const int16x8_t low = vcombine_s16(vqmovn_s32(a.v[0]), vqmovn_s32(a.v[1]));
    const int16x8_t high = vcombine_s16(vqmovn_s32(a.v[2]), vqmovn_s32(a.v[3]));
    vst1q_s8(static_cast<int8_t*>(p), vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
  }
  // Sixteen floats to bfloat16, rounded to nearest even, NaN quieted.
  static NBL_INLINE void store_bf16(void* p, F a) {
    NBL_EACH (i, 4) {
      const uint32x4_t b = vreinterpretq_u32_f32(a.v[i]);
      const uint32x4_t lsb = vandq_u32(vshrq_n_u32(b, 16), vdupq_n_u32(1));
      const uint32x4_t up = vaddq_u32(b, vaddq_u32(lsb, vdupq_n_u32(0x7fff)));
      const uint32x4_t quiet = vorrq_u32(b, vdupq_n_u32(0x00400000));
      const uint32x4_t rounded = vbslq_u32(vceqq_f32(a.v[i], a.v[i]), up, quiet);
      vst1_u8(static_cast<uint8_t*>(p) + 8 * i, vreinterpret_u8_u16(vshrn_n_u32(rounded, 16)));
    }
  }
  static NBL_INLINE int32_t reduce_max(I a) {
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(a.v[0], a.v[1]), vmaxq_s32(a.v[2], a.v[3])));
  }
  static NBL_INLINE int32_t reduce_add(I a) {
    return vaddvq_s32(vaddq_s32(vaddq_s32(a.v[0], a.v[1]), vaddq_s32(a.v[2], a.v[3])));
  }

  static NBL_INLINE TableF table_f(const float* t) {
    const uint8_t* b = reinterpret_cast<const uint8_t*>(t);
    return {{{vld1q_u8(b), vld1q_u8(b + 16), vld1q_u8(b + 32), vld1q_u8(b + 48)}}};
  }
  static NBL_INLINE F lookup_f(const TableF& t, I index) {
    return each_f([&](int i) NBL_INLINE_LAMBDA {
      // Byte numbers 4q, 4q + 1, 4q + 2, 4q + 3 of each lane's entry q.
      const uint32x4_t first = vmulq_u32(u32(index.v[i]), vdupq_n_u32(0x04040404));
      const uint8x16_t at = vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100)));
      return vreinterpretq_f32_u8(vqtbl4q_u8(t.t, at));
    });
  }
  static NBL_INLINE TableB table_b(const int8_t* t) { return {vld1q_u8(reinterpret_cast<const uint8_t*>(t))}; }
  static NBL_INLINE I lookup_b(const TableB& t, I codes) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return s32(vqtbl1q_u8(t.t, u8(codes.v[i]))); });
  }
  // In `high` where bit BIT of the selector's byte is set.
  template <int BIT>
  static NBL_INLINE I lookup_b(const TableB& low, const TableB& high, I codes, I selector) {
    return each_i([&](int i) NBL_INLINE_LAMBDA {
      const uint8x16_t upper = vtstq_u8(u8(selector.v[i]), vdupq_n_u8(1u << BIT));
      return s32(vbslq_u8(upper, vqtbl1q_u8(high.t, u8(codes.v[i])), vqtbl1q_u8(low.t, u8(codes.v[i]))));
    });
  }

  template <int BITS>
  static NBL_INLINE I bit_stream(uint64_t low, uint64_t high) {
    const uint8x16_t all = vcombine_u8(vcreate_u8(low), vcreate_u8(high));
    return each_i([&](int i) NBL_INLINE_LAMBDA {
      const uint8x16_t pairs = vqtbl1q_u8(all, vld1q_u8(kBitStream<BITS>.shuffle + 16 * i));
      const int32x4_t shift = vnegq_s32(vld1q_s32(kBitStream<BITS>.shift + 4 * i));
      return s32(vandq_u32(vshlq_u32(vreinterpretq_u32_u8(pairs), shift), vdupq_n_u32((1u << BITS) - 1)));
    });
  }
};
