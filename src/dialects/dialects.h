// Dialects: the ways a model can lie on disk. Each is one file here and one line in dialects.inc; it recognises its
// files by content, reads them as a Checkpoint and, where it can, writes them.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/checkpoint.h"

namespace nbl::dialects {

class Dialect {
 public:
  virtual ~Dialect() = default;
  virtual std::string_view id() const = 0;       ///< "native", "huggingface", "gguf": what --format takes
  virtual std::string_view summary() const = 0;  ///< one line
  /// What it cannot represent, one sentence.
  virtual std::string_view limits() const = 0;

  /// Whether the file or directory is in this dialect, judged by its content. Errors count as no.
  virtual bool recognise(const std::filesystem::path& path) const = 0;
  virtual Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& path) const = 0;

  virtual bool can_write() const { return false; }
  /// Nothing appears at `path` before the writer's finish() succeeded.
  virtual Result<std::unique_ptr<CheckpointWriter>> make_writer(const std::filesystem::path& path) const;
  /// Ok when add_matrix would store exactly these numbers; else Code::unsupported with the reason and the closest
  /// lossless choice.
  virtual Status can_represent(std::string_view name, const QTensor& tensor) const;
  /// Recipes (quant::parse_recipe) whose results this dialect can hold and that stay closest to the tensor's own width
  /// and groups, best first: for those who prefer a new quantization to a refusal.
  virtual std::vector<std::string> closest_recipes(const QTensor& tensor) const;
};

/// All dialects, in the order in which recognise() is asked.
std::span<const Dialect* const> dialects();
Result<const Dialect*> find_dialect(std::string_view id);  ///< the message lists the known ones

/// The dialect of what lies at `path`; not_found, or unsupported with what was seen there.
Result<const Dialect*> recognise(const std::filesystem::path& path);
Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& path);
Result<std::unique_ptr<CheckpointWriter>> create(std::string_view format, const std::filesystem::path& path);

}  // namespace nbl::dialects
