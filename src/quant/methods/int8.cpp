// int8: eight bits with one scale a row, the row's largest magnitude over 127. What bitsandbytes stores, weights only.
#include "quant/calibrated.h"
#include "quant/method.h"
#include "quant/row_int8.h"

namespace nbl::quant {
namespace {

class Int8Method final : public Method {
 public:
  std::string_view id() const override { return "int8"; }
  std::string_view summary() const override { return "8 bits, one scale a row from its largest magnitude"; }
  std::span<const OptionSpec> options() const override { return {}; }
  uint32_t needs(const Options&) const override { return kNeedNone; }
  double nominal_bits(const Options&) const override { return 8.0; }

  bool by_rows(const Options&, int64_t) const override { return true; }

  Result<LinearResult> quantize(const LinearTask& task, const Options&, const MethodContext& context) const override {
    NBL_TRY(check_task(task, context.isa));
    NBL_ASSIGN(QTensor tensor, quantize_rows_int8(task, context));
    return finish_result(task, std::move(tensor), {}, context);
  }
};

}  // namespace

const Method* int8_method() {
  static const Int8Method method;
  return &method;
}

}  // namespace nbl::quant
