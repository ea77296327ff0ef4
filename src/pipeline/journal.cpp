#include "pipeline/journal.h"

#include <fmt/format.h>

#include <cstring>
#include <new>

#include "dialects/native_format.h"

namespace nbl::pipeline {
namespace {

constexpr uint64_t kMaxHeader = uint64_t{1} << 30;

// A record: the size of its JSON header, the header, and the bytes of every part in the header's order.
Json header_of(const FinishedLayer& done) {
  Json header = Json::object();
  header.set("layer", done.layer);
  Json matrices = Json::array();
  for (const auto& [name, tensor] : done.matrices) {
    Json m = Json::object();
    m.set("name", name);
    m.set("tensor", dialects::native::describe(tensor));
    m.set("column_order", !tensor.column_order.empty());
    m.set("input_scale", !tensor.input_scale.empty());
    matrices.push_back(std::move(m));
  }
  header.set("matrices", std::move(matrices));
  Json arrays = Json::array();
  for (const auto& [name, array] : done.arrays) {
    Json a = Json::object();
    a.set("name", name);
    Json shape = Json::array();
    for (int64_t d : array.shape) shape.push_back(d);
    a.set("shape", std::move(shape));
    arrays.push_back(std::move(a));
  }
  header.set("arrays", std::move(arrays));
  Json reports = Json::array();
  for (const LayerReport& r : done.reports) {
    Json j = Json::object();
    j.set("name", r.name);
    j.set("encoding", r.encoding);
    j.set("bits", r.bits);
    j.set("error", r.error);
    j.set("seconds", r.seconds);
    Json notes = Json::array();
    for (const std::string& note : r.notes) notes.push_back(note);
    j.set("notes", std::move(notes));
    reports.push_back(std::move(j));
  }
  header.set("reports", std::move(reports));
  return header;
}

class Reader {
 public:
  Reader(std::string_view bytes, const std::filesystem::path& path) : left_(bytes), path_(path) {}
  Result<std::string_view> take(uint64_t size) {
    if (size > left_.size()) return damaged("a record ends early");
    const std::string_view out = left_.substr(0, static_cast<std::size_t>(size));
    left_.remove_prefix(static_cast<std::size_t>(size));
    return out;
  }
  Status damaged(std::string_view what) const {
    return {Code::corrupt, fmt::format("'{}' is damaged: {}; delete it to begin anew", path_.string(), what)};
  }

 private:
  std::string_view left_;
  const std::filesystem::path& path_;
};

const Json& member(const Json& json, std::string_view key) {
  static const Json none;
  const Json* found = json.find(key);
  return found != nullptr ? *found : none;
}

Result<FinishedLayer> parse(std::string_view record, const std::filesystem::path& path) {
  Reader reader(record, path);
  uint64_t size = 0;
  NBL_ASSIGN(const std::string_view length, reader.take(sizeof(size)));
  std::memcpy(&size, length.data(), sizeof(size));
  if (size > kMaxHeader) return reader.damaged("a header is too long");
  NBL_ASSIGN(const std::string_view text, reader.take(size));
  NBL_ASSIGN(const Json header, Json::parse(text, path.string()));
  FinishedLayer done;
  NBL_ASSIGN(done.layer, header.get_int("layer"));
  for (const Json& m : member(header, "matrices").elements()) {
    NBL_ASSIGN(std::string name, m.get_string("name"));
    NBL_ASSIGN(QTensor tensor, dialects::native::parse_descriptor(member(m, "tensor")));
    for (const auto& part : dialects::native::parts_of(tensor, member(m, "column_order").as_bool(),
                                                       member(m, "input_scale").as_bool())) {
      NBL_ASSIGN(const std::string_view bytes, reader.take(static_cast<uint64_t>(part.bytes)));
      NBL_ASSIGN(*part.storage, Storage::copy(std::as_bytes(std::span(bytes))));
    }
    NBL_TRY(tensor.validate(name));
    done.matrices.emplace_back(std::move(name), std::move(tensor));
  }
  for (const Json& a : member(header, "arrays").elements()) {
    NBL_ASSIGN(std::string name, a.get_string("name"));
    Array array;
    for (const Json& d : member(a, "shape").elements()) array.shape.push_back(d.as_int(-1));
    NBL_ASSIGN(const int64_t count, element_count(array.shape));
    NBL_ASSIGN(const std::string_view bytes, reader.take(static_cast<uint64_t>(count) * sizeof(float)));
    NBL_ASSIGN(array.storage, Storage::copy(std::as_bytes(std::span(bytes))));
    done.arrays.emplace_back(std::move(name), std::move(array));
  }
  for (const Json& r : member(header, "reports").elements()) {
    LayerReport report;
    NBL_ASSIGN(report.name, r.get_string("name"));
    NBL_ASSIGN(report.encoding, r.get_string("encoding"));
    report.bits = member(r, "bits").as_double();
    report.error = member(r, "error").as_double();
    report.seconds = member(r, "seconds").as_double();
    for (const Json& note : member(r, "notes").elements()) report.notes.emplace_back(note.as_string());
    done.reports.push_back(std::move(report));
  }
  return done;
}

}  // namespace

std::filesystem::path Journal::path_for(const std::filesystem::path& output) {
  std::filesystem::path path = output;
  if (!path.has_filename()) path = path.parent_path();  // a directory with a slash at its end
  path += ".journal";
  return path;
}

Result<Journal> Journal::open(const std::filesystem::path& output, const std::string& job, bool resume) {
  const std::filesystem::path path = path_for(output);
  if (resume) {
    auto existing = RecordFile::open(path);
    if (!existing.ok() && existing.status().code() != Code::not_found) return existing.status();
    if (existing.ok()) {
      Journal journal(std::move(existing).value());
      journal.path_ = path;
      std::string first;
      NBL_ASSIGN(const bool found, journal.file_.next(&first));
      if (found) {
        if (first == job) return journal;
        return Status(Code::mismatch,
                      fmt::format("'{}' was left by another job (another model, recipe, calibration, seed, version or "
                                  "processor); repeat that job's command, or delete the file to begin anew",
                                  path.string()));
      }
      NBL_TRY(journal.file_.append(job));
      return journal;
    }
  }
  Status begun;
  try {
    NBL_ASSIGN(RecordFile file, RecordFile::create(path));
    Journal journal(std::move(file));
    journal.path_ = path;
    begun = journal.file_.append(job);
    if (begun.ok()) return journal;
  } catch (const std::bad_alloc&) {
    begun = {Code::out_of_memory, "memory is exhausted"};
  }
  std::error_code ec;
  std::filesystem::remove(path, ec);
  return begun;
}

Result<std::optional<FinishedLayer>> Journal::next() {
  std::string record;
  NBL_ASSIGN(const bool found, file_.next(&record));
  if (!found) return std::optional<FinishedLayer>();
  NBL_ASSIGN(FinishedLayer done, parse(record, path_));
  return std::optional<FinishedLayer>(std::move(done));
}

Status Journal::add(const FinishedLayer& layer) {
  const std::string header = header_of(layer).dump();
  const uint64_t size = header.size();
  std::string record(reinterpret_cast<const char*>(&size), sizeof(size));
  record += header;
  for (const auto& [name, tensor] : layer.matrices) {
    QTensor copy = tensor;  // shares its storage
    for (const auto& part :
         dialects::native::parts_of(copy, !copy.column_order.empty(), !copy.input_scale.empty())) {
      record.append(reinterpret_cast<const char*>(part.storage->data()), static_cast<std::size_t>(part.bytes));
    }
  }
  for (const auto& [name, array] : layer.arrays) {
    record.append(reinterpret_cast<const char*>(array.storage.data()), array.storage.size());
  }
  return file_.append(record);
}

}  // namespace nbl::pipeline
