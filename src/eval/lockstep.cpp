#include "eval/lockstep.h"

#include <fmt/format.h>

#include <algorithm>

namespace nbl::eval {
namespace {

constexpr int64_t kMaxRows = 512;
constexpr int64_t kMaxLogits = int64_t{4} << 20;  ///< floats a model: 16 MB

}  // namespace

Status run_lockstep(std::span<const std::shared_ptr<const model::Model>> models, Team& team, const WindowSet& set,
                    std::string_view stage, const ProgressFn& progress, const LockstepFn& fn) {
  const int64_t vocab = models.front()->config().vocab;
  const int64_t rows = std::clamp<int64_t>(kMaxLogits / std::max<int64_t>(1, vocab), 16, kMaxRows);
  std::vector<std::unique_ptr<model::Session>> sessions;
  for (const auto& m : models) {
    NBL_ASSIGN(std::unique_ptr<model::Session> session, model::Session::create(m, team, set.longest));
    sessions.push_back(std::move(session));
  }
  std::vector<std::span<const float>> logits(models.size());
  const int64_t total = static_cast<int64_t>(set.windows.size());
  for (std::size_t w = 0; w < set.windows.size(); ++w) {
    NBL_TRY(report_progress(
        progress, {std::string(stage), fmt::format("window {} of {}", w + 1, total), static_cast<int64_t>(w), total}));
    const Window& window = set.windows[w];
    const std::span<const text::TokenId> input = window.input, targets = window.targets;
    for (auto& session : sessions) {
      NBL_TRY(session->truncate(0));
      if (window.first_row > 0) {
        auto silent =
            session->append(input.first(static_cast<std::size_t>(window.first_row)), model::Session::Logits::none);
        if (!silent.ok()) return silent.status();
      }
    }
    for (int64_t r = 0; r < static_cast<int64_t>(targets.size()); r += rows) {
      const std::size_t count = static_cast<std::size_t>(std::min(rows, static_cast<int64_t>(targets.size()) - r));
      for (std::size_t m = 0; m < sessions.size(); ++m) {
        NBL_ASSIGN(logits[m], sessions[m]->append(input.subspan(static_cast<std::size_t>(window.first_row + r), count),
                                                  model::Session::Logits::all));
      }
      NBL_TRY(fn(w, logits, targets.subspan(static_cast<std::size_t>(r), count)));
    }
  }
  return report_progress(progress, {std::string(stage), "done", total, total});
}

Result<const text::Tokenizer*> tokenizer_of(const model::Model& model) {
  if (model.tokenizer() == nullptr) {
    return Status(Code::not_found, "the model carries no tokenizer, so a text cannot be measured with it");
  }
  return model.tokenizer();
}

}  // namespace nbl::eval
