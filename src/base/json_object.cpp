#include <bit>
#include <chrono>
#include <cstring>

#include "base/json_rep.h"

namespace nbl {
namespace {

// Keys come from files: a seed that a file's author cannot know keeps the table's chains short. It decides nothing but
// where a key lies in the table.
uint64_t process_seed() noexcept {
  static const uint64_t seed = [] {
    static const int anchor = 0;
    const auto now = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    return (now ^ std::bit_cast<uint64_t>(&anchor)) * 0x9e3779b97f4a7c15U | 1U;
  }();
  return seed;
}

// The two halves of the 128-bit product, folded.
uint64_t mix(uint64_t a, uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t hash(std::string_view key) noexcept {
  const uint64_t seed = process_seed();
  uint64_t h = seed ^ key.size();
  while (key.size() > 8) {
    uint64_t word;
    std::memcpy(&word, key.data(), 8);
    h = mix(h ^ word, 0xa0761d6478bd642fU ^ seed);
    key.remove_prefix(8);
  }
  uint64_t last = 0;
  std::memcpy(&last, key.data(), key.size());
  return mix(h ^ last, 0xe7037ed1a0b428dbU ^ seed);
}

}  // namespace

void JsonObject::reserve(std::size_t count) {
  members_.reserve(count);
  if (count > kLinear && count * 2 > index_.size()) rebuild_index(std::bit_ceil(count * 2));
}

std::size_t JsonObject::slot_of(std::string_view key) const noexcept {
  const std::size_t mask = index_.size() - 1;
  std::size_t slot = static_cast<std::size_t>(hash(key)) & mask;
  while (index_[slot] != 0 && members_[index_[slot] - 1].first != key) slot = (slot + 1) & mask;
  return slot;
}

const Json::Member* JsonObject::find(std::string_view key) const noexcept {
  if (index_.empty()) {
    for (const Json::Member& m : members_) {
      if (m.first == key) return &m;
    }
    return nullptr;
  }
  const uint32_t number = index_[slot_of(key)];
  return number != 0 ? &members_[number - 1] : nullptr;
}

void JsonObject::rebuild_index(std::size_t slots) {
  index_.assign(slots, 0);
  for (std::size_t i = 0; i < members_.size(); ++i) index_[slot_of(members_[i].first)] = static_cast<uint32_t>(i + 1);
}

void JsonObject::append(std::string_view key, Json value) {
  members_.emplace_back(std::string(key), std::move(value));
  if (members_.size() * 2 > index_.size() && members_.size() > kLinear) {
    rebuild_index(std::bit_ceil(members_.size() * 4));
  } else if (!index_.empty()) {
    index_[slot_of(key)] = static_cast<uint32_t>(members_.size());
  }
}

bool JsonObject::insert(std::string_view key, Json value) {
  if (index_.empty() || members_.size() * 2 + 2 > index_.size()) {
    if (find(key) != nullptr) return false;
    append(key, std::move(value));
    return true;
  }
  uint32_t& slot = index_[slot_of(key)];
  if (slot != 0) return false;
  members_.emplace_back(std::string(key), std::move(value));
  slot = static_cast<uint32_t>(members_.size());
  return true;
}

Json& JsonObject::set(std::string_view key, Json value) {
  if (const Json::Member* found = find(key)) {
    Json& stored = members_[static_cast<std::size_t>(found - members_.data())].second;
    stored = std::move(value);
    return stored;
  }
  append(key, std::move(value));
  return members_.back().second;
}

void JsonObject::erase(std::string_view key) {
  const Json::Member* found = find(key);
  if (found == nullptr) return;
  members_.erase(members_.begin() + (found - members_.data()));
  if (members_.size() > kLinear) {
    rebuild_index(index_.size());
  } else {
    index_.clear();
  }
}

}  // namespace nbl
