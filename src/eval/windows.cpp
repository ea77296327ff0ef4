#include "eval/windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace nbl::eval {
namespace {

using text::TokenId;

enum class Cut : uint8_t { disjoint, second_half, rolling };

struct Rule {
  ProtocolSpec spec;
  Cut cut;
  int64_t length;  ///< tokens a window; 0: the model's own length
  bool special;    ///< the text is encoded with the tokenizer's special tokens
};

constexpr std::array<Rule, 5> kRules{{
    {{"windows-512", "non-overlapping windows of 512 tokens, no BOS, tokens 2 to 512 of each scored"},
     Cut::disjoint,
     512,
     false},
    {{"windows-2048", "non-overlapping windows of 2,048 tokens, no BOS, tokens 2 to 2,048 of each scored"},
     Cut::disjoint,
     2048,
     false},
    {{"gptq-2048",
      "as the GPTQ paper: the text encoded with special tokens, windows of 2,048, tokens 2 to 2,048 scored"},
     Cut::disjoint,
     2048,
     true},
    {{"llama.cpp-512",
      "as llama-perplexity: windows of 512, the first token replaced by BOS if the tokenizer adds one, tokens 258 to "
      "512 scored"},
     Cut::second_half,
     512,
     true},
    {{"rolling",
      "as lm-evaluation-harness: every token scored once, after BOS or EOS, in windows of the model's length"},
     Cut::rolling,
     0,
     false},
}};

constexpr auto kSpecs = [] {
  std::array<ProtocolSpec, kRules.size()> specs{};
  for (std::size_t i = 0; i < kRules.size(); ++i) specs[i] = kRules[i].spec;
  return specs;
}();

Window whole_window(std::span<const TokenId> ids, int64_t first_row) {
  Window w;
  w.input.assign(ids.begin(), ids.end() - 1);
  w.first_row = first_row;
  w.targets.assign(ids.begin() + first_row + 1, ids.end());
  return w;
}

/// lm-evaluation-harness's rolling windows with a context of one token: the first predicts the first `length` tokens
/// after the prefix, each later one as many as are left, behind as much context as then fits.
void roll(std::span<const TokenId> ids, TokenId prefix, int64_t length, int64_t max_windows, std::vector<Window>& out) {
  const int64_t count = static_cast<int64_t>(ids.size());
  int64_t predicted = 0;
  while (predicted < count && (max_windows == 0 || static_cast<int64_t>(out.size()) < max_windows)) {
    const int64_t wanted = std::min(count - predicted, length), end = predicted + wanted;
    const int64_t begin =
        std::max<int64_t>(0, end - length);  // first target position that the window's rows could predict
    Window w;
    w.input.push_back(begin == 0 ? prefix : ids[static_cast<std::size_t>(begin - 1)]);
    w.input.insert(w.input.end(), ids.begin() + begin, ids.begin() + end - 1);
    w.first_row = predicted - begin;
    w.targets.assign(ids.begin() + predicted, ids.begin() + end);
    out.push_back(std::move(w));
    predicted = end;
  }
}

}  // namespace

std::span<const ProtocolSpec> protocols() { return kSpecs; }

Result<WindowSet> make_windows(const text::Tokenizer& tokenizer, std::string_view text, const Protocol& protocol,
                               int64_t max_positions) {
  const auto rule =
      std::find_if(kRules.begin(), kRules.end(), [&](const Rule& r) { return r.spec.id == protocol.name; });
  if (rule == kRules.end()) {
    std::string known;
    for (const Rule& r : kRules) known += fmt::format("{}{}", known.empty() ? "" : ", ", r.spec.id);
    return Status(Code::invalid_argument, fmt::format("unknown protocol \"{}\"; known are: {}", protocol.name, known));
  }
  int64_t length = rule->length;
  if (length == 0) length = max_positions > 0 ? max_positions : 2048;
  // A window's last token is only predicted: one position fewer is taken.
  if (max_positions > 0 && rule->length > 0 && length - 1 > max_positions) {
    return Status(Code::invalid_argument, fmt::format("protocol {} needs {} positions, the model has {}", protocol.name,
                                                      length - 1, max_positions));
  }
  // Special tokens spelt out in the text become their ids, as they do in the reference tools.
  NBL_ASSIGN(const std::vector<TokenId> ids,
             tokenizer.encode(text, {.add_special = rule->special, .parse_special = true}));
  const int64_t count = static_cast<int64_t>(ids.size());

  WindowSet set;
  if (rule->cut == Cut::rolling) {
    const std::optional<TokenId> prefix = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
    if (!prefix) {
      return Status(Code::unsupported,
                    "protocol rolling needs a tokenizer with a BOS or EOS token, and this one has neither");
    }
    set.bos = true;
    roll(ids, *prefix, length, protocol.max_windows, set.windows);
  } else {
    if (rule->special) {
      NBL_ASSIGN(const std::vector<TokenId> plain,
                 tokenizer.encode("a", {.add_special = false, .parse_special = true}));
      NBL_ASSIGN(const std::vector<TokenId> dressed,
                 tokenizer.encode("a", {.add_special = true, .parse_special = true}));
      set.bos = dressed.size() > plain.size() && tokenizer.bos() && dressed.front() == *tokenizer.bos();
    }
    std::vector<TokenId> window;
    for (int64_t begin = 0; begin + length <= count; begin += length) {
      if (protocol.max_windows > 0 && static_cast<int64_t>(set.windows.size()) == protocol.max_windows) break;
      window.assign(ids.begin() + begin, ids.begin() + begin + length);
      if (rule->cut == Cut::second_half) {
        if (set.bos) window.front() = *tokenizer.bos();
        set.windows.push_back(whole_window(window, length / 2));
      } else {
        set.windows.push_back(whole_window(window, 0));
      }
    }
  }
  if (set.windows.empty()) {
    return Status(Code::invalid_argument, fmt::format("the text has {} tokens, protocol {} needs at least {}", count,
                                                      protocol.name, rule->length == 0 ? 1 : length));
  }
  for (const Window& w : set.windows) {
    set.longest = std::max(set.longest, static_cast<int64_t>(w.input.size()));
    set.tokens += static_cast<int64_t>(w.targets.size());
  }
  return set;
}

}  // namespace nbl::eval
