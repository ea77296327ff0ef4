// Linear: a QTensor made ready to multiply. Chooses the kernel variant once and owns what it needs besides the weight.
// The two steps of a product are separate so that layers sharing an input (q, k, v; gate, up) prepare it once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/cpu.h"
#include "base/parallel.h"
#include "base/status.h"
#include "tensor/qtensor.h"

namespace nbl {

class KernelTuner;

/// exact: activations stay float32; the same bytes for any thread count, batch size and instruction set.
/// fast: activations quantized to int8 per group (or two planes of it, ComputeOptions::fine) for affine and codebook segments,
/// which gives the same bytes for any thread count, batch size and instruction set too; rounded to bfloat16 for many rows by dense f16, bf16 and e4m3 segments where
/// the processor multiplies bfloat16; float32 for the rest.
enum class Compute : int32_t { exact = 0, fast = 1 };

struct ComputeOptions {
  Compute compute = Compute::fast;
  Isa isa = Isa::scalar;  ///< kernels for this instruction set or the best one below it
  /// Chooses among kernels of integer products by measuring, or null: the best instruction set. Changes no bit of a result.
  KernelTuner* tuner = nullptr;
  /// fast: what int8 leaves over of an activation is a second plane, multiplied as the first: 15 bits for twice the arithmetic.
  bool fine = false;
};

/// How an input must be prepared for a Linear. Linears with equal keys can share one prepared input.
struct InputForm {
  bool quantized = false;  ///< int8 groups, else float32
  int32_t group = 0;       ///< columns an activation scale covers (quantized)
  int32_t planes = 0;      ///< of int8 (quantized): 1 or 2
  int64_t k = 0;
  const void* order = nullptr;  ///< the QTensor's column order, if any
  const void* scale = nullptr;  ///< its input scale, if any
  bool bf16 = false;            ///< many rows are wanted as bfloat16 too (dense segments, fast)
  bool keep_f32 = false;        ///< quantized, but float32 is wanted too (dense segments, outliers)
  std::optional<InputRounding> rounding;  ///< float32 only, rounded by the tensor's rule after the scale
  bool operator==(const InputForm&) const = default;
};

/// The beginnings of a weight's arrays, for fetching them ahead of time. Null: unknown.
struct FirstLines {
  const uint8_t* codes = nullptr;
  const uint8_t* scales = nullptr;
  const uint8_t* zeros = nullptr;
};

/// What a worker reads after a product.
struct Upcoming {
  FirstLines lines;  ///< fetched with the last of the product's own
  Ahead ahead;       ///< fetched while the worker waits for the others
};

class Linear {
 public:
  /// Keeps a reference to the tensor's storage. The tensor must be valid. bias: n floats or empty.
  static Result<Linear> create(QTensor tensor, std::vector<float> bias, const ComputeOptions& options);
  Linear() noexcept;
  ~Linear();
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;

  int64_t n() const noexcept;
  int64_t k() const noexcept;
  const QTensor& tensor() const noexcept;
  const InputForm& input_form() const noexcept;
  std::string kernel_name() const;  ///< the variant chosen, for `info`, profiles and tests

  /// Bytes that prepare() needs for m rows; 64-byte aligned memory.
  std::size_t prepared_bytes(int64_t m) const noexcept;

  /// SPMD: every worker of the team calls it with the same arguments. x [m, k] row-major with ldx >= k floats a row.
  /// Ends with a barrier.
  void prepare(Worker& worker, const float* x, int64_t ldx, int64_t m, std::byte* prepared) const noexcept;
  /// The same bytes, all of them made by the calling thread, without meeting anyone: for few rows, each worker into its own
  /// memory.
  void prepare_alone(const float* x, int64_t ldx, int64_t m, std::byte* prepared) const noexcept;

  /// Up to so many rows are bound by memory, whose speed differs from thread to thread, so that a part of the work is dealt out
  /// (Worker::deal) in pieces of at least so many bytes of weights: shorter ones would end before memory has come up to speed.
  static constexpr int64_t kDealtRows = 16, kDealtBytes = 192 * 1024;

  /// SPMD. y [m, n], ldy floats a row: y = W * x (+ bias). Output rows are split among workers; each element is
  /// computed by one worker in an order that does not depend on the number of workers, nor on m but for fast products of
  /// dense segments. No barrier at the end: the caller meets one before reading y. `prepared` came from a Linear of equal input_form().
  /// `next`, what this worker reads next: where few rows let memory set the pace, its first codes are fetched with the last of these, so
  /// that memory does not pause in between.
  void multiply(Worker& worker, const std::byte* prepared, int64_t m, float* y, int64_t ldy,
                const FirstLines& next = {}) const noexcept;

  // The same in pieces, for callers that make an input and a product where they are needed. They meet nobody.

  /// True when an input can be prepared in pieces: its columns in their own order, no rule that looks at whole rows.
  bool prepares_in_pieces() const noexcept;
  /// Prepares rows [rows.begin, rows.end) of x [m, k].
  void prepare_rows(Range rows, const float* x, int64_t ldx, int64_t m, std::byte* prepared) const noexcept;
  /// Prepares columns [columns.begin, columns.end) of all m rows: multiples of kPieceColumns, or the end is k.
  /// x [m, columns.end - columns.begin], ldx floats a row.
  static constexpr int64_t kPieceColumns = 128;
  void prepare_columns(Range columns, const float* x, int64_t ldx, int64_t m, std::byte* prepared) const noexcept;
  /// Output rows [rows.begin, rows.end), multiples of 16 or the end is n: y [m, rows.end - rows.begin], ldy floats a row.
  void multiply_rows(Range rows, const std::byte* prepared, int64_t m, float* y, int64_t ldy,
                     const FirstLines& next = {}) const noexcept;
  /// Where output rows from `row` on (a multiple of 16) begin, for multiply_rows' `next`; where the calling worker's part of multiply() does.
  FirstLines lines_of(int64_t row) const noexcept;
  FirstLines lines_of(const Worker& worker) const noexcept;
  Upcoming upcoming(const Worker& worker) const noexcept { return {lines_of(worker), ahead(worker)}; }

  /// What the calling worker's part of a multiply reads first, in one piece: for fetching it while there is time.
  Ahead ahead(const Worker& worker) const noexcept;

  /// Bytes read from memory by one multiply of one row: codes, scales, zeros, outliers.
  int64_t weight_bytes() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl
