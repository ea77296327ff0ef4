// How a Json value is kept. Private to json*.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"

namespace nbl {

/// Members in order; a hash table over them once there are more than kLinear.
class JsonObject {
 public:
  std::span<const Json::Member> members() const noexcept { return members_; }
  void reserve(std::size_t count);
  const Json::Member* find(std::string_view key) const noexcept;
  Json& set(std::string_view key, Json value);
  /// Appends a member that may not be there yet; false (and nothing done) when it is.
  bool insert(std::string_view key, Json value);
  void erase(std::string_view key);

 private:
  static constexpr std::size_t kLinear = 16;

  std::size_t slot_of(std::string_view key) const noexcept;
  void append(std::string_view key, Json value);
  void rebuild_index(std::size_t slots);

  std::vector<Json::Member> members_;
  std::vector<uint32_t> index_;  // member number + 1, or 0; a power of two of slots, at most half of them used
};

struct Json::Rep {
  template <class T>
  explicit Rep(T v) : value(std::move(v)) {}
  Rep(const Rep&) = default;
  Rep(Rep&&) = default;

  // In the order of Json::Kind.
  std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<Json>, JsonObject> value;
};

/// Makes a Json of members that are already indexed.
class JsonBuilder {
 public:
  static Json wrap(JsonObject members) {
    Json j;
    j.rep_ = std::make_unique<Json::Rep>(std::move(members));
    return j;
  }
};

}  // namespace nbl
