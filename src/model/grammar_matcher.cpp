#include "model/grammar_matcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/bounds.h"

namespace nbl::model {
namespace {

constexpr BoundOf<std::size_t> kMaxThreads{Bound::grammar_threads};          ///< of one state
constexpr std::size_t kMaxFrames = 4'000'000;      ///< while one mask is made
constexpr BoundOf<std::size_t> kMaxStates{Bound::grammar_states};
constexpr std::size_t kTrimFrames = 200'000;       ///< when trim() begins to forget
constexpr std::size_t kTrimStates = 50'000;
constexpr std::size_t kMaxMasks = 512;

int32_t plus(int64_t a, int64_t b) { return static_cast<int32_t>(std::min<int64_t>(a + b, Grammar::kNever)); }

std::size_t combine(std::size_t seed, int64_t value) {
  return (seed ^ static_cast<std::size_t>(value)) * 0x9E3779B97F4A7C15u + (seed >> 29);
}

}  // namespace

std::size_t GrammarEngine::Hash::operator()(const FrameData& f) const noexcept {
  return combine(combine(combine(17, f.pc), f.count), f.parent);
}
std::size_t GrammarEngine::Hash::operator()(const std::vector<Thread>& threads) const noexcept {
  std::size_t h = threads.size();
  for (const Thread& t : threads) h = combine(combine(h, t.pc), t.parent);
  return h;
}

GrammarEngine::GrammarEngine(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
                             std::vector<text::TokenId> eos)
    : grammar_(std::move(grammar)), trie_(std::move(trie)), eos_(std::move(eos)) {
  std::erase_if(eos_, [&](text::TokenId id) { return id < 0 || id >= trie_->vocab; });
  representative_.resize(static_cast<std::size_t>(grammar_->classes));
  for (int32_t b = 255; b >= 0; --b) representative_[grammar_->byte_class[static_cast<std::size_t>(b)]] = b;
}

bool GrammarEngine::is_eos(text::TokenId id) const { return std::find(eos_.begin(), eos_.end(), id) != eos_.end(); }

GrammarEngine::Frame GrammarEngine::frame(int32_t pc, int32_t count, Frame parent) {
  FrameData f;
  f.pc = pc;
  f.count = count;
  f.parent = parent;
  const auto [it, fresh] = frame_at_.try_emplace(f, static_cast<Frame>(frames_.size()));
  if (fresh) {
    const Grammar::Instruction& i = grammar_->code[static_cast<std::size_t>(pc)];
    int64_t rest = 0;
    if (i.op == Grammar::Op::repeat)
      rest = int64_t{std::max(0, i.b - count - 1)} * cost_at(pc + 1) + cost_at(i.a);
    else
      rest = cost_at(pc + 1);
    f.cost = plus(rest, frame_cost(parent));
    frames_.push_back(f);
  }
  return it->second;
}

void GrammarEngine::enter_repeat(int32_t pc, int32_t count, Frame parent, std::vector<Thread>& todo) {
  const Grammar::Instruction& i = grammar_->code[static_cast<std::size_t>(pc)];
  if (count >= i.b) todo.push_back({i.a, parent});
  if (i.c < 0 || count < i.c) todo.push_back({pc + 1, frame(pc, count, parent)});
}

/// The end of what `parent` called.
void GrammarEngine::leave(Frame parent, bool& accepting, std::vector<Thread>& todo) {
  if (parent == kBottom) {
    accepting = true;
    return;
  }
  const FrameData f = frames_[static_cast<std::size_t>(parent)];
  const Grammar::Instruction& i = grammar_->code[static_cast<std::size_t>(f.pc)];
  if (i.op == Grammar::Op::call) {
    todo.push_back({f.pc + 1, f.parent});
  } else {
    const int32_t count = i.c < 0 ? std::min(f.count + 1, i.b) : f.count + 1;  // beyond the least, unbounded ones are alike
    enter_repeat(f.pc, count, f.parent, todo);
  }
}

Status GrammarEngine::close(int32_t pc, Frame parent, std::vector<Thread>& threads, bool& accepting) {
  using Op = Grammar::Op;
  std::vector<Thread> todo = {{pc, parent}};
  std::set<Thread> seen;
  while (!todo.empty()) {
    const Thread t = todo.back();
    todo.pop_back();
    if (cost_at(t.pc) >= Grammar::kNever) continue;  // cannot be completed
    const Grammar::Instruction& i = grammar_->code[static_cast<std::size_t>(t.pc)];
    if (i.op == Op::bytes) {
      threads.push_back(t);
      if (threads.size() > 4 * kMaxThreads) return Status(Code::limit, "the grammar is too ambiguous to be followed");
      continue;
    }
    if (i.op != Op::jump && !seen.insert(t).second) continue;
    if (seen.size() > 20 * kMaxThreads || frames_.size() > kMaxFrames)
      return Status(Code::limit, "the grammar is too ambiguous to be followed");
    switch (i.op) {
      case Op::bytes:
        break;
      case Op::split:
        for (int32_t n = 0; n < i.b; ++n) todo.push_back({grammar_->targets[static_cast<std::size_t>(i.a + n)], t.parent});
        break;
      case Op::jump:
        todo.push_back({i.a, t.parent});
        break;
      case Op::call: {
        int32_t after = t.pc + 1;
        while (grammar_->code[static_cast<std::size_t>(after)].op == Op::jump)
          after = grammar_->code[static_cast<std::size_t>(after)].a;
        // A call that is the last thing needs no frame: recursion at the right keeps the stack flat.
        const bool last = grammar_->code[static_cast<std::size_t>(after)].op == Op::ret;
        todo.push_back({grammar_->rule_start[static_cast<std::size_t>(i.a)], last ? t.parent : frame(t.pc, 0, t.parent)});
        break;
      }
      case Op::repeat:
        enter_repeat(t.pc, 0, t.parent, todo);
        break;
      case Op::ret:
        leave(t.parent, accepting, todo);
        break;
    }
  }
  return {};
}

GrammarEngine::State GrammarEngine::intern(std::vector<Thread> threads, bool accepting) {
  std::sort(threads.begin(), threads.end());
  threads.erase(std::unique(threads.begin(), threads.end()), threads.end());
  if (threads.empty() && !accepting) return kDead;
  const std::size_t hash = combine(Hash()(threads), accepting);
  const auto [begin, end] = state_at_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const StateData& s = states_[static_cast<std::size_t>(it->second)];
    if (s.accepting == accepting && s.threads == threads) return it->second;
  }
  StateData s;
  s.accepting = accepting;
  s.cost = accepting ? 0 : Grammar::kNever;
  for (const Thread& t : threads) s.cost = std::min(s.cost, plus(cost_at(t.pc), frame_cost(t.parent)));
  s.threads = std::move(threads);
  const auto state = static_cast<State>(states_.size());
  states_.push_back(std::move(s));
  transitions_.resize(states_.size() * static_cast<std::size_t>(grammar_->classes), -2);
  state_at_.emplace(hash, state);
  return state;
}

Result<GrammarEngine::State> GrammarEngine::start() {
  std::vector<Thread> threads;
  bool accepting = false;
  NBL_TRY(close(grammar_->rule_start[static_cast<std::size_t>(grammar_->root)], kBottom, threads, accepting));
  return intern(std::move(threads), accepting);
}

Result<GrammarEngine::State> GrammarEngine::step(State state, int32_t byte_class) {
  std::vector<Thread> next;
  bool accepting = false;
  const auto byte = static_cast<std::size_t>(representative_[static_cast<std::size_t>(byte_class)]);
  const std::vector<Thread> threads = states_[static_cast<std::size_t>(state)].threads;
  for (const Thread& t : threads) {
    const Grammar::Instruction& i = grammar_->code[static_cast<std::size_t>(t.pc)];
    if (grammar_->sets[static_cast<std::size_t>(i.a)].test(byte)) NBL_TRY(close(t.pc + 1, t.parent, next, accepting));
  }
  const State to = intern(std::move(next), accepting);
  if (states_.size() > kMaxStates || (to >= 0 && states_[static_cast<std::size_t>(to)].threads.size() > kMaxThreads))
    return Status(Code::limit, "the grammar is too ambiguous to be followed");
  transitions_[static_cast<std::size_t>(state) * static_cast<std::size_t>(grammar_->classes) +
               static_cast<std::size_t>(byte_class)] = to;
  return to;
}

Result<GrammarEngine::State> GrammarEngine::next(State state, uint8_t byte) {
  const int32_t c = grammar_->byte_class[byte];
  const State known = transitions_[static_cast<std::size_t>(state) * static_cast<std::size_t>(grammar_->classes) +
                                   static_cast<std::size_t>(c)];
  if (known != -2) return known;
  return step(state, c);
}

Result<GrammarEngine::State> GrammarEngine::next(State state, std::string_view bytes) {
  for (const char c : bytes) {
    NBL_ASSIGN(state, next(state, static_cast<uint8_t>(c)));
    if (state == kDead) break;
  }
  return state;
}

GrammarEngine::Frame GrammarEngine::canonical_frame(Frame f) {
  if (f == kBottom) return f;
  std::vector<Frame> chain;  // from f down to what is known
  for (Frame at = f; at != kBottom && frames_[static_cast<std::size_t>(at)].canonical == -2;
       at = frames_[static_cast<std::size_t>(at)].parent)
    chain.push_back(at);
  for (std::size_t i = chain.size(); i-- > 0;) {
    const FrameData d = frames_[static_cast<std::size_t>(chain[i])];
    const Frame parent = d.parent == kBottom ? kBottom : frames_[static_cast<std::size_t>(d.parent)].canonical;
    const Grammar::Instruction& in = grammar_->code[static_cast<std::size_t>(d.pc)];
    int32_t count = d.count;
    if (in.op == Grammar::Op::repeat) {
      // No token is longer than `far` bytes, so it cannot count further than that.
      const int64_t far = trie_->longest + 1;
      if (in.b - count > far)
        count = 0;
      else if (count >= in.b && in.c >= 0 && in.c - count > far)
        count = in.b;
    }
    const Frame to = frame(d.pc, count, parent);
    frames_[static_cast<std::size_t>(chain[i])].canonical = to;
    frames_[static_cast<std::size_t>(to)].canonical = to;
  }
  return frames_[static_cast<std::size_t>(f)].canonical;
}

GrammarEngine::State GrammarEngine::canonical(State state) {
  const State known = states_[static_cast<std::size_t>(state)].canonical;
  if (known != -2) return known;
  std::vector<Thread> threads = states_[static_cast<std::size_t>(state)].threads;
  for (Thread& t : threads) t.parent = canonical_frame(t.parent);
  const State to = intern(std::move(threads), states_[static_cast<std::size_t>(state)].accepting);
  states_[static_cast<std::size_t>(state)].canonical = to;
  states_[static_cast<std::size_t>(to)].canonical = to;
  return to;
}

Result<GrammarEngine::Mask> GrammarEngine::walk(State state, int64_t budget, bool closing) {
  ++masks_made_;
  const TokenTrie& trie = *trie_;
  Mask mask;
  mask.bits.assign(static_cast<std::size_t>((trie.vocab + 63) / 64), 0);
  path_.assign(static_cast<std::size_t>(trie.longest) + 1, kDead);
  path_[0] = state;
  const auto nodes = static_cast<int32_t>(trie.byte.size());
  const auto classes = static_cast<std::size_t>(grammar_->classes);
  for (int32_t n = 0; n < nodes;) {
    const auto i = static_cast<std::size_t>(n);
    const std::size_t depth = trie.depth[i];
    const State from = path_[depth - 1];
    const int32_t c = grammar_->byte_class[trie.byte[i]];
    State to = transitions_[static_cast<std::size_t>(from) * classes + static_cast<std::size_t>(c)];
    if (to == -2) {
      NBL_ASSIGN(to, step(from, c));
    }
    if (to == kDead) {
      n = trie.end[i];
      continue;
    }
    path_[depth] = to;
    if (trie.token_begin[i] != trie.token_begin[i + 1]) {
      const int32_t missing = cost(to);
      if (missing + (closing ? static_cast<int64_t>(depth) : 0) <= budget) {
        mask.most = std::max(mask.most, missing);
        for (int32_t t = trie.token_begin[i]; t < trie.token_begin[i + 1]; ++t) {
          const auto id = static_cast<std::size_t>(trie.tokens[static_cast<std::size_t>(t)]);
          mask.bits[id / 64] |= uint64_t{1} << (id % 64);
        }
      }
    }
    ++n;
  }
  return mask;
}

Result<TokenMask> GrammarEngine::mask(State state, int64_t budget, bool with_eos) {
  const State key = canonical(state);
  auto it = masks_.find(key);
  if (it == masks_.end()) {
    if (masks_.size() >= kMaxMasks) masks_.clear();
    NBL_ASSIGN(Mask made, walk(key, Grammar::kNever - 1, false));
    it = masks_.emplace(key, std::move(made)).first;
  }
  const Mask* mask = &it->second;
  if (mask->most > budget) {
    NBL_ASSIGN(tight_, walk(state, budget, false));
    mask = &tight_;
  }
  return with_ends(*mask, state, with_eos);
}

Result<TokenMask> GrammarEngine::shortest_mask(State state, bool with_eos) {
  NBL_ASSIGN(tight_, walk(state, cost(state), true));
  return with_ends(tight_, state, with_eos);
}

TokenMask GrammarEngine::with_ends(const Mask& mask, State state, bool with_eos) {
  const bool ends = with_eos && accepting(state);
  const bool eos_inside = std::any_of(eos_.begin(), eos_.end(), [&](text::TokenId id) {
    return !trie_->bytes[static_cast<std::size_t>(id)].empty();
  });
  if (!ends && !eos_inside) return TokenMask(mask.bits);
  answer_ = mask.bits;
  for (const text::TokenId id : eos_) {
    const uint64_t bit = uint64_t{1} << (static_cast<std::size_t>(id) % 64);
    uint64_t& word = answer_[static_cast<std::size_t>(id) / 64];
    word = ends ? word | bit : word & ~bit;
  }
  return TokenMask(answer_);
}

void GrammarEngine::trim(std::span<State* const> live) {
  if (frames_.size() < kTrimFrames && states_.size() < kTrimStates) return;
  std::vector<FrameData> old_frames = std::move(frames_);
  std::vector<StateData> old_states = std::move(states_);
  frames_.clear();
  frame_at_.clear();
  states_.clear();
  state_at_.clear();
  transitions_.clear();
  masks_.clear();
  std::unordered_map<Frame, Frame> moved;
  const auto move = [&](Frame f) {
    std::vector<Frame> chain;
    for (Frame at = f; at != kBottom && !moved.contains(at); at = old_frames[static_cast<std::size_t>(at)].parent)
      chain.push_back(at);
    for (std::size_t i = chain.size(); i-- > 0;) {
      const FrameData& d = old_frames[static_cast<std::size_t>(chain[i])];
      moved[chain[i]] = frame(d.pc, d.count, d.parent == kBottom ? kBottom : moved.at(d.parent));
    }
    return f == kBottom ? kBottom : moved.at(f);
  };
  for (State* state : live) {
    StateData& s = old_states[static_cast<std::size_t>(*state)];
    std::vector<Thread> threads = s.threads;
    for (Thread& t : threads) t.parent = move(t.parent);
    *state = intern(std::move(threads), s.accepting);
  }
}

Result<GrammarMatcher> GrammarMatcher::create(std::shared_ptr<GrammarEngine> engine) {
  GrammarMatcher matcher;
  NBL_ASSIGN(matcher.state_, engine->start());
  matcher.engine_ = std::move(engine);
  return matcher;
}

GrammarMatcher GrammarMatcher::clone() const {
  GrammarMatcher copy = *this;
  copy.engine_ = std::make_shared<GrammarEngine>(*engine_);
  return copy;
}

Result<bool> GrammarMatcher::allows(text::TokenId id, int64_t budget, bool with_eos) {
  if (engine_->is_eos(id)) return with_eos && engine_->accepting(state_);
  const std::string& bytes = engine_->trie().bytes[static_cast<std::size_t>(id)];
  if (bytes.empty()) return false;
  NBL_ASSIGN(const GrammarEngine::State to, engine_->next(state_, bytes));
  return to != GrammarEngine::kDead && engine_->cost(to) <= budget;
}

Result<TokenMask> GrammarMatcher::mask(int64_t budget, bool with_eos) {
  const auto any = [](TokenMask m) { return std::any_of(m.begin(), m.end(), [](uint64_t word) { return word != 0; }); };
  // A token is at least a byte. When even the shortest text has more bytes than there are tokens left, it may still do with
  // tokens of two bytes; then it goes straight to its end; and what has no end in sight goes on as it can.
  for (const int64_t bytes : {budget, 2 * budget}) {
    NBL_ASSIGN(const TokenMask mask, engine_->mask(state_, bytes, with_eos));
    if (any(mask)) return mask;
  }
  NBL_ASSIGN(const TokenMask shortest, engine_->shortest_mask(state_, with_eos));
  if (any(shortest)) return shortest;
  return engine_->mask(state_, Grammar::kNever - 1, with_eos);
}

Status GrammarMatcher::accept(text::TokenId id) {
  if (engine_->is_eos(id)) return {};
  const std::string& bytes = engine_->trie().bytes[static_cast<std::size_t>(id)];
  NBL_ASSIGN(const GrammarEngine::State to, engine_->next(state_, bytes));
  if (bytes.empty() || to == GrammarEngine::kDead)
    return Status(Code::invalid_argument, fmt::format("token {} does not match the grammar", id));
  state_ = to;
  return {};
}

}  // namespace nbl::model
