#include "text/pipeline_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.h"

namespace nbl::text {

constexpr std::size_t kMaxIdle = 16;

Result<std::unique_ptr<Tokenizer>> PipelineTokenizer::create(PipelineParts parts) {
  std::unique_ptr<PipelineTokenizer> made(new PipelineTokenizer(std::move(parts)));
  PipelineParts& p = made->parts_;
  NBL_TRY(p.added.build([&](std::string_view content) -> Result<std::string> {
    std::string text(content);
    if (p.normalizer && !p.added_as_they_are) NBL_TRY(p.normalizer->apply(text));
    return text;
  }));
  made->vocab_size_ = p.model->vocabulary().size();
  for (const AddedToken& t : p.added.all()) made->vocab_size_ = std::max<int64_t>(made->vocab_size_, t.id + 1);
  return std::unique_ptr<Tokenizer>(std::move(made));
}

std::unique_ptr<Scratch> PipelineTokenizer::borrow() const {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      auto scratch = std::move(idle_.back());
      idle_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<Scratch>();
}

void PipelineTokenizer::give_back(std::unique_ptr<Scratch> scratch) const {
  // What one huge piece made grow is not kept.
  if (scratch->symbols.capacity() > (1 << 16)) scratch->symbols = {};
  if (scratch->lattice.capacity() > (1 << 16)) scratch->lattice = {};
  if (scratch->heap.capacity() > (1 << 16)) scratch->heap = {};
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(scratch));
}

Result<std::vector<TokenId>> PipelineTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string replaced;
  if (!is_valid_utf8(text)) {
    replaced = replace_invalid_utf8(text);
    text = replaced;
  }
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  if (options.add_special) ids.insert(ids.end(), parts_.prefix.begin(), parts_.prefix.end());
  std::unique_ptr<Scratch> scratch = borrow();
  Status status;
  parts_.added.split(text, false, options.parse_special, [&](TokenId id, std::string_view segment) {
    if (id >= 0) {
      ids.push_back(id);
      return true;
    }
    status = encode_segment(segment, segment.data() == text.data(), options, *scratch, ids);
    return status.ok();
  });
  give_back(std::move(scratch));
  if (!status.ok()) return status.with_context(parts_.origin);
  if (options.add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
  return ids;
}

Status PipelineTokenizer::encode_segment(std::string_view segment, bool at_start, const EncodeOptions& options,
                                         Scratch& scratch, std::vector<TokenId>& out) const {
  std::string normalized;
  if (parts_.normalizer) {
    normalized = std::string(segment);
    NBL_TRY(parts_.normalizer->apply(normalized, at_start));
    segment = normalized;
  }
  if (!parts_.added.has_normalized()) {
    return segment.empty() ? Status() : encode_piece({segment, at_start, false}, scratch, out);
  }
  Status status;
  parts_.added.split(segment, true, options.parse_special, [&](TokenId id, std::string_view part) {
    if (id >= 0) {
      out.push_back(id);
      return true;
    }
    status = encode_piece({part, at_start && part.data() == segment.data(), false}, scratch, out);
    return status.ok();
  });
  return status;
}

Status PipelineTokenizer::encode_piece(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const {
  if (!parts_.pre_tokenizer) return parts_.model->tokenize(piece, scratch, out);
  Status status;
  parts_.pre_tokenizer->split(
      piece,
      [&](const Piece& part) {
        if (part.text.empty()) return true;
        Status s = parts_.model->tokenize(part, scratch, out);
        if (s.ok()) return true;
        status = std::move(s);
        return false;
      },
      status);
  return status;
}

Result<std::string> PipelineTokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  const Vocabulary& vocabulary = parts_.model->vocabulary();
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  for (const TokenId id : ids) {
    if (id < 0) return Status(Code::invalid_argument, fmt::format("{}: token id {} is negative", parts_.origin, id));
    if (const AddedToken* added = parts_.added.find(id)) {
      if (!skip_special || !added->special) pieces.push_back(added->content);
    } else if (vocabulary.has(id)) {
      pieces.emplace_back(vocabulary.piece(id));
    }
    // A model may have more rows than its tokenizer has tokens: those decode to nothing.
  }
  std::string text;
  if (parts_.decoder) {
    NBL_TRY(parts_.decoder->apply(pieces));
    for (const std::string& p : pieces) text += p;
  } else {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (i > 0) text += ' ';
      text += pieces[i];
    }
  }
  return text;
}

Result<std::string> PipelineTokenizer::piece(TokenId id) const {
  if (const AddedToken* added = parts_.added.find(id)) return added->content;
  if (!parts_.model->vocabulary().has(id)) {
    return Status(Code::invalid_argument,
                  fmt::format("{}: there is no token {}; ids go from 0 to {}", parts_.origin, id, vocab_size_ - 1));
  }
  return std::string(parts_.model->vocabulary().piece(id));
}

std::optional<TokenId> PipelineTokenizer::find(std::string_view piece) const {
  if (const AddedToken* added = parts_.added.find(piece)) return added->id;
  return parts_.model->vocabulary().find(piece);
}

bool PipelineTokenizer::is_special(TokenId id) const {
  const AddedToken* added = parts_.added.find(id);
  return added != nullptr && added->special;
}

}  // namespace nbl::text
