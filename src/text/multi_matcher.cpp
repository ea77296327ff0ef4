#include "text/multi_matcher.h"

#include <algorithm>
#include <string>

namespace nbl::text {

void MultiMatcher::build(const std::vector<std::string_view>& patterns) {
  nodes_.clear();
  edges_.clear();
  root_.fill(kNone);
  if (patterns.empty()) return;

  // Sorted patterns make each node's edges contiguous: the trie is built level by level from ranges of the sorted list.
  std::vector<uint32_t> order(patterns.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return patterns[a] < patterns[b]; });

  struct Pending {
    uint32_t node;
    uint32_t first;
    uint32_t last;
    std::size_t depth;
  };
  nodes_.emplace_back();
  std::vector<Pending> queue{{0, 0, static_cast<uint32_t>(order.size()), 0}};
  std::vector<uint32_t> parent{kNone};
  std::vector<unsigned char> label{0};
  std::vector<bool> after_match{false};  // a pattern ends at this node or above it
  for (std::size_t q = 0; q < queue.size(); ++q) {
    const Pending p = queue[q];
    uint32_t i = p.first;
    while (i < p.last && patterns[order[i]].size() == p.depth) {
      if (p.depth > 0 && nodes_[p.node].pattern == kNone) {
        nodes_[p.node].pattern = order[i];
        nodes_[p.node].length = static_cast<uint32_t>(p.depth);
        after_match[p.node] = true;
      }
      ++i;
    }
    nodes_[p.node].first_edge = static_cast<uint32_t>(edges_.size());
    while (i < p.last) {
      const auto byte = static_cast<unsigned char>(patterns[order[i]][p.depth]);
      uint32_t j = i;
      while (j < p.last && static_cast<unsigned char>(patterns[order[j]][p.depth]) == byte) ++j;
      const auto node = static_cast<uint32_t>(nodes_.size());
      nodes_.emplace_back();
      parent.push_back(p.node);
      label.push_back(byte);
      after_match.push_back(after_match[p.node]);
      edges_.push_back({byte, node});
      queue.push_back({node, i, j, p.depth + 1});
      i = j;
    }
    nodes_[p.node].edges = static_cast<uint32_t>(edges_.size()) - nodes_[p.node].first_edge;
  }
  for (uint32_t e = 0; e < nodes_[0].edges; ++e) root_[edges_[e].byte] = edges_[e].to;

  // Breadth first (the order of the nodes): where to go on when no edge fits. Behind a match nothing that begins later
  // may be preferred, so the search ends there.
  for (uint32_t n = 1; n < nodes_.size(); ++n) {
    Node& node = nodes_[n];
    if (after_match[n]) {
      node.fail = kNone;
      continue;
    }
    uint32_t f = parent[n] == 0 ? kNone : nodes_[parent[n]].fail;
    node.fail = 0;
    while (parent[n] != 0) {
      if (f == kNone) {
        node.fail = kNone;
        break;
      }
      const uint32_t next = child(f, label[n]);
      if (next != kNone) {
        node.fail = next;
        break;
      }
      if (f == 0) break;
      f = nodes_[f].fail;
      if (f == kNone) {
        node.fail = kNone;
        break;
      }
    }
    if (node.fail != kNone && node.fail != 0 && nodes_[node.fail].pattern != kNone) {
      node.pattern = nodes_[node.fail].pattern;
      node.length = nodes_[node.fail].length;
    }
  }
}

uint32_t MultiMatcher::child(uint32_t node, unsigned char byte) const noexcept {
  if (node == 0) return root_[byte];
  const Node& n = nodes_[node];
  const Edge* const first = edges_.data() + n.first_edge;
  const Edge* const last = first + n.edges;
  if (n.edges <= 8) {
    for (const Edge* e = first; e != last; ++e) {
      if (e->byte == byte) return e->to;
    }
    return kNone;
  }
  const Edge* const e = std::lower_bound(first, last, byte, [](const Edge& a, unsigned char b) { return a.byte < b; });
  return e != last && e->byte == byte ? e->to : kNone;
}

std::optional<MultiMatcher::Match> MultiMatcher::find(std::string_view text, std::size_t from) const noexcept {
  if (empty()) return std::nullopt;
  std::optional<Match> best;
  uint32_t state = 0;
  for (std::size_t i = from; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    uint32_t next = child(state, byte);
    if (next == kNone) {
      if (state == 0) {
        if (best) return best;
        ++i;
        continue;
      }
      state = nodes_[state].fail;
      if (state == kNone) return best;
      if (best && state == 0) return best;
      continue;  // the same byte again from the shorter context
    }
    state = next;
    ++i;
    const Node& node = nodes_[state];
    if (node.pattern != kNone) {
      const Match m{node.pattern, i - node.length, i};
      if (!best || m.begin < best->begin || (m.begin == best->begin && m.end > best->end)) best = m;
    }
  }
  return best;
}

}  // namespace nbl::text
