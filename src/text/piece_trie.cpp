#include "text/piece_trie.h"

#include <algorithm>

namespace nbl::text {

void PieceTrie::build(std::vector<std::pair<std::string_view, TokenId>> pieces) {
  std::stable_sort(pieces.begin(), pieces.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  nodes_.assign(1, {});
  labels_.clear();
  targets_.clear();
  std::fill(std::begin(root_), std::end(root_), 0u);
  // Breadth first over ranges of the sorted pieces, so that a node's edges lie side by side.
  struct Pending {
    std::size_t first;
    std::size_t last;
    std::size_t depth;
  };
  std::vector<Pending> queue{{0, pieces.size(), 0}};
  for (std::size_t n = 0; n < queue.size(); ++n) {
    const Pending p = queue[n];
    std::size_t i = p.first;
    while (i < p.last && pieces[i].first.size() == p.depth) nodes_[n].id = pieces[i++].second;
    nodes_[n].first = static_cast<uint32_t>(labels_.size());
    while (i < p.last) {
      const auto byte = static_cast<unsigned char>(pieces[i].first[p.depth]);
      std::size_t j = i;
      while (j < p.last && static_cast<unsigned char>(pieces[j].first[p.depth]) == byte) ++j;
      labels_.push_back(byte);
      targets_.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.emplace_back();
      queue.push_back({i, j, p.depth + 1});
      i = j;
    }
    nodes_[n].count = static_cast<uint32_t>(labels_.size()) - nodes_[n].first;
  }
  for (uint32_t e = 0; e < nodes_[0].count; ++e) root_[labels_[e]] = targets_[e];
}

uint32_t PieceTrie::child(uint32_t node, unsigned char byte) const noexcept {
  if (node == 0) return root_[byte];
  const Node& n = nodes_[node];
  const unsigned char* const first = labels_.data() + n.first;
  const unsigned char* const last = first + n.count;
  if (n.count <= 8) {
    for (const unsigned char* p = first; p != last; ++p) {
      if (*p == byte) return targets_[static_cast<std::size_t>(p - labels_.data())];
    }
    return 0;
  }
  const unsigned char* const p = std::lower_bound(first, last, byte);
  return p != last && *p == byte ? targets_[static_cast<std::size_t>(p - labels_.data())] : 0;
}

}  // namespace nbl::text
