#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/cpu.h"
#include "base/random.h"
#include "eval/eval.h"
#include "eval/statistics.h"

namespace nbl::eval {
namespace {

using Clock = std::chrono::steady_clock;
using text::TokenId;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) { return quantile(values, 0.5); }

}  // namespace

Result<Speed> measure_speed(std::shared_ptr<const model::Model> model, Team& team, const BenchOptions& options,
                            const ProgressFn& progress) {
  if (options.prompt < 1 || options.gen < 1 || options.depth < 0 || options.reps < 1) {
    return Status(Code::invalid_argument,
                  fmt::format("a speed measurement needs at least 1 token of prompt, 1 to generate and 1 repetition; "
                              "asked for {}, {} and {}",
                              options.prompt, options.gen, options.reps));
  }
  const int64_t room = std::max(options.prompt, options.depth + options.gen) + 1;
  const int64_t positions = model->config().max_positions;
  if (positions > 0 && room > positions) {
    return Status(Code::limit, fmt::format("the measurement needs {} positions, the model has {}", room, positions));
  }
  NBL_ASSIGN(std::unique_ptr<model::Session> session, model::Session::create(model, team, room));
  // What the tokens are does not matter to the arithmetic; that they are the same each time does.
  Random random(1);
  std::vector<TokenId> tokens(static_cast<std::size_t>(room));
  for (TokenId& t : tokens) t = static_cast<TokenId>(random.below(static_cast<uint64_t>(model->config().vocab)));
  const std::span<const TokenId> all = tokens;
  using Want = model::Session::Logits;

  Speed speed;
  // The first pass faults the weights in and wakes the threads; it is not counted.
  for (int64_t rep = -1; rep < options.reps; ++rep) {
    NBL_TRY(report_progress(
        progress, {"bench", rep < 0 ? "warm up" : fmt::format("repetition {} of {}", rep + 1, options.reps), rep + 1,
                   options.reps + 1}));
    NBL_TRY(session->truncate(0));
    auto start = Clock::now();
    auto logits = session->append(all.first(static_cast<std::size_t>(options.prompt)), Want::last);
    if (!logits.ok()) return logits.status();
    const double prefill = seconds_since(start);

    NBL_TRY(session->truncate(0));
    if (options.depth > 0) {
      auto filled = session->append(all.first(static_cast<std::size_t>(options.depth)), Want::none);
      if (!filled.ok()) return filled.status();
    }
    start = Clock::now();
    for (int64_t t = 0; t < options.gen; ++t) {
      auto next = session->append(all.subspan(static_cast<std::size_t>(options.depth + t), 1), Want::last);
      if (!next.ok()) return next.status();
    }
    const double decode = seconds_since(start);
    if (rep < 0) continue;
    speed.prefill_samples.push_back(static_cast<double>(options.prompt) / prefill);
    speed.decode_samples.push_back(static_cast<double>(options.gen) / decode);
    speed.first_token_samples.push_back(prefill * 1e3);
  }
  speed.prefill_tok_s = median(speed.prefill_samples);
  speed.decode_tok_s = median(speed.decode_samples);
  speed.first_token_ms = median(speed.first_token_samples);
  speed.peak_rss_bytes = peak_rss_bytes();
  speed.bytes_per_token = static_cast<double>(model->weight_bytes());
  return speed;
}

Json to_json(const Speed& s) {
  Json j = Json::object();
  j.set("prefill_tok_s", s.prefill_tok_s);
  j.set("decode_tok_s", s.decode_tok_s);
  j.set("first_token_ms", s.first_token_ms);
  j.set("peak_rss_bytes", s.peak_rss_bytes);
  j.set("bytes_per_token", s.bytes_per_token);
  Json samples = Json::array();
  for (std::size_t i = 0; i < s.prefill_samples.size(); ++i) {
    Json one = Json::object();
    one.set("prefill_tok_s", s.prefill_samples[i]);
    one.set("decode_tok_s", s.decode_samples[i]);
    one.set("first_token_ms", s.first_token_samples[i]);
    samples.push_back(std::move(one));
  }
  j.set("samples", std::move(samples));
  return j;
}

}  // namespace nbl::eval
