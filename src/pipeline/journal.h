// What a job has finished, layer by layer, in a file beside its output: a job that was killed goes on from there.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "pipeline/pipeline.h"
#include "tensor/array.h"
#include "tensor/qtensor.h"

namespace nbl::pipeline {

/// Everything that processing one layer wrote.
struct FinishedLayer {
  int64_t layer = 0;
  std::vector<std::pair<std::string, QTensor>> matrices;
  std::vector<std::pair<std::string, Array>> arrays;
  std::vector<LayerReport> reports;
};

class Journal {
 public:
  static std::filesystem::path path_for(const std::filesystem::path& output);

  /// `job` says in JSON what decides the output's bytes. resume: an existing journal of the same job is read by next();
  /// one of another job is an error (Code::mismatch). Else a new one is begun.
  static Result<Journal> open(const std::filesystem::path& output, const std::string& job, bool resume);

  /// The next layer of an earlier run, in order; none after the last.
  Result<std::optional<FinishedLayer>> next();
  /// Durable when it returns.
  Status add(const FinishedLayer& layer);
  /// The output is complete, or not wanted.
  Status remove() { return file_.remove(); }

 private:
  explicit Journal(RecordFile file) : file_(std::move(file)) {}
  RecordFile file_;
  std::filesystem::path path_;
};

}  // namespace nbl::pipeline
