#include "tensor/kernel_tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/checked.h"

namespace nbl {
namespace {

using kernels::QmatmulInt8Args;
using kernels::SegmentView;

constexpr int64_t kMeasuredBytes = 128 << 10;  ///< of codes: no more than a second-level cache holds beside the activations
constexpr int kRounds = 5;
constexpr double kGain = 0.97;  ///< of the default's time that another candidate may take at most
constexpr int64_t kClassRows[kRowClasses] = {1, 4, 8, 48};

// Activations as a product wants them; their values do not matter for the time.
struct Input {
  std::vector<int8_t> x;
  std::vector<float> numbers, y;
  QmatmulInt8Args args;

  Input(const SegmentView& w, int64_t tiles, int64_t step, int64_t m)
      : x(static_cast<std::size_t>(w.column_tiles * kernels::kCols * m)),
        numbers(static_cast<std::size_t>(ceil_div(w.column_tiles * kernels::kCols, step) * m), 0.01f),
        y(static_cast<std::size_t>(tiles * kernels::kRows * m)) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int8_t>(static_cast<int>(i * 37 % 255) - 127);
    args.w = w;
    args.tile_end = tiles;
    args.n = tiles * kernels::kRows;
    args.m = m;
    args.x = x.data();
    args.step = step;
    args.d = args.sums = args.dsums = numbers.data();
    args.y = y.data();
    args.ldy = args.n;
  }
  double seconds(const Int8Choice& choice) {
    args.block_rows = choice.block_rows;
    const auto begin = std::chrono::steady_clock::now();
    choice.variant.run(&args);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
};

// The default first.
std::vector<Int8Choice> candidates(Isa cap, int cls) {
  std::vector<Int8Choice> all{default_int8_choices(cap).front()};
  int count = 0;
  const kernels::QmatmulInt8Variant* variants = kernels::qmatmul_int8_variants(&count);
  for (int v = 0; v < count; ++v) {
    const bool usable = variants[v].isa <= cap && isa_usable(variants[v].isa) && variants[v].isa != Isa::scalar;
    if (!usable) continue;
    for (const int32_t rows : {0, 8, 4}) {
      const bool differs = rows == 0 || (rows == 4 && cls == 2) || cls == 3;
      const bool known = variants[v].run == all.front().variant.run && rows == 0;
      if (differs && !known) all.push_back({variants[v], rows});
    }
  }
  return all;
}

std::string text(const Int8Choice& choice) {
  return choice.variant.name + (choice.block_rows == 0 ? std::string() : fmt::format(", blocks of {} rows", choice.block_rows));
}

}  // namespace

Int8Choices default_int8_choices(Isa cap) noexcept {
  Int8Choices all;
  for (Int8Choice& choice : all) choice.variant = kernels::select_qmatmul_int8(cap);
  return all;
}

KernelTuner::Measured KernelTuner::measure(const SegmentView& w, const Shape& shape) {
  const int64_t row_tile_bytes = w.column_tiles * w.tile_code_bytes();
  // An even number, since kernels take two row tiles at a time.
  const int64_t tiles = std::min(shape.row_tiles, std::max<int64_t>(2, kMeasuredBytes / std::max<int64_t>(row_tile_bytes, 1) / 2 * 2));
  static constexpr const char* kRowsText[kRowClasses] = {"1 row", "2 to 4 rows", "5 to 8 rows", "9 rows and more"};
  Measured result;
  for (int cls = 0; cls < kRowClasses; ++cls) {
    std::vector<Int8Choice> all = candidates(shape.cap, cls);
    Input input(w, tiles, shape.step, kClassRows[cls]);
    std::vector<double> best(all.size(), 1e30);
    for (int round = 0; round <= kRounds; ++round) {  // in turns, so that a disturbance meets all; the first warms up
      const double leader = *std::min_element(best.begin(), best.end());
      for (std::size_t c = 0; c < all.size(); ++c) {
        if (round > 1 && best[c] > 1.5 * leader) continue;  // far behind
        const double time = input.seconds(all[c]);
        if (round > 0) best[c] = std::min(best[c], time);
      }
    }
    std::size_t chosen = 0;
    for (std::size_t c = 1; c < all.size(); ++c) {
      if (best[c] < kGain * best[0] && best[c] < best[chosen]) chosen = c;
    }
    const auto index = static_cast<std::size_t>(cls);
    result.choices[index] = all[chosen];
    result.entries[index] = {
        fmt::format("{} {} bit, steps of {}, {} x {}, {}", w.kind == kernels::WeightKind::codebook ? "codebook" : w.kind == kernels::WeightKind::trellis ? "trellis" : "affine", w.bits,
                    shape.step, shape.row_tiles * kernels::kRows, shape.column_tiles * kernels::kCols, kRowsText[cls]),
        text(all[chosen]), 1e6 * best[chosen], 1e6 * best[0]};
  }
  return result;
}

Int8Choices KernelTuner::choose(const SegmentView& w, int64_t n, int64_t step, Isa cap) {
  const Shape shape{w.kind,       w.bits, w.zero, w.scale_type, w.scale_codes.supers != nullptr, step, w.groups == 1 ? 0 : w.group_size,
                    w.column_tiles, ceil_div(n, kernels::kRows), cap};
  const std::lock_guard lock(mutex_);  // also while it measures: two measurements at once would disturb each other
  auto it = known_.find(shape);
  if (it == known_.end()) it = known_.emplace(shape, measure(w, shape)).first;
  return it->second.choices;
}

int64_t KernelTuner::measured() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(known_.size());
}

std::vector<KernelTuner::Entry> KernelTuner::entries() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> all;
  for (const auto& [shape, measured] : known_) all.insert(all.end(), measured.entries.begin(), measured.entries.end());
  return all;
}

}  // namespace nbl
