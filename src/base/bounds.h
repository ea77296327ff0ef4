// Bounds on untrusted input: how many, how large, how deep, how long. All of them stand in bounds.inc; a caller may change them for
// the process (nbl_limit_set).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.h"

namespace nbl {

enum class Bound : int32_t {
#define NBL_BOUND(name, standard, most, help) name,
#include "base/bounds.inc"
#undef NBL_BOUND
};

struct BoundInfo {
  const char* name;
  int64_t standard, most;
  const char* help;
};

/// In the order of Bound.
std::span<const BoundInfo> all_bounds() noexcept;
/// The value in force. Any thread, at any time.
int64_t bound(Bound which) noexcept;
/// For the whole process, from now on; 0 takes the default back. Code::not_found: no such name; Code::invalid_argument: not from 0
/// to BoundInfo::most.
Status set_bound(std::string_view name, int64_t value);

/// A bound under the name and of the type that a reader uses for it.
template <class T>
class BoundOf {
 public:
  constexpr explicit BoundOf(Bound which) noexcept : which_(which) {}
  T get() const noexcept { return static_cast<T>(bound(which_)); }
  operator T() const noexcept { return get(); }  // NOLINT(google-explicit-constructor): reads as the constant that it was

 private:
  Bound which_;
};

}  // namespace nbl
