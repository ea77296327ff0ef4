// How a Json object keeps its members. Private to json*.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace nbl {

/// Members in order; a hash table over them once there are more than kLinear.
class JsonObject {
 public:
  std::span<const Json::Member> members() const noexcept { return members_; }
  /// Room for that many members, and their table.
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

/// Where in a text that is no JSON the first error lies: "line 3, column 14". For messages; written to be clear, not
/// fast.
std::string json_error_place(std::string_view text);

/// Makes a Json of parts that are already whole.
class JsonBuilder {
 public:
  static Json wrap(JsonObject members) {
    Json j;
    j.value_ = std::make_unique<JsonObject>(std::move(members));
    return j;
  }
  static Json wrap(std::vector<Json> elements) {
    Json j;
    j.value_ = std::make_unique<std::vector<Json>>(std::move(elements));
    return j;
  }
};

}  // namespace nbl
