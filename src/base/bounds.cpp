#include "base/bounds.h"

#include <fmt/format.h>

#include <atomic>
#include <cstddef>
#include <iterator>

namespace nbl {
namespace {

constexpr BoundInfo kBounds[] = {
#define NBL_BOUND(name, standard, most, help) {#name, standard, most, help},
#include "base/bounds.inc"
#undef NBL_BOUND
};

std::atomic<int64_t> changed[std::size(kBounds)];  // 0: the default

}  // namespace

std::span<const BoundInfo> all_bounds() noexcept { return kBounds; }

int64_t bound(Bound which) noexcept {
  const auto i = static_cast<std::size_t>(which);
  const int64_t set = changed[i].load(std::memory_order_relaxed);
  return set != 0 ? set : kBounds[i].standard;
}

Status set_bound(std::string_view name, int64_t value) {
  for (std::size_t i = 0; i < std::size(kBounds); ++i) {
    if (name != kBounds[i].name) continue;
    if (value < 0 || value > kBounds[i].most)
      return {Code::invalid_argument, fmt::format("the limit {} is {}, expected 1 to {}, or 0 for the default {}", name, value,
                                                  kBounds[i].most, kBounds[i].standard)};
    changed[i].store(value, std::memory_order_relaxed);
    return {};
  }
  return {Code::not_found, fmt::format("there is no limit called \"{}\": nbl_limits_json() lists them", name.substr(0, 100))};
}

}  // namespace nbl
