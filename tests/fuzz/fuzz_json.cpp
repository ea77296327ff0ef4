// JSON: parsing, and writing what was parsed so that it parses again to the same.
#include <cstdlib>

#include "base/json.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parsed = nbl::Json::parse(nbl::fuzz::text_of(data, size), "input");
  if (nbl::fuzz::failed(parsed)) return 0;
  const std::string text = parsed.value().dump();
  const auto again = nbl::Json::parse(text, "what was written");
  if (!again.ok() || again.value().dump() != text) std::abort();
  return 0;
}
