// nf4: four-bit codes into a table of normal quantiles, the largest magnitude of a block as its scale (Dettmers et al., QLoRA,
// 2023). Equal to bitsandbytes bit for bit.
#include "quant/codebook4.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

constexpr std::array<float, 16> kTable = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f};

}  // namespace

const Method* nf4_method() {
  static const Codebook4Method method("nf4", "4-bit normal-float codes with block scales (QLoRA)", kTable);
  return &method;
}

}  // namespace nbl::quant
