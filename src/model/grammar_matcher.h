// Runs a grammar over generated tokens: which tokens may come next.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "model/grammar.h"
#include "model/sampler.h"
#include "model/token_trie.h"

namespace nbl::model {

/// A grammar over one vocabulary, with everything it has worked out so far: states are made when they are first met and kept,
/// and so is what each byte does to them and which tokens each of them allows. One thread at a time; may serve several
/// matchers.
class GrammarEngine {
 public:
  /// `eos`: the tokens that may stand where the text may end.
  GrammarEngine(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
                std::vector<text::TokenId> eos);

  using State = int32_t;
  static constexpr State kDead = -1;

  Result<State> start();
  /// kDead when the byte is not allowed there.
  Result<State> next(State state, uint8_t byte);
  Result<State> next(State state, std::string_view bytes);
  bool accepting(State state) const { return states_[static_cast<std::size_t>(state)].accepting; }
  /// Nothing but the end may follow.
  bool finished(State state) const { return states_[static_cast<std::size_t>(state)].threads.empty(); }
  /// The fewest bytes that complete the text.
  int32_t cost(State state) const { return states_[static_cast<std::size_t>(state)].cost; }

  /// The tokens (and, where the text may end, the ends) after which at most `budget` bytes are missing. Valid until the
  /// next call. Code::limit when the grammar has become too ambiguous to follow.
  Result<TokenMask> mask(State state, int64_t budget, bool with_eos);
  /// The tokens that lie on a shortest way to the end.
  Result<TokenMask> shortest_mask(State state, bool with_eos);
  /// Forgets what no state of `live` needs once too much is kept; rewrites `live`.
  void trim(std::span<State* const> live);

  const TokenTrie& trie() const { return *trie_; }
  bool is_eos(text::TokenId id) const;
  int64_t masks_made() const { return masks_made_; }  ///< by walking the vocabulary

 private:
  using Frame = int32_t;  ///< index into frames_; kBottom: none
  static constexpr Frame kBottom = -1;
  struct FrameData {
    int32_t pc = 0, count = 0;
    Frame parent = kBottom;
    int32_t cost = 0;        ///< bytes missing once what was called from here has ended
    Frame canonical = -2;    ///< see canonical()
    bool operator==(const FrameData& o) const { return pc == o.pc && count == o.count && parent == o.parent; }
  };
  struct Thread {
    int32_t pc = 0;  ///< of a bytes instruction
    Frame parent = kBottom;
    auto operator<=>(const Thread&) const = default;
  };
  struct StateData {
    std::vector<Thread> threads;  ///< sorted
    bool accepting = false;
    int32_t cost = 0;
    State canonical = -2;
  };
  struct Mask {
    std::vector<uint64_t> bits;
    int32_t most = 0;  ///< the largest cost after one of the tokens
  };

  Frame frame(int32_t pc, int32_t count, Frame parent);
  State intern(std::vector<Thread> threads, bool accepting);
  /// Follows everything that consumes nothing, from (pc, parent) on.
  Status close(int32_t pc, Frame parent, std::vector<Thread>& threads, bool& accepting);
  void leave(Frame parent, bool& accepting, std::vector<Thread>& todo);
  void enter_repeat(int32_t pc, int32_t count, Frame parent, std::vector<Thread>& todo);
  Result<State> step(State state, int32_t byte_class);
  /// The same state with counters that are far from their bounds set back: no token can tell the two apart.
  State canonical(State state);
  Frame canonical_frame(Frame f);
  /// Tokens after which at most `budget` bytes are missing; with `closing`, less by the token's own bytes.
  Result<Mask> walk(State state, int64_t budget, bool closing);
  TokenMask with_ends(const Mask& mask, State state, bool with_eos);
  int32_t cost_at(int32_t pc) const { return grammar_->cost[static_cast<std::size_t>(pc)]; }
  int32_t frame_cost(Frame f) const { return f == kBottom ? 0 : frames_[static_cast<std::size_t>(f)].cost; }

  struct Hash {
    std::size_t operator()(const std::vector<Thread>& threads) const noexcept;
    std::size_t operator()(const FrameData& f) const noexcept;
  };

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::vector<text::TokenId> eos_;
  std::vector<int32_t> representative_;  ///< a byte of each class
  std::vector<FrameData> frames_;
  std::unordered_map<FrameData, Frame, Hash> frame_at_;
  std::vector<StateData> states_;
  std::unordered_multimap<std::size_t, State> state_at_;  ///< by hash of the threads
  std::vector<State> transitions_;                        ///< [states, classes]: -2 not known yet
  std::unordered_map<State, Mask> masks_;
  Mask tight_;
  std::vector<uint64_t> answer_;
  std::vector<State> path_;
  int64_t masks_made_ = 0;
};

/// Where one sample stands.
class GrammarMatcher {
 public:
  static Result<GrammarMatcher> create(std::shared_ptr<GrammarEngine> engine);
  /// Another one that stands where this one stands, with an engine of its own: it may be used by another thread.
  GrammarMatcher clone() const;
  /// Whether the token may come next and leaves at most `budget` bytes to be completed.
  Result<bool> allows(text::TokenId id, int64_t budget, bool with_eos);
  /// The tokens that may come next so that the text can still be completed in `budget` tokens; where that cannot be promised,
  /// those that come nearest to it. Empty of tokens only when the vocabulary has none that the grammar allows.
  Result<TokenMask> mask(int64_t budget, bool with_eos);
  /// Code::invalid_argument for a token that may not come.
  Status accept(text::TokenId id);
  bool finished() const { return engine_->finished(state_); }
  bool accepting() const { return engine_->accepting(state_); }
  GrammarEngine& engine() { return *engine_; }
  const std::shared_ptr<GrammarEngine>& shared_engine() const { return engine_; }
  GrammarEngine::State* state() { return &state_; }

 private:
  std::shared_ptr<GrammarEngine> engine_;
  GrammarEngine::State state_ = 0;
};

}  // namespace nbl::model
