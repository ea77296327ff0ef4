#include "model/expert_routing.h"

#include <algorithm>
#include <cmath>

namespace nbl::model {
namespace {

void softmax(float* x, int64_t n) {
  float top = x[0];
  for (int64_t i = 1; i < n; ++i) top = std::max(top, x[i]);
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) x[i] /= sum;
}

}  // namespace

void choose_experts(const ExpertsConfig& x, const std::vector<float>& bias, float* score, int32_t* order, int32_t* chosen,
                    float* weight) {
  if (x.sigmoid)
    for (int64_t i = 0; i < x.count; ++i) score[i] = 1.0f / (1.0f + std::exp(-score[i]));
  else
    softmax(score, x.count);
  const auto wanted = [&](int64_t i) { return bias.empty() ? score[i] : score[i] + bias[static_cast<std::size_t>(i)]; };

  // Groups first: the experts of the others are out of the question.
  int64_t candidates = 0;
  const int64_t size = x.count / x.groups;
  if (x.groups > x.groups_per_token) {
    const auto worth = [&](int64_t group) {
      float best = -INFINITY, second = -INFINITY;
      for (int64_t i = group * size; i < (group + 1) * size; ++i) {
        const float v = wanted(i);
        if (v > best) {
          second = best;
          best = v;
        } else if (v > second) {
          second = v;
        }
      }
      return x.group_by_two && size > 1 ? best + second : best;
    };
    // The number of groups that are better says whether a group is in.
    for (int64_t g = 0; g < x.groups; ++g) {
      const float own = worth(g);
      int64_t better = 0;
      for (int64_t other = 0; other < x.groups; ++other) {
        const float v = other == g ? own : worth(other);
        better += v > own || (v == own && other < g) ? 1 : 0;
      }
      if (better < x.groups_per_token)
        for (int64_t i = g * size; i < (g + 1) * size; ++i) order[candidates++] = static_cast<int32_t>(i);
    }
  } else {
    for (int64_t i = 0; i < x.count; ++i) order[candidates++] = static_cast<int32_t>(i);
  }

  std::partial_sort(order, order + x.per_token, order + candidates, [&](int32_t a, int32_t b) {
    return wanted(a) != wanted(b) ? wanted(a) > wanted(b) : a < b;
  });
  std::copy(order, order + x.per_token, chosen);
  std::sort(chosen, chosen + x.per_token);
  float sum = 0;
  for (int64_t i = 0; i < x.per_token; ++i) sum += weight[i] = score[chosen[i]];
  for (int64_t i = 0; i < x.per_token; ++i) weight[i] = (x.normalize ? weight[i] / (sum + 1e-20f) : weight[i]) * x.scale;
}

void sort_rows(const ExpertsConfig& x, int64_t rows, ExpertChoices* choices_of_rows) {
  ExpertChoices& e = *choices_of_rows;
  std::fill(e.first.begin(), e.first.end(), 0);
  const int64_t choices = rows * x.per_token;
  for (int64_t i = 0; i < choices; ++i) ++e.first[static_cast<std::size_t>(e.chosen[static_cast<std::size_t>(i)]) + 1];
  for (std::size_t i = 1; i < e.first.size(); ++i) e.first[i] += e.first[i - 1];
  // Filled from the front; the starts are moved along and put back afterwards.
  for (int64_t i = 0; i < choices; ++i) {
    const std::size_t expert = static_cast<std::size_t>(e.chosen[static_cast<std::size_t>(i)]);
    const std::size_t at = static_cast<std::size_t>(e.first[expert]++);
    e.row[at] = static_cast<int32_t>(i / x.per_token);
    e.row_weight[at] = e.weight[static_cast<std::size_t>(i)];
  }
  for (std::size_t i = e.first.size() - 1; i > 0; --i) e.first[i] = e.first[i - 1];
  e.first[0] = 0;
}

}  // namespace nbl::model
