#include "dialects/gguf_blocks.h"

#include <fmt/format.h>

#include <cstring>
#include <vector>

#include "base/half.h"
#include "dialects/common.h"
#include "dialects/gguf_iq.h"
#include "io/gguf_types.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

float half_at(const uint8_t* p) noexcept {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_f32(bits);
}

// 16 bytes: low nibbles are the first 16 elements, high nibbles the next 16.
void nibbles_32(const uint8_t* qs, uint8_t* codes) noexcept {
  for (int j = 0; j < 16; ++j) {
    codes[j] = qs[j] & 15;
    codes[j + 16] = qs[j] >> 4;
  }
}

void fifth_bits(const uint8_t* qh, uint8_t* codes) noexcept {
  uint32_t high;
  std::memcpy(&high, qh, 4);
  for (int e = 0; e < 32; ++e) codes[e] = static_cast<uint8_t>(codes[e] | ((high >> e) & 1u) << 4);
}

void q5_0(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  scales[0] = half_at(b);
  nibbles_32(b + 6, codes);
  fifth_bits(b + 2, codes);
}
void q5_1(const uint8_t* b, uint8_t* codes, float* scales, float* zeros) {
  scales[0] = half_at(b);
  zeros[0] = half_at(b + 2);
  nibbles_32(b + 8, codes);
  fifth_bits(b + 4, codes);
}

uint32_t word_at(const uint8_t* p) noexcept {
  uint32_t word;
  std::memcpy(&word, p, 4);
  return word;
}

// Words of up to 16 rows side by side; those of missing rows are 0.
template <int64_t count, class At>
void take_words(int64_t row_count, const At& at, uint32_t (&words)[count][kTileRows]) noexcept {
  if (row_count < kTileRows) std::memset(words, 0, sizeof(words));
  for (int64_t r = 0; r < row_count; ++r) {
    for (int64_t i = 0; i < count; ++i) words[i][r] = word_at(at(r) + 4 * i);
  }
}

// Four codes a word: bits of `low`, and of `high` shifted up to them.
struct Fields {
  int shift;
  uint32_t mask;
};
void split_line(const uint32_t (&low)[kTileRows], Fields f, uint32_t* __restrict line) noexcept {
  for (int64_t r = 0; r < kTileRows; ++r) line[r] = (low[r] >> f.shift) & f.mask;
}
void split_line(const uint32_t (&low)[kTileRows], Fields f, const uint32_t (&high)[kTileRows], Fields h, int up,
                uint32_t* __restrict line) noexcept {
  for (int64_t r = 0; r < kTileRows; ++r) line[r] = ((low[r] >> f.shift) & f.mask) | ((high[r] >> h.shift) & h.mask) << up;
}

constexpr uint32_t kOneBit = 0x01010101u, kTwoBits = 0x03030303u, kFourBits = 0x0f0f0f0fu;

// Blocks of 32 codes of `block_bytes` bytes, their codes from byte `at` on: nibbles as above, or signed bytes.
template <int block_bytes, int at, bool nibbles>
void lines_32(const uint8_t* const* rows, int64_t row_count, int64_t blocks, int64_t column_tile, CodeLines* out) noexcept {
  if (2 * column_tile + 1 == blocks) *out = {};
  for (int64_t b = 0; b < 2 && 2 * column_tile + b < blocks; ++b) {
    uint32_t(*lines)[kTileRows] = out->words + 8 * b;
    uint32_t words[nibbles ? 4 : 8][kTileRows];
    take_words(row_count, [&](int64_t r) { return rows[r] + (2 * column_tile + b) * block_bytes + at; }, words);
    if constexpr (nibbles) {
      for (int64_t w = 0; w < 4; ++w) {
        split_line(words[w], {0, kFourBits}, lines[w]);
        split_line(words[w], {4, kFourBits}, lines[w + 4]);
      }
    } else {
      for (int64_t w = 0; w < 8; ++w) {
        for (int64_t r = 0; r < kTileRows; ++r) lines[w][r] = words[w][r] ^ 0x80808080u;  // signed to offset 128
        for (int64_t r = row_count; r < kTileRows; ++r) lines[w][r] = 0;
      }
    }
  }
}

// Quarters of a block of 256 codes: each line of the first 32 columns, then of the second.
void lines_q2_k(const uint8_t* const* rows, int64_t row_count, int64_t, int64_t column_tile, CodeLines* out) noexcept {
  const int64_t block = column_tile / 4 * 84, quarter = column_tile % 4;
  uint32_t low[8][kTileRows];
  take_words(row_count, [&](int64_t r) { return rows[r] + block + 16 + 32 * (quarter / 2); }, low);
  const int shift = static_cast<int>(4 * (quarter % 2));
  for (int64_t i = 0; i < 8; ++i) {
    split_line(low[i], {shift, kTwoBits}, out->words[i]);
    split_line(low[i], {shift + 2, kTwoBits}, out->words[8 + i]);
  }
}
void lines_q3_k(const uint8_t* const* rows, int64_t row_count, int64_t, int64_t column_tile, CodeLines* out) noexcept {
  const int64_t block = column_tile / 4 * 110, quarter = column_tile % 4;
  uint32_t low[8][kTileRows], high[8][kTileRows];
  take_words(row_count, [&](int64_t r) { return rows[r] + block + 32 + 32 * (quarter / 2); }, low);
  take_words(row_count, [&](int64_t r) { return rows[r] + block; }, high);
  const int shift = static_cast<int>(4 * (quarter % 2)), bit = static_cast<int>(2 * quarter);
  for (int64_t i = 0; i < 8; ++i) {
    split_line(low[i], {shift, kTwoBits}, high[i], {bit, kOneBit}, 2, out->words[i]);
    split_line(low[i], {shift + 2, kTwoBits}, high[i], {bit + 1, kOneBit}, 2, out->words[8 + i]);
  }
}
void lines_q4_k(const uint8_t* const* rows, int64_t row_count, int64_t, int64_t column_tile, CodeLines* out) noexcept {
  uint32_t low[8][kTileRows];
  take_words(row_count, [&](int64_t r) { return rows[r] + column_tile / 4 * 144 + 16 + 32 * (column_tile % 4); }, low);
  for (int64_t i = 0; i < 8; ++i) {
    split_line(low[i], {0, kFourBits}, out->words[i]);
    split_line(low[i], {4, kFourBits}, out->words[8 + i]);
  }
}
void lines_q5_k(const uint8_t* const* rows, int64_t row_count, int64_t, int64_t column_tile, CodeLines* out) noexcept {
  const int64_t block = column_tile / 4 * 176, quarter = column_tile % 4;
  uint32_t low[8][kTileRows], high[8][kTileRows];
  take_words(row_count, [&](int64_t r) { return rows[r] + block + 48 + 32 * quarter; }, low);
  take_words(row_count, [&](int64_t r) { return rows[r] + block + 16; }, high);
  const int bit = static_cast<int>(2 * quarter);
  for (int64_t i = 0; i < 8; ++i) {
    split_line(low[i], {0, kFourBits}, high[i], {bit, kOneBit}, 4, out->words[i]);
    split_line(low[i], {4, kFourBits}, high[i], {bit + 1, kOneBit}, 4, out->words[8 + i]);
  }
}
void lines_q6_k(const uint8_t* const* rows, int64_t row_count, int64_t, int64_t column_tile, CodeLines* out) noexcept {
  const int64_t block = column_tile / 4 * 210, half = column_tile % 4 / 2;
  uint32_t low[16][kTileRows], high[8][kTileRows];
  take_words(row_count, [&](int64_t r) { return rows[r] + block + 64 * half; }, low);
  take_words(row_count, [&](int64_t r) { return rows[r] + block + 128 + 32 * half; }, high);
  const int shift = static_cast<int>(4 * (column_tile % 2));  // the lower or the upper nibbles
  for (int64_t i = 0; i < 8; ++i) {
    split_line(low[i], {shift, kFourBits}, high[i], {shift, kTwoBits}, 4, out->words[i]);
    split_line(low[8 + i], {shift, kFourBits}, high[i], {shift + 2, kTwoBits}, 4, out->words[8 + i]);
  }
}

// The 6-bit scale and minimum of sub-block j of Q4_K and Q5_K.
void k_scale_min(const uint8_t* s, int j, int& scale, int& minimum) noexcept {
  if (j < 4) {
    scale = s[j] & 63;
    minimum = s[j + 4] & 63;
  } else {
    scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
  }
}
void iq4_xs(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = half_at(b);
  const int high = b[2] | b[3] << 8;
  for (int ib = 0; ib < 8; ++ib) {
    const int ls = ((b[4 + ib / 2] >> (4 * (ib % 2))) & 15) | ((high >> (2 * ib)) & 3) << 4;
    scales[ib] = d * static_cast<float>(ls - 32);
    nibbles_32(b + 8 + 16 * ib, codes + 32 * ib);
  }
}
void nvfp4(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  for (int s = 0; s < 4; ++s) {
    const uint8_t bits = b[s] & 0x7f;
    scales[s] = bits == 0x7f ? 0.0f : e4m3_to_f32(bits);
    for (int j = 0; j < 8; ++j) {
      const uint8_t byte = b[4 + 8 * s + j];
      codes[16 * s + j] = byte & 15;
      codes[16 * s + 8 + j] = byte >> 4;
    }
  }
}
// Digit n of a byte that holds five base-3 digits, most significant first, as a fraction of 256.
uint8_t trit(uint8_t byte, int n) noexcept {
  static constexpr uint8_t kPowers[5] = {1, 3, 9, 27, 81};
  const auto q = static_cast<uint8_t>(byte * kPowers[n]);
  return static_cast<uint8_t>((q * 3) >> 8);
}
void tq1_0(const uint8_t* b, uint8_t* codes, float* scales, float* zeros) {
  scales[0] = half_at(b + 52);
  zeros[0] = 1;
  for (int n = 0; n < 5; ++n) {
    for (int m = 0; m < 32; ++m) codes[32 * n + m] = trit(b[m], n);
    for (int m = 0; m < 16; ++m) codes[160 + 16 * n + m] = trit(b[32 + m], n);
  }
  for (int n = 0; n < 4; ++n) {
    for (int j = 0; j < 4; ++j) codes[240 + 4 * n + j] = trit(b[48 + j], n);
  }
}
void tq2_0(const uint8_t* b, uint8_t* codes, float* scales, float* zeros) {
  scales[0] = half_at(b + 64);
  zeros[0] = 1;
  for (int g = 0; g < 2; ++g) {
    for (int l = 0; l < 4; ++l) {
      for (int m = 0; m < 32; ++m) codes[128 * g + 32 * l + m] = (b[32 * g + m] >> (2 * l)) & 3;
    }
  }
}

// Scales and minimums of the K types: codes, and one number (f16) for all of a block. Their products are exact in f32.
void q2_k_codes(const uint8_t* b, uint8_t* scale, uint8_t* zero, float* d, float* dmin) {
  *d = half_at(b + 80);
  *dmin = -half_at(b + 82);
  for (int g = 0; g < 16; ++g) {
    scale[g] = b[g] & 15;
    zero[g] = b[g] >> 4;
  }
}
void q3_k_codes(const uint8_t* b, uint8_t* scale, uint8_t*, float* d, float*) {
  const uint8_t* sc = b + 96;
  *d = half_at(b + 108);
  for (int s = 0; s < 16; ++s)
    scale[s] = static_cast<uint8_t>((s < 8 ? sc[s] & 15 : sc[s - 8] >> 4) | ((sc[8 + s % 4] >> (2 * (s / 4))) & 3) << 4);
}
void q45_k_codes(const uint8_t* b, uint8_t* scale, uint8_t* zero, float* d, float* dmin) {
  *d = half_at(b);
  *dmin = -half_at(b + 2);
  for (int j = 0; j < 8; ++j) {
    int s, m;
    k_scale_min(b + 4, j, s, m);
    scale[j] = static_cast<uint8_t>(s);
    zero[j] = static_cast<uint8_t>(m);
  }
}
void q6_k_codes(const uint8_t* b, uint8_t* scale, uint8_t*, float* d, float*) {
  *d = half_at(b + 208);
  for (int s = 0; s < 16; ++s) scale[s] = static_cast<uint8_t>(b[192 + s] ^ 0x80);  // signed to offset 128
}

constexpr GgufSubScales kSubScales[] = {
    {"Q2_K", 4, 0, 4, q2_k_codes},  {"Q3_K", 6, 32, 0, q3_k_codes},  {"Q4_K", 6, 0, 6, q45_k_codes},
    {"Q5_K", 6, 0, 6, q45_k_codes}, {"Q6_K", 8, 128, 0, q6_k_codes},
};

constexpr float kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr float kE2m1[16] = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6};

constexpr auto kAffine = Encoding::affine;
constexpr auto kCodebook = Encoding::codebook;
constexpr auto kSym = ZeroKind::symmetric;
constexpr auto kMin = ZeroKind::minimum;
constexpr auto kCode = ZeroKind::code;

constexpr GgufBlock kBlocks[] = {
    {"Q4_0", kAffine, 4, 32, DType::f16, kSym, DType::f16, nullptr, nullptr, lines_32<18, 2, true>},
    {"Q4_1", kAffine, 4, 32, DType::f16, kMin, DType::f16, nullptr, nullptr, lines_32<20, 4, true>},
    {"Q5_0", kAffine, 5, 32, DType::f16, kSym, DType::f16, nullptr, q5_0},
    {"Q5_1", kAffine, 5, 32, DType::f16, kMin, DType::f16, nullptr, q5_1},
    {"Q8_0", kAffine, 8, 32, DType::f16, kSym, DType::f16, nullptr, nullptr, lines_32<34, 2, false>},
    {"Q2_K", kAffine, 2, 16, DType::f32, kMin, DType::f32, nullptr, nullptr, lines_q2_k},
    {"Q3_K", kAffine, 3, 16, DType::f32, kSym, DType::f32, nullptr, nullptr, lines_q3_k},
    {"Q4_K", kAffine, 4, 32, DType::f32, kMin, DType::f32, nullptr, nullptr, lines_q4_k},
    {"Q5_K", kAffine, 5, 32, DType::f32, kMin, DType::f32, nullptr, nullptr, lines_q5_k},
    {"Q6_K", kAffine, 6, 16, DType::f32, kSym, DType::f32, nullptr, nullptr, lines_q6_k},
    {"IQ4_NL", kCodebook, 4, 32, DType::f16, kSym, DType::f16, kIq4, nullptr, lines_32<18, 2, true>},
    {"IQ4_XS", kCodebook, 4, 32, DType::f32, kSym, DType::f32, kIq4, iq4_xs},
    {"MXFP4", kCodebook, 4, 32, DType::e8m0, kSym, DType::f32, kE2m1, nullptr, lines_32<17, 1, true>},
    {"NVFP4", kCodebook, 4, 16, DType::f16, kSym, DType::f16, kE2m1, nvfp4},
    {"TQ1_0", kAffine, 2, 256, DType::f16, kCode, DType::f16, nullptr, tq1_0},
    {"TQ2_0", kAffine, 2, 256, DType::f16, kCode, DType::f16, nullptr, tq2_0},
    {"IQ2_XXS", kCodebook, 4, 32, DType::f32, kSym, DType::f32, iq::kIq2Table, iq::iq2_xxs},
    {"IQ2_XS", kCodebook, 4, 16, DType::f32, kSym, DType::f32, iq::kIq2Table, iq::iq2_xs},
    {"IQ2_S", kCodebook, 4, 16, DType::f32, kSym, DType::f32, iq::kIq2Table, iq::iq2_s},
    {"IQ3_XXS", kCodebook, 4, 32, DType::f32, kSym, DType::f32, iq::kIq3xxsTable, iq::iq3_xxs},
    {"IQ3_S", kCodebook, 4, 32, DType::f32, kSym, DType::f32, iq::kIq3sTable, iq::iq3_s},
    {"IQ1_S", kCodebook, 4, 32, DType::f32, kSym, DType::f32, iq::kIq1Table, iq::iq1_s},
    {"IQ1_M", kCodebook, 4, 16, DType::f32, kSym, DType::f32, iq::kIq1Table, iq::iq1_m},
};

Result<DType> plain_type(const io::RawTensor& tensor) {
  if (tensor.type == "F32" || tensor.type == "F64") return DType::f32;
  if (tensor.type == "F16") return DType::f16;
  if (tensor.type == "BF16") return DType::bf16;
  return Status(Code::unsupported, fmt::format("{}: tensor {} is of type {}, which is not read", tensor.file,
                                               shown(tensor.name), tensor.type));
}

Segment block_segment(const GgufBlock& block, int64_t k) {
  Segment spec;
  spec.k_count = k;
  spec.encoding = block.encoding;
  spec.bits = block.bits;
  spec.group_size = block.group;
  spec.scale_type = block.scale_type;
  spec.zero_kind = block.zero_kind;
  spec.zero_type = block.zero_type;
  if (block.table != nullptr) std::copy(block.table, block.table + 16, spec.table.begin());
  return spec;
}

Result<QTensor> dense_rows(const io::RawTensor& tensor, const RowMap& rows) {
  NBL_ASSIGN(const DType type, plain_type(tensor));
  NBL_ASSIGN(const Array array, io::to_array(tensor));
  const int64_t n = tensor.shape[0], k = tensor.shape[1], row_bytes = k * dtype_bytes(type);
  Segment spec;
  spec.k_count = k;
  spec.encoding = Encoding::dense;
  spec.value_type = type;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, spec));
  std::vector<std::byte> gathered(static_cast<std::size_t>(rows ? kTileRows * row_bytes : 0));
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    const std::byte* source = array.storage.data() + t * kTileRows * row_bytes;
    if (rows) {
      for (int64_t r = 0; r < builder.rows(t); ++r) {
        std::memcpy(gathered.data() + r * row_bytes, array.storage.data() + rows(t * kTileRows + r) * row_bytes,
                    static_cast<std::size_t>(row_bytes));
      }
      source = gathered.data();
    }
    builder.set_dense(t, source, row_bytes);
  }
  return make_qtensor(n, k, std::move(builder).finish());
}

using TileRows = const uint8_t* [kTileRows];

/// Tiles of a type that has `lines`; `row_at` gives where a row of the result lies, `scales(t, rows, count)` sets a row tile's.
template <class RowAt, class Scales>
void set_tiles(const GgufBlock& block, int64_t blocks, const RowAt& row_at, SegmentBuilder& builder, const Scales& scales) {
  CodeLines lines;
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    TileRows rows = {};
    const int64_t count = builder.rows(t);
    for (int64_t r = 0; r < count; ++r) rows[r] = row_at(t * kTileRows + r);
    for (int64_t c = 0; c < builder.spec().column_tiles(); ++c) {
      block.lines(rows, count, blocks, c, &lines);
      builder.set_lines(t, c, lines);
    }
    scales(t, rows, count);
  }
}

/// Blocks of one group: their scales and minimums are copied as they are.
template <class RowAt>
void set_plain_blocks(const GgufBlock& block, int64_t block_bytes, int64_t blocks, const RowAt& row_at, SegmentBuilder& builder) {
  const int64_t scale_bytes = dtype_bytes(block.scale_type);
  set_tiles(block, blocks, row_at, builder, [&](int64_t t, const TileRows& rows, int64_t count) {
    for (int64_t b = 0; b < blocks; ++b) {
      std::byte *scales = builder.scales(t, b), *zeros = builder.zeros(t, b);
      for (int64_t r = 0; r < count; ++r) {
        const uint8_t* source = rows[r] + b * block_bytes;
        if (scale_bytes == 2) {
          std::memcpy(scales + 2 * r, source, 2);
        } else {
          scales[r] = static_cast<std::byte>(*source);
        }
        if (block.zero_kind == ZeroKind::minimum) std::memcpy(zeros + 2 * r, source + 2, 2);
      }
    }
  });
}

/// Blocks of the K types: scales and minimums as numbers, and beside them as the file keeps them, which is what kernels read.
template <class RowAt>
Result<Segment> k_segment(const GgufBlock& block, const GgufSubScales& sub, int64_t block_bytes, int64_t n, int64_t blocks,
                          const RowAt& row_at, SegmentBuilder builder) {
  const int64_t groups = builder.spec().groups(), each = groups / blocks;
  const auto count = static_cast<std::size_t>(n * groups);
  std::vector<uint8_t> scale_codes(count), zero_codes(sub.zero_bits > 0 ? count : 0);
  std::vector<float> supers(static_cast<std::size_t>(n * blocks)), zero_supers(zero_codes.empty() ? 0 : supers.size());
  set_tiles(block, blocks, row_at, builder, [&](int64_t t, const TileRows& rows, int64_t row_count) {
    for (int64_t b = 0; b < blocks; ++b) {
      auto* scales = reinterpret_cast<float*>(builder.scales(t, b * each));
      auto* zeros = zero_codes.empty() ? nullptr : reinterpret_cast<float*>(builder.zeros(t, b * each));
      for (int64_t r = 0; r < row_count; ++r) {
        const int64_t row = t * kTileRows + r;
        uint8_t* s = scale_codes.data() + row * groups + b * each;
        uint8_t* z = zeros == nullptr ? nullptr : zero_codes.data() + row * groups + b * each;
        float d = 0, dmin = 0;
        sub.codes(rows[r] + b * block_bytes, s, z, &d, &dmin);
        supers[static_cast<std::size_t>(row * blocks + b)] = d;
        for (int64_t g = 0; g < each; ++g) scales[g * kTileRows + r] = d * static_cast<float>(s[g] - sub.scale_offset);
        if (zeros == nullptr) continue;
        zero_supers[static_cast<std::size_t>(row * blocks + b)] = dmin;
        for (int64_t g = 0; g < each; ++g) zeros[g * kTileRows + r] = dmin * static_cast<float>(z[g]);
      }
    }
  });
  Segment segment = std::move(builder).finish();
  ScaleCodes form;
  form.groups = each;
  form.bits = sub.scale_bits;
  form.offset = sub.scale_offset;
  NBL_ASSIGN(segment.scale_codes, make_scale_codes(n, groups, form, {scale_codes, supers, {}, {}}));
  if (zero_codes.empty()) return segment;
  form.bits = sub.zero_bits;
  form.offset = 0;
  NBL_ASSIGN(segment.zero_codes, make_scale_codes(n, groups, form, {zero_codes, zero_supers, {}, {}}));
  return segment;
}

}  // namespace

const GgufBlock* gguf_block(std::string_view type) noexcept {
  for (const GgufBlock& block : kBlocks) {
    if (block.type == type) return &block;
  }
  return nullptr;
}

Result<QTensor> gguf_matrix(const io::RawTensor& tensor, const RowMap& rows) {
  if (tensor.shape.size() != 2 || tensor.shape[0] <= 0 || tensor.shape[1] <= 0)
    return unexpected_shape(tensor, "a matrix");
  const GgufBlock* block = gguf_block(tensor.type);
  if (block == nullptr) return dense_rows(tensor, rows);
  const io::GgufType* type = io::gguf_type(tensor.type);
  const int64_t n = tensor.shape[0], k = tensor.shape[1];
  const int64_t blocks = k / type->block, row_bytes = blocks * type->block_bytes, groups = type->block / block->group;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, block_segment(*block, k)));
  NBL_ASSIGN(const io::RawTensor loaded, io::load(tensor));
  const auto* data = reinterpret_cast<const uint8_t*>(loaded.bytes.data());
  const auto row_at = [&](int64_t row) { return data + (rows ? rows(row) : row) * row_bytes; };
  for (const GgufSubScales& sub : kSubScales) {
    if (sub.type != tensor.type) continue;
    NBL_ASSIGN(Segment segment, k_segment(*block, sub, type->block_bytes, n, blocks, row_at, std::move(builder)));
    return make_qtensor(n, k, std::move(segment));
  }
  if (block->lines != nullptr) {
    set_plain_blocks(*block, type->block_bytes, blocks, row_at, builder);
    return make_qtensor(n, k, std::move(builder).finish());
  }
  std::vector<uint8_t> codes(static_cast<std::size_t>(kTileRows * k));
  // A row tile's scales and zeros as the segment has them, so that they are converted together.
  std::vector<float> scales(static_cast<std::size_t>(kTileRows * blocks * groups)), zeros(scales.size());
  float some[16], others[16];
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    for (int64_t r = 0; r < builder.rows(t); ++r) {
      const uint8_t* source = row_at(t * kTileRows + r);
      for (int64_t b = 0; b < blocks; ++b) {
        block->decode(source + b * type->block_bytes, codes.data() + r * k + b * type->block, some, others);
        for (int64_t g = 0; g < groups; ++g) {
          const auto slot = static_cast<std::size_t>((b * groups + g) * kTileRows + r);
          scales[slot] = some[g];
          if (block->zero_kind == ZeroKind::minimum) zeros[slot] = others[g];
          if (block->zero_kind == ZeroKind::code)
            builder.set_zero_code(t * kTileRows + r, b * groups + g, static_cast<uint32_t>(others[g]));
        }
      }
    }
    builder.set_codes(t, codes.data(), k);
    // Missing rows of the last tile keep nothing.
    for (std::size_t i = 0; builder.rows(t) < kTileRows && i < scales.size(); ++i) {
      if (static_cast<int64_t>(i) % kTileRows >= builder.rows(t)) scales[i] = zeros[i] = 0;
    }
    convert_from_f32(scales.data(), static_cast<int64_t>(scales.size()), block->scale_type, builder.scales(t, 0));
    if (block->zero_kind == ZeroKind::minimum)
      convert_from_f32(zeros.data(), static_cast<int64_t>(zeros.size()), block->zero_type, builder.zeros(t, 0));
  }
  return make_qtensor(n, k, std::move(builder).finish());
}

std::string gguf_description(const io::RawTensor& tensor) {
  const GgufBlock* block = gguf_block(tensor.type);
  if (block == nullptr || tensor.shape.size() != 2) return tensor.type;
  QTensor t;
  t.n = tensor.shape[0];
  t.k = tensor.shape[1];
  t.segments.push_back(block_segment(*block, t.k));
  return fmt::format("{} ({})", t.description(), tensor.type);
}

}  // namespace nbl::dialects
