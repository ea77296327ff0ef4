// fp32, fp16, bf16: weights kept as numbers, the baselines of every table.
#include <fmt/format.h>

#include <cmath>

#include "quant/calibrated.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

class DenseMethod final : public Method {
 public:
  DenseMethod(std::string_view id, std::string_view summary, DType type) : id_(id), summary_(summary), type_(type) {}

  std::string_view id() const override { return id_; }
  std::string_view summary() const override { return summary_; }
  std::span<const OptionSpec> options() const override { return {}; }
  uint32_t needs(const Options&) const override { return kNeedNone; }
  double nominal_bits(const Options&) const override { return 8.0 * static_cast<double>(dtype_bytes(type_)); }

  Result<LinearResult> quantize(const LinearTask& task, const Options&, const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    DType type = type_;
    if (type == DType::f16) {
      float reach = 0;
      for (float w : task.weight) reach = std::max(reach, std::fabs(w));
      if (reach > 65504.0f) {
        type = DType::bf16;
        notes.push_back(fmt::format("stored as bf16: weights up to {:g} exceed f16", reach));
      }
    }
    std::vector<std::byte> stored(task.weight.size() * static_cast<std::size_t>(dtype_bytes(type)));
    convert_from_f32(task.weight.data(), static_cast<int64_t>(task.weight.size()), type, stored.data());
    NBL_ASSIGN(Segment segment, pack_dense(task.n, task.k, type, stored.data()));
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
  }

 private:
  std::string_view id_, summary_;
  DType type_;
};

}  // namespace

const Method* fp32_method() {
  static const DenseMethod method("fp32", "32-bit floating-point weights", DType::f32);
  return &method;
}
const Method* fp16_method() {
  static const DenseMethod method("fp16", "16-bit floating-point weights (IEEE half)", DType::f16);
  return &method;
}
const Method* bf16_method() {
  static const DenseMethod method("bf16", "16-bit floating-point weights (bfloat16)", DType::bf16);
  return &method;
}

}  // namespace nbl::quant
