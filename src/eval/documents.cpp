#include <fmt/format.h>

#include "base/file.h"
#include "base/hash.h"
#include "eval/evaluate.h"

namespace nbl::eval {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

/// Every document is looked at before any is asked about: a bad one ends the run at its start.
Status check(const Task& task, const Json& document, std::string_view file, std::size_t index) {
  Fields fields(document);
  if (task.text) task.text(fields);
  if (task.target) task.target(fields);
  if (task.choices) {
    const std::vector<std::string> choices = task.choices(fields);
    if (fields.ok() && choices.empty()) fields.fail("there are no choices");
    for (const std::string& choice : choices) {
      if (choice.empty()) fields.fail("a choice is empty");
    }
    if (task.gold && fields.ok()) {
      const std::vector<int64_t> gold = task.gold(fields);
      if (fields.ok() && gold.empty()) fields.fail("no choice is right");
      for (const int64_t g : gold) {
        if (g < 0 || g >= static_cast<int64_t>(choices.size())) {
          fields.fail(fmt::format("the answer is choice {}, but there are {}", g, choices.size()));
        }
      }
    }
  }
  return fields.ok() ? Status() : fields.status().with_context(fmt::format("{}, document {}", file, index + 1));
}

}  // namespace

Result<Documents> load_documents(const Task& task, const std::filesystem::path& data, bool fewshot) {
  const std::vector<DataFile>& files = fewshot ? task.fewshot : task.data;
  Documents result;
  Sha256 hash;
  for (const DataFile& file : files) {
    const std::filesystem::path path = data / file.path;
    std::error_code ec;
    if (!std::filesystem::is_regular_file(path, ec)) continue;
    NBL_ASSIGN(const std::string bytes, read_text_file(path, kMaxFileBytes));
    hash.update(std::as_bytes(std::span(bytes.data(), bytes.size())));
    NBL_ASSIGN(const std::vector<Json> records, (file.read != nullptr ? file.read : read_jsonl)(bytes, file.path));
    for (std::size_t i = 0; i < records.size(); ++i) {
      Fields fields(records[i]);
      Json document = task.process ? task.process(fields) : records[i];
      if (!fields.ok()) return fields.status().with_context(fmt::format("{}, document {}", file.path, i + 1));
      if (document.is_null()) continue;
      NBL_TRY(check(task, document, file.path, i));
      result.documents.push_back(std::move(document));
    }
    result.file += (result.file.empty() ? "" : ", ") + file.path;
    if (!task.data_is_all) break;
  }
  if (result.file.empty()) {
    std::string looked_for;
    for (const DataFile& file : files) looked_for += fmt::format("{}{}", looked_for.empty() ? "" : " or ", file.path);
    return Status(Code::not_found,
                  fmt::format("task {}{} needs {} in {}; `python -m nibble.data {}` fetches it", task.id,
                              fewshot ? "'s examples" : "", looked_for.empty() ? "a file" : looked_for, data.string(), task.id));
  }
  if (result.documents.empty()) return Status(Code::corrupt, fmt::format("{} holds no documents for task {}", result.file, task.id));
  result.original = static_cast<int64_t>(result.documents.size());
  const auto digest = hash.finish_hex();
  result.sha256 = digest;
  return result;
}

}  // namespace nbl::eval
