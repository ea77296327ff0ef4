#include "kernels/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "base/half.h"
#include "base/random.h"
#include "guarded_floats.h"
#include "random_cases.h"

namespace nbl::kernels {
namespace {

using test::Guarded;

/// A cache of random keys and values, stored by the kernels under test, and the same numbers in the clear.
struct Cache {
  Cache(const AttentionKernels& k, CacheType type, int64_t positions, int64_t dim, int64_t value_dim, uint64_t seed)
      : type(type),
        dim(dim),
        value_dim(value_dim),
        stride((value_dim + 15) / 16 * 16),
        key_bytes(static_cast<std::size_t>((positions + 15) / 16 * 16 * dim * kCacheTypeBytes[static_cast<int>(type)])),
        value_bytes(
            static_cast<std::size_t>((positions + 15) / 16 * 16 * stride * kCacheTypeBytes[static_cast<int>(type)])) {
    Random random(seed);
    const int64_t element = kCacheTypeBytes[static_cast<int>(type)];
    Guarded<float> key(static_cast<std::size_t>(dim)), value(static_cast<std::size_t>(value_dim));
    for (int64_t p = 0; p < positions; ++p) {
      for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<float>(random.normal());
      for (std::size_t i = 0; i < value.size(); ++i) value[i] = static_cast<float>(random.normal());
      k.store_key(type, key.data(), dim, key_bytes.data() + ((p / 16 * dim) * 16 + p % 16) * element);
      k.store_value(type, value.data(), value_dim, value_bytes.data() + p * stride * element);
      for (float v : key.copy()) keys.push_back(rounded(v));
      for (float v : value.copy()) values.push_back(rounded(v));
    }
  }
  double rounded(float v) const {
    if (type == CacheType::f16) return f16_to_f32(f32_to_f16(v));
    if (type == CacheType::bf16) return bf16_to_f32(f32_to_bf16(v));
    return v;
  }
  CacheType type;
  int64_t dim, value_dim, stride;
  Guarded<char> key_bytes, value_bytes;
  std::vector<double> keys, values;
};

struct Query {
  std::vector<float> q;
  int64_t begin, end;
  float slope;
};

std::vector<double> reference(const Cache& c, const Query& q, double scale, double cap) {
  std::vector<double> score;
  double top = -1e300, total = 0;
  for (int64_t p = q.begin; p < q.end; ++p) {
    double s = 0;
    for (int64_t d = 0; d < c.dim; ++d)
      s += q.q[static_cast<std::size_t>(d)] * c.keys[static_cast<std::size_t>(p * c.dim + d)];
    s *= scale;
    if (cap > 0) s = cap * std::tanh(s / cap);
    s += static_cast<double>(q.slope) * static_cast<double>(p - (q.end - 1));
    score.push_back(s);
    top = std::max(top, s);
  }
  for (double& s : score) total += s = std::exp(s - top);
  std::vector<double> out(static_cast<std::size_t>(c.value_dim));
  for (int64_t p = q.begin; p < q.end; ++p)
    for (int64_t d = 0; d < c.value_dim; ++d)
      out[static_cast<std::size_t>(d)] += score[static_cast<std::size_t>(p - q.begin)] / total *
                                          c.values[static_cast<std::size_t>(p * c.value_dim + d)];
  return out;
}

std::vector<std::vector<float>> run(const AttentionKernels& k, Cache& c, const std::vector<Query>& queries, float scale,
                                    float cap) {
  AttentionArgs a;
  a.type = c.type;
  a.head_dim = c.dim;
  a.value_dim = c.value_dim;
  a.keys = c.key_bytes.data();
  a.values = c.value_bytes.data();
  a.queries = static_cast<int64_t>(queries.size());
  a.scale = scale;
  a.soft_cap = cap;
  std::vector<std::unique_ptr<Guarded<float>>> q, out;
  // Garbage in the scratch memory must not matter.
  Guarded<float> scratch(static_cast<std::size_t>(attention_scratch_floats(c.value_dim)), std::nanf(""));
  a.scratch = scratch.data();
  for (std::size_t i = 0; i < queries.size(); ++i) {
    q.push_back(std::make_unique<Guarded<float>>(queries[i].q));
    out.push_back(std::make_unique<Guarded<float>>(static_cast<std::size_t>(c.value_dim), std::nanf("")));
    a.q[i] = q[i]->data();
    a.out[i] = out[i]->data();
    a.begin[i] = queries[i].begin;
    a.end[i] = queries[i].end;
    a.slope[i] = queries[i].slope;
    a.has_slope = a.has_slope || queries[i].slope != 0;
  }
  k.attend(a);
  std::vector<std::vector<float>> result;
  for (const auto& o : out) result.push_back(o->copy());
  return result;
}

std::vector<Query> random_queries(Random& random, int64_t count, int64_t dim, int64_t positions, bool windows,
                                  bool slopes) {
  std::vector<Query> queries;
  for (int64_t i = 0; i < count; ++i) {
    Query q;
    for (int64_t d = 0; d < dim; ++d) q.q.push_back(static_cast<float>(random.normal()));
    q.end = 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(positions)));
    q.begin = windows ? static_cast<int64_t>(random.below(static_cast<uint64_t>(q.end))) : 0;
    q.slope = slopes ? random.uniform() * 0.5f : 0;
    queries.push_back(q);
  }
  return queries;
}

class AttentionTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_usable(GetParam())) GTEST_SKIP() << isa_name(GetParam()) << " cannot run on this processor";
    k_ = &attention_kernels(GetParam());
    ASSERT_EQ(k_->isa, GetParam()) << "no variant of its own";
  }
  const AttentionKernels* k_ = nullptr;
};

TEST_P(AttentionTest, EqualsDoublePrecision) {
  uint64_t seed = 1;
  for (CacheType type : {CacheType::f32, CacheType::f16, CacheType::bf16}) {
    for (int64_t dim : {8, 20, 64, 80}) {
      for (int64_t positions : {1, 15, 16, 17, 63, 64, 65, 130, 300}) {
        for (int64_t count = 1; count <= kAttentionQueries; count += count < 4 ? 1 : 2) {
          const int kind = static_cast<int>(++seed % 4);  // plain, windows, soft cap, ALiBi
          Random random(seed);
          const int64_t value_dim = seed % 3 == 0 ? dim + 8 : dim;
          Cache cache(*k_, type, positions, dim, value_dim, seed);
          const auto queries = random_queries(random, count, dim, positions, kind == 1, kind == 3);
          const float cap = kind == 2 ? 5.0f : 0.0f,
                      scale = static_cast<float>(1 / std::sqrt(static_cast<double>(dim)));
          const auto got = run(*k_, cache, queries, scale, cap);
          for (std::size_t i = 0; i < queries.size(); ++i) {
            const auto want = reference(cache, queries[i], scale, cap);
            for (std::size_t d = 0; d < want.size(); ++d)
              ASSERT_NEAR(got[i][d], want[d], 3e-6)
                  << "seed " << seed << " type " << static_cast<int>(type) << " dim " << dim << " positions "
                  << positions << " query " << i << " component " << d;
          }
        }
      }
    }
  }
}

TEST(FullAttention, RandomCases) {
  const uint64_t seed = test::test_seed(2029);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  std::vector<const AttentionKernels*> usable;
  for (const Isa isa : usable_isas())
    if (attention_kernels(isa).isa == isa) usable.push_back(&attention_kernels(isa));
  constexpr CacheType kTypes[] = {CacheType::f32, CacheType::f16, CacheType::bf16};
  for (int i = 0; i < test::random_cases(); ++i) {
    const AttentionKernels& k = *usable[random.below(usable.size())];
    const int64_t dim = 4 * (1 + static_cast<int64_t>(random.below(20)));
    const int64_t value_dim = random.below(3) == 0 ? dim + 8 : dim;
    const int64_t positions = 1 + static_cast<int64_t>(random.below(90));
    const int64_t count = 1 + static_cast<int64_t>(random.below(kAttentionQueries));
    Cache cache(k, kTypes[random.below(3)], positions, dim, value_dim, seed + static_cast<uint64_t>(i));
    const auto queries = random_queries(random, count, dim, positions, random.below(2) == 0, random.below(4) == 0);
    const float cap = random.below(4) == 0 ? 5.0f : 0.0f, scale = static_cast<float>(1 / std::sqrt(static_cast<double>(dim)));
    const auto got = run(k, cache, queries, scale, cap);
    for (std::size_t q = 0; q < queries.size(); ++q) {
      const auto want = reference(cache, queries[q], scale, cap);
      for (std::size_t d = 0; d < want.size(); ++d)
        ASSERT_NEAR(got[q][d], want[d], 3e-6) << "case " << i << " " << k.name << " dim " << dim << " positions " << positions;
    }
  }
}

/// A query alone, among others, and on the scalar reference: the same bytes.
TEST_P(AttentionTest, SameBytesAloneAmongOthersAndScalar) {
  const AttentionKernels& scalar = attention_kernels(Isa::scalar);
  for (CacheType type : {CacheType::f32, CacheType::f16, CacheType::bf16}) {
    for (int64_t positions : {40, 129, 300}) {
      Random random(static_cast<uint64_t>(positions));
      Cache cache(*k_, type, positions, 48, 48, 3), plain(scalar, type, positions, 48, 48, 3);
      ASSERT_EQ(cache.key_bytes.copy(), plain.key_bytes.copy());
      ASSERT_EQ(cache.value_bytes.copy(), plain.value_bytes.copy());
      for (int round = 0; round < 4; ++round) {
        const auto queries = random_queries(random, kAttentionQueries, 48, positions, round % 2 == 1, round == 3);
        const auto together = run(*k_, cache, queries, 0.3f, round == 2 ? 10.0f : 0.0f);
        const auto on_scalar = run(scalar, plain, queries, 0.3f, round == 2 ? 10.0f : 0.0f);
        for (std::size_t i = 0; i < queries.size(); ++i) {
          const auto alone = run(*k_, cache, {queries[i]}, 0.3f, round == 2 ? 10.0f : 0.0f);
          EXPECT_EQ(std::memcmp(alone[0].data(), together[i].data(), 48 * 4), 0)
              << "positions " << positions << " query " << i;
          EXPECT_EQ(std::memcmp(on_scalar[i].data(), together[i].data(), 48 * 4), 0)
              << "positions " << positions << " query " << i;
        }
      }
    }
  }
}

#if defined(__x86_64__)
INSTANTIATE_TEST_SUITE_P(Isas, AttentionTest, testing::Values(Isa::scalar, Isa::avx2, Isa::avx512),
                         [](const auto& info) { return std::string(isa_name(info.param)); });
#else
INSTANTIATE_TEST_SUITE_P(Isas, AttentionTest, testing::Values(Isa::scalar, Isa::neon_dotprod),
                         [](const auto& info) { return std::string(isa_name(info.param)); });
#endif

}  // namespace
}  // namespace nbl::kernels
