#include "base/status.h"

namespace nbl {

const char* code_name(Code code) noexcept {
  switch (code) {
    case Code::ok:
      return "ok";
    case Code::invalid_argument:
      return "invalid_argument";
    case Code::not_found:
      return "not_found";
    case Code::io:
      return "io";
    case Code::corrupt:
      return "corrupt";
    case Code::unsupported:
      return "unsupported";
    case Code::limit:
      return "limit";
    case Code::cancelled:
      return "cancelled";
    case Code::out_of_memory:
      return "out_of_memory";
    case Code::busy:
      return "busy";
    case Code::mismatch:
      return "mismatch";
    case Code::internal:
      return "internal";
  }
  return "unknown";
}

}  // namespace nbl
