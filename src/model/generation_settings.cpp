#include "model/generation_settings.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace nbl::model {
namespace {

using quant::Options;
using Spec = quant::OptionSpec;
using text::TokenId;

constexpr double kMany = 1e9;
constexpr double kTiny = 1e-6;

Status bad(std::string_view name, std::string_view value, std::string_view expected) {
  return Status(Code::invalid_argument, fmt::format("generation.{} is \"{}\", expected {}", name, value, expected));
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\n')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n')) text.remove_suffix(1);
  return text;
}

template <class Number>
bool parse_number(std::string_view text, Number* out) {
  text = trim(text);
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

/// "id:bias,id:bias" or a JSON object {"id": bias}.
Result<std::vector<std::pair<TokenId, float>>> parse_logit_bias(const std::string& value) {
  const auto refuse = [&] { return bad("logit_bias", value, "ID:BIAS,ID:BIAS or a JSON object {\"ID\": BIAS}"); };
  std::vector<std::pair<TokenId, float>> out;
  const std::string_view text = trim(value);
  if (text.starts_with('{')) {
    NBL_ASSIGN(const Json json, Json::parse(text, "generation.logit_bias"));
    for (const auto& [key, bias] : json.members()) {
      TokenId id = 0;
      if (!parse_number(key, &id) || !bias.is_number()) return refuse();
      out.emplace_back(id, static_cast<float>(bias.as_double()));
    }
    return out;
  }
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string_view item = text.substr(at, end - at);
    const std::size_t colon = item.find(':');
    TokenId id = 0;
    float bias = 0;
    if (colon == std::string_view::npos || !parse_number(item.substr(0, colon), &id) ||
        !parse_number(item.substr(colon + 1), &bias) || std::isnan(bias) || bias == INFINITY)
      return refuse();
    out.emplace_back(id, bias);
    at = end + 1;
  }
  return out;
}

/// Whatever the schema's types cannot say about a value.
Status check_value(const std::string& name, const std::string& value) {
  if (name == "logit_bias") return parse_logit_bias(value).status();
  if (name == "banned_tokens") return parse_token_ids(name, value).status();
  if (name == "stop" || name == "dry_breakers") return parse_text_list(name, value).status();
  if (name == "grammar") return parse_gbnf(value).status();
  if (name == "json_schema") return grammar_from_schema(value).status();
  return {};
}

}  // namespace

Result<std::vector<TokenId>> parse_token_ids(std::string_view name, const std::string& value) {
  std::vector<TokenId> out;
  std::string_view text = trim(value);
  if (text.starts_with('[') && text.ends_with(']')) text = trim(text.substr(1, text.size() - 2));
  for (std::size_t at = 0; at <= text.size() && !text.empty();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    TokenId id = 0;
    if (!parse_number(text.substr(at, end - at), &id)) return bad(name, value, "token ids, as 1,2,3");
    out.push_back(id);
    at = end + 1;
  }
  return out;
}

Status check_token_ids(std::string_view name, std::span<const TokenId> ids, int64_t vocab) {
  for (const TokenId id : ids)
    if (id < 0 || id >= vocab)
      return Status(Code::invalid_argument,
                    fmt::format("generation.{}: token {} is outside the vocabulary of {} tokens", name, id, vocab));
  return {};
}

std::span<const Spec> generation_settings() {
  using T = Spec::Type;
  static const std::vector<Spec> schema = {
      {"max_new_tokens", T::integer, "128", 0, kMany, {}, "tokens to generate at most"},
      {"temperature", T::real, "0", 0, 1000, {}, "0: the likeliest token each time"},
      {"top_k", T::integer, "0", 0, kMany, {}, "choose among the K likeliest; 0: all"},
      {"top_p", T::real, "1", kTiny, 1, {}, "choose among the likeliest that reach this probability together"},
      {"min_p", T::real, "0", 0, 1, {}, "leave out tokens below this share of the likeliest one's probability"},
      {"typical", T::real, "1", kTiny, 1, {}, "locally typical sampling: keep this probability of typical tokens"},
      {"repetition_penalty", T::real, "1", kTiny, 1000, {}, "divide logits of tokens that prompt or output hold"},
      {"repetition_window", T::integer, "0", 0, kMany, {}, "tokens that repetition_penalty looks back; 0: all"},
      {"frequency_penalty", T::real, "0", -1000, 1000, {}, "subtract for each time that the output holds a token"},
      {"presence_penalty", T::real, "0", -1000, 1000, {}, "subtract once when the output holds a token"},
      {"dry_multiplier", T::real, "0", 0, 1000, {}, "penalize going on with a repeated sequence; 0: off"},
      {"dry_base", T::real, "1.75", 1, 1000, {}, "the penalty grows by this factor with each repeated token"},
      {"dry_allowed_length", T::integer, "2", 0, kMany, {}, "repetitions of fewer tokens are free"},
      {"dry_window", T::integer, "0", 0, kMany, {}, "tokens that dry looks back; 0: all"},
      {"dry_breakers", T::text, "[\"\\n\",\":\",\"\\\"\",\"*\"]", 0, 0, {}, "JSON array: texts that end a repetition"},
      {"logit_bias", T::text, "", 0, 0, {}, "ID:BIAS,ID:BIAS or {\"ID\": BIAS}: added to logits"},
      {"banned_tokens", T::text, "", 0, 0, {}, "ids that are never chosen: 1,2,3"},
      {"stop", T::text, "", 0, 0, {}, "JSON array of texts that end the output, or one such text"},
      {"seed", T::integer, "0", 0, 9007199254740992.0, {}, "of the choices; the same seed gives the same text"},
      {"ignore_eos", T::boolean, "false", 0, 0, {}, "go on after an end-of-sequence token"},
      {"n", T::integer, "1", 1, 4096, {}, "independent samples of one prompt"},
      {"logprobs", T::integer, "-1", -1, kMany, {}, "log probabilities of new tokens and of the N likeliest; -1: none"},
      {"prompt_logprobs", T::integer, "-1", -1, kMany, {}, "the same for the prompt's tokens"},
      {"beams", T::integer, "1", 1, 4096, {}, "beam search with so many beams; 1: none"},
      {"length_penalty", T::real, "1", -1000, 1000, {}, "a beam's score is its log probability / length^penalty"},
      {"early_stopping", T::boolean, "false", 0, 0, {"never"}, "end beam search as soon as all beams have ended; never: look for longer ones"},
      {"prompt_lookup", T::integer, "0", 0, 1024, {}, "tokens drafted from an earlier place in the text; 0: off"},
      {"lookup_ngram", T::integer, "3", 1, 1024, {}, "the longest run of tokens that prompt_lookup looks for"},
      {"draft_tokens", T::integer, "4", 1, 1024, {}, "tokens that a draft model drafts at a time"},
      {"profile", T::boolean, "false", 0, 0, {}, "also say what each operation takes"},
      {"grammar", T::text, "", 0, 0, {}, "a GBNF grammar that the output must match"},
      {"json_schema", T::text, "", 0, 0, {}, "a JSON schema: the output is a JSON text that is valid under it"},
  };
  return schema;
}

Result<std::vector<std::string>> parse_text_list(std::string_view name, const std::string& value) {
  if (value.starts_with('[')) {
    const auto json = Json::parse(value, fmt::format("generation.{}", name));
    if (json.ok() && json->is_array()) {
      std::vector<std::string> out;
      for (const Json& item : json->elements()) {
        if (!item.is_string()) return bad(name, value, "a JSON array of strings");
        out.emplace_back(item.as_string());
      }
      return out;
    }
  }
  return std::vector<std::string>{value};
}

Status set_generation_setting(GenerationSettings& settings, const std::string& name, const std::string& value) {
  const auto schema = generation_settings();
  if (value.empty()) {
    for (const Spec& spec : schema) {
      if (spec.name != name) continue;
      settings.erase(name);
      return {};
    }
  }
  NBL_ASSIGN(const Options checked, Options::create(schema, {{name, value}}, "generation"));
  NBL_TRY(check_value(name, value));
  if (name == "grammar") settings.erase("json_schema");
  if (name == "json_schema") settings.erase("grammar");
  settings[name] = checked.text(name);
  return {};
}

Result<GenerateOptions> make_generate_options(const GenerationSettings& settings, const Model& model,
                                              GrammarCache& cache) {
  return make_generate_options(
      settings, {model.config().vocab, model.tokenizer(), [&] { return model.token_trie(); }, model.config().eos}, cache);
}

Result<GenerateOptions> make_generate_options(const GenerationSettings& settings, const Vocabulary& vocabulary,
                                              GrammarCache& cache) {
  NBL_ASSIGN(const Options o, Options::create(generation_settings(), settings, "generation"));
  const int64_t vocab = vocabulary.size;
  const auto real = [&](std::string_view name) { return static_cast<float>(o.real(name)); };
  GenerateOptions out;
  out.max_new_tokens = o.integer("max_new_tokens");
  SamplingOptions& s = out.sampling;
  s.temperature = real("temperature");
  s.top_k = static_cast<int32_t>(o.integer("top_k"));
  s.top_p = real("top_p");
  s.min_p = real("min_p");
  s.typical = real("typical");
  s.repetition_penalty = real("repetition_penalty");
  s.repetition_window = o.integer("repetition_window");
  s.frequency_penalty = real("frequency_penalty");
  s.presence_penalty = real("presence_penalty");
  s.dry.multiplier = o.real("dry_multiplier");
  s.dry.base = o.real("dry_base");
  s.dry.allowed_length = o.integer("dry_allowed_length");
  s.dry.window = o.integer("dry_window");
  NBL_ASSIGN(s.dry.breakers, parse_text_list("dry_breakers", o.text("dry_breakers")));
  if (!o.text("logit_bias").empty()) {
    NBL_ASSIGN(s.logit_bias, parse_logit_bias(o.text("logit_bias")));
  }
  for (const auto& [id, bias] : s.logit_bias) NBL_TRY(check_token_ids("logit_bias", {&id, 1}, vocab));
  NBL_ASSIGN(s.banned, parse_token_ids("banned_tokens", o.text("banned_tokens")));
  NBL_TRY(check_token_ids("banned_tokens", s.banned, vocab));
  s.seed = static_cast<uint64_t>(o.integer("seed"));
  out.stop_at_eos = !o.boolean("ignore_eos");
  if (!o.text("stop").empty()) {
    NBL_ASSIGN(out.stop, parse_text_list("stop", o.text("stop")));
  }
  out.samples = o.integer("n");
  out.logprobs = o.integer("logprobs");
  out.prompt_logprobs = o.integer("prompt_logprobs");
  out.beams = o.integer("beams");
  out.length_penalty = o.real("length_penalty");
  out.early_stopping = o.boolean("early_stopping");
  out.late_stopping = o.text("early_stopping") == "never";
  out.prompt_lookup = o.integer("prompt_lookup");
  out.lookup_ngram = o.integer("lookup_ngram");
  out.draft_tokens = o.integer("draft_tokens");
  out.profile = o.boolean("profile");

  const std::string &gbnf = o.text("grammar"), &schema = o.text("json_schema");
  if (vocabulary.tokenizer == nullptr && (!out.stop.empty() || !gbnf.empty() || !schema.empty()))
    return Status(Code::unsupported, "there is no tokenizer: stop strings, grammars and schemas need one");
  if (!gbnf.empty() || !schema.empty()) {
    if (cache.engine == nullptr || cache.gbnf != gbnf || cache.schema != schema) {
      NBL_ASSIGN(const auto grammar, gbnf.empty() ? grammar_from_schema(schema) : parse_gbnf(gbnf));
      cache = {gbnf, schema, std::make_shared<GrammarEngine>(grammar, vocabulary.trie(), vocabulary.ends)};
    }
    out.grammar = cache.engine;
  }
  return out;
}

}  // namespace nbl::model
