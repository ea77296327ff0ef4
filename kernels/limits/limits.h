// Family limits: loops that do nothing but read memory or multiply, to measure what a machine can do at most. Every
// benchmark is judged against them.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace nbl::kernels {

enum class Limit : int32_t {
  read = 0,      ///< reads `bytes` at `data`
  f32_fma = 1,   ///< float32 fused multiply-adds in registers
  int8_dot = 2,  ///< dot products of bytes in registers (VNNI, or what the instruction set has for codes of four bits)
  bf16_dot = 3,  ///< AVX512-BF16 dot products in registers
  amx_int8 = 4,  ///< AMX tile products of bytes
  amx_bf16 = 5,  ///< AMX tile products of bfloat16
};

struct LimitArgs {
  const uint8_t* data = nullptr;  ///< read: a multiple of 4096 bytes
  int64_t bytes = 0;
  int64_t iterations = 0;  ///< the others: rounds of the loop
  int64_t operations = 0;  ///< [out] multiplications and additions done (two a fused step)
  uint64_t sink = 0;       ///< [out] something that depends on all the work
};

using LimitFn = void (*)(LimitArgs*) noexcept;

struct LimitVariant {
  Limit limit;
  Isa isa;
  const char* name;
  LimitFn run;
};

/// All loops compiled in; for each limit the best first.
const LimitVariant* limit_variants(int* count) noexcept;
/// The best loop for `limit` on `cap` or below, or null when this machine has none.
const LimitVariant* select_limit(Limit limit, Isa cap) noexcept;

}  // namespace nbl::kernels
