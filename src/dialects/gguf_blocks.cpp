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

void q4_0(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  scales[0] = half_at(b);
  nibbles_32(b + 2, codes);
}
void q4_1(const uint8_t* b, uint8_t* codes, float* scales, float* zeros) {
  scales[0] = half_at(b);
  zeros[0] = half_at(b + 2);
  nibbles_32(b + 4, codes);
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
void q8_0(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  scales[0] = half_at(b);
  for (int e = 0; e < 32; ++e) codes[e] = static_cast<uint8_t>(b[2 + e] ^ 0x80);  // signed to offset 128
}

// The K types' products of a super-scale (f16) and a sub-scale (4 to 8 bits) are exact in f32.
void q2_k(const uint8_t* b, uint8_t* codes, float* scales, float* zeros) {
  const uint8_t* qs = b + 16;
  const float d = half_at(b + 80), dmin = half_at(b + 82);
  for (int g = 0; g < 16; ++g) {
    scales[g] = d * static_cast<float>(b[g] & 15);
    zeros[g] = -(dmin * static_cast<float>(b[g] >> 4));
  }
  for (int e = 0; e < 256; ++e) {
    const int n = e / 128, j = e % 128 / 32, l = e % 32;
    codes[e] = (qs[32 * n + l] >> (2 * j)) & 3;
  }
}
void q3_k(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const uint8_t *hmask = b, *qs = b + 32, *sc = b + 96;
  const float d = half_at(b + 108);
  for (int s = 0; s < 16; ++s) {
    const int low = s < 8 ? sc[s] & 15 : sc[s - 8] >> 4;
    const int high = (sc[8 + s % 4] >> (2 * (s / 4))) & 3;
    scales[s] = d * static_cast<float>((low | high << 4) - 32);
  }
  for (int e = 0; e < 256; ++e) {
    const int n = e / 128, j = e % 128 / 32, l = e % 32;
    const int bit = (hmask[l] >> (4 * n + j)) & 1;
    codes[e] = static_cast<uint8_t>(((qs[32 * n + l] >> (2 * j)) & 3) | bit << 2);
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
void q4_k(const uint8_t* b, uint8_t* codes, float* scales, float* zeros) {
  const float d = half_at(b), dmin = half_at(b + 2);
  const uint8_t* qs = b + 16;
  for (int j = 0; j < 8; ++j) {
    int scale, minimum;
    k_scale_min(b + 4, j, scale, minimum);
    scales[j] = d * static_cast<float>(scale);
    zeros[j] = -(dmin * static_cast<float>(minimum));
    for (int l = 0; l < 32; ++l) {
      const uint8_t byte = qs[32 * (j / 2) + l];
      codes[32 * j + l] = j % 2 == 0 ? byte & 15 : byte >> 4;
    }
  }
}
void q5_k(const uint8_t* b, uint8_t* codes, float* scales, float* zeros) {
  const float d = half_at(b), dmin = half_at(b + 2);
  const uint8_t *qh = b + 16, *qs = b + 48;
  for (int j = 0; j < 8; ++j) {
    int scale, minimum;
    k_scale_min(b + 4, j, scale, minimum);
    scales[j] = d * static_cast<float>(scale);
    zeros[j] = -(dmin * static_cast<float>(minimum));
    for (int l = 0; l < 32; ++l) {
      const uint8_t byte = qs[32 * (j / 2) + l];
      const int low = j % 2 == 0 ? byte & 15 : byte >> 4;
      codes[32 * j + l] = static_cast<uint8_t>(low | ((qh[l] >> j) & 1) << 4);
    }
  }
}
void q6_k(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const uint8_t *ql = b, *qh = b + 128;
  const float d = half_at(b + 208);
  for (int s = 0; s < 16; ++s) scales[s] = d * static_cast<float>(static_cast<int8_t>(b[192 + s]));
  for (int e = 0; e < 256; ++e) {
    const int n = e / 128, t = e % 128 / 32, l = e % 32;
    const uint8_t byte = ql[64 * n + l + 32 * (t & 1)];
    const int low = t < 2 ? byte & 15 : byte >> 4;
    const int high = (qh[32 * n + l] >> (2 * t)) & 3;
    codes[e] = static_cast<uint8_t>(low | high << 4);
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
void mxfp4(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  scales[0] = e8m0_to_f32(b[0]);
  nibbles_32(b + 1, codes);
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

// Their codes alone.
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
    {"Q4_0", kAffine, 4, 32, DType::f16, kSym, DType::f16, nullptr, q4_0},
    {"Q4_1", kAffine, 4, 32, DType::f16, kMin, DType::f16, nullptr, q4_1},
    {"Q5_0", kAffine, 5, 32, DType::f16, kSym, DType::f16, nullptr, q5_0},
    {"Q5_1", kAffine, 5, 32, DType::f16, kMin, DType::f16, nullptr, q5_1},
    {"Q8_0", kAffine, 8, 32, DType::f16, kSym, DType::f16, nullptr, q8_0},
    {"Q2_K", kAffine, 2, 16, DType::f32, kMin, DType::f32, nullptr, q2_k},
    {"Q3_K", kAffine, 3, 16, DType::f32, kSym, DType::f32, nullptr, q3_k},
    {"Q4_K", kAffine, 4, 32, DType::f32, kMin, DType::f32, nullptr, q4_k},
    {"Q5_K", kAffine, 5, 32, DType::f32, kMin, DType::f32, nullptr, q5_k},
    {"Q6_K", kAffine, 6, 16, DType::f32, kSym, DType::f32, nullptr, q6_k},
    {"IQ4_NL", kCodebook, 4, 32, DType::f16, kSym, DType::f16, kIq4, q4_0},
    {"IQ4_XS", kCodebook, 4, 32, DType::f32, kSym, DType::f32, kIq4, iq4_xs},
    {"MXFP4", kCodebook, 4, 32, DType::e8m0, kSym, DType::f32, kE2m1, mxfp4},
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

/// Gives the segment its scales and minimums as the file keeps them, beside their values: kernels read those instead.
Status keep_codes(const io::RawTensor& tensor, const io::GgufType& type, const RowMap& rows, Segment& segment) {
  const GgufSubScales* sub = nullptr;
  for (const GgufSubScales& s : kSubScales)
    if (s.type == tensor.type) sub = &s;
  if (sub == nullptr) return {};
  const int64_t n = tensor.shape[0], blocks = tensor.shape[1] / type.block, groups = segment.groups();
  const int64_t each = groups / blocks;
  const auto count = static_cast<std::size_t>(n * groups);
  std::vector<uint8_t> scale(count), zero(sub->zero_bits > 0 ? count : 0);
  std::vector<float> supers(static_cast<std::size_t>(n * blocks)), zero_supers(zero.empty() ? 0 : supers.size());
  const auto* data = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
  for (int64_t row = 0; row < n; ++row) {
    const uint8_t* source = data + (rows ? rows(row) : row) * blocks * type.block_bytes;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = row * groups + b * each;
      sub->codes(source + b * type.block_bytes, scale.data() + at, zero.empty() ? nullptr : zero.data() + at,
                 supers.data() + row * blocks + b, zero.empty() ? nullptr : zero_supers.data() + row * blocks + b);
    }
  }
  ScaleCodes form;
  form.groups = each;
  form.bits = sub->scale_bits;
  form.offset = sub->scale_offset;
  NBL_ASSIGN(segment.scale_codes, make_scale_codes(n, groups, form, {scale, supers, {}, {}}));
  if (zero.empty()) return {};
  form.bits = sub->zero_bits;
  form.offset = 0;
  NBL_ASSIGN(segment.zero_codes, make_scale_codes(n, groups, form, {zero, zero_supers, {}, {}}));
  return {};
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
  std::vector<uint8_t> codes(static_cast<std::size_t>(kTileRows * k));
  const auto* data = reinterpret_cast<const uint8_t*>(tensor.bytes.data());
  float scales[16], zeros[16];
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    for (int64_t r = 0; r < builder.rows(t); ++r) {
      const int64_t row = t * kTileRows + r;
      const uint8_t* source = data + (rows ? rows(row) : row) * row_bytes;
      for (int64_t b = 0; b < blocks; ++b) {
        block->decode(source + b * type->block_bytes, codes.data() + r * k + b * type->block, scales, zeros);
        for (int64_t g = 0; g < groups; ++g) {
          builder.set_scale(row, b * groups + g, scales[g]);
          if (block->zero_kind == ZeroKind::minimum) builder.set_zero(row, b * groups + g, zeros[g]);
          if (block->zero_kind == ZeroKind::code)
            builder.set_zero_code(row, b * groups + g, static_cast<uint32_t>(zeros[g]));
        }
      }
    }
    builder.set_codes(t, codes.data(), k);
  }
  Segment segment = std::move(builder).finish();
  NBL_TRY(keep_codes(tensor, *type, rows, segment));
  return make_qtensor(n, k, std::move(segment));
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
