// llm_int8: 8-bit weights with a scale a row, and activations rounded to 8 bits token by token, but for their outliers (Dettmers et al.,
// 2022): elements as large as the threshold stay in 16 bits and multiply the weights as they are. The paper sets whole columns
// aside when any token of the batch has an outlier there; here each token decides for itself, so that a token's result does not
// depend on the others.
#include "quant/calibrated.h"
#include "quant/method.h"
#include "quant/row_int8.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"threshold", OptionSpec::Type::real, "6", 0, 1e6, {}, "activations of at least this size stay in 16 bits; 0: none"},
};

class LlmInt8Method final : public Method {
 public:
  std::string_view id() const override { return "llm_int8"; }
  std::string_view summary() const override { return "8-bit weights and activations, outlying activations in 16 bits"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  uint32_t needs(const Options&) const override { return kNeedNone; }
  double nominal_bits(const Options&) const override { return 8.0; }
  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    NBL_ASSIGN(QTensor tensor, quantize_rows_int8(task, context));
    InputRounding rounding;
    rounding.threshold = static_cast<float>(options.real("threshold"));
    tensor.input_rounding = rounding;
    return finish_result(task, std::move(tensor), {}, context);
  }
};

}  // namespace

const Method* llm_int8_method() {
  static const LlmInt8Method method;
  return &method;
}

}  // namespace nbl::quant
