// Kernel bodies are inlined whole into the one exported function of an instruction set.
#pragma once

#define NBL_INLINE __attribute__((always_inline)) inline
#define NBL_NOINLINE __attribute__((noinline))
/// After a lambda's parameters: inline it whole.
#define NBL_INLINE_LAMBDA __attribute__((always_inline))
