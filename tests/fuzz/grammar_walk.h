// Follows a grammar for some steps, as generation does: a mask, a byte that it allows, and so on; then as a sample does, token by token.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "fuzz/fuzz.h"
#include "model/grammar.h"
#include "model/grammar_matcher.h"

namespace nbl::fuzz {

/// A token that a mask has must be allowed and accepted, by a clone as well.
inline void sample(std::shared_ptr<model::GrammarEngine> engine) {
  auto matcher = model::GrammarMatcher::create(std::move(engine));
  if (failed(matcher)) return;
  for (unsigned step = 0; step < 6 && !matcher->finished(); ++step) {
    const auto mask = matcher->mask(4, step > 2);
    if (failed(mask)) return;
    text::TokenId token = -1;
    for (text::TokenId id = 0, seen = 0; id <= 256; ++id) {
      if ((((*mask)[static_cast<std::size_t>(id) / 64] >> (static_cast<unsigned>(id) % 64)) & 1) == 0) continue;
      token = id;
      if (seen++ == static_cast<text::TokenId>(step)) break;
    }
    if (token < 0) return;
    auto clone = matcher->clone();
    const auto allowed = matcher->allows(token, model::Grammar::kNever - 1, step > 2);
    if (failed(allowed)) return;
    if (!*allowed || failed(matcher->accept(token)) || failed(clone.accept(token)) || clone.accepting() != matcher->accepting()) std::abort();
    if (token == 256) return;
    model::GrammarEngine::State* const live[] = {matcher->state()};
    matcher->engine().trim(live);
  }
}

inline void walk(const std::shared_ptr<const model::Grammar>& grammar) {
  // A vocabulary of the 256 bytes and an end, written out as the tree that it is.
  static const std::shared_ptr<const model::TokenTrie> trie = [] {
    auto made = std::make_shared<model::TokenTrie>();
    for (int b = 0; b < 256; ++b) {
      made->byte.push_back(static_cast<uint8_t>(b));
      made->depth.push_back(1);
      made->end.push_back(b + 1);
      made->token_begin.push_back(b);
      made->tokens.push_back(b);
      made->bytes.emplace_back(1, static_cast<char>(b));
    }
    made->token_begin.push_back(256);
    made->bytes.emplace_back();
    made->vocab = 257;
    made->longest = 1;
    return made;
  }();
  model::GrammarEngine engine(grammar, trie, {256});
  auto start = engine.start();
  if (failed(start)) return;
  auto state = *start;
  uint32_t random = 1;
  for (int step = 0; step < 12 && state != model::GrammarEngine::kDead && !engine.finished(state); ++step) {
    if (failed(engine.mask(state, 64, true)) || failed(engine.shortest_mask(state, true))) return;
    auto next = model::GrammarEngine::kDead;
    for (int attempt = 0; attempt < 256 && next == model::GrammarEngine::kDead; ++attempt) {
      random = random * 1664525u + 1013904223u;
      const auto tried = engine.next(state, static_cast<uint8_t>(attempt < 32 ? random >> 24 : attempt));
      if (failed(tried)) return;
      next = *tried;
    }
    state = next;
  }
  sample(std::make_shared<model::GrammarEngine>(grammar, trie, std::vector<text::TokenId>{256}));
}

}  // namespace nbl::fuzz
