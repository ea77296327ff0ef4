#include "text/vocabulary.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace nbl::text {

uint64_t hash_bytes(std::string_view text) noexcept {
  constexpr uint64_t kMul = 0x9E3779B97F4A7C15ULL;
  uint64_t h = text.size() * kMul;
  const char* p = text.data();
  std::size_t n = text.size();
  while (n >= 8) {
    uint64_t w;
    std::memcpy(&w, p, 8);
    h = (h ^ w) * kMul;
    h ^= h >> 29;
    p += 8;
    n -= 8;
  }
  if (n > 0) {
    uint64_t w = 0;
    std::memcpy(&w, p, n);
    h = (h ^ w) * kMul;
    h ^= h >> 29;
  }
  h *= 0xBF58476D1CE4E5B9ULL;
  return h ^ (h >> 32);
}

void Vocabulary::reserve(std::size_t tokens, std::size_t bytes) {
  entries_.reserve(tokens);
  bytes_.reserve(bytes);
  grow(std::bit_ceil(tokens * 2 + 16));
}

void Vocabulary::grow(std::size_t slots) {
  if (slots <= slots_.size()) return;
  std::vector<Slot> old(slots);
  old.swap(slots_);
  const std::size_t mask = slots_.size() - 1;
  for (const Slot& s : old) {
    if (s.id < 0) continue;
    std::size_t at = s.hash & mask;
    while (slots_[at].id >= 0) at = (at + 1) & mask;
    slots_[at] = s;
  }
}

Status Vocabulary::insert(std::string_view piece, int64_t id) {
  if (id < 0 || id >= kMaxTokens) {
    return Status(Code::limit, fmt::format("token \"{}\" has id {}, outside 0..{}", piece, id, kMaxTokens - 1));
  }
  const auto index = static_cast<std::size_t>(id);
  if (index >= entries_.size()) entries_.resize(index + 1);
  if (entries_[index].present) {
    return Status(Code::corrupt, fmt::format("tokens \"{}\" and \"{}\" have the same id {}",
                                             this->piece(static_cast<TokenId>(id)), piece, id));
  }
  entries_[index] = {bytes_.size(), static_cast<uint32_t>(piece.size()), true};
  bytes_.append(piece);
  ++count_;

  if (used_ * 2 >= slots_.size()) grow(std::max<std::size_t>(64, slots_.size() * 2));
  const std::size_t mask = slots_.size() - 1;
  const auto hash = static_cast<uint32_t>(hash_bytes(piece));
  std::size_t at = hash & mask;
  while (slots_[at].id >= 0) {
    if (slots_[at].hash == hash && this->piece(slots_[at].id) == piece) {
      slots_[at].id = static_cast<int32_t>(id);
      return {};
    }
    at = (at + 1) & mask;
  }
  slots_[at] = {hash, static_cast<int32_t>(id)};
  ++used_;
  return {};
}

std::optional<TokenId> Vocabulary::find(std::string_view piece) const noexcept {
  if (slots_.empty()) return std::nullopt;
  const std::size_t mask = slots_.size() - 1;
  const auto hash = static_cast<uint32_t>(hash_bytes(piece));
  std::size_t at = hash & mask;
  while (slots_[at].id >= 0) {
    if (slots_[at].hash == hash && this->piece(slots_[at].id) == piece) return slots_[at].id;
    at = (at + 1) & mask;
  }
  return std::nullopt;
}

std::string_view Vocabulary::piece(TokenId id) const noexcept {
  if (!has(id)) return {};
  const Entry& e = entries_[static_cast<std::size_t>(id)];
  return std::string_view(bytes_).substr(e.offset, e.length);
}

}  // namespace nbl::text
