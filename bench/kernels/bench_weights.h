// Weights of random bits for benchmarks: any encoding, no quantization, memory touched by the threads that will read
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "tensor/qtensor.h"

namespace nbl::bench {

struct Shape {
  std::string name;
  int64_t n = 0, k = 0;
};

/// The shapes of a text file: lines of name, rows, columns; # begins a comment.
Result<std::vector<Shape>> read_shapes(const std::string& path);

struct Kind {
  const char* name;
  Encoding encoding;
  int bits;
  int64_t group_size;
  ZeroKind zero_kind;
  DType value_type;
};

/// What is benchmarked: every encoding that has a kernel of its own, in its common form.
const std::vector<Kind>& kinds();

Result<QTensor> random_weight(const Kind& kind, int64_t n, int64_t k, Team& team);

}  // namespace nbl::bench
