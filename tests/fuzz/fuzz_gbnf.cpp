// A grammar in GBNF: parsing, then the masks and bytes of a walk through it.
#include "fuzz/grammar_walk.h"
#include "model/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto grammar = nbl::model::parse_gbnf(nbl::fuzz::text_of(data, size));
  if (!nbl::fuzz::failed(grammar)) nbl::fuzz::walk(*grammar);
  return 0;
}
