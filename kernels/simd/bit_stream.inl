// Byte shuffles and shifts that take 16 fields of BITS bits out of a little-endian bit stream of at most 16 bytes: lane
// r gets the two bytes that hold its field, then shifts. Included inside an anonymous namespace, before the lanes.

struct BitStream {
  uint8_t shuffle[64];
  int32_t shift[16];
};

constexpr BitStream make_bit_stream(int bits) {
  BitStream s{};
  for (int r = 0; r < 16; ++r) {
    const int first = r * bits / 8;
    s.shuffle[4 * r] = static_cast<uint8_t>(first);
    s.shuffle[4 * r + 1] = static_cast<uint8_t>(first + 1 < 16 ? first + 1 : 0x80);
    s.shuffle[4 * r + 2] = 0x80;  // zero
    s.shuffle[4 * r + 3] = 0x80;
    s.shift[r] = r * bits % 8;
  }
  return s;
}

template <int BITS>
constexpr BitStream kBitStream = make_bit_stream(BITS);
