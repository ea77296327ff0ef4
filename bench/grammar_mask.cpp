// What constrained decoding costs at a vocabulary of 128k tokens: milliseconds a token for finding out what may follow, beside the time of
// the output projection alone (4 bits, hidden size 2048) and so far below a whole model's.
//   bench_grammar_mask [THREADS]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "base/parallel.h"
#include "model/grammar_matcher.h"
#include "model/sampler.h"
#include "quant/method.h"
#include "tensor/linear.h"

namespace nbl {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kVocab = 128 * 1024;
constexpr int64_t kHidden = 2048;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// The bytes, then words as vocabularies have them: letters in plausible runs, with and without a space before, numbers,
/// punctuation, runs of spaces and letters beyond ASCII.
class Words : public text::Tokenizer {
 public:
  Words() {
    for (int b = 0; b < 256; ++b) pieces_.push_back(std::string(1, static_cast<char>(b)));
    std::mt19937 random(1);
    const std::string letters = "eeeettaaooiinnsshhrrddlluccmmwffggyyppbbvkjxqz";
    const std::vector<std::string> others = {"{\"", "\":", "\",", "\"}", "[\"", "  ", "    ", "\n  ", "})", "();", "==", "\xC3\xA9", "\xE4\xB8\xAD"};
    pieces_.insert(pieces_.end(), others.begin(), others.end());
    while (static_cast<int64_t>(pieces_.size()) < kVocab) {
      std::string word = random() % 2 == 0 ? " " : "";
      const unsigned kind = static_cast<uint32_t>(random()) % 20;
      const std::size_t length = 2 + random() % 9;
      for (std::size_t i = 0; i < length; ++i) {
        if (kind == 0) word += static_cast<char>('0' + random() % 10);
        else if (kind == 1) word += "\xD0" + std::string(1, static_cast<char>(0xB0 + random() % 16));
        else word += letters[random() % letters.size()];
      }
      if (kind == 2 && !word.empty()) word[word.size() - 1] = ".,;:)(\"'"[random() % 8];
      pieces_.push_back(std::move(word));
    }
  }
  Result<std::vector<text::TokenId>> encode(std::string_view, const text::EncodeOptions&) const override { return std::vector<text::TokenId>(); }
  Result<std::string> decode(std::span<const text::TokenId>, bool) const override { return std::string(); }
  Result<std::string> piece(text::TokenId id) const override { return pieces_[static_cast<std::size_t>(id)]; }
  std::optional<text::TokenId> find(std::string_view) const override { return std::nullopt; }
  int64_t vocab_size() const override { return kVocab; }
  bool is_special(text::TokenId) const override { return false; }
  std::optional<text::TokenId> bos() const override { return std::nullopt; }
  std::optional<text::TokenId> eos() const override { return std::nullopt; }
  std::string kind() const override { return "words"; }

 private:
  std::vector<std::string> pieces_;
};

Result<double> projection_ms(Team& team) {
  std::vector<float> weight(static_cast<std::size_t>(kVocab * kHidden));
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i % 113) - 56.0f;
  NBL_ASSIGN(const quant::Recipe recipe, quant::parse_recipe("rtn:bits=4,group=128"));
  quant::LinearTask task;
  task.n = kVocab;
  task.k = kHidden;
  task.weight = weight;
  quant::MethodContext context;
  context.team = &team;
  NBL_ASSIGN(quant::LinearResult made, recipe.method->quantize(task, recipe.options, context));
  weight = {};
  NBL_ASSIGN(const Linear linear, Linear::create(std::move(made.tensor), {}, {Compute::fast, best_isa()}));
  std::vector<float> x(static_cast<std::size_t>(kHidden), 0.5f), y(static_cast<std::size_t>(kVocab));
  NBL_ASSIGN(Buffer prepared, Buffer::create(linear.prepared_bytes(1)));
  std::vector<double> times;
  for (int i = 0; i < 15; ++i) {
    const auto start = Clock::now();
    team.run([&](Worker& worker) {
      linear.prepare(worker, x.data(), kHidden, 1, prepared.data());
      linear.multiply(worker, prepared.data(), 1, y.data(), kVocab);
    });
    times.push_back(ms_since(start));
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

Status measure(int threads) {
  Team team(threads);
  const Words words;
  auto start = Clock::now();
  const auto trie = model::TokenTrie::create(words, kVocab);
  fmt::print("vocabulary as a tree: {} nodes, {:.0f} ms once a model\n", trie->byte.size(), ms_since(start));
  NBL_ASSIGN(const double projection, projection_ms(team));
  fmt::print("output projection [{}, {}], 4 bits, {} threads: {:.2f} ms a token\n", kVocab, kHidden, team.size(), projection);
  const std::pair<const char*, const char*> schemas[] = {
      {"record", R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":120},
        "tags":{"type":"array","items":{"type":"string"},"maxItems":5},"kind":{"enum":["person","company"]}},"required":["name","age","tags","kind"]})"},
      {"bounded strings", R"({"type":"array","minItems":5,"items":{"type":"string","minLength":3,"maxLength":500}})"},
      {"any JSON", "true"},
      {"pattern", R"({"type":"array","minItems":8,"items":{"type":"string","pattern":"^[A-Z][a-z]+ [0-9]{4}$"}})"}};
  std::mt19937 random(3);
  for (const auto& [name, schema] : schemas) {
    start = Clock::now();
    NBL_ASSIGN(const auto grammar, model::grammar_from_schema(schema));
    const double compiled = ms_since(start);
    const auto engine = std::make_shared<model::GrammarEngine>(grammar, trie, std::vector<text::TokenId>{});
    double spent = 0, most = 0;
    int64_t tokens = 0;
    for (int text = 0; text < 4; ++text) {
      NBL_ASSIGN(auto matcher, model::GrammarMatcher::create(engine));
      for (int64_t left = 200; left > 0 && !matcher.finished(); --left, ++tokens) {
        start = Clock::now();
        NBL_ASSIGN(const auto mask, matcher.mask(left - 1, true));
        const double took = ms_since(start);
        spent += took;
        most = std::max(most, took);
        // A random allowed token.
        std::vector<text::TokenId> allowed;
        for (int64_t id = 0; id < kVocab; ++id)
          if ((mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0) allowed.push_back(static_cast<text::TokenId>(id));
        if (allowed.empty()) break;
        const auto token = allowed[random() % allowed.size()];
        start = Clock::now();
        NBL_TRY(matcher.accept(token));
        spent += ms_since(start);
      }
    }
    const double each = spent / static_cast<double>(tokens);
    fmt::print("{:16} {:5} tokens, {:4} masks made, compiled in {:.2f} ms: {:.3f} ms a token ({:.2f} % of the projection), at most {:.2f} ms\n",
               name, tokens, engine->masks_made(), compiled, each, 100 * each / projection, most);
  }
  return {};
}

}  // namespace
}  // namespace nbl

int main(int argc, char** argv) {
  const nbl::Status status = nbl::measure(argc > 1 ? std::atoi(argv[1]) : 0);
  if (!status.ok()) fmt::print(stderr, "{}\n", status.message());
  return status.ok() ? 0 : 1;
}
