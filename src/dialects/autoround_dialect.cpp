// AutoRound's own exports: GPTQ's or AWQ's tensors, told apart by packing_format.
#include <fmt/format.h>

#include "dialects/awq_layout.h"
#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/gptq_layout.h"
#include "dialects/hf_directory.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

class AutoRoundDialect final : public Dialect {
 public:
  std::string_view id() const override { return "autoround"; }
  std::string_view summary() const override { return "AutoRound directory in the GPTQ or AWQ packing"; }
  std::string_view limits() const override { return "what GPTQ or AWQ can hold."; }
  bool recognise(const fs::path& path) const override {
    if (!is_hf_directory(path)) return false;
    const std::string method = hf_quant_method(path);
    return method == "auto-round" || method == "intel/auto-round";
  }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    const Json& config = directory->quantization();
    const std::string& origin = directory->quantization_origin();
    NBL_ASSIGN(const std::string packing, config.string_or("packing_format", "auto_round:auto_gptq"));
    const Json* type = config.find_value("data_type");
    if (type != nullptr && type->as_string() != "int") {
      return Status(Code::unsupported,
                    fmt::format("{}: data_type '{}' is not read; int is", origin, shown(type->as_string())));
    }
    if (packing.find("awq") != std::string::npos) {
      NBL_ASSIGN(const AwqLayout layout, awq_layout(config, origin));
      return make_hf_checkpoint("autoround", std::move(directory), make_awq_packing(layout));
    }
    GptqConvention convention;
    convention.zeros_declared = true;
    NBL_ASSIGN(convention.group_size, config.int_or("group_size", 128));
    NBL_ASSIGN(convention.symmetric, config.bool_or("sym", true));
    // "auto_round:auto_gptq" stores zeros minus one; the plain packing and GPTQModel's store them as they are. Widths
    // are taken from the tensors: extra_config may give each module its own.
    if (packing == "auto_round" || packing == "auto_round:gptqmodel") {
      convention.zeros = ZeroOffset::plain;
    } else if (packing != "auto_round:auto_gptq" && packing != "auto_round:gptq") {
      return Status(Code::unsupported, fmt::format("{}: packing_format '{}' is not read", origin, shown(packing)));
    }
    return make_hf_checkpoint("autoround", std::move(directory), make_gptq_packing(convention));
  }
};

}  // namespace

const Dialect& autoround_dialect() {
  static const AutoRoundDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
