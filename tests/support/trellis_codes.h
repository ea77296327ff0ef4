// Codes of trellis-coded weights by their definition, bit by bit, apart from the library's own.
#pragma once

#include <cstdint>
#include <vector>

namespace nbl::test {

/// The column of a tile's step, and the labels of all steps of a path.
inline int64_t step_column(int64_t step) { return step / 8 + 8 * (step % 8); }
struct StepLabels {
  int one = 0, zero = 0;
};
inline std::vector<StepLabels> labels_of(const std::vector<int>& path) {
  const auto u = [&](int64_t s) { return s < 0 ? 0 : path[static_cast<std::size_t>(s)]; };
  std::vector<StepLabels> out;
  for (int64_t s = 0; s < static_cast<int64_t>(path.size()); ++s)
    out.push_back({u(s) ^ u(s - 1) ^ u(s - 6), u(s - 2) ^ u(s - 4)});
  return out;
}

/// Random paths with random free bits, codes [n, k] of bits + 1 bits. next(): any 32 bits.
template <class Next>
std::vector<uint8_t> random_trellis_codes(Next&& next, int64_t n, int64_t k, int bits) {
  std::vector<uint8_t> codes(static_cast<std::size_t>(n * k));
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t first = 0; first < k; first += 64) {
      std::vector<int> path(64);
      for (int64_t s = 0; s < 64; ++s)
        path[static_cast<std::size_t>(s)] = first + step_column(s) < k ? static_cast<int>(next() & 1u) : 0;
      const std::vector<StepLabels> labels = labels_of(path);
      for (int64_t s = 0; s < 64; ++s) {
        const int64_t column = first + step_column(s);
        if (column >= k) continue;
        const int free = static_cast<int>(next() & ((1u << (bits - 1)) - 1u));
        codes[static_cast<std::size_t>(row * k + column)] = static_cast<uint8_t>(
            free << 2 | labels[static_cast<std::size_t>(s)].one << 1 | labels[static_cast<std::size_t>(s)].zero);
      }
    }
  }
  return codes;
}

}  // namespace nbl::test
