// The vocabulary inside a GGUF file.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <span>

#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/gguf_document.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/pipeline_tokenizer.h"
#include "text/plamo.h"
#include "text/rwkv.h"
#include "text/sentencepiece_normalizer.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace nbl::text {
namespace {

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

std::string key(std::string_view name) { return fmt::format("tokenizer.ggml.{}", name); }

/// The lists of the metadata: in its value, or where the parser left them.
class Lists {
 public:
  Lists(const Json& metadata, const JsonDocument* document) : metadata_(metadata), document_(document) {}

  bool has(std::string_view name) const { return left(name) || metadata_.find_value(name) != nullptr; }
  bool is_array(std::string_view name) const {
    if (left(name)) return document_->kind(name) == Json::Kind::array;
    const Json* list = metadata_.find_value(name);
    return list != nullptr && list->is_array();
  }
  std::size_t size(std::string_view name) const {
    if (left(name)) return document_->size(name);
    const Json* list = metadata_.find_value(name);
    return list == nullptr ? 0 : list->size();
  }
  Status for_each(std::string_view name, const std::function<Status(std::size_t, const JsonCell&)>& take) const {
    std::size_t i = 0;
    if (left(name))
      return document_->for_each_row(name, [&](std::span<const JsonCell> row) -> Status {
        return take(i++, row.size() == 1 ? row[0] : JsonCell{Json::Kind::array, 0, 0, {}});
      });
    const Json* list = metadata_.find_value(name);
    if (list == nullptr) return {};
    for (const Json& value : list->elements())
      NBL_TRY(take(i++, {value.kind(), value.as_int(), value.as_double(), value.as_string()}));
    return {};
  }
  /// An entry as JSON, for messages.
  std::string text(std::string_view name, std::size_t i) const {
    return left(name) ? document_->element(name, i).dump() : metadata_.find_value(name)->elements()[i].dump();
  }

 private:
  bool left(std::string_view name) const { return document_ != nullptr && document_->kind(name) != Json::Kind::null; }

  const Json& metadata_;
  const JsonDocument* document_;
};

struct Source {
  const Json& metadata;
  Lists lists;
  std::vector<std::string_view> tokens;
  std::vector<int64_t> types;
  std::vector<float> scores;
};

Status read_source(Source& source) {
  const Lists& lists = source.lists;
  const std::size_t count = lists.size(kGgufTokens);
  if (!lists.is_array(kGgufTokens) || count == 0) {
    return Status(Code::corrupt, "there is no vocabulary (tokenizer.ggml.tokens)");
  }
  if (count > static_cast<std::size_t>(kMaxTokens)) {
    return Status(Code::limit, fmt::format("the vocabulary has {} entries, more than {}", count, kMaxTokens.get()));
  }
  source.tokens.reserve(count);
  NBL_TRY(lists.for_each(kGgufTokens, [&](std::size_t i, const JsonCell& token) -> Status {
    if (!token.is_string()) return Status(Code::corrupt, fmt::format("token {} is {}, no string", i, lists.text(kGgufTokens, i)));
    source.tokens.push_back(token.text);
    return {};
  }));
  source.types.assign(count, kNormal);
  for (const auto& [name, scores] : {std::pair{"token_type", false}, std::pair{"scores", true}}) {
    const std::string list = key(name);
    if (!lists.has(list)) continue;
    if (!lists.is_array(list) || lists.size(list) != count) {
      return Status(Code::corrupt, fmt::format("{} has {} entries for {} tokens", list, lists.size(list), count));
    }
    NBL_TRY(lists.for_each(list, [&, scores = scores](std::size_t i, const JsonCell& value) -> Status {
      if (scores)
        source.scores.push_back(static_cast<float>(value.real));
      else
        source.types[i] = value.is_int() ? value.integer : kNormal;
      return {};
    }));
  }
  return {};
}

Result<std::optional<TokenId>> special_id(const Source& source, std::string_view name) {
  const Json* value = source.metadata.find_value(key(name));
  if (value == nullptr) return std::optional<TokenId>();
  const int64_t id = value->as_int(-1);
  // All ones is how some writers say "none".
  if (id == 0xFFFFFFFF || id == -1) return std::optional<TokenId>();
  if (id < 0 || static_cast<std::size_t>(id) >= source.tokens.size()) {
    return Status(Code::corrupt, fmt::format("tokenizer.ggml.{} is {}, but there are {} tokens", name, value->dump(),
                                             source.tokens.size()));
  }
  return std::optional<TokenId>(static_cast<TokenId>(id));
}

Result<Vocabulary> read_vocabulary(const Source& source) {
  Vocabulary vocabulary;
  vocabulary.reserve(source.tokens.size(), source.tokens.size() * 8);
  for (std::size_t i = 0; i < source.tokens.size(); ++i) {
    NBL_TRY(vocabulary.insert(source.tokens[i], static_cast<int64_t>(i)));
  }
  return vocabulary;
}

/// As sentencepiece has them: the unknown token is special, too, and what users defined is looked for in the normalized text.
Status read_added(const Source& source, bool sentencepiece, AddedTokens& out) {
  for (std::size_t i = 0; i < source.tokens.size(); ++i) {
    if (source.types[i] != kControl && source.types[i] != kUserDefined && !(sentencepiece && source.types[i] == kUnknown)) continue;
    AddedToken token;
    token.id = static_cast<TokenId>(i);
    token.content = std::string(source.tokens[i]);
    token.special = source.types[i] != kUserDefined;
    token.normalized = sentencepiece && !token.special;
    NBL_TRY(out.add(std::move(token)));
  }
  return {};
}

/// A byte-pair model from tokens and merges.
Result<std::unique_ptr<Model>> read_merges(const Source& source, BpeOptions options) {
  NBL_ASSIGN(Vocabulary vocabulary, read_vocabulary(source));
  auto model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(options));
  constexpr std::string_view kMerges = "tokenizer.ggml.merges";
  if (!source.lists.is_array(kMerges)) return Status(Code::corrupt, "there are no merges (tokenizer.ggml.merges)");
  model->reserve_merges(source.lists.size(kMerges));
  std::vector<std::pair<std::string_view, std::string_view>> all;
  all.reserve(source.lists.size(kMerges));
  NBL_TRY(source.lists.for_each(kMerges, [&](std::size_t i, const JsonCell& merge) -> Status {
    const std::size_t space = merge.text.empty() ? std::string_view::npos : merge.text.find(' ', 1);
    if (space == std::string_view::npos)
      return Status(Code::corrupt, fmt::format("merge {} is {}, not two pieces", i, source.lists.text(kMerges, i)));
    all.emplace_back(merge.text.substr(0, space), merge.text.substr(space + 1));
    return {};
  }));
  NBL_TRY(model->add_merges(all));
  NBL_TRY(model->build());
  return std::unique_ptr<Model>(std::move(model));
}

/// `standard`: the way of cutting when the file names none.
Status read_bpe(const Source& source, std::string_view standard, PipelineParts& parts, bool* add_bos) {
  NBL_ASSIGN(const std::string name, source.metadata.string_or("tokenizer.ggml.pre", std::string(standard)));
  NBL_ASSIGN(const GgufPreTokenizer* pre, find_gguf_pre_tokenizer(name));
  BpeOptions options;
  options.ignore_merges = pre->ignore_merges;
  options.byte_fallback = pre->characters;
  NBL_ASSIGN(parts.model, read_merges(source, std::move(options)));
  NBL_ASSIGN(parts.pre_tokenizer, make_pattern_splits(pre->patterns, !pre->characters));
  if (pre->characters) {
    NBL_ASSIGN(parts.normalizer, make_metaspace_normalizer(false));
    NBL_ASSIGN(parts.decoder, make_metaspace_decoder(false));
    parts.kind = "sentencepiece bpe";
  } else {
    parts.decoder = make_byte_level_decoder();
    parts.kind = "byte-level bpe";
  }
  *add_bos = pre->add_bos;
  return {};
}

Status read_sentencepiece(const Source& source, PipelineParts& parts, bool* add_bos) {
  if (source.scores.empty())
    return Status(Code::corrupt, "a vocabulary of kind \"llama\" has no tokenizer.ggml.scores");
  NBL_ASSIGN(Vocabulary vocabulary, read_vocabulary(source));
  BpeOptions options;
  options.byte_fallback = true;
  NBL_ASSIGN(const auto unknown, special_id(source, "unknown_token_id"));
  options.unk_token = std::string(vocabulary.piece(unknown.value_or(0)));
  std::vector<bool> mergeable(source.tokens.size());
  for (std::size_t i = 0; i < mergeable.size(); ++i) {
    mergeable[i] = source.types[i] == kNormal || source.types[i] == kUserDefined;
  }
  auto model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(options));
  NBL_TRY(model->add_scored_merges(source.scores, mergeable));
  NBL_TRY(model->build());
  parts.model = std::move(model);
  NBL_ASSIGN(const bool prefix, source.metadata.bool_or("tokenizer.ggml.add_space_prefix", true));
  NBL_ASSIGN(parts.normalizer, make_metaspace_normalizer(prefix));
  NBL_ASSIGN(parts.decoder, make_metaspace_decoder(prefix));
  parts.kind = "sentencepiece bpe";
  *add_bos = true;
  return {};
}

/// BERT's. The file has its pieces the other way round: those that begin a word carry U+2581, those that go on carry nothing.
Status read_wordpiece(const Source& source, PipelineParts& parts) {
  constexpr std::string_view kBegins = "\xE2\x96\x81";
  Vocabulary vocabulary;
  vocabulary.reserve(source.tokens.size(), source.tokens.size() * 8);
  for (std::size_t i = 0; i < source.tokens.size(); ++i) {
    const std::string_view token = source.tokens[i];
    const bool bracketed = token.size() > 1 && token.front() == '[' && token.back() == ']';
    std::string piece(token.starts_with(kBegins) ? token.substr(kBegins.size()) : token);
    if (!bracketed && !token.starts_with(kBegins)) piece.insert(0, "##");
    NBL_TRY(vocabulary.insert(piece, static_cast<int64_t>(i)));
  }
  NBL_ASSIGN(const auto unknown, special_id(source, "unknown_token_id"));
  WordPieceOptions options;
  if (unknown) options.unk_token = std::string(vocabulary.piece(*unknown));
  NBL_ASSIGN(parts.model, WordPieceModel::create(std::move(vocabulary), std::move(options)));
  NBL_ASSIGN(const bool lowercase, source.metadata.bool_or("tokenizer.ggml.normalizer.lowercase", true));
  NBL_ASSIGN(parts.normalizer, parse_normalizer(Json::object({{"type", "BertNormalizer"}, {"clean_text", true},
                                                              {"handle_chinese_chars", true}, {"lowercase", lowercase}})));
  NBL_ASSIGN(parts.pre_tokenizer, parse_pre_tokenizer(Json::object({{"type", "BertPreTokenizer"}}), false));
  NBL_ASSIGN(parts.decoder, parse_decoder(Json::object({{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}})));
  parts.kind = "wordpiece";
  return {};
}

/// T5's: sentencepiece's unigram.
Status read_unigram(const Source& source, PipelineParts& parts) {
  if (source.scores.empty()) return Status(Code::corrupt, "a vocabulary of kind \"t5\" has no tokenizer.ggml.scores");
  NBL_ASSIGN(Vocabulary vocabulary, read_vocabulary(source));
  SentencepieceNormalizerOptions normalizer;
  UnigramOptions options;
  options.single_precision = true;
  NBL_ASSIGN(const auto unknown, special_id(source, "unknown_token_id"));
  options.unk = unknown.value_or(2);
  std::vector<bool> skipped(source.types.size());
  for (std::size_t i = 0; i < skipped.size(); ++i) {
    skipped[i] = source.types[i] != kNormal && source.types[i] != kUserDefined;
    options.byte_fallback = options.byte_fallback || source.types[i] == kByte;
    if (source.types[i] == kUserDefined) normalizer.user_defined.emplace_back(source.tokens[i]);
  }
  if (const Json* map = source.metadata.find_value("tokenizer.ggml.precompiled_charsmap")) {
    for (const Json& byte : map->elements()) normalizer.charsmap += static_cast<char>(byte.as_int());
  }
  NBL_ASSIGN(normalizer.add_dummy_prefix, source.metadata.bool_or("tokenizer.ggml.add_space_prefix", true));
  NBL_ASSIGN(normalizer.remove_extra_whitespaces, source.metadata.bool_or("tokenizer.ggml.remove_extra_whitespaces", false));
  NBL_ASSIGN(parts.decoder, make_metaspace_decoder(normalizer.add_dummy_prefix));
  NBL_ASSIGN(parts.normalizer, make_sentencepiece_normalizer(std::move(normalizer)));
  std::vector<double> scores(source.scores.begin(), source.scores.end());
  NBL_ASSIGN(parts.model, UnigramModel::create(std::move(vocabulary), std::move(scores), options, skipped));
  parts.added_as_they_are = true;
  parts.kind = "sentencepiece unigram";
  return {};
}

/// Words between white space, which is dropped; merges of their characters.
Status read_words(const Source& source, PipelineParts& parts) {
  BpeOptions options;
  options.byte_fallback = true;
  options.partial_bytes = true;
  NBL_ASSIGN(parts.model, read_merges(source, std::move(options)));
  NBL_ASSIGN(const bool lowercase, source.metadata.bool_or("tokenizer.ggml.normalizer.lowercase", false));
  if (lowercase) {
    NBL_ASSIGN(parts.normalizer, parse_normalizer(Json::object({{"type", "Lowercase"}})));
  }
  NBL_ASSIGN(parts.pre_tokenizer, parse_pre_tokenizer(Json::object({{"type", "WhitespaceSplit"}}), false));
  NBL_ASSIGN(parts.decoder, parse_decoder(Json::object({{"type", "ByteFallback"}})));
  parts.kind = "bpe";
  return {};
}

Status read_rwkv(const Source& source, PipelineParts& parts) {
  Vocabulary vocabulary;
  vocabulary.reserve(source.tokens.size(), source.tokens.size() * 8);
  for (std::size_t i = 0; i < source.tokens.size(); ++i) {
    NBL_ASSIGN(const std::string bytes, unescape_rwkv_piece(source.tokens[i]));
    std::string piece;
    append_byte_level(piece, bytes);
    NBL_TRY(vocabulary.insert(piece, static_cast<int64_t>(i)));
  }
  NBL_ASSIGN(const auto unknown, special_id(source, "unknown_token_id"));
  NBL_ASSIGN(parts.model, RwkvModel::create(std::move(vocabulary), unknown));
  parts.decoder = make_byte_level_decoder();
  parts.kind = "byte-level longest match";
  return {};
}

Status read_plamo(const Source& source, PipelineParts& parts) {
  if (source.scores.empty()) return Status(Code::corrupt, "a vocabulary of kind \"plamo2\" has no tokenizer.ggml.scores");
  NBL_ASSIGN(Vocabulary vocabulary, read_vocabulary(source));
  std::vector<bool> bytes(source.types.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = source.types[i] == kByte;
  NBL_ASSIGN(parts.model, PlamoModel::create(std::move(vocabulary), source.scores, bytes));
  NBL_ASSIGN(parts.decoder, parse_decoder(Json::object({{"type", "ByteFallback"}})));
  parts.kind = "least cost";
  return {};
}

Result<std::unique_ptr<Tokenizer>> load(const Json& metadata, const JsonDocument* document, std::string_view origin) {
  Source source{metadata, Lists(metadata, document), {}, {}, {}};
  NBL_TRY(read_source(source));
  NBL_ASSIGN(const std::string kind, metadata.string_or("tokenizer.ggml.model", ""));
  PipelineParts parts;
  parts.origin = std::string(origin);
  bool add_bos = false;
  if (kind == "gpt2") {
    NBL_TRY(read_bpe(source, "default", parts, &add_bos));
  } else if (kind == "gemma4") {
    NBL_TRY(read_bpe(source, "gemma4", parts, &add_bos));
  } else if (kind == "llama") {
    NBL_TRY(read_sentencepiece(source, parts, &add_bos));
  } else if (kind == "bert") {
    NBL_TRY(read_wordpiece(source, parts));
    add_bos = true;
  } else if (kind == "t5") {
    NBL_TRY(read_unigram(source, parts));
  } else if (kind == "whitespace") {
    NBL_TRY(read_words(source, parts));
  } else if (kind == "rwkv") {
    NBL_TRY(read_rwkv(source, parts));
  } else if (kind == "plamo2") {
    NBL_TRY(read_plamo(source, parts));
  } else {
    return Status(Code::unsupported, fmt::format("the vocabulary kind \"{}\" (tokenizer.ggml.model) is not known; gpt2, gemma4, llama, "
                                                 "bert, t5, whitespace, rwkv and plamo2 are", kind));
  }
  NBL_TRY(read_added(source, kind == "t5", parts.added));
  NBL_ASSIGN(parts.bos, special_id(source, "bos_token_id"));
  NBL_ASSIGN(parts.eos, special_id(source, "eos_token_id"));
  // What a file leaves out, where its vocabulary has such a token.
  const auto left_out = [&](const char* name, std::size_t id, std::optional<TokenId>& token) {
    if (metadata.find_value(key(name)) == nullptr && id < source.tokens.size()) token = static_cast<TokenId>(id);
  };
  if (kind == "llama") left_out("bos_token_id", 1, parts.bos);
  if (kind == "llama") left_out("eos_token_id", 2, parts.eos);
  if (kind == "t5") left_out("eos_token_id", 1, parts.eos);
  if (kind == "bert") {
    NBL_ASSIGN(const auto cls, special_id(source, "cls_token_id"));
    if (!parts.bos) parts.bos = cls ? cls : parts.model->vocabulary().find("[CLS]");
  }
  NBL_ASSIGN(add_bos, metadata.bool_or("tokenizer.ggml.add_bos_token", add_bos));
  NBL_ASSIGN(const bool add_eos, metadata.bool_or("tokenizer.ggml.add_eos_token", kind == "t5"));
  if (add_bos && parts.bos) parts.prefix.push_back(*parts.bos);
  if (add_eos && parts.eos) parts.suffix.push_back(*parts.eos);
  NBL_ASSIGN(const bool add_sep, metadata.bool_or("tokenizer.ggml.add_sep_token", kind == "bert"));
  if (add_sep) {
    NBL_ASSIGN(auto separator, special_id(source, "seperator_token_id"));  // so spelled in these files
    if (!separator) separator = parts.model->vocabulary().find("[SEP]");
    if (separator) parts.suffix.push_back(*separator);
  }
  return PipelineTokenizer::create(std::move(parts));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_tokenizer_gguf(const Json& metadata, std::string_view origin) {
  auto made = load(metadata, nullptr, origin);
  if (!made.ok()) return made.status().with_context(std::string(origin));
  return made;
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer_gguf(const JsonDocument& metadata, std::string_view origin) {
  auto made = load(metadata.value(), &metadata, origin);
  if (!made.ok()) return made.status().with_context(std::string(origin));
  return made;
}

}  // namespace nbl::text
