#include "text/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";
constexpr std::size_t kShort = 48;  // symbols up to which a scan beats a heap
constexpr std::size_t kMaxScoredPiece = 4096;
constexpr uint32_t kNoRank = 0xFFFFFFFF;
constexpr std::size_t kTogether = 32;  // merges looked up at once

uint64_t pair_hash(TokenId left, TokenId right) noexcept {
  const uint64_t key = (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  const uint64_t h = key * 0x9E3779B97F4A7C15ULL;
  return h ^ (h >> 32);
}

}  // namespace

WordCache::WordCache() : slots_(static_cast<Slot*>(std::calloc(kSlots, sizeof(Slot)))) {}

bool WordCache::find(std::string_view word, uint64_t hash, std::vector<TokenId>& out) const noexcept {
  if (!slots_) return false;
  const Slot& slot = slots_[hash & (kSlots - 1)];
  if (slot.length != word.size() || std::memcmp(slot.word, word.data(), word.size()) != 0) return false;
  out.insert(out.end(), slot.ids, slot.ids + slot.count);
  return true;
}

void WordCache::put(std::string_view word, uint64_t hash, const TokenId* ids, std::size_t count) noexcept {
  if (!slots_ || count > kMaxIds || word.empty()) return;
  Slot& slot = slots_[hash & (kSlots - 1)];
  slot.length = static_cast<uint8_t>(word.size());
  slot.count = static_cast<uint8_t>(count);
  std::memcpy(slot.word, word.data(), word.size());
  std::copy_n(ids, count, slot.ids);
}

BpeModel::BpeModel(Vocabulary vocabulary, BpeOptions options)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {}

void BpeModel::reserve_merges(std::size_t count) { grow(std::bit_ceil(count * 2 + 16)); }

void BpeModel::grow(std::size_t slots) {
  if (slots <= merges_.size()) return;
  std::vector<Merge> old(slots);
  old.swap(merges_);
  const std::size_t mask = merges_.size() - 1;
  for (const Merge& m : old) {
    if (m.left < 0) continue;
    std::size_t at = pair_hash(m.left, m.right) & mask;
    while (merges_[at].left >= 0) at = (at + 1) & mask;
    merges_[at] = m;
  }
}

const BpeModel::Merge* BpeModel::find_merge(TokenId left, TokenId right) const noexcept {
  if (merges_.empty()) return nullptr;
  const std::size_t mask = merges_.size() - 1;
  std::size_t at = pair_hash(left, right) & mask;
  while (merges_[at].left >= 0) {
    if (merges_[at].left == left && merges_[at].right == right) return &merges_[at];
    at = (at + 1) & mask;
  }
  return nullptr;
}

Status BpeModel::add_merges(std::span<const std::pair<std::string_view, std::string_view>> merges) {
  for (; merges.size() > kTogether; merges = merges.subspan(kTogether)) NBL_TRY(add_merges(merges.first(kTogether)));
  // Left, right and the whole of each.
  std::string_view pieces[3 * kTogether];
  TokenId ids[3 * kTogether];
  joined_.clear();
  for (const auto& [left, right] : merges) joined_.append(left).append(without_prefix(right));
  std::size_t at = 0;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    const std::size_t length = left.size() + without_prefix(right).size();
    pieces[3 * i] = left;
    pieces[3 * i + 1] = right;
    pieces[3 * i + 2] = std::string_view(joined_).substr(at, length);
    at += length;
  }
  vocabulary_.find_all(std::span(pieces, 3 * merges.size()), ids);
  for (std::size_t i = 0; i < merges.size(); ++i)
    if (!merges_.empty()) __builtin_prefetch(&merges_[pair_hash(ids[3 * i], ids[3 * i + 1]) & (merges_.size() - 1)], 1);
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const TokenId *found = ids + 3 * i;
    const auto& [left, right] = merges[i];
    const uint32_t rank = next_rank_++;
    if (found[0] < 0 || found[1] < 0) {
      return Status(Code::corrupt, fmt::format("merge {} joins \"{}\" and \"{}\", but \"{}\" is not in the vocabulary",
                                               rank, left, right, found[0] >= 0 ? right : left));
    }
    if (found[2] < 0) {
      return Status(Code::corrupt, fmt::format("merge {} makes \"{}\", which is not in the vocabulary", rank, pieces[3 * i + 2]));
    }
    NBL_TRY(add_merge(found[0], found[1], found[2], rank));
  }
  return {};
}

std::string_view BpeModel::without_prefix(std::string_view right) const noexcept {
  if (!options_.continuing_prefix.empty() && right.starts_with(options_.continuing_prefix))
    right.remove_prefix(options_.continuing_prefix.size());
  return right;
}

Status BpeModel::add_merge(TokenId left, TokenId right, TokenId merged, uint32_t rank) {
  if ((merge_count_ + 1) * 2 > merges_.size()) grow(std::max<std::size_t>(64, merges_.size() * 2));
  const std::size_t mask = merges_.size() - 1;
  std::size_t at = pair_hash(left, right) & mask;
  while (merges_[at].left >= 0) {
    if (merges_[at].left == left && merges_[at].right == right) break;  // given again: the last rank counts
    at = (at + 1) & mask;
  }
  if (merges_[at].left < 0) ++merge_count_;
  merges_[at] = {left, right, rank, merged};
  return {};
}

Status BpeModel::add_scored_merges(std::span<const float> scores, const std::vector<bool>& mergeable) {
  std::vector<TokenId> order;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) return Status(Code::corrupt, fmt::format("the score of token {} is not a number", i));
    if (mergeable[i] && vocabulary_.has(static_cast<TokenId>(i))) order.push_back(static_cast<TokenId>(i));
  }
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  uint32_t rank = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    // Pieces of equal score have equal rank.
    if (i > 0 && scores[static_cast<std::size_t>(order[i])] < scores[static_cast<std::size_t>(order[i - 1])]) ++rank;
    const std::string_view piece = vocabulary_.piece(order[i]);
    if (vocabulary_.find(piece) != order[i]) continue;  // the same text under another id
    if (piece.size() > kMaxScoredPiece) {
      return Status(Code::limit,
                    fmt::format("token {} has {} bytes, more than {}", order[i], piece.size(), kMaxScoredPiece));
    }
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
      if ((static_cast<unsigned char>(piece[cut]) & 0xC0) == 0x80) continue;
      const auto left = vocabulary_.find(piece.substr(0, cut));
      if (!left || !mergeable[static_cast<std::size_t>(*left)]) continue;
      const auto right = vocabulary_.find(piece.substr(cut));
      if (!right || !mergeable[static_cast<std::size_t>(*right)]) continue;
      NBL_TRY(add_merge(*left, *right, order[i], rank));
    }
  }
  return {};
}

Status BpeModel::build() {
  std::string text;
  for (int b = 0; b < 256; ++b) {
    const auto i = static_cast<std::size_t>(b);
    text.clear();
    append_utf8(text, byte_level_char(static_cast<unsigned char>(b)));
    byte_char_[i] = vocabulary_.find(text).value_or(-1);
    byte_token_[i] = vocabulary_.find(fmt::format("<0x{:02X}>", b)).value_or(-1);
    if (b < 128) ascii_[i] = vocabulary_.find(std::string(1, static_cast<char>(b))).value_or(-1);
  }
  const bool every_byte = std::all_of(byte_char_.begin(), byte_char_.end(), [](TokenId id) { return id >= 0; });
  takes_bytes_ = options_.continuing_prefix.empty() && options_.end_suffix.empty() && (every_byte || !options_.byte_fallback);
  unk_ = -1;
  if (options_.unk_token) {
    const auto id = vocabulary_.find(*options_.unk_token);
    if (!id) {
      return Status(Code::corrupt,
                    fmt::format("the unknown token \"{}\" is not in the vocabulary", *options_.unk_token));
    }
    unk_ = *id;
  }
  // Words that start with U+2581 are independent of each other when no merge has that character on the right but for
  // runs of it: then a long text need not be merged as one.
  split_spaces_ = options_.continuing_prefix.empty() && options_.end_suffix.empty() && !options_.ignore_merges;
  for (const Merge& m : merges_) {
    if (m.left < 0 || !split_spaces_) continue;
    if (vocabulary_.piece(m.right).starts_with(kMetaspace) && !vocabulary_.piece(m.left).ends_with(kMetaspace)) {
      split_spaces_ = false;
    }
  }
  return {};
}

Status BpeModel::tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const {
  std::string_view text = piece.text;
  if (!piece.bytes && split_spaces_) {
    // Cut before each U+2581 that follows another character. Unknown characters are fused across the cut as without it.
    while (!text.empty()) {
      std::size_t cut = text.starts_with(kMetaspace) ? kMetaspace.size() : 0;
      while (text.substr(cut).starts_with(kMetaspace)) cut += kMetaspace.size();
      cut = text.find(kMetaspace, cut);
      if (cut == std::string_view::npos) cut = text.size();
      const std::size_t before = out.size();
      NBL_TRY(tokenize_word(text.substr(0, cut), false, scratch, out));
      if (options_.fuse_unk && before > 0 && before < out.size() && text.data() != piece.text.data() &&
          out[before - 1] == unk_ && out[before] == unk_) {
        out.erase(out.begin() + static_cast<std::ptrdiff_t>(before));
      }
      text.remove_prefix(cut);
    }
    return {};
  }
  return tokenize_word(text, piece.bytes, scratch, out);
}

Status BpeModel::tokenize_word(std::string_view word, bool bytes, Scratch& scratch, std::vector<TokenId>& out) const {
  const bool cached = WordCache::fits(word);
  uint64_t hash = 0;
  if (cached) {
    hash = hash_bytes(word);
    if (scratch.cache.find(word, hash, out)) return {};
  }
  const std::size_t before = out.size();
  if (options_.ignore_merges) {
    std::string_view name = word;
    if (bytes) {
      scratch.mapped.clear();
      append_byte_level(scratch.mapped, word);
      name = scratch.mapped;
    }
    if (const auto id = vocabulary_.find(name)) {
      out.push_back(*id);
      if (cached) scratch.cache.put(word, hash, out.data() + before, 1);
      return {};
    }
  }
  NBL_TRY(start(word, bytes, scratch));
  if (scratch.symbols.size() <= kShort) {
    merge_short(scratch);
  } else {
    merge_long(scratch);
  }
  for (const Scratch::Symbol& s : scratch.symbols) {
    if (s.id >= 0) out.push_back(s.id);
  }
  if (cached) scratch.cache.put(word, hash, out.data() + before, out.size() - before);
  return {};
}

Status BpeModel::start(std::string_view word, bool bytes, Scratch& scratch) const {
  scratch.symbols.clear();
  if (word.size() > 0x7FFFFFF0) return Status(Code::limit, "a piece of more than 2 GiB cannot be tokenized");
  const auto add = [&](TokenId id) { scratch.symbols.push_back({id, 0, 0}); };
  if (word.size() > kShort) scratch.symbols.reserve(word.size());
  // An unknown character waits for the next one that is known, as in the package: those that are spelled in bytes go before it.
  bool waiting = false;
  const auto add_known = [&](TokenId id) {
    if (waiting) add(unk_);
    waiting = false;
    add(id);
  };
  const auto add_unknown = [&] {
    if (unk_ < 0) return;
    if (waiting && !options_.fuse_unk) add(unk_);
    waiting = true;
  };
  if (bytes) {
    for (const char c : word) {
      const TokenId id = byte_char_[static_cast<unsigned char>(c)];
      if (id >= 0) {
        add_known(id);
      } else {  // a byte that the vocabulary has no character for
        add_unknown();
      }
    }
    if (waiting) add(unk_);
    return {};
  }
  const bool affixes = !options_.continuing_prefix.empty() || !options_.end_suffix.empty();
  std::string name;
  const char* p = word.data();
  const char* const end = p + word.size();
  while (p < end) {
    const char* const begin = p;
    TokenId id = -1;
    if (!affixes && static_cast<unsigned char>(*p) < 128) {
      id = ascii_[static_cast<unsigned char>(*p)];
      ++p;
    } else {
      p += utf8_length(*p);
      name.clear();
      if (begin != word.data()) name += options_.continuing_prefix;
      name.append(begin, p);
      if (p == end) name += options_.end_suffix;
      id = vocabulary_.find(name).value_or(-1);
    }
    if (id >= 0) {
      add_known(id);
      continue;
    }
    if (options_.byte_fallback) {
      const std::string_view spelled =
          affixes ? std::string_view(name) : std::string_view(begin, static_cast<std::size_t>(p - begin));
      const bool all = std::all_of(spelled.begin(), spelled.end(),
                                   [&](char c) { return byte_token_[static_cast<unsigned char>(c)] >= 0; });
      if (all || options_.partial_bytes) {
        // A byte that is no token keeps its neighbours apart until the merges are done.
        for (const char c : spelled) add(byte_token_[static_cast<unsigned char>(c)]);
        continue;
      }
    }
    add_unknown();
  }
  if (waiting) add(unk_);
  return {};
}

void BpeModel::merge_short(Scratch& scratch) const {
  std::size_t n = scratch.symbols.size();
  if (n < 2) return;
  Scratch::Symbol* s = scratch.symbols.data();
  uint32_t rank[kShort];
  TokenId merged[kShort];
  const auto look = [&](std::size_t i) {
    const Merge* m = find_merge(s[i].id, s[i + 1].id);
    rank[i] = m ? m->rank : kNoRank;
    merged[i] = m ? m->merged : 0;
  };
  for (std::size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i) {
      if (rank[i] < rank[best]) best = i;
    }
    if (rank[best] == kNoRank) break;
    s[best].id = merged[best];
    --n;
    for (std::size_t i = best + 1; i < n; ++i) s[i] = s[i + 1];
    for (std::size_t i = best; i + 1 < n; ++i) {
      rank[i] = rank[i + 1];
      merged[i] = merged[i + 1];
    }
    if (best + 1 < n) look(best);
    if (best > 0) look(best - 1);
  }
  scratch.symbols.resize(n);
}

void BpeModel::merge_long(Scratch& scratch) const {
  auto& s = scratch.symbols;
  auto& heap = scratch.heap;
  heap.clear();
  const auto later = [](const Scratch::Candidate& a, const Scratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto push = [&](int32_t left, int32_t right) {
    const Merge* m = find_merge(s[static_cast<std::size_t>(left)].id, s[static_cast<std::size_t>(right)].id);
    if (m == nullptr) return false;
    heap.push_back({m->rank, left});
    return true;
  };
  const auto n = static_cast<int32_t>(s.size());
  heap.reserve(s.size());
  for (int32_t i = 0; i < n; ++i) {
    s[static_cast<std::size_t>(i)].previous = i - 1;
    s[static_cast<std::size_t>(i)].next = i + 1 < n ? i + 1 : -1;
    if (i + 1 < n) push(i, i + 1);
  }
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Scratch::Candidate c = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = s[static_cast<std::size_t>(c.position)];
    if (left.id < 0 || left.next < 0) continue;  // merged since
    Scratch::Symbol& right = s[static_cast<std::size_t>(left.next)];
    const Merge* m = find_merge(left.id, right.id);
    if (m == nullptr || m->rank != c.rank) continue;  // one of the two is another by now
    left.id = m->merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) s[static_cast<std::size_t>(left.next)].previous = c.position;
    if (left.next >= 0 && push(c.position, left.next)) std::push_heap(heap.begin(), heap.end(), later);
    if (left.previous >= 0 && push(left.previous, c.position)) std::push_heap(heap.begin(), heap.end(), later);
  }
  std::size_t kept = 0;
  for (int32_t i = 0; i >= 0 && i < n; i = s[static_cast<std::size_t>(i)].next) {
    s[kept++].id = s[static_cast<std::size_t>(i)].id;
  }
  s.resize(kept);
}

}  // namespace nbl::text
