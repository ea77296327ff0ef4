#include <fmt/format.h>

#include "base/bounds.h"
#include "base/file.h"
#include "base/hash.h"
#include "eval/characters.h"
#include "eval/evaluate.h"

namespace nbl::eval {
namespace {

constexpr BoundOf<int64_t> kMaxFileBytes{Bound::document_bytes};

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

/// Line i of every file makes record i.
Result<std::vector<Json>> read_aligned(const std::vector<DataFile>& files, const std::filesystem::path& data,
                                       Sha256& hash) {
  std::vector<Json> records;
  for (std::size_t f = 0; f < files.size(); ++f) {
    const std::filesystem::path path = data / files[f].path;
    NBL_ASSIGN(const std::string bytes, read_text_file(path, kMaxFileBytes));
    hash.update(std::as_bytes(std::span(bytes.data(), bytes.size())));
    std::size_t line = 0;
    for (std::string_view rest = bytes; !rest.empty(); ++line) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      const std::string text(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      NBL_TRY(check_utf8(text, path.string(), line + 1));
      if (f == 0) records.push_back(Json::object());
      if (line < records.size()) records[line].set(std::to_string(f), text);
    }
    if (line != records.size()) {
      return Status(Code::corrupt, fmt::format("{} has {} lines, {} has {}: they are no translations of each other",
                                               path.string(), line, files[0].path, records.size()));
    }
  }
  return records;
}

}  // namespace

Status find_files(const Task& task, const std::filesystem::path& data, bool fewshot) {
  if (fewshot ? task.fewshot_given : task.given) return {};
  const std::vector<DataFile>& files = fewshot ? task.fewshot : task.data;
  std::string looked_for;
  std::size_t there = 0;
  for (const DataFile& file : files) {
    std::error_code ec;
    there += std::filesystem::is_regular_file(data / file.path, ec) ? 1 : 0;
    if (there == (task.data_is_aligned ? files.size() : 1)) return {};
    looked_for += fmt::format("{}{}", looked_for.empty() ? "" : task.data_is_aligned ? " and " : " or ", file.path);
  }
  return {Code::not_found, fmt::format("task {}{} needs {} in {}; `python -m nibble.data {}` fetches it{}", task.id,
                                       fewshot ? "'s examples" : "", looked_for.empty() ? "a file" : looked_for,
                                       data.string(), task.id,
                                       fewshot ? ", and num_fewshot 0 asks without examples" : "")};
}

Result<Documents> load_documents(const Task& task, const std::filesystem::path& data, bool fewshot) {
  NBL_TRY(find_files(task, data, fewshot));
  Documents result;
  Sha256 hash;
  const auto add = [&](const std::vector<Json>& records, std::string_view file) -> Status {
    for (std::size_t i = 0; i < records.size(); ++i) {
      Fields fields(records[i]);
      Json document = task.process ? task.process(fields) : records[i];
      if (!fields.ok()) return fields.status().with_context(fmt::format("{}, document {}", file, i + 1));
      if (document.is_null()) continue;
      NBL_TRY(check(fewshot && task.example ? *task.example : task, document, file, i));
      result.documents.push_back(std::move(document));
    }
    result.file += (result.file.empty() ? "" : ", ") + std::string(file);
    return {};
  };
  if (const auto& given = fewshot ? task.fewshot_given : task.given) {
    for (const Json& record : *given) {
      const std::string line = record.dump() + "\n";
      hash.update(std::as_bytes(std::span(line.data(), line.size())));
    }
    NBL_TRY(add(*given, task.id));
  } else if (task.data_is_aligned) {
    NBL_ASSIGN(const std::vector<Json> records, read_aligned(fewshot ? task.fewshot : task.data, data, hash));
    std::string names;
    for (const DataFile& file : fewshot ? task.fewshot : task.data) names += (names.empty() ? "" : ", ") + file.path;
    NBL_TRY(add(records, names));
  } else {
    for (const DataFile& file : fewshot ? task.fewshot : task.data) {
      const std::filesystem::path path = data / file.path;
      std::error_code ec;
      if (!std::filesystem::is_regular_file(path, ec)) continue;
      NBL_ASSIGN(const std::string bytes, read_text_file(path, kMaxFileBytes));
      hash.update(std::as_bytes(std::span(bytes.data(), bytes.size())));
      NBL_ASSIGN(const std::vector<Json> records, (file.read != nullptr ? file.read : read_jsonl)(bytes, path.string()));
      NBL_TRY(add(records, file.path));
      if (!task.data_is_all) break;
    }
  }
  for (const PieceFile& file : fewshot ? std::span<const PieceFile>() : std::span<const PieceFile>(task.pieces)) {
    const std::filesystem::path path = data / file.path;
    std::error_code ec;
    if (!std::filesystem::is_regular_file(path, ec)) continue;
    NBL_ASSIGN(const std::string bytes, read_text_file(path, kMaxFileBytes));
    hash.update(std::as_bytes(std::span(bytes.data(), bytes.size())));
    NBL_ASSIGN(text::SentencepiecePieces pieces, text::SentencepiecePieces::load(bytes, path.string()));
    result.pieces.push_back({file.metric, std::make_shared<const text::SentencepiecePieces>(std::move(pieces))});
  }
  if (result.documents.empty())
    return Status(Code::corrupt, fmt::format("{} holds no documents for task {}", result.file, task.id));
  result.original = static_cast<int64_t>(result.documents.size());
  result.sha256 = hash.finish_hex();
  return result;
}

}  // namespace nbl::eval
