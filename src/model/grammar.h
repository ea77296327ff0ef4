// Grammars that generated text must match: context-free, over bytes, as a small program (a recursive transition
// network). Made of GBNF text or of a JSON schema; run by GrammarEngine.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace nbl::model {

/// Immutable; shared by any number of engines.
struct Grammar {
  enum class Op : uint8_t {
    bytes,   ///< consume one byte of sets[a], go on at the next instruction
    split,   ///< go on at each of targets[a ... a + b)
    jump,    ///< go on at a
    call,    ///< run rule_start[a], then go on at the next instruction
    repeat,  ///< run the body at the next instruction from b to c times (c < 0: without bound), then go on at a
    ret,     ///< the end of a rule or of a body
  };
  struct Instruction {
    Op op = Op::ret;
    int32_t a = 0, b = 0, c = 0;
  };
  static constexpr int32_t kNever = 1 << 28;  ///< cost of what cannot be completed

  std::vector<Instruction> code;
  std::vector<int32_t> targets;
  std::vector<int32_t> rule_start;
  std::vector<std::bitset<256>> sets;
  std::vector<int32_t> cost;  ///< [code]: the fewest bytes from there to the end of the rule or body
  int32_t root = 0;           ///< rule
  std::array<uint8_t, 256> byte_class{};  ///< bytes that no set tells apart share one
  int32_t classes = 0;
};

/// Builds a Grammar from parts. Nodes are small integers; a node that is used twice is written out twice, so what is
/// shared or recursive must be a rule.
class GrammarBuilder {
 public:
  using Node = int32_t;
  using CodePoints = std::vector<std::pair<uint32_t, uint32_t>>;  ///< inclusive ranges

  Node empty();
  Node literal(std::string_view bytes);
  Node chars(CodePoints ranges);  ///< one character of these, in UTF-8; surrogates are left out
  Node sequence(std::vector<Node> parts);
  Node choice(std::vector<Node> alternatives);  ///< of none: nothing matches
  Node repeat(Node body, int32_t min, int32_t max);  ///< max < 0: without bound
  Node call(int32_t rule);
  int32_t declare(std::string name);
  void define(int32_t rule, Node body);
  bool defined(int32_t rule) const { return rules_[static_cast<std::size_t>(rule)].body >= 0; }

  /// Everything with its complement taken within Unicode.
  static CodePoints complement(CodePoints ranges);

  /// Code::invalid_argument naming a rule that is undefined, left-recursive or never ends; Code::limit for a grammar
  /// beyond the bounds.
  Result<std::shared_ptr<const Grammar>> build(int32_t root) const;

 private:
  struct NodeData {
    enum class Kind : uint8_t { literal, set, sequence, choice, repeat, call } kind = Kind::sequence;
    std::string bytes;
    std::bitset<256> set;
    std::vector<Node> parts;
    int32_t min = 0, max = 0, rule = 0;
  };
  struct Rule {
    std::string name;
    Node body = -1;
  };
  class Emitter;
  Node add(NodeData data);
  Node byte_range(unsigned low, unsigned high);
  void utf8_ranges(uint32_t low, uint32_t high, std::vector<Node>& out);

  std::vector<NodeData> nodes_;
  std::vector<Rule> rules_;
};

/// GBNF, the notation of llama.cpp: rules `name ::= ...` of strings, character classes, `.`, groups, `|`, `* + ? {m,n}`
/// and comments; the rule "root" is the text. Errors name line and column.
Result<std::shared_ptr<const Grammar>> parse_gbnf(std::string_view text);

/// The JSON texts that are valid under a schema (draft-07 or 2020-12, a subset: docs/generation.md), objects with their
/// properties in the schema's order. Code::unsupported naming a keyword that is not implemented and where it stands.
Result<std::shared_ptr<const Grammar>> grammar_from_schema(std::string_view schema);

}  // namespace nbl::model
