#include "pipeline/activations.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/foreign.h"

namespace nbl::pipeline {

Result<Activations> Activations::create(int64_t rows, int64_t hidden, int64_t batch_rows,
                                        const std::optional<std::filesystem::path>& spill) {
  Activations a;
  a.rows_ = rows;
  a.hidden_ = hidden;
  a.batch_rows_ = batch_rows;
  try {
    if (!spill) {
      a.memory_.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(hidden));
      return a;
    }
    a.memory_.resize(static_cast<std::size_t>(std::min(rows, batch_rows) * hidden));
    a.planes_.resize(a.memory_.size() * sizeof(float));
    a.packed_.resize(ZSTD_compressBound(a.planes_.size()));
  } catch (const std::bad_alloc&) {
    return Status(Code::out_of_memory, fmt::format("no memory for the activations of {} calibration tokens", rows));
  }
  a.slot_bytes_ = static_cast<int64_t>(a.packed_.size());
  a.stored_.resize(static_cast<std::size_t>(ceil_div(rows, batch_rows)));
  NBL_ASSIGN(a.file_, ScratchFile::create(*spill));
  return a;
}

std::size_t Activations::floats(int64_t batch) const noexcept {
  return static_cast<std::size_t>(std::min(batch_rows_, rows_ - batch * batch_rows_) * hidden_);
}

Result<const float*> Activations::load(int64_t batch) {
  if (!file_) return memory_.data() + batch * batch_rows_ * hidden_;
  const std::size_t count = floats(batch), bytes = count * sizeof(float);
  const std::size_t stored = static_cast<std::size_t>(stored_[static_cast<std::size_t>(batch)]);
  NBL_TRY(file_->read(batch * slot_bytes_, std::as_writable_bytes(std::span(packed_.data(), stored))));
  const std::size_t got = ZSTD_decompress(planes_.data(), bytes, packed_.data(), stored);
  if (ZSTD_isError(got) || got != bytes) return Status(Code::io, "spilled activations cannot be read back");
  filled_elsewhere(planes_.data(), bytes);
  char* out = reinterpret_cast<char*>(memory_.data());
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t b = 0; b < 4; ++b) out[4 * i + b] = planes_[b * count + i];
  return static_cast<const float*>(memory_.data());
}

Status Activations::store(int64_t batch, const float* values) {
  const std::size_t count = floats(batch), bytes = count * sizeof(float);
  if (!file_) {
    std::memcpy(memory_.data() + batch * batch_rows_ * hidden_, values, bytes);
    return {};
  }
  // The bytes of equal rank side by side: exponents repeat, mantissas do not.
  const char* in = reinterpret_cast<const char*>(values);
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t b = 0; b < 4; ++b) planes_[b * count + i] = in[4 * i + b];
  const std::size_t size = ZSTD_compress(packed_.data(), packed_.size(), planes_.data(), bytes, 1);
  if (ZSTD_isError(size)) return {Code::internal, fmt::format("compressing activations: {}", ZSTD_getErrorName(size))};
  filled_elsewhere(packed_.data(), size);
  stored_[static_cast<std::size_t>(batch)] = static_cast<int64_t>(size);
  return file_->write(batch * slot_bytes_, std::as_bytes(std::span(packed_.data(), size)));
}

}  // namespace nbl::pipeline
