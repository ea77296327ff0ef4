// The dense Hugging Face directory.
#include <fmt/format.h>

#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/hf_directory.h"
#include "dialects/hf_writer.h"

namespace nbl::dialects {
namespace {

class HuggingFaceDialect final : public Dialect {
 public:
  std::string_view id() const override { return "huggingface"; }
  std::string_view summary() const override {
    return "directory of config.json and dense safetensors (f32, f16, bf16), sharded or not";
  }
  std::string_view limits() const override {
    return "stores dense values only: quantized weights are written as their values.";
  }
  bool recognise(const std::filesystem::path& path) const override { return is_hf_directory(path); }
  Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    if (!directory->quantization().is_null()) {
      return Status(Code::unsupported, fmt::format("{}: quantized with '{}', which is not read",
                                                   directory->quantization_origin(), shown(hf_quant_method(path))));
    }
    return make_hf_checkpoint("huggingface", std::move(directory), nullptr);
  }
  bool can_write() const override { return true; }
  Result<std::unique_ptr<CheckpointWriter>> make_writer(const std::filesystem::path& path) const override {
    return make_hf_writer(path, nullptr);
  }
  Status can_represent(std::string_view name, const QTensor& tensor) const override {
    if (tensor.input_rounding) {
      return Status(Code::unsupported,
                    fmt::format("tensor {}: a dense weight cannot hold rounded inputs; the native format can", name));
    }
    if (tensor.input_scale.empty()) return {};
    return Status(Code::unsupported,
                  fmt::format("tensor {}: a dense weight cannot hold an input scale; the native format can", name));
  }
  std::vector<std::string> closest_recipes(const QTensor&) const override { return {"fp32"}; }
};

}  // namespace

const Dialect& huggingface_dialect() {
  static const HuggingFaceDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
