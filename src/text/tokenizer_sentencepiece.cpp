// sentencepiece's tokenizer.model.
#include <fmt/format.h>

#include "text/bpe.h"
#include "text/protobuf.h"
#include "text/sentencepiece_normalizer.h"
#include "text/tokenizer_config.h"
#include "text/unigram.h"

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
  return {};
}

Result<std::unique_ptr<Model>> make_model(Source& source) {
  TokenId unk = -1;
  bool bytes = false;
  std::vector<bool> from_text(source.types.size());
  for (std::size_t i = 0; i < source.types.size(); ++i) {
    if (source.types[i] == kUnknown && unk < 0) unk = static_cast<TokenId>(i);
    bytes = bytes || source.types[i] == kByte;
    from_text[i] = source.types[i] == kNormal || source.types[i] == kUserDefined;
  }
  if (unk < 0) return Status(Code::corrupt, "it has no unknown piece");
  if (source.model_type == 2) {
    BpeOptions options;
    options.byte_fallback = bytes;
    options.fuse_unk = !bytes;
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
  options.single_precision = true;
  std::vector<bool> skipped = from_text;
  skipped.flip();
  return UnigramModel::create(std::move(source.vocabulary), std::move(source.scores), options, skipped);
}

Result<std::unique_ptr<Tokenizer>> load(std::string_view bytes, const Json& config, std::string_view origin) {
  Source source;
  NBL_TRY(read_source(bytes, source));
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
    if (type == kUserDefined) source.normalizer.user_defined.push_back(token.content);
    NBL_TRY(parts.added.add(std::move(token)));
  }
  const bool prefix = source.normalizer.add_dummy_prefix;
  NBL_ASSIGN(parts.normalizer, make_sentencepiece_normalizer(std::move(source.normalizer)));
  NBL_ASSIGN(parts.decoder, make_metaspace_decoder(prefix));
  const auto count = static_cast<int64_t>(source.types.size());
  if (source.bos >= 0 && source.bos < count) parts.bos = static_cast<TokenId>(source.bos);
  if (source.eos >= 0 && source.eos < count) parts.eos = static_cast<TokenId>(source.eos);
  parts.kind = source.model_type == 2 ? "sentencepiece bpe" : "sentencepiece unigram";
  NBL_ASSIGN(parts.model, make_model(source));
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
  auto made = load(bytes, config, origin);
  if (!made.ok()) return made.status().with_context(std::string(origin));
  return made;
}

}  // namespace nbl::text
