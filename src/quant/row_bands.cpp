#include "quant/row_bands.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>

#include "base/checked.h"
#include "quant/calibrated.h"

namespace nbl::quant {
namespace {

/// Two row tiles (a panel of find_grids) and no more: 32 rows of floats, their codes and values are to fit a core's second cache.
constexpr int64_t kBandRows = 32;

}  // namespace

std::optional<LinearResult> quantize_by_rows(const Recipe& recipe, const std::string& name, int64_t n, int64_t k,
                                             FunctionRef<void(int64_t row, int64_t count, float* out)> read,
                                             const MethodContext& context, const FunctionRef<void()>* alongside, SpareBuffers* spare) {
  const int64_t bands = ceil_div(n, kBandRows), extra = alongside != nullptr ? 1 : 0;
  std::vector<double> errors(static_cast<std::size_t>(bands)), references(errors.size());
  std::optional<RowJoiner> joiner;
  std::mutex creating;
  std::atomic<bool> failed{false};
  const auto band = [&](int64_t b) -> bool {
    const int64_t row = b * kBandRows, rows = std::min(kBandRows, n - row);
    const std::size_t count = static_cast<std::size_t>(rows * k);
    const auto weight = std::make_unique_for_overwrite<float[]>(count);
    read(row, rows, weight.get());
    LinearTask task;
    task.name = name;
    task.n = rows;
    task.k = k;
    task.weight = {weight.get(), count};
    Team alone(1);
    MethodContext own = context;
    own.team = &alone;
    own.progress = {};
    const auto result = recipe.method->quantize(task, recipe.options, own);
    if (!result.ok() || !result->notes.empty()) return false;
    errors[static_cast<std::size_t>(b)] = result->error * result->reference;
    references[static_cast<std::size_t>(b)] = result->reference;
    {
      const std::lock_guard<std::mutex> lock(creating);
      if (!joiner) {
        auto made = RowJoiner::create(n, result->tensor, spare);
        if (!made.ok()) return false;
        joiner.emplace(std::move(made).value());
      }
    }
    return joiner->put(row, result->tensor);
  };
  context.team->parallel_for(bands + extra, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (i < extra) {
        (*alongside)();
        continue;
      }
      if (failed) continue;
      try {
        if (!band(i - extra)) failed = true;
      } catch (const std::bad_alloc&) {
        failed = true;
      }
    }
  });
  if (failed || !joiner) return {};
  LinearResult out;
  out.tensor = std::move(*joiner).finish();
  double error = 0;
  for (const double e : errors) error += e;
  for (const double r : references) out.reference += r;
  out.error = out.reference > 0 ? error / out.reference : 0.0;
  return out;
}

}  // namespace nbl::quant
