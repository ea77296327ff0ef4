#include "eval/ifeval.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "eval/characters.h"
#include "eval/python_regex.h"
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

struct Question {
  const Json& arguments;
  std::string_view response;

  int64_t number(std::string_view key) const {
    const Json* value = arguments.find_value(key);
    return value == nullptr ? 0 : value->as_int();
  }
  std::string text(std::string_view key) const {
    const Json* value = arguments.find_value(key);
    return value == nullptr ? std::string() : std::string(value->as_string());
  }
  /// "less than" or "at least" so many.
  bool related(int64_t found, std::string_view relation, std::string_view threshold) const {
    return text(relation) == "less than" ? found < number(threshold) : found >= number(threshold);
  }
};

int64_t count(const char* pattern, std::string_view text) {
  return static_cast<int64_t>(PythonRegex::known(pattern).find_all(text).size());
}

/// A keyword is a regular expression, as the benchmark's own checker takes it; one that does not compile is plain text.
int64_t occurrences(const std::string& keyword, std::string_view text) {
  auto expression = PythonRegex::compile(keyword, true);
  if (expression.ok()) return static_cast<int64_t>(expression->find_all(text).size());
  int64_t found = 0;
  const std::string where = lowered(text), what = lowered(keyword);
  for (std::size_t at = 0; (at = where.find(what, at)) != std::string::npos; at += what.size()) ++found;
  return found;
}

/// re.split()'s pieces.
std::vector<std::string> pieces(const PythonRegex& separator, std::string_view text) {
  std::vector<std::string> result;
  std::size_t at = 0;
  for (const PythonRegex::Match& m : separator.find_all(text)) {
    result.emplace_back(text.substr(at, m.begin - at));
    at = m.end;
  }
  result.emplace_back(text.substr(at));
  return result;
}

bool blank(std::string_view text) { return rstripped(text) == 0; }


/// str.isupper(), str.islower(): cased letters, all of one case.
bool all_of_case(std::string_view text, bool upper) {
  bool any = false;
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    const char32_t c = code_point(text, at, &bytes);
    if (upper ? is_lower(c) : is_upper(c)) return false;
    any = any || (upper ? is_upper(c) : is_lower(c));
  }
  return any;
}

bool keywords_exist(const Question& q) {
  const Json* list = q.arguments.find_value("keywords");
  if (list == nullptr) return false;
  return std::all_of(list->elements().begin(), list->elements().end(),
                     [&](const Json& k) { return occurrences(std::string(k.as_string()), q.response) > 0; });
}

bool keyword_frequency(const Question& q) {
  return q.related(occurrences(stripped(q.text("keyword")), q.response), "relation", "frequency");
}

bool forbidden_words(const Question& q) {
  const Json* list = q.arguments.find_value("forbidden_words");
  if (list == nullptr) return false;
  return std::none_of(list->elements().begin(), list->elements().end(), [&](const Json& word) {
    return occurrences("\\b" + std::string(word.as_string()) + "\\b", q.response) > 0;
  });
}

bool letter_frequency(const Question& q) {
  const std::string letter = lowered(stripped(q.text("letter"))), text = lowered(q.response);
  int64_t found = 0;
  for (const char c : text) found += letter.size() == 1 && c == letter[0];
  return q.related(found, "let_relation", "let_frequency");
}

bool response_language(const Question& q) {
  const std::string found = detect_language(q.response);
  return found.empty() || found == q.text("language");
}

bool number_sentences(const Question& q) { return q.related(count_sentences(q.response), "relation", "num_sentences"); }

bool number_words(const Question& q) { return q.related(count("\\w+", q.response), "relation", "num_words"); }

/// Paragraphs between dividers; an empty one in the middle is a fault.
bool number_paragraphs(const Question& q) {
  const std::vector<std::string> paragraphs = pieces(PythonRegex::known("\\s?\\*\\*\\*\\s?"), q.response);
  auto found = static_cast<int64_t>(paragraphs.size());
  for (std::size_t i = 0; i < paragraphs.size(); ++i) {
    if (!blank(paragraphs[i])) continue;
    if (i != 0 && i + 1 != paragraphs.size()) return false;
    --found;
  }
  return found == q.number("num_paragraphs");
}

bool nth_paragraph_first_word(const Question& q) {
  const std::vector<std::string> paragraphs = pieces(PythonRegex::known("\\n\\n"), q.response);
  auto found = static_cast<int64_t>(paragraphs.size());
  for (const std::string& p : paragraphs) found -= blank(p) ? 1 : 0;
  const int64_t nth = q.number("nth_paragraph");
  if (nth < 1 || nth > found) return false;
  const std::string paragraph = squeezed(paragraphs[static_cast<std::size_t>(nth - 1)]);
  if (paragraph.empty()) return false;
  std::string word = paragraph.substr(0, paragraph.find(' '));
  word.erase(0, std::min(word.find_first_not_of('\''), word.size()));
  word.erase(0, std::min(word.find_first_not_of('"'), word.size()));
  word = word.substr(0, word.find_first_of(".,?!'\""));
  return found == q.number("num_paragraphs") && lowered(word) == lowered(q.text("first_word"));
}

bool number_placeholders(const Question& q) { return count("\\[.*?\\]", q.response) >= q.number("num_placeholders"); }

bool postscript(const Question& q) {
  const std::string marker = stripped(q.text("postscript_marker")), text = lowered(q.response);
  if (marker == "P.P.S") return count("(?m)\\s*p\\.\\s?p\\.\\s?s.*$", text) > 0;
  if (marker == "P.S.") return count("(?m)\\s*p\\.\\s?s\\..*$", text) > 0;
  auto expression = PythonRegex::compile("(?m)\\s*" + lowered(marker) + ".*$");
  return expression.ok() && expression->search(text);
}

bool number_bullets(const Question& q) {
  return count("(?m)^\\s*\\*[^\\*].*$", q.response) + count("(?m)^\\s*-.*$", q.response) == q.number("num_bullets");
}

bool constrained_response(const Question& q) {
  constexpr std::array<std::string_view, 3> kAnswers = {"My answer is yes.", "My answer is no.", "My answer is maybe."};
  return std::any_of(kAnswers.begin(), kAnswers.end(),
                     [&](std::string_view a) { return q.response.find(a) != std::string_view::npos; });
}

bool highlighted_sections(const Question& q) {
  int64_t found = 0;
  for (const auto& m : PythonRegex::known("\\*[^\\n\\*]*\\*").find_all(q.response))
    found += m.end - m.begin > 2 && !blank(q.response.substr(m.begin + 1, m.end - m.begin - 2));
  for (const auto& m : PythonRegex::known("\\*\\*[^\\n\\*]*\\*\\*").find_all(q.response))
    found += m.end - m.begin > 4 && !blank(q.response.substr(m.begin + 2, m.end - m.begin - 4));
  return found >= q.number("num_highlights");
}

bool multiple_sections(const Question& q) {
  auto separator = PythonRegex::compile("\\s?" + stripped(q.text("section_spliter")) + "\\s?\\d+\\s?");
  return separator.ok() && static_cast<int64_t>(separator->find_all(q.response).size()) >= q.number("num_sections");
}

bool json_format(const Question& q) {
  std::string text = stripped(q.response);
  for (const std::string_view fence : {"```json", "```Json", "```JSON", "```"})
    if (text.starts_with(fence)) text.erase(0, fence.size());
  if (text.ends_with("```")) text.resize(text.size() - 3);
  return Json::parse(stripped(text), "the answer").ok();
}

bool title(const Question& q) {
  for (const auto& m : PythonRegex::known("<<[^\\n]+>>").find_all(q.response)) {
    std::string_view inside = q.response.substr(m.begin, m.end - m.begin);
    inside.remove_prefix(std::min(inside.find_first_not_of('<'), inside.size()));
    const std::size_t last = inside.find_last_not_of('>');
    if (last != std::string_view::npos && !blank(inside.substr(0, last + 1))) return true;
  }
  return false;
}

bool two_responses(const Question& q) {
  const std::vector<std::string> answers = pieces(PythonRegex::known("\\*\\*\\*\\*\\*\\*"), q.response);
  std::vector<std::string> valid;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!blank(answers[i])) {
      valid.push_back(stripped(answers[i]));
    } else if (i != 0 && i + 1 != answers.size()) {
      return false;
    }
  }
  return valid.size() == 2 && valid[0] != valid[1];
}

bool repeat_prompt(const Question& q) {
  return lowered(stripped(q.response)).starts_with(lowered(stripped(q.text("prompt_to_repeat"))));
}

bool end_phrase(const Question& q) {
  std::string text = stripped(q.response);
  while (text.starts_with('"')) text.erase(0, 1);
  while (text.ends_with('"')) text.pop_back();
  return lowered(text).ends_with(lowered(stripped(q.text("end_phrase"))));
}

/// The text with a space wherever NLTK's word tokenizer, which the harness counts words with, parts two words of letters: around most
/// punctuation (but not within U.S. or and/or), before clitics, within old contractions.
std::string parted(std::string_view text) {
  static const PythonRegex punctuation = PythonRegex::known("[«“‘„`»”’;@#$%&\\x{2012}-\\x{2015}?!*\\[\\](){}<>\"]|''|--|\\.{2,}|[:,](?!\\d)"),
                           short_clitic = PythonRegex::known("([^'\\s])('[sSmMdD]|')(?=\\s)"),
                           long_clitic = PythonRegex::known("([^'\\s])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T)(?=\\s)");
  static const std::vector<PythonRegex> contractions = [] {
    std::vector<PythonRegex> list;
    for (const char* pattern : {"\\b(can)(not)\\b", "\\b(d)('ye)\\b", "\\b(gim)(me)\\b", "\\b(gon)(na)\\b", "\\b(got)(ta)\\b", "\\b(lem)(me)\\b",
                                "\\b(more)('n)\\b", "\\b(wan)(na)(?=\\s)"})
      list.push_back(PythonRegex::compile(pattern, true).value());
    return list;
  }();
  std::string result = punctuation.replace(" " + std::string(text) + " ", " ");
  result = long_clitic.replace(short_clitic.replace(result, "\\1 \\2"), "\\1 \\2");
  for (const PythonRegex& contraction : contractions) result = contraction.replace(result, "\\1 \\2");
  return result;
}

/// Words of all capital letters.
bool capital_words(const Question& q) {
  static const PythonRegex words = PythonRegex::known("\\S+");
  const std::string text = parted(q.response);
  int64_t found = 0;
  for (const auto& m : words.find_all(text)) found += all_of_case(std::string_view(text).substr(m.begin, m.end - m.begin), true) ? 1 : 0;
  return q.related(found, "capital_relation", "capital_frequency");
}

bool english_in_case(const Question& q, bool upper) {
  const std::string language = detect_language(lowered(q.response));
  return language.empty() || (all_of_case(q.response, upper) && language == "en");
}
bool english_capital(const Question& q) { return english_in_case(q, true); }
bool english_lowercase(const Question& q) { return english_in_case(q, false); }

bool no_comma(const Question& q) { return q.response.find(',') == std::string_view::npos; }

bool quotation(const Question& q) {
  const std::string text = stripped(q.response);
  return text.size() > 1 && text.front() == '"' && text.back() == '"';
}

struct Check {
  std::string_view id;
  bool (*follows)(const Question&);
};
constexpr std::array<Check, 25> kChecks = {{
    {"keywords:existence", keywords_exist},
    {"keywords:frequency", keyword_frequency},
    {"keywords:forbidden_words", forbidden_words},
    {"keywords:letter_frequency", letter_frequency},
    {"language:response_language", response_language},
    {"length_constraints:number_sentences", number_sentences},
    {"length_constraints:number_paragraphs", number_paragraphs},
    {"length_constraints:number_words", number_words},
    {"length_constraints:nth_paragraph_first_word", nth_paragraph_first_word},
    {"detectable_content:number_placeholders", number_placeholders},
    {"detectable_content:postscript", postscript},
    {"detectable_format:number_bullet_lists", number_bullets},
    {"detectable_format:constrained_response", constrained_response},
    {"detectable_format:number_highlighted_sections", highlighted_sections},
    {"detectable_format:multiple_sections", multiple_sections},
    {"detectable_format:json_format", json_format},
    {"detectable_format:title", title},
    {"combination:two_responses", two_responses},
    {"combination:repeat_prompt", repeat_prompt},
    {"startend:end_checker", end_phrase},
    {"startend:quotation", quotation},
    {"change_case:capital_word_frequency", capital_words},
    {"change_case:english_capital", english_capital},
    {"change_case:english_lowercase", english_lowercase},
    {"punctuation:no_comma", no_comma},
}};

}  // namespace

std::span<const std::string_view> instruction_ids() {
  static const std::array<std::string_view, kChecks.size()> ids = [] {
    std::array<std::string_view, kChecks.size()> list;
    for (std::size_t i = 0; i < kChecks.size(); ++i) list[i] = kChecks[i].id;
    return list;
  }();
  return ids;
}

Result<bool> follows_instruction(std::string_view id, const Json& arguments, std::string_view response) {
  const auto check = std::find_if(kChecks.begin(), kChecks.end(), [&](const Check& c) { return c.id == id; });
  if (check == kChecks.end())
    return Status(Code::not_found, fmt::format("\"{}\" is none of IFEval's instructions", id));
  return !blank(response) && check->follows({arguments, response});
}

Result<std::vector<bool>> follows_instructions(std::span<const std::string> ids, std::span<const Json> arguments,
                                               std::string_view response, bool loose) {
  std::vector<std::string> variants = {std::string(response)};
  if (loose) {
    const std::size_t first = response.find('\n'), last = response.rfind('\n');
    const bool lines = first != std::string_view::npos;
    variants.push_back(lines ? stripped(response.substr(first + 1)) : std::string());
    variants.push_back(lines ? stripped(response.substr(0, last)) : std::string());
    variants.push_back(lines && last > first ? stripped(response.substr(first + 1, last - first - 1)) : std::string());
    for (std::size_t i = 0; i < 4; ++i) variants.push_back(replaced(variants[i], "*", ""));
  }
  std::vector<bool> result;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    bool follows = false;
    for (const std::string& variant : variants) {
      NBL_ASSIGN(const bool one, follows_instruction(ids[i], i < arguments.size() ? arguments[i] : Json(), variant));
      follows = follows || one;
    }
    result.push_back(follows);
  }
  return result;
}

}  // namespace nbl::eval
