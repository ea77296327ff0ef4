// Writing safetensors: the header first, from a plan, then the tensors in the plan's order.
#include <fmt/format.h>

#include <unordered_set>

#include "base/checked.h"
#include "io/container.h"
#include "io/safetensors_types.h"

namespace nbl::io {

struct SafetensorsWriter::State {
  AtomicFile file;
  std::vector<Planned> plan;
  std::string path;
  std::size_t next = 0;
  int64_t written = 0;  // of the tensor at `next`
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

Result<std::string> safetensors_header(const std::vector<SafetensorsWriter::Planned>& plan,
                                       const std::map<std::string, std::string>& metadata, bool aligned) {
  Json header = Json::object();
  if (!metadata.empty()) {
    Json object = Json::object();
    for (const auto& [key, value] : metadata) object.set(key, value);
    header.set("__metadata__", std::move(object));
  }
  std::unordered_set<std::string_view> names;
  int64_t at = 0;
  for (const SafetensorsWriter::Planned& tensor : plan) {
    const auto bad = [&](std::string what) {
      return Status(Code::invalid_argument, fmt::format("tensor {}: {}", tensor.name, std::move(what)));
    };
    if (tensor.name.empty() || tensor.name == "__metadata__") return bad("a tensor cannot have this name");
    if (!names.insert(tensor.name).second) return bad("written twice");
    const int bits = safetensors_type_bits(tensor.type);
    NBL_ASSIGN(const int64_t count, element_count(tensor.shape));
    int64_t size = 0;
    if (bits == 0 || !checked_mul(count, bits, &size) || size % 8 != 0 || size / 8 != tensor.bytes) {
      return bad(
          fmt::format("{} bytes do not hold shape {} of {}", tensor.bytes, shape_string(tensor.shape), tensor.type));
    }
    Json shape = Json::array();
    for (const int64_t dimension : tensor.shape) shape.push_back(dimension);
    Json offsets = Json::array();
    offsets.push_back(at);
    if (!checked_add(at, tensor.bytes, &at)) return bad("the file would be larger than 64 bits can count");
    offsets.push_back(at);
    Json entry = Json::object();
    entry.set("dtype", tensor.type);
    entry.set("shape", std::move(shape));
    entry.set("data_offsets", std::move(offsets));
    header.set(tensor.name, std::move(entry));
  }
  std::string text = header.dump();
  const std::size_t line = aligned ? 64 : 8;
  text.append((line - (text.size() + 8) % line) % line, ' ');
  if (text.size() > 100'000'000) {
    return Status(Code::limit,
                  fmt::format("a safetensors header of {} bytes; at most 100000000 are allowed", text.size()));
  }
  std::string head(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) head[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return head + text;
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path, std::vector<Planned> plan,
                                                    const std::map<std::string, std::string>& metadata, bool aligned) {
  auto header = safetensors_header(plan, metadata, aligned);
  if (!header.ok()) return header.status().with_context(path.string());
  NBL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  NBL_TRY(file.write(*header));
  return SafetensorsWriter(std::make_unique<State>(State{std::move(file), std::move(plan), path.string()}));
}

Status SafetensorsWriter::write(std::span<const std::byte> bytes) {
  State& s = *state_;
  while (s.next < s.plan.size() && s.written == s.plan[s.next].bytes) ++s.next, s.written = 0;
  if (bytes.empty()) return {};
  if (s.next == s.plan.size() || static_cast<int64_t>(bytes.size()) > s.plan[s.next].bytes - s.written) {
    return Status(Code::internal,
                  fmt::format("{}: {} bytes more than planned were written to tensor {}", s.path, bytes.size(),
                              s.next == s.plan.size() ? std::string("after the last") : s.plan[s.next].name));
  }
  s.written += static_cast<int64_t>(bytes.size());
  return s.file.write(bytes);
}

Status SafetensorsWriter::commit() {
  State& s = *state_;
  while (s.next < s.plan.size() && s.written == s.plan[s.next].bytes) ++s.next, s.written = 0;
  if (s.next != s.plan.size()) {
    return Status(Code::internal, fmt::format("{}: tensor {} got {} bytes of {}", s.path, s.plan[s.next].name,
                                              s.written, s.plan[s.next].bytes));
  }
  return s.file.commit();
}

}  // namespace nbl::io
