// Recipes: what is understood reads back as itself.
#include <cstdlib>

#include "fuzz/fuzz.h"
#include "quant/method.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parsed = nbl::quant::parse_recipe(nbl::fuzz::text_of(data, size));
  if (nbl::fuzz::failed(parsed)) return 0;
  const auto again = nbl::quant::parse_recipe(parsed.value().text);
  if (!again.ok() || again.value().text != parsed.value().text) std::abort();
  return 0;
}
