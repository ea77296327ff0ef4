// The native dialect: one safetensors file that holds the whole model as it runs.
#include <fmt/format.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/foreign.h"
#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/native_format.h"
#include "dialects/native_read.h"
#include "io/safetensors_types.h"
#include "io/spool.h"

namespace nbl::dialects {
namespace native {
namespace {

constexpr std::size_t kCompressFrom = 1024;  // bytes; below, a text is easier to read as it is
constexpr int kCompressionLevel = 9;

class NativeWriter final : public CheckpointWriter {
 public:
  NativeWriter(std::filesystem::path path, io::TensorSpool spool) : path_(std::move(path)), spool_(std::move(spool)) {
    metadata_["format"] = kFormatName;
    metadata_["format_version"] = fmt::format("{}", kVersion);
  }

  Status set_config(const Json& config) override {
    config_ = config.dump(2) + "\n";
    return {};
  }
  Status set_manifest(const Json& manifest) override {
    manifest_ = manifest;
    return {};
  }
  void set_threads(int threads) override { spool_.set_threads(threads); }
  Status add_asset(std::string_view name, std::string_view bytes) override;
  Status add_matrix(std::string_view name, const QTensor& tensor) override;
  Status add_array(std::string_view name, const Array& array) override;
  Result<std::string> finish() override;

 private:
  Status claim(std::string_view name) {
    if (names_.emplace(name).second) return {};
    return Status(Code::invalid_argument, fmt::format("{}: tensor {} was written twice", path_.string(), shown(name)));
  }
  Status add_text(std::string_view name, std::string_view bytes);
  std::string manifest_text();

  std::filesystem::path path_;
  io::TensorSpool spool_;
  std::map<std::string, std::string> metadata_;
  std::set<std::string, std::less<>> names_;
  std::map<std::string, std::string, std::less<>> assets_;
  std::string config_;
  Json manifest_ = Json::object();
};

Status NativeWriter::add_asset(std::string_view name, std::string_view bytes) {
  if (!is_plain_file_name(name) || name == kConfigText || name == kManifestText) {
    return Status(Code::invalid_argument, fmt::format("'{}' cannot be the name of an asset", shown(name)));
  }
  if (static_cast<int64_t>(bytes.size()) > kMaxAssetBytes) {
    return Status(Code::limit,
                  fmt::format("asset {} of {} bytes; at most {} are kept", name, bytes.size(), kMaxAssetBytes.get()));
  }
  assets_.insert_or_assign(std::string(name), std::string(bytes));
  return {};
}

Status NativeWriter::add_matrix(std::string_view name, const QTensor& tensor) {
  NBL_TRY(tensor.validate(std::string(name)));
  NBL_TRY(claim(name));
  QTensor copy = tensor;
  for (const Part& part : parts_of(copy, !copy.column_order.empty(), !copy.input_scale.empty())) {
    NBL_TRY(spool_.add(std::string(name) + part.suffix, "U8", {}, part.storage->bytes(), 64));
  }
  metadata_[std::string(kTensorKey) + std::string(name)] = describe(tensor).dump();
  return {};
}

Status NativeWriter::add_array(std::string_view name, const Array& array) {
  if (name.starts_with(kTextTensor)) {
    return Status(Code::invalid_argument,
                  fmt::format("tensor {} has a name that the format keeps for itself", shown(name)));
  }
  NBL_TRY(claim(name));
  return spool_.add(std::string(name), io::safetensors_type_name(array.dtype), array.shape, array.storage.bytes());
}

Status NativeWriter::add_text(std::string_view name, std::string_view bytes) {
  Json json = Json::object();
  json.set("bytes", static_cast<int64_t>(bytes.size()));
  std::string_view stored = bytes;
  std::string compressed;
  if (bytes.size() >= kCompressFrom) {
    compressed.resize(ZSTD_compressBound(bytes.size()));
    const std::size_t size =
        ZSTD_compress(compressed.data(), compressed.size(), bytes.data(), bytes.size(), kCompressionLevel);
    if (ZSTD_isError(size)) {
      const Code code = ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation ? Code::out_of_memory : Code::internal;
      return Status(code, fmt::format("compressing {}: {}", name, ZSTD_getErrorName(size)));
    }
    if (size < bytes.size()) {
      compressed.resize(size);
      filled_elsewhere(compressed.data(), size);
      stored = compressed;
      json.set("zstd", true);
    }
  }
  metadata_[std::string(kTextKey) + std::string(name)] = json.dump();
  return spool_.add(std::string(kTextTensor) + std::string(name), "U8", {static_cast<int64_t>(stored.size())},
                    std::as_bytes(std::span(stored.data(), stored.size())));
}

/// The manifest with the hashes that are known by now: of as many bytes whether they are or not.
std::string NativeWriter::manifest_text() {
  static const std::string unknown(64, '0');
  std::map<std::string_view, std::string_view> sorted;
  for (const auto& entry : spool_.entries()) sorted.emplace(entry.planned.name, entry.sha256.empty() ? unknown : entry.sha256);
  Json hashes = Json::object();
  for (const auto& [name, hash] : sorted) hashes.set(name, hash);
  manifest_.set("sha256", std::move(hashes));
  return manifest_.dump(1) + "\n";
}

// Packed tiles first, whole lines all of them, so that each stays aligned; then arrays, wide elements first; then
// texts.
int rank(const io::TensorSpool::Entry& entry, const std::set<std::string, std::less<>>& names) {
  if (entry.planned.name.starts_with(kTextTensor)) return 10;
  if (!names.contains(entry.planned.name)) return 0;
  const auto dtype = io::safetensors_dtype(entry.planned.type);
  return 9 - static_cast<int>(dtype ? dtype_bytes(*dtype) : 1);
}

Result<std::string> NativeWriter::finish() {
  if (config_.empty()) return Status(Code::invalid_argument, fmt::format("{}: no config was given", path_.string()));
  NBL_TRY(add_text(kConfigText, config_));
  for (const auto& [name, bytes] : assets_) NBL_TRY(add_text(name, bytes));

  Json metadata = Json::object();
  for (const auto& [key, value] : metadata_) metadata.set(key, value);
  manifest_.set("metadata_sha256", metadata_hash(metadata));
  // Its size must be known before the hashes in it are, so it is not compressed.
  const int64_t size = static_cast<int64_t>(manifest_text().size());
  Json text = Json::object();
  text.set("bytes", size);
  metadata_[std::string(kTextKey) + std::string(kManifestText)] = text.dump();
  const io::TensorSpool::Last last{{std::string(kTextTensor) + std::string(kManifestText), "U8", {size}, size},
                                   [this] { return manifest_text(); }};

  const auto& entries = spool_.entries();
  std::vector<std::size_t> order(entries.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int ra = rank(entries[a], names_), rb = rank(entries[b], names_);
    return ra != rb ? ra < rb : io::natural_less(entries[a].planned.name, entries[b].planned.name);
  });
  // Rank 0 alone is aligned to lines; the header's padding aligns the first.
  return spool_.write_file(path_, order, metadata_, true, &last);
}

class NativeDialect final : public Dialect {
 public:
  std::string_view id() const override { return "native"; }
  std::string_view summary() const override {
    return "one file that is mapped and run in place: packed tiles, tokenizer, manifest";
  }
  std::string_view limits() const override { return "holds every QTensor and every dense array."; }
  bool recognise(const std::filesystem::path& path) const override { return is_native_file(path); }
  Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& path) const override {
    return open_native(path);
  }
  bool can_write() const override { return true; }
  Result<std::unique_ptr<CheckpointWriter>> make_writer(const std::filesystem::path& path) const override {
    NBL_ASSIGN(io::TensorSpool spool, io::TensorSpool::create(path.parent_path()));
    return std::unique_ptr<CheckpointWriter>(std::make_unique<NativeWriter>(path, std::move(spool)));
  }
  Status can_represent(std::string_view name, const QTensor& tensor) const override {
    return tensor.validate(std::string(name));
  }
};

}  // namespace
}  // namespace native

const Dialect& native_dialect() {
  static const native::NativeDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
