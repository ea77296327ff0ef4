// The autotuner of integer products: which variant multiplies a shape, and how many activation rows a register block of it takes, by
// measuring. All candidates give the same bytes (kernels/qmatmul_int8/qmatmul_int8.h), so that tuning changes time and nothing else;
// exact products, and dense ones in bfloat16, whose sums differ between variants, are never tuned.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/qmatmul_int8/qmatmul_int8.h"

namespace nbl {

/// Numbers of activation rows are taken together as kernels do: one row, up to 4, up to 8, more.
inline constexpr int kRowClasses = 4;
constexpr int row_class(int64_t m) noexcept { return m <= 1 ? 0 : m <= 4 ? 1 : m <= 8 ? 2 : 3; }

/// What a product is computed with.
struct Int8Choice {
  kernels::QmatmulInt8Variant variant{};
  int32_t block_rows = 0;  ///< of QmatmulInt8Args
};
using Int8Choices = std::array<Int8Choice, kRowClasses>;

/// The choice without measuring: the best instruction set up to `cap`, its own blocks.
Int8Choices default_int8_choices(Isa cap) noexcept;

/// One per runtime. Any number of threads may ask at once; a shape that two ask for is measured once.
class KernelTuner {
 public:
  struct Entry {
    std::string shape;   ///< "affine 4 bit, steps of 128, 2048 columns, 9 rows and more"
    std::string choice;  ///< "qmatmul_int8__avx512vnni, blocks of 8 rows"
    double microseconds = 0;          ///< of the choice on the part that was measured
    double default_microseconds = 0;  ///< of the default
  };

  /// For segments that look like `w`, of n output rows, multiplied in steps of `step` columns. Measures on the segment's first row
  /// tiles, for some milliseconds, unless the shape was asked for before. The default stays unless another is faster by 3 %.
  Int8Choices choose(const kernels::SegmentView& w, int64_t n, int64_t step, Isa cap);

  /// How many shapes were measured, and what came of it.
  int64_t measured() const;
  std::vector<Entry> entries() const;

 private:
  struct Shape {
    kernels::WeightKind kind;
    int32_t bits;
    kernels::ZeroPoint zero;
    kernels::Number scale_type;
    bool coded;  ///< scales kept as bytes
    int64_t step, group_size, column_tiles, row_tiles;
    Isa cap;
    auto operator<=>(const Shape&) const = default;
  };
  struct Measured {
    Int8Choices choices;
    std::array<Entry, kRowClasses> entries;
  };
  static Measured measure(const kernels::SegmentView& w, const Shape& shape);

  mutable std::mutex mutex_;
  std::map<Shape, Measured> known_;
};

}  // namespace nbl
