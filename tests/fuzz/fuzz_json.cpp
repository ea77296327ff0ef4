// JSON: parsing, and writing what was parsed so that it parses again to the same; and as a document whose large tables are read row by
// row.
#include <cstdlib>
#include <span>
#include <string_view>

#include "base/json.h"
#include "base/json_document.h"
#include "fuzz/fuzz.h"

namespace {

void read_tables(std::string_view text) {
  static constexpr std::string_view kTables[] = {"a/b", "model/vocab"};
  const auto document = nbl::JsonDocument::parse(text, "input", kTables);
  if (nbl::fuzz::failed(document)) return;
  (void)document->value().dump();
  for (const std::string_view table : kTables) {
    std::size_t members = 0, rows = 0;
    const auto text_of = [](const nbl::JsonCell& cell) { return cell.is_string() ? cell.text.size() : 0; };
    std::size_t bytes = 0;
    const bool object = document->for_each_member(table, [&](std::string_view name, const nbl::JsonCell& cell) {
      bytes += name.size() + text_of(cell);
      return ++members < 1000 ? nbl::Status() : nbl::Status(nbl::Code::limit, "enough");
    }).ok();
    const bool array = document->for_each_row(table, [&](std::span<const nbl::JsonCell> cells) {
      for (const nbl::JsonCell& cell : cells) bytes += text_of(cell);
      return ++rows < 1000 ? nbl::Status() : nbl::Status(nbl::Code::limit, "enough");
    }).ok();
    const auto kind = document->kind(table);
    const std::size_t size = document->size(table);
    if (kind == nbl::Json::Kind::object && object && members != size) std::abort();
    if (kind == nbl::Json::Kind::array && array && rows != size) std::abort();
    if (bytes > 2 * text.size()) std::abort();  // an escape is longer than what it stands for
    for (const std::size_t index : {std::size_t{0}, size / 2, size}) (void)document->element(table, index).dump();
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  read_tables(nbl::fuzz::text_of(data, size));
  const auto parsed = nbl::Json::parse(nbl::fuzz::text_of(data, size), "input");
  if (nbl::fuzz::failed(parsed)) return 0;
  const std::string text = parsed.value().dump();
  const auto again = nbl::Json::parse(text, "what was written");
  if (!again.ok() || again.value().dump() != text) std::abort();
  return 0;
}
