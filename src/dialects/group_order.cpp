#include "dialects/group_order.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"

namespace nbl::dialects {
namespace {

constexpr int64_t kGranule = 16;

}  // namespace

GroupOrder consecutive_groups(int64_t k, int64_t group_size) {
  GroupOrder order;
  if (group_size <= 0 || group_size >= k) {
    order.fits = true;
    order.groups = {0};
    return order;
  }
  if (group_size % kGranule != 0) return order;
  order.fits = true;
  order.group_size = group_size;
  order.groups.resize(static_cast<std::size_t>(ceil_div(k, group_size)));
  std::iota(order.groups.begin(), order.groups.end(), 0);
  return order;
}

GroupOrder order_groups(std::span<const int32_t> g_idx) {
  const auto k = static_cast<int64_t>(g_idx.size());
  const int32_t last = g_idx.empty() ? 0 : *std::max_element(g_idx.begin(), g_idx.end());
  std::vector<int64_t> counts(static_cast<std::size_t>(last) + 1);
  for (const int32_t g : g_idx) ++counts[static_cast<std::size_t>(g)];
  std::vector<int32_t> used;
  for (int32_t g = 0; g <= last; ++g) {
    if (counts[static_cast<std::size_t>(g)] != 0) used.push_back(g);
  }
  const auto count = [&](int32_t g) { return counts[static_cast<std::size_t>(g)]; };

  // The longest run that divides all groups but at most one, which then comes last.
  GroupOrder order;
  std::vector<int32_t> sequence;
  const auto try_run = [&](int64_t run) {
    sequence.clear();
    int32_t odd = -1;
    for (const int32_t g : used) {
      if (count(g) % run == 0) {
        sequence.push_back(g);
      } else if (odd < 0) {
        odd = g;
      } else {
        return false;
      }
    }
    if (odd >= 0) sequence.push_back(odd);
    return true;
  };
  if (used.size() == 1) {
    sequence = used;
    order.group_size = 0;
    order.fits = true;
  } else {
    int64_t largest = 0;
    for (const int32_t g : used) largest = std::max(largest, count(g));
    for (int64_t run = largest / kGranule * kGranule; run >= kGranule && !order.fits; run -= kGranule) {
      if (largest % run == 0 && try_run(run)) {
        order.group_size = run;
        order.fits = true;
      }
    }
    if (!order.fits) return order;
  }

  const int64_t run = order.group_size == 0 ? k : order.group_size;
  std::vector<int64_t> starts(counts.size());
  int64_t at = 0;
  for (const int32_t g : sequence) {
    starts[static_cast<std::size_t>(g)] = at;
    at += count(g);
    for (int64_t piece = 0; piece < ceil_div(count(g), run); ++piece) order.groups.push_back(g);
  }
  order.columns.resize(g_idx.size());
  bool moved = false;
  for (int64_t c = 0; c < k; ++c) {
    const int64_t p = starts[static_cast<std::size_t>(g_idx[static_cast<std::size_t>(c)])]++;
    order.columns[static_cast<std::size_t>(p)] = static_cast<int32_t>(c);
    moved |= p != c;
  }
  if (!moved) order.columns.clear();
  return order;
}

}  // namespace nbl::dialects
