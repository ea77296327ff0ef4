// The same numbers in another form. Before a dialect can write a weight, its form must be one that the dialect has:
// other group sizes, other kinds of zero, other widths or scale types. All of that is tried here, and done only when
// every weight keeps its value to the bit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/qtensor.h"

namespace nbl::dialects {

/// What a dialect can store of an affine weight.
struct AffineTarget {
  std::vector<int> bits;           ///< widths it has, ascending; the smallest that holds the codes is taken
  std::vector<int64_t> groups;     ///< group sizes it has, 0 meaning the whole row; empty: any
  std::vector<ZeroKind> zeros;     ///< in order of preference
  std::vector<DType> scale_types;  ///< in order of preference; values must be exact in it
  std::vector<DType> zero_types;   ///< of minimums and real zeros
  bool column_order = false;       ///< whether columns may be permuted
  bool input_scale = false;        ///< whether the format has a place for it
  bool zero_code_zero = true;      ///< whether a zero point of 0 can be stored
  /// Whether codes may move, group by group, so that their zero point becomes the middle: symmetric targets then hold
  /// weights with zero points, if the codes that are used leave room.
  bool recenter = false;
};

/// A weight as the target wants it: parts by value, codes row by row.
struct AffineView {
  const QTensor* tensor = nullptr;
  int bits = 0;
  int64_t group_size = 0;  ///< 0: the whole row
  int64_t groups = 0;
  ZeroKind zero_kind = ZeroKind::symmetric;
  DType scale_type = DType::f16, zero_type = DType::f16;
  std::vector<float> scales, zeros;  ///< [n, groups]; zeros empty when symmetric
  int shift = 0;                     ///< added to each code
  std::vector<int16_t> group_shifts;  ///< [n, groups], added besides; may be empty

  /// One row of codes, packed order.
  void codes(int64_t row, uint8_t* out) const;
};

/// Code::unsupported with the reason when a value would change. `what` names the target for the message ("GPTQ").
Result<AffineView> recode_affine(const QTensor& tensor, const AffineTarget& target, std::string_view what);

/// "rtn:bits=B,group_size=G,sym=S" for the smallest of `bits` (ascending) not below the tensor's own width, the tensor's
/// groups before those of `groups`, asymmetric before symmetric: recipes for Dialect::closest_recipes().
std::vector<std::string> nearest_affine_recipes(const QTensor& tensor, const std::vector<int>& bits,
                                                const std::vector<int64_t>& groups);

/// The scale (minimum, real zero or zero code) of one row and group of a segment.
float scale_at(const Segment& segment, int64_t row, int64_t group) noexcept;
float zero_at(const Segment& segment, int64_t row, int64_t group) noexcept;

/// Whether every value is exact in the type.
bool exact_in(DType type, const std::vector<float>& values) noexcept;

}  // namespace nbl::dialects
