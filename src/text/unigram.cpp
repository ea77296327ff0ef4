#include "text/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/utf8.h"

namespace nbl::text {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the worst piece
constexpr std::size_t kMaxPiece = 1024;   // bounds the work at each character

}  // namespace

Result<std::unique_ptr<Model>> UnigramModel::create(Vocabulary vocabulary, std::vector<double> scores,
                                                    UnigramOptions options, const std::vector<bool>& skipped) {
  if (options.unk && !vocabulary.has(*options.unk)) {
    return Status(Code::corrupt,
                  fmt::format("the unknown token has id {}, but there are {} tokens", *options.unk, vocabulary.size()));
  }
  std::unique_ptr<UnigramModel> model(new UnigramModel(std::move(vocabulary), std::move(scores), options));
  double lowest = 0;
  bool any = false;
  std::vector<std::pair<std::string_view, TokenId>> pieces;
  for (std::size_t i = 0; i < model->scores_.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string_view piece = model->vocabulary_.piece(id);
    if (!std::isfinite(model->scores_[i])) {
      return Status(Code::corrupt, fmt::format("the score of \"{}\" is not finite", piece));
    }
    if (!any || model->scores_[i] < lowest) lowest = model->scores_[i];
    any = true;
    if (piece.empty() || (i < skipped.size() && skipped[i])) continue;
    if (piece.size() > kMaxPiece) {
      return Status(Code::limit, fmt::format("token {} has {} bytes, more than {}", i, piece.size(), kMaxPiece));
    }
    pieces.emplace_back(piece, id);
  }
  model->unk_score_ = lowest - kUnknownPenalty;
  if (options.single_precision) model->unk_score_ = static_cast<double>(static_cast<float>(model->unk_score_));
  model->trie_.build(std::move(pieces));
  if (options.unk) {
    const auto unk = static_cast<std::size_t>(*options.unk);
    model->unk_in_text_ = unk >= skipped.size() || !skipped[unk];
  }
  model->all_bytes_ = true;
  for (int b = 0; b < 256; ++b) {
    const TokenId id = model->vocabulary_.find(fmt::format("<0x{:02X}>", b)).value_or(-1);
    model->byte_token_[static_cast<std::size_t>(b)] = id;
    model->all_bytes_ = model->all_bytes_ && id >= 0;
  }
  return std::unique_ptr<Model>(std::move(model));
}

Status UnigramModel::tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const {
  const std::string_view text = piece.text;
  if (!WordCache::fits(text)) return tokenize_long(text, scratch, out);
  const uint64_t hash = hash_bytes(text);
  if (scratch.cache.find(text, hash, out)) return {};
  const std::size_t before = out.size();
  NBL_TRY(tokenize_long(text, scratch, out));
  scratch.cache.put(text, hash, out.data() + before, out.size() - before);
  return {};
}

Status UnigramModel::tokenize_long(std::string_view text, Scratch& scratch, std::vector<TokenId>& out) const {
  auto& best = scratch.lattice;
  best.assign(text.size() + 1, {});
  const TokenId unk = options_.unk.value_or(-1);
  for (std::size_t at = 0; at < text.size();) {
    const double so_far = best[at].score;
    const std::size_t length = std::min(utf8_length(text[at]), text.size() - at);
    bool single = false;
    const auto offer = [&](std::size_t end, TokenId id, double score) {
      if (options_.single_precision) score = static_cast<double>(static_cast<float>(score));
      Scratch::Arrival& a = best[end];
      if (a.from < 0 || score > a.score) a = {score, static_cast<int64_t>(at), id};
    };
    trie_.prefixes(text.substr(at), [&](std::size_t n, TokenId id) {
      offer(at + n, id, scores_[static_cast<std::size_t>(id)] + so_far);
      single = single || n == length;
    });
    if (!single) {
      const Scratch::Arrival& there = best[at + length];
      // A piece that begins earlier may lead past the character all the same.
      if (unk < 0 && (there.from < 0 || unk_score_ + so_far > there.score)) {
        return Status(Code::invalid_argument,
                      fmt::format("the character \"{}\" is not in the vocabulary, and there is no unknown token",
                                  text.substr(at, length)));
      }
      if (unk >= 0) offer(at + length, unk, unk_score_ + so_far);
    }
    at += length;
  }

  // Back from the end; a run of unknown characters is one token, or the bytes of all of them.
  const std::size_t before = out.size();
  const auto flush = [&](std::size_t begin, std::size_t end) {
    if (options_.byte_fallback && all_bytes_ && !(unk_in_text_ && text.substr(begin, end - begin) == vocabulary_.piece(unk))) {
      for (std::size_t i = end; i-- > begin;) out.push_back(byte_token_[static_cast<unsigned char>(text[i])]);
    } else {
      out.push_back(unk);
    }
  };
  std::size_t run_end = 0;
  bool in_run = false;
  std::size_t end = text.size();
  while (end > 0) {
    const Scratch::Arrival& a = best[end];
    if (a.id == unk && unk >= 0) {
      if (!options_.fuse_unk) {
        flush(static_cast<std::size_t>(a.from), end);
      } else if (!in_run) {
        in_run = true;
        run_end = end;
      }
    } else {
      if (in_run) flush(end, run_end);
      in_run = false;
      out.push_back(a.id);
    }
    end = static_cast<std::size_t>(a.from);
  }
  if (in_run) flush(0, run_end);
  std::reverse(out.begin() + static_cast<std::ptrdiff_t>(before), out.end());
  return {};
}

}  // namespace nbl::text
