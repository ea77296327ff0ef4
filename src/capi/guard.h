// What every exported function passes through: nothing thrown inside leaves, and the message of an error is kept for
// nbl_last_error().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "nibble/nibble.h"

namespace nbl::capi {

/// This thread's message. A fixed array: storing the message of an out-of-memory error must not need memory.
void set_last_error(std::string_view message) noexcept;

/// Runs `body` (returning Status) and translates its outcome.
template <class Body>
nbl_status guard(Body&& body) noexcept {
  set_last_error({});
  try {
    const Status status = body();
    if (!status.ok()) set_last_error(status.message().empty() ? code_name(status.code()) : status.message());
    return static_cast<nbl_status>(status.code());
  } catch (const std::bad_alloc&) {
    set_last_error("memory is exhausted");
    return NBL_E_OUT_OF_MEMORY;
  } catch (const std::exception& e) {
    set_last_error(e.what());
    return NBL_E_INTERNAL;
  } catch (...) {
    set_last_error("an unknown exception was thrown inside the library");
    return NBL_E_INTERNAL;
  }
}

/// An error naming the parameter when `pointer` is NULL.
inline Status require(const void* pointer, const char* name) {
  if (pointer != nullptr) return {};
  return {Code::invalid_argument, std::string(name) + " is NULL"};
}

/// Copies the caller's option struct over the defaults. Fields that the caller's header did not have keep their
/// defaults; fields that this library does not have must be zero. `first_size`: of the struct's first release.
template <class Options>
Status read_options(const Options* given, std::size_t first_size, const char* type, Options* out) {
  if (given == nullptr) return {};
  uint32_t size = 0;
  std::memcpy(&size, given, sizeof size);
  if (size < first_size) {
    return {Code::invalid_argument, std::string(type) + ".struct_size is " + std::to_string(size) + "; at least " +
                                        std::to_string(first_size) +
                                        " was expected: initialize it with its INIT macro"};
  }
  if (size > (1u << 16)) {
    return {Code::invalid_argument,
            std::string(type) + ".struct_size is " + std::to_string(size) + ", which no version of it has had"};
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof(Options); i < size; ++i) {
    if (bytes[i] != 0) {
      return {Code::unsupported, std::string(type) + " sets a field that nibble " + nbl_version() +
                                     " does not know (byte " + std::to_string(i) + ")"};
    }
  }
  std::memcpy(static_cast<void*>(out), given, size < sizeof(Options) ? size : sizeof(Options));
  out->struct_size = sizeof(Options);
  return {};
}

/// Marks a handle that belongs to one thread at a time as being used; the second user gets Code::busy.
class BusyLock {
 public:
  explicit BusyLock(std::atomic<bool>& flag) noexcept : flag_(flag), held_(!flag.exchange(true)) {}
  ~BusyLock() {
    if (held_) flag_.store(false);
  }
  BusyLock(const BusyLock&) = delete;
  BusyLock& operator=(const BusyLock&) = delete;
  Status status(const char* what) const {
    if (held_) return {};
    return {Code::busy,
            std::string("this ") + what + " is being used by another thread, or by the function that called back"};
  }

 private:
  std::atomic<bool>& flag_;
  bool held_;
};

/// A new nbl_buffer holding a copy of the bytes.
nbl_buffer* make_buffer(const void* data, std::size_t size);
inline nbl_buffer* make_buffer(std::string_view text) { return make_buffer(text.data(), text.size()); }
nbl_buffer* make_json_buffer(const Json& json);

}  // namespace nbl::capi
