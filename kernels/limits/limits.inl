// The loops, for any lanes T. Included inside an anonymous namespace after the lanes.

// Four pages far apart at a time: several streams for the prefetchers, all of every page used.
template <class T>
NBL_INLINE void read_body(LimitArgs& a) {
  typename T::I sum[4] = {T::zero(), T::zero(), T::zero(), T::zero()};
  const int64_t ahead = 2048;
  for (int64_t at = 0; at < a.bytes; at += 4096)
    for (int64_t b = 0; b < 4096; b += 256) {
      const uint8_t* p = a.data + at + b;
      for (int64_t j = 0; j < 256; j += 64) __builtin_prefetch(p + ahead + j);
      sum[0] = T::bxor(sum[0], T::load(p));
      sum[1] = T::bxor(sum[1], T::load(p + 64));
      sum[2] = T::bxor(sum[2], T::load(p + 128));
      sum[3] = T::bxor(sum[3], T::load(p + 192));
    }
  uint64_t out[8];
  T::store(out, T::bxor(T::bxor(sum[0], sum[1]), T::bxor(sum[2], sum[3])));
  a.sink = out[0] ^ out[1] ^ out[2] ^ out[3] ^ out[4] ^ out[5] ^ out[6] ^ out[7];
  a.operations = 0;
}

// Keeps a register's value unknown to the compiler.
template <class T>
NBL_INLINE void launder(T& v) {
  __asm__ volatile("" : "+m"(v));
}

// What every lane holds goes into the sink: registers of a line that nothing needs would not be computed.
template <class T, class Sums, int CHAINS>
NBL_INLINE void sink_all(LimitArgs& a, const Sums (&acc)[CHAINS]) {
  a.sink = 0;
  NBL_EACH (j, CHAINS) {
    uint64_t out[8];
    if constexpr (requires { T::bits(acc[j]); })
      T::store(out, T::bits(acc[j]));
    else
      T::store(out, acc[j]);
    NBL_EACH (i, 8) a.sink += out[i];
  }
}

template <class T, int CHAINS>
NBL_INLINE void fma_body(LimitArgs& a) {
  using F = typename T::F;
  F x = T::set1_f(1e-3f), y = T::set1_f(0.5f);
  launder(x);
  launder(y);
  F acc[CHAINS];
  NBL_EACH (j, CHAINS) {
    acc[j] = T::zero_f();
    launder(acc[j]);  // or all chains would be one
  }
  for (int64_t i = 0; i < a.iterations; ++i)
    NBL_EACH (j, CHAINS) acc[j] = T::fma(x, y, acc[j]);
  sink_all<T>(a, acc);
  a.operations = a.iterations * CHAINS * 32;
}

// Keeps an operand unknown to the compiler where it is, in registers: products of the same two would be made once.
template <class I>
NBL_INLINE void hide(I& v) {
  if constexpr (requires { v.b; }) {
    __asm__ volatile("" : "+x"(v.a));
    __asm__ volatile("" : "+x"(v.b));
  } else {
    __asm__ volatile("" : "+v"(v));
  }
}

// Where a dot product takes several instructions: codes of four bits, pairs of products of eight lines added before they are widened.
template <class T, int CHAINS>
NBL_INLINE void int8_pairs_body(LimitArgs& a) {
  using I = typename T::I;
  constexpr int kLines = 8;
  I w = T::set1(0x01020304), x = T::set1(0x04030201);
  launder(w);
  launder(x);
  I acc[CHAINS];
  NBL_EACH (j, CHAINS) acc[j] = T::zero();
  for (int64_t i = 0; i < a.iterations; ++i) {
    I pairs[CHAINS];
    NBL_EACH (line, kLines)
      NBL_EACH (j, CHAINS) {
        hide(x);
        pairs[j] = line == 0 ? T::pair_products(w, x) : T::add_products(pairs[j], w, x);
      }
    NBL_EACH (j, CHAINS) acc[j] = T::widen(acc[j], pairs[j]);
  }
  sink_all<T>(a, acc);
  a.operations = a.iterations * CHAINS * kLines * 128;
}

template <class T, int CHAINS>
NBL_INLINE void int8_body(LimitArgs& a) {
  using I = typename T::I;
  I w = T::set1(0x01020304), x = T::set1(0x04030201);
  launder(w);
  launder(x);
  I acc[CHAINS];
  NBL_EACH (j, CHAINS) {
    acc[j] = T::zero();
    launder(acc[j]);
  }
  for (int64_t i = 0; i < a.iterations; ++i)
    NBL_EACH (j, CHAINS) acc[j] = T::dot_narrow(acc[j], w, x);
  sink_all<T>(a, acc);
  a.operations = a.iterations * CHAINS * 128;
}
