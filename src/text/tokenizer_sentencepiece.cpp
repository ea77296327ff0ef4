// sentencepiece's tokenizer.model.
#include <fmt/format.h>

#include <algorithm>

#include "text/bpe.h"
#include "text/protobuf.h"
#include "text/sentencepiece_normalizer.h"
#include "text/sentencepiece_pieces.h"
#include "text/tokenizer_config.h"
#include "text/unigram.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

enum PieceType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Source {
  Vocabulary vocabulary;
  std::vector<double> scores;
  std::vector<int64_t> types;
  int64_t model_type = 1;  // 1 unigram, 2 bpe
  int64_t bos = 1;
  int64_t eos = 2;
  SentencepieceNormalizerOptions normalizer;
};

Status read_piece(std::string_view message, Source& source) {
  std::string_view piece;
  float score = 0;
  int64_t type = kNormal;
  ProtoReader in(message);
  while (!in.done()) {
    NBL_ASSIGN(const ProtoField field, in.next());
    if (field.number == 1 && field.wire == 2) piece = field.bytes;
    if (field.number == 2 && field.wire == 5) score = field.as_float();
    if (field.number == 3 && field.wire == 0) type = field.as_int();
  }
  NBL_TRY(source.vocabulary.insert(piece, static_cast<int64_t>(source.scores.size())));
  source.scores.push_back(static_cast<double>(score));
  source.types.push_back(type);
  return {};
}

Status read_trainer(std::string_view message, Source& source) {
  ProtoReader in(message);
  while (!in.done()) {
    NBL_ASSIGN(const ProtoField field, in.next());
    if (field.wire != 0) continue;
    // Ids may be negative: 32 bits, sign-extended to 64.
    if (field.number == 3) source.model_type = field.as_int();
    if (field.number == 24 && field.value != 0) {
      return Status(Code::unsupported, "white space is treated as a suffix, which is not implemented");
    }
    if (field.number == 41) source.bos = static_cast<int32_t>(field.as_int());
    if (field.number == 42) source.eos = static_cast<int32_t>(field.as_int());
  }
  return {};
}

Status read_normalizer(std::string_view message, Source& source) {
  ProtoReader in(message);
  while (!in.done()) {
    NBL_ASSIGN(const ProtoField field, in.next());
    if (field.number == 2 && field.wire == 2) source.normalizer.charsmap = std::string(field.bytes);
    if (field.number == 3 && field.wire == 0) source.normalizer.add_dummy_prefix = field.value != 0;
    if (field.number == 4 && field.wire == 0) source.normalizer.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5 && field.wire == 0) source.normalizer.escape_whitespaces = field.value != 0;
  }
  return {};
}

Status read_source(std::string_view bytes, Source& source) {
  ProtoReader in(bytes);
  while (!in.done()) {
    NBL_ASSIGN(const ProtoField field, in.next());
    if (field.wire != 2) continue;
    if (field.number == 1) NBL_TRY(read_piece(field.bytes, source));
    if (field.number == 2) NBL_TRY(read_trainer(field.bytes, source));
    if (field.number == 3) NBL_TRY(read_normalizer(field.bytes, source));
  }
  if (source.scores.empty()) return Status(Code::corrupt, "there are no pieces in it");
  for (std::size_t i = 0; i < source.types.size(); ++i) {
    if (source.types[i] != kUserDefined) continue;
    source.normalizer.user_defined.emplace_back(source.vocabulary.piece(static_cast<TokenId>(i)));
  }
  return {};
}

/// The first piece of that type, or -1.
TokenId unknown_piece(const Source& source) {
  const auto it = std::find(source.types.begin(), source.types.end(), kUnknown);
  return it == source.types.end() ? -1 : static_cast<TokenId>(it - source.types.begin());
}

/// fuse_unknown: a run of unknown characters is one token (where they are not spelled in bytes).
Result<std::unique_ptr<Model>> make_model(Source& source, bool fuse_unknown) {
  const TokenId unk = unknown_piece(source);
  bool bytes = false;
  std::vector<bool> from_text(source.types.size());
  for (std::size_t i = 0; i < source.types.size(); ++i) {
    bytes = bytes || source.types[i] == kByte;
    from_text[i] = source.types[i] == kNormal || source.types[i] == kUserDefined;
  }
  if (unk < 0) return Status(Code::corrupt, "it has no unknown piece");
  if (source.model_type == 2) {
    BpeOptions options;
    options.byte_fallback = bytes;
    options.fuse_unk = fuse_unknown && !bytes;
    options.unk_token = std::string(source.vocabulary.piece(unk));
    const std::vector<float> scores(source.scores.begin(), source.scores.end());
    auto model = std::make_unique<BpeModel>(std::move(source.vocabulary), std::move(options));
    NBL_TRY(model->add_scored_merges(scores, from_text));
    NBL_TRY(model->build());
    return std::unique_ptr<Model>(std::move(model));
  }
  if (source.model_type != 1) {
    return Status(Code::unsupported,
                  fmt::format("its model type is {}; unigram (1) and bpe (2) are known", source.model_type));
  }
  UnigramOptions options;
  options.unk = unk;
  options.byte_fallback = bytes;
  options.fuse_unk = fuse_unknown;
  options.single_precision = true;
  std::vector<bool> skipped = from_text;
  skipped.flip();
  return UnigramModel::create(std::move(source.vocabulary), std::move(source.scores), options, skipped);
}

Result<std::unique_ptr<Tokenizer>> make_tokenizer(Source source, bool fuse_unknown, const Json& config,
                                                  std::string_view origin) {
  PipelineParts parts;
  parts.origin = std::string(origin);
  parts.added_as_they_are = true;
  for (std::size_t i = 0; i < source.types.size(); ++i) {
    const int64_t type = source.types[i];
    if (type != kControl && type != kUserDefined && type != kUnknown) continue;
    AddedToken token;
    token.id = static_cast<TokenId>(i);
    token.content = std::string(source.vocabulary.piece(token.id));
    token.special = type != kUserDefined;
    token.normalized = type == kUserDefined;  // looked for in the normalized text, which keeps them
    NBL_TRY(parts.added.add(std::move(token)));
  }
  const bool prefix = source.normalizer.add_dummy_prefix;
  NBL_ASSIGN(parts.normalizer, make_sentencepiece_normalizer(std::move(source.normalizer)));
  NBL_ASSIGN(parts.decoder, make_metaspace_decoder(prefix));
  const auto count = static_cast<int64_t>(source.types.size());
  if (source.bos >= 0 && source.bos < count) parts.bos = static_cast<TokenId>(source.bos);
  if (source.eos >= 0 && source.eos < count) parts.eos = static_cast<TokenId>(source.eos);
  parts.kind = source.model_type == 2 ? "sentencepiece bpe" : "sentencepiece unigram";
  NBL_ASSIGN(parts.model, make_model(source, fuse_unknown));
  if (parts.bos) parts.prefix.push_back(*parts.bos);
  NBL_TRY(apply_tokenizer_config(config, parts));
  return PipelineTokenizer::create(std::move(parts));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_tokenizer_sentencepiece(std::string_view bytes,
                                                                std::string_view tokenizer_config,
                                                                std::string_view origin) {
  Json config;
  if (!tokenizer_config.empty()) {
    NBL_ASSIGN(config, Json::parse(tokenizer_config, fmt::format("the tokenizer_config.json beside {}", origin)));
  }
  const auto made = [&]() -> Result<std::unique_ptr<Tokenizer>> {
    Source source;
    NBL_TRY(read_source(bytes, source));
    return make_tokenizer(std::move(source), true, config, origin);
  };
  auto tokenizer = made();
  if (!tokenizer.ok()) return tokenizer.status().with_context(std::string(origin));
  return tokenizer;
}

Result<SentencepiecePieces> SentencepiecePieces::load(std::string_view bytes, std::string_view origin) {
  const auto made = [&]() -> Result<SentencepiecePieces> {
    Source source;
    NBL_TRY(read_source(bytes, source));
    const TokenId unknown = unknown_piece(source);
    NBL_ASSIGN(auto normalizer, make_sentencepiece_normalizer(source.normalizer));
    NBL_ASSIGN(auto tokenizer, make_tokenizer(std::move(source), false, Json(), origin));
    return SentencepiecePieces(std::move(tokenizer), std::move(normalizer), unknown);
  };
  auto pieces = made();
  if (!pieces.ok()) return pieces.status().with_context(std::string(origin));
  return pieces;
}

Result<std::vector<std::string>> SentencepiecePieces::cut(std::string_view text) const {
  std::string normalized(text);
  NBL_TRY(normalizer_->apply(normalized));
  NBL_ASSIGN(const std::vector<TokenId> ids, tokenizer_->encode(text, {.add_special = false, .parse_special = false}));
  std::vector<std::string> pieces;
  std::size_t at = 0;
  bool in_run = false;
  for (const TokenId id : ids) {
    if (id != unknown_) {
      NBL_ASSIGN(std::string piece, tokenizer_->piece(id));
      const bool as_text = std::string_view(normalized).substr(at).starts_with(piece);
      at += as_text ? piece.size() : 1;
      pieces.push_back(std::move(piece));
      in_run = false;
      continue;
    }
    if (at >= normalized.size()) return Status(Code::corrupt, "its pieces do not spell the text");
    const std::string_view character = std::string_view(normalized).substr(at, utf8_length(normalized[at]));
    if (!in_run) pieces.emplace_back();
    pieces.back() += character;
    at += character.size();
    in_run = true;
  }
  return pieces;
}

}  // namespace nbl::text
