#include <fmt/format.h>

#include <algorithm>

#include "model/forward.h"
#include "model/model.h"
#include "model/step_work.h"
#include "model/weights.h"

namespace nbl::model {
namespace {

/// Rows of a prefill step: enough to reuse every weight read, few enough for the work memory to stay in cache.
constexpr int64_t kPrefillRows = 256;

KvType cache_type(KvType wanted, Compute compute) {
  if (wanted != KvType::automatic) return wanted;
  return compute == Compute::exact ? KvType::f32 : KvType::f16;
}

Status check_tokens(std::span<const text::TokenId> tokens, const Config& config) {
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= config.vocab)
      return Status(Code::invalid_argument, fmt::format("token {} at index {} is outside the vocabulary of {} tokens",
                                                        tokens[i], i, config.vocab));
  return {};
}

Result<Workspace> make_workspace(const Model& model, const Team& team, int64_t rows) {
  const Weights& weights = model.impl().weights;
  Workspace::Sizes sizes;
  sizes.max_rows = rows;
  sizes.workers = team.size();
  sizes.pieces = true;
  sizes.prepared_bytes = Workspace::prepared_bytes(weights.layers, &*weights.lm_head, rows);
  sizes.own_prepared_bytes = Workspace::prepared_bytes(weights.layers, &*weights.lm_head, Workspace::kReplicatedRows);
  return Workspace::create(model.config(), sizes);
}

/// One step through the whole model. Logits of rows [first, first + count) go to `logits` when count > 0.
void forward(const Model& model, Team& team, Workspace& work, std::span<const Span> spans,
             std::span<const text::TokenId> tokens, int64_t first, int64_t count, float* logits, Profile* profile) {
  const Model::Impl& m = model.impl();
  Step step;
  step.config = &m.config;
  step.isa = m.compute.isa;
  step.work = &work;
  step.spans = spans;
  step.rows = static_cast<int64_t>(tokens.size());
  step.profile = profile;
  step.adapters = model.adapters();
  if (profile != nullptr) {
    ++profile->steps;
    profile->rows += step.rows;
  }
  team.run([&](Worker& worker) {
    Pass pass(step, worker);
    pass.embed(m.weights, tokens);
    pass.positions();
    const std::vector<Layer>& layers = m.weights.layers;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const Linear* next = l + 1 < layers.size() ? layers[l + 1].linear(Role::qkv) : &*m.weights.lm_head;
      pass.layer(layers[l], static_cast<int64_t>(l), next != nullptr ? next : layers[l + 1].linear(Role::q));
    }
    if (count > 0) pass.logits(m.weights, first, count, logits);
  });
}

}  // namespace

struct Session::Impl {
  std::shared_ptr<const Model> model;
  Team* team = nullptr;
  Workspace work;
  KvCache cache;
  Buffer logits;
  int64_t position = 0;
  std::vector<text::TokenId> tokens;  ///< [position], reserved for the whole capacity
  SessionProfile* profile = nullptr;
};

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<const Model> model, Team& team, int64_t max_tokens) {
  SessionOptions options;
  options.max_tokens = max_tokens;
  return create(std::move(model), team, options);
}

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<const Model> model, Team& team,
                                                 const SessionOptions& options) {
  const Config& c = model->config();
  if (options.max_tokens < 1)
    return Status(Code::invalid_argument,
                  fmt::format("a session needs room for at least one token, not {}", options.max_tokens));
  if (c.learned_positions && options.max_tokens > c.max_positions)
    return Status(Code::limit, fmt::format("{} tokens are more than the {} positions that this model has learned",
                                           options.max_tokens, c.max_positions));
  auto impl = std::make_unique<Impl>();
  impl->model = std::move(model);
  impl->team = &team;
  NBL_ASSIGN(impl->work, make_workspace(*impl->model, team, std::min(options.max_tokens, kPrefillRows)));
  NBL_ASSIGN(impl->cache, KvCache::create(c, c.layers, options.max_tokens,
                                          cache_type(options.kv_type, impl->model->compute().compute), team.size()));
  NBL_ASSIGN(impl->logits, Buffer::create(static_cast<std::size_t>(c.vocab) * sizeof(float)));
  impl->tokens.reserve(static_cast<std::size_t>(options.max_tokens));
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

int64_t Session::position() const noexcept { return impl_->position; }
int64_t Session::capacity() const noexcept { return impl_->cache.capacity(); }
const Model& Session::model() const noexcept { return *impl_->model; }
std::shared_ptr<const Model> Session::shared_model() const noexcept { return impl_->model; }
Team& Session::team() const noexcept { return *impl_->team; }
std::span<const text::TokenId> Session::tokens() const noexcept { return impl_->tokens; }
KvType Session::kv_type() const noexcept { return impl_->cache.kv_type(); }

Result<std::span<const float>> Session::append(std::span<const text::TokenId> tokens, Logits want) {
  Impl& s = *impl_;
  const Config& c = s.model->config();
  const int64_t count = static_cast<int64_t>(tokens.size());
  if (count == 0) return Status(Code::invalid_argument, "no tokens to append");
  NBL_TRY(check_tokens(tokens, c));
  if (count > s.cache.capacity() - s.position)
    return Status(Code::limit, fmt::format("the context is full: {} tokens after {} do not fit {} positions", count,
                                           s.position, s.cache.capacity()));
  const int64_t wanted = want == Logits::all ? count : want == Logits::last ? 1 : 0;
  const std::size_t floats = static_cast<std::size_t>(wanted) * static_cast<std::size_t>(c.vocab);
  if (s.logits.size() < floats * sizeof(float)) {
    NBL_ASSIGN(s.logits, Buffer::create(floats * sizeof(float)));
  }
  float* logits = s.logits.as<float>().data();

  const int64_t length = s.position + count;
  for (int64_t done = 0; done < count;) {
    const int64_t rows = std::min(count - done, s.work.max_rows());
    const Span span{&s.cache, 0, rows, s.position, length};
    const bool last = done + rows == count;
    int64_t first = 0, outputs = 0;
    float* to = logits;
    if (want == Logits::all) {
      outputs = rows;
      to = logits + done * c.vocab;
    } else if (want == Logits::last && last) {
      first = rows - 1;
      outputs = 1;
    }
    Profile* profile = nullptr;
    if (s.profile != nullptr) {
      ProfiledSteps& steps = rows > 1 ? s.profile->prefill : s.profile->decode;
      const StepWork::Rows sequence{s.position, rows};
      steps.work.add(*s.model, {&sequence, 1}, outputs);
      profile = &steps.profile;
    }
    forward(*s.model, *s.team, s.work, {&span, 1},
            tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(rows)), first, outputs, to, profile);
    s.position += rows;
    done += rows;
  }
  s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.end());
  return std::span<const float>(logits, floats);
}

Status Session::truncate(int64_t position) {
  if (position < 0 || position > impl_->position)
    return Status(Code::invalid_argument,
                  fmt::format("cannot go to position {} of a session that has {} tokens", position, impl_->position));
  impl_->position = position;
  impl_->tokens.resize(static_cast<std::size_t>(position));
  return {};
}

void Session::set_profile(SessionProfile* profile) noexcept { impl_->profile = profile; }

const char* Profile::op_name(int32_t op) noexcept {
  static constexpr const char* kNames[kOps] = {"embed",         "norm",   "qkv",        "rope and cache", "attention",
                                               "attention out", "mlp in", "activation", "mlp out",        "logits"};
  return op >= 0 && op < kOps ? kNames[op] : "?";
}

std::vector<std::span<std::byte>> Session::cached() {
  std::vector<std::span<std::byte>> pieces;
  KvCache& cache = impl_->cache;
  for (int64_t plane = 0; plane < cache.planes(); ++plane) {
    pieces.push_back(cache.used_keys(plane, impl_->position));
    pieces.push_back(cache.used_values(plane, impl_->position));
  }
  return pieces;
}

Status Session::restore(std::span<const text::TokenId> tokens,
                        const std::function<Status(std::span<std::byte>)>& fill) {
  NBL_TRY(check_tokens(tokens, impl_->model->config()));
  const auto count = static_cast<int64_t>(tokens.size());
  if (count > capacity())
    return Status(Code::limit, fmt::format("{} tokens do not fit the session's {} positions", count, capacity()));
  impl_->tokens.assign(tokens.begin(), tokens.end());
  impl_->position = count;
  for (const std::span<std::byte> piece : cached()) {
    const Status status = fill(piece);
    if (status.ok()) continue;
    impl_->tokens.clear();
    impl_->position = 0;
    return status;
  }
  return {};
}

Status Session::copy_from(const Session& other) {
  if (impl_->model != other.impl_->model || kv_type() != other.kv_type())
    return Status(Code::invalid_argument, "a session can only continue another one of the same model and cache type");
  if (other.position() > capacity())
    return Status(Code::limit, fmt::format("the session has room for {} tokens, the one to continue holds {}",
                                           capacity(), other.position()));
  impl_->cache.copy_from(other.impl_->cache, other.position());
  impl_->position = other.position();
  impl_->tokens.assign(other.impl_->tokens.begin(), other.impl_->tokens.end());
  return {};
}

struct Batch::Impl {
  std::shared_ptr<const Model> model;
  Team* team = nullptr;
  Workspace work;
  Buffer logits;
  std::vector<Span> spans;
  std::vector<text::TokenId> tokens;  ///< of one step of append()
  ProfiledSteps* profile = nullptr;

  /// Room for the logits of so many rows.
  Status reserve_logits(int64_t rows) {
    const std::size_t bytes = static_cast<std::size_t>(rows) * static_cast<std::size_t>(model->config().vocab) * sizeof(float);
    if (logits.size() >= bytes) return {};
    NBL_ASSIGN(logits, Buffer::create(bytes));
    return {};
  }
  /// Adds `rows` tokens of a session to the step that is being put together.
  Status add(int64_t index, Session::Impl& s, int64_t first_row, int64_t rows) {
    if (s.model != model)
      return Status(Code::invalid_argument, fmt::format("session {} of the batch runs another model", index));
    for (const Span& other : spans)
      if (other.cache == &s.cache)
        return Status(Code::invalid_argument, fmt::format("session {} is in the batch twice", index));
    if (rows > s.cache.capacity() - s.position)
      return Status(Code::limit, fmt::format("the context of session {} is full: {} tokens after {} do not fit {} positions",
                                             index, rows, s.position, s.cache.capacity()));
    spans.push_back({&s.cache, first_row, rows, s.position});
    return {};
  }
};

Batch::Batch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Batch::~Batch() = default;

Result<std::unique_ptr<Batch>> Batch::create(std::shared_ptr<const Model> model, Team& team, int64_t max_rows) {
  if (max_rows < 1 || max_rows > 65536)
    return Status(Code::invalid_argument, fmt::format("a batch of {} sessions is not from 1 to 65536", max_rows));
  auto impl = std::make_unique<Impl>();
  impl->model = std::move(model);
  impl->team = &team;
  NBL_ASSIGN(impl->work, make_workspace(*impl->model, team, max_rows));
  impl->spans.reserve(static_cast<std::size_t>(max_rows));
  impl->tokens.reserve(static_cast<std::size_t>(max_rows));
  return std::unique_ptr<Batch>(new Batch(std::move(impl)));
}

Result<std::span<const float>> Batch::step(std::span<Session* const> sessions, std::span<const text::TokenId> tokens) {
  Impl& b = *impl_;
  const Config& c = b.model->config();
  const int64_t count = static_cast<int64_t>(sessions.size());
  if (count == 0 || count > b.work.max_rows() || sessions.size() != tokens.size())
    return Status(Code::invalid_argument, fmt::format("{} sessions and {} tokens do not make a batch of at most {}",
                                                      sessions.size(), tokens.size(), b.work.max_rows()));
  NBL_TRY(check_tokens(tokens, c));
  b.spans.clear();
  for (std::size_t i = 0; i < sessions.size(); ++i)
    NBL_TRY(b.add(static_cast<int64_t>(i), sessions[i]->impl(), static_cast<int64_t>(i), 1));
  // All that a batch may ever need, so that later steps allocate nothing.
  NBL_TRY(b.reserve_logits(b.work.max_rows()));
  float* logits = b.logits.as<float>().data();
  if (b.profile != nullptr) {
    std::vector<StepWork::Rows> rows;
    for (const Span& span : b.spans) rows.push_back({span.position, span.rows});
    b.profile->work.add(*b.model, rows, count);
  }
  forward(*b.model, *b.team, b.work, b.spans, tokens, 0, count, logits, b.profile != nullptr ? &b.profile->profile : nullptr);
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    ++sessions[i]->impl().position;
    sessions[i]->impl().tokens.push_back(tokens[i]);
  }
  return std::span<const float>(logits, static_cast<std::size_t>(count * c.vocab));
}

void Batch::set_profile(ProfiledSteps* profile) noexcept { impl_->profile = profile; }

Result<std::span<const float>> Batch::append(std::span<const Piece> pieces, bool logits) {
  Impl& b = *impl_;
  const int64_t vocab = b.model->config().vocab;
  int64_t total = 0;
  b.spans.clear();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].tokens.empty())
      return Status(Code::invalid_argument, fmt::format("no tokens to append to session {} of the batch", i));
    NBL_TRY(check_tokens(pieces[i].tokens, b.model->config()));
    NBL_TRY(b.add(static_cast<int64_t>(i), pieces[i].session->impl(), total, static_cast<int64_t>(pieces[i].tokens.size())));
    total += static_cast<int64_t>(pieces[i].tokens.size());
  }
  if (total == 0) return Status(Code::invalid_argument, "no tokens to append");
  if (logits) NBL_TRY(b.reserve_logits(total));
  float* to = b.logits.as<float>().data();
  std::size_t piece = 0, inside = 0;  // the next token
  for (int64_t done = 0; done < total;) {
    b.spans.clear();
    b.tokens.clear();
    int64_t rows = 0;
    while (piece < pieces.size() && rows < b.work.max_rows()) {
      Session::Impl& s = pieces[piece].session->impl();
      const std::span<const text::TokenId> left = pieces[piece].tokens.subspan(inside);
      const int64_t count = std::min(static_cast<int64_t>(left.size()), b.work.max_rows() - rows);
      const std::span<const text::TokenId> now = left.first(static_cast<std::size_t>(count));
      b.spans.push_back({&s.cache, rows, count, s.position, s.position + static_cast<int64_t>(left.size())});
      b.tokens.insert(b.tokens.end(), now.begin(), now.end());
      s.tokens.insert(s.tokens.end(), now.begin(), now.end());
      s.position += count;
      rows += count;
      inside += static_cast<std::size_t>(count);
      if (inside == pieces[piece].tokens.size()) {
        ++piece;
        inside = 0;
      }
    }
    forward(*b.model, *b.team, b.work, b.spans, b.tokens, 0, logits ? rows : 0, to + (logits ? done * vocab : 0), nullptr);
    done += rows;
  }
  return std::span<const float>(to, logits ? static_cast<std::size_t>(total * vocab) : 0);
}

}  // namespace nbl::model
