// ROUGE as the rouge-score package computes it.
#include <algorithm>
#include <map>

#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

using Words = std::vector<std::string>;

Words rouge_words(std::string_view text, bool stem) {
  Words words;
  std::string word;
  const auto finish = [&] {
    if (word.empty()) return;
    words.push_back(stem && word.size() > 3 ? porter_stem(word) : word);
    word.clear();
  };
  const std::string small = lowered(text);
  for (const char c : small) {
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += c;
    } else {
      finish();
    }
  }
  finish();
  return words;
}

Rouge from_counts(double matched, double predicted, double expected) {
  Rouge r;
  r.precision = predicted > 0 ? matched / predicted : 0;
  r.recall = expected > 0 ? matched / expected : 0;
  r.f = r.precision + r.recall > 0 ? 2 * r.precision * r.recall / (r.precision + r.recall) : 0;
  return r;
}

std::map<Words, int64_t> ngrams(const Words& words, std::size_t n) {
  std::map<Words, int64_t> counts;
  for (std::size_t i = 0; i + n <= words.size(); ++i) {
    ++counts[Words(words.begin() + static_cast<std::ptrdiff_t>(i), words.begin() + static_cast<std::ptrdiff_t>(i + n))];
  }
  return counts;
}

/// Lengths of longest common subsequences of all prefixes: [a.size() + 1][b.size() + 1].
std::vector<std::vector<int>> lcs_table(const Words& a, const Words& b) {
  std::vector<std::vector<int>> t(a.size() + 1, std::vector<int>(b.size() + 1, 0));
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j)
      t[i][j] = a[i - 1] == b[j - 1] ? t[i - 1][j - 1] + 1 : std::max(t[i - 1][j], t[i][j - 1]);
  return t;
}

/// Marks the places of `reference` that belong to one longest common subsequence, chosen as the package walks back.
void mark_lcs(const Words& reference, const Words& candidate, std::vector<bool>& marked) {
  const auto t = lcs_table(reference, candidate);
  std::size_t i = reference.size(), j = candidate.size();
  while (i > 0 && j > 0) {
    if (reference[i - 1] == candidate[j - 1]) {
      marked[i - 1] = true;
      --i;
      --j;
    } else if (t[i][j - 1] > t[i - 1][j]) {
      --j;
    } else {
      --i;
    }
  }
}

std::vector<Words> lines_of(std::string_view text, bool stem) {
  std::vector<Words> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) lines.push_back(rouge_words(text.substr(0, end), stem));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

Rouge rouge_n(std::string_view reference, std::string_view prediction, int n, bool stem) {
  const auto expected = ngrams(rouge_words(reference, stem), static_cast<std::size_t>(n));
  const auto predicted = ngrams(rouge_words(prediction, stem), static_cast<std::size_t>(n));
  int64_t matched = 0, in_reference = 0, in_prediction = 0;
  for (const auto& [gram, count] : expected) {
    in_reference += count;
    const auto it = predicted.find(gram);
    if (it != predicted.end()) matched += std::min(count, it->second);
  }
  for (const auto& [gram, count] : predicted) in_prediction += count;
  return from_counts(static_cast<double>(matched), static_cast<double>(std::max<int64_t>(in_prediction, 1)),
                     static_cast<double>(std::max<int64_t>(in_reference, 1)));
}

Rouge rouge_l(std::string_view reference, std::string_view prediction, bool stem) {
  const Words r = rouge_words(reference, stem), p = rouge_words(prediction, stem);
  if (r.empty() || p.empty()) return {};
  return from_counts(lcs_table(r, p).back().back(), static_cast<double>(p.size()), static_cast<double>(r.size()));
}

Rouge rouge_lsum(std::string_view reference, std::string_view prediction, bool stem) {
  const std::vector<Words> r = lines_of(reference, stem), p = lines_of(prediction, stem);
  std::map<std::string, int64_t> left_r, left_p;
  std::size_t in_reference = 0, in_prediction = 0;
  for (const Words& line : r)
    for (const std::string& word : line) ++left_r[word], ++in_reference;
  for (const Words& line : p)
    for (const std::string& word : line) ++left_p[word], ++in_prediction;
  if (in_reference == 0 || in_prediction == 0) return {};
  int64_t hits = 0;
  for (const Words& line : r) {
    std::vector<bool> marked(line.size(), false);
    for (const Words& candidate : p) mark_lcs(line, candidate, marked);
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (!marked[i] || left_r[line[i]] <= 0 || left_p[line[i]] <= 0) continue;
      ++hits;
      --left_r[line[i]];
      --left_p[line[i]];
    }
  }
  return from_counts(static_cast<double>(hits), static_cast<double>(in_prediction), static_cast<double>(in_reference));
}

}  // namespace nbl::eval
