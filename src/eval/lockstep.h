// Several models over the same windows, a piece of each window at a time.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/parallel.h"
#include "base/progress.h"
#include "eval/windows.h"
#include "model/model.h"

namespace nbl::eval {

/// Given the logits of every model ([rows, vocab] each) for the rows that predict `targets`, all of window `window`.
using LockstepFn = std::function<Status(std::size_t window, std::span<const std::span<const float>> logits,
                                        std::span<const text::TokenId> targets)>;

/// Logits are never held for more than a bounded number of rows, whatever the window.
Status run_lockstep(std::span<const std::shared_ptr<const model::Model>> models, Team& team, const WindowSet& set,
                    std::string_view stage, const ProgressFn& progress, const LockstepFn& fn);

/// The tokenizer of a model, or an error that says it has none.
Result<const text::Tokenizer*> tokenizer_of(const model::Model& model);

}  // namespace nbl::eval
