// Scores of generated text against references, number for number those of the packages that papers cite: sacreBLEU,
// rouge-score, CodeXGLUE's smoothed BLEU, lm-evaluation-harness's exact match.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/python_regex.h"
#include "eval/task.h"

namespace nbl::eval {

/// How a line becomes words before n-grams are counted.
std::vector<std::string> tokenize_13a(std::string_view line);   ///< sacreBLEU's default
std::vector<std::string> tokenize_intl(std::string_view line);  ///< punctuation and symbols of all scripts apart
std::vector<std::string> tokenize_zh(std::string_view line);    ///< each Chinese character a word, the rest as 13a
std::vector<std::string> tokenize_char(std::string_view line);  ///< each character but white space
std::vector<std::string> tokenize_none(std::string_view line);  ///< what white space separates

using WordTokenizer = std::vector<std::string> (*)(std::string_view line);

/// One prediction and its references.
struct Translation {
  std::string prediction;
  std::vector<std::string> references;
};
/// Corpus BLEU-4 in percent, exponential smoothing, brevity against the closest reference.
double corpus_bleu(std::span<const Translation> corpus, WordTokenizer tokenizer);
/// Corpus chrF in percent: character n-grams to 6 and words to `word_order` (0: chrF2, 2: chrF2++), beta 2.
double corpus_chrf(std::span<const Translation> corpus, int word_order);
/// corpus_bleu of one pair with international tokens.
double sentence_bleu_intl(std::string_view reference, std::string_view prediction);

struct Rouge {
  double precision = 0, recall = 0, f = 0;
};
/// rouge-score's; `stem`: Porter's stemmer on words of more than three letters.
Rouge rouge_n(std::string_view reference, std::string_view prediction, int n, bool stem);
Rouge rouge_l(std::string_view reference, std::string_view prediction, bool stem);
/// Over lines: the union of each reference line's common subsequences.
Rouge rouge_lsum(std::string_view reference, std::string_view prediction, bool stem);
std::string porter_stem(std::string_view word);

/// CodeXGLUE's smoothed BLEU-4 of one pair, percent.
double smoothed_bleu_4(std::string_view reference, std::string_view prediction);

/// Equal after deleting what the expressions match, and case or punctuation on demand.
bool exact_match(std::string_view prediction, std::string_view reference, std::span<const PythonRegex> ignored,
                 bool ignore_case, bool ignore_punctuation);

/// The harness's "regex" filter followed by "take_first": the match number `select` (negative: from the end), its first
/// group that is not empty, or "[invalid]".
std::function<std::string(const std::string&)> regex_filter(std::string_view pattern, int select,
                                                            std::string fallback = "[invalid]");

/// str.lower().
std::string lowered(std::string_view text);

}  // namespace nbl::eval
