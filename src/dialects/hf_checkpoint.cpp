// Checkpoint over a Hugging Face directory: dense tensors as they are, packed modules through their packing.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "dialects/common.h"
#include "dialects/hf_conv1d.h"
#include "dialects/hf_directory.h"
#include "io/safetensors_types.h"
#include "io/spool.h"

namespace nbl::dialects {
namespace {

class HfCheckpoint final : public Checkpoint {
 public:
  HfCheckpoint(std::string format, std::unique_ptr<HfDirectory> directory, std::unique_ptr<Packing> packing,
               std::map<std::string, PackedModule, std::less<>> modules)
      : format_(std::move(format)),
        directory_(std::move(directory)),
        packing_(std::move(packing)),
        modules_(std::move(modules)) {
    for (const auto& [name, module] : modules_) consumed_.insert(module.consumed.begin(), module.consumed.end());
  }

  std::string format() const override { return format_; }
  std::string origin() const override { return directory_->origin(); }
  const Json& config() const override { return directory_->config(); }

  std::vector<TensorInfo> tensors() const override {
    std::vector<TensorInfo> infos;
    for (const auto& [name, module] : modules_) infos.push_back(module.info);
    for (const auto& [name, raw] : directory_->tensors()) {
      if (consumed_.contains(name)) continue;
      const auto dtype = io::safetensors_dtype(raw->type);
      const auto count = element_count(raw->shape);
      const auto bytes = static_cast<int64_t>(raw->bytes.size());
      Shape shape = raw->shape;
      if (shape.size() == 2 && stored_as_conv1d(config(), name)) std::swap(shape[0], shape[1]);
      infos.push_back({name, shape, dtype ? dtype_name(*dtype) : raw->type,
                       bits_per_element(bytes, count.ok() ? *count : 0), 0, bytes});
    }
    std::sort(infos.begin(), infos.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return io::natural_less(a.name, b.name); });
    return infos;
  }

  bool has(std::string_view name) const override { return modules_.contains(name) || dense(name) != nullptr; }

  Result<QTensor> matrix(std::string_view name) const override {
    if (const auto it = modules_.find(name); it != modules_.end()) {
      NBL_ASSIGN(const std::shared_ptr<const HfDirectory> loaded, directory_->with_loaded(it->second.consumed));
      auto tensor = packing_->read(*loaded, name);
      if (!tensor.ok()) return tensor.status();
      const Status status = tensor->validate(std::string(name));
      if (!status.ok()) return status.with_context(origin());
      return tensor;
    }
    const io::RawTensor* raw = dense(name);
    if (raw == nullptr) return not_found(origin(), name);
    NBL_ASSIGN(QTensor tensor, dense_matrix(*raw));
    if (stored_as_conv1d(config(), name)) return transpose_dense(tensor);
    return tensor;
  }

  std::optional<Array> plain_matrix(std::string_view name) const override {
    const io::RawTensor* raw = modules_.contains(name) ? nullptr : dense(name);
    if (raw == nullptr || raw->shape.size() != 2 || stored_as_conv1d(config(), name)) return {};
    auto array = io::to_array(*raw);
    if (!array.ok() || array->size() == 0) return {};
    if (array->dtype != DType::f32 && array->dtype != DType::f16 && array->dtype != DType::bf16) return {};
    return std::move(array).value();
  }

  Result<Array> array(std::string_view name) const override {
    if (modules_.contains(name)) {
      NBL_ASSIGN(const QTensor tensor, matrix(name));
      return to_array(tensor);
    }
    const io::RawTensor* raw = dense(name);
    if (raw == nullptr) return not_found(origin(), name);
    if (raw->shape.size() == 2 && stored_as_conv1d(config(), name)) {
      NBL_ASSIGN(const QTensor tensor, matrix(name));
      return to_array(tensor);
    }
    return io::to_array(*raw);
  }

  bool has_asset(std::string_view name) const override { return directory_->has_asset(name); }
  Result<std::string> asset(std::string_view name) const override { return directory_->asset(name); }
  std::vector<std::string> asset_names() const override { return directory_->asset_names(); }
  std::vector<std::string> warnings() const override { return directory_->warnings; }
  int64_t file_bytes() const override { return directory_->file_bytes(); }

 private:
  const io::RawTensor* dense(std::string_view name) const {
    return consumed_.contains(name) ? nullptr : directory_->find(name);
  }

  std::string format_;
  std::unique_ptr<HfDirectory> directory_;
  std::unique_ptr<Packing> packing_;
  std::map<std::string, PackedModule, std::less<>> modules_;
  std::set<std::string, std::less<>> consumed_;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> make_hf_checkpoint(std::string format, std::unique_ptr<HfDirectory> directory,
                                                       std::unique_ptr<Packing> packing) {
  std::map<std::string, PackedModule, std::less<>> modules;
  if (packing != nullptr) {
    NBL_ASSIGN(modules, packing->modules(*directory));
  }
  return std::unique_ptr<Checkpoint>(
      std::make_unique<HfCheckpoint>(std::move(format), std::move(directory), std::move(packing), std::move(modules)));
}

}  // namespace nbl::dialects
