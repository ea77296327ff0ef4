// fp4: four-bit floating-point codes (a sign, two exponent bits, one of fraction) with the largest magnitude of a block as its
// scale. Equal to bitsandbytes bit for bit.
#include "quant/codebook4.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

// Sign and magnitude; the smallest magnitude is subnormal.
constexpr std::array<float, 16> kTable = {
    0.0f,  0.0625f / 12.0f,  8.0f / 12.0f,  12.0f / 12.0f,  4.0f / 12.0f,  6.0f / 12.0f,  2.0f / 12.0f,  3.0f / 12.0f,
    -0.0f, -0.0625f / 12.0f, -8.0f / 12.0f, -12.0f / 12.0f, -4.0f / 12.0f, -6.0f / 12.0f, -2.0f / 12.0f, -3.0f / 12.0f};

}  // namespace

const Method* fp4_method() {
  static const Codebook4Method method("fp4", "4-bit floating-point codes with block scales", kTable);
  return &method;
}

}  // namespace nbl::quant
