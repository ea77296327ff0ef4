// Writing a Hugging Face directory: config.json, shards with an index, tokenizer files, a model card. What quantized
// dialects store differently comes from an HfPacker.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "io/spool.h"
#include "tensor/checkpoint.h"

namespace nbl::dialects {

/// How one quantized dialect stores a weight.
class HfPacker {
 public:
  virtual ~HfPacker() = default;
  /// The model's configuration, before any weight.
  virtual void set_config(const Json&) {}
  /// Adds the tensors of the module (its name without ".weight"). Code::unsupported when a value would change; then
  /// nothing has been added.
  virtual Status pack(const std::string& module, const QTensor& tensor, io::TensorSpool& spool) = 0;
  /// quantization_config, once everything is packed. `dense` are the modules whose weight stayed dense.
  virtual Json quantization_config(const std::vector<std::string>& dense) const = 0;
  /// Further files of the directory.
  virtual std::map<std::string, std::string> files() const { return {}; }
};

/// `packer` may be null: quantized weights are then written as their values. The directory must not exist, or be empty.
Result<std::unique_ptr<CheckpointWriter>> make_hf_writer(const std::filesystem::path& path,
                                                         std::unique_ptr<HfPacker> packer);

/// Adds the values of a tensor as [n, k], in its own type when dense, else in the narrowest of bf16, f16 and f32 that
/// holds them all exactly. Returns that type.
Result<DType> add_dense(const std::string& name, const QTensor& tensor, io::TensorSpool& spool);

}  // namespace nbl::dialects
