// Taking codes, scales and zeros out of tiles, for any lanes T. Included inside an anonymous namespace after the lanes.

// The 4 codes (columns 16C + 4Q ... + 3) of each of 16 rows, one a byte, from a tile whose planes are low bits first.
template <class T, int BITS>
struct AffineCodes {
  static constexpr int kBits = BITS;
  static constexpr bool kWide = BITS == 8;
  static constexpr int kTileBytes = 128 * BITS;
  explicit NBL_INLINE AffineCodes(const SegmentView&) {}

  // A tile ready to be taken apart.
  struct Tile {
    const uint8_t* tile;
    template <int C, int Q>
    NBL_INLINE typename T::I get() const {
      return codes<C, Q>(tile);
    }
    template <int C, int Q>
    NBL_INLINE typename T::I get_or_fourfold() const {
      return codes_or_fourfold<C, Q>(tile);
    }
  };
  NBL_INLINE Tile open(const uint8_t* tile) const { return {tile}; }

  // Of a line of a plane of W bits: field number k / (8W), moved to bit TO.
  template <int W, int C, int Q, int TO>
  static NBL_INLINE typename T::I field(typename T::I line) {
    constexpr int k = 16 * C + 4 * Q;
    constexpr int at = W * (k / (8 * W));
    constexpr uint32_t mask = ((1u << W) - 1u) << TO;
    return T::band(T::template shift_right<at - TO>(line), T::set1(static_cast<int32_t>(mask * 0x01010101u)));
  }
  // The line (k % (8W)) / 4 of a plane.
  template <int W, int C, int Q>
  static constexpr int kLine = (16 * C + 4 * Q) % (8 * W) / 4;
  template <int W, int C, int Q, int TO>
  static NBL_INLINE typename T::I plane(const uint8_t* p) {
    const typename T::I line = T::load(p + 64 * kLine<W, C, Q>);
    if constexpr (W == 8) return line;
    else return field<W, C, Q, TO>(line);
  }
  // Of 2 bits, where they lie in the lower half of their byte: those of the odd chunks times 4. A shift less for each of these.
  template <int C, int Q>
  static NBL_INLINE typename T::I codes_or_fourfold(const uint8_t* tile) {
    return T::band(T::template shift_right<C / 2 * 4>(T::load(tile + 64 * kLine<2, 0, Q>)), T::set1(C % 2 == 0 ? 0x03030303 : 0x0c0c0c0c));
  }
  // Of 3 bits: the codes of chunks SECOND (low nibbles) and SECOND + 2, put together at once.
  template <int SECOND, int Q>
  static NBL_INLINE typename T::I nibbles(const uint8_t* tile) {
    const typename T::I low = T::load(tile + 64 * kLine<2, 0, Q>), high = T::load(tile + 256 + 64 * kLine<1, 0, Q>);
    return T::bor(T::band(T::template shift_right<2 * SECOND>(low), T::set1(0x33333333)),
                  T::band(T::template shift_right<2 * SECOND + Q / 2 - 2>(high), T::set1(0x44444444)));
  }
  template <int C, int Q>
  static NBL_INLINE typename T::I codes(const uint8_t* tile) {
    if constexpr (BITS == 8 || BITS == 4 || BITS == 2 || BITS == 1) {
      return plane<BITS, C, Q, 0>(tile);
    } else if constexpr (BITS == 3) {
      return T::band(T::template shift_right<C / 2 * 4>(nibbles<C % 2, Q>(tile)), T::set1(0x07070707));
    } else if constexpr (BITS == 5) {
      return T::bor(plane<4, C, Q, 0>(tile), plane<1, C, Q, 4>(tile + 512));
    } else if constexpr (BITS == 6) {
      return T::bor(plane<4, C, Q, 0>(tile), plane<2, C, Q, 4>(tile + 512));
    } else {
      return T::bor(T::bor(plane<4, C, Q, 0>(tile), plane<2, C, Q, 4>(tile + 512)), plane<1, C, Q, 6>(tile + 768));
    }
  }
};

// Sixteen numbers of a type known at run time.
template <class T>
NBL_INLINE typename T::F load_numbers(Number type, const uint8_t* p) {
  switch (type) {
    case Number::f16:
      return T::from_f16(p);
    case Number::bf16:
      return T::from_bf16(p);
    case Number::e8m0: {
      // 2^(b - 127); b = 0 is the denormal 2^-127.
      const typename T::I exponent = T::template shift_right<-23>(T::widen_u8(p));
      return T::as_f(T::max_i32(exponent, T::set1(0x00400000)));
    }
    default: {
      float v[16];
      __builtin_memcpy(v, p, 64);
      return T::load_f(v);
    }
  }
}

template <class T>
NBL_INLINE typename T::F coded_numbers(const NumberCodes& c, const uint8_t* p, int64_t group) {
  const typename T::F number = T::sub_f(T::to_f(T::widen_u8(p)), T::set1_f(c.offset));
  return T::mul_f(T::load_f(c.supers + (group >> c.group_bits) * 16), number);
}

// The scales of 16 rows, and their minimums or real zeros. group: row tile * groups + group.
template <class T>
NBL_INLINE typename T::F load_scales(const SegmentView& w, int64_t group) {
  if (w.scale_codes.supers != nullptr) return coded_numbers<T>(w.scale_codes, w.scales + group * 16, group);
  return load_numbers<T>(w.scale_type, w.scales + group * 16 * number_bytes(w.scale_type));
}
template <class T>
NBL_INLINE typename T::F load_real_zeros(const SegmentView& w, int64_t group) {
  if (w.zero_codes.supers != nullptr) return coded_numbers<T>(w.zero_codes, w.zeros + group * 16, group);
  return load_numbers<T>(w.zero_type, w.zeros + group * 16 * number_bytes(w.zero_type));
}

// E4M3 in the low byte of each lane to float: its bits moved into a binary16 are the value / 256; 0x7f and 0xff are
// NaN.
template <class T>
NBL_INLINE typename T::F from_e4m3(typename T::I v) {
  const typename T::I magnitude = T::band(v, T::set1(0x7f));
  const typename T::I sign = T::template shift_right<-8>(T::band(v, T::set1(0x80)));
  const typename T::I f16 = T::bor(sign, T::template shift_right<-7>(magnitude));
  const typename T::F value = T::mul_f(T::f16_in_lanes(f16), T::set1_f(256.0f));
  return T::where_ne(magnitude, T::set1(0x7f), value, T::as_f(T::set1(0x7fc00000)));
}

// 0, 2, 4, 6 or 8 bytes as one little-endian number.
template <int BYTES>
NBL_INLINE uint64_t load_bytes(const uint8_t* p) {
  uint64_t eight = 0;
  uint32_t four = 0;
  uint16_t two = 0;
  if constexpr (BYTES == 8) {
    __builtin_memcpy(&eight, p, 8);
    return eight;
  }
  if constexpr ((BYTES & 4) != 0) __builtin_memcpy(&four, p, 4);
  if constexpr ((BYTES & 2) != 0) __builtin_memcpy(&two, p + (BYTES & 4), 2);
  return four | static_cast<uint64_t>(two) << (8 * (BYTES & 4));
}

// The 16 zero codes of a group. Loaded as numbers: assembled in memory, the vector load would wait for the stores.
template <class T, int BITS>
NBL_INLINE typename T::I load_zero_codes(const uint8_t* p) {
  constexpr int kLow = BITS < 4 ? 2 * BITS : 8;
  return T::template bit_stream<BITS>(load_bytes<kLow>(p), load_bytes<2 * BITS - kLow>(p + kLow));
}

// What a codebook's codes mean to integer dot products; or the negative of its mirror image.
template <class T>
NBL_INLINE typename T::TableB byte_table(const SegmentView& w, bool mirrored = false) {
  int8_t t[16];
  for (int i = 0; i < 16; ++i) {
    const int8_t value = mirrored ? static_cast<int8_t>(-w.table_i8[15 - i]) : w.table_i8[i];
    t[i] = static_cast<int8_t>(value ^ (T::kSignedWide ? 0 : 0x80));
  }
  return T::table_b(t);
}

// A codebook's 4-bit codes as bytes that integer dot products take: table_i8, or table_i8 + 128 where they are
// unsigned.
template <class T>
struct CodebookBytes {
  static constexpr int kBits = 4;
  static constexpr int kTileBytes = 128 * 4;
  static constexpr bool kWide = true;
  typename T::TableB table;
  explicit NBL_INLINE CodebookBytes(const SegmentView& w) : table(byte_table<T>(w)) {}

  struct Tile {
    const uint8_t* tile;
    const typename T::TableB* table;
    template <int C, int Q>
    NBL_INLINE typename T::I get() const {
      return T::lookup_b(*table, AffineCodes<T, 4>::template plane<4, C, Q, 0>(tile));
    }
  };
  NBL_INLINE Tile open(const uint8_t* tile) const { return {tile, &table}; }
};

// Trellis codes of BITS stored bits as codes of BITS + 1 (trellis.h): a path bit a column, then the free bits.
template <class T, int BITS>
struct TrellisCodes {
  using I = typename T::I;
  static constexpr int kTileBytes = 128 * BITS;
  TrellisCodes() = default;
  explicit NBL_INLINE TrellisCodes(const SegmentView&) {}

  static NBL_INLINE I all(uint32_t byte) { return T::set1(static_cast<int32_t>(byte * 0x01010101u)); }
  struct Tile {
    const uint8_t* free;
    // Both labels of a step next to each other, as the fields of a plane of two bits: of the steps that are even in their byte, and of
    // the odd ones. They lie as the free bits of a plane of two bits do: those of its first two lines, and of its last two.
    I labels[2][2];

    // The lower four bits of the codes of chunks C % 2 (low nibbles) and C % 2 + 2.
    template <int C, int Q>
    NBL_INLINE I nibbles() const {
      constexpr int kSecond = C % 2, kOdd = Q / 2;
      const I label = T::band(T::template shift_right<2 * kSecond>(labels[kOdd][Q % 2]), all(0x33));
      if constexpr (BITS == 1) {
        return label;
      } else if constexpr (BITS == 2) {
        const I bits = T::load(free + 64 * (Q % 2));
        return T::bor(label, T::band(T::template shift_right<kSecond == 0 ? kOdd - 2 : kOdd>(bits), all(0x44)));
      } else {
        const I bits = T::load(free + 64 * Q);
        return T::bor(label, T::band(T::template shift_right<kSecond == 0 ? -2 : 0>(bits), all(0xcc)));
      }
    }
    template <int C, int Q>
    NBL_INLINE I lower() const {
      return T::band(T::template shift_right<C / 2 * 4>(nibbles<C, Q>()), all(0x0f));
    }
    // Of four stored bits: the line whose bit kTopBit is the code's highest.
    template <int C, int Q>
    static constexpr int kTopBit = 2 * C + Q / 2;
    template <int C, int Q>
    NBL_INLINE I top() const {
      return T::load(free + 256 + 64 * (Q % 2));
    }
    template <int C, int Q>
    NBL_INLINE I get() const {
      if constexpr (BITS < 4) return lower<C, Q>();
      else return T::bor(lower<C, Q>(), T::band(T::template shift_right<kTopBit<C, Q> - 4>(top<C, Q>()), all(0x10)));
    }
  };
  // The two words of a row's path, `by` steps later.
  template <int by>
  static NBL_INLINE I later(I first) {
    return T::template shift_right<-by>(first);
  }
  template <int by>
  static NBL_INLINE I later(I second, I first) {
    return T::bor(T::template shift_right<-by>(second), T::template shift_right<32 - by>(first));
  }
  NBL_INLINE Tile open(const uint8_t* tile) const {
    const I first = T::load(tile), second = T::load(tile + 64);
    const I one[2] = {T::bxor(T::bxor(first, later<1>(first)), later<6>(first)),
                      T::bxor(T::bxor(second, later<1>(second, first)), later<6>(second, first))};
    const I zero[2] = {T::bxor(later<2>(first), later<4>(first)), T::bxor(later<2>(second, first), later<4>(second, first))};
    Tile out;
    out.free = tile + 128;
    for (int line = 0; line < 2; ++line) {
      out.labels[0][line] = T::bor(T::band(zero[line], all(0x55)), T::band(T::template shift_right<-1>(one[line]), all(0xaa)));
      out.labels[1][line] = T::bor(T::band(T::template shift_right<1>(zero[line]), all(0x55)), T::band(one[line], all(0xaa)));
    }
    return out;
  }
};

// The same as bytes of the codebook, as CodebookBytes has them.
template <class T, int BITS>
struct TrellisBytes {
  static constexpr int kBits = BITS + 1;
  static constexpr int kTileBytes = 128 * BITS;
  static constexpr bool kWide = true;
  typename T::TableB table, mirrored;  // of 4 bits: the upper half of the codes, and the lower
  explicit NBL_INLINE TrellisBytes(const SegmentView& w) : table(byte_table<T>(w)), mirrored(byte_table<T>(w, true)) {}

  struct Tile {
    typename TrellisCodes<T, BITS>::Tile codes;
    const TrellisBytes* tables;
    template <int C, int Q>
    NBL_INLINE typename T::I get() const {
      if constexpr (BITS < 4) return T::lookup_b(tables->table, codes.template get<C, Q>());
      else {
        using Codes = typename TrellisCodes<T, BITS>::Tile;
        return T::template lookup_b<Codes::template kTopBit<C, Q>>(tables->mirrored, tables->table, codes.template lower<C, Q>(), codes.template top<C, Q>());
      }
    }
  };
  NBL_INLINE Tile open(const uint8_t* tile) const { return {TrellisCodes<T, BITS>().open(tile), this}; }
};
