// LanesNeon with the matrix instruction SMMLA: two rows of weights times two rows of activations, eight columns at once. Included after
// lanes_neon.inl.

struct LanesNeonI8mm : LanesNeon {
  /// 16 rows of weights times two rows of activations: register p holds rows 2p and 2p + 1, each times one and the other.
  struct PairSum {
    int32x4_t v[8];
  };
  static NBL_INLINE PairSum pair_zero() {
    const int32x4_t z = vdupq_n_s32(0);
    return {{z, z, z, z, z, z, z, z}};
  }
  /// Two lines of a tile, 128 bytes in place: from [4 columns][row][4] to [row][8 columns], which is what SMMLA takes.
  static NBL_INLINE void pair_lines(uint8_t* lines) {
    const I a = load(lines), b = load(lines + 64);
    NBL_EACH (i, 4) {
      vst1q_s32(reinterpret_cast<int32_t*>(lines + 32 * i), vzip1q_s32(a.v[i], b.v[i]));
      vst1q_s32(reinterpret_cast<int32_t*>(lines + 32 * i + 16), vzip2q_s32(a.v[i], b.v[i]));
    }
  }
  /// Eight columns of P pairs of activation rows.
  template <int P>
  static NBL_INLINE void pair_dot(PairSum (&sum)[P], const uint8_t* lines, const int8_t* const (&x)[2 * P]) {
    int8x16_t rows[P];
    NBL_EACH (p, P) rows[p] = vcombine_s8(vld1_s8(x[2 * p]), vld1_s8(x[2 * p + 1]));
    NBL_EACH (i, 8) {
      const int8x16_t w = vreinterpretq_s8_u8(vld1q_u8(lines + 16 * i));
      NBL_EACH (p, P) sum[p].v[i] = vmmlaq_s32(sum[p].v[i], w, rows[p]);
    }
  }
  /// The sums of the first (0) or second (1) activation row, a lane a row of weights.
  template <int WHICH>
  static NBL_INLINE I unpair(const PairSum& sum) {
    return each_i([&](int i) NBL_INLINE_LAMBDA {
      return WHICH == 0 ? vuzp1q_s32(sum.v[2 * i], sum.v[2 * i + 1]) : vuzp2q_s32(sum.v[2 * i], sum.v[2 * i + 1]);
    });
  }
};
