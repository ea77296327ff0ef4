// What the fuzzers of the C interface share: an input read as a program of calls, handles by number, and what every call promises.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

#include "nibble/nibble.h"

namespace nbl::fuzz {

/// The input, read as small numbers; zeros when it is used up.
class Program {
 public:
  Program(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool done() const { return at_ >= size_; }
  unsigned byte() { return done() ? 0 : data_[at_++]; }
  template <size_t N>
  const char* one_of(const char* const (&list)[N]) {
    return list[byte() % N];
  }
  int64_t number() {  // small as a rule, absurd now and then
    const unsigned b = byte();
    if (b < 200) return static_cast<int64_t>(b % 40) - 2;
    static constexpr int64_t kOdd[] = {INT64_MIN, INT64_MAX, INT32_MAX, -1, 1 << 20, 0};
    return kOdd[b % std::size(kOdd)];
  }
  std::string text() {
    std::string out;
    for (unsigned n = byte() % 24; n > 0; --n) out.push_back(static_cast<char>(byte()));
    return out;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

template <class T, void (*Destroy)(T*)>
class Slots {
 public:
  ~Slots() {
    for (T* one : slots_) Destroy(one);
  }
  T* get(unsigned i) const { return slots_[i % slots_.size()]; }
  void put(unsigned i, T* handle) {
    Destroy(slots_[i % slots_.size()]);
    slots_[i % slots_.size()] = handle;
  }

 private:
  std::array<T*, 3> slots_{};  // NULL until something is put there: calls with NULL are part of the game
};

// `out` by reference: it is read after the call that is the first argument has filled it.
template <class T>
void check(nbl_status status, const T& out) {
  if (status == NBL_OK) return;
  if (out != nullptr || *nbl_last_error() == '\0' || std::strcmp(nbl_status_name(status), "unknown") == 0) std::abort();
  if (status == NBL_E_INTERNAL) std::abort();
}

inline void take(nbl_status status, nbl_buffer* const& buffer) {
  check(status, buffer);
  if (buffer != nullptr) (void)std::strlen(nbl_buffer_text(buffer));
  nbl_buffer_destroy(buffer);
}

}  // namespace nbl::fuzz
