// Reading the native file: mapped, its tensors used where they lie.
#include "dialects/native_read.h"

#include <fmt/format.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <map>

#include "base/bounds.h"
#include "base/checked.h"
#include "base/foreign.h"
#include "base/hash.h"
#include "dialects/common.h"
#include "dialects/native_format.h"
#include "io/container.h"
#include "io/safetensors_types.h"
#include "io/spool.h"

namespace nbl::dialects::native {
namespace {

/// A packed tensor as its descriptor has it. Its arrays are in place, or of the right size and without data where the file is behind a
/// function: then matrix() reads them.
struct Packed {
  QTensor tensor;
  bool column_order = false, input_scale = false, in_memory = true;
};

struct Text {
  const io::RawTensor* raw = nullptr;
  int64_t bytes = 0;
  bool zstd = false;
};

class NativeCheckpoint final : public Checkpoint {
 public:
  static Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& path);

  std::string format() const override { return "native"; }
  std::string origin() const override { return container_->origin(); }
  const Json& config() const override { return config_; }
  std::vector<TensorInfo> tensors() const override;
  bool has(std::string_view name) const override { return packed_.contains(name) || array_tensor(name) != nullptr; }
  Result<QTensor> matrix(std::string_view name) const override;
  Result<Array> array(std::string_view name) const override;
  bool has_asset(std::string_view name) const override { return texts_.contains(name) && name != kConfigText; }
  Result<std::string> asset(std::string_view name) const override;
  std::vector<std::string> asset_names() const override;
  int64_t file_bytes() const override { return container_->file_bytes(); }
  Result<std::vector<std::string>> verify(const ProgressFn& progress) const override;

 private:
  Status corrupt(std::string what) const {
    return Status(Code::corrupt, fmt::format("{}: {}", container_->origin(), std::move(what)));
  }
  Status read_metadata();
  Status read_text_entry(std::string_view name, const Json& json);
  Status read_tensor_entry(const std::string& name, const Json& json);
  Result<std::string> text(std::string_view name) const;
  const io::RawTensor* array_tensor(std::string_view name) const;
  /// Puts the arrays of a packed tensor into it, reading those that are not in memory.
  Status place_parts(std::string_view name, bool column_order, bool input_scale, bool read, QTensor& tensor) const;
  Result<QTensor> packed(const std::string& name, const Packed& entry) const;

  std::unique_ptr<io::Container> container_;
  std::map<std::string, Packed, std::less<>> packed_;
  std::map<std::string, Text, std::less<>> texts_;
  std::map<std::string, bool, std::less<>> parts_;  // stored tensors that are part of something
  Json config_;
};

Result<std::unique_ptr<Checkpoint>> NativeCheckpoint::open(const std::filesystem::path& path) {
  auto checkpoint = std::make_unique<NativeCheckpoint>();
  NBL_ASSIGN(checkpoint->container_, io::open_safetensors(path));
  NBL_TRY(checkpoint->read_metadata());
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

Status NativeCheckpoint::read_metadata() {
  const Json& metadata = container_->metadata();
  const Json* format = metadata.find("format");
  if (format == nullptr || format->as_string() != kFormatName) return corrupt("not a native nibble file");
  const Json* version = metadata.find("format_version");
  const std::string_view stated = version == nullptr ? std::string_view("none") : version->as_string();
  if (stated != fmt::format("{}", kVersion)) {
    return Status(Code::unsupported, fmt::format("{}: format version '{}'; this library reads version {}",
                                                 container_->origin(), shown(stated), kVersion));
  }
  for (const auto& [key, value] : metadata.members()) {
    const bool is_tensor = key.starts_with(kTensorKey), is_text = key.starts_with(kTextKey);
    if (!is_tensor && !is_text) continue;
    const std::string name = key.substr(is_tensor ? kTensorKey.size() : kTextKey.size());
    const std::string where =
        fmt::format("{}: {} {}", container_->origin(), is_tensor ? "tensor" : "text", shown(name));
    NBL_ASSIGN(const Json json, Json::parse(value.as_string(), where, {.max_bytes = kMaxConfigBytes, .max_depth = 8}));
    const Status status = is_tensor ? read_tensor_entry(name, json) : read_text_entry(name, json);
    if (!status.ok()) return status.with_context(where);
  }
  for (const auto& [name, entry] : packed_) {
    if (!entry.in_memory) continue;
    const Status status = entry.tensor.validate_structure(name);
    if (!status.ok()) return status.with_context(container_->origin());
  }
  auto config = text(kConfigText);
  if (!config.ok()) return config.status();
  NBL_ASSIGN(config_, Json::parse(*config, fmt::format("{}: config.json", container_->origin()),
                                  {.max_bytes = kMaxConfigBytes}));
  return config_.is_object() ? Status() : corrupt("config.json is no object");
}

Status NativeCheckpoint::read_text_entry(std::string_view name, const Json& json) {
  Text entry;
  NBL_ASSIGN(entry.bytes, json.get_int("bytes"));
  NBL_ASSIGN(entry.zstd, json.bool_or("zstd", false));
  const std::string stored = std::string(kTextTensor) + std::string(name);
  entry.raw = container_->find(stored);
  if (entry.raw == nullptr) return Status(Code::corrupt, "its bytes are missing");
  if (!is_plain_file_name(name)) return Status(Code::corrupt, "its name is no plain file name");
  const auto size = static_cast<int64_t>(entry.raw->bytes.size());
  if (entry.raw->type != "U8" || entry.bytes < 0 || entry.bytes > kMaxAssetBytes ||
      (!entry.zstd && entry.bytes != size)) {
    return Status(Code::corrupt,
                  fmt::format("{} bytes of {} cannot hold {} bytes", size, entry.raw->type, entry.bytes));
  }
  // A few compressed bytes can state a gigabyte.
  if (const int64_t most = bound(Bound::expansion_bytes) + 2 * container_->file_bytes(); entry.bytes > most) {
    return Status(Code::limit, fmt::format("{} bytes are stated in a file of {}; at most {} are read", entry.bytes,
                                           container_->file_bytes(), most));
  }
  parts_.emplace(stored, true);
  texts_.emplace(std::string(name), entry);
  return {};
}

Status NativeCheckpoint::read_tensor_entry(const std::string& name, const Json& json) {
  Packed entry;
  NBL_ASSIGN(entry.tensor, parse_descriptor(json));
  NBL_ASSIGN(entry.column_order, json.bool_or("column_order", false));
  NBL_ASSIGN(entry.input_scale, json.bool_or("input_scale", false));
  for (const Part& part : parts_of(entry.tensor, entry.column_order, entry.input_scale)) {
    const std::string stored = name + part.suffix;
    const io::RawTensor* raw = container_->find(stored);
    if (raw == nullptr) return Status(Code::corrupt, fmt::format("its part {} is missing", part.suffix));
    const int64_t padded = round_up(part.bytes, 64);
    if (raw->type != "U8" || static_cast<int64_t>(raw->bytes.size()) != padded) {
      return Status(Code::corrupt, fmt::format("its part {} is {} bytes of {} where {} bytes of U8 were expected",
                                               part.suffix, raw->bytes.size(), raw->type, padded));
    }
    entry.in_memory &= raw->in_memory();
    parts_.emplace(stored, true);
  }
  NBL_TRY(place_parts(name, entry.column_order, entry.input_scale, entry.in_memory, entry.tensor));
  packed_.emplace(name, std::move(entry));
  return {};
}

Status NativeCheckpoint::place_parts(std::string_view name, bool column_order, bool input_scale, bool read, QTensor& tensor) const {
  for (const Part& part : parts_of(tensor, column_order, input_scale)) {
    const io::RawTensor& raw = *container_->find(std::string(name) + part.suffix);
    if (!read) {
      *part.storage = Storage::borrow(raw.bytes.bytes().first(static_cast<std::size_t>(part.bytes)), nullptr);
      continue;
    }
    NBL_ASSIGN(const io::RawTensor loaded, io::load(raw));
    const auto bytes = loaded.bytes.bytes().first(static_cast<std::size_t>(part.bytes));
    if (loaded.bytes.size() == bytes.size() && loaded.bytes.owns()) {
      *part.storage = loaded.bytes;
    } else if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 64 == 0) {
      *part.storage = Storage::borrow(bytes, std::make_shared<Storage>(loaded.bytes));
    } else {  // another tool has rewritten the file without its alignment
      NBL_ASSIGN(*part.storage, Storage::copy(bytes));
    }
  }
  for (Segment& s : tensor.segments) {
    if (!read) break;
    if (s.scale_codes) NBL_TRY(set_scale_codes(tensor.n, std::move(*s.scale_codes), &s));
    if (s.zero_codes) NBL_TRY(set_zero_codes(tensor.n, std::move(*s.zero_codes), &s));
  }
  return {};
}

Result<QTensor> NativeCheckpoint::packed(const std::string& name, const Packed& entry) const {
  if (entry.in_memory) return entry.tensor;
  QTensor tensor = entry.tensor;
  NBL_TRY(place_parts(name, entry.column_order, entry.input_scale, true, tensor));
  const Status status = tensor.validate_structure(name);
  if (!status.ok()) return status.with_context(container_->origin());
  return tensor;
}

const io::RawTensor* NativeCheckpoint::array_tensor(std::string_view name) const {
  return parts_.contains(name) ? nullptr : container_->find(name);
}

Result<std::string> NativeCheckpoint::text(std::string_view name) const {
  const auto it = texts_.find(name);
  if (it == texts_.end())
    return Status(Code::not_found, fmt::format("{}: no {} inside", container_->origin(), shown(name)));
  const Text& entry = it->second;
  NBL_ASSIGN(const io::RawTensor raw, io::load(*entry.raw));
  if (!entry.zstd) return std::string(reinterpret_cast<const char*>(raw.bytes.data()), raw.bytes.size());
  const auto stated = ZSTD_getFrameContentSize(raw.bytes.data(), raw.bytes.size());
  if (stated != static_cast<unsigned long long>(entry.bytes)) {
    return corrupt(fmt::format("{}: the compressed text does not state {} bytes", shown(name), entry.bytes));
  }
  std::string out;
  try {
    out.resize(static_cast<std::size_t>(entry.bytes));
  } catch (const std::exception&) {
    return Status(Code::out_of_memory,
                  fmt::format("{}: no memory for {} bytes of {}", container_->origin(), entry.bytes, shown(name)));
  }
  const std::size_t size = ZSTD_decompress(out.data(), out.size(), raw.bytes.data(), raw.bytes.size());
  if (ZSTD_isError(size) && ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation)
    return Status(Code::out_of_memory, fmt::format("{}: no memory to decompress {}", container_->origin(), shown(name)));
  if (ZSTD_isError(size) || size != out.size())
    return corrupt(fmt::format("{}: the compressed text is damaged", shown(name)));
  filled_elsewhere(out.data(), size);
  return out;
}

std::vector<TensorInfo> NativeCheckpoint::tensors() const {
  std::vector<TensorInfo> infos;
  for (const auto& [name, entry] : packed_) {
    const QTensor& tensor = entry.tensor;
    TensorInfo info{name, {tensor.n, tensor.k}, tensor.description(), tensor.bits_per_weight(), 0, 0};
    if (tensor.segments.size() == 1) info.group_size = tensor.segments[0].group_size;
    QTensor copy = tensor;
    for (const Part& part : parts_of(copy, entry.column_order, entry.input_scale)) {
      info.bytes += round_up(part.bytes, 64);
    }
    infos.push_back(std::move(info));
  }
  for (const io::RawTensor& raw : container_->tensors()) {
    if (parts_.contains(raw.name)) continue;
    TensorInfo info{raw.name, raw.shape, raw.type, 0, 0, static_cast<int64_t>(raw.bytes.size())};
    if (const auto dtype = io::safetensors_dtype(raw.type)) {
      const auto count = element_count(raw.shape);
      info.encoding = dtype_name(*dtype == DType::f64 ? DType::f32 : *dtype);  // as it is read
      info.bits = bits_per_element(info.bytes, count.ok() ? *count : 0);
    }
    infos.push_back(std::move(info));
  }
  std::sort(infos.begin(), infos.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return io::natural_less(a.name, b.name); });
  return infos;
}

Result<QTensor> NativeCheckpoint::matrix(std::string_view name) const {
  if (const auto it = packed_.find(name); it != packed_.end()) return packed(it->first, it->second);
  if (const io::RawTensor* raw = array_tensor(name)) return dense_matrix(*raw);
  return not_found(container_->origin(), name);
}

Result<Array> NativeCheckpoint::array(std::string_view name) const {
  if (const io::RawTensor* raw = array_tensor(name)) return io::to_array(*raw);
  if (const auto it = packed_.find(name); it != packed_.end()) {
    NBL_ASSIGN(const QTensor tensor, packed(it->first, it->second));
    // Here the values are read at once, so looking at the scales first costs nothing.
    const Status status = tensor.validate(std::string(name));
    if (!status.ok()) return status.with_context(container_->origin());
    return to_array(tensor);
  }
  return not_found(container_->origin(), name);
}

Result<std::string> NativeCheckpoint::asset(std::string_view name) const {
  if (!has_asset(name))
    return Status(Code::not_found, fmt::format("{}: no {} inside", container_->origin(), shown(name)));
  return text(name);
}

std::vector<std::string> NativeCheckpoint::asset_names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : texts_) {
    if (name != kConfigText) names.push_back(name);
  }
  return names;
}

Result<std::vector<std::string>> NativeCheckpoint::verify(const ProgressFn& progress) const {
  NBL_ASSIGN(const std::string manifest_text, text(kManifestText));
  NBL_ASSIGN(const Json manifest, Json::parse(manifest_text, container_->origin() + ": manifest.json"));
  const Json* hashes = manifest.find("sha256");
  if (hashes == nullptr || !hashes->is_object()) return corrupt("the manifest holds no hashes");
  std::vector<std::string> differences;
  const std::string manifest_tensor = std::string(kTextTensor) + std::string(kManifestText);
  const auto total = static_cast<int64_t>(container_->tensors().size());
  int64_t done = 0;
  for (const io::RawTensor& raw : container_->tensors()) {
    NBL_TRY(report_progress(progress, {"verify", raw.name, done++, total}));
    if (raw.name == manifest_tensor) continue;
    const Json* expected = hashes->find(raw.name);
    if (expected == nullptr) {
      differences.push_back(fmt::format("tensor {} is not in the manifest", shown(raw.name)));
      continue;
    }
    NBL_ASSIGN(const io::RawTensor loaded, io::load(raw));
    if (const std::string found = sha256_hex(loaded.bytes.bytes()); found != expected->as_string()) {
      differences.push_back(fmt::format("tensor {}: SHA-256 {} where the manifest says {}", shown(raw.name), found,
                                        shown(expected->as_string())));
    }
  }
  for (const auto& [name, hash] : hashes->members()) {
    if (container_->find(name) == nullptr)
      differences.push_back(fmt::format("tensor {} of the manifest is missing", shown(name)));
  }
  const Json* metadata = manifest.find("metadata_sha256");
  if (metadata == nullptr || metadata->as_string() != metadata_hash(container_->metadata())) {
    differences.push_back("the descriptors in the header differ from the manifest's hash of them");
  }
  return differences;
}

}  // namespace

std::string metadata_hash(const Json& metadata) {
  std::map<std::string_view, std::string_view> sorted;
  for (const auto& [key, value] : metadata.members()) sorted.emplace(key, value.as_string());
  Sha256 hash;
  const std::string skipped = std::string(kTextKey) + std::string(kManifestText);
  for (const auto& [key, value] : sorted) {
    if (key == skipped) continue;
    for (const std::string_view text : {key, value}) {
      const std::string line = fmt::format("{}:", text.size());
      hash.update(std::as_bytes(std::span(line.data(), line.size())));
      hash.update(std::as_bytes(std::span(text.data(), text.size())));
    }
  }
  return hash.finish_hex();
}

bool is_native_file(const std::filesystem::path& path) {
  const Storage head = io::file_head(path, 8 + 4096);
  if (head.size() < 16 || head.bytes()[8] != std::byte{'{'}) return false;
  const auto container = io::open_safetensors(path);
  if (!container.ok()) {
    // A damaged file is still ours when it says so: its reader explains better what is wrong.
    const std::string_view text(reinterpret_cast<const char*>(head.data()) + 8, head.size() - 8);
    return text.starts_with(R"({"__metadata__":{"format":"nibble")");
  }
  const Json* format = (*container)->metadata().find("format");
  return format != nullptr && format->as_string() == kFormatName;
}

Result<std::unique_ptr<Checkpoint>> open_native(const std::filesystem::path& path) {
  return NativeCheckpoint::open(path);
}

}  // namespace nbl::dialects::native
