#include "tensor/storage.h"

#include <cstring>

namespace nbl {

Storage Storage::own(Buffer buffer) {
  auto shared = std::make_shared<Buffer>(std::move(buffer));
  Storage storage;
  storage.bytes_ = {shared->data(), shared->size()};
  storage.keep_alive_ = std::move(shared);
  storage.owns_ = true;
  return storage;
}

Buffer Storage::release() && {
  const Storage dying = std::move(*this);
  bytes_ = {};
  owns_ = false;
  if (!dying.owns_ || dying.keep_alive_.use_count() != 1) return {};
  // own() made it, and not as a constant.
  return std::move(*static_cast<Buffer*>(const_cast<void*>(dying.keep_alive_.get())));
}

Storage Storage::borrow(std::span<const std::byte> bytes, std::shared_ptr<const void> keep_alive) {
  Storage storage;
  storage.bytes_ = bytes;
  storage.keep_alive_ = std::move(keep_alive);
  return storage;
}

Result<Storage> Storage::copy(std::span<const std::byte> bytes) {
  NBL_ASSIGN(Buffer buffer, Buffer::create(bytes.size()));
  if (!bytes.empty()) std::memcpy(buffer.data(), bytes.data(), bytes.size());
  return own(std::move(buffer));
}

}  // namespace nbl
