#include "dialects/hf_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "base/retrying.h"
#include "dialects/common.h"
#include "dialects/hf_conv1d.h"
#include "dialects/model_card.h"
#include "dialects/tokenizer_export.h"
#include "io/safetensors_types.h"
#include "tensor/folded_scales.h"
#include "text/assets.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kShardBytes = 5'000'000'000;

// A directory that gets its name only when it is complete; before that it is removed with all it holds.
class StagedDirectory {
 public:
  static Result<StagedDirectory> create(const fs::path& target) {
    std::error_code error;
    const fs::path parent = target.parent_path().empty() ? fs::path(".") : target.parent_path();
    if (!fs::is_directory(parent, error)) {
      return Status(Code::not_found,
                    fmt::format("cannot write '{}': '{}' is no directory", target.string(), parent.string()));
    }
    const auto status = fs::symlink_status(target, error);
    if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(target, error) && !error)) {
      return Status(Code::invalid_argument,
                    fmt::format("cannot write '{}': it exists and is no empty directory", target.string()));
    }
    // Named as remove_stale_temporaries() expects it, and locked while this process lives.
    remove_stale_temporaries(target);
    static std::atomic<uint32_t> counter{0};
    const std::string last = target.filename().string().substr(0, 200);
    StagedDirectory staged;
    do {
      staged.path_ = parent / fmt::format(".{}.{}.{}.tmp", last, ::getpid(), counter.fetch_add(1));
    } while (::mkdir(staged.path_.c_str(), 0777) != 0 && errno == EEXIST);
    staged.lock_ = open_retrying(staged.path_.c_str(), O_RDONLY | O_DIRECTORY);
    if (staged.lock_ < 0) {
      const int code = errno;
      return Status(code == ENOSPC ? Code::limit : Code::io,
                    fmt::format("cannot make a directory in '{}': {}", parent.string(), std::strerror(code)));
    }
    (void)::flock(staged.lock_, LOCK_EX | LOCK_NB);
    staged.target_ = target;
    return staged;
  }
  StagedDirectory(StagedDirectory&& other) noexcept
      : path_(std::move(other.path_)), target_(std::move(other.target_)), lock_(std::exchange(other.lock_, -1)) {
    other.path_.clear();
  }
  StagedDirectory& operator=(StagedDirectory&&) = delete;
  ~StagedDirectory() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
    if (lock_ >= 0) ::close(lock_);
  }

  const fs::path& path() const noexcept { return path_; }
  const fs::path& target() const noexcept { return target_; }

  Status commit() {
    sync(path_);
    if (::rename(path_.c_str(), target_.c_str()) != 0) {
      return Status(Code::io, fmt::format("cannot rename '{}' to '{}': {}", path_.string(), target_.string(),
                                          std::strerror(errno)));
    }
    path_.clear();
    sync(target_.parent_path().empty() ? fs::path(".") : target_.parent_path());
    return {};
  }

 private:
  StagedDirectory() = default;
  static void sync(const fs::path& directory) {
    const int fd = open_retrying(directory.c_str(), O_RDONLY | O_DIRECTORY);
    if (fd < 0) return;
    (void)retrying([&] { return ::fsync(fd); });
    ::close(fd);
  }
  fs::path path_, target_;
  int lock_ = -1;
};

bool quantized(const QTensor& tensor) {
  return std::any_of(tensor.segments.begin(), tensor.segments.end(),
                     [](const Segment& s) { return s.encoding != Encoding::dense || s.scaled; });
}

class HfWriter final : public CheckpointWriter {
 public:
  HfWriter(StagedDirectory staged, io::TensorSpool spool, std::unique_ptr<HfPacker> packer)
      : staged_(std::move(staged)), spool_(std::move(spool)), packer_(std::move(packer)) {}

  Status set_config(const Json& config) override {
    config_ = config;
    if (packer_ != nullptr) packer_->set_config(config);
    return config.is_object() ? Status() : Status(Code::invalid_argument, "the config is no JSON object");
  }
  Status set_manifest(const Json& manifest) override {
    manifest_ = manifest;
    return {};
  }

  void set_threads(int threads) override { spool_.set_threads(threads); }

  Status add_asset(std::string_view name, std::string_view bytes) override {
    if (!is_plain_file_name(name) || name.starts_with("model") || name == "config.json") {
      return Status(Code::invalid_argument, fmt::format("'{}' cannot be the name of an asset", shown(name)));
    }
    if (name == "README.md") {
      original_card_ = std::string(bytes);
      return {};
    }
    if (name == "manifest.json") return {};  // this directory gets its own
    if (name == "tokenizer.gguf") {          // what other tools read is made of it
      NBL_ASSIGN(const Json metadata, Json::parse(bytes, "tokenizer.gguf"));
      const auto made = huggingface_tokenizer(metadata);
      if (made.ok()) {
        NBL_TRY(write_file("tokenizer_config.json", made->config));
        return write_file("tokenizer.json", made->json);
      }
      if (made.status().code() != Code::unsupported) return made.status();
    }
    if (name == text::kAdditionalTemplates) return write_templates(bytes);
    return write_file(std::string(name), bytes);
  }

  Status add_matrix(std::string_view name, const QTensor& tensor) override {
    NBL_TRY(tensor.validate(std::string(name)));
    NBL_TRY(unclaimed(name));
    constexpr std::string_view kSuffix = ".weight";
    const bool named = name.ends_with(kSuffix);
    const std::string module(name.substr(0, name.size() - (named ? kSuffix.size() : 0)));
    if (packer_ != nullptr && named && quantized(tensor)) {
      const Status status = packer_->pack(module, tensor, spool_);
      if (!status.ok()) return status.with_context(fmt::format("tensor {}", name));
      names_.emplace(name);
      packed_ = true;
      return {};
    }
    if (tensor.input_rounding) {
      return Status(Code::unsupported,
                    fmt::format("tensor {}: a dense weight cannot hold rounded inputs; the native format can", name));
    }
    if (!tensor.input_scale.empty()) {
      return Status(Code::unsupported,
                    fmt::format("tensor {}: a dense weight cannot hold an input scale; the native format can", name));
    }
    Result<DType> type = DType::f32;
    if (stored_as_conv1d(config_, name)) {
      NBL_ASSIGN(const Array array, to_array(tensor));
      NBL_ASSIGN(Segment segment, pack_dense(tensor.n, tensor.k, array.dtype, array.storage.bytes().data()));
      NBL_ASSIGN(const QTensor turned, transpose_dense(make_qtensor(tensor.n, tensor.k, std::move(segment))));
      type = add_dense(std::string(name), turned, spool_);
    } else {
      type = add_dense(std::string(name), tensor, spool_);
    }
    if (!type.ok()) return type.status();
    if (named) dense_.push_back(module);
    dense_types_.insert(*type);
    names_.emplace(name);
    return {};
  }

  Status add_array(std::string_view name, const Array& array) override {
    NBL_TRY(unclaimed(name));
    names_.emplace(name);
    return spool_.add(std::string(name), io::safetensors_type_name(array.dtype), array.shape, array.storage.bytes());
  }

  Result<std::string> finish() override {
    if (!config_.is_object()) {
      return Status(Code::invalid_argument, fmt::format("{}: no config was given", staged_.target().string()));
    }
    if (packer_ != nullptr && !packed_) {  // its readers expect one at least
      return Status(Code::unsupported,
                    fmt::format("{}: no weight of this model is quantized, and the format is for those that are; "
                                "huggingface holds it as it is, and `quantize --format` makes one",
                                staged_.target().string()));
    }
    NBL_TRY(write_shards());
    note_folding(config_, manifest_);  // while the config still says how the input was quantized
    if (packer_ != nullptr) {
      // A tied output projection has no weight of its own, but loaders that make modules first must know it as dense.
      if (!names_.contains("lm_head.weight")) dense_.push_back("lm_head");
      std::sort(dense_.begin(), dense_.end(), io::natural_less);
      config_.set("quantization_config", packer_->quantization_config(dense_));
      for (const auto& [name, text] : packer_->files()) NBL_TRY(write_file(name, text));
    } else {
      config_.erase("quantization_config");
      // Loaders cast all weights to what is named here, so it must hold them all.
      const bool one = dense_types_.size() == 1;
      const char* type = one && dense_types_.contains(DType::f16)    ? "float16"
                         : one && dense_types_.contains(DType::bf16) ? "bfloat16"
                                                                     : "float32";
      config_.set(config_.find("dtype") != nullptr ? "dtype" : "torch_dtype", type);
    }
    NBL_TRY(write_file("config.json", config_.dump(2) + "\n"));
    if (manifest_.is_object() && manifest_.size() > 0)
      NBL_TRY(write_file("nibble_manifest.json", manifest_.dump(2) + "\n"));
    const Json* method = config_.find("quantization_config");
    const Json* name = method == nullptr ? nullptr : method->find("quant_method");
    NBL_TRY(write_file("README.md",
                       model_card(staged_.target().filename().string(),
                                  name == nullptr ? "huggingface" : name->as_string(), manifest_, original_card_)));
    NBL_TRY(staged_.commit());
    Sha256 all;
    for (const auto& [file, hash] : hashes_) {
      const std::string line = fmt::format("{}  {}\n", hash, file);
      all.update(std::as_bytes(std::span(line.data(), line.size())));
    }
    return all.finish_hex();
  }

 private:
  Status unclaimed(std::string_view name) const {
    if (!names_.contains(name)) return {};
    return Status(Code::invalid_argument,
                  fmt::format("{}: tensor {} was written twice", staged_.target().string(), shown(name)));
  }

  /// Chat templates beside the main one, as files of their folder.
  Status write_templates(std::string_view json) {
    NBL_ASSIGN(const Json sources, Json::parse(json, text::kAdditionalTemplates));
    const std::string folder = "additional_chat_templates";
    std::error_code error;
    fs::create_directory(staged_.path() / folder, error);
    if (error) return Status(Code::io, fmt::format("cannot make '{}': {}", (staged_.path() / folder).string(), error.message()));
    for (const auto& [name, source] : sources.members()) {
      if (!is_plain_file_name(name)) return Status(Code::invalid_argument, fmt::format("'{}' cannot be the name of a file", shown(name)));
      NBL_TRY(write_text_file(staged_.path() / folder / (name + ".jinja"), source.as_string()));
    }
    return {};
  }

  Status write_file(const std::string& name, std::string_view bytes) {
    NBL_TRY(write_text_file(staged_.path() / name, bytes));
    hashes_[name] = sha256_hex(std::as_bytes(std::span(bytes.data(), bytes.size())));
    return {};
  }

  Status write_shards() {
    const auto& entries = spool_.entries();
    std::vector<std::size_t> order(entries.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return io::natural_less(entries[a].planned.name, entries[b].planned.name);
    });
    std::vector<std::vector<std::size_t>> shards(1);
    int64_t total = 0, filled = 0;
    for (const std::size_t i : order) {
      const int64_t bytes = entries[i].planned.bytes;
      if (filled > 0 && filled + bytes > kShardBytes) {
        shards.emplace_back();
        filled = 0;
      }
      shards.back().push_back(i);
      filled += bytes;
      total += bytes;
    }
    std::map<std::string, std::string> places;
    for (std::size_t s = 0; s < shards.size(); ++s) {
      const std::string file = shards.size() == 1
                                   ? std::string("model.safetensors")
                                   : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
      // Wide elements first, so that each tensor is aligned for its type.
      std::stable_sort(shards[s].begin(), shards[s].end(), [&](std::size_t a, std::size_t b) {
        return io::safetensors_type_bits(entries[a].planned.type) > io::safetensors_type_bits(entries[b].planned.type);
      });
      for (const std::size_t i : shards[s]) places[entries[i].planned.name] = file;
      NBL_ASSIGN(hashes_[file], spool_.write_file(staged_.path() / file, shards[s], {{"format", "pt"}}, false));
    }
    if (shards.size() == 1) return {};
    Json map = Json::object();
    for (const auto& [name, file] : places) map.set(name, file);
    Json metadata = Json::object();
    metadata.set("total_size", total);
    Json index = Json::object();
    index.set("metadata", std::move(metadata));
    index.set("weight_map", std::move(map));
    return write_file("model.safetensors.index.json", index.dump(2) + "\n");
  }

  StagedDirectory staged_;
  io::TensorSpool spool_;
  std::unique_ptr<HfPacker> packer_;
  bool packed_ = false;
  Json config_, manifest_ = Json::object();
  std::string original_card_;
  std::set<std::string, std::less<>> names_;
  std::vector<std::string> dense_;
  std::map<std::string, std::string> hashes_;
  std::set<DType> dense_types_;
};

// Whether all values are exact in bf16 or f16.
DType narrowest(const QTensor& tensor) {
  bool bf16 = true, f16 = true;
  std::vector<float> row(static_cast<std::size_t>(tensor.k)), back(row.size());
  std::vector<uint16_t> narrow(row.size());
  for (int64_t r = 0; r < tensor.n && (bf16 || f16); ++r) {
    tensor.dequantize_row(r, row.data());
    const auto exact = [&](DType type) {
      convert_from_f32(row.data(), tensor.k, type, narrow.data());
      convert_to_f32(type, narrow.data(), tensor.k, back.data());
      return back == row;
    };
    bf16 = bf16 && exact(DType::bf16);
    f16 = f16 && exact(DType::f16);
  }
  return bf16 ? DType::bf16 : f16 ? DType::f16 : DType::f32;
}

}  // namespace

Result<DType> add_dense(const std::string& name, const QTensor& tensor, io::TensorSpool& spool) {
  const DType own = array_type(tensor);
  const bool plain =
      own != DType::f32 || (tensor.segments.size() == 1 && tensor.segments[0].encoding == Encoding::dense);
  const DType type = plain && own != DType::e4m3 ? own : narrowest(tensor);
  Array array;
  if (type == own) {
    NBL_ASSIGN(array, to_array(tensor));
  } else {
    NBL_ASSIGN(Buffer buffer, Buffer::create(static_cast<std::size_t>(tensor.n * tensor.k * dtype_bytes(type))));
    std::vector<float> row(static_cast<std::size_t>(tensor.k));
    for (int64_t r = 0; r < tensor.n; ++r) {
      tensor.dequantize_row(r, row.data());
      convert_from_f32(row.data(), tensor.k, type, buffer.data() + r * tensor.k * dtype_bytes(type));
    }
    array = Array{type, {tensor.n, tensor.k}, Storage::own(std::move(buffer))};
  }
  NBL_TRY(spool.add(name, io::safetensors_type_name(type), array.shape, array.storage.bytes()));
  return type;
}

Result<std::unique_ptr<CheckpointWriter>> make_hf_writer(const fs::path& path, std::unique_ptr<HfPacker> packer) {
  fs::path target = path;
  if (target.filename().empty()) target = target.parent_path();  // "out/"
  NBL_ASSIGN(StagedDirectory staged, StagedDirectory::create(target));
  NBL_ASSIGN(io::TensorSpool spool, io::TensorSpool::create(staged.path()));
  return std::unique_ptr<CheckpointWriter>(
      std::make_unique<HfWriter>(std::move(staged), std::move(spool), std::move(packer)));
}

}  // namespace nbl::dialects
