#include "quant/refinement.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/half.h"
#include "kernels/panel/panel.h"
#include "quant/calibrated.h"
#include "quant/linalg.h"

namespace nbl::quant {
namespace {

using kernels::FeedbackArgs;
using kernels::kFeedbackColumns;
using kernels::kPanelRows;
using kernels::kTrellisSteps;

class PanelRefiner {
 public:
  PanelRefiner(int64_t row, const RefinementMatrix& matrix, const FeedbackRule& rule, const MethodContext& context,
               AffineCodes* out)
      : matrix_(matrix),
        rule_(rule),
        out_(*out),
        k_(out->k),
        groups_(out->groups()),
        row_(row),
        rows_(std::min<int64_t>(kPanelRows, out->n - row)),
        max_code_(static_cast<float>((1 << out->bits) - 1)),
        feedback_(kernels::select_panel(static_cast<int>(context.isa)).feedback),
        level_(k_ * kPanelRows),
        error_(k_ * kPanelRows),
        change_(groups_ * kPanelRows),
        local_(kFeedbackColumns * kPanelRows),
        scales_(groups_ * kPanelRows),
        zeros_(groups_ * kPanelRows) {
    if (out->trellis) coder_.emplace(out->bits, context.isa);
  }

  void run(const float* target, const HessianFactor& factor, bool packed) {
    for (int64_t g = 0; g < groups_; ++g) {
      for (int64_t r = 0; r < kPanelRows; ++r) {
        const std::size_t at = static_cast<std::size_t>((row_ + r) * groups_ + g);
        column_of(scales_, g)[r] = r < rows_ ? out_.scales[at] : 1.0f;
        column_of(zeros_, g)[r] = r >= rows_ ? 0.0f : out_.trellis ? 0.0f : out_.symmetric ? static_cast<float>(1 << (out_.bits - 1)) : out_.zeros[at];
      }
    }
    for (int64_t p = 0; p < k_; ++p) {
      const int64_t c = packed || factor.order.empty() ? p : factor.order[static_cast<std::size_t>(p)];
      const float *scale = column_of(scales_, c / out_.group), *zero = column_of(zeros_, c / out_.group);
      for (int64_t r = 0; r < kPanelRows; ++r) {
        const uint8_t code = r < rows_ ? out_.codes[static_cast<std::size_t>((row_ + r) * k_ + c)] : uint8_t{0};
        const float level = out_.trellis ? trellis_table(out_.bits).values[code] : static_cast<float>(code) - zero[r];
        column_of(level_, c)[r] = level;
        column_of(error_, c)[r] = target[p * kPanelRows + r] - scale[r] * level;
      }
    }
    for (int round = 0; round < rule_.refine; ++round) {
      refit_scales();
      if (coder_) {
        move_paths();
      } else {
        move_codes();
      }
    }
    refit_scales();
    store();
  }

 private:
  static float* column_of(AlignedFloats& panel, int64_t column) { return panel.data() + column * kPanelRows; }

  /// For every row the least-squares change of its scales: A d = b, A_gh = level_g H level_h, b_g = level_g H e.
  void refit_scales() {
    const std::size_t square = static_cast<std::size_t>(groups_ * groups_);
    std::vector<double> a(square * kPanelRows), b(static_cast<std::size_t>(groups_ * kPanelRows));
    for (int64_t j = 0; j < k_; j += kFeedbackColumns) {
      const int columns = static_cast<int>(std::min<int64_t>(kFeedbackColumns, k_ - j));
      const float* h = matrix_.h.data() + j * k_;
      feedback_(FeedbackArgs{h, k_, columns, error_.data(), 0, k_, local_.data()});
      for (int64_t c = 0; c < columns; ++c) {
        const int64_t g = (j + c) / out_.group;
        for (int64_t r = 0; r < kPanelRows; ++r) {
          b[static_cast<std::size_t>(g * kPanelRows + r)] +=
              static_cast<double>(column_of(level_, j + c)[r]) * static_cast<double>(column_of(local_, c)[r]);
        }
      }
      // A is symmetric: of each pair of groups the one that is not above the diagonal.
      for (int64_t other = 0; other * out_.group < j + columns; ++other) {
        const int64_t first = other * out_.group, last = std::min(first + out_.group, k_);
        feedback_(FeedbackArgs{h, k_, columns, level_.data(), first, last, local_.data()});
        for (int64_t c = 0; c < columns; ++c) {
          const int64_t g = (j + c) / out_.group;
          if (other > g) continue;
          double* sum = a.data() + (g * groups_ + other) * kPanelRows;
          for (int64_t r = 0; r < kPanelRows; ++r) {
            sum[r] += static_cast<double>(column_of(level_, j + c)[r]) * static_cast<double>(column_of(local_, c)[r]);
          }
        }
      }
    }
    std::vector<double> system(square), change(static_cast<std::size_t>(groups_)), rounded(change.size());
    for (int64_t r = 0; r < rows_; ++r) solve_row(r, a, b, &system, &change, &rounded);
    for (int64_t c = 0; c < k_; ++c) {
      const float* d = column_of(change_, c / out_.group);  // solve_row left the changes of the scales here
      float* e = column_of(error_, c);
      for (int64_t r = 0; r < rows_; ++r) e[r] -= d[r] * column_of(level_, c)[r];
    }
  }

  void solve_row(int64_t r, const std::vector<double>& a, const std::vector<double>& b, std::vector<double>* system,
                 std::vector<double>* change, std::vector<double>* rounded) {
    const auto entry = [&](int64_t g, int64_t h) {
      return a[static_cast<std::size_t>((std::max(g, h) * groups_ + std::min(g, h)) * kPanelRows + r)];
    };
    for (int64_t g = 0; g < groups_; ++g) {
      for (int64_t h = 0; h <= g; ++h) (*system)[static_cast<std::size_t>(g * groups_ + h)] = entry(g, h);
      double& diagonal = (*system)[static_cast<std::size_t>(g * groups_ + g)];
      diagonal = diagonal > 0 ? diagonal * (1 + 1e-9) : 1.0;  // a group of zeros has no scale to fit
      (*change)[static_cast<std::size_t>(g)] = b[static_cast<std::size_t>(g * kPanelRows + r)];
    }
    bool good = solve_small(*system, groups_, *change);
    // The change as it can be stored, one scale after the other, each where what rounded before it is best made good: a cost of
    // |L^T (stored - wanted)|^2 (nearest plane; Babai, 1986). And what it is worth.
    double gain = 0;
    for (int64_t g = groups_ - 1; g >= 0 && good; --g) {
      const float old = column_of(scales_, g)[r];
      double wanted = static_cast<double>(old) + (*change)[static_cast<std::size_t>(g)];
      good = wanted > 0.5 * static_cast<double>(old) && wanted < 2.0 * static_cast<double>(old);
      if (!good) break;
      double carried = 0;
      for (int64_t h = g + 1; h < groups_; ++h)
        carried += (*system)[static_cast<std::size_t>(h * groups_ + g)] * (*rounded)[static_cast<std::size_t>(h)];
      wanted -= carried / (*system)[static_cast<std::size_t>(g * groups_ + g)];
      const double stored = static_cast<double>(out_.rounded_scale(static_cast<float>(wanted), row_ + r)) - static_cast<double>(old);
      (*rounded)[static_cast<std::size_t>(g)] = stored - (*change)[static_cast<std::size_t>(g)];
      (*change)[static_cast<std::size_t>(g)] = stored;
    }
    for (int64_t g = 0; g < groups_ && good; ++g) {
      const double d = (*change)[static_cast<std::size_t>(g)];
      double product = 0;
      for (int64_t h = 0; h < groups_; ++h) product += entry(g, h) * (*change)[static_cast<std::size_t>(h)];
      gain += d * (2 * b[static_cast<std::size_t>(g * kPanelRows + r)] - product);
    }
    if (!(gain > 0)) good = false;
    for (int64_t g = 0; g < groups_; ++g) {
      float& scale = column_of(scales_, g)[r];
      const float changed = good ? static_cast<float>(static_cast<double>(scale) + (*change)[static_cast<std::size_t>(g)]) : scale;
      column_of(change_, g)[r] = changed - scale;
      scale = changed;
    }
  }

  /// Column by column, each code to the best value that it can have while all others stay.
  void move_codes() {
    for (int64_t j = 0; j < k_; j += kFeedbackColumns) {
      const int columns = static_cast<int>(std::min<int64_t>(kFeedbackColumns, k_ - j));
      const float* h = matrix_.h.data() + j * k_;
      feedback_(FeedbackArgs{h, k_, columns, error_.data(), 0, k_, local_.data()});
      for (int64_t c = 0; c < columns; ++c) {
        const float inverse = 1.0f / h[c * k_ + j + c];
        const float *scale = column_of(scales_, (j + c) / out_.group), *zero = column_of(zeros_, (j + c) / out_.group);
        float *level = column_of(level_, j + c), *e = column_of(error_, j + c);
        const float* slope = column_of(local_, c);
        float moved[kPanelRows];
        for (int64_t r = 0; r < kPanelRows; ++r) {
          const Grid grid{scale[r], zero[r]};
          const float now = scale[r] * level[r];
          const float next = nearest_code(now + slope[r] * inverse, grid, max_code_) - zero[r];
          moved[r] = scale[r] * next - now;
          level[r] = next;
          e[r] -= moved[r];
        }
        for (int64_t other = c + 1; other < columns; ++other) {
          const float factor = h[other * k_ + j + c];
          float* s = column_of(local_, other);
          for (int64_t r = 0; r < kPanelRows; ++r) s[r] -= factor * moved[r];
        }
      }
    }
  }

  /// Tile by tile, each row's path to the best that is found while all other columns stay. With b the others' part of the slope,
  /// e H e + 2 b e is |e R + y|^2 less a constant, R the tile's factor and y = b R^-T.
  void move_paths() {
    alignas(64) float slope[kTrellisSteps * kPanelRows], wanted[kTrellisSteps * kPanelRows], truth[kTrellisSteps * kPanelRows];
    float cost[kPanelRows];
    uint8_t codes[kTrellisSteps * kPanelRows];
    const auto& values = trellis_table(out_.bits).values;
    for (std::size_t i = 0; i < matrix_.tiles.size(); ++i) {
      const TrellisTile& tile = matrix_.tiles[i];
      const std::vector<float>& factor = matrix_.tile_factors[i];
      const std::vector<int32_t>& columns = tile.columns();
      const int64_t count = tile.count(), first = columns.front(), group = first / out_.group;
      float *scale = column_of(scales_, group), before[kPanelRows] = {};
      others_slope(first, count, slope);
      for (int64_t j = count - 1; j >= 0; --j) {  // y, in the order of steps, into `wanted`
        float* y = wanted + j * kPanelRows;
        std::copy_n(slope + (columns[static_cast<std::size_t>(j)] - first) * kPanelRows, kPanelRows, y);
        for (int64_t l = j + 1; l < count; ++l) add_product(-factor[static_cast<std::size_t>(l * count + j)], wanted + l * kPanelRows, y);
        const float inverse = 1.0f / factor[static_cast<std::size_t>(j * count + j)];
        for (int64_t r = 0; r < kPanelRows; ++r) y[r] *= inverse;
      }
      for (int64_t j = 0; j < count; ++j) {
        const int64_t c = columns[static_cast<std::size_t>(j)];
        const float* r_column = factor.data() + j * count;
        float sum[kPanelRows];
        std::copy_n(wanted + j * kPanelRows, kPanelRows, sum);
        for (int64_t l = 0; l <= j; ++l) add_product(r_column[l], column_of(error_, columns[static_cast<std::size_t>(l)]), sum);
        const float inverse = 1.0f / r_column[j];
        for (int64_t r = 0; r < kPanelRows; ++r) {
          before[r] += sum[r] * sum[r];
          truth[j * kPanelRows + r] = column_of(error_, c)[r] + scale[r] * column_of(level_, c)[r];
          wanted[j * kPanelRows + r] = truth[j * kPanelRows + r] + wanted[j * kPanelRows + r] * inverse;
        }
      }
      coder_->run(tile, wanted, truth, scale, codes, cost);
      for (int64_t j = 0; j < count; ++j) {
        const int64_t c = columns[static_cast<std::size_t>(j)];
        for (int64_t r = 0; r < rows_; ++r) {
          if (!(cost[r] < before[r])) continue;
          const uint8_t code = codes[j * kPanelRows + r];
          out_.codes[static_cast<std::size_t>((row_ + r) * k_ + c)] = code;
          column_of(level_, c)[r] = values[code];
          column_of(error_, c)[r] = truth[j * kPanelRows + r] - scale[r] * values[code];
        }
      }
    }
  }

  static void add_product(float factor, const float* x, float* sum) {
    for (int64_t r = 0; r < kPanelRows; ++r) sum[r] += factor * x[r];
  }

  /// What the errors outside columns [first, first + count) mean for each of these.
  void others_slope(int64_t first, int64_t count, float* slope) {
    for (int64_t j = 0; j < count; j += kFeedbackColumns) {
      const int columns = static_cast<int>(std::min<int64_t>(kFeedbackColumns, count - j));
      const float* h = matrix_.h.data() + (first + j) * k_;
      feedback_(FeedbackArgs{h, k_, columns, error_.data(), 0, first, slope + j * kPanelRows});
      feedback_(FeedbackArgs{h, k_, columns, error_.data(), first + count, k_, local_.data()});
      for (int64_t i = 0; i < columns * kPanelRows; ++i) slope[j * kPanelRows + i] += local_.data()[i];
    }
  }

  void store() {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t g = 0; g < groups_; ++g) {
        out_.scales[static_cast<std::size_t>((row_ + r) * groups_ + g)] = column_of(scales_, g)[r];
      }
      if (out_.trellis) continue;  // move_paths() keeps the codes
      for (int64_t c = 0; c < k_; ++c) {
        const float code = column_of(level_, c)[r] + column_of(zeros_, c / out_.group)[r];
        out_.codes[static_cast<std::size_t>((row_ + r) * k_ + c)] = static_cast<uint8_t>(code);
      }
    }
  }

  const RefinementMatrix& matrix_;
  const FeedbackRule& rule_;
  AffineCodes& out_;
  int64_t k_, groups_, row_, rows_;
  float max_code_;
  void (*feedback_)(const FeedbackArgs&);
  AlignedFloats level_, error_;   // [k][32]: code - zero; target - value
  AlignedFloats change_;        // [groups][32]: changes of the scales
  AlignedFloats local_;           // [8][32]
  AlignedFloats scales_, zeros_;  // [groups][32]
  std::optional<TrellisCoder> coder_;  // of a trellis
};

}  // namespace

namespace {

/// R with R R^T = the block of h [k, k] of these columns, upper triangular: column j has R_ij at j * count + i. A pivot that rounding
/// left without weight counts a little.
std::vector<float> factor_of_block(std::span<const float> h, int64_t k, std::span<const int32_t> columns) {
  const std::size_t count = columns.size();
  std::vector<double> r(count * count);
  for (std::size_t j = count; j-- > 0;) {
    const float* row = h.data() + columns[j] * k;
    for (std::size_t i = j + 1; i-- > 0;) {
      double sum = static_cast<double>(row[columns[i]]);
      for (std::size_t l = j + 1; l < count; ++l) sum -= r[l * count + i] * r[l * count + j];
      r[j * count + i] = i == j ? std::sqrt(std::max(sum, 1e-7 * static_cast<double>(row[columns[j]]))) : sum / r[j * count + j];
    }
  }
  return {r.begin(), r.end()};
}

}  // namespace

RefinementMatrix RefinementMatrix::create(std::span<const float> hessian, const HessianFactor& factor, bool packed, bool trellis,
                                          const MethodContext& context) {
  const int64_t k = factor.k;
  RefinementMatrix out;
  out.h.resize(static_cast<std::size_t>(k * k));
  const bool ordered = packed && !factor.order.empty();
  context.team->parallel_for(k, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = hessian.data() + (ordered ? factor.order[static_cast<std::size_t>(i)] : i) * k;
      float* to = out.h.data() + i * k;
      for (int64_t j = 0; j < k; ++j) to[j] = row[ordered ? factor.order[static_cast<std::size_t>(j)] : j];
      if (to[i] <= 0) to[i] = 1;  // a dead column
      to[i] += factor.added;
    }
  });
  for (int64_t first = 0; trellis && first < k; first += kTrellisSteps) {
    TrellisTile tile(first, k);
    out.tile_factors.push_back(factor_of_block(out.h, k, tile.columns()));
    tile.set_factor(out.tile_factors.back().data(), tile.count());
    out.tiles.push_back(std::move(tile));
  }
  return out;
}

void refine_panel(const float* target, int64_t row, const HessianFactor& factor, const RefinementMatrix& matrix,
                  const FeedbackRule& rule, const MethodContext& context, AffineCodes* out) {
  PanelRefiner(row, matrix, rule, context, out).run(target, factor, rule.groups == Groups::packed);
}

}  // namespace nbl::quant
