#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/bounds.h"
#include "model/grammar.h"

namespace nbl::model {
namespace {

constexpr BoundOf<std::size_t> kMaxInstructions{Bound::grammar_instructions};
constexpr int kMaxDepth = 512;            ///< of nested nodes
constexpr int32_t kMaxEmptyRepeats = 64;  ///< of a body that may be empty: each count is a state of its own
constexpr uint32_t kLastCodePoint = 0x10FFFF;

}  // namespace

GrammarBuilder::Node GrammarBuilder::add(NodeData data) {
  nodes_.push_back(std::move(data));
  return static_cast<Node>(nodes_.size() - 1);
}

GrammarBuilder::Node GrammarBuilder::empty() { return sequence({}); }

GrammarBuilder::Node GrammarBuilder::literal(std::string_view bytes) {
  NodeData n;
  n.kind = NodeData::Kind::literal;
  n.bytes = bytes;
  return add(std::move(n));
}

GrammarBuilder::Node GrammarBuilder::sequence(std::vector<Node> parts) {
  NodeData n;
  n.kind = NodeData::Kind::sequence;
  n.parts = std::move(parts);
  return add(std::move(n));
}

GrammarBuilder::Node GrammarBuilder::choice(std::vector<Node> alternatives) {
  if (alternatives.size() == 1) return alternatives[0];
  NodeData n;
  n.kind = NodeData::Kind::choice;
  n.parts = std::move(alternatives);
  return add(std::move(n));
}

GrammarBuilder::Node GrammarBuilder::repeat(Node body, int32_t min, int32_t max) {
  if (min == 1 && max == 1) return body;
  if (max == 0) return empty();
  NodeData n;
  n.kind = NodeData::Kind::repeat;
  n.parts = {body};
  n.min = min;
  n.max = max;
  return add(std::move(n));
}

GrammarBuilder::Node GrammarBuilder::call(int32_t rule) {
  NodeData n;
  n.kind = NodeData::Kind::call;
  n.rule = rule;
  return add(std::move(n));
}

int32_t GrammarBuilder::declare(std::string name) {
  rules_.push_back({std::move(name), -1});
  return static_cast<int32_t>(rules_.size() - 1);
}

void GrammarBuilder::define(int32_t rule, Node body) { rules_[static_cast<std::size_t>(rule)].body = body; }

GrammarBuilder::CodePoints GrammarBuilder::complement(CodePoints ranges) {
  std::sort(ranges.begin(), ranges.end());
  CodePoints out;
  uint32_t next = 0;
  for (const auto& [low, high] : ranges) {
    if (low > next) out.emplace_back(next, low - 1);
    next = std::max(next, high + 1);
  }
  if (next <= kLastCodePoint) out.emplace_back(next, kLastCodePoint);
  return out;
}

GrammarBuilder::Node GrammarBuilder::byte_range(unsigned low, unsigned high) {
  NodeData n;
  n.kind = NodeData::Kind::set;
  for (unsigned b = low; b <= high; ++b) n.set.set(b);
  return add(std::move(n));
}

/// Sequences of byte ranges that spell [low, high]; both are of the same encoded length or the range is cut.
void GrammarBuilder::utf8_ranges(uint32_t low, uint32_t high, std::vector<Node>& out) {
  if (low > high) return;
  for (const uint32_t edge : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (low <= edge && high > edge) {
      utf8_ranges(low, edge, out);
      utf8_ranges(edge + 1, high, out);
      return;
    }
  }
  const int tail = low <= 0x7F ? 0 : low <= 0x7FF ? 1 : low <= 0xFFFF ? 2 : 3;
  // Cut until every byte after the first that differs runs from 80 to BF.
  for (int i = tail; i >= 1; --i) {
    const uint32_t block = (1u << (6 * i)) - 1;
    if ((low & ~block) == (high & ~block)) continue;
    if ((low & block) != 0) {
      utf8_ranges(low, low | block, out);
      utf8_ranges((low | block) + 1, high, out);
      return;
    }
    if ((high & block) != block) {
      utf8_ranges(low, (high & ~block) - 1, out);
      utf8_ranges(high & ~block, high, out);
      return;
    }
  }
  static constexpr unsigned kLead[] = {0x00, 0xC0, 0xE0, 0xF0};
  std::vector<Node> bytes = {byte_range(kLead[tail] | low >> (6 * tail), kLead[tail] | high >> (6 * tail))};
  for (int i = tail - 1; i >= 0; --i)
    bytes.push_back(byte_range(0x80 | (low >> (6 * i) & 0x3F), 0x80 | (high >> (6 * i) & 0x3F)));
  out.push_back(bytes.size() == 1 ? bytes[0] : sequence(std::move(bytes)));
}

GrammarBuilder::Node GrammarBuilder::chars(CodePoints ranges) {
  std::sort(ranges.begin(), ranges.end());
  NodeData ascii;
  ascii.kind = NodeData::Kind::set;
  std::vector<Node> parts;
  uint32_t next = 0;
  for (auto [low, high] : ranges) {
    low = std::max(low, next);
    high = std::min(high, kLastCodePoint);
    if (low > high) continue;
    next = high + 1;
    for (uint32_t c = low; c <= std::min(high, 0x7Fu); ++c) ascii.set.set(c);
    low = std::max(low, 0x80u);
    if (low > high) continue;
    if (low <= 0xD7FF) utf8_ranges(low, std::min(high, 0xD7FFu), parts);
    if (high >= 0xE000) utf8_ranges(std::max(low, 0xE000u), high, parts);
  }
  if (ascii.set.any()) parts.push_back(add(std::move(ascii)));
  return choice(std::move(parts));
}

/// Writes the program and computes what the engine needs to know of it.
class GrammarBuilder::Emitter {
 public:
  Emitter(const GrammarBuilder& builder, Grammar& out) : b_(builder), g_(out) {}

  Status run(int32_t root) {
    g_.root = root;
    for (const Rule& rule : b_.rules_) {
      if (rule.body < 0)
        return Status(Code::invalid_argument, fmt::format("the grammar's rule \"{}\" is used but not defined", rule.name));
      g_.rule_start.push_back(here());
      NBL_TRY(emit(rule.body, 0));
      NBL_TRY(push({Grammar::Op::ret, 0, 0, 0}));
    }
    NBL_TRY(costs());
    NBL_TRY(repeats());
    NBL_TRY(left_recursion());
    classes();
    return {};
  }

 private:
  using Op = Grammar::Op;
  int32_t here() const { return static_cast<int32_t>(g_.code.size()); }
  Grammar::Instruction& at(int32_t pc) { return g_.code[static_cast<std::size_t>(pc)]; }
  int32_t& cost(int32_t pc) { return g_.cost[static_cast<std::size_t>(pc)]; }
  Status push(Grammar::Instruction i) {
    if (g_.code.size() >= kMaxInstructions)
      return Status(Code::limit, fmt::format("the grammar needs more than {} instructions", kMaxInstructions.get()));
    g_.code.push_back(i);
    return {};
  }
  int32_t set_index(const std::bitset<256>& set) {
    const auto found = set_at_.find(set);
    if (found != set_at_.end()) return found->second;
    g_.sets.push_back(set);
    return set_at_[set] = static_cast<int32_t>(g_.sets.size() - 1);
  }

  Status emit(Node node, int depth) {
    if (depth > kMaxDepth) return Status(Code::limit, fmt::format("the grammar nests more than {} levels", kMaxDepth));
    const NodeData& n = b_.nodes_[static_cast<std::size_t>(node)];
    switch (n.kind) {
      case NodeData::Kind::literal:
        for (const char c : n.bytes) {
          std::bitset<256> one;
          one.set(static_cast<unsigned char>(c));
          NBL_TRY(push({Op::bytes, set_index(one), 0, 0}));
        }
        return {};
      case NodeData::Kind::set:
        return push({Op::bytes, set_index(n.set), 0, 0});
      case NodeData::Kind::sequence:
        for (const Node part : n.parts) NBL_TRY(emit(part, depth + 1));
        return {};
      case NodeData::Kind::choice: {
        const int32_t split = here(), first = static_cast<int32_t>(g_.targets.size());
        NBL_TRY(push({Op::split, first, static_cast<int32_t>(n.parts.size()), 0}));
        g_.targets.resize(g_.targets.size() + n.parts.size());
        std::vector<int32_t> jumps;
        for (std::size_t i = 0; i < n.parts.size(); ++i) {
          g_.targets[static_cast<std::size_t>(first) + i] = here();
          NBL_TRY(emit(n.parts[i], depth + 1));
          jumps.push_back(here());
          NBL_TRY(push({Op::jump, 0, 0, 0}));
        }
        if (n.parts.empty()) NBL_TRY(push({Op::jump, split, 0, 0}));  // never reached
        for (const int32_t pc : jumps) at(pc).a = here();
        return {};
      }
      case NodeData::Kind::repeat: {
        const int32_t pc = here();
        NBL_TRY(push({Op::repeat, 0, n.min, n.max}));
        NBL_TRY(emit(n.parts[0], depth + 1));
        NBL_TRY(push({Op::ret, 0, 0, 0}));
        at(pc).a = here();
        return {};
      }
      case NodeData::Kind::call:
        return push({Op::call, n.rule, 0, 0});
    }
    return {};
  }

  static int32_t plus(int64_t a, int64_t b) { return static_cast<int32_t>(std::min<int64_t>(a + b, Grammar::kNever)); }

  /// Lowers the cost at `pc` to what follows from the costs that it leads to; false when it is that already.
  bool relax(int32_t pc) {
    const Grammar::Instruction& i = at(pc);
    int32_t c = Grammar::kNever;
    switch (i.op) {
      case Op::bytes:
        c = g_.sets[static_cast<std::size_t>(i.a)].any() ? plus(1, cost(pc + 1)) : Grammar::kNever;
        break;
      case Op::split:
        for (int32_t t = 0; t < i.b; ++t) c = std::min(c, cost(g_.targets[static_cast<std::size_t>(i.a + t)]));
        break;
      case Op::jump:
        c = cost(i.a);
        break;
      case Op::call:
        c = plus(cost(g_.rule_start[static_cast<std::size_t>(i.a)]), cost(pc + 1));
        break;
      case Op::repeat:
        c = i.b == 0 ? cost(i.a) : plus(int64_t{i.b} * cost(pc + 1), cost(i.a));
        break;
      case Op::ret:
        c = 0;
        break;
    }
    if (c >= cost(pc)) return false;
    cost(pc) = c;
    return true;
  }

  /// The fewest bytes to the end, by relaxation until nothing changes.
  Status costs() {
    g_.cost.assign(g_.code.size(), Grammar::kNever);
    // Within a rule, costs come from behind; between rules from either side. Rules are passed over upwards and downwards in turn, so
    // that a chain of them is settled in two rounds, whichever way it runs.
    std::vector<int32_t> starts(g_.rule_start.begin(), g_.rule_start.end());
    starts.push_back(0);
    std::sort(starts.begin(), starts.end());
    starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
    starts.push_back(here());
    const auto pieces = static_cast<int64_t>(starts.size()) - 1;
    int64_t work = 0;
    bool upwards = false;
    for (bool changed = true; changed; upwards = !upwards) {
      changed = false;
      if ((work += here()) > 200'000'000) return Status(Code::limit, "the grammar's rules depend on each other too deeply");
      for (int64_t k = 0; k < pieces; ++k) {
        const auto piece = static_cast<std::size_t>(upwards ? k : pieces - 1 - k);
        for (int32_t pc = starts[piece + 1] - 1; pc >= starts[piece]; --pc) changed = relax(pc) || changed;
      }
    }
    if (cost(g_.rule_start[static_cast<std::size_t>(g_.root)]) >= Grammar::kNever)
      return Status(Code::invalid_argument, fmt::format("no text matches the grammar's rule \"{}\"", name(g_.root)));
    return {};
  }

  /// A body that may be empty needs no lower bound, and its upper bound must be small.
  Status repeats() {
    for (int32_t pc = 0; pc < here(); ++pc) {
      Grammar::Instruction& i = at(pc);
      if (i.op != Op::repeat || cost(pc + 1) != 0) continue;
      i.b = 0;
      if (i.c > kMaxEmptyRepeats)
        return Status(Code::limit, fmt::format("the grammar repeats something that may be empty up to {} times; at most {} "
                                               "are supported",
                                               i.c, kMaxEmptyRepeats));
    }
    return {};
  }

  /// Rules that a rule may run before anything is consumed; a cycle among them would never end.
  Status left_recursion() {
    const std::size_t rules = b_.rules_.size();
    std::vector<std::vector<int32_t>> first(rules);
    std::vector<int32_t> seen(g_.code.size(), -1);
    for (std::size_t r = 0; r < rules; ++r) {
      std::vector<int32_t> todo = {g_.rule_start[r]};
      while (!todo.empty()) {
        const int32_t pc = todo.back();
        todo.pop_back();
        if (seen[static_cast<std::size_t>(pc)] == static_cast<int32_t>(r)) continue;
        seen[static_cast<std::size_t>(pc)] = static_cast<int32_t>(r);
        const Grammar::Instruction& i = at(pc);
        if (i.op == Op::split) {
          for (int32_t t = 0; t < i.b; ++t) todo.push_back(g_.targets[static_cast<std::size_t>(i.a + t)]);
        } else if (i.op == Op::jump) {
          todo.push_back(i.a);
        } else if (i.op == Op::repeat) {
          todo.push_back(pc + 1);
          if (i.b == 0) todo.push_back(i.a);
        } else if (i.op == Op::call) {
          first[r].push_back(i.a);
          if (cost(g_.rule_start[static_cast<std::size_t>(i.a)]) == 0) todo.push_back(pc + 1);
        }
      }
    }
    std::vector<uint8_t> state(rules, 0);  // 1: on the path, 2: done
    for (std::size_t start = 0; start < rules; ++start) {
      if (state[start] != 0) continue;
      std::vector<std::pair<std::size_t, std::size_t>> path = {{start, 0}};
      state[start] = 1;
      while (!path.empty()) {
        auto& [rule, next] = path.back();
        if (next == first[rule].size()) {
          state[rule] = 2;
          path.pop_back();
          continue;
        }
        const auto to = static_cast<std::size_t>(first[rule][next++]);
        if (state[to] == 1)
          return Status(Code::invalid_argument,
                        fmt::format("the grammar's rule \"{}\" is left-recursive: it begins with itself", b_.rules_[to].name));
        if (state[to] == 0) {
          state[to] = 1;
          path.emplace_back(to, 0);
        }
      }
    }
    return {};
  }

  void classes() {
    // Refines the partition of the 256 bytes set by set.
    g_.classes = 1;
    for (const std::bitset<256>& set : g_.sets) {
      std::map<std::pair<uint8_t, bool>, uint8_t> renamed;
      std::array<uint8_t, 256> next{};
      for (std::size_t b = 0; b < 256; ++b) {
        const auto [it, fresh] =
            renamed.try_emplace({g_.byte_class[b], set.test(b)}, static_cast<uint8_t>(renamed.size()));
        next[b] = it->second;
      }
      g_.byte_class = next;
      g_.classes = static_cast<int32_t>(renamed.size());
    }
  }

  const std::string& name(int32_t rule) const { return b_.rules_[static_cast<std::size_t>(rule)].name; }

  struct SetLess {
    bool operator()(const std::bitset<256>& a, const std::bitset<256>& b) const {
      for (std::size_t i = 0; i < 256; ++i)
        if (a.test(i) != b.test(i)) return b.test(i);
      return false;
    }
  };
  const GrammarBuilder& b_;
  Grammar& g_;
  std::map<std::bitset<256>, int32_t, SetLess> set_at_;
};

Result<std::shared_ptr<const Grammar>> GrammarBuilder::build(int32_t root) const {
  auto grammar = std::make_shared<Grammar>();
  Emitter emitter(*this, *grammar);
  NBL_TRY(emitter.run(root));
  return std::shared_ptr<const Grammar>(std::move(grammar));
}

}  // namespace nbl::model
