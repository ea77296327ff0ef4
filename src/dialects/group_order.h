// From "column k belongs to group g_idx[k]" to packed columns in which every group is a run of equal length.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nbl::dialects {

struct GroupOrder {
  bool fits = false;             ///< false: no run length suits the groups, the weight must be stored as values
  int64_t group_size = 0;        ///< 0: one group
  std::vector<int32_t> columns;  ///< packed -> original; empty when nothing moves
  std::vector<int32_t> groups;   ///< packed group -> stored group (repeated where a stored group was cut)
};

/// g_idx: values in [0, stored groups); k of them. Groups may come in any order and differ in size; one may be short.
GroupOrder order_groups(std::span<const int32_t> g_idx);

/// The plain case: column k in group k / group_size (0: one group). `fits` is false when the size suits no tile.
GroupOrder consecutive_groups(int64_t k, int64_t group_size);

}  // namespace nbl::dialects
