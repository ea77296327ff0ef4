#include "tensor/storage.h"

#include <cstring>

namespace nbl {

Storage Storage::own(Buffer buffer) {
  auto shared = std::make_shared<const Buffer>(std::move(buffer));
  Storage storage;
  storage.bytes_ = {shared->data(), shared->size()};
  storage.keep_alive_ = std::move(shared);
  storage.owns_ = true;
  return storage;
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
