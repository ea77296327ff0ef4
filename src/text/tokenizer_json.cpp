// Hugging Face tokenizer.json.
#include <fmt/format.h>

#include "base/bounds.h"
#include "text/bpe.h"
#include "text/post_processor.h"
#include "text/tokenizer_config.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace nbl::text {
namespace {

constexpr BoundOf<std::size_t> kMaxMerges{Bound::tokenizer_merges};
constexpr BoundOf<std::size_t> kMaxAdded{Bound::tokenizer_added};

const Json& member(const Json& json, std::string_view key) {
  static const Json null;
  const Json* found = json.find(key);
  return found != nullptr ? *found : null;
}

Status read_vocabulary(const Json& vocab, Vocabulary& out) {
  if (!vocab.is_object()) return Status(Code::corrupt, "the model has no object \"vocab\"");
  if (vocab.size() > static_cast<std::size_t>(kMaxTokens)) {
    return Status(Code::limit, fmt::format("the vocabulary has {} entries, more than {}", vocab.size(), kMaxTokens.get()));
  }
  out.reserve(vocab.size(), vocab.size() * 8);
  for (const auto& [piece, id] : vocab.members()) {
    if (!id.is_int()) return Status(Code::corrupt, fmt::format("the id of \"{}\" is {}, no integer", piece, id.dump()));
    NBL_TRY(out.insert(piece, id.as_int()));
  }
  return {};
}

Status read_merges(const Json& merges, BpeModel& model) {
  if (!merges.is_array()) return Status(Code::corrupt, "the model has no list \"merges\"");
  if (merges.size() > kMaxMerges) {
    return Status(Code::limit, fmt::format("the model has {} merges, more than {}", merges.size(), kMaxMerges.get()));
  }
  model.reserve_merges(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const Json& merge = merges.elements()[i];
    if (merge.is_array() && merge.size() == 2 && merge.elements()[0].is_string() && merge.elements()[1].is_string()) {
      NBL_TRY(model.add_merge(merge.elements()[0].as_string(), merge.elements()[1].as_string()));
      continue;
    }
    const std::string_view text = merge.as_string();
    if (i == 0 && text.starts_with("#version")) continue;
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return Status(Code::corrupt, fmt::format("merge {} is {}, neither \"a b\" nor [\"a\", \"b\"]", i, merge.dump()));
    }
    NBL_TRY(model.add_merge(text.substr(0, space), text.substr(space + 1)));
  }
  return {};
}

Result<std::unique_ptr<Model>> read_bpe(const Json& json) {
  Vocabulary vocabulary;
  NBL_TRY(read_vocabulary(member(json, "vocab"), vocabulary));
  BpeOptions options;
  if (const Json* unk = json.find_value("unk_token")) options.unk_token = std::string(unk->as_string());
  NBL_ASSIGN(options.continuing_prefix, json.string_or("continuing_subword_prefix", ""));
  NBL_ASSIGN(options.end_suffix, json.string_or("end_of_word_suffix", ""));
  NBL_ASSIGN(options.fuse_unk, json.bool_or("fuse_unk", false));
  NBL_ASSIGN(options.byte_fallback, json.bool_or("byte_fallback", false));
  NBL_ASSIGN(options.ignore_merges, json.bool_or("ignore_merges", false));
  NBL_ASSIGN(const double dropout, json.double_or("dropout", 0));
  if (dropout != 0) {
    return Status(Code::unsupported,
                  fmt::format("the model drops merges at random (dropout {}), which only training wants", dropout));
  }
  auto model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(options));
  NBL_TRY(read_merges(member(json, "merges"), *model));
  NBL_TRY(model->build());
  return std::unique_ptr<Model>(std::move(model));
}

Result<std::unique_ptr<Model>> read_unigram(const Json& json) {
  const Json& list = member(json, "vocab");
  if (!list.is_array()) return Status(Code::corrupt, "the model has no list \"vocab\"");
  if (list.size() > static_cast<std::size_t>(kMaxTokens)) {
    return Status(Code::limit, fmt::format("the vocabulary has {} entries, more than {}", list.size(), kMaxTokens.get()));
  }
  Vocabulary vocabulary;
  vocabulary.reserve(list.size(), list.size() * 8);
  std::vector<double> scores;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto pair = list.elements()[i].elements();
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number()) {
      return Status(Code::corrupt,
                    fmt::format("vocabulary entry {} is {}, not [piece, score]", i, list.elements()[i].dump()));
    }
    NBL_TRY(vocabulary.insert(pair[0].as_string(), static_cast<int64_t>(i)));
    scores.push_back(pair[1].as_double());
  }
  UnigramOptions options;
  if (const Json* unk = json.find_value("unk_id")) {
    if (!unk->is_int() || unk->as_int() < 0 || unk->as_int() >= static_cast<int64_t>(scores.size())) {
      return Status(Code::corrupt, fmt::format("unk_id is {}, but there are {} tokens", unk->dump(), scores.size()));
    }
    options.unk = static_cast<TokenId>(unk->as_int());
  }
  NBL_ASSIGN(options.byte_fallback, json.bool_or("byte_fallback", false));
  return UnigramModel::create(std::move(vocabulary), std::move(scores), options, {});
}

Result<std::unique_ptr<Model>> read_words(const Json& json, bool whole) {
  Vocabulary vocabulary;
  NBL_TRY(read_vocabulary(member(json, "vocab"), vocabulary));
  WordPieceOptions options;
  options.whole_words = whole;
  NBL_ASSIGN(options.unk_token, json.string_or("unk_token", whole ? "<unk>" : "[UNK]"));
  NBL_ASSIGN(options.continuing_prefix, json.string_or("continuing_subword_prefix", "##"));
  NBL_ASSIGN(options.max_chars, json.int_or("max_input_chars_per_word", 100));
  return WordPieceModel::create(std::move(vocabulary), std::move(options));
}

Result<std::unique_ptr<Model>> read_model(const Json& json) {
  if (!json.is_object()) return Status(Code::corrupt, "there is no object \"model\"");
  NBL_ASSIGN(std::string type, json.string_or("type", ""));
  if (type.empty()) {
    // Old files do not say: a list of scores is Unigram's, merges are BPE's.
    type = json.find_value("merges") != nullptr ? "BPE" : member(json, "vocab").is_array() ? "Unigram" : "WordPiece";
  }
  if (type == "BPE") return read_bpe(json);
  if (type == "Unigram") return read_unigram(json);
  if (type == "WordPiece" || type == "WordLevel") return read_words(json, type == "WordLevel");
  return Status(
      Code::unsupported,
      fmt::format("the tokenizer model \"{}\" is not known; BPE, Unigram, WordPiece and WordLevel are", type));
}

Status read_added(const Json& list, const Vocabulary& vocabulary, AddedTokens& out) {
  if (list.is_null()) return {};
  if (!list.is_array()) return Status(Code::corrupt, "\"added_tokens\" is no list");
  if (list.size() > kMaxAdded) {
    return Status(Code::limit, fmt::format("there are {} added tokens, more than {}", list.size(), kMaxAdded.get()));
  }
  for (const Json& item : list.elements()) {
    AddedToken token;
    NBL_ASSIGN(token.content, item.get_string("content"));
    NBL_ASSIGN(const int64_t id, item.get_int("id"));
    if (id < 0 || id >= kMaxTokens) {
      return Status(Code::limit,
                    fmt::format("the added token \"{}\" has id {}, outside 0..{}", token.content, id, kMaxTokens - 1));
    }
    // A content that the model knows keeps the model's id.
    token.id = vocabulary.find(token.content).value_or(static_cast<TokenId>(id));
    NBL_ASSIGN(token.single_word, item.bool_or("single_word", false));
    NBL_ASSIGN(token.lstrip, item.bool_or("lstrip", false));
    NBL_ASSIGN(token.rstrip, item.bool_or("rstrip", false));
    NBL_ASSIGN(token.special, item.bool_or("special", false));
    NBL_ASSIGN(token.normalized, item.bool_or("normalized", !token.special));
    NBL_TRY(out.add(std::move(token)));
  }
  return {};
}

Result<std::unique_ptr<Tokenizer>> load(const Json& json, const Json& config, std::string_view origin) {
  PipelineParts parts;
  parts.origin = std::string(origin);
  NBL_ASSIGN(parts.model, read_model(member(json, "model")));
  NBL_TRY(read_added(member(json, "added_tokens"), parts.model->vocabulary(), parts.added));
  NBL_ASSIGN(parts.normalizer, parse_normalizer(member(json, "normalizer")));
  NBL_ASSIGN(parts.pre_tokenizer, parse_pre_tokenizer(member(json, "pre_tokenizer"), true));
  NBL_ASSIGN(parts.decoder, parse_decoder(member(json, "decoder")));
  NBL_ASSIGN(Surround surround, parse_post_processor(member(json, "post_processor")));
  parts.prefix = std::move(surround.prefix);
  parts.suffix = std::move(surround.suffix);
  NBL_TRY(apply_tokenizer_config(config, parts));
  const Json* decoder = json.find_value("decoder");
  const bool byte_level = decoder != nullptr && decoder->find_value("type") != nullptr &&
                          decoder->find_value("type")->as_string() == "ByteLevel";
  parts.kind = byte_level ? "byte-level " + parts.model->kind() : parts.model->kind();
  return PipelineTokenizer::create(std::move(parts));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(std::string_view tokenizer_json,
                                                       std::string_view tokenizer_config, std::string_view origin) {
  NBL_ASSIGN(const Json json, Json::parse(tokenizer_json, origin));
  Json config;
  if (!tokenizer_config.empty()) {
    NBL_ASSIGN(config, Json::parse(tokenizer_config, fmt::format("the tokenizer_config.json beside {}", origin)));
  }
  auto made = load(json, config, origin);
  if (!made.ok()) return made.status().with_context(std::string(origin));
  return made;
}

}  // namespace nbl::text
