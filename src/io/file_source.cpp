#include "io/file_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/container.h"

namespace nbl::io {

Result<std::shared_ptr<const FileSource>> FileSource::open(const std::filesystem::path& path) {
  std::shared_ptr<FileSource> source(new FileSource);
  source->path_ = path.string();
  if (auto memory = MemoryFiles::at(path)) {
    const MemoryFiles::File* file = memory->find(path.filename().native());
    if (file != nullptr && file->read) {
      source->memory_ = std::move(memory);
      source->file_ = file;
      return std::shared_ptr<const FileSource>(std::move(source));
    }
  }
  NBL_ASSIGN(source->mapped_, MappedFile::open(path));
  return std::shared_ptr<const FileSource>(std::move(source));
}

int64_t FileSource::size() const noexcept {
  return mapped_ != nullptr ? static_cast<int64_t>(mapped_->bytes().size()) : file_->size();
}

Result<Storage> FileSource::read(int64_t offset, int64_t size) const {
  if (offset < 0 || size < 0 || offset > this->size() || size > this->size() - offset) {
    return Status(Code::corrupt, fmt::format("{}: {} bytes at {} lie outside of the file of {}", path_, size, offset, this->size()));
  }
  if (in_memory()) return view(offset, size);
  NBL_ASSIGN(Buffer bytes, Buffer::create(static_cast<std::size_t>(size)));
  NBL_TRY(file_->read(offset, {bytes.data(), static_cast<std::size_t>(size)}));
  return Storage::own(std::move(bytes));
}

Storage FileSource::view(int64_t offset, int64_t size) const {
  const auto count = static_cast<std::size_t>(size);
  if (!in_memory()) return Storage::borrow({static_cast<const std::byte*>(nullptr), count}, nullptr);
  return Storage::borrow(mapped_->bytes().subspan(static_cast<std::size_t>(offset), count), mapped_);
}

Storage file_head(const std::filesystem::path& path, int64_t size) {
  const auto source = FileSource::open(path);
  if (!source.ok()) return {};
  auto head = (*source)->read(0, std::min(size, (*source)->size()));
  return head.ok() ? std::move(head).value() : Storage();
}

Result<RawTensor> load(const RawTensor& tensor) {
  RawTensor loaded = tensor;
  if (tensor.in_memory()) return loaded;
  auto bytes = tensor.source->read(tensor.offset, static_cast<int64_t>(tensor.bytes.size()));
  if (!bytes.ok()) return bytes.status().with_context(fmt::format("tensor {}", tensor.name));
  loaded.bytes = std::move(bytes).value();
  return loaded;
}

}  // namespace nbl::io
