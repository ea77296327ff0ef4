#include "dialects/tokenizer_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dialects/gguf_vocab_json.h"
#include "text/gguf_pre_tokenizers.h"

namespace nbl::dialects {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";
constexpr std::size_t kMaxPiece = 4096;  ///< bytes of a piece whose halves are looked for, as in reading such a vocabulary

Json typed(std::string_view type) { return Json::object({{"type", Json(type)}}); }

Json list(std::vector<Json> items) {
  Json array = Json::array();
  for (Json& item : items) array.push_back(std::move(item));
  return array;
}

Json replace(std::string_view from, std::string_view to) {
  Json step = typed("Replace");
  step.set("pattern", Json::object({{"String", Json(from)}}));
  step.set("content", to);
  return step;
}

Json byte_level(bool use_regex) {
  Json step = typed("ByteLevel");
  step.set("add_prefix_space", false);
  step.set("trim_offsets", true);
  step.set("use_regex", use_regex);
  return step;
}

class Exporter {
 public:
  explicit Exporter(const Json& metadata) : metadata_(metadata) {}

  Result<HfTokenizer> run() {
    const Json* tokens = metadata_.find_value("tokenizer.ggml.tokens");
    if (tokens == nullptr || !tokens->is_array()) return Status(Code::corrupt, "tokenizer.ggml.tokens is no array");
    tokens_ = tokens->elements();
    if (const Json* types = metadata_.find_value("tokenizer.ggml.token_type");
        types != nullptr && types->size() == tokens_.size()) {
      types_ = types->elements();
    }
    const Json* kind = metadata_.find_value("tokenizer.ggml.model");
    const std::string_view name = kind == nullptr ? std::string_view() : kind->as_string();
    out_ = Json::object();
    out_.set("version", "1.0");
    out_.set("truncation", Json());
    out_.set("padding", Json());
    out_.set("added_tokens", added());
    if (name == "gpt2") {
      NBL_TRY(byte_bpe());
    } else if (name == "llama") {
      NBL_TRY(sentencepiece());
    } else {
      return Status(Code::unsupported, fmt::format("no tokenizer.json is made of a vocabulary of kind '{}'", name));
    }
    return HfTokenizer{out_.dump(2) + "\n", huggingface_tokenizer_config(metadata_)};
  }

 private:
  int64_t type(std::size_t id) const { return types_.empty() ? kNormalToken : types_[id].as_int(kNormalToken); }
  bool flag(std::string_view key, bool fallback) const {
    const Json* value = metadata_.find_value(fmt::format("tokenizer.ggml.{}", key));
    return value == nullptr ? fallback : value->as_bool(fallback);
  }
  int64_t id_of(std::string_view key, int64_t fallback) const {
    const Json* value = metadata_.find_value(fmt::format("tokenizer.ggml.{}_token_id", key));
    const int64_t id = value == nullptr ? fallback : value->as_int(-1);
    return id >= 0 && id < static_cast<int64_t>(tokens_.size()) ? id : -1;
  }

  Json added() const {
    Json array = Json::array();
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      const bool special = type(id) == kControlToken || type(id) == kUnknownToken;
      if (!special && type(id) != kUserToken) continue;
      Json token = Json::object();
      token.set("id", static_cast<int64_t>(id));
      token.set("content", tokens_[id].as_string());
      for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"}) token.set(key, false);
      token.set("special", special);
      array.push_back(std::move(token));
    }
    return array;
  }

  Json vocabulary() const {
    Json vocab = Json::object();
    for (std::size_t id = 0; id < tokens_.size(); ++id) vocab.set(tokens_[id].as_string(), static_cast<int64_t>(id));
    return vocab;
  }

  Json bpe(Json merges, bool byte_fallback, bool ignore_merges) const {
    Json model = typed("BPE");
    model.set("dropout", Json());
    const int64_t unknown = id_of("unknown", byte_fallback ? 0 : -1);
    model.set("unk_token", unknown < 0 || !byte_fallback ? Json() : tokens_[static_cast<std::size_t>(unknown)]);
    model.set("continuing_subword_prefix", Json());
    model.set("end_of_word_suffix", Json());
    model.set("fuse_unk", byte_fallback);
    model.set("byte_fallback", byte_fallback);
    model.set("ignore_merges", ignore_merges);
    model.set("vocab", vocabulary());
    model.set("merges", std::move(merges));
    return model;
  }

  // What is put around a text.
  Json post_processor(bool add_bos) const {
    const int64_t bos = id_of("bos", -1), eos = id_of("eos", -1);
    const bool first = flag("add_bos_token", add_bos) && bos >= 0, last = flag("add_eos_token", false) && eos >= 0;
    Json special = Json::object();
    const auto token = [&](int64_t id) {
      const Json& text = tokens_[static_cast<std::size_t>(id)];
      special.set(text.as_string(), Json::object({{"id", text}, {"ids", list({Json(id)})}, {"tokens", list({text})}}));
      return Json::object({{"SpecialToken", Json::object({{"id", text}, {"type_id", Json(0)}})}});
    };
    const auto side = [&](const char* name, int type_id, Json& sequence) {
      if (first) sequence.push_back(token(bos));
      sequence.push_back(
          Json::object({{"Sequence", Json::object({{"id", Json(name)}, {"type_id", Json(type_id)}})}}));
      if (last) sequence.push_back(token(eos));
    };
    Json single = Json::array(), pair = Json::array();
    side("A", 0, single);
    side("A", 0, pair);
    side("B", 1, pair);
    Json post = typed("TemplateProcessing");
    post.set("single", std::move(single));
    post.set("pair", std::move(pair));
    post.set("special_tokens", std::move(special));
    return post;
  }

  Status byte_bpe() {
    const Json* pre = metadata_.find_value("tokenizer.ggml.pre");
    NBL_ASSIGN(const text::GgufPreTokenizer* splits,
               text::find_gguf_pre_tokenizer(pre == nullptr ? std::string_view("default") : pre->as_string()));
    Json steps = Json::array();
    for (const std::string_view pattern : splits->patterns) {
      Json step = typed("Split");
      step.set("pattern", Json::object({{"Regex", Json(pattern)}}));
      step.set("behavior", "Isolated");
      step.set("invert", false);
      steps.push_back(std::move(step));
    }
    steps.push_back(byte_level(false));
    Json sequence = typed("Sequence");
    sequence.set("pretokenizers", std::move(steps));
    const Json* merges = metadata_.find_value("tokenizer.ggml.merges");
    if (merges == nullptr) return Status(Code::corrupt, "there are no merges (tokenizer.ggml.merges)");
    out_.set("normalizer", Json());
    out_.set("pre_tokenizer", std::move(sequence));
    out_.set("post_processor", post_processor(splits->add_bos));
    out_.set("decoder", byte_level(true));
    out_.set("model", bpe(*merges, false, splits->ignore_merges));
    return {};
  }

  // Sentencepiece merges by the scores of what comes out: every way to make a piece of two others, best pieces first.
  Status scored_merges(Json& merges) const {
    const Json* scores = metadata_.find_value("tokenizer.ggml.scores");
    if (scores == nullptr || scores->size() != tokens_.size()) {
      return Status(Code::corrupt, "tokenizer.ggml.scores does not have a score for each token");
    }
    std::unordered_map<std::string_view, int64_t> ids;
    const auto mergeable = [&](std::size_t id) { return type(id) == kNormalToken || type(id) == kUserToken; };
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (mergeable(id)) ids.emplace(tokens_[id].as_string(), static_cast<int64_t>(id));
    }
    struct Merge {
      double score;
      int64_t left, right;
    };
    std::vector<Merge> all;
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (!mergeable(id)) continue;
      const std::string_view piece = tokens_[id].as_string();
      if (piece.size() > kMaxPiece) {
        return Status(Code::limit, fmt::format("token {} has {} bytes, more than {}", id, piece.size(), kMaxPiece));
      }
      for (std::size_t cut = 1; cut < piece.size(); ++cut) {
        if ((static_cast<unsigned char>(piece[cut]) & 0xc0) == 0x80) continue;  // within a character
        const auto left = ids.find(piece.substr(0, cut)), right = ids.find(piece.substr(cut));
        if (left == ids.end() || right == ids.end()) continue;
        all.push_back({scores->elements()[id].as_double(), left->second, right->second});
      }
    }
    std::sort(all.begin(), all.end(), [](const Merge& a, const Merge& b) {
      if (a.score != b.score) return a.score > b.score;
      return a.left != b.left ? a.left < b.left : a.right < b.right;
    });
    for (const Merge& merge : all) {
      merges.push_back(list({tokens_[static_cast<std::size_t>(merge.left)], tokens_[static_cast<std::size_t>(merge.right)]}));
    }
    return {};
  }

  Status sentencepiece() {
    const bool prefix = flag("add_space_prefix", true);
    Json normalizers = Json::array(), decoders = Json::array(), merges = Json::array();
    if (prefix) {
      Json step = typed("Prepend");
      step.set("prepend", kSpace);
      normalizers.push_back(std::move(step));
    }
    normalizers.push_back(replace(" ", kSpace));
    decoders.push_back(replace(kSpace, " "));
    decoders.push_back(typed("ByteFallback"));
    decoders.push_back(typed("Fuse"));
    if (prefix) {
      Json step = typed("Strip");
      step.set("content", " ");
      step.set("start", 1);
      step.set("stop", 0);
      decoders.push_back(std::move(step));
    }
    NBL_TRY(scored_merges(merges));
    Json normalizer = typed("Sequence"), decoder = typed("Sequence");
    normalizer.set("normalizers", std::move(normalizers));
    decoder.set("decoders", std::move(decoders));
    out_.set("normalizer", std::move(normalizer));
    out_.set("pre_tokenizer", Json());
    out_.set("post_processor", post_processor(true));
    out_.set("decoder", std::move(decoder));
    out_.set("model", bpe(std::move(merges), true, false));
    return {};
  }

  const Json& metadata_;
  std::span<const Json> tokens_, types_;
  Json out_;
};

}  // namespace

Result<HfTokenizer> huggingface_tokenizer(const Json& metadata) { return Exporter(metadata).run(); }

std::string huggingface_tokenizer_config(const Json& metadata) {
  Json config = Json::object();
  const Json* tokens = metadata.find("tokenizer.ggml.tokens");
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"bos", "bos"}, {"eos", "eos"}, {"unknown", "unk"}, {"padding", "pad"}};
  for (const auto& [name, key] : kNames) {
    const Json* id = metadata.find(fmt::format("tokenizer.ggml.{}_token_id", name));
    if (id == nullptr || tokens == nullptr || !id->is_int() || id->as_int() < 0 ||
        id->as_int() >= static_cast<int64_t>(tokens->size())) {
      continue;
    }
    config.set(fmt::format("{}_token", key), tokens->elements()[static_cast<std::size_t>(id->as_int())].as_string());
  }
  for (const char* name : {"add_bos_token", "add_eos_token"}) {
    if (const Json* value = metadata.find(fmt::format("tokenizer.ggml.{}", name))) config.set(name, value->as_bool());
  }
  if (const Json* text = metadata.find("tokenizer.chat_template"); text != nullptr && text->is_string()) {
    config.set("chat_template", text->as_string());
    constexpr std::string_view kNamed = "tokenizer.chat_template.";
    Json all = Json::array();
    all.push_back(Json::object({{"name", "default"}, {"template", text->as_string()}}));
    for (const auto& [key, source] : metadata.members()) {
      if (key.starts_with(kNamed) && source.is_string())
        all.push_back(Json::object({{"name", key.substr(kNamed.size())}, {"template", source.as_string()}}));
    }
    if (all.size() > 1) config.set("chat_template", std::move(all));
  }
  // Classes of the sentencepiece family put bos and eos as these settings say, others as tokenizer.json does.
  const Json* model = metadata.find("tokenizer.ggml.model");
  const bool pieces = model != nullptr && model->as_string() == "llama";
  config.set("tokenizer_class", pieces ? "LlamaTokenizerFast" : "PreTrainedTokenizerFast");
  return config.dump(2) + "\n";
}

}  // namespace nbl::dialects
