// The residual stream of all calibration tokens between two layers, in batches: in memory, or compressed on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace nbl::pipeline {

class Activations {
 public:
  Activations() = default;
  /// rows x hidden floats, `batch_rows` rows a batch (the last may be shorter). spill: the directory of the file that holds
  /// them; none: they stay in memory. The batches are to be stored in any order before they are loaded.
  static Result<Activations> create(int64_t rows, int64_t hidden, int64_t batch_rows,
                                    const std::optional<std::filesystem::path>& spill);

  /// A batch, valid until the next call.
  Result<const float*> load(int64_t batch);
  Status store(int64_t batch, const float* values);

 private:
  std::size_t floats(int64_t batch) const noexcept;

  int64_t rows_ = 0, hidden_ = 0, batch_rows_ = 0;
  std::vector<float> memory_;  ///< all of them; one batch when they are on disk
  std::optional<ScratchFile> file_;
  std::vector<int64_t> stored_;  ///< compressed bytes of each batch
  int64_t slot_bytes_ = 0;
  std::string packed_, planes_;
};

}  // namespace nbl::pipeline
