// The block's backward pass against finite differences, its forward pass against the model's, for blocks of many
// shapes.
#include "pipeline/block_gradient.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "base/random.h"
#include "pipeline/block_tuner.h"
#include "pipeline/mlp_gradient.h"
#include "support/golden_model.h"
#include "support/random_layer.h"

namespace nbl::pipeline {
namespace {

using model::LayerWeights;
using model::Role;
using Floats = std::vector<float>;

/// bends: the block has corners (clamps) where a difference sees both sides and a gradient one.
struct Shape {
  std::string name, config;
  int64_t layer = 0;
  bool bends = false;
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

std::string llama_like(const std::string& type, const std::string& more, const std::string& key_heads = "2") {
  return R"({"model_type":")" + type +
         R"(","vocab_size":64,"hidden_size":40,"intermediate_size":56,"num_hidden_layers":2,
             "num_attention_heads":4,"max_position_embeddings":64,"num_key_value_heads":)" +
         key_heads + more + "}";
}
std::string gpt2_like(const std::string& type, const std::string& more) {
  return R"({"model_type":")" + type +
         R"(","vocab_size":64,"n_embd":40,"n_inner":56,"n_layer":2,"n_head":4,"n_positions":64)" + more + "}";
}

/// Windows shorter than, and heads wider than, a tile of 32 among them.
std::vector<Shape> shapes() {
  const std::string gemma =
      R"(,"head_dim":18,"query_pre_attn_scalar":13,"sliding_window":9,"layer_types":["sliding_attention","full_attention"])";
  const std::string gemma3 =
      llama_like("gemma3_text", gemma + R"(,"rope_theta":1000000.0,"rope_local_base_freq":10000.0)");
  const std::string gemma2 =
      llama_like("gemma2", gemma + R"(,"attn_logit_softcapping":2.0,"final_logit_softcapping":30.0)");
  const std::string long_rope = R"(,"partial_rotary_factor":0.8,"original_max_position_embeddings":32,"rope_scaling":
      {"type":"longrope","short_factor":[1,1,1.5,2],"long_factor":[1,2,3,4]})";
  // Where all experts are chosen none changes place between two points; in qwen3_moe_some none does, as it happens.
  const std::string experts = R"(,"moe_intermediate_size":20,"num_experts_per_tok":)";
  // Keys wider than values, both wider than a tile, and narrow ones.
  const std::string latents = R"(,"first_k_dense_replace":1,"moe_intermediate_size":20,"n_routed_experts":3,"num_experts_per_tok":3,
      "n_shared_experts":2,"kv_lora_rank":12)";
  const std::string wide = latents + R"(,"qk_nope_head_dim":30,"qk_rope_head_dim":8,"v_head_dim":34)";
  const std::string narrow = latents + R"(,"qk_nope_head_dim":7,"qk_rope_head_dim":4,"v_head_dim":12,"q_lora_rank":14,"attention_bias":true)";
  const std::string mpt = R"({"model_type":"mpt","vocab_size":64,"d_model":40,"n_layers":2,"n_heads":4,"max_seq_len":64,
      "expansion_ratio":2,"attn_config":{"alibi":true,"clip_qkv":0.9}})";
  return {{"llama", llama_like("llama", "")},
          {"gemma3_window", gemma3, 0},
          {"gemma3_whole", gemma3, 1},
          {"gemma2_window", gemma2, 0},
          {"gemma2_whole", gemma2, 1},
          {"gemma", llama_like("gemma", R"(,"head_dim":18)")},
          {"qwen3", llama_like("qwen3", R"(,"head_dim":36)")},
          {"qwen2", llama_like("qwen2", "")},
          {"mistral_window", llama_like("mistral", R"(,"sliding_window":11)")},
          {"phi3_long", llama_like("phi3", long_rope)},
          {"granite", llama_like("granite", R"(,"residual_multiplier":0.4,"attention_multiplier":0.2)")},
          {"olmo2", llama_like("olmo2", "")},
          {"gpt_bigcode", gpt2_like("gpt_bigcode", "")},
          {"gpt_bigcode_groups", gpt2_like("gpt_bigcode", R"(,"multi_query":false)")},
          {"gpt2_by_layer", gpt2_like("gpt2", R"(,"scale_attn_by_inverse_layer_idx":true)"), 1},
          {"gpt2_gelu", gpt2_like("gpt2", R"(,"activation_function":"gelu")")},
          {"starcoder2_window", llama_like("starcoder2", R"(,"sliding_window":9)")},
          {"gpt_neox_parallel", llama_like("gpt_neox", "", "4")},
          {"cohere_one_norm", llama_like("cohere", R"(,"use_qk_norm":true)")},
          {"bloom_alibi", R"({"model_type":"bloom","vocab_size":64,"hidden_size":40,"n_layer":2,"n_head":4})"},
          {"bloom_normed_stream", R"({"model_type":"bloom","vocab_size":64,"hidden_size":40,"n_layer":2,"n_head":4,
              "apply_residual_connection_post_layernorm":true})"},
          {"opt_norms_behind", R"({"model_type":"opt","vocab_size":64,"hidden_size":40,"ffn_dim":56,"num_hidden_layers":2,
              "num_attention_heads":4,"max_position_embeddings":64,"do_layer_norm_before":false,"activation_function":"gelu"})"},
          {"deepseek_v2_wide", llama_like("deepseek_v2", wide, "4")},
          {"deepseek_v2_experts", llama_like("deepseek_v2", narrow, "4"), 1},
          {"deepseek_v3", llama_like("deepseek_v3", narrow + R"(,"n_group":1,"topk_group":1)", "4"), 1},
          {"mpt_alibi_clipped", mpt, 0, true},
          {"olmo_clipped", llama_like("olmo", R"(,"clip_qkv":0.8)"), 0, true},
          {"llama_mish", llama_like("llama", R"(,"hidden_act":"mish")")},
          {"mixtral", llama_like("mixtral", R"(,"num_local_experts":3,"num_experts_per_tok":3)")},
          {"qwen2_moe_shared", llama_like("qwen2_moe", experts + R"(4,"num_experts":4,"shared_expert_intermediate_size":24)")},
          {"qwen3_moe_some", llama_like("qwen3_moe", experts + R"(3,"num_experts":5,"head_dim":12,"norm_topk_prob":true)")}};
}

class BlockGradientTest : public ::testing::TestWithParam<Shape> {
 protected:
  static constexpr int64_t kWindows = 2, kLength = 43;

  void make(const Json& json, int64_t layer) {
    auto arch = model::find_architecture(json, "test");
    ASSERT_TRUE(arch.ok()) << arch.status().message();
    arch_ = *arch;
    auto config = arch_->read_config(json, "test");
    ASSERT_TRUE(config.ok()) << config.status().message();
    config_ = *config;
    layer_ = layer;
    weights_ = test::random_layer(*arch_, config_, layer, 17);
    const std::size_t count = static_cast<std::size_t>(kWindows * kLength * config_.hidden);
    x_ = random_floats(count, 5);
    direction_ = random_floats(count, 6);
  }
  void SetUp() override { make(*Json::parse(GetParam().config, "test"), GetParam().layer); }

  static Floats random_floats(std::size_t count, uint64_t seed) {
    Random random(seed);
    Floats out(count);
    for (float& v : out) v = static_cast<float>(random.normal());
    return out;
  }
  BlockGradient block(const LayerWeights& weights, bool whole = true) {
    auto made = BlockGradient::create(*arch_, config_, layer_, team_, kWindows, kLength, Compute::exact, whole);
    EXPECT_TRUE(made.ok()) << made.status().message();
    BlockGradient b = std::move(made).value();
    b.set_norms(weights);
    for (const auto& [part, m] : weights.matrices) EXPECT_TRUE(b.set(part, m).ok());
    return b;
  }
  /// A loss that is linear in the output: the gradient of the output is direction_.
  double loss(const LayerWeights& weights, const Floats& x) {
    BlockGradient b = block(weights);
    Floats y(x.size());
    EXPECT_TRUE(b.forward(x.data(), y.data()).ok());
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * static_cast<double>(direction_[i]);
    return sum;
  }
  /// Differences of the loss along random directions, all elements at once and single ones, against what `gradient`
  /// says of them. at: the numbers of a block and its input that it is the gradient of.
  template <class At>
  void check(const std::string& what, const Floats& gradient, At at) {
    double size = 0;
    for (float v : gradient) size += static_cast<double>(v) * static_cast<double>(v);
    size = std::sqrt(size / static_cast<double>(gradient.size()));
    EXPECT_GT(size, 0) << what;
    Random random(11);
    for (int trial = 0; trial < 5; ++trial) {
      Floats move(gradient.size());
      double length = 1;
      if (trial < 3) {
        for (float& v : move) v = static_cast<float>(random.normal());
        length = std::sqrt(static_cast<double>(move.size()));
      } else {
        length = 10;
        move[static_cast<std::size_t>(random.below(move.size()))] = static_cast<float>(length);
      }
      const double step = GetParam().bends ? 1e-4 : 1e-3, share = GetParam().bends ? 0.1 : 0.01;
      LayerWeights up = weights_, down = weights_;
      Floats x_up = x_, x_down = x_;
      Floats &more = at(up, x_up), &less = at(down, x_down);
      ASSERT_EQ(more.size(), gradient.size()) << what;
      double expected = 0;
      for (std::size_t i = 0; i < move.size(); ++i) {
        more[i] += static_cast<float>(step) * move[i];
        less[i] -= static_cast<float>(step) * move[i];
        expected += static_cast<double>(gradient[i]) * static_cast<double>(move[i]);
      }
      const double slope = (loss(up, x_up) - loss(down, x_down)) / (2 * step);
      EXPECT_NEAR(slope, expected, share * size * length + 0.005 * std::fabs(expected)) << what << ", trial " << trial;
    }
  }

  Team team_{2};
  const model::Architecture* arch_ = nullptr;
  model::Config config_;
  int64_t layer_ = 0;
  LayerWeights weights_;
  Floats x_, direction_;
};

TEST_P(BlockGradientTest, ForwardIsTheModels) {
  ASSERT_TRUE(BlockGradient::supports(*arch_, config_, layer_));
  BlockGradient b = block(weights_);
  Floats y(x_.size()), expected = x_;
  ASSERT_TRUE(b.forward(x_.data(), y.data()).ok());
  ASSERT_TRUE(model::run_layer(weights_, *arch_, config_, team_, kWindows, kLength, expected.data(), {}, layer_).ok());
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 1e-4) << i;
}

TEST_P(BlockGradientTest, BackwardAgreesWithFiniteDifferences) {
  BlockGradient b = block(weights_);
  Floats y(x_.size()), dx(x_.size());
  ASSERT_TRUE(b.forward(x_.data(), y.data()).ok());
  std::map<model::Part, Floats> gradients;
  std::map<Role, Floats> norms;
  ASSERT_TRUE(b.backward(direction_.data(), &gradients, dx.data(), &norms).ok());
  ASSERT_EQ(gradients.size(), weights_.matrices.size());
  ASSERT_EQ(norms.size(), weights_.norms.size() - weights_.norms.count(Role::router_bias));  // that chooses only
  for (const auto& [part, g] : gradients) {
    check("matrix of role " + std::to_string(static_cast<int>(part.role)) + ", expert " + std::to_string(part.expert), g,
          [part = part](LayerWeights& w, Floats&) -> Floats& { return w.matrices.at(part).w; });
  }
  for (const auto& [role, g] : norms) {
    check("norm of role " + std::to_string(static_cast<int>(role)), g,
          [role = role](LayerWeights& w, Floats&) -> Floats& { return w.norms.at(role).w; });
  }
  check("input", dx, [](LayerWeights&, Floats& x) -> Floats& { return x; });

  // A block that passes nothing on has the same gradients.
  BlockGradient last = block(weights_, false);
  ASSERT_TRUE(last.forward(x_.data(), y.data()).ok());
  std::map<model::Part, Floats> same;
  ASSERT_TRUE(last.backward(direction_.data(), &same).ok());
  EXPECT_EQ(same, gradients);
  EXPECT_EQ(last.backward(direction_.data(), &same, dx.data()).code(), Code::internal);
}

TEST_P(BlockGradientTest, TuningLowersTheBlocksErrorAndNeverRaisesIt) {
  // The target: the block as it is. The codes: its weights rounded to nearest at 3 bits.
  Floats target(x_.size());
  {
    BlockGradient b = block(weights_);
    ASSERT_TRUE(b.forward(x_.data(), target.data()).ok());
  }
  quant::GridRule rule;
  rule.bits = 3;
  LayerWeights rounded = weights_;
  std::map<model::Part, quant::AffineCodes> codes;
  quant::MethodContext context;
  context.team = &team_;
  for (auto& [role, m] : rounded.matrices) {
    quant::AffineCodes c = quant::AffineCodes::create(m.n, m.k, 32, rule);
    quant::round_to_nearest(m.w, rule, {}, context, &c);
    for (int64_t r = 0; r < m.n; ++r) {
      for (int64_t i = 0; i < m.k; ++i) {
        const std::size_t g = static_cast<std::size_t>(r * c.groups() + i / c.group),
                          at = static_cast<std::size_t>(r * m.k + i);
        m.w[at] = c.scales[g] * (static_cast<float>(c.codes[at]) - c.zeros[g]);
      }
    }
    codes.emplace(role, std::move(c));
  }
  TuneData data;
  data.batches = kWindows;
  data.batch_windows = 1;
  data.length = kLength;
  data.hidden = config_.hidden;
  data.load = [&](int64_t batch, float* x, float* t) {
    const std::size_t first = static_cast<std::size_t>(batch * kLength * config_.hidden),
                      count = static_cast<std::size_t>(kLength * config_.hidden);
    std::copy_n(x_.begin() + static_cast<std::ptrdiff_t>(first), count, x);
    std::copy_n(target.begin() + static_cast<std::ptrdiff_t>(first), count, t);
    return Status();
  };
  TuneOptions options;
  options.iterations = 60;
  options.compute = Compute::exact;
  auto result = tune_block(
      *arch_, config_, layer_, data, options, team_, [](int64_t) { return Status(); }, weights_, &rounded, &codes);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_TRUE(result->changed);
  EXPECT_LT(result->after, 0.7 * result->before);
  // The weights are what the codes stand for.
  for (const auto& [role, c] : codes) {
    const LayerWeights::Matrix& m = rounded.matrices.at(role);
    for (int64_t i = 0; i < m.n * m.k; ++i) {
      const std::size_t g = static_cast<std::size_t>(i / m.k * c.groups() + i % m.k / c.group),
                        at = static_cast<std::size_t>(i);
      ASSERT_EQ(m.w[at], c.scales[g] * (static_cast<float>(c.codes[at]) - c.zeros[g]));
    }
  }
}

TEST_P(BlockGradientTest, OutputMomentsAreSumsOfTheTokensGradients) {
  // One token's gradient of a matrix is g x^T, so that its moments g g^T are (g x^T) (g x^T)^T / |x|^2.
  const auto one_token = [&](int64_t window, bool moments) {
    BlockGradient b = *BlockGradient::create(*arch_, config_, layer_, team_, 1, 1, Compute::exact);
    if (moments) b.take_output_moments();
    b.set_norms(weights_);
    for (const auto& [part, m] : weights_.matrices) EXPECT_TRUE(b.set(part, m).ok());
    Floats y(static_cast<std::size_t>(config_.hidden));
    std::map<model::Part, Floats> out;
    EXPECT_TRUE(b.forward(x_.data() + window * config_.hidden, y.data()).ok());
    EXPECT_TRUE(b.backward(direction_.data() + window * config_.hidden, &out).ok());
    return out;
  };
  const auto gradients = one_token(0, false), moments = one_token(0, true), second = one_token(1, true);
  int64_t seen = 0;
  for (const auto& [part, gradient] : gradients) {
    const int64_t n = weights_.matrices.at(part).n, k = weights_.matrices.at(part).k;
    const Floats& m = moments.at(part);
    ASSERT_EQ(m.size(), static_cast<std::size_t>(n * n));
    std::vector<double> square(m.size());
    double trace = 0, moments_trace = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j)
        for (int64_t c = 0; c < k; ++c)
          square[static_cast<std::size_t>(i * n + j)] += static_cast<double>(gradient[static_cast<std::size_t>(i * k + c)]) * static_cast<double>(gradient[static_cast<std::size_t>(j * k + c)]);
      trace += square[static_cast<std::size_t>(i * (n + 1))];
      moments_trace += static_cast<double>(m[static_cast<std::size_t>(i * (n + 1))]);
    }
    if (trace == 0) {  // queries and keys of a single token, an expert that it does not go to
      EXPECT_LT(moments_trace, 1e-9);
      continue;
    }
    ++seen;
    ASSERT_GT(moments_trace, 0.0);
    for (std::size_t i = 0; i < m.size(); ++i) EXPECT_NEAR(static_cast<double>(m[i]) / moments_trace, square[i] / trace, 1e-5);
  }
  EXPECT_GE(seen, 3);

  // Of two windows: the sum.
  BlockGradient both = *BlockGradient::create(*arch_, config_, layer_, team_, 2, 1, Compute::exact);
  both.take_output_moments();
  both.set_norms(weights_);
  for (const auto& [part, m] : weights_.matrices) ASSERT_TRUE(both.set(part, m).ok());
  Floats y(static_cast<std::size_t>(2 * config_.hidden));
  std::map<model::Part, Floats> sums;
  ASSERT_TRUE(both.forward(x_.data(), y.data()).ok());
  ASSERT_TRUE(both.backward(direction_.data(), &sums).ok());
  for (const auto& [part, sum] : sums) {
    float largest = 1e-12f;
    for (const float v : sum) largest = std::max(largest, std::fabs(v));
    for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_NEAR(sum[i], moments.at(part)[i] + second.at(part)[i], 1e-5f * largest);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, BlockGradientTest, ::testing::ValuesIn(shapes()),
                         [](const auto& info) { return info.param.name; });

/// Every block of the golden architectures is one, and its forward pass is the model's.
class GoldenBlockTest : public BlockGradientTest {
 protected:
  void SetUp() override {}
};

TEST_P(GoldenBlockTest, IsTheModels) {
  const std::string& variant = GetParam().name;
  const auto text = read_text_file(test::golden_architectures() / (variant + ".json"), 1 << 20);
  ASSERT_TRUE(text.ok());
  const Json golden = *Json::parse(*text, variant);
  make(*golden.find("config"), 0);
  for (int64_t l = 0; l < config_.layers; ++l) {
    make(*golden.find("config"), l);
    ASSERT_TRUE(BlockGradient::supports(*arch_, config_, l)) << variant << ", layer " << l;
    BlockGradient b = block(weights_);
    Floats y(x_.size()), expected = x_;
    ASSERT_TRUE(b.forward(x_.data(), y.data()).ok());
    const Status ran = model::run_layer(weights_, *arch_, config_, team_, kWindows, kLength, expected.data(), {}, l);
    ASSERT_TRUE(ran.ok()) << ran.message();
    for (std::size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(y[i], expected[i], 2e-4) << variant << ", layer " << l << " at " << i;
  }
}

std::vector<Shape> golden_shapes() {
  std::vector<Shape> all;
  for (const std::string& name : test::golden_variants()) all.push_back({name, {}, 0});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Variants, GoldenBlockTest, ::testing::ValuesIn(golden_shapes()),
                         [](const auto& info) { return test::test_name(info.param.name); });

TEST(MlpGradient, ActivationsHaveTheirSlopes) {
  using model::Activation;
  Team team(1);
  Floats x;
  for (int i = -40; i <= 40; ++i) x.push_back(static_cast<float>(i) * 0.1f + 0.03f);  // not where relu bends
  const int64_t n = static_cast<int64_t>(x.size());
  const Floats ones(x.size(), 1.0f);
  for (int a = 0; a <= static_cast<int>(Activation::linear); ++a) {
    const MlpShape shape{static_cast<Activation>(a), false, 1, n};
    Floats slope(x.size()), up = x, down = x;
    activate_backward(team, shape, x.data(), ones.data(), slope.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      up[i] += 0.01f;
      down[i] -= 0.01f;
    }
    Floats high(x.size()), low(x.size());
    activate(team, shape, up.data(), high.data());
    activate(team, shape, down.data(), low.data());
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(slope[i], (high[i] - low[i]) / (up[i] - down[i]), 1e-3) << a << " at " << x[i];
  }
}

}  // namespace
}  // namespace nbl::pipeline
