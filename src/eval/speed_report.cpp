#include "eval/speed_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/random.h"
#include "eval/energy.h"
#include "eval/statistics.h"
#include "tensor/limits.h"

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

/// Tokens a second of `count` sequences decoded together, and the joules a token when a meter is there.
struct Decoded {
  double tok_s = 0, joules_per_token = 0;
};
Result<Decoded> batch_decode(const std::shared_ptr<const model::Model>& model, Team& team, const BenchOptions& o, int64_t count,
                             EnergyMeter* meter, model::ProfiledSteps* profile = nullptr) {
  NBL_ASSIGN(const auto first, filled(model, team, o.depth, o.depth + 1));
  NBL_ASSIGN(const auto batch, model::Batch::create(model, team, count));
  std::vector<std::unique_ptr<model::Session>> sessions;
  std::vector<model::Session*> all;
  for (int64_t i = 0; i < count; ++i) {
    NBL_ASSIGN(auto session, model::Session::create(model, team, o.depth + o.gen));
    if (o.depth > 0) NBL_TRY(session->copy_from(*first));
    all.push_back(session.get());
    sessions.push_back(std::move(session));
  }
  const std::vector<TokenId> tokens = some_tokens(*model, count);
  std::vector<double> samples;
  for (int64_t rep = -1; rep < o.reps; ++rep) {  // the first is not counted
    if (rep == 0 && meter != nullptr) meter->start();
    if (rep == 0) batch->set_profile(profile);
    for (model::Session* session : all) NBL_TRY(session->truncate(o.depth));
    const auto start = Clock::now();
    for (int64_t t = 0; t < o.gen; ++t) {
      const auto logits = batch->step(all, tokens);
      if (!logits.ok()) return logits.status();
    }
    if (rep >= 0) samples.push_back(static_cast<double>(o.gen * count) / seconds_since(start));
  }
  Decoded decoded;
  if (meter != nullptr) decoded.joules_per_token = meter->joules() / static_cast<double>(o.gen * count * o.reps);
  decoded.tok_s = quantile(samples, 0.5);
  return decoded;
}

/// The same of reading a prompt.
Result<Decoded> prefill(const std::shared_ptr<const model::Model>& model, Team& team, const BenchOptions& o, EnergyMeter* meter) {
  NBL_ASSIGN(const auto session, model::Session::create(model, team, o.prompt));
  const std::vector<TokenId> tokens = some_tokens(*model, o.prompt);
  std::vector<double> samples;
  for (int64_t rep = -1; rep < o.reps; ++rep) {
    if (rep == 0 && meter != nullptr) meter->start();
    NBL_TRY(session->truncate(0));
    const auto start = Clock::now();
    const auto logits = session->append(tokens, model::Session::Logits::last);
    if (!logits.ok()) return logits.status();
    if (rep >= 0) samples.push_back(static_cast<double>(o.prompt) / seconds_since(start));
  }
  Decoded read;
  if (meter != nullptr) read.joules_per_token = meter->joules() / static_cast<double>(o.prompt * o.reps);
  read.tok_s = quantile(samples, 0.5);
  return read;
}

Result<Json> grid(const std::shared_ptr<const model::Model>& model, Team& team, const SpeedRequest& request, EnergyMeter* meter,
                  const ProgressFn& progress) {
  const std::vector<int64_t> contexts = request.contexts.empty() ? std::vector<int64_t>{request.options.depth} : request.contexts;
  const std::vector<int64_t> batches = request.batches.empty() ? std::vector<int64_t>{request.batch} : request.batches;
  const auto total = static_cast<int64_t>(contexts.size() * batches.size());
  Json list = Json::array();
  int64_t done = 0;
  for (const int64_t context : contexts) {
    BenchOptions options = request.options;
    options.depth = context;
    options.prompt = context;
    Decoded read;
    if (context > 0) {
      NBL_ASSIGN(read, prefill(model, team, options, nullptr));
    }
    for (const int64_t batch : batches) {
      NBL_TRY(report_progress(progress, {"bench", fmt::format("context {}, batch {}", context, batch), done++, total}));
      NBL_ASSIGN(const Decoded decoded, batch_decode(model, team, options, batch, meter));
      list.push_back(Json::object({{"context", context},
                                   {"batch", batch},
                                   {"prefill_tok_s", context > 0 ? Json(read.tok_s) : Json()},
                                   {"decode_tok_s", decoded.tok_s},
                                   {"joules_per_token", meter != nullptr ? Json(decoded.joules_per_token) : Json()}}));
    }
  }
  return list;
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

Result<Json> profile(const std::shared_ptr<const model::Model>& model, Team& team, const BenchOptions& o, int64_t batch) {
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
  Json j = profile_json(profile);
  if (batch > 1) {
    model::ProfiledSteps together;
    const auto decoded = batch_decode(model, team, o, batch, nullptr, &together);
    if (!decoded.ok()) return decoded.status();
    j.set("batch", operations(together.profile, together.work));
  }
  return j;
}

// A second's bandwidth is another in the next where a machine is shared, so that both are measured in turns.
Status add_bandwidth(const std::shared_ptr<const model::Model>& model, Team& team, const BenchOptions& o, Json* j) {
  NBL_ASSIGN(const MemoryReader memory, MemoryReader::create(team));
  NBL_ASSIGN(const auto session, filled(model, team, o.depth, o.depth + o.gen));
  const std::vector<TokenId> tokens = some_tokens(*model, o.depth + o.gen);
  const std::span<const TokenId> all = tokens;
  const double bytes = static_cast<double>(model->weight_bytes() * o.gen);
  std::vector<double> rates, shares;
  for (int64_t rep = 0; rep < std::max<int64_t>(o.reps, 5); ++rep) {
    NBL_TRY(session->truncate(o.depth));
    const double before = memory.read(team);
    const auto start = Clock::now();
    for (int64_t t = 0; t < o.gen; ++t) {
      const auto logits = session->append(all.subspan(static_cast<std::size_t>(o.depth + t), 1), model::Session::Logits::last);
      if (!logits.ok()) return logits.status();
    }
    const double used = bytes / seconds_since(start);
    const double after = memory.read(team);
    rates.insert(rates.end(), {before, after});
    shares.push_back(used / (0.5 * (before + after)));
  }
  const double rate = quantile(rates, 0.5);
  j->set("memory_bandwidth", rate);
  j->set("bandwidth_share", quantile(shares, 0.5));
  // Rounds apart, though read in the same seconds: other programs, or a host that gives now more and now less.
  j->set("disturbed", *std::max_element(rates.begin(), rates.end()) > 1.2 * rate);
  return {};
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
  EnergyMeter counters(request.powercap);
  EnergyMeter* const meter = counters.available() ? &counters : nullptr;
  if (request.bandwidth) NBL_TRY(add_bandwidth(model, team, request.options, &j));
  if (request.batch > 1) {
    NBL_ASSIGN(const Decoded together, batch_decode(model, team, request.options, request.batch, nullptr));
    j.set("batch", request.batch);
    j.set("batch_decode_tok_s", together.tok_s);
  }
  if (!request.contexts.empty() || !request.batches.empty()) {
    NBL_ASSIGN(Json cells, grid(model, team, request, meter, progress));
    j.set("grid", std::move(cells));
  }
  Json energy;
  if (meter != nullptr) {
    NBL_ASSIGN(const Decoded read, prefill(model, team, request.options, meter));
    NBL_ASSIGN(const Decoded written, batch_decode(model, team, request.options, 1, meter));
    Json packages = Json::array();
    for (const std::string& name : meter->names()) packages.push_back(name);
    energy = Json::object({{"packages", std::move(packages)},
                           {"prefill_joules_per_token", read.joules_per_token},
                           {"decode_joules_per_token", written.joules_per_token}});
  }
  j.set("energy", std::move(energy));
  if (request.profile) {
    NBL_ASSIGN(Json operations, profile(model, team, request.options, request.batch));
    j.set("profile", std::move(operations));
  }
  return j;
}

}  // namespace nbl::eval
