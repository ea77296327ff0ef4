// Reading GGUF, versions 2 and 3, one file or a split set. Every count and offset is compared with what is left of the
// file before anything is made of it, so memory stays within a small multiple of the file's size.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "base/bounds.h"
#include "base/checked.h"
#include "base/plain_text.h"
#include "io/container.h"
#include "io/gguf_types.h"

namespace nbl::io {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxKey = 65535;
constexpr std::size_t kMaxName = 255;
constexpr uint32_t kMaxDims = 4;
constexpr int64_t kMaxAlignment = int64_t{1} << 24;
constexpr int64_t kFirstHead = int64_t{1} << 20;  // bytes read at first of a file behind a function
constexpr BoundOf<int64_t> kMaxSplits{Bound::gguf_parts};
constexpr BoundOf<uint64_t> kMaxElements{Bound::gguf_array_elements};  // of all metadata arrays: a value takes more memory than it takes in the file

enum class ValueType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

constexpr int kMaxDepth = 8;  // of arrays in arrays, which llama.cpp does not write at all

int64_t scalar_bytes(ValueType type) noexcept {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::boolean:
      return 1;
    case ValueType::u16:
    case ValueType::i16:
      return 2;
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::f32:
      return 4;
    case ValueType::u64:
    case ValueType::i64:
    case ValueType::f64:
    case ValueType::string:  // at least: its length
      return 8;
    case ValueType::array:  // at least: the type and number of its elements
      return 12;
  }
  return 0;
}

// The text with every byte that is not UTF-8 replaced by U+FFFD.
std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_sequence(text);
    if (length == 0) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out;
}

// A place in the file, of which `bytes` are at hand. Once something did not fit, it stays failed and every further read gives zero.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, int64_t file_size) : bytes_(bytes), file_size_(file_size) {}

  template <class T>
  T read() noexcept {
    T value{};
    if (!take(sizeof(T))) return value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += static_cast<int64_t>(sizeof(T));
    return value;
  }
  std::string_view string() noexcept {
    const uint64_t length = read<uint64_t>();
    if (!take(length)) return {};
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, static_cast<std::size_t>(length));
    at_ += static_cast<int64_t>(length);
    return text;
  }
  /// Of the file.
  int64_t left() const noexcept { return failed_ ? 0 : file_size_ - at_; }
  int64_t position() const noexcept { return at_; }
  bool failed() const noexcept { return failed_; }
  /// Failed at something that the file may have and that is not at hand.
  bool ran_short() const noexcept { return short_; }

 private:
  bool take(uint64_t size) noexcept {
    if (failed_) return false;
    short_ = size > bytes_.size() - static_cast<std::size_t>(at_) && size <= static_cast<uint64_t>(left());
    failed_ = short_ || size > static_cast<uint64_t>(left());
    return !failed_;
  }
  std::span<const std::byte> bytes_;
  int64_t file_size_ = 0, at_ = 0;
  bool failed_ = false, short_ = false;
};

class GgufContainer final : public Container {
 public:
  std::string format() const override { return "gguf"; }
  std::string origin() const override { return origin_; }
  const std::vector<RawTensor>& tensors() const override { return tensors_; }
  const Json& metadata() const override { return metadata_; }
  int64_t file_bytes() const override { return file_bytes_; }
  const RawTensor* find(std::string_view name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &tensors_[it->second];
  }
  Status build_index() {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (!index_.emplace(tensors_[i].name, i).second) {
        return Status(Code::corrupt, fmt::format("{}: tensor {} is there twice", tensors_[i].file, tensors_[i].name));
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

class Reader {
 public:
  /// `head`: the file, or as much of its beginning as has been read.
  Reader(const fs::path& path, std::shared_ptr<const FileSource> source, Storage head)
      : file_(path.string()), source_(std::move(source)), head_(std::move(head)), cursor_(head_.bytes(), source_->size()) {}

  /// read() failed, and might not have with more of the file's beginning.
  bool wants_more() const noexcept { return cursor_.ran_short(); }

  Status read() {
    NBL_TRY(read_head());
    NBL_TRY(read_metadata());
    NBL_TRY(read_infos());
    return place_data();
  }

  Json metadata = Json::object();
  std::vector<RawTensor> tensors;

 private:
  Status corrupt(std::string what) const {
    return Status(Code::corrupt, fmt::format("{}: {}", file_, std::move(what)));
  }
  Status truncated(std::string_view where) const {
    return corrupt(fmt::format("the file of {} bytes ends within {}", source_->size(), where));
  }

  Status read_head() {
    if (source_->size() == 0) return corrupt("the file is empty");
    char magic[4] = {};
    const auto head = head_.bytes().first(std::min<std::size_t>(4, head_.size()));
    std::memcpy(magic, head.data(), head.size());
    if (std::string_view(magic, 4) != "GGUF") return corrupt("it does not begin with 'GGUF'");
    (void)cursor_.read<uint32_t>();
    const auto version = cursor_.read<uint32_t>();
    tensor_count_ = cursor_.read<uint64_t>();
    metadata_count_ = cursor_.read<uint64_t>();
    if (cursor_.failed()) return truncated("its header");
    if (version != 0 && (version & 0xffffu) == 0) {
      return Status(Code::unsupported,
                    fmt::format("{}: a big-endian GGUF file; only little-endian ones are read", file_));
    }
    if (version != 2 && version != 3) {
      return Status(Code::unsupported, fmt::format("{}: GGUF version {}; versions 2 and 3 are read", file_, version));
    }
    // The smallest entry takes 13 bytes of metadata, or 24 of tensor information.
    if (metadata_count_ > static_cast<uint64_t>(cursor_.left()) / 13) {
      return corrupt(fmt::format("{} metadata entries are stated in {} bytes", metadata_count_, cursor_.left()));
    }
    if (tensor_count_ > static_cast<uint64_t>(cursor_.left()) / 24) {
      return corrupt(fmt::format("{} tensors are stated in {} bytes", tensor_count_, cursor_.left()));
    }
    return {};
  }

  Result<Json> read_scalar(ValueType type) {
    switch (type) {
      case ValueType::u8:
        return Json(int64_t{cursor_.read<uint8_t>()});
      case ValueType::i8:
        return Json(int64_t{cursor_.read<int8_t>()});
      case ValueType::u16:
        return Json(int64_t{cursor_.read<uint16_t>()});
      case ValueType::i16:
        return Json(int64_t{cursor_.read<int16_t>()});
      case ValueType::u32:
        return Json(int64_t{cursor_.read<uint32_t>()});
      case ValueType::i32:
        return Json(int64_t{cursor_.read<int32_t>()});
      case ValueType::f32:
        return Json(double{cursor_.read<float>()});
      case ValueType::f64:
        return Json(cursor_.read<double>());
      case ValueType::i64:
        return Json(cursor_.read<int64_t>());
      case ValueType::u64: {
        const auto value = cursor_.read<uint64_t>();
        return value > static_cast<uint64_t>(INT64_MAX) ? Json(static_cast<double>(value))
                                                        : Json(static_cast<int64_t>(value));
      }
      case ValueType::boolean: {
        const auto value = cursor_.read<uint8_t>();
        if (value > 1) return corrupt(fmt::format("a boolean holds {}", value));
        return Json(value == 1);
      }
      case ValueType::string:
        return Json(valid_utf8(cursor_.string()));
      case ValueType::array:
        break;
    }
    return corrupt(fmt::format("metadata of unknown type {}", static_cast<uint32_t>(type)));
  }

  Result<Json> read_value(ValueType type, int depth = 0) {
    if (type != ValueType::array) return read_scalar(type);
    if (depth == kMaxDepth) {
      return Status(Code::limit, fmt::format("{}: arrays nested more than {} deep in the metadata", file_, kMaxDepth));
    }
    const auto element = static_cast<ValueType>(cursor_.read<uint32_t>());
    const auto count = cursor_.read<uint64_t>();
    if (element > ValueType::f64)
      return corrupt(fmt::format("an array of unknown type {}", static_cast<uint32_t>(element)));
    if (count > static_cast<uint64_t>(cursor_.left() / scalar_bytes(element))) {
      return corrupt(fmt::format("an array of {} elements is stated with {} bytes left", count, cursor_.left()));
    }
    elements_ += count;
    if (elements_ > kMaxElements) {
      return Status(Code::limit, fmt::format("{}: more than {} array elements in the metadata", file_, kMaxElements.get()));
    }
    Json array = Json::array();
    for (uint64_t i = 0; i < count && !cursor_.failed(); ++i) {
      NBL_ASSIGN(Json value, read_value(element, depth + 1));
      array.push_back(std::move(value));
    }
    return array;
  }

  Status read_metadata() {
    for (uint64_t i = 0; i < metadata_count_; ++i) {
      const std::string_view key = cursor_.string();
      const auto type = static_cast<ValueType>(cursor_.read<uint32_t>());
      if (cursor_.failed()) return truncated(fmt::format("metadata entry {} of {}", i, metadata_count_));
      if (key.empty() || key.size() > kMaxKey || valid_utf8(key) != key) {
        return corrupt(
            fmt::format("metadata entry {} has a key of {} bytes that is empty, too long or no text", i, key.size()));
      }
      auto value = read_value(type);
      const std::string shown(key.substr(0, 100));
      if (cursor_.failed()) return truncated(fmt::format("metadata entry {}", shown));
      if (!value.ok()) return value.status().with_context(fmt::format("metadata entry {}", shown));
      if (metadata.find(key) != nullptr) return corrupt(fmt::format("metadata key {} is there twice", shown));
      metadata.set(key, std::move(value).value());
    }
    return {};
  }

  Status read_infos() {
    if (const Json* value = metadata.find("general.alignment")) {
      alignment_ = value->as_int();
      if (!value->is_int() || alignment_ <= 0 || alignment_ > kMaxAlignment ||
          !std::has_single_bit(static_cast<uint64_t>(alignment_))) {
        return corrupt(fmt::format("general.alignment {} is no power of two up to {}", alignment_, kMaxAlignment));
      }
    }
    for (uint64_t i = 0; i < tensor_count_; ++i) NBL_TRY(read_info(i));
    return {};
  }

  Status read_info(uint64_t i) {
    RawTensor tensor;
    const std::string_view name = cursor_.string();
    const auto dims = cursor_.read<uint32_t>();
    if (cursor_.failed()) return truncated(fmt::format("the description of tensor {} of {}", i, tensor_count_));
    if (name.empty() || name.size() > kMaxName || valid_utf8(name) != name) {
      return corrupt(
          fmt::format("tensor {} has a name of {} bytes that is empty, too long or no text", i, name.size()));
    }
    const auto bad = [&](std::string what) { return corrupt(fmt::format("tensor {}: {}", name, std::move(what))); };
    if (dims == 0 || dims > kMaxDims)
      return bad(fmt::format("{} dimensions where 1 to {} are possible", dims, kMaxDims));
    for (uint32_t d = 0; d < dims; ++d) {
      const auto size = cursor_.read<uint64_t>();
      if (size > static_cast<uint64_t>(INT64_MAX)) return bad(fmt::format("a dimension of {}", size));
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
    }
    const auto type_id = cursor_.read<uint32_t>();
    const auto offset = cursor_.read<uint64_t>();
    if (cursor_.failed()) return truncated(fmt::format("the description of tensor {}", name));
    const GgufType* type = gguf_type(type_id);
    if (type == nullptr) {
      return Status(Code::unsupported,
                    fmt::format("{}: tensor {} is of type {}, which is not known", file_, name, type_id));
    }
    if (tensor.shape.back() % type->block != 0) {
      return bad(fmt::format("rows of {} elements are no whole blocks of {} ({})", tensor.shape.back(), type->block,
                             type->name));
    }
    auto count = element_count(tensor.shape);
    if (!count.ok()) return bad(count.status().message());
    int64_t bytes = 0;
    if (!checked_mul(*count / type->block, type->block_bytes, &bytes)) return bad("its size overflows 64 bits");
    tensor.name = std::string(name);
    tensor.type = std::string(type->name);
    tensor.file = file_;
    tensors.push_back(std::move(tensor));
    places_.push_back({offset, bytes});
    return {};
  }

  // Tensors must lie one after the other in the listed order, each padded to the alignment.
  Status place_data() {
    const int64_t size = source_->size();
    const int64_t begin = round_up(cursor_.position(), alignment_);
    int64_t expected = 0;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const Place& place = places_[i];
      if (place.offset != static_cast<uint64_t>(expected)) {
        return corrupt(fmt::format("tensor {} lies at byte {} of the data where {} was expected", tensors[i].name,
                                   place.offset, expected));
      }
      if (begin > size || place.bytes > size - begin - expected) {
        return corrupt(fmt::format("tensor {} of {} bytes ends past the end of the file: the file is truncated",
                                   tensors[i].name, place.bytes));
      }
      tensors[i].source = source_;
      tensors[i].offset = begin + expected;
      tensors[i].bytes = source_->view(begin + expected, place.bytes);
      expected = round_up(expected + place.bytes, alignment_);
      // The padding of the last tensor may be missing; for the next one the comparison above needs it not to pass the
      // end.
      if (i + 1 < tensors.size() && expected > size - begin) {
        return corrupt(fmt::format("the file ends after tensor {}: it is truncated", tensors[i].name));
      }
    }
    return {};
  }

  struct Place {
    uint64_t offset;
    int64_t bytes;
  };
  std::string file_;
  std::shared_ptr<const FileSource> source_;
  Storage head_;
  Cursor cursor_;
  uint64_t tensor_count_ = 0, metadata_count_ = 0, elements_ = 0;
  int64_t alignment_ = 32;
  std::vector<Place> places_;
};

Status read_file(const fs::path& path, GgufContainer& out, Json& metadata) {
  NBL_ASSIGN(const std::shared_ptr<const FileSource> source, FileSource::open(path));
  const int64_t size = source->size();
  // Where a function reads the file, nobody knows how long its head is before it was looked at: more of it is read as long as it ends
  // too early.
  int64_t head_bytes = source->in_memory() ? size : std::min(size, kFirstHead);
  NBL_ASSIGN(Storage head, source->read(0, head_bytes));
  while (true) {
    Reader reader(path, source, head);
    const Status status = reader.read();
    if (reader.wants_more()) {
      const int64_t more = std::min(size, 4 * head_bytes);
      NBL_ASSIGN(Buffer longer, Buffer::create(static_cast<std::size_t>(more)));
      NBL_ASSIGN(const Storage rest, source->read(head_bytes, more - head_bytes));
      std::copy(head.bytes().begin(), head.bytes().end(), longer.data());
      std::copy(rest.bytes().begin(), rest.bytes().end(), longer.data() + head_bytes);
      head = Storage::own(std::move(longer));
      head_bytes = more;
      continue;
    }
    NBL_TRY(status);
    for (RawTensor& tensor : reader.tensors) out.tensors_.push_back(std::move(tensor));
    metadata = std::move(reader.metadata);
    break;
  }
  out.file_bytes_ += size;
  return {};
}

// "model-00001-of-00003.gguf" -> "model"
Result<std::string> split_stem(const fs::path& path, int64_t number, int64_t count) {
  const std::string name = path.filename().string();
  const std::string suffix = fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
  if (name.ends_with(suffix)) return name.substr(0, name.size() - suffix.size());
  return Status(Code::corrupt, fmt::format("{}: part {} of {} of a split model must be named '...{}'", path.string(),
                                           number + 1, count, suffix));
}

}  // namespace

Result<std::unique_ptr<Container>> open_gguf(const fs::path& file) {
  auto container = std::make_unique<GgufContainer>();
  container->origin_ = file.string();
  NBL_TRY(read_file(file, *container, container->metadata_));
  const Json& metadata = container->metadata_;
  NBL_ASSIGN(const int64_t splits, metadata.int_or("split.count", 1));
  if (splits > 1) {
    NBL_ASSIGN(const int64_t number, metadata.int_or("split.no", 0));
    if (splits > kMaxSplits)
      return Status(Code::limit, fmt::format("{}: {} parts; at most {} are read", file.string(), splits, kMaxSplits.get()));
    if (number != 0) {
      return Status(Code::invalid_argument, fmt::format("{}: part {} of {} of a split model; open the first part",
                                                        file.string(), number + 1, splits));
    }
    NBL_ASSIGN(const std::string stem, split_stem(file, 0, splits));
    for (int64_t i = 1; i < splits; ++i) {
      const fs::path part = file.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem, i + 1, splits);
      Json part_metadata;
      const Status status = read_file(part, *container, part_metadata);
      if (!status.ok()) return status.with_context(fmt::format("part {} of {}", i + 1, splits));
      const Json* stated = part_metadata.find("split.no");
      if (stated == nullptr || stated->as_int(-1) != i) {
        return Status(Code::corrupt, fmt::format("{}: it does not state that it is part {}", part.string(), i + 1));
      }
    }
    NBL_ASSIGN(const int64_t total,
               metadata.int_or("split.tensors.count", static_cast<int64_t>(container->tensors_.size())));
    if (total != static_cast<int64_t>(container->tensors_.size())) {
      return Status(Code::corrupt, fmt::format("{}: the parts hold {} tensors where {} are stated", file.string(),
                                               container->tensors_.size(), total));
    }
  }
  NBL_TRY(container->build_index());
  return std::unique_ptr<Container>(std::move(container));
}

}  // namespace nbl::io
