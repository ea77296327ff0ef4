// Porter's stemmer (1980) with NLTK's changes, because rouge-score stems with NLTK.
#include <algorithm>
#include <array>
#include <functional>

#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

using Word = std::string;

std::vector<bool> consonants(std::string_view word) {
  std::vector<bool> flags;
  for (std::size_t i = 0; i < word.size(); ++i) {
    const char c = word[i];
    const bool vowel = c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
    flags.push_back(!vowel && (c != 'y' || i == 0 || !flags[i - 1]));
  }
  return flags;
}

/// m of the form [C](VC)^m[V].
int measure(std::string_view stem) {
  const std::vector<bool> flags = consonants(stem);
  int m = 0;
  for (std::size_t i = 1; i < flags.size(); ++i) m += !flags[i - 1] && flags[i];
  return m;
}

bool positive(std::string_view stem) { return measure(stem) > 0; }
bool above_one(std::string_view stem) { return measure(stem) > 1; }
bool always(std::string_view) { return true; }

bool has_vowel(std::string_view stem) {
  const std::vector<bool> flags = consonants(stem);
  return std::find(flags.begin(), flags.end(), false) != flags.end();
}

bool ends_double_consonant(std::string_view w) {
  return w.size() >= 2 && w[w.size() - 1] == w[w.size() - 2] && consonants(w).back();
}

bool ends_cvc(std::string_view w) {
  const std::vector<bool> c = consonants(w);
  const std::size_t n = w.size();
  if (n == 2) return !c[0] && c[1];
  return n >= 3 && c[n - 3] && !c[n - 2] && c[n - 1] && w.back() != 'w' && w.back() != 'x' && w.back() != 'y';
}

struct Rule {
  std::string_view suffix, by;
  bool (*condition)(std::string_view stem);
};

/// The first rule whose suffix fits decides, whether its condition holds or not.
Word apply_rules(const Word& word, std::span<const Rule> rules) {
  for (const Rule& rule : rules) {
    if (!word.ends_with(rule.suffix)) continue;
    const Word stem = word.substr(0, word.size() - rule.suffix.size());
    return rule.condition(stem) ? stem + Word(rule.by) : word;
  }
  return word;
}

Word step1(Word w) {
  if (w.ends_with("ies") && w.size() == 4) {
    w.resize(3);
  } else {
    static constexpr std::array<Rule, 4> kPlurals{{{"sses", "ss", always}, {"ies", "i", always}, {"ss", "ss", always}, {"s", "", always}}};
    w = apply_rules(w, kPlurals);
  }
  if (w.ends_with("ied")) {
    w.resize(w.size() - (w.size() == 4 ? 1 : 2));
  } else if (w.ends_with("eed")) {
    if (positive(std::string_view(w).substr(0, w.size() - 3))) w.pop_back();
  } else {
    Word stem;
    for (const std::string_view suffix : {"ed", "ing"}) {
      if (!w.ends_with(suffix)) continue;
      const Word left = w.substr(0, w.size() - suffix.size());
      if (!has_vowel(left)) continue;
      stem = left;
      break;
    }
    if (!stem.empty()) {
      if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) {
        w = stem + "e";
      } else if (ends_double_consonant(stem)) {
        const char last = stem.back();
        w = last == 'l' || last == 's' || last == 'z' ? stem : stem.substr(0, stem.size() - 1);
      } else {
        w = measure(stem) == 1 && ends_cvc(stem) ? stem + "e" : stem;
      }
    }
  }
  if (w.ends_with('y') && w.size() > 2 && consonants(std::string_view(w).substr(0, w.size() - 1)).back()) w.back() = 'i';
  return w;
}

Word step2(Word w) {
  if (w.ends_with("alli") && positive(std::string_view(w).substr(0, w.size() - 4))) {
    w.resize(w.size() - 2);
    return step2(std::move(w));
  }
  static constexpr std::array<Rule, 21> kRules{{
      {"ational", "ate", positive}, {"tional", "tion", positive}, {"enci", "ence", positive},  {"anci", "ance", positive},
      {"izer", "ize", positive},    {"bli", "ble", positive},     {"alli", "al", positive},    {"entli", "ent", positive},
      {"eli", "e", positive},       {"ousli", "ous", positive},   {"ization", "ize", positive}, {"ation", "ate", positive},
      {"ator", "ate", positive},    {"alism", "al", positive},    {"iveness", "ive", positive}, {"fulness", "ful", positive},
      {"ousness", "ous", positive}, {"aliti", "al", positive},    {"iviti", "ive", positive},  {"biliti", "ble", positive},
      {"fulli", "ful", positive},
  }};
  // "logi" becomes "log" when what precedes the i, the l and the o counted in, has a measure.
  const bool other = std::any_of(kRules.begin(), kRules.end(), [&](const Rule& r) { return w.ends_with(r.suffix); });
  if (!other && w.ends_with("logi")) return positive(std::string_view(w).substr(0, w.size() - 3)) ? w.substr(0, w.size() - 1) : w;
  return apply_rules(w, kRules);
}

Word step3(const Word& w) {
  static constexpr std::array<Rule, 7> kRules{{{"icate", "ic", positive}, {"ative", "", positive}, {"alize", "al", positive},
                                               {"iciti", "ic", positive}, {"ical", "ic", positive}, {"ful", "", positive},
                                               {"ness", "", positive}}};
  return apply_rules(w, kRules);
}

bool adoption(std::string_view stem) { return above_one(stem) && (stem.back() == 's' || stem.back() == 't'); }

Word step4(const Word& w) {
  static constexpr std::array<Rule, 19> kRules{{
      {"al", "", above_one},   {"ance", "", above_one}, {"ence", "", above_one},  {"er", "", above_one},  {"ic", "", above_one},
      {"able", "", above_one}, {"ible", "", above_one}, {"ant", "", above_one},   {"ement", "", above_one}, {"ment", "", above_one},
      {"ent", "", above_one},  {"ion", "", adoption},   {"ou", "", above_one},    {"ism", "", above_one}, {"ate", "", above_one},
      {"iti", "", above_one},  {"ous", "", above_one},  {"ive", "", above_one},   {"ize", "", above_one},
  }};
  return apply_rules(w, kRules);
}

Word step5(Word w) {
  if (w.ends_with('e')) {
    const Word stem = w.substr(0, w.size() - 1);
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_cvc(stem))) w = stem;
  }
  if (w.ends_with("ll") && above_one(std::string_view(w).substr(0, w.size() - 1))) w.pop_back();
  return w;
}

}  // namespace

std::string porter_stem(std::string_view word) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kIrregular{{
      {"sky", "sky"},         {"skies", "sky"},       {"dying", "die"},     {"lying", "lie"},
      {"tying", "tie"},       {"news", "news"},       {"innings", "inning"}, {"inning", "inning"},
      {"outings", "outing"},  {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
      {"howe", "howe"},       {"proceed", "proceed"}, {"exceed", "exceed"}, {"succeed", "succeed"},
  }};
  for (const auto& [form, stem] : kIrregular)
    if (word == form) return std::string(stem);
  if (word.size() <= 2) return std::string(word);
  return step5(step4(step3(step2(step1(std::string(word))))));
}

}  // namespace nbl::eval
