#include "eval/speed_report.h"

#include <algorithm>
#include <chrono>

#include "base/random.h"
#include "eval/statistics.h"

namespace nbl::eval {
namespace {

using Clock = std::chrono::steady_clock;
using text::TokenId;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<TokenId> some_tokens(const model::Model& model, int64_t count) {
  Random random(1);
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& t : tokens) t = static_cast<TokenId>(random.below(static_cast<uint64_t>(model.config().vocab)));
  return tokens;
}

/// A session with `depth` tokens and room for more.
Result<std::unique_ptr<model::Session>> filled(const std::shared_ptr<const model::Model>& model, Team& team, int64_t depth,
                                               int64_t room) {
  NBL_ASSIGN(auto session, model::Session::create(model, team, room));
  if (depth > 0) {
    const auto done = session->append(some_tokens(*model, depth), model::Session::Logits::none);
    if (!done.ok()) return done.status();
  }
  return session;
}

Result<double> batch_decode_tok_s(const std::shared_ptr<const model::Model>& model, Team& team, const SpeedRequest& request) {
  const BenchOptions& o = request.options;
  NBL_ASSIGN(const auto first, filled(model, team, o.depth, o.depth + 1));
  NBL_ASSIGN(const auto batch, model::Batch::create(model, team, request.batch));
  std::vector<std::unique_ptr<model::Session>> sessions;
  std::vector<model::Session*> all;
  for (int64_t i = 0; i < request.batch; ++i) {
    NBL_ASSIGN(auto session, model::Session::create(model, team, o.depth + o.gen));
    if (o.depth > 0) NBL_TRY(session->copy_from(*first));
    all.push_back(session.get());
    sessions.push_back(std::move(session));
  }
  const std::vector<TokenId> tokens = some_tokens(*model, request.batch);
  std::vector<double> samples;
  for (int64_t rep = -1; rep < o.reps; ++rep) {  // the first is not counted
    for (model::Session* session : all) NBL_TRY(session->truncate(o.depth));
    const auto start = Clock::now();
    for (int64_t t = 0; t < o.gen; ++t) {
      const auto logits = batch->step(all, tokens);
      if (!logits.ok()) return logits.status();
    }
    if (rep >= 0) samples.push_back(static_cast<double>(o.gen * request.batch) / seconds_since(start));
  }
  return quantile(samples, 0.5);
}

Json operations(const model::Profile& profile, const model::StepWork& work) {
  Json list = Json::array();
  int64_t total = 0;
  for (const int64_t ns : profile.ns) total += ns;
  for (int32_t op = 0; op < model::Profile::kOps; ++op) {
    const auto ns = static_cast<double>(profile.ns[op]);
    if (ns <= 0) continue;
    Json one = Json::object();
    one.set("operation", model::Profile::op_name(op));
    one.set("microseconds", ns / 1e3 / static_cast<double>(profile.steps));
    one.set("share", ns / static_cast<double>(total));
    one.set("gb_s", static_cast<double>(work.bytes[op]) / ns);
    one.set("gop_s", static_cast<double>(work.operations[op]) / ns);
    list.push_back(std::move(one));
  }
  return list;
}

Result<Json> profile(const std::shared_ptr<const model::Model>& model, Team& team, const BenchOptions& o) {
  using Want = model::Session::Logits;
  NBL_ASSIGN(const auto session, filled(model, team, 0, std::max(o.prompt, o.depth + o.gen)));
  const std::vector<TokenId> tokens = some_tokens(*model, std::max(o.prompt, o.depth + o.gen));
  const std::span<const TokenId> all = tokens;
  model::SessionProfile profile;
  session->set_profile(&profile);
  auto done = session->append(all.first(static_cast<std::size_t>(o.prompt)), Want::last);
  session->set_profile(nullptr);
  if (!done.ok()) return done.status();

  NBL_TRY(session->truncate(0));
  if (o.depth > 0) {
    done = session->append(all.first(static_cast<std::size_t>(o.depth)), Want::none);
    if (!done.ok()) return done.status();
  }
  session->set_profile(&profile);
  for (int64_t t = 0; t < o.gen; ++t) {
    done = session->append(all.subspan(static_cast<std::size_t>(o.depth + t), 1), Want::last);
    if (!done.ok()) return done.status();
  }
  session->set_profile(nullptr);
  return profile_json(profile);
}

}  // namespace

Json profile_json(const model::SessionProfile& profile) {
  Json j = Json::object();
  j.set("prefill", operations(profile.prefill.profile, profile.prefill.work));
  j.set("decode", operations(profile.decode.profile, profile.decode.work));
  return j;
}

Result<Json> report_speed(std::shared_ptr<const model::Model> model, Team& team, const SpeedRequest& request,
                          const ProgressFn& progress) {
  NBL_ASSIGN(const Speed speed, measure_speed(model, team, request.options, progress));
  Json j = to_json(speed);
  if (request.batch > 1) {
    NBL_ASSIGN(const double together, batch_decode_tok_s(model, team, request));
    j.set("batch", request.batch);
    j.set("batch_decode_tok_s", together);
  }
  if (request.profile) {
    NBL_ASSIGN(Json operations, profile(model, team, request.options));
    j.set("profile", std::move(operations));
  }
  return j;
}

}  // namespace nbl::eval
