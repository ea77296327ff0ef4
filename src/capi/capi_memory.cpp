// What comes from the caller's memory: checkpoints made of files that lie there, matrices made of packed arrays.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <mutex>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/memory_files.h"
#include "capi/handles.h"
#include "dialects/dialects.h"
#include "dialects/gguf_blocks.h"
#include "io/gguf_types.h"
#include "io/safetensors_types.h"

namespace nbl::capi {
namespace {

constexpr int64_t kMostFiles = 100'000;
constexpr std::size_t kReadPiece = std::size_t{16} << 20;
constexpr int64_t kSmallFile = int64_t{1} << 20;  // is read at once: configurations, which several readers look at

/// The element at `index` of an array whose elements have the size that the first one states, over the defaults. `first_size`: of the
/// struct's first release.
template <class Element>
Status element(const Element* first, int64_t index, std::size_t first_size, const char* type, Element* out) {
  uint32_t stride = 0, size = 0;
  std::memcpy(&stride, first, sizeof stride);
  const auto* at = reinterpret_cast<const Element*>(reinterpret_cast<const char*>(first) + static_cast<std::size_t>(index) * stride);
  if (index > 0) std::memcpy(&size, at, sizeof size);
  if (index > 0 && size != stride) {
    return {Code::invalid_argument, fmt::format("{} {}: struct_size is {}; {} was expected, as in the first", type, index, size, stride)};
  }
  return read_options(at, first_size, type, out);
}

/// Calls the caller's release when the last user of the file is gone.
class Lease {
 public:
  Lease(nbl_release_fn release, void* user) : release_(release), user_(user) {}
  ~Lease() {
    if (release_ != nullptr) release_(user_);
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

 private:
  nbl_release_fn release_;
  void* user_;
};

/// A file that the caller's function reads.
class ReadFile {
 public:
  ReadFile(const nbl_file& file, std::shared_ptr<const Lease> lease)
      : name_(file.name == nullptr ? "" : file.name), read_(file.read), user_(file.user), lease_(std::move(lease)) {}

  /// Fills `into` from `offset`, in pieces.
  Status read(int64_t offset, std::span<std::byte> into) const {
    const std::lock_guard lock(mutex_);
    while (!into.empty()) {
      const std::size_t piece = std::min(kReadPiece, into.size());
      if (const int32_t error = read_(user_, offset, into.data(), piece); error != 0) {
        return {Code::io, fmt::format("reading {} bytes at {} of '{}' failed: the caller's function returned {}", piece, offset, name_,
                                      error)};
      }
      offset += static_cast<int64_t>(piece);
      into = into.subspan(piece);
    }
    return {};
  }

 private:
  std::string name_;
  nbl_read_fn read_;
  void* user_;
  std::shared_ptr<const Lease> lease_;
  mutable std::mutex mutex_;
};

Result<MemoryFiles::File> take_file(const nbl_file& file, int64_t index, std::shared_ptr<const Lease> lease) {
  const std::string name = file.name == nullptr ? std::string() : file.name;
  if ((file.flags & ~uint64_t{NBL_FILE_ON_DEMAND}) != 0) {
    return Status(Code::invalid_argument, fmt::format("file {} ('{}'): flags {:#x} are not known", index, name, file.flags));
  }
  if (file.size < 0 || (file.data == nullptr && file.read == nullptr && file.size > 0)) {
    return Status(Code::invalid_argument,
                  fmt::format("file {} ('{}'): {}", index, name,
                              file.size < 0 ? "its size is negative" : "neither data nor read was given"));
  }
  if (file.data != nullptr) {
    return MemoryFiles::File{name, {static_cast<const std::byte*>(file.data), static_cast<std::size_t>(file.size)}, std::move(lease)};
  }
  const auto reader = std::make_shared<const ReadFile>(file, std::move(lease));
  if ((file.flags & NBL_FILE_ON_DEMAND) != 0 && file.size > kSmallFile) {
    return MemoryFiles::File{name, {}, nullptr, [reader](int64_t offset, std::span<std::byte> into) { return reader->read(offset, into); },
                             file.size};
  }
  NBL_ASSIGN(Buffer bytes, Buffer::create(static_cast<std::size_t>(file.size)));
  NBL_TRY(reader->read(0, {bytes.data(), bytes.size()}));
  const auto whole = std::make_shared<const Buffer>(std::move(bytes));
  return MemoryFiles::File{name, {whole->data(), whole->size()}, whole};
}

Status open_files(const RuntimePtr& runtime, const nbl_file* files, int64_t count, nbl_checkpoint** out) {
  std::vector<nbl_file> given;
  std::vector<std::shared_ptr<const Lease>> leases;
  given.reserve(static_cast<std::size_t>(count));
  leases.reserve(static_cast<std::size_t>(count));
  Status wrong;
  for (int64_t i = 0; i < count && wrong.ok(); ++i) {
    nbl_file file = NBL_FILE_INIT;
    wrong = element(files, i, offsetof(nbl_file, flags), "nbl_file", &file);
    if (!wrong.ok()) break;
    leases.push_back(std::make_shared<const Lease>(file.release, file.user));
    given.push_back(file);
  }
  NBL_TRY(wrong);
  std::vector<MemoryFiles::File> taken;
  for (std::size_t i = 0; i < given.size(); ++i) {
    NBL_ASSIGN(MemoryFiles::File file, take_file(given[i], static_cast<int64_t>(i), std::move(leases[i])));
    taken.push_back(std::move(file));
  }
  NBL_ASSIGN(const auto memory, MemoryFiles::create(std::move(taken)));
  const bool directory = memory->find("config.json") != nullptr;
  NBL_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint,
             pipeline::open_checkpoint(directory ? memory->path() : memory->path() / memory->files().front().name));
  for (const std::string& warning : checkpoint->warnings()) runtime->warn(warning);
  // What reads its texts only when asked must find the files as long as it lives.
  std::shared_ptr<const Checkpoint> whole(checkpoint.get(), [checkpoint, memory](const Checkpoint*) {});
  *out = new nbl_checkpoint{runtime, std::move(whole)};
  return {};
}

/// What one nbl_array says, checked.
struct GivenArray {
  std::string name, type;
  Shape shape;
  std::span<const std::byte> bytes;
};

/// `block`: elements in a block of the type, and its bytes; 0 for a type that is not known.
Result<GivenArray> take_array(const nbl_array* arrays, int64_t index, const std::function<std::pair<int64_t, int64_t>(const char*)>& block) {
  nbl_array a = NBL_ARRAY_INIT;
  NBL_TRY(element(arrays, index, sizeof(nbl_array), "nbl_array", &a));
  if (a.name == nullptr || *a.name == '\0' || a.type == nullptr || a.rank < 0 || a.rank > 8 || (a.rank > 0 && a.shape == nullptr)) {
    return Status(Code::invalid_argument, fmt::format("array {}: a name, a type and at most 8 dimensions were expected", index));
  }
  GivenArray out{a.name, a.type, Shape(a.shape, a.shape + a.rank), {}};
  const auto [width, size] = block(a.type);
  const auto elements = element_count(out.shape);
  int64_t total = 0;
  const bool whole = width > 0 && elements.ok() && (width == 1 || (!out.shape.empty() && out.shape.back() % width == 0));
  if (!whole || !checked_mul(*elements / width, size, &total)) {
    return Status(Code::invalid_argument,
                  fmt::format("array '{}': {} elements of type '{}' are none", a.name, shape_string(out.shape), a.type));
  }
  if (total > 0 && a.data == nullptr) return Status(Code::invalid_argument, fmt::format("array '{}': data is NULL", a.name));
  out.bytes = {static_cast<const std::byte*>(a.data), static_cast<std::size_t>(total)};
  return out;
}

/// GGUF keeps a matrix in one array, of blocks.
Result<QTensor> read_blocks(const nbl_array* arrays, int64_t count) {
  if (count != 1) return Status(Code::invalid_argument, fmt::format("{} arrays; GGUF keeps a matrix in one, \"weight\"", count));
  NBL_ASSIGN(const GivenArray given, take_array(arrays, 0, [](const char* name) {
               const io::GgufType* type = io::gguf_type(std::string_view(name));
               return type == nullptr ? std::pair<int64_t, int64_t>() : std::pair(type->block, type->block_bytes);
             }));
  if (given.name != "weight")
    return Status(Code::invalid_argument, fmt::format("array '{}'; \"weight\" was expected", given.name));
  io::RawTensor raw{given.name, given.type, given.shape, {}, "memory"};
  NBL_ASSIGN(raw.bytes, Storage::copy(given.bytes));
  NBL_ASSIGN(QTensor tensor, dialects::gguf_matrix(raw, {}));
  NBL_TRY(tensor.validate(given.name));
  return tensor;
}

/// A model of one module, as its format would lie in a directory.
Result<QTensor> read_packed(std::string_view format, const nbl_array* arrays, int64_t count, const char* config_json) {
  if (format == "gguf") return read_blocks(arrays, count);
  NBL_ASSIGN(const dialects::Dialect* dialect, dialects::find_dialect(format));
  Json quantization = Json::object();
  if (config_json != nullptr && *config_json != '\0') {
    NBL_ASSIGN(quantization, Json::parse(config_json, "config_json"));
    if (!quantization.is_object()) return Status(Code::invalid_argument, "config_json is no JSON object");
  }
  Json config = Json::object();
  if (format != "huggingface") {  // which stands for arrays that are not packed
    // A dialect's variants, "gptq_v2" or "compressed-tensors-int", are its own files with another setting.
    std::string_view method = format;
    for (const std::string_view family : {"gptq", "compressed-tensors"}) {
      if (format.starts_with(family)) method = family;
    }
    if (quantization.find("quant_method") == nullptr) quantization.set("quant_method", method);
    if (method == "gptq" && quantization.find("checkpoint_format") == nullptr) quantization.set("checkpoint_format", format);
    config.set("quantization_config", std::move(quantization));
  }
  const std::string config_text = config.dump();

  Json header = Json::object();
  std::vector<std::span<const std::byte>> parts;
  int64_t end = 0;
  for (int64_t i = 0; i < count; ++i) {
    NBL_ASSIGN(const GivenArray given, take_array(arrays, i, [](const char* type) {
                 const int bits = io::safetensors_type_bits(type);
                 return bits < 8 ? std::pair<int64_t, int64_t>(bits == 0 ? 0 : 8 / bits, 1) : std::pair<int64_t, int64_t>(1, bits / 8);
               }));
    Json dims = Json::array();
    for (const int64_t d : given.shape) dims.push_back(d);
    const int64_t begin = end;
    if (!checked_add(end, static_cast<int64_t>(given.bytes.size()), &end)) return Status(Code::limit, "the arrays are larger than any memory");
    Json offsets = Json::array();
    offsets.push_back(begin);
    offsets.push_back(end);
    const std::string name = "matrix." + given.name;
    if (header.find(name) != nullptr) return Status(Code::invalid_argument, fmt::format("array '{}' is there twice", given.name));
    header.set(name, Json::object({{"dtype", given.type}, {"shape", std::move(dims)}, {"data_offsets", std::move(offsets)}}));
    parts.push_back(given.bytes);
  }
  std::string text = header.dump();
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');
  NBL_ASSIGN(Buffer made, Buffer::create(8 + text.size() + static_cast<std::size_t>(end)));
  const auto shared = std::make_shared<Buffer>(std::move(made));  // a tensor may stay in it
  Buffer& file = *shared;
  const uint64_t header_bytes = text.size();
  std::memcpy(file.data(), &header_bytes, 8);
  std::memcpy(file.data() + 8, text.data(), text.size());
  std::byte* at = file.data() + 8 + text.size();
  for (const auto part : parts) at = std::copy(part.begin(), part.end(), at);
  std::vector<MemoryFiles::File> files;
  files.push_back({"config.json", std::as_bytes(std::span(config_text.data(), config_text.size())), nullptr});
  files.push_back({"model.safetensors", {file.data(), file.size()}, shared});
  NBL_ASSIGN(const auto memory, MemoryFiles::create(std::move(files)));
  NBL_ASSIGN(const auto checkpoint, dialect->open(memory->path()));
  return checkpoint->matrix("matrix.weight");
}

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_checkpoint_open_files(nbl_runtime* runtime, const nbl_file* files, int64_t count,
                                     nbl_checkpoint** out_checkpoint) {
  if (out_checkpoint != nullptr) *out_checkpoint = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(files, "files"));
    NBL_TRY(require(out_checkpoint, "out_checkpoint"));
    if (count < 1 || count > kMostFiles) {
      return {Code::invalid_argument, fmt::format("count is {}; 1 to {} was expected", count, kMostFiles)};
    }
    return open_files(runtime->state, files, count, out_checkpoint);
  });
}

nbl_status nbl_qtensor_from_packed(nbl_runtime* runtime, const char* format, const nbl_array* arrays, int64_t count,
                                   const char* config_json, nbl_qtensor** out_qtensor) {
  if (out_qtensor != nullptr) *out_qtensor = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(format, "format"));
    NBL_TRY(require(arrays, "arrays"));
    NBL_TRY(require(out_qtensor, "out_qtensor"));
    if (count < 1 || count > 64) return {Code::invalid_argument, fmt::format("count is {}; 1 to 64 was expected", count)};
    auto q = std::make_unique<nbl_qtensor>();
    q->runtime = runtime->state;
    NBL_ASSIGN(q->tensor, read_packed(format, arrays, count, config_json));
    *out_qtensor = q.release();
    return {};
  });
}

}  // extern "C"
