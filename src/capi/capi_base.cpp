// Version, errors and returned bytes.
#include <cstdlib>
#include <cstring>

#include "base/plain_text.h"
#include "capi/guard.h"

namespace nbl::capi {
namespace {

constexpr std::size_t kMessageBytes = 2048;
thread_local char last_error[kMessageBytes] = "";

}  // namespace

void set_last_error(std::string_view message) noexcept {
  // Names in it come from files and paths, and may hold anything.
  write_plain_text(message, last_error, kMessageBytes);
}

}  // namespace nbl::capi

struct nbl_buffer {
  char* data = nullptr;
  std::size_t size = 0;
};

namespace nbl::capi {

nbl_buffer* make_buffer(const void* data, std::size_t size) {
  auto* buffer = new nbl_buffer;
  buffer->data = static_cast<char*>(std::malloc(size + 1));  // aligned for any type, as the header promises
  if (buffer->data == nullptr) {
    delete buffer;
    throw std::bad_alloc();
  }
  if (size > 0) std::memcpy(buffer->data, data, size);
  buffer->data[size] = '\0';
  buffer->size = size;
  return buffer;
}

nbl_buffer* make_json_buffer(const Json& json) { return make_buffer(json.dump(2) + "\n"); }

}  // namespace nbl::capi

extern "C" {

const char* nbl_version(void) {
#define NBL_TEXT_(x) #x
#define NBL_TEXT(x) NBL_TEXT_(x)
  return NBL_TEXT(NBL_VERSION_MAJOR) "." NBL_TEXT(NBL_VERSION_MINOR) "." NBL_TEXT(NBL_VERSION_PATCH);
}

int32_t nbl_version_number(void) { return NBL_VERSION_MAJOR * 10000 + NBL_VERSION_MINOR * 100 + NBL_VERSION_PATCH; }

const char* nbl_status_name(nbl_status status) {
  if (status < NBL_OK || status > NBL_E_INTERNAL) return "unknown";
  return nbl::code_name(static_cast<nbl::Code>(status));
}

const char* nbl_last_error(void) { return nbl::capi::last_error; }

const void* nbl_buffer_data(const nbl_buffer* buffer) { return buffer == nullptr ? nullptr : buffer->data; }
const char* nbl_buffer_text(const nbl_buffer* buffer) { return buffer == nullptr ? nullptr : buffer->data; }
const int32_t* nbl_buffer_ids(const nbl_buffer* buffer) {
  return buffer == nullptr ? nullptr : reinterpret_cast<const int32_t*>(buffer->data);
}
size_t nbl_buffer_size(const nbl_buffer* buffer) { return buffer == nullptr ? 0 : buffer->size; }
void nbl_buffer_destroy(nbl_buffer* buffer) {
  if (buffer == nullptr) return;
  std::free(buffer->data);
  delete buffer;
}

}  // extern "C"
