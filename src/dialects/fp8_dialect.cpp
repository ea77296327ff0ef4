// Hugging Face's fine-grained FP8: weights in e4m3 with a float for each block (weight_scale_inv, which multiplies).
#include <fmt/format.h>

#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/fp8_values.h"
#include "dialects/hf_directory.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = ".weight_scale_inv";

class Fp8Packing final : public Packing {
 public:
  Fp8Packing(int64_t rows, int64_t columns) : rows_(rows), columns_(columns) {}

  Result<std::map<std::string, PackedModule, std::less<>>> modules(HfDirectory& directory) override {
    std::map<std::string, PackedModule, std::less<>> found;
    for (const auto& [name, raw] : directory.tensors()) {
      if (!name.ends_with(kMark)) continue;
      const std::string weight = name.substr(0, name.size() - kMark.size()) + ".weight";
      NBL_ASSIGN(const io::RawTensor* codes, directory.get(weight));
      NBL_TRY(check_fp8(*codes, *raw, rows_, columns_));
      PackedModule module;
      module.consumed = {weight, name};
      const auto bytes = static_cast<int64_t>(codes->bytes.size() + raw->bytes.size());
      module.info = {weight,
                     codes->shape,
                     fmt::format("fp8 {}x{}", rows_, columns_),
                     bits_per_element(bytes, codes->shape[0] * codes->shape[1]),
                     columns_,
                     bytes};
      found.emplace(weight, std::move(module));
    }
    if (found.empty()) {
      return Status(Code::corrupt,
                    fmt::format("{}: quantized with fp8, but no tensor named *{}", directory.origin(), kMark));
    }
    return found;
  }

  Result<QTensor> read(const HfDirectory& directory, std::string_view name) const override {
    const std::string prefix(name.substr(0, name.size() - std::string_view(".weight").size()));
    NBL_ASSIGN(const io::RawTensor* codes, directory.get(name));
    NBL_ASSIGN(const io::RawTensor* scale, directory.get(prefix + std::string(kMark)));
    return fp8_matrix(*codes, *scale, rows_, columns_);
  }

 private:
  int64_t rows_, columns_;
};

class Fp8Dialect final : public Dialect {
 public:
  std::string_view id() const override { return "fp8"; }
  std::string_view summary() const override { return "Hugging Face directory of fine-grained FP8 (weight_scale_inv)"; }
  std::string_view limits() const override { return "e4m3 weights with a scale a block."; }
  bool recognise(const fs::path& path) const override {
    return is_hf_directory(path) && hf_quant_method(path) == "fp8";
  }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    int64_t rows = 128, columns = 128;
    if (const Json* block = directory->quantization().find_value("weight_block_size")) {
      if (block->size() != 2 || block->elements()[0].as_int() <= 0 || block->elements()[1].as_int() <= 0) {
        return Status(Code::corrupt,
                      fmt::format("{}: weight_block_size is no pair of sizes", directory->quantization_origin()));
      }
      rows = block->elements()[0].as_int();
      columns = block->elements()[1].as_int();
    }
    return make_hf_checkpoint("fp8", std::move(directory), std::make_unique<Fp8Packing>(rows, columns));
  }
};

}  // namespace

const Dialect& fp8_dialect() {
  static const Fp8Dialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
