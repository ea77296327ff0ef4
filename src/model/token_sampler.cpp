#include "model/token_sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "text/chat_template.h"

namespace nbl::model {
namespace {

using quant::OptionSpec;
using text::TokenId;

constexpr std::string_view kEnds = "end_tokens", kMost = "max_new_tokens";
constexpr int64_t kUnbounded = Grammar::kNever / 4;  // tokens, or bytes: what cannot be completed costs more

bool chooses(std::string_view name) {
  static constexpr std::string_view kOthers[] = {
      "stop",           "n",              "logprobs",      "prompt_logprobs", "beams",        "length_penalty",
      "early_stopping", "prompt_lookup", "lookup_ngram", "draft_tokens",    "profile",      kMost};
  return std::find(std::begin(kOthers), std::end(kOthers), name) == std::end(kOthers);
}

}  // namespace

std::span<const OptionSpec> sampler_settings() {
  static const std::vector<OptionSpec> schema = [] {
    std::vector<OptionSpec> all;
    for (const OptionSpec& spec : generation_settings())
      if (chooses(spec.name)) all.push_back(spec);
    all.push_back({kMost, OptionSpec::Type::integer, "0", 0, 1e9, {}, "a grammar's text is complete within so many tokens; 0: no bound"});
    all.push_back({kEnds, OptionSpec::Type::text, "", 0, 0, {}, "ids that end a text: 1,2,3; empty: those of the tokenizer"});
    return all;
  }();
  return schema;
}

Result<TokenSampler> TokenSampler::create(int64_t vocab, std::shared_ptr<const text::Tokenizer> tokenizer) {
  if (vocab < 1 || vocab > std::numeric_limits<TokenId>::max())
    return Status(Code::invalid_argument, fmt::format("vocab_size is {}; 1 to 2^31 - 1 was expected", vocab));
  NBL_ASSIGN(TokenChooser chooser, TokenChooser::create(Sampler({}, 0, tokenizer.get()), nullptr));
  TokenSampler sampler(vocab, std::move(tokenizer), std::move(chooser));
  NBL_TRY(sampler.apply({}));
  return sampler;
}

TokenSampler TokenSampler::clone() const {
  TokenSampler copy(vocab_, tokenizer_, chooser_.clone());
  copy.trie_ = trie_;
  copy.settings_ = settings_;
  copy.grammar_ = grammar_;
  // Two samplers may be used by two threads, which one engine may not.
  copy.grammar_.engine = copy.chooser_.grammar() ? copy.chooser_.grammar()->shared_engine() : nullptr;
  copy.ends_ = ends_;
  copy.stops_at_ends_ = stops_at_ends_;
  copy.ended_ = ended_;
  copy.most_ = most_;
  copy.output_ = output_;
  return copy;
}

Status TokenSampler::set(const std::string& name, const std::string& value) {
  GenerationSettings settings = settings_;
  if (name == kEnds) {
    NBL_TRY(parse_token_ids(kEnds, value).status());
    settings.insert_or_assign(name, value);
  } else if (name == kMost || chooses(name)) {
    NBL_TRY(set_generation_setting(settings, name, value));
  } else {
    // An unknown name is told as such.
    NBL_TRY(set_generation_setting(settings, name, value));
    return Status(Code::invalid_argument, fmt::format("generation.{} is a setting of sessions; a sampler has none", name));
  }
  NBL_TRY(apply(settings));
  settings_ = std::move(settings);
  return {};
}

/// Changes nothing on an error.
Status TokenSampler::apply(const GenerationSettings& given) {
  GenerationSettings settings = given;
  std::vector<TokenId> ends;
  if (const auto it = settings.find(std::string(kEnds)); it != settings.end() && !it->second.empty()) {
    NBL_ASSIGN(ends, parse_token_ids(kEnds, it->second));
    NBL_TRY(check_token_ids(kEnds, ends, vocab_));
  } else if (tokenizer_ != nullptr) {
    ends = text::turn_ends(*tokenizer_);
    std::erase_if(ends, [&](TokenId id) { return id < 0 || id >= vocab_; });
  }
  settings.erase(std::string(kEnds));
  const bool bounded = settings.contains(std::string(kMost));
  GrammarCache cache = grammar_;
  if (ends != ends_) cache.engine.reset();
  const auto trie = [&] {
    if (trie_ == nullptr) trie_ = TokenTrie::create(*tokenizer_, vocab_);
    return trie_;
  };
  NBL_ASSIGN(const GenerateOptions options, make_generate_options(settings, {vocab_, tokenizer_.get(), trie, ends}, cache));
  NBL_TRY(Sampler::check(options.sampling));
  const bool other_grammar = options.grammar == nullptr || cache.engine != grammar_.engine;
  if (other_grammar) NBL_TRY(chooser_.begin_grammar(options.grammar));
  if (options.grammar == nullptr) cache = {};
  chooser_.sampler().set_options(options.sampling);
  grammar_ = std::move(cache);
  ends_ = std::move(ends);
  stops_at_ends_ = options.stop_at_eos;
  most_ = bounded ? options.max_new_tokens : 0;
  return {};
}

Status TokenSampler::reset(std::span<const TokenId> prompt) {
  NBL_TRY(chooser_.begin_grammar(grammar_.engine));
  chooser_.sampler().set_prompt(prompt);
  output_ = 0;
  ended_ = false;
  return {};
}

Result<std::optional<TokenId>> TokenSampler::choose(std::span<const float> logits) {
  if (static_cast<int64_t>(logits.size()) != vocab_)
    return Status(Code::mismatch, fmt::format("{} logits; {} were expected", logits.size(), vocab_));
  if (chooser_.finished()) return std::optional<TokenId>();
  const int64_t left = most_ > 0 ? std::max<int64_t>(most_ - output_ - 1, 0) : kUnbounded;
  NBL_ASSIGN(const TokenId token, chooser_.choose(logits, left, stops_at_ends_));
  return std::optional<TokenId>(token);
}

Status TokenSampler::accept(TokenId token) {
  if (token < 0 || token >= vocab_)
    return Status(Code::invalid_argument, fmt::format("token {} is outside the vocabulary of {} tokens", token, vocab_));
  NBL_TRY(chooser_.accept(token));
  ended_ = std::find(ends_.begin(), ends_.end(), token) != ends_.end();
  ++output_;
  if (chooser_.grammar()) {
    GrammarEngine::State* state = chooser_.grammar()->state();
    chooser_.grammar()->engine().trim({&state, 1});
  }
  return {};
}

}  // namespace nbl::model
