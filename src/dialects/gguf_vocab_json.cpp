#include "dialects/gguf_vocab_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/bounds.h"

namespace nbl::dialects {
namespace {

std::string_view type_of(const Json* part) {
  const Json* type = part == nullptr ? nullptr : part->find_value("type");
  return type == nullptr ? std::string_view() : type->as_string();
}

// A step and what it is a sequence of, in order.
void flatten(const Json* part, std::string_view list, std::vector<const Json*>& out) {
  if (part == nullptr || !part->is_object()) return;
  if (type_of(part) != "Sequence") {
    out.push_back(part);
    return;
  }
  if (const Json* steps = part->find_value(list)) {
    for (const Json& step : steps->elements()) flatten(&step, list, out);
  }
}

std::string_view pattern_of(const Json& split) {
  const Json* pattern = split.find_value("pattern");
  if (pattern == nullptr) return {};
  const Json* regex = pattern->find_value("Regex");
  return regex == nullptr ? std::string_view() : regex->as_string();
}

struct KnownPattern {
  std::string_view marks[3];  ///< substrings that tell it from the others
  std::string_view name;
};
// The regular expressions of the families, told apart by what only they have.
constexpr KnownPattern kPatterns[] = {
    {{"'[sS]|'[tT]", "\\p{N}{1,3}", "\\s*[\\r\\n]+"}, "llama-bpe"},
    {{"(?i:'s|'t", "\\p{N}{1,3}", "\\s*[\\r\\n]+"}, "llama-bpe"},
    {{"(?i:'s|'t", "|\\p{N}|", "\\s*[\\r\\n]+"}, "qwen2"},
    {{"'[sS]|'[tT]", "|\\p{N}|", "\\s*[\\r\\n]+"}, "qwen2"},
    {{"[^(\\s|", "", ""}, "bloom"},
    {{"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+", "", ""}, "gpt-2"},
};

Result<std::string> pre_tokenizer_name(const Json& tokenizer) {
  std::vector<const Json*> steps;
  flatten(tokenizer.find_value("pre_tokenizer"), "pretokenizers", steps);
  std::string split, shape;
  bool regex = false;
  for (const Json* step : steps) {
    const std::string_view type = type_of(step);
    shape += fmt::format("{}{}", shape.empty() ? "" : "+", type);
    if (type == "ByteLevel") {
      const Json* use = step->find_value("use_regex");
      regex = use == nullptr || use->as_bool(true);
    }
    if (type == "Split" && split.empty()) split = pattern_of(*step);
  }
  const auto individual = [&](const Json& digits) {
    const Json* each = digits.find_value("individual_digits");
    return each != nullptr && each->as_bool();
  };
  if (shape == "ByteLevel" && regex) return std::string("gpt-2");
  if (shape == "Digits+ByteLevel" && regex && individual(*steps[0])) return std::string("smollm");
  if (shape.starts_with("Punctuation+ByteLevel+Digits")) return std::string("falcon");
  if (!split.empty() && !regex) {
    for (const KnownPattern& known : kPatterns) {
      const auto has = [&](std::string_view mark) { return split.find(mark) != std::string::npos; };
      if (!std::all_of(std::begin(known.marks), std::end(known.marks), has)) continue;
      if (known.name != "llama-bpe") return std::string(known.name);
      const Json* ignore = tokenizer.find_value("model")->find_value("ignore_merges");
      return std::string(ignore != nullptr && ignore->as_bool() ? "llama-bpe" : "dbrx");
    }
  }
  return Status(Code::unsupported,
                fmt::format("GGUF has no name for this tokenizer's way to cut text ({}{}); the native format keeps it", shape,
                            split.empty() ? "" : ": " + split.substr(0, 60)));
}

// Tokens and types of {piece: id} and the added tokens, of the ids below `rows`.
Status read_tokens(const Json& tokenizer, const Json& model, int64_t rows, GgufVocabulary& v) {
  std::map<int64_t, std::string> pieces;
  const Json* vocab = model.find_value("vocab");
  if (vocab == nullptr) return Status(Code::corrupt, "tokenizer.json: no vocabulary");
  if (vocab->is_array()) {  // [[piece, score], ...]
    int64_t id = 0;
    for (const Json& entry : vocab->elements()) {
      if (entry.size() != 2) return Status(Code::corrupt, "tokenizer.json: a piece is no pair");
      pieces[id++] = std::string(entry.elements()[0].as_string());
      v.scores.push_back(static_cast<float>(entry.elements()[1].as_double()));
    }
  }
  for (const auto& [piece, id] : vocab->members()) pieces[id.as_int(-1)] = piece;
  std::map<int64_t, int32_t> added;
  if (const Json* list = tokenizer.find_value("added_tokens")) {
    for (const Json& token : list->elements()) {
      const Json *id = token.find_value("id"), *content = token.find_value("content");
      if (id == nullptr || content == nullptr) continue;
      const Json* special = token.find_value("special");
      pieces[id->as_int(-1)] = std::string(content->as_string());
      added[id->as_int(-1)] = special != nullptr && special->as_bool() ? kControlToken : kUserToken;
    }
  }
  if (pieces.empty() || pieces.begin()->first < 0) return Status(Code::corrupt, "tokenizer.json: impossible token ids");
  if (const int64_t most = bound(Bound::tokenizer_tokens); pieces.rbegin()->first >= most) {
    return Status(Code::limit, fmt::format("tokenizer.json: token id {}, beyond {}", pieces.rbegin()->first, most - 1));
  }
  // The rest has no row in the model, and would be memory for nothing: a short file may name a large id.
  pieces.erase(pieces.lower_bound(rows), pieces.end());
  added.erase(added.lower_bound(rows), added.end());
  const std::size_t count = pieces.empty() ? 0 : static_cast<std::size_t>(pieces.rbegin()->first) + 1;
  v.tokens.resize(count);
  v.types.assign(count, kUnusedToken);
  for (std::size_t id = 0; id < count; ++id) v.tokens[id] = fmt::format("[PAD{}]", id);
  for (auto& [id, piece] : pieces) {
    v.tokens[static_cast<std::size_t>(id)] = std::move(piece);
    v.types[static_cast<std::size_t>(id)] = kNormalToken;
  }
  for (const auto& [id, type] : added) v.types[static_cast<std::size_t>(id)] = type;
  if (!v.scores.empty()) v.scores.resize(count);
  return {};
}

std::vector<std::pair<std::string, std::string>> merges_of(const Json& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  const Json* list = model.find_value("merges");
  if (list == nullptr) return merges;
  for (const Json& merge : list->elements()) {
    if (merge.is_array() && merge.size() == 2) {
      merges.emplace_back(merge.elements()[0].as_string(), merge.elements()[1].as_string());
      continue;
    }
    const std::string_view text = merge.as_string();
    const std::size_t space = text.find(' ', 1);
    if (space == std::string_view::npos || text.starts_with("#version")) continue;
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

bool is_byte_token(std::string_view token) {
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>';
}

// Sentencepiece merges by the score of what comes out; a list of merges orders them the same way, so the place of a
// piece's first merge is its score.
void score_by_merges(const Json& model, GgufVocabulary& v) {
  std::map<std::string_view, std::size_t> ids;
  for (std::size_t id = 0; id < v.tokens.size(); ++id) ids.emplace(v.tokens[id], id);
  v.scores.assign(v.tokens.size(), 0);
  std::vector<bool> made(v.tokens.size());
  float rank = 0;
  for (const auto& [left, right] : merges_of(model)) {
    rank += 1;
    const std::string piece = left + right;
    const auto it = ids.find(piece);
    if (it == ids.end() || made[it->second]) continue;
    made[it->second] = true;
    v.scores[it->second] = -rank;
  }
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.types[id] == kNormalToken && is_byte_token(v.tokens[id])) v.types[id] = kByteToken;
    if (v.types[id] == kNormalToken && !made[id]) v.scores[id] = -rank - 1;
  }
}

// Whether a space is put before the text.
bool prefixes_space(const Json& tokenizer) {
  std::vector<const Json*> steps;
  flatten(tokenizer.find_value("normalizer"), "normalizers", steps);
  for (const Json* step : steps) {
    if (type_of(step) == "Prepend") return true;
  }
  steps.clear();
  flatten(tokenizer.find_value("pre_tokenizer"), "pretokenizers", steps);
  for (const Json* step : steps) {
    if (type_of(step) != "Metaspace") continue;
    const Json *scheme = step->find_value("prepend_scheme"), *legacy = step->find_value("add_prefix_space");
    if (scheme != nullptr) return scheme->as_string() != "never";
    return legacy == nullptr || legacy->as_bool(true);
  }
  return false;
}

std::vector<uint8_t> from_base64(std::string_view text) {
  std::vector<uint8_t> out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    int value = -1;
    if (c >= 'A' && c <= 'Z') value = c - 'A';
    if (c >= 'a' && c <= 'z') value = c - 'a' + 26;
    if (c >= '0' && c <= '9') value = c - '0' + 52;
    if (c == '+') value = 62;
    if (c == '/') value = 63;
    if (value < 0) continue;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<uint8_t>(bits >> count));
    }
  }
  return out;
}

void read_charsmap(const Json& tokenizer, GgufVocabulary& v) {
  std::vector<const Json*> steps;
  flatten(tokenizer.find_value("normalizer"), "normalizers", steps);
  for (const Json* step : steps) {
    const Json* map = step->find_value("precompiled_charsmap");
    if (map != nullptr && map->is_string()) v.charsmap = from_base64(map->as_string());
  }
}

// bert's convention marks words instead of their continuations.
void mark_words(GgufVocabulary& v) {
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    std::string& token = v.tokens[id];
    if (v.types[id] != kNormalToken) continue;
    if (token.starts_with("##")) {
      token = token.substr(2);
    } else if (!(token.starts_with("[") && token.ends_with("]"))) {
      token.insert(0, "\xe2\x96\x81");
    }
  }
}

void find_unknown(const Json& model, GgufVocabulary& v) {
  if (const Json* id = model.find_value("unk_id"); id != nullptr && id->is_int() && id->as_int() >= 0 &&
                                                    id->as_int() < static_cast<int64_t>(v.tokens.size()))
    v.unknown = id->as_int();
  const Json* token = model.find_value("unk_token");
  if (token == nullptr || !token->is_string()) return;
  const auto it = std::find(v.tokens.begin(), v.tokens.end(), token->as_string());
  if (it != v.tokens.end()) v.unknown = it - v.tokens.begin();
}

}  // namespace

Result<GgufVocabulary> vocabulary_of_json(const Json& tokenizer, int64_t rows) {
  const Json* model = tokenizer.find_value("model");
  if (model == nullptr) return Status(Code::corrupt, "tokenizer.json: no model");
  GgufVocabulary v;
  NBL_TRY(read_tokens(tokenizer, *model, rows, v));
  find_unknown(*model, v);
  std::string kind(type_of(model));
  if (kind.empty()) kind = "BPE";
  const Json* fallback = model->find_value("byte_fallback");
  if (kind == "BPE" && fallback != nullptr && fallback->as_bool()) {
    v.model = "llama";
    v.pre = "default";
    score_by_merges(*model, v);
    v.add_space_prefix = prefixes_space(tokenizer);
  } else if (kind == "BPE") {
    v.model = "gpt2";
    NBL_ASSIGN(v.pre, pre_tokenizer_name(tokenizer));
    for (const auto& [left, right] : merges_of(*model)) v.merges.push_back(fmt::format("{} {}", left, right));
    v.scores.clear();
  } else if (kind == "Unigram") {
    v.model = "t5";
    v.pre = "default";
    read_charsmap(tokenizer, v);
    v.add_space_prefix = prefixes_space(tokenizer);
  } else if (kind == "WordPiece") {
    v.model = "bert";
    v.pre = "jina-v2-en";
    mark_words(v);
  } else {
    return Status(Code::unsupported, fmt::format("GGUF has no name for a tokenizer of kind {}", kind));
  }
  if (v.unknown && v.model != "gpt2") v.types[static_cast<std::size_t>(*v.unknown)] = kUnknownToken;
  return v;
}

}  // namespace nbl::dialects
