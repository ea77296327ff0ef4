// Random weights of every encoding, guarded memory, and seeds that are printed.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/foreign.h"
#include "base/random.h"
#include "random_cases.h"
#include "support/trellis_codes.h"
#include "tensor/linear_view.h"
#include "tensor/qtensor.h"

namespace nbl::testing {

using test::random_cases;
using test::test_seed;

/// Memory that ends (or begins) at a page that cannot be touched, on the other side too.
class Guarded {
 public:
  /// at_end: the last byte lies before the upper guard page; otherwise the first one lies after the lower.
  Guarded(std::size_t bytes, bool at_end) : bytes_(bytes) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t inner = (bytes + page - 1) / page * page + (bytes == 0 ? page : 0);
    total_ = inner + 2 * page;
    base_ = static_cast<std::byte*>(::mmap(nullptr, total_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(static_cast<void*>(base_), MAP_FAILED);
    EXPECT_EQ(::mprotect(base_ + page, inner, PROT_READ | PROT_WRITE), 0);
    data_ = at_end ? base_ + page + inner - bytes : base_ + page;
    unwritten(data_, bytes);
  }
  ~Guarded() {
    if (base_ != nullptr) ::munmap(base_, total_);
  }
  Guarded(Guarded&& o) noexcept : base_(o.base_), data_(o.data_), bytes_(o.bytes_), total_(o.total_) {
    o.base_ = nullptr;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  Guarded& operator=(Guarded&&) = delete;

  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  std::size_t size() const { return bytes_; }

 private:
  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0, total_ = 0;
};

/// With a shift the copy begins so many bytes behind the lower guard page.
inline Guarded guarded_copy(const void* from, std::size_t bytes, bool at_end, std::size_t shift = 0) {
  Guarded g(bytes + shift, at_end);
  if (bytes > 0) std::memcpy(g.as<std::byte>() + shift, from, bytes);
  return g;
}

struct WeightSpec {
  Encoding encoding = Encoding::affine;
  int bits = 4;
  int64_t group_size = 0;
  DType scale_type = DType::f16;
  ZeroKind zero_kind = ZeroKind::symmetric;
  DType zero_type = DType::f16;
  DType value_type = DType::f32;

  std::string text() const {
    return std::string(encoding == Encoding::affine     ? "affine"
                       : encoding == Encoding::codebook ? "codebook"
                       : encoding == Encoding::trellis  ? "trellis"
                                                        : "dense") +
           " bits " + std::to_string(bits) + " group " + std::to_string(group_size) + " scale " +
           dtype_name(scale_type) + " zero kind " + std::to_string(static_cast<int>(zero_kind)) + " " +
           dtype_name(zero_type) + " value " + dtype_name(value_type);
  }
};

/// `value` as `type` holds it.
inline float rounded(float value, DType type) {
  if (type == DType::e8m0) return std::exp2(std::nearbyint(std::log2(std::fabs(value) + 1e-30f)));
  std::byte stored[8];
  float back = 0;
  convert_from_f32(&value, 1, type, stored);
  convert_to_f32(type, stored, 1, &back);
  return back;
}

inline const std::array<float, 16>& test_codebook() {
  // Quantiles of a normal distribution, like NF4's, to three digits; codes are not sorted by chance alone.
  static const std::array<float, 16> table = {-1.0f,  -0.696f, -0.525f, -0.395f, -0.284f, -0.185f, -0.091f, 0.0f,
                                              0.080f, 0.161f,  0.246f,  0.338f,  0.441f,  0.563f,  0.723f,  1.0f};
  return table;
}

inline Segment random_segment(Random& random, int64_t n, int64_t k, const WeightSpec& spec) {
  const int64_t groups = spec.group_size == 0 ? 1 : (k + spec.group_size - 1) / spec.group_size;
  std::vector<uint8_t> codes;
  std::vector<float> scales, zeros;
  if (spec.encoding != Encoding::dense) {
    codes.resize(static_cast<std::size_t>(n * k));
    for (uint8_t& c : codes) c = static_cast<uint8_t>(random.below(uint64_t{1} << spec.bits));
    if (spec.encoding == Encoding::trellis)
      codes = test::random_trellis_codes([&] { return static_cast<uint32_t>(random.below(uint64_t{1} << 32)); }, n, k, spec.bits);
    for (int64_t i = 0; i < n * groups; ++i) {
      const float s = (random.uniform() + 0.25f) / static_cast<float>(1 << spec.bits);
      scales.push_back(rounded(random.below(16) == 0 ? 0.0f : s, spec.scale_type));
      if (spec.zero_kind == ZeroKind::code)
        zeros.push_back(static_cast<float>(random.below(uint64_t{1} << spec.bits)));
      else if (spec.zero_kind == ZeroKind::minimum)
        zeros.push_back(rounded(-random.uniform(), spec.zero_type));
      else if (spec.zero_kind == ZeroKind::real)
        zeros.push_back(rounded(random.uniform() * static_cast<float>(1 << spec.bits), spec.zero_type));
    }
  }
  if (spec.encoding == Encoding::affine) {
    auto s = pack_affine(
        n, k, {spec.bits, spec.group_size, codes, scales, spec.scale_type, spec.zero_kind, zeros, spec.zero_type});
    EXPECT_TRUE(s.ok()) << s.status().message();
    return std::move(s).value();
  }
  if (spec.encoding == Encoding::codebook) {
    auto s = pack_codebook(n, k, {spec.group_size, test_codebook(), codes, scales, spec.scale_type});
    EXPECT_TRUE(s.ok()) << s.status().message();
    return std::move(s).value();
  }
  if (spec.encoding == Encoding::trellis) {
    auto s = pack_trellis(n, k, {spec.bits, spec.group_size, test_codebook(), codes, scales, spec.scale_type});
    EXPECT_TRUE(s.ok()) << s.status().message();
    return std::move(s).value();
  }
  std::vector<float> values;
  for (int64_t i = 0; i < n * k; ++i) {
    float v = static_cast<float>(random.normal()) * 0.2f;
    if (random.below(50) == 0) v *= 1e-6f;  // denormal in the narrow types
    values.push_back(v);
  }
  std::vector<std::byte> stored(static_cast<std::size_t>(n * k * dtype_bytes(spec.value_type)));
  convert_from_f32(values.data(), n * k, spec.value_type, stored.data());
  auto s = pack_dense(n, k, spec.value_type, stored.data());
  EXPECT_TRUE(s.ok()) << s.status().message();
  return std::move(s).value();
}

/// Every encoding worth a case of its own.
inline std::vector<WeightSpec> all_specs() {
  std::vector<WeightSpec> specs;
  const auto affine = [&](int bits, int64_t group, DType scale, ZeroKind zero, DType zero_type = DType::f16) {
    specs.push_back({Encoding::affine, bits, group, scale, zero, zero_type, DType::f32});
  };
  for (int bits = 1; bits <= 8; ++bits) {
    affine(bits, 0, DType::f32, ZeroKind::symmetric);
    affine(bits, 128, DType::f16, ZeroKind::code);
    affine(bits, 16, DType::f16, ZeroKind::minimum);
    affine(bits, 64, DType::bf16, ZeroKind::real, DType::f32);
    affine(bits, 48, DType::f16, ZeroKind::code);
    affine(bits, 32, DType::e8m0, ZeroKind::symmetric);
    affine(bits, 256, DType::f16, ZeroKind::minimum, DType::bf16);
    affine(bits, 0, DType::f16, ZeroKind::code);
  }
  for (const int64_t group : {int64_t{16}, int64_t{32}, int64_t{64}, int64_t{0}, int64_t{96}})
    for (const DType type : {DType::f32, DType::f16, DType::e8m0})
      specs.push_back({Encoding::codebook, 4, group, type, ZeroKind::symmetric, DType::f16, DType::f32});
  for (int bits = 1; bits <= 4; ++bits) {
    specs.push_back({Encoding::trellis, bits, 0, DType::f32, ZeroKind::symmetric, DType::f16, DType::f32});
    specs.push_back({Encoding::trellis, bits, 64, DType::f16, ZeroKind::symmetric, DType::f16, DType::f32});
    specs.push_back({Encoding::trellis, bits, 16, DType::bf16, ZeroKind::symmetric, DType::f16, DType::f32});
  }
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::e4m3})
    specs.push_back({Encoding::dense, 0, 0, DType::f32, ZeroKind::symmetric, DType::f16, type});
  return specs;
}

/// A segment's arrays copied to guarded memory, and the view on the copies. A shift takes every alignment away.
struct GuardedSegment {
  Guarded codes, scales, zeros;
  kernels::SegmentView view;
  GuardedSegment(const Segment& s, bool at_end, std::size_t shift = 0)
      : codes(guarded_copy(s.codes.data(), s.codes.size(), at_end, shift)),
        scales(guarded_copy(s.scales.data(), s.scales.size(), at_end, shift)),
        zeros(guarded_copy(s.zeros.data(), s.zeros.size(), at_end, shift)),
        view(segment_view(s)) {
    view.codes = codes.as<uint8_t>() + shift;
    view.scales = scales.as<uint8_t>() + shift;
    view.zeros = zeros.as<uint8_t>() + shift;
  }
};

/// A size for a random case: 1 to 65, and now and then one around a large power of two.
inline int64_t random_size(Random& random) {
  if (random.below(64) == 0) return 4095 + static_cast<int64_t>(random.below(3));
  return 1 + static_cast<int64_t>(random.below(65));
}

/// Any of all_specs(), or an affine one of any group.
inline WeightSpec random_spec(Random& random, int64_t k) {
  static const std::vector<WeightSpec> specs = all_specs();
  WeightSpec spec = specs[random.below(specs.size())];
  if (spec.encoding != Encoding::dense && random.below(2) == 0)
    spec.group_size = 16 * (1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(k / 16 + 1))));
  return spec;
}

/// Rows of W as doubles, from the definition.
inline std::vector<float> dequantized(const Segment& s, int64_t n, int64_t k) {
  const QTensor t = make_qtensor(n, k, s);
  std::vector<float> w(static_cast<std::size_t>(n * k));
  for (int64_t r = 0; r < n; ++r) t.dequantize_row(r, w.data() + r * k);
  return w;
}

inline int64_t round_up_to(int64_t v, int64_t to) { return (v + to - 1) / to * to; }

}  // namespace nbl::testing
