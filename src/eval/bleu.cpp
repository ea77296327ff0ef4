// BLEU and chrF as sacreBLEU computes them, and CodeXGLUE's smoothed sentence BLEU.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>

#include "eval/characters.h"
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

constexpr std::size_t kOrder = 4;

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> words;
  std::size_t bytes = 1, start = std::string_view::npos;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    const bool space = is_space(code_point(text, at, &bytes));
    if (!space && start == std::string_view::npos) start = at;
    if (space && start != std::string_view::npos) {
      words.emplace_back(text.substr(start, at - start));
      start = std::string_view::npos;
    }
  }
  if (start != std::string_view::npos) words.emplace_back(text.substr(start));
  return words;
}

using Counts = std::unordered_map<std::string, int64_t>;

/// N-grams of `order` units, joined by a byte that is in no text.
Counts count_ngrams(std::span<const std::string> units, std::size_t order) {
  Counts counts;
  for (std::size_t i = 0; i + order <= units.size(); ++i) {
    std::string key;
    for (std::size_t j = 0; j < order; ++j) key += units[i + j] + '\xff';
    ++counts[key];
  }
  return counts;
}

struct BleuSums {
  std::array<int64_t, kOrder> correct{}, total{};
  int64_t length = 0, reference_length = 0;
};

/// References count together: each n-gram as often as the reference that has most of it.
void add_bleu(BleuSums& sums, const std::vector<std::string>& words, const std::vector<std::vector<std::string>>& references) {
  sums.length += static_cast<int64_t>(words.size());
  int64_t closest = 0, difference = std::numeric_limits<int64_t>::max();
  for (const auto& reference : references) {
    const int64_t length = static_cast<int64_t>(reference.size());
    const int64_t d = std::abs(length - static_cast<int64_t>(words.size()));
    if (d < difference || (d == difference && length < closest)) {
      difference = d;
      closest = length;
    }
  }
  sums.reference_length += closest;
  for (std::size_t n = 1; n <= kOrder; ++n) {
    Counts most;
    for (const auto& reference : references)
      for (const auto& [gram, count] : count_ngrams(reference, n)) most[gram] = std::max(most[gram], count);
    for (const auto& [gram, count] : count_ngrams(words, n)) {
      sums.total[n - 1] += count;
      const auto it = most.find(gram);
      if (it != most.end()) sums.correct[n - 1] += std::min(count, it->second);
    }
  }
}

double bleu_score(const BleuSums& sums) {
  if (std::all_of(sums.correct.begin(), sums.correct.end(), [](int64_t c) { return c == 0; })) return 0.0;
  double brevity = 1.0;
  if (sums.length < sums.reference_length) {
    brevity = sums.length > 0 ? std::exp(1.0 - static_cast<double>(sums.reference_length) / static_cast<double>(sums.length)) : 0.0;
  }
  std::array<double, kOrder> precision{};
  double smooth = 1.0;
  for (std::size_t n = 0; n < kOrder; ++n) {
    if (sums.total[n] == 0) break;
    if (sums.correct[n] == 0) {
      smooth *= 2;
      precision[n] = 100.0 / (smooth * static_cast<double>(sums.total[n]));
    } else {
      precision[n] = 100.0 * static_cast<double>(sums.correct[n]) / static_cast<double>(sums.total[n]);
    }
  }
  double logs = 0;
  for (double p : precision) logs += p == 0 ? -9999999999.0 : std::log(p);
  return brevity * std::exp(logs / static_cast<double>(kOrder));
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> result;
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    if (!is_space(code_point(text, at, &bytes))) result.emplace_back(text.substr(at, bytes));
  }
  return result;
}

bool ascii_punctuation(std::string_view c) {
  return c.size() == 1 && std::string_view("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~").find(c) != std::string_view::npos;
}

/// Words with one mark of punctuation split off their end, or else off their beginning.
std::vector<std::string> chrf_words(std::string_view text) {
  std::vector<std::string> result;
  for (const std::string& word : split(text)) {
    const int64_t length = length_in_code_points(word);
    const std::string last = word.substr(word.size() - 1), first = word.substr(0, 1);
    if (length > 1 && ascii_punctuation(last)) {
      result.push_back(word.substr(0, word.size() - 1));
      result.push_back(last);
    } else if (length > 1 && ascii_punctuation(first)) {
      result.push_back(first);
      result.push_back(word.substr(1));
    } else {
      result.push_back(word);
    }
  }
  return result;
}

struct ChrfOrder {
  int64_t predicted = 0, expected = 0, matched = 0;
};

double chrf_score(std::span<const ChrfOrder> orders) {
  constexpr double kFactor = 4.0;  // beta squared
  double precision = 0, recall = 0;
  int64_t used = 0;
  for (const ChrfOrder& o : orders) {
    if (o.predicted == 0 || o.expected == 0) continue;
    precision += static_cast<double>(o.matched) / static_cast<double>(o.predicted);
    recall += static_cast<double>(o.matched) / static_cast<double>(o.expected);
    ++used;
  }
  if (used == 0) return 0.0;
  precision /= static_cast<double>(used);
  recall /= static_cast<double>(used);
  return precision + recall == 0 ? 0.0 : 100.0 * (1 + kFactor) * precision * recall / (kFactor * precision + recall);
}

std::vector<ChrfOrder> chrf_orders(std::string_view prediction, std::string_view reference, int word_order) {
  std::vector<ChrfOrder> orders;
  const auto add = [&](const std::vector<std::string>& p, const std::vector<std::string>& r, int highest) {
    for (int n = 1; n <= highest; ++n) {
      const Counts predicted = count_ngrams(p, static_cast<std::size_t>(n)), expected = count_ngrams(r, static_cast<std::size_t>(n));
      ChrfOrder o;
      for (const auto& [gram, count] : expected) o.expected += count;
      for (const auto& [gram, count] : predicted) {
        if (!expected.empty()) o.predicted += count;
        const auto it = expected.find(gram);
        if (it != expected.end()) o.matched += std::min(count, it->second);
      }
      orders.push_back(o);
    }
  };
  add(characters(prediction), characters(reference), 6);
  add(chrf_words(prediction), chrf_words(reference), word_order);
  return orders;
}

std::vector<Translation> corpus_of(std::span<const MetricValue> values) {
  std::vector<Translation> corpus;
  for (const MetricValue& v : values) corpus.push_back({v.prediction, v.references});
  return corpus;
}

double bleu_of_values(std::span<const MetricValue> values) { return corpus_bleu(corpus_of(values), tokenize_13a); }
double piece_bleu_of_values(std::span<const MetricValue> values) { return corpus_bleu(corpus_of(values), tokenize_none); }
double chrf_of_values(std::span<const MetricValue> values) { return corpus_chrf(corpus_of(values), 0); }
double chrfpp_of_values(std::span<const MetricValue> values) { return corpus_chrf(corpus_of(values), 2); }

/// The 13a rules for marks of punctuation, on text with a space at each end.
std::string separate_marks(std::string text) {
  static const std::vector<PythonRegex> rules =
      compile_all({R"(([\{-\~\[-\` -\&\(-\+\:-\@\/]))", R"(([^0-9])([\.,]))", R"(([\.,])([^0-9]))", R"(([0-9])(-))"});
  static constexpr std::array<std::string_view, 4> kBy = {" \\1 ", "\\1 \\2 ", " \\1 \\2", "\\1 \\2 "};
  for (std::size_t i = 0; i < rules.size(); ++i) text = rules[i].replace(text, kBy[i]);
  return text;
}

bool is_chinese(char32_t c) {
  static constexpr std::array<std::pair<char32_t, char32_t>, 22> kRanges{{
      {0x3400, 0x4db5}, {0x4e00, 0x9fa5}, {0x9fa6, 0x9fbb}, {0xf900, 0xfa2d}, {0xfa30, 0xfa6a}, {0xfa70, 0xfad9},
      {0xff00, 0xffef}, {0x2e80, 0x2eff}, {0x3000, 0x303f}, {0x31c0, 0x31ef}, {0x2f00, 0x2fdf}, {0x2ff0, 0x2fff},
      {0x3100, 0x312f}, {0x31a0, 0x31bf}, {0xfe10, 0xfe1f}, {0xfe30, 0xfe4f}, {0x2600, 0x26ff}, {0x2700, 0x27bf},
      {0x3200, 0x32ff}, {0x3300, 0x33ff},
      // The package writes its two ranges of the supplementary planes with four digits and a character behind them, and
      // compares strings: they take in U+2001 to U+2A6D and U+2F81 to U+2FA1.
      {0x2001, 0x2a6d}, {0x2f81, 0x2fa1},
  }};
  return std::any_of(kRanges.begin(), kRanges.end(), [&](const auto& r) { return c >= r.first && c <= r.second; });
}

}  // namespace

const Aggregation kBleu = {"bleu", bleu_of_values, StderrKind::bootstrap, nullptr};
const Aggregation kPieceBleu = {"piece_bleu", piece_bleu_of_values, StderrKind::bootstrap, nullptr};
const Aggregation kChrf = {"chrf", chrf_of_values, StderrKind::bootstrap, nullptr};
const Aggregation kChrfPlusPlus = {"chrf++", chrfpp_of_values, StderrKind::bootstrap, nullptr};

std::vector<std::string> tokenize_13a(std::string_view line) {
  std::string text = replaced(replaced(replaced(line, "<skipped>", ""), "-\n", ""), "\n", " ");
  if (text.find('&') != std::string::npos) {
    for (const auto& [from, to] : {std::pair<const char*, const char*>{"&quot;", "\""}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}}) {
      text = replaced(text, from, to);
    }
  }
  return split(separate_marks(" " + text + " "));
}

std::vector<std::string> tokenize_intl(std::string_view line) {
  static const std::vector<PythonRegex> rules = compile_all({R"((\P{N})(\p{P}))", R"((\p{P})(\P{N}))", R"((\p{S}))"});
  std::string text(line);
  text = rules[0].replace(text, "\\1 \\2 ");
  text = rules[1].replace(text, " \\1 \\2");
  return split(rules[2].replace(text, " \\1 "));
}

std::vector<std::string> tokenize_zh(std::string_view line) {
  std::string apart;
  const std::string text = stripped(line);
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    const bool chinese = is_chinese(code_point(text, at, &bytes));
    apart += chinese ? " " : "";
    apart += std::string_view(text).substr(at, bytes);
    apart += chinese ? " " : "";
  }
  return split(separate_marks(std::move(apart)));
}

std::vector<std::string> tokenize_char(std::string_view line) { return characters(line); }

std::vector<std::string> tokenize_none(std::string_view line) { return split(line); }

double corpus_bleu(std::span<const Translation> corpus, WordTokenizer tokenizer) {
  BleuSums sums;
  for (const Translation& t : corpus) {
    std::vector<std::vector<std::string>> references;
    for (const std::string& reference : t.references) references.push_back(tokenizer(std::string_view(reference).substr(0, rstripped(reference))));
    add_bleu(sums, tokenizer(std::string_view(t.prediction).substr(0, rstripped(t.prediction))), references);
  }
  return bleu_score(sums);
}

double sentence_bleu_intl(std::string_view reference, std::string_view prediction) {
  const Translation pair{std::string(prediction), {std::string(reference)}};
  return corpus_bleu({&pair, 1}, tokenize_intl);
}

double corpus_chrf(std::span<const Translation> corpus, int word_order) {
  std::vector<ChrfOrder> sums(static_cast<std::size_t>(6 + word_order));
  for (const Translation& t : corpus) {
    std::vector<ChrfOrder> best;
    double best_score = -1;
    for (const std::string& reference : t.references) {
      std::vector<ChrfOrder> orders = chrf_orders(t.prediction, reference, word_order);
      const double score = chrf_score(orders);
      if (score > best_score) {
        best_score = score;
        best = std::move(orders);
      }
    }
    for (std::size_t i = 0; i < best.size(); ++i) {
      sums[i].predicted += best[i].predicted;
      sums[i].expected += best[i].expected;
      sums[i].matched += best[i].matched;
    }
  }
  return chrf_score(sums);
}

double smoothed_bleu_4(std::string_view reference, std::string_view prediction) {
  static const PythonRegex words = PythonRegex::known(R"([\w]+|[^\s\w])");
  const auto prepared = [](std::string_view raw) {
    const std::string line = lowered(stripped(raw));
    std::string apart;
    for (const PythonRegex::Match& m : words.find_all(line)) {
      if (!apart.empty()) apart += ' ';
      apart += line.substr(m.begin, m.end - m.begin);
    }
    std::string text = replaced(replaced(replaced(apart, "<skipped>", ""), "-\n", ""), "\n", " ");
    for (const auto& [from, to] : {std::pair<const char*, const char*>{"&gt;", ">"}, {"&lt;", "<"}, {"&quot;", "\""}, {"&amp;", "&"}}) {
      text = replaced(text, from, to);
    }
    return split(separate_marks(lowered(" " + text + " ")));
  };
  const std::vector<std::string> r = prepared(reference), p = prepared(prediction);
  double logs = 0;
  constexpr double kTiny = std::numeric_limits<double>::min();
  for (std::size_t n = 1; n <= kOrder; ++n) {
    const Counts expected = count_ngrams(r, n);
    int64_t correct = 0;
    for (const auto& [gram, count] : count_ngrams(p, n)) {
      const auto it = expected.find(gram);
      if (it != expected.end()) correct += std::min(count, it->second);
    }
    const double guessed = p.size() >= n ? static_cast<double>(p.size() - n + 1) : 0.0, smooth = n > 1 ? 1.0 : 0.0;
    logs += std::log(static_cast<double>(correct) + smooth + kTiny) - std::log(guessed + smooth + kTiny);
  }
  const double brevity = std::min(0.0, 1.0 - static_cast<double>(r.size() + 1) / static_cast<double>(p.size() + 1));
  return 100.0 * std::exp(logs / static_cast<double>(kOrder) + brevity);
}

}  // namespace nbl::eval
