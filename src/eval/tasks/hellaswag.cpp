// HellaSwag (Zellers et al., 2019): which ending follows.
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

/// Takes out what WikiHow left in the texts: " [title]" ends a sentence, other bracketed words go.
std::string clean(std::string_view raw) {
  const std::string text = replaced(stripped(raw), " [title]", ". ");
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '[') {
      const std::size_t close = text.find(']', at);
      // A bracket pair on one line.
      if (close != std::string::npos && text.find('\n', at) > close) {
        at = close + 1;
        continue;
      }
    }
    kept += text[at++];
  }
  return replaced(kept, "  ", " ");
}

/// str.capitalize() of ASCII: the first letter large, the others small.
std::string capitalized(std::string text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == 0 && c >= 'a' && c <= 'z') text[i] = static_cast<char>(c - 'a' + 'A');
    if (i > 0 && c >= 'A' && c <= 'Z') text[i] = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

/// klosax's text form: "activity: context", gold index, four endings, one a line.
Result<std::vector<Json>> read_six_lines(std::string_view bytes, std::string_view origin) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    std::string_view line = bytes.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  if (lines.size() % 6 != 0) {
    return Status(Code::corrupt, std::string(origin) + ": found " + std::to_string(lines.size()) + " lines, expected six a document");
  }
  std::vector<Json> records;
  for (std::size_t i = 0; i < lines.size(); i += 6) {
    const std::size_t colon = lines[i].find(": ");
    if (colon == std::string::npos) {
      return Status(Code::corrupt, std::string(origin) + ", line " + std::to_string(i + 1) + ": expected \"activity: context\"");
    }
    Json record = strings({{"activity_label", lines[i].substr(0, colon)}, {"ctx_a", lines[i].substr(colon + 2)}, {"ctx_b", ""}, {"label", lines[i + 1]}});
    record.set("endings", string_array({lines[i + 2], lines[i + 3], lines[i + 4], lines[i + 5]}));
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace

void hellaswag_tasks(TaskList& list) {
  Task t;
  t.id = "hellaswag";
  t.summary = "which of four endings follows a description (HellaSwag)";
  t.data = {{"hellaswag/validation.jsonl"}, {"hellaswag/val_first3348.txt", read_six_lines}};
  t.fewshot = {{"hellaswag/train.jsonl"}};
  t.fewshot_excludes = true;
  t.process = [](Fields& f) {
    Json doc = Json::object();
    doc.set("query", clean(f.text("activity_label") + ": " + f.text("ctx_a") + " " + capitalized(f.text("ctx_b"))));
    std::vector<std::string> endings;
    for (const std::string& ending : f.texts("endings")) endings.push_back(clean(ending));
    doc.set("choices", string_array(endings));
    doc.set("gold", f.integer("label"));
    return doc;
  };
  t.text = [](Fields& f) { return f.text("query"); };
  t.choices = [](Fields& f) { return f.texts("choices"); };
  t.gold = [](Fields& f) { return std::vector<int64_t>{f.integer("gold")}; };
  t.metrics = {mean_of("acc"), mean_of("acc_norm")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
