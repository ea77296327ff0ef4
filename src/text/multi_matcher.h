// Finds the leftmost, then longest, of many literal strings in a text, in time linear in the text whatever the strings
// (Aho and Corasick, 1975).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace nbl::text {

class MultiMatcher {
 public:
  struct Match {
    uint32_t pattern = 0;  ///< index of the pattern as it was given
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  /// Patterns must not be empty; of equal ones the first counts. Their total length is the caller's to bound.
  void build(const std::vector<std::string_view>& patterns);
  bool empty() const noexcept { return nodes_.size() <= 1; }
  /// The first match that begins at or after `from`.
  std::optional<Match> find(std::string_view text, std::size_t from) const noexcept;

 private:
  static constexpr uint32_t kNone = 0xFFFFFFFF;
  struct Edge {
    unsigned char byte;
    uint32_t to;
  };
  struct Node {
    uint32_t fail = 0;         ///< kNone: nothing further can match
    uint32_t pattern = kNone;  ///< the longest pattern that ends here
    uint32_t length = 0;       ///< of that pattern
    uint32_t first_edge = 0;
    uint32_t edges = 0;
  };
  uint32_t child(uint32_t node, unsigned char byte) const noexcept;

  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::array<uint32_t, 256> root_{};
};

}  // namespace nbl::text
