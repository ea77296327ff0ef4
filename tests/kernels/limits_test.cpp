// The loops that measure what a machine can do at most: what they count as done is done, in every register.
#include "kernels/limits/limits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/cpu.h"

namespace nbl::testing {
namespace {

using kernels::Limit;
using kernels::LimitArgs;
using kernels::LimitVariant;

// A register that nothing needs would be left out by the compiler and counted all the same, so the sink is the sum of all of them.
TEST(Limits, EveryRegisterIsInTheSum) {
  int count = 0;
  const LimitVariant* all = kernels::limit_variants(&count);
  int checked = 0;
  for (int v = 0; v < count; ++v) {
    const LimitVariant& variant = all[v];
    const bool floats = variant.limit == Limit::f32_fma;
    if ((!floats && variant.limit != Limit::int8_dot) || variant.isa == Isa::scalar || !isa_usable(variant.isa)) continue;
    SCOPED_TRACE(variant.name);
    LimitArgs a;
    a.iterations = 5;
    variant.run(&a);
    // Sums of 16 lanes, each a step of 2 floats or 8 bytes an iteration; those of bytes may be longer where they are widened later.
    uint32_t lane = 0;
    int64_t chains = 0;
    if (floats) {
      float sum = 0;
      for (int i = 0; i < 5; ++i) sum = std::fma(1e-3f, 0.5f, sum);
      std::memcpy(&lane, &sum, 4);
      chains = a.operations / (5 * 32);
    } else {
      const int64_t lines = variant.isa == Isa::avx2 || variant.isa == Isa::avx512 ? 8 : 1;
      lane = static_cast<uint32_t>(5 * lines * (1 * 4 + 2 * 3 + 3 * 2 + 4 * 1));
      chains = a.operations / (5 * lines * 128);
    }
    EXPECT_GE(chains, 3);
    EXPECT_EQ(a.sink, static_cast<uint64_t>(chains) * 8 * (uint64_t{lane} << 32 | lane));
    ++checked;
  }
  if (checked == 0) GTEST_SKIP() << "no vector loop runs on this processor";
}

}  // namespace
}  // namespace nbl::testing
