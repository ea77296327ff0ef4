#include "text/plamo.h"

#include <fmt/format.h>

#include <cmath>

#include "text/utf8.h"

namespace nbl::text {
namespace {

constexpr double kUnit = 1e4;             // scores are compared in whole ten thousandths
constexpr int32_t kUnknown = 10'000'000;  // what a character that is no piece costs
constexpr int32_t kMost = 20'000'000;     // a piece that costs as much is never taken
constexpr std::size_t kMaxPiece = 1024;   // bounds the work at each character

}  // namespace

Result<std::unique_ptr<Model>> PlamoModel::create(Vocabulary vocabulary, std::span<const float> scores,
                                                  const std::vector<bool>& bytes) {
  std::unique_ptr<PlamoModel> model(new PlamoModel(std::move(vocabulary)));
  model->byte_.fill(-1);
  model->cost_.resize(scores.size());
  std::vector<std::pair<std::string_view, TokenId>> pieces;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string_view piece = model->vocabulary_.piece(id);
    if (bytes[i]) continue;
    if (piece.empty() || !std::isfinite(scores[i])) continue;
    if (piece.size() > kMaxPiece) {
      return Status(Code::limit, fmt::format("token {} has {} bytes, more than {}", i, piece.size(), kMaxPiece));
    }
    const double cost = -std::round(static_cast<double>(scores[i]) * kUnit);
    if (!(cost < kMost)) continue;
    if (cost < -kMost * 10.0) return Status(Code::limit, fmt::format("the score {} of token {} is out of range", scores[i], i));
    model->cost_[i] = static_cast<int32_t>(cost);
    pieces.emplace_back(piece, id);
  }
  for (int b = 0; b < 256; ++b) {
    const auto id = model->vocabulary_.find(fmt::format("<0x{:02X}>", b));
    if (!id || !bytes[static_cast<std::size_t>(*id)]) {
      return Status(Code::corrupt, fmt::format("the vocabulary has no byte token <0x{:02X}>", b));
    }
    model->byte_[static_cast<std::size_t>(b)] = *id;
  }
  model->trie_.build(std::move(pieces));
  return std::unique_ptr<Model>(std::move(model));
}

Status PlamoModel::tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const {
  std::string_view text = piece.text;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark is no text
  // From the end: what the rest costs from each place on, and the piece to take there (from: its end).
  auto& best = scratch.lattice;
  best.assign(text.size() + 1, {});
  for (std::size_t at = text.size(); at-- > 0;) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    Scratch::Arrival& here = best[at];
    const auto offer = [&](std::size_t n, TokenId id, int32_t cost) {
      const double score = best[at + n].score + cost;
      // Of equal ones the longest; a piece before an unknown character.
      if (here.from < 0 || (id >= 0 ? score <= here.score : score < here.score)) here = {score, static_cast<int64_t>(at + n), id};
    };
    trie_.prefixes(text.substr(at), [&](std::size_t n, TokenId id) { offer(n, id, cost_[static_cast<std::size_t>(id)]); });
    offer(std::min(utf8_length(text[at]), text.size() - at), -1, kUnknown);
  }
  for (std::size_t at = 0; at < text.size();) {
    const auto end = static_cast<std::size_t>(best[at].from);
    if (best[at].id >= 0) {
      out.push_back(best[at].id);
    } else {
      for (; at < end; ++at) out.push_back(byte_[static_cast<unsigned char>(text[at])]);
    }
    at = end;
  }
  return {};
}

}  // namespace nbl::text
