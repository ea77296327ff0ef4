// BIG-Bench Hard (Suzgun et al., 2022), zero-shot: the answer as it stands, and as a filter finds it.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "eval/python_regex.h"
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

/// How the flexible filter finds the answer: the first match of a pattern; "(A)" or the words of a choice; a number in digits or
/// words; yes or no in several ways of saying it; the words of the list in the order said.
enum class Kind : uint8_t { pattern, choice, number, yes_or_no, words };

struct Subset {
  const char* id;
  Kind kind;
  const char* pattern;
  const char* description;
};
constexpr std::array<Subset, 27> kSubsets = {{
    {"boolean_expressions", Kind::pattern, "\\b(True|False)\\b",
     "Evaluate the result of a random Boolean expression.\n\n"},
    {"causal_judgement", Kind::pattern, "\\b(Yes|No|yes|no)\\b",
     "Answer questions about causal attribution.\n\n"},
    {"date_understanding", Kind::choice, "",
     "Infer the date from context.\n\n"},
    {"disambiguation_qa", Kind::choice, "",
     "Clarify the meaning of sentences with ambiguous pronouns.\n\n"},
    {"dyck_languages", Kind::pattern, "(?<= )([\" \\[\\(<{}>\\)\\]]+)|([\" \\[\\(<{}>\\)\\]]+)",
     "Correctly close a Dyck-n word.\n\n"},
    {"formal_fallacies", Kind::pattern, "\\b(valid|invalid)\\b",
     "Distinguish deductively valid arguments from formal fallacies.\n\n"},
    {"geometric_shapes", Kind::choice, "",
     "Name geometric shapes from their SVG paths.\n\n"},
    {"hyperbaton", Kind::choice, "",
     "Order adjectives correctly in English sentences.\n\n"},
    {"logical_deduction_five_objects", Kind::choice, "",
     "A logical deduction task which requires deducing the order of a sequence of objects.\n\n"},
    {"logical_deduction_seven_objects", Kind::choice, "",
     "A logical deduction task which requires deducing the order of a sequence of objects.\n\n"},
    {"logical_deduction_three_objects", Kind::choice, "",
     "A logical deduction task which requires deducing the order of a sequence of objects.\n\n"},
    {"movie_recommendation", Kind::choice, "",
     "Recommend movies similar to the given list of movies.\n\n"},
    {"multistep_arithmetic_two", Kind::number, "",
     "Solve multi-step arithmetic problems.\n\n"},
    {"navigate", Kind::pattern, "\\b(Yes|No|yes|no)\\b",
     "Given a series of navigation instructions, determine whether one would end up back at the "
     "starting point.\n\n"},
    {"object_counting", Kind::number, "",
     "Questions that involve enumerating objects and asking the model to count them.\n\n"},
    {"penguins_in_a_table", Kind::choice, "",
     "Answer questions about a table of penguins and their attributes.\n\n"},
    {"reasoning_about_colored_objects", Kind::choice, "",
     "Answer extremely simple questions about the colors of objects on a surface.\n\n"},
    {"ruin_names", Kind::choice, "",
     "Select the humorous edit that 'ruins' the input movie or musical artist name.\n\n"},
    {"salient_translation_error_detection", Kind::choice, "",
     "Detect the type of error in an English translation of a German source sentence.\n\n"},
    {"snarks", Kind::choice, "",
     "Determine which of two sentences is sarcastic.\n\nAccording to Cambridge University Dictionary, "
     "sarcasm is \"the use of remarks that clearly mean the opposite of what they say, made in order "
     "to hurt someone's feelings or to criticize something in a humorous way.\" Sarcastic sentences "
     "often contain satirical or ironic utterances, hyperboles, ambivalent or witty remarks.\n\n"},
    {"sports_understanding", Kind::yes_or_no, "\\b(no|not plausible)\\b|\\b(yes|plausible)\\b",
     "Determine whether an artificially constructed sentence relating to sports is plausible or "
     "not.\n\n"},
    {"temporal_sequences", Kind::choice, "",
     "Task description: Answer questions about which times certain events could have occurred.\n\n"},
    {"tracking_shuffled_objects_five_objects", Kind::choice, "",
     "A task requiring determining the final positions of a set of objects given their initial "
     "positions and a description of a sequence of swaps.\n\n"},
    {"tracking_shuffled_objects_seven_objects", Kind::choice, "",
     "A task requiring determining the final positions of a set of objects given their initial "
     "positions and a description of a sequence of swaps.\n\n"},
    {"tracking_shuffled_objects_three_objects", Kind::choice, "",
     "A task requiring determining the final positions of a set of objects given their initial "
     "positions and a description of a sequence of swaps.\n\n"},
    {"web_of_lies", Kind::yes_or_no, "\\b(no|does not tell the truth|is not telling the truth)\\b|\\b(yes|tells the truth|is telling the truth)\\b",
     "Evaluate a random boolean function expressed as a word problem.\n\n"},
    {"word_sorting", Kind::words, "",
     "Sort a list of words.\n\n"},
}};

constexpr const char* kInvalid = "[invalid]";

bool is_punctuation(char c) { return std::string_view("!\"#%&'()*,-./:;?@[\\]_{}").find(c) != std::string_view::npos; }

/// Small letters without punctuation.
std::string plain(std::string_view text) {
  std::string result = lowered(text);
  std::erase_if(result, is_punctuation);
  return result;
}

std::string find_choice(Fields& f, const std::string& said) {
  static const PythonRegex letter = PythonRegex::known("(\\([A-Z]\\))");
  static const PythonRegex listed = PythonRegex::known("\\([A-Z]\\)([^\\n^(]*)");
  PythonRegex::Match found;
  if (letter.search(said, &found)) return found.groups[0];
  // The choice whose words come first; of those that begin at one place, the longest.
  const std::string text = plain(said);
  std::size_t best = std::string::npos, length = 0;
  std::string answer;
  char name = 'A';
  for (const PythonRegex::Match& m : listed.find_all(f.text("input"))) {
    const std::string choice = plain(stripped(m.groups[0]));
    const std::size_t at = choice.empty() ? std::string::npos : text.find(choice);
    if (at != std::string::npos && (at < best || (at == best && choice.size() > length))) {
      best = at;
      length = choice.size();
      answer = std::string("(") + name + ")";
    }
    ++name;
  }
  if (!answer.empty()) return answer;
  static const PythonRegex bare = PythonRegex::known(":[\\s]*([A-Z])");
  for (const PythonRegex::Match& m : bare.find_all(said))
    if (m.groups[0][0] < name) return "(" + m.groups[0] + ")";
  return kInvalid;
}

/// The first number of the text: digits, else words up to the thousands.
std::string find_number(Fields&, const std::string& said) {
  static const PythonRegex digits = PythonRegex::known("([-0-9]+)");
  PythonRegex::Match found;
  if (digits.search(said, &found)) return found.groups[0];
  static const std::map<std::string, int64_t> small = [] {
    std::map<std::string, int64_t> m;
    const char* names[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
                           "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
    for (int64_t i = 0; i < 20; ++i) m[names[i]] = i;
    const char* tens[] = {"twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"};
    for (int64_t i = 0; i < 8; ++i) m[tens[i]] = 20 + 10 * i;
    return m;
  }();
  static const PythonRegex word = PythonRegex::known("[a-z]+");
  bool any = false;
  int64_t total = 0, part = 0;
  for (const PythonRegex::Match& m : word.find_all(lowered(said))) {
    const std::string w = lowered(said).substr(m.begin, m.end - m.begin);
    const auto it = small.find(w);
    if (it != small.end()) {
      part += it->second;
    } else if (any && w == "hundred") {
      part *= 100;
    } else if (any && w == "thousand") {
      total += part * 1000;
      part = 0;
    } else {
      if (any && w != "and") break;
      continue;
    }
    any = true;
  }
  return any ? std::to_string(total + part) : kInvalid;
}

/// The words of the question's list, each once, by the last place where the answer says it.
std::string find_words(Fields& f, const std::string& said) {
  const std::string input = f.text("input");
  const std::size_t start = input.find("List:");
  std::set<std::string> wanted;
  const std::string listed = squeezed(start == std::string::npos ? input : input.substr(start + 5));
  for (std::size_t at = 0; at <= listed.size();) {
    const std::size_t end = std::min(listed.find(' ', at), listed.size());
    wanted.insert(listed.substr(at, end - at));
    at = end + 1;
  }
  static const PythonRegex word = PythonRegex::known("[\\w'\\-]+");
  std::vector<std::string> ordered;
  std::vector<PythonRegex::Match> matches = word.find_all(said);
  for (auto m = matches.rbegin(); m != matches.rend(); ++m) {
    const std::string w = said.substr(m->begin, m->end - m->begin);
    if (wanted.contains(w) && std::find(ordered.begin(), ordered.end(), w) == ordered.end()) ordered.push_back(w);
  }
  std::string result;
  for (auto w = ordered.rbegin(); w != ordered.rend(); ++w) result += (result.empty() ? "" : " ") + *w;
  return result;
}

Filter flexible(const Subset& subset) {
  Filter filter;
  filter.name = "flexible-extract";
  switch (subset.kind) {
    case Kind::pattern:
      filter.apply = regex_filter(subset.pattern, 0);
      break;
    case Kind::choice:
      filter.with_document = find_choice;
      break;
    case Kind::number:
      filter.with_document = find_number;
      break;
    case Kind::words:
      filter.with_document = find_words;
      break;
    case Kind::yes_or_no:
      filter.with_document = [expression = std::make_shared<const PythonRegex>(PythonRegex::known(subset.pattern))](
                                 Fields&, const std::string& said) -> std::string {
        PythonRegex::Match m;
        if (!expression->search(lowered(said), &m)) return kInvalid;
        return m.groups[0].empty() ? "yes" : "no";
      };
      break;
  }
  return filter;
}

}  // namespace

void bbh_tasks(TaskList& list) {
  TaskGroup group;
  group.id = "bbh_zeroshot";
  group.version = "3.0";
  group.metrics = {"exact_match,flexible-extract"};
  for (const Subset& subset : kSubsets) {
    Task t;
    t.id = std::string("bbh_zeroshot_") + subset.id;
    t.version = "3.0";
    t.summary = "BIG-Bench Hard: " + replaced(subset.id, "_", " ");
    t.output = Output::generate;
    t.data = {{std::string("bbh/") + subset.id + ".jsonl"}};
    t.description = subset.description;
    t.text = [](Fields& f) { return "Q: " + f.text("input") + "\nA:"; };
    t.target = [](Fields& f) { return f.text("target"); };
    t.zero_shot = true;
    t.generation.until = {"</s>", "Q:", "<|im_end|>"};
    t.filters = {{"strict-match", {}, {}}, flexible(subset)};
    t.judge = [](Fields& f, const Answer& answer, MetricSink& out) {
      static const std::vector<PythonRegex> ignored = compile_all({"\\.$", ",", "\n", "\\\\", "\""});
      out.add("exact_match", exact_match(answer.text, f.text("target"), ignored, true, false) ? 1.0 : 0.0);
    };
    t.metrics = {mean_of("exact_match")};
    group.members.push_back(t.id);
    list.tasks.push_back(std::move(t));
  }
  list.groups.push_back(std::move(group));
}

}  // namespace nbl::eval
