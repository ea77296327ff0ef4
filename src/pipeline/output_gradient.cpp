#include "pipeline/output_gradient.h"

#include <algorithm>
#include <cmath>

#include "base/cpu.h"
#include "base/random.h"
#include "kernels/elementwise/elementwise.h"
#include "model/weights.h"
#include "pipeline/norm_gradient.h"

namespace nbl::pipeline {
namespace {

using model::Role;

bool stored(const model::TensorSpec& spec, const Checkpoint& input) { return input.has(model::tensor_name(spec, 0, "weight")); }

/// What one token's scores become: probabilities, and the number to take from a score for its logarithm.
float softmax(const kernels::ElementwiseKernels& kernel, const float* scores, int64_t n, float* probabilities) {
  const float largest = *std::max_element(scores, scores + n);
  std::copy_n(scores, n, probabilities);
  const float sum = kernel.exp_sum(probabilities, n);
  kernel.scale(probabilities, 1.0f / sum, n);
  return largest + std::log(sum);
}

}  // namespace

bool OutputGradient::supports(const model::Architecture& arch, const model::Config& config) {
  return arch.find(Role::final_norm, config) != nullptr && config.embed_dim() == config.hidden;
}

Result<OutputGradient> OutputGradient::create(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                                              Team& team, int64_t tokens, Compute compute) {
  OutputGradient out;
  out.config_ = config;
  out.team_ = &team;
  out.tokens_ = tokens;
  out.rows_ = std::min<int64_t>(tokens, 128);
  while (tokens % out.rows_ != 0) --out.rows_;
  out.products_ = DenseProducts(team, out.rows_, compute);
  NBL_ASSIGN(model::NormWeights norm, model::load_norm(input, *arch.find(Role::final_norm, config), config, 0));
  out.norm_ = std::move(norm.w);
  out.norm_bias_ = std::move(norm.b);
  out.original_norm_ = out.norm_;
  out.norm_gradient_.resize(out.norm_.size());
  const model::TensorSpec* head = arch.find(Role::lm_head, config);
  if (head == nullptr || !stored(*head, input)) head = arch.find(Role::embedding, config);
  NBL_ASSIGN(const QTensor tensor, input.matrix(model::tensor_name(*head, 0, "weight")));
  model::LayerWeights::Matrix m{tensor.n, tensor.k, {}, {}};
  m.w.resize(static_cast<std::size_t>(m.n * m.k));
  NBL_ASSIGN(m.bias, model::load_bias(input, *head, config, 0));
  for (float& b : m.bias) b *= config.logit_scale;
  team.parallel_for(m.n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      tensor.dequantize_row(r, m.w.data() + r * m.k);
      for (int64_t c = 0; c < m.k; ++c) m.w[static_cast<std::size_t>(r * m.k + c)] *= config.logit_scale;
    }
  });
  NBL_TRY(out.products_.set(m, true, &out.head_));
  return out;
}

Result<double> OutputGradient::run(const float* hidden, const float* original, float* dx) {
  const int64_t width = config_.hidden, vocab = head_.forward.n();
  const auto sized = [](int64_t rows, int64_t columns) { return std::vector<float>(static_cast<std::size_t>(rows * columns)); };
  std::vector<float> h = sized(rows_, width), dh = sized(rows_, width), scores = sized(rows_, vocab),
                     wanted = sized(rows_, vocab);
  std::vector<NormStats> stats(static_cast<std::size_t>(rows_));
  const NormRule rule{config_.norm, config_.norm_eps};
  const float cap = config_.logit_cap;
  std::vector<double> divergence(static_cast<std::size_t>(rows_));
  const kernels::ElementwiseKernels& kernel = kernels::elementwise_kernels(best_isa());
  double sum = 0;
  const float share = 1.0f / static_cast<float>(tokens_);
  for (int64_t t = 0; t < tokens_; t += rows_) {
    norm_rows(*team_, rule, rows_, original_norm_, norm_bias_, original + t * width, h.data(), stats.data());
    NBL_TRY(products_.apply(head_.forward, h.data(), wanted.data()));
    const float* x = hidden + t * width;
    norm_rows(*team_, rule, rows_, norm_, norm_bias_, x, h.data(), stats.data());
    NBL_TRY(products_.apply(head_.forward, h.data(), scores.data()));
    team_->parallel_for(rows_, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> p(static_cast<std::size_t>(vocab)), q(p.size());
      for (int64_t r = begin; r < end; ++r) {
        float* score = scores.data() + r * vocab;
        float* original_score = wanted.data() + r * vocab;
        if (cap > 0) {
          kernel.soft_cap(score, cap, vocab);
          kernel.soft_cap(original_score, cap, vocab);
        }
        const float shift = softmax(kernel, original_score, vocab, p.data()) - softmax(kernel, score, vocab, q.data());
        float kl = 0;
        for (int64_t i = 0; i < vocab; ++i) {
          const std::size_t at = static_cast<std::size_t>(i);
          kl += p[at] * (original_score[i] - score[i] - shift);
          const float through = cap > 0 ? 1.0f - score[i] * score[i] / (cap * cap) : 1.0f;
          score[i] = share * through * (q[at] - p[at]);
        }
        divergence[static_cast<std::size_t>(r)] = static_cast<double>(kl);
      }
    });
    for (const double d : divergence) sum += d;
    if (dx == nullptr) continue;
    NBL_TRY(products_.apply(head_.backward, scores.data(), dh.data()));
    std::fill_n(dx + t * width, rows_ * width, 0.0f);
    norm_rows_backward(*team_, rule, rows_, norm_, x, stats.data(), dh.data(), dx + t * width);
    const std::vector<float> g = norm_weight_gradient(*team_, rows_, width, x, stats.data(), dh.data());
    for (std::size_t i = 0; i < g.size(); ++i) norm_gradient_[i] += g[i];
  }
  return sum / static_cast<double>(tokens_);
}

Status OutputGradient::probe(const float* hidden, uint64_t seed, float* dx) {
  const int64_t width = config_.hidden, vocab = head_.forward.n();
  std::vector<float> h(static_cast<std::size_t>(rows_ * width)), dh(h.size()), scores(static_cast<std::size_t>(rows_ * vocab));
  std::vector<NormStats> stats(static_cast<std::size_t>(rows_));
  const NormRule rule{config_.norm, config_.norm_eps};
  const float cap = config_.logit_cap;
  const kernels::ElementwiseKernels& kernel = kernels::elementwise_kernels(best_isa());
  for (int64_t t = 0; t < tokens_; t += rows_) {
    const float* x = hidden + t * width;
    norm_rows(*team_, rule, rows_, norm_, norm_bias_, x, h.data(), stats.data());
    NBL_TRY(products_.apply(head_.forward, h.data(), scores.data()));
    team_->parallel_for(rows_, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> p(static_cast<std::size_t>(vocab)), c(p.size());
      for (int64_t r = begin; r < end; ++r) {
        float* score = scores.data() + r * vocab;
        if (cap > 0) kernel.soft_cap(score, cap, vocab);
        softmax(kernel, score, vocab, p.data());
        Random random(seed + static_cast<uint64_t>(t + r));
        // With signs z: D^(1/2) z - p (D^(1/2) 1, z), D = diag(p).
        float along = 0;
        uint64_t signs = 0;
        for (int64_t i = 0; i < vocab; ++i) {
          if (i % 64 == 0) signs = random.next();
          const float root = std::sqrt(p[static_cast<std::size_t>(i)]);
          c[static_cast<std::size_t>(i)] = (signs >> (i % 64) & 1) != 0 ? root : -root;
          along += c[static_cast<std::size_t>(i)];
        }
        for (int64_t i = 0; i < vocab; ++i) {
          const std::size_t at = static_cast<std::size_t>(i);
          const float through = cap > 0 ? 1.0f - score[i] * score[i] / (cap * cap) : 1.0f;
          score[i] = through * (c[at] - p[at] * along);
        }
      }
    });
    NBL_TRY(products_.apply(head_.backward, scores.data(), dh.data()));
    std::fill_n(dx + t * width, rows_ * width, 0.0f);
    norm_rows_backward(*team_, rule, rows_, norm_, x, stats.data(), dh.data(), dx + t * width);
  }
  return {};
}

}  // namespace nbl::pipeline
