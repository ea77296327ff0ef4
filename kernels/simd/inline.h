// Kernel bodies are inlined whole into the one exported function of an instruction set.
#pragma once

#define NBL_INLINE __attribute__((always_inline)) inline
#define NBL_NOINLINE __attribute__((noinline))
/// After a lambda's parameters: inline it whole.
#define NBL_INLINE_LAMBDA __attribute__((always_inline))
/// A loop of few, constant rounds over registers: unrolled whole, or its arrays would stay in memory.
#if defined(__clang__)
#define NBL_UNROLL _Pragma("unroll")
#else
#define NBL_UNROLL _Pragma("GCC unroll 64")
#endif
#define NBL_EACH(i, n) NBL_UNROLL for (int i = 0; i < (n); ++i)
