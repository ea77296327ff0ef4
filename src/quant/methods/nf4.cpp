// nf4: four-bit codes into a table of normal quantiles, the largest magnitude of a block as its scale (Dettmers et al., QLoRA,
// 2023). Equal to bitsandbytes bit for bit.
#include "quant/affine.h"
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

class Nf4Method final : public Method {
 public:
  std::string_view id() const override { return "nf4"; }
  std::string_view summary() const override { return "4-bit normal-float codes with block scales (QLoRA)"; }
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

const Method* nf4_method() {
  static const Nf4Method method;
  return &method;
}

}  // namespace nbl::quant
