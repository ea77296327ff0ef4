// fp4: four-bit floating-point codes (a sign, two exponent bits, one of fraction) with the largest magnitude of a block as its
// scale. Equal to bitsandbytes bit for bit.
#include "quant/affine.h"
#include "quant/codebook4.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

// Sign and magnitude; the smallest magnitude is subnormal.
constexpr std::array<float, 16> kTable = {
    0.0f,  0.0625f / 12.0f,  8.0f / 12.0f,  12.0f / 12.0f,  4.0f / 12.0f,  6.0f / 12.0f,  2.0f / 12.0f,  3.0f / 12.0f,
    -0.0f, -0.0625f / 12.0f, -8.0f / 12.0f, -12.0f / 12.0f, -4.0f / 12.0f, -6.0f / 12.0f, -2.0f / 12.0f, -3.0f / 12.0f};

class Fp4Method final : public Method {
 public:
  std::string_view id() const override { return "fp4"; }
  std::string_view summary() const override { return "4-bit floating-point codes with block scales"; }
  std::span<const OptionSpec> options() const override { return block_options(); }
  Status check(const Options& options) const override {
    return check_group_size(options.integer("block_size")).with_context("block_size");
  }
  uint32_t needs(const Options& options) const override {
    return options.integer("search") > 0 ? kNeedSquare : kNeedNone;
  }
  double nominal_bits(const Options& options) const override { return nominal_block_bits(block_rule(options)); }
  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    static const Codebook4 codebook = Codebook4::create(kTable);
    return quantize_blocks(task, codebook, block_rule(options), context);
  }
};

}  // namespace

const Method* fp4_method() {
  static const Fp4Method method;
  return &method;
}

}  // namespace nbl::quant
