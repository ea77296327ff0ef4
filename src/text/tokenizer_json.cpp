// Hugging Face tokenizer.json.
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/bounds.h"
#include "base/json_document.h"
#include "text/bpe.h"
#include "text/post_processor.h"
#include "text/tokenizer_config.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace nbl::text {
namespace {

constexpr BoundOf<std::size_t> kMaxMerges{Bound::tokenizer_merges};
constexpr BoundOf<std::size_t> kMaxAdded{Bound::tokenizer_added};
// What makes such a file large.
constexpr std::string_view kVocab = "model/vocab", kMerges = "model/merges";
constexpr std::string_view kTables[] = {kVocab, kMerges};

const Json& member(const Json& json, std::string_view key) {
  static const Json null;
  const Json* found = json.find(key);
  return found != nullptr ? *found : null;
}

Status read_vocabulary(const JsonDocument& file, Vocabulary& out) {
  if (file.kind(kVocab) != Json::Kind::object) return Status(Code::corrupt, "the model has no object \"vocab\"");
  const std::size_t size = file.size(kVocab);
  if (size > static_cast<std::size_t>(kMaxTokens)) {
    return Status(Code::limit, fmt::format("the vocabulary has {} entries, more than {}", size, kMaxTokens.get()));
  }
  out.reserve(size, size * 8);
  return file.for_each_member(kVocab, [&](std::string_view piece, const JsonCell& id) -> Status {
    if (!id.is_int()) return Status(Code::corrupt, fmt::format("the id of \"{}\" is no integer", piece));
    const std::size_t before = out.distinct();
    NBL_TRY(out.insert(piece, id.integer));
    if (out.distinct() == before)
      return Status(Code::corrupt, fmt::format("the vocabulary has \"{}\" twice", piece.substr(0, 100)));
    return {};
  });
}

Status read_merges(const JsonDocument& file, BpeModel& model) {
  if (file.kind(kMerges) != Json::Kind::array) return Status(Code::corrupt, "the model has no list \"merges\"");
  if (file.size(kMerges) > kMaxMerges) {
    return Status(Code::limit, fmt::format("the model has {} merges, more than {}", file.size(kMerges), kMaxMerges.get()));
  }
  model.reserve_merges(file.size(kMerges));
  std::size_t i = 0;
  std::vector<std::pair<std::string_view, std::string_view>> all;
  all.reserve(file.size(kMerges));
  NBL_TRY(file.for_each_row(kMerges, [&](std::span<const JsonCell> merge) -> Status {
    const std::size_t index = i++;
    if (merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      all.emplace_back(merge[0].text, merge[1].text);
      return {};
    }
    const std::string_view text = merge.size() == 1 ? merge[0].text : std::string_view();
    if (index == 0 && text.starts_with("#version")) return {};
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return Status(Code::corrupt, fmt::format("merge {} is {}, neither \"a b\" nor [\"a\", \"b\"]", index,
                                               file.element(kMerges, index).dump()));
    }
    all.emplace_back(text.substr(0, space), text.substr(space + 1));
    return {};
  }));
  return model.add_merges(all);
}

Result<std::unique_ptr<Model>> read_bpe(const Json& json, const JsonDocument& file) {
  Vocabulary vocabulary;
  NBL_TRY(read_vocabulary(file, vocabulary));
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
  NBL_TRY(read_merges(file, *model));
  NBL_TRY(model->build());
  return std::unique_ptr<Model>(std::move(model));
}

/// A score as the `tokenizers` library reads it: serde_json's parser, which takes the digits as an integer, rounded to double, and divides
/// by a power of ten. Every fourth score of 17 digits is one unit in the last place beside the nearest double, which decides between
/// paths of equal sums (runs of one character).
double score_as_read(double nearest) {
  static const std::vector<double> powers = [] {
    std::vector<double> all;
    for (int i = 0; i <= 308; ++i) {
      const std::string digits = fmt::format("1e{}", i);
      double power = 0;
      std::from_chars(digits.data(), digits.data() + digits.size(), power);
      all.push_back(power);
    }
    return all;
  }();
  char text[40];  // the shortest digits that read back, as files have them: d.ddde-dd
  const char* const end = std::to_chars(text, text + sizeof text, std::abs(nearest), std::chars_format::scientific).ptr;
  uint64_t digits = 0;
  int exponent = 0;
  bool fraction = false;
  for (const char* p = text; p < end; ++p) {
    if (*p == 'e') {
      int stated = 0;
      std::from_chars(p[1] == '+' ? p + 2 : p + 1, end, stated);
      exponent += stated;
      break;
    }
    if (*p == '.') {
      fraction = true;
    } else {
      digits = digits * 10 + static_cast<uint64_t>(*p - '0');
      exponent -= fraction ? 1 : 0;
    }
  }
  if (std::abs(exponent) > 308) return nearest;
  const double power = powers[static_cast<std::size_t>(std::abs(exponent))];
  const double value = exponent < 0 ? static_cast<double>(digits) / power : static_cast<double>(digits) * power;
  return std::copysign(value, nearest);
}

Result<std::unique_ptr<Model>> read_unigram(const Json& json, const JsonDocument& file) {
  if (file.kind(kVocab) != Json::Kind::array) return Status(Code::corrupt, "the model has no list \"vocab\"");
  const std::size_t size = file.size(kVocab);
  if (size > static_cast<std::size_t>(kMaxTokens)) {
    return Status(Code::limit, fmt::format("the vocabulary has {} entries, more than {}", size, kMaxTokens.get()));
  }
  Vocabulary vocabulary;
  vocabulary.reserve(size, size * 8);
  std::vector<double> scores;
  scores.reserve(size);
  NBL_TRY(file.for_each_row(kVocab, [&](std::span<const JsonCell> pair) -> Status {
    const std::size_t i = scores.size();
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number()) {
      return Status(Code::corrupt,
                    fmt::format("vocabulary entry {} is {}, not [piece, score]", i, file.element(kVocab, i).dump()));
    }
    scores.push_back(std::isfinite(pair[1].real) ? score_as_read(pair[1].real) : pair[1].real);
    return vocabulary.insert(pair[0].text, static_cast<int64_t>(i));
  }));
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

Result<std::unique_ptr<Model>> read_words(const Json& json, const JsonDocument& file, bool whole) {
  Vocabulary vocabulary;
  NBL_TRY(read_vocabulary(file, vocabulary));
  WordPieceOptions options;
  options.whole_words = whole;
  NBL_ASSIGN(options.unk_token, json.string_or("unk_token", whole ? "<unk>" : "[UNK]"));
  NBL_ASSIGN(options.continuing_prefix, json.string_or("continuing_subword_prefix", "##"));
  NBL_ASSIGN(options.max_chars, json.int_or("max_input_chars_per_word", 100));
  return WordPieceModel::create(std::move(vocabulary), std::move(options));
}

Result<std::unique_ptr<Model>> read_model(const Json& json, const JsonDocument& file) {
  if (!json.is_object()) return Status(Code::corrupt, "there is no object \"model\"");
  NBL_ASSIGN(std::string type, json.string_or("type", ""));
  if (type.empty()) {
    // Old files do not say: a list of scores is Unigram's, merges are BPE's.
    type = file.kind(kMerges) != Json::Kind::null ? "BPE" : file.kind(kVocab) == Json::Kind::array ? "Unigram" : "WordPiece";
  }
  if (type == "BPE") return read_bpe(json, file);
  if (type == "Unigram") return read_unigram(json, file);
  if (type == "WordPiece" || type == "WordLevel") return read_words(json, file, type == "WordLevel");
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

Result<std::unique_ptr<Tokenizer>> load(const JsonDocument& file, const Json& config, std::string_view origin) {
  const Json& json = file.value();
  PipelineParts parts;
  parts.origin = std::string(origin);
  NBL_ASSIGN(parts.model, read_model(member(json, "model"), file));
  NBL_TRY(read_added(member(json, "added_tokens"), parts.model->vocabulary(), parts.added));
  NBL_ASSIGN(parts.normalizer, parse_normalizer(member(json, "normalizer")));
  NBL_ASSIGN(parts.pre_tokenizer, parse_pre_tokenizer(member(json, "pre_tokenizer"), parts.model->takes_bytes()));
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
  NBL_ASSIGN(const JsonDocument json, JsonDocument::parse(tokenizer_json, origin, kTables));
  Json config;
  if (!tokenizer_config.empty()) {
    NBL_ASSIGN(config, Json::parse(tokenizer_config, fmt::format("the tokenizer_config.json beside {}", origin)));
  }
  auto made = load(json, config, origin);
  if (!made.ok()) return made.status().with_context(std::string(origin));
  return made;
}

}  // namespace nbl::text
