// Errors as values: Status and Result<T>.
//
// Everything that can go wrong because of a file, an argument or the machine is reported through these types. The
// message is one sentence that names the file, the tensor, what was found and what was expected. Assertions are for
// our own bugs only.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace nbl {

/// Error categories. The values are those of the C ABI (nbl_status): append only, never reuse.
enum class Code : int32_t {
  ok = 0,
  invalid_argument = 1,  ///< a caller's argument is wrong
  not_found = 2,         ///< a file, a tensor or a name does not exist
  io = 3,                ///< the operating system refused a read or a write
  corrupt = 4,           ///< a file contradicts its own format
  unsupported = 5,       ///< valid, but nothing here implements it
  limit = 6,             ///< memory, disk, a bound on untrusted input, or a missing CPU feature
  cancelled = 7,         ///< the progress callback asked to stop
  out_of_memory = 8,
  busy = 9,       ///< an object is in use by another thread
  mismatch = 10,  ///< two things that must agree do not (shapes, hashes, vocabularies)
  internal = 11,  ///< a bug of ours
};

const char* code_name(Code code) noexcept;

class [[nodiscard]] Status {
 public:
  Status() noexcept = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const noexcept { return code_ == Code::ok; }
  explicit operator bool() const noexcept { return ok(); }
  Code code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }

  /// The same error with `context` and ": " put before its message; an ok status stays ok.
  Status with_context(const std::string& context) const {
    return ok() ? *this : Status(code_, context + ": " + message_);
  }

 private:
  Code code_ = Code::ok;
  std::string message_;
};

/// Either a T or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {
    assert(!std::get<1>(state_).ok() && "a Result built from a Status must hold an error");
  }

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Status status() const { return ok() ? Status() : std::get<1>(state_); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace nbl

#define NBL_CONCAT_(a, b) a##b
#define NBL_CONCAT(a, b) NBL_CONCAT_(a, b)

/// Returns from the enclosing function when `expr` (a Status) is an error.
#define NBL_TRY(expr)                                                                          \
  do {                                                                                         \
    if (::nbl::Status nbl_try_status_ = (expr); !nbl_try_status_.ok()) return nbl_try_status_; \
  } while (false)

/// NBL_ASSIGN(auto x, f()): x is f()'s value; returns from the enclosing function when f() failed.
#define NBL_ASSIGN(decl, expr) NBL_ASSIGN_(NBL_CONCAT(nbl_result_, __LINE__), decl, expr)
#define NBL_ASSIGN_(tmp, decl, expr)  \
  auto tmp = (expr);                  \
  if (!tmp.ok()) return tmp.status(); \
  decl = std::move(tmp).value()
