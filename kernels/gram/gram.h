// gram: sums of outer products, C += A^T B over a run of tokens. What calibration spends its time on besides the
// forward pass: the Hessian of a layer's inputs is X^T X.
//
// Inputs are packed panels: kGramPanel columns of X, one token after the other, [steps][kGramPanel] floats without
// gaps. The result is one square block of the sum. A caller walks the upper triangle of blocks; the rest is symmetric.
//
// Contract: a, b and c are 64-byte aligned; c is [kGramPanel][kGramPanel] row-major and is added to. The steps are
// summed in ascending order, so a result depends on neither the number of threads nor how blocks are shared among them.
// Tolerance against exact arithmetic: steps * 2^-23 * sum |a||b|. Nothing outside the panels is read.
#pragma once

#include <cstdint>

namespace nbl::kernels {

inline constexpr int kGramPanel = 48;  ///< columns a panel; three AVX-512 registers, six AVX2 registers

struct GramArgs {
  const float* a = nullptr;  ///< [steps][kGramPanel]
  const float* b = nullptr;  ///< [steps][kGramPanel]; may equal a
  float* c = nullptr;        ///< [kGramPanel][kGramPanel]
  int64_t steps = 0;
};

using GramFn = void (*)(const GramArgs* args);

/// One implementation. `isa` is the value of nbl::Isa that it needs.
struct GramVariant {
  const char* name;
  int isa;
  GramFn fn;
};

/// The same of inputs rounded to bfloat16, two tokens at a time: their products are exact, sums are float32 in an order
/// that is the processor's own. Tolerance: pairs * 2^-22 * sum |a||b| of the rounded inputs.
struct GramBf16Args {
  const uint16_t* a = nullptr;  ///< [pairs][kGramPanel][2]
  const uint16_t* b = nullptr;  ///< [pairs][kGramPanel][2]; may equal a
  float* c = nullptr;           ///< [kGramPanel][kGramPanel], added to
  int64_t pairs = 0;
};

/// Packs `columns` <= kGramPanel columns of x - minus (minus may be null), each token's times its factor, for it. Rows are ldx and
/// ld_minus floats apart; an odd token is paired with zeros, and so are the columns missing to a whole panel.
struct GramPackArgs {
  const float* x = nullptr;
  const float* minus = nullptr;
  int64_t ldx = 0, ld_minus = 0;
  const float* factor = nullptr;  ///< [tokens]; null: 1
  int64_t tokens = 0, columns = 0;
  uint16_t* out = nullptr;  ///< [(tokens + 1) / 2][kGramPanel][2], 64-byte aligned
};

struct GramBf16Variant {
  const char* name;
  int isa;
  void (*fn)(const GramBf16Args* args);
  void (*pack)(const GramPackArgs* args);
};

/// All that were compiled in, best first; there may be none.
const GramBf16Variant* gram_bf16_variants(int* count);
/// The first whose needs `usable(isa)` grants, or null: then float32 is as good.
const GramBf16Variant* gram_bf16_select(bool (*usable)(int isa));

/// All that were compiled in, best first; the scalar one is last and runs everywhere.
const GramVariant* gram_variants(int* count);
/// The first whose needs `usable(isa)` grants.
const GramVariant* gram_select(bool (*usable)(int isa));

}  // namespace nbl::kernels
