// Reading safetensors: one file, or shards under an index. The header is untrusted: nothing is used before it has been
// checked against the size of the file.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "base/bounds.h"
#include "base/checked.h"
#include "io/container.h"
#include "io/safetensors_types.h"

namespace nbl::io {
namespace {

namespace fs = std::filesystem;

constexpr BoundOf<int64_t> kMaxHeader{Bound::safetensors_header_bytes};
constexpr BoundOf<int64_t> kMaxIndexBytes{Bound::safetensors_index_bytes};
constexpr std::size_t kMaxRank = 16;

Status corrupt(const std::string& file, std::string what) {
  return Status(Code::corrupt, fmt::format("{}: {}", file, std::move(what)));
}

// A name for a message: whatever the file holds, the message stays short.
std::string shown(std::string_view name) {
  return name.size() <= 120 ? std::string(name)
                            : fmt::format("{}... ({} characters)", name.substr(0, 100), name.size());
}

class SafetensorsContainer final : public Container {
 public:
  std::string format() const override { return "safetensors"; }
  std::string origin() const override { return origin_; }
  const std::vector<RawTensor>& tensors() const override { return tensors_; }
  const Json& metadata() const override { return metadata_; }
  int64_t file_bytes() const override { return file_bytes_; }
  const RawTensor* find(std::string_view name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &tensors_[it->second];
  }

  // Once all tensors are there: the vector does not move any more, so the names can be keys.
  Status build_index() {
    index_.reserve(tensors_.size());
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const auto [it, fresh] = index_.emplace(tensors_[i].name, i);
      if (!fresh) {
        return corrupt(origin_, fmt::format("tensor {} is in both {} and {}", shown(tensors_[i].name),
                                            tensors_[it->second].file, tensors_[i].file));
      }
    }
    return {};
  }

  std::string origin_;
  std::vector<RawTensor> tensors_;
  std::unordered_map<std::string_view, std::size_t> index_;
  Json metadata_ = Json::object();
  int64_t file_bytes_ = 0;
};

struct Entry {
  RawTensor tensor;
  int64_t begin = 0, end = 0;
};

Result<Entry> parse_entry(const std::string& file, const std::string& name, const Json& value) {
  Entry entry;
  entry.tensor.name = name;
  entry.tensor.file = file;
  const auto bad = [&](std::string what) {
    return corrupt(file, fmt::format("tensor {}: {}", shown(name), std::move(what)));
  };
  const Json* dtype = value.find("dtype");
  const Json* shape = value.find("shape");
  const Json* offsets = value.find("data_offsets");
  if (!value.is_object() || dtype == nullptr || shape == nullptr || offsets == nullptr || !dtype->is_string() ||
      !shape->is_array() || !offsets->is_array()) {
    return bad("its header entry is no object of dtype, shape and data_offsets");
  }
  entry.tensor.type = std::string(dtype->as_string());
  const int bits = safetensors_type_bits(entry.tensor.type);
  if (bits == 0) return bad(fmt::format("unknown dtype {}", shown(entry.tensor.type)));
  if (shape->size() > kMaxRank) return bad(fmt::format("{} dimensions; at most {} are read", shape->size(), kMaxRank));
  for (const Json& dimension : shape->elements()) {
    if (!dimension.is_int() || dimension.as_int() < 0) return bad("a dimension is no whole number from 0 up");
    entry.tensor.shape.push_back(dimension.as_int());
  }
  if (offsets->size() != 2 || !offsets->elements()[0].is_int() || !offsets->elements()[1].is_int()) {
    return bad("data_offsets is no pair of whole numbers");
  }
  entry.begin = offsets->elements()[0].as_int();
  entry.end = offsets->elements()[1].as_int();
  if (entry.begin < 0 || entry.end < entry.begin) {
    return bad(fmt::format("data_offsets [{}, {}] are no range", entry.begin, entry.end));
  }
  auto count = element_count(entry.tensor.shape);
  if (!count.ok()) return bad(count.status().message());
  int64_t total_bits = 0;
  if (!checked_mul(*count, bits, &total_bits)) return bad("its size overflows 64 bits");
  if (total_bits % 8 != 0) return bad(fmt::format("{} elements of {} bits end within a byte", *count, bits));
  if (total_bits / 8 != entry.end - entry.begin) {
    return bad(fmt::format("shape {} of {} takes {} bytes, data_offsets [{}, {}] hold {}",
                           shape_string(entry.tensor.shape), entry.tensor.type, total_bits / 8, entry.begin, entry.end,
                           entry.end - entry.begin));
  }
  return entry;
}

Status check_metadata(const std::string& file, const Json& metadata) {
  if (!metadata.is_object()) return corrupt(file, "__metadata__ is no object");
  for (const auto& [key, value] : metadata.members()) {
    if (!value.is_string()) return corrupt(file, fmt::format("__metadata__ entry {} is no string", shown(key)));
  }
  return {};
}

// Adds one file's tensors to the container.
Status read_file(const fs::path& path, SafetensorsContainer& out) {
  NBL_ASSIGN(const std::shared_ptr<const FileSource> source, FileSource::open(path));
  const std::string file = path.string();
  const int64_t size = source->size();
  if (size == 0) return corrupt(file, "the file is empty");
  if (size < 8) return corrupt(file, fmt::format("{} bytes are too few for a safetensors file", size));
  NBL_ASSIGN(const Storage length, source->read(0, 8));
  uint64_t stated = 0;
  for (int i = 7; i >= 0; --i) stated = stated << 8 | static_cast<uint64_t>(length.bytes()[static_cast<std::size_t>(i)]);
  if (stated > static_cast<uint64_t>(kMaxHeader)) {
    return corrupt(file, fmt::format("a header of {} bytes is stated; at most {} are allowed", stated, kMaxHeader.get()));
  }
  const auto header_bytes = static_cast<int64_t>(stated);
  if (header_bytes > size - 8) {
    return corrupt(
        file, fmt::format("a header of {} bytes is stated, {} bytes follow: the file is truncated or no safetensors",
                          header_bytes, size - 8));
  }
  NBL_ASSIGN(const Storage header_text, source->read(8, header_bytes));
  const std::string_view text(reinterpret_cast<const char*>(header_text.data()), header_text.size());
  if (text.empty() || text.front() != '{') return corrupt(file, "the header does not start with '{'");
  NBL_ASSIGN(Json header, Json::parse(text, file + ": header", {.max_bytes = kMaxHeader, .max_depth = 8}));
  if (!header.is_object()) return corrupt(file, "the header is no JSON object");

  std::vector<Entry> entries;
  entries.reserve(header.size());
  for (const auto& [name, value] : header.members()) {
    if (name == "__metadata__") {
      NBL_TRY(check_metadata(file, value));
      for (const auto& [key, text_value] : value.members()) {
        if (out.metadata_.find(key) == nullptr) out.metadata_.set(key, text_value);
      }
      continue;
    }
    if (name.empty()) return corrupt(file, "a tensor has no name");
    NBL_ASSIGN(Entry entry, parse_entry(file, name, value));
    entries.push_back(std::move(entry));
  }

  // The data must be covered exactly: no overlap, no gap, no tail. Empty tensors come first among those that begin
  // together.
  std::vector<const Entry*> order;
  order.reserve(entries.size());
  for (const Entry& entry : entries) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const Entry* a, const Entry* b) {
    return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
  });
  const int64_t data_bytes = size - 8 - header_bytes;
  int64_t at = 0;
  for (const Entry* entry : order) {
    if (entry->end > data_bytes) {
      return corrupt(file, fmt::format("tensor {} ends at byte {} of the data, which has {}: the file is truncated",
                                       shown(entry->tensor.name), entry->end, data_bytes));
    }
    if (entry->begin != at) {
      return corrupt(file, fmt::format("tensor {} begins at byte {} of the data where {} was expected: tensors {}",
                                       shown(entry->tensor.name), entry->begin, at,
                                       entry->begin < at ? "overlap" : "leave a gap"));
    }
    at = entry->end;
  }
  if (at != data_bytes) {
    return corrupt(file, fmt::format("the last tensor ends at byte {} of the data, which has {}", at, data_bytes));
  }

  for (Entry& entry : entries) {
    entry.tensor.source = source;
    entry.tensor.offset = 8 + header_bytes + entry.begin;
    entry.tensor.bytes = source->view(entry.tensor.offset, entry.end - entry.begin);
    out.tensors_.push_back(std::move(entry.tensor));
  }
  out.file_bytes_ += size;
  return {};
}

// A shard's name must stay a name: no way out of the directory.
Status check_shard_name(const std::string& index, std::string_view name) {
  const bool plain = !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
                     name.find('/') == std::string_view::npos && name.find('\\') == std::string_view::npos &&
                     name.find('\0') == std::string_view::npos;
  if (plain) return {};
  return corrupt(index, fmt::format("weight_map names the file '{}', which is no plain file name in the same directory",
                                    shown(name)));
}

}  // namespace

Result<std::unique_ptr<Container>> open_safetensors(const fs::path& file) {
  auto container = std::make_unique<SafetensorsContainer>();
  container->origin_ = file.string();
  NBL_TRY(read_file(file, *container));
  NBL_TRY(container->build_index());
  return std::unique_ptr<Container>(std::move(container));
}

Result<std::unique_ptr<Container>> open_safetensors_files(std::span<const fs::path> files) {
  if (files.empty()) return Status(Code::invalid_argument, "no safetensors file was named");
  auto container = std::make_unique<SafetensorsContainer>();
  container->origin_ = files.front().parent_path().string();
  for (const fs::path& file : files) NBL_TRY(read_file(file, *container));
  NBL_TRY(container->build_index());
  return std::unique_ptr<Container>(std::move(container));
}

Result<std::unique_ptr<Container>> open_safetensors_index(const fs::path& index) {
  const std::string origin = index.string();
  NBL_ASSIGN(const std::string text, read_text_file(index, kMaxIndexBytes));
  NBL_ASSIGN(const Json json, Json::parse(text, origin, {.max_bytes = kMaxIndexBytes, .max_depth = 16}));
  const Json* map = json.find("weight_map");
  if (map == nullptr || !map->is_object()) return corrupt(origin, "no weight_map object");

  std::vector<std::string> shards;
  std::unordered_map<std::string_view, std::string_view> wanted;  // tensor -> shard; views into json
  for (const auto& [tensor, shard] : map->members()) {
    if (!shard.is_string()) return corrupt(origin, fmt::format("weight_map entry {} is no file name", shown(tensor)));
    NBL_TRY(check_shard_name(origin, shard.as_string()));
    wanted.emplace(tensor, shard.as_string());
    shards.emplace_back(shard.as_string());
  }
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  if (shards.empty()) return corrupt(origin, "weight_map is empty");

  auto container = std::make_unique<SafetensorsContainer>();
  container->origin_ = index.parent_path().string();
  for (const std::string& shard : shards) {
    const Status status = read_file(index.parent_path() / shard, *container);
    if (!status.ok()) return status.with_context(fmt::format("shard named by {}", origin));
  }
  NBL_TRY(container->build_index());
  for (const auto& [tensor, shard] : wanted) {
    const RawTensor* found = container->find(tensor);
    if (found == nullptr) {
      return Status(Code::not_found,
                    fmt::format("{}: tensor {} should be in {} and is not", origin, shown(tensor), shard));
    }
    if (fs::path(found->file).filename() != fs::path(shard)) {
      return corrupt(origin, fmt::format("tensor {} should be in {} and is in {}", shown(tensor), shard, found->file));
    }
  }
  return std::unique_ptr<Container>(std::move(container));
}

}  // namespace nbl::io
