#include "quant/feedback_rounding.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/checked.h"
#include "kernels/panel/panel.h"
#include "quant/calibrated.h"
#include "quant/refinement.h"
#include "quant/trellis.h"

namespace nbl::quant {
namespace {

using kernels::FeedbackArgs;
using kernels::kFeedbackColumns;
using kernels::kPanelRows;
using kernels::kTrellisSteps;

/// Positions [begin, end) of the order that are rounded with one grid.
struct Run {
  int64_t begin = 0, end = 0;
  int64_t group = 0;  ///< of the result
  std::span<const TrellisTile> tiles = {};  ///< of a trellis
};

std::vector<Run> make_runs(const HessianFactor& factor, const AffineCodes& out, Groups groups) {
  std::vector<Run> runs;
  if (groups == Groups::fixed) return {{0, factor.k, 0}};
  for (int64_t p = 0; p < factor.k;) {
    const int64_t column = groups == Groups::packed || factor.order.empty() ? p : factor.order[static_cast<std::size_t>(p)];
    Run run;
    run.begin = p;
    run.group = column / out.group;
    run.end = p + std::min(out.group, factor.k - run.group * out.group);
    p = run.end;
    runs.push_back(run);
  }
  return runs;
}

/// The tiles of a trellis, whose columns are the factor's in their order, with what of the factor lies within each.
std::vector<TrellisTile> make_tiles(const HessianFactor& factor) {
  std::vector<TrellisTile> tiles;
  for (int64_t p = 0; p < factor.k; p += tiles.back().count()) {
    tiles.emplace_back(factor.order[static_cast<std::size_t>(p)] / kTrellisSteps * kTrellisSteps, factor.k);
    tiles.back().set_factor(factor.r.data() + p * (factor.k + 1), factor.k);
  }
  return tiles;
}

/// Hands each run its tiles.
void give_tiles(std::span<const TrellisTile> tiles, std::vector<Run>* runs) {
  for (Run& run : *runs) {
    std::size_t count = 0;
    for (int64_t p = run.begin; p < run.end; ++count) p += tiles[count].count();
    run.tiles = tiles.first(count);
    tiles = tiles.subspan(count);
  }
}

/// One panel of 32 rows on its way through the columns.
class PanelRounder {
 public:
  /// weight, residual: the task's, of rows in the order of `out`.
  PanelRounder(const LinearTask& task, std::span<const float> weight, std::span<const float> residual, const HessianFactor& factor,
               const FeedbackRule& rule, std::span<const Run> runs, const MethodContext& context, AffineCodes* out)
      : cross_(rule.alpha > 0 ? std::span<const float>(task.stats->cross) : std::span<const float>()),
        weight_(weight),
        residual_(residual),
        factor_(factor),
        rule_(rule),
        runs_(runs),
        isa_(context.isa),
        out_(*out),
        k_(factor.k),
        max_code_(static_cast<float>((1 << rule.grid.bits) - 1)),
        feedback_(kernels::select_panel(static_cast<int>(context.isa)).feedback),
        target_(k_ * kPanelRows),
        error_(k_ * kPanelRows),
        carried_(k_ * kPanelRows),
        local_(kFeedbackColumns * kPanelRows),
        scales_(out->groups() * kPanelRows),
        zeros_(out->groups() * kPanelRows),
        ranges_(out->scale_bits > 0 ? 3 * out->groups() * kPanelRows : 0) {
    if (out->trellis) coder_.emplace(out->bits, context.isa);
  }

  void round(int64_t row) {
    row_ = row;
    rows_ = std::min<int64_t>(kPanelRows, out_.n - row);
    load_panel(weight_, out_.n, k_, row, factor_.order, target_.data());
    if (rule_.alpha > 0 || rule_.beta > 0) correct_target();
    for (int64_t p = 0; p < k_; ++p) {
      if (factor_.dead[static_cast<std::size_t>(p)] != 0) std::fill_n(at(target_, p), kPanelRows, 0.0f);
    }
    if (rule_.rows != nullptr) {
      rule_.rows->store(rule_.rows->target(), row, factor_.order, target_.data());
      add_asked();
    }
    if (out_.scale_bits > 0) choose_steps();
    for (int tries = 0;; ++tries) {
      grid_ = out_.rule_of(rule_.grid, row, steps_);
      if (rule_.groups == Groups::fixed) find_fixed_grids();
      for (const Run& run : runs_) round_run(run);
      if (out_.scale_bits == 0 || tries == kMostSteps || !raise_steps()) break;
    }
    store_grids();
    if (rule_.rows != nullptr) keep_error();
  }

  /// The panel just rounded.
  void refine(const RefinementMatrix& matrix, const MethodContext& context) {
    refine_panel(target_.data(), row_, factor_, matrix, rule_, context, &out_);
  }

  /// A panel rounded before, as other rows ask now.
  void refine_again(int64_t row, const RefinementMatrix& matrix, const MethodContext& context) {
    row_ = row;
    rows_ = std::min<int64_t>(kPanelRows, out_.n - row);
    rule_.rows->load(rule_.rows->target(), row, factor_.order, target_.data());
    add_asked();
    refine(matrix, context);
    for (int64_t p = 0; p < k_; ++p) {
      const int64_t column = rule_.groups == Groups::packed ? p : original(p);
      for (int64_t r = 0; r < kPanelRows; ++r) at(error_, p)[r] = r < rows_ ? at(target_, p)[r] - out_.value(row + r, column) : 0.0f;
    }
    keep_error();
  }

 private:
  /// target += what other rows ask of these.
  void add_asked() {
    rule_.rows->load(rule_.rows->asked(), row_, factor_.order, carried_.data());
    for (int64_t i = 0; i < k_ * kPanelRows; ++i) target_.data()[i] += carried_.data()[i];
  }

  /// The error against the target without that.
  void keep_error() {
    rule_.rows->load(rule_.rows->asked(), row_, factor_.order, carried_.data());
    for (int64_t i = 0; i < k_ * kPanelRows; ++i) error_.data()[i] -= carried_.data()[i];
    rule_.rows->store(rule_.rows->error(), row_, factor_.order, error_.data());
  }

  static float* at(AlignedFloats& panel, int64_t column) { return panel.data() + column * kPanelRows; }
  int64_t original(int64_t p) const { return factor_.order.empty() ? p : factor_.order[static_cast<std::size_t>(p)]; }

  /// target += b H^-1 with b = alpha w (sum (u - x) x^T) + beta (sum r x^T).
  void correct_target() {
    float* b = carried_.data();  // free until the first run
    float* scratch = error_.data();
    std::fill_n(b, k_ * kPanelRows, 0.0f);
    if (rule_.beta > 0 && !residual_.empty()) {
      load_panel(residual_, out_.n, k_, row_, factor_.order, b);
      const float beta = static_cast<float>(rule_.beta);
      for (int64_t i = 0; i < k_ * kPanelRows; ++i) b[i] *= beta;
    }
    if (!cross_.empty()) {
      const float alpha = static_cast<float>(rule_.alpha);
      load_panel(weight_, out_.n, k_, row_, {}, scratch);
      // The rows of `cross` belong to original columns; two orders meet here and nowhere else.
      for (int64_t p = 0; p < k_; ++p) {
        feedback_(FeedbackArgs{cross_.data() + original(p) * k_, k_, 1, scratch, 0, k_, local_.data()});
        float* out = b + p * kPanelRows;
        for (int64_t r = 0; r < kPanelRows; ++r) out[r] += alpha * local_.data()[r];
      }
    }
    solve_backward(b, scratch);
    solve_forward(scratch, 0, k_, scratch);
    for (int64_t i = 0; i < k_ * kPanelRows; ++i) target_.data()[i] += scratch[i];
  }

  /// x R^T = b, from the last column to the first.
  void solve_backward(const float* b, float* x) {
    for (int64_t end = k_; end > 0;) {
      const int64_t begin = (end - 1) / kFeedbackColumns * kFeedbackColumns;
      feedback_(FeedbackArgs{factor_.r.data() + begin * k_, k_, static_cast<int>(end - begin), x, end, k_, local_.data()});
      for (int64_t j = end - 1; j >= begin; --j) {
        const float* r = factor_.r.data() + j * k_;
        float sum[kPanelRows];
        for (int64_t l = 0; l < kPanelRows; ++l) sum[l] = b[j * kPanelRows + l] - local_.data()[(j - begin) * kPanelRows + l];
        for (int64_t i = j + 1; i < end; ++i) {
          for (int64_t l = 0; l < kPanelRows; ++l) sum[l] -= r[i] * x[i * kPanelRows + l];
        }
        const float inverse = 1.0f / r[j];
        for (int64_t l = 0; l < kPanelRows; ++l) x[j * kPanelRows + l] = sum[l] * inverse;
      }
      end = begin;
    }
  }

  /// x R = b on columns [begin, end), that block of R alone. b and x may be the same; both start at column `begin`.
  void solve_forward(const float* b, int64_t begin, int64_t end, float* x) {
    for (int64_t j = begin; j < end; j += kFeedbackColumns) {
      const int64_t last = std::min(j + kFeedbackColumns, end);
      feedback_(FeedbackArgs{factor_.r.data() + j * k_ + begin, k_, static_cast<int>(last - j), x, 0, j - begin, local_.data()});
      for (int64_t c = j; c < last; ++c) {
        const float* r = factor_.r.data() + c * k_;
        float sum[kPanelRows];
        for (int64_t l = 0; l < kPanelRows; ++l) {
          sum[l] = b[(c - begin) * kPanelRows + l] - local_.data()[(c - j) * kPanelRows + l];
        }
        for (int64_t i = j; i < c; ++i) {
          for (int64_t l = 0; l < kPanelRows; ++l) sum[l] -= r[i] * x[(i - begin) * kPanelRows + l];
        }
        const float inverse = 1.0f / r[c];
        for (int64_t l = 0; l < kPanelRows; ++l) x[(c - begin) * kPanelRows + l] = sum[l] * inverse;
      }
    }
  }

  // Errors of earlier columns may ask more of later ones than the target does: how much, only rounding tells.
  static constexpr float kRoom = 1.25f, kRaise = 1.5f;
  static constexpr int kMostSteps = 3;

  /// Steps of coded scales that suit the target.
  void choose_steps() {
    const int64_t groups = out_.groups();
    std::fill_n(ranges_.data(), 3 * groups * kPanelRows, 0.0f);
    for (int64_t p = 0; p < k_; ++p) {
      const int64_t group = (rule_.groups == Groups::packed ? p : original(p)) / out_.group;
      const float* target = at(target_, p);
      float *low = at(ranges_, 3 * group), *high = low + kPanelRows, *square = high + kPanelRows;
      for (int64_t r = 0; r < kPanelRows; ++r) {
        square[r] += target[r] * target[r];
        low[r] = std::min(low[r], target[r]);
        high[r] = std::max(high[r], target[r]);
      }
    }
    float largest[kPanelRows] = {};
    for (int64_t g = 0; g < groups; ++g) {
      const float count = static_cast<float>(std::min(out_.group, k_ - g * out_.group));
      const float *low = at(ranges_, 3 * g), *high = low + kPanelRows, *square = high + kPanelRows;
      for (int64_t r = 0; r < rows_; ++r)
        largest[r] = std::max(largest[r], kRoom * out_.scale_for(low[r], high[r], std::sqrt(square[r] / count)));
    }
    out_.fit_steps(row_, std::span(largest, static_cast<std::size_t>(rows_)));
  }

  /// Larger steps where a scale came to the largest code, which may be less than it was to be. False when there is none.
  bool raise_steps() {
    float largest[kPanelRows] = {};
    bool any = false;
    for (int64_t r = 0; r < rows_; ++r) {
      const float most = steps_[r] * grid_.scale_top;
      largest[r] = most;
      for (int64_t g = 0; g < out_.groups(); ++g) {
        if (at(scales_, g)[r] < most) continue;
        largest[r] = kRaise * most;
        any = true;
      }
    }
    if (any) out_.fit_steps(row_, std::span(largest, static_cast<std::size_t>(rows_)));
    return any;
  }

  void set_grids(int64_t group, const Grid* grids) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      at(scales_, group)[r] = grids[r].scale;
      at(zeros_, group)[r] = grids[r].zero;
    }
  }

  /// Grids of the original groups, from the target as it is.
  void find_fixed_grids() {
    float* natural = error_.data();  // free until the first run
    for (int64_t p = 0; p < k_; ++p) std::copy_n(at(target_, p), kPanelRows, natural + original(p) * kPanelRows);
    for (int64_t g = 0; g < out_.groups(); ++g) {
      const int64_t first = g * out_.group;
      Grid grids[kPanelRows];
      find_grids(natural + first * kPanelRows, std::min(out_.group, k_ - first), grid_, nullptr, nullptr, isa_, grids);
      set_grids(g, grids);
    }
  }

  void store_grids() {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t g = 0; g < out_.groups(); ++g) {
        const std::size_t index = static_cast<std::size_t>((row_ + r) * out_.groups() + g);
        out_.scales[index] = at(scales_, g)[r];
        if (!out_.symmetric) out_.zeros[index] = at(zeros_, g)[r];
      }
    }
  }

  void round_run(const Run& run) {
    // What the errors of all earlier runs add up to in each column of this one.
    for (int64_t j = run.begin; j < run.end; j += kFeedbackColumns) {
      const int columns = static_cast<int>(std::min<int64_t>(kFeedbackColumns, run.end - j));
      feedback_(FeedbackArgs{factor_.r.data() + j * k_, k_, columns, error_.data(), 0, run.begin, at(carried_, j)});
    }
    if (rule_.groups != Groups::fixed) {
      // The columns as they would best be, were none of them rounded: target + carried R_gg^-1.
      float* corrected = at(error_, run.begin);  // overwritten column by column below
      solve_forward(at(carried_, run.begin), run.begin, run.end, corrected);
      const float* target = at(target_, run.begin);
      for (int64_t i = 0; i < (run.end - run.begin) * kPanelRows; ++i) corrected[i] += target[i];
      if (coder_) {
        coder_->find_scales(run.tiles, corrected, at(scales_, run.group),
                            [&](float scale, int64_t r) { return out_.rounded_scale(scale, std::min(row_ + r, out_.n - 1)); });
        return round_tiles(run);
      }
      Grid grids[kPanelRows];
      find_grids(corrected, run.end - run.begin, grid_, nullptr, nullptr, isa_, grids);
      set_grids(run.group, grids);
    }
    for (int64_t begin = run.begin; begin < run.end; begin += rule_.block) {
      const int64_t end = std::min(begin + rule_.block, run.end);
      if (begin > run.begin) carry_on(run.begin, begin, end);
      for (int64_t j = begin; j < end; j += kFeedbackColumns) {
        const int64_t last = std::min(j + kFeedbackColumns, end);
        feedback_(FeedbackArgs{factor_.r.data() + j * k_, k_, static_cast<int>(last - j), error_.data(), begin, j, local_.data()});
        for (int64_t c = j; c < last; ++c) round_column(c, j, run.group);
      }
    }
  }

  /// Tile by tile, the columns of each together.
  void round_tiles(const Run& run) {
    alignas(64) float wanted[kTrellisSteps * kPanelRows], cost[kPanelRows];
    uint8_t codes[kTrellisSteps * kPanelRows];
    const float* scale = at(scales_, run.group);
    const auto& values = trellis_table(out_.bits).values;
    int64_t begin = run.begin;
    for (const TrellisTile& tile : run.tiles) {
      if (begin > run.begin) carry_on(run.begin, begin, begin + tile.count());
      const float* target = at(target_, begin);
      for (int64_t j = 0; j < tile.count(); ++j) {
        const int64_t p = begin + j;
        const float inverse = factor_.dead[static_cast<std::size_t>(p)] != 0 ? 0.0f : 1.0f / factor_.r[static_cast<std::size_t>(p * (k_ + 1))];
        for (int64_t r = 0; r < kPanelRows; ++r) wanted[j * kPanelRows + r] = target[j * kPanelRows + r] + at(carried_, p)[r] * inverse;
      }
      coder_->run(tile, wanted, target, scale, codes, cost);
      for (int64_t j = 0; j < tile.count(); ++j) {
        const int64_t column = tile.columns()[static_cast<std::size_t>(j)];
        const bool dead = factor_.dead[static_cast<std::size_t>(begin + j)] != 0;
        float* e = at(error_, begin + j);
        for (int64_t r = 0; r < kPanelRows; ++r)
          e[r] = dead ? 0.0f : target[j * kPanelRows + r] - scale[r] * values[codes[j * kPanelRows + r]];
        for (int64_t r = 0; r < rows_; ++r) out_.codes[static_cast<std::size_t>((row_ + r) * k_ + column)] = codes[j * kPanelRows + r];
      }
      begin += tile.count();
    }
  }

  /// Adds what the errors of columns [first, begin) mean for columns [begin, end).
  void carry_on(int64_t first, int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; j += kFeedbackColumns) {
      const int64_t columns = std::min<int64_t>(kFeedbackColumns, end - j);
      feedback_(FeedbackArgs{factor_.r.data() + j * k_, k_, static_cast<int>(columns), error_.data(), first, begin, local_.data()});
      for (int64_t i = 0; i < columns * kPanelRows; ++i) at(carried_, j)[i] += local_.data()[i];
    }
  }

  void round_column(int64_t c, int64_t block, int64_t group) {
    const float* factor = factor_.r.data() + c * k_;
    const int64_t stored = rule_.groups == Groups::packed ? c : original(c);
    if (rule_.groups == Groups::fixed) group = stored / out_.group;
    const bool dead = factor_.dead[static_cast<std::size_t>(c)] != 0;
    float sum[kPanelRows];
    for (int64_t r = 0; r < kPanelRows; ++r) sum[r] = at(carried_, c)[r] + at(local_, c - block)[r];
    for (int64_t i = block; i < c; ++i) {
      const float* e = at(error_, i);
      for (int64_t r = 0; r < kPanelRows; ++r) sum[r] += factor[i] * e[r];
    }
    const float* t = at(target_, c);
    const float *scale = at(scales_, group), *zero = at(zeros_, group);
    float* e = at(error_, c);
    const float inverse = dead ? 0.0f : 1.0f / factor[c];
    float code[kPanelRows];
    for (int64_t r = 0; r < kPanelRows; ++r) {
      const Grid grid{scale[r], zero[r]};
      code[r] = nearest_code(t[r] + sum[r] * inverse, grid, max_code_);
      e[r] = t[r] - grid_value(code[r], grid);
    }
    for (int64_t r = 0; r < rows_; ++r) {
      out_.codes[static_cast<std::size_t>((row_ + r) * k_ + stored)] = static_cast<uint8_t>(code[r]);
    }
  }

  std::span<const float> cross_, weight_, residual_;
  const HessianFactor& factor_;
  const FeedbackRule& rule_;
  std::span<const Run> runs_;
  Isa isa_;
  AffineCodes& out_;
  int64_t k_;
  float max_code_;
  void (*feedback_)(const FeedbackArgs&);
  AlignedFloats target_, error_, carried_;  // [k][32], by position
  AlignedFloats local_;                     // [8][32]
  AlignedFloats scales_, zeros_;            // [groups][32]
  AlignedFloats ranges_;                    // [groups][3][32], where scales are coded: least, largest, sum of squares
  std::optional<TrellisCoder> coder_;       // of a trellis
  int64_t row_ = 0, rows_ = 0;
  GridRule grid_;  // of the panel at hand
  float steps_[kPanelRows] = {};
};

}  // namespace

void round_with_feedback(const LinearTask& task, const HessianFactor& factor, const FeedbackRule& rule,
                         const MethodContext& context, AffineCodes* out) {
  std::vector<Run> runs = make_runs(factor, *out, rule.groups);
  const std::vector<TrellisTile> tiles = out->trellis ? make_tiles(factor) : std::vector<TrellisTile>{};
  if (out->trellis) give_tiles(tiles, &runs);
  const RefinementMatrix matrix = rule.refine > 0 ? RefinementMatrix::create(task.stats->hessian, factor, rule.groups == Groups::packed,
                                                                             out->trellis, context)
                                                  : RefinementMatrix{};
  const std::span<const float> residual = rule.beta > 0 ? std::span<const float>(task.stats->residual) : std::span<const float>();
  std::vector<float> ordered_weight, ordered_residual;
  if (rule.rows != nullptr) {
    ordered_weight = rule.rows->ordered(task.weight);
    ordered_residual = rule.rows->ordered(residual);
  }
  // f(rounder, row) for each panel of rows [begin, end).
  const auto each_panel = [&](int64_t begin, int64_t end, auto&& f) {
    context.team->parallel_for(ceil_div(end - begin, kPanelRows), 1, [&](int64_t first, int64_t last) {
      PanelRounder rounder(task, rule.rows != nullptr ? std::span<const float>(ordered_weight) : task.weight,
                           rule.rows != nullptr ? std::span<const float>(ordered_residual) : residual, factor, rule, runs, context, out);
      for (int64_t p = first; p < last; ++p) f(rounder, begin + p * kPanelRows);
    });
  };
  if (rule.rows == nullptr) {
    each_panel(0, out->n, [&](PanelRounder& rounder, int64_t row) {
      rounder.round(row);
      if (rule.refine > 0) rounder.refine(matrix, context);
    });
    return;
  }
  const auto in_turn = [&](auto&& f) {
    for (int64_t row = 0; row < out->n; row += rule.rows->together()) f(row, std::min(out->n, row + rule.rows->together()));
  };
  in_turn([&](int64_t begin, int64_t end) {
    rule.rows->ask_of_next(begin, end, context);
    each_panel(begin, end, [](PanelRounder& rounder, int64_t row) { rounder.round(row); });
  });
  if (rule.refine > 0) {
    in_turn([&](int64_t begin, int64_t end) {
      rule.rows->ask_of_again(begin, end, context);
      each_panel(begin, end, [&](PanelRounder& rounder, int64_t row) { rounder.refine_again(row, matrix, context); });
    });
  }
  rule.rows->restore(out);
}

}  // namespace nbl::quant
