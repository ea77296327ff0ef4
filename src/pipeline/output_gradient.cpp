#include "pipeline/output_gradient.h"

#include <algorithm>
#include <cmath>

#include "base/cpu.h"
#include "kernels/elementwise/elementwise.h"
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
  return config.norm == model::Norm::rms && config.logit_cap == 0 && arch.find(Role::final_norm, config) != nullptr &&
         config.embed_dim() == config.hidden;
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
  NBL_ASSIGN(const Array norm, input.array(model::tensor_name(*arch.find(Role::final_norm, config), 0, "weight")));
  NBL_ASSIGN(out.norm_, norm.to_f32());
  for (float& w : out.norm_) w += config.norm_offset;
  out.original_norm_ = out.norm_;
  out.norm_gradient_.resize(out.norm_.size());
  const model::TensorSpec* head = arch.find(Role::lm_head, config);
  if (head == nullptr || !stored(*head, input)) head = arch.find(Role::embedding, config);
  NBL_ASSIGN(const QTensor tensor, input.matrix(model::tensor_name(*head, 0, "weight")));
  model::LayerWeights::Matrix m{tensor.n, tensor.k, {}, {}};
  m.w.resize(static_cast<std::size_t>(m.n * m.k));
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
  std::vector<float> h = sized(rows_, width), inverse = sized(rows_, 1), dh = sized(rows_, width), scores = sized(rows_, vocab),
                     wanted = sized(rows_, vocab);
  std::vector<double> divergence(static_cast<std::size_t>(rows_));
  const kernels::ElementwiseKernels& kernel = kernels::elementwise_kernels(best_isa());
  double sum = 0;
  const float share = 1.0f / static_cast<float>(tokens_);
  for (int64_t t = 0; t < tokens_; t += rows_) {
    rms_norm(*team_, rows_, original_norm_, config_.norm_eps, original + t * width, h.data(), inverse.data());
    NBL_TRY(products_.apply(head_.forward, h.data(), wanted.data()));
    const float* x = hidden + t * width;
    rms_norm(*team_, rows_, norm_, config_.norm_eps, x, h.data(), inverse.data());
    NBL_TRY(products_.apply(head_.forward, h.data(), scores.data()));
    team_->parallel_for(rows_, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> p(static_cast<std::size_t>(vocab)), q(p.size());
      for (int64_t r = begin; r < end; ++r) {
        float* score = scores.data() + r * vocab;
        const float* original_score = wanted.data() + r * vocab;
        const float shift = softmax(kernel, original_score, vocab, p.data()) - softmax(kernel, score, vocab, q.data());
        float kl = 0;
        for (int64_t i = 0; i < vocab; ++i) {
          const std::size_t at = static_cast<std::size_t>(i);
          kl += p[at] * (original_score[i] - score[i] - shift);
          score[i] = share * (q[at] - p[at]);
        }
        divergence[static_cast<std::size_t>(r)] = static_cast<double>(kl);
      }
    });
    for (const double d : divergence) sum += d;
    if (dx == nullptr) continue;
    NBL_TRY(products_.apply(head_.backward, scores.data(), dh.data()));
    std::fill_n(dx + t * width, rows_ * width, 0.0f);
    rms_norm_backward(*team_, rows_, norm_, x, inverse.data(), dh.data(), dx + t * width);
    const std::vector<float> g = rms_norm_gradient(*team_, rows_, width, x, inverse.data(), dh.data());
    for (std::size_t i = 0; i < g.size(); ++i) norm_gradient_[i] += g[i];
  }
  return sum / static_cast<double>(tokens_);
}

}  // namespace nbl::pipeline
