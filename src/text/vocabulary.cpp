#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
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
  if (entries_[index].end > 0) {
    return Status(Code::corrupt, fmt::format("tokens \"{}\" and \"{}\" have the same id {}",
                                             this->piece(static_cast<TokenId>(id)), piece, id));
  }
  if (bytes_.size() + piece.size() >= 0xFFFFFFFF) return Status(Code::limit, "the vocabulary has more than 4 GiB of text");
  entries_[index].begin = static_cast<uint32_t>(bytes_.size());
  bytes_.append(piece);
  entries_[index].end = static_cast<uint32_t>(bytes_.size() + 1);
  ++count_;

  if (used_ * 2 >= slots_.size()) grow(std::max<std::size_t>(64, slots_.size() * 2));
  const std::size_t mask = slots_.size() - 1;
  const auto hash = static_cast<uint32_t>(hash_bytes(piece));
  std::size_t at = hash & mask;
  while (slots_[at].id >= 0) {
    if (slots_[at].hash == hash && text(entries_[static_cast<std::size_t>(slots_[at].id)]) == piece) {
      slots_[at].id = static_cast<int32_t>(id);
      return {};
    }
    at = (at + 1) & mask;
  }
  slots_[at] = {hash, static_cast<int32_t>(id)};
  ++used_;
  return {};
}

std::optional<TokenId> Vocabulary::find_hashed(std::string_view piece, uint32_t hash) const noexcept {
  if (slots_.empty()) return std::nullopt;
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at].id >= 0) {
    if (slots_[at].hash == hash && text(entries_[static_cast<std::size_t>(slots_[at].id)]) == piece) return slots_[at].id;
    at = (at + 1) & mask;
  }
  return std::nullopt;
}

std::optional<TokenId> Vocabulary::find(std::string_view piece) const noexcept {
  return find_hashed(piece, static_cast<uint32_t>(hash_bytes(piece)));
}

void Vocabulary::find_all(std::span<const std::string_view> pieces, TokenId* ids) const noexcept {
  constexpr std::size_t kTogether = 64;
  uint32_t hash[kTogether];
  if (slots_.empty()) {
    std::fill_n(ids, pieces.size(), -1);
    return;
  }
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t first = 0; first < pieces.size(); first += kTogether) {
    const std::size_t n = std::min(kTogether, pieces.size() - first);
    for (std::size_t i = 0; i < n; ++i) {
      hash[i] = static_cast<uint32_t>(hash_bytes(pieces[first + i]));
      __builtin_prefetch(&slots_[hash[i] & mask]);
    }
    // The slot that is met first is nearly always the right one: enough for a guess at what to fetch.
    const auto guess = [&](std::size_t i) { return slots_[hash[i] & mask].id; };
    for (std::size_t i = 0; i < n; ++i)
      if (guess(i) >= 0) __builtin_prefetch(&entries_[static_cast<std::size_t>(guess(i))]);
    for (std::size_t i = 0; i < n; ++i)
      if (guess(i) >= 0) __builtin_prefetch(bytes_.data() + entries_[static_cast<std::size_t>(guess(i))].begin);
    for (std::size_t i = 0; i < n; ++i) ids[first + i] = find_hashed(pieces[first + i], hash[i]).value_or(-1);
  }
}

std::string_view Vocabulary::piece(TokenId id) const noexcept {
  return has(id) ? text(entries_[static_cast<std::size_t>(id)]) : std::string_view();
}

}  // namespace nbl::text
