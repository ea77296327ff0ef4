// Every architecture and awkward variant of it against transformers (tests/golden/architectures/make.py).
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "dialects/dialects.h"
#include "model/arch.h"
#include "model/block.h"
#include "model/kv_cache.h"
#include "model/model.h"
#include "model/weights.h"
#include "support/golden_model.h"
#include "support/test_isa.h"

namespace nbl::model {
namespace {

using test::GoldenModel;
using Want = Session::Logits;

struct Case {
  explicit Case(const std::string& variant, int threads = 1) : golden_(variant), team_(threads) {}
  std::shared_ptr<const Model> load(Compute compute) {
    checkpoint_ = *dialects::open(golden_.directory.path());
    ModelOptions options;
    options.compute = {compute, nbl::test::test_isa()};
    const auto model = Model::load(*checkpoint_, options, team_, {});
    EXPECT_TRUE(model.ok()) << model.status().message();
    return model.ok() ? *model : nullptr;
  }
  std::vector<float> logits(const std::shared_ptr<const Model>& model, Team& team) {
    auto session = *Session::create(model, team, static_cast<int64_t>(golden_.ids.size()));
    const auto all = session->append(golden_.ids, Want::all);
    EXPECT_TRUE(all.ok()) << all.status().message();
    return {all->begin(), all->end()};
  }

  /// Two sessions of one batch, the second three tokens behind, give what each gives alone.
  void decode(const std::shared_ptr<const Model>& model, Team& team, const std::vector<float>& whole, std::size_t tokens) {
    const std::size_t vocab = golden_.vocab();
    auto first = *Session::create(model, team, 40), second = *Session::create(model, team, 40);
    auto batch = *Batch::create(model, team, 2);
    for (std::size_t t = 0; t < tokens; ++t) {
      const auto one = t < 3 ? first->append({&golden_.ids[t], 1}, Want::last) : Result<std::span<const float>>([&] {
        Session* const sessions[] = {first.get(), second.get()};
        const text::TokenId both[] = {golden_.ids[t], golden_.ids[t - 3]};
        return batch->step(sessions, both);
      }());
      ASSERT_TRUE(one.ok()) << one.status().message();
      EXPECT_EQ(std::memcmp(one->data(), whole.data() + t * vocab, vocab * 4), 0) << "position " << t;
      if (t >= 3) {
        EXPECT_EQ(std::memcmp(one->data() + vocab, whole.data() + (t - 3) * vocab, vocab * 4), 0) << "position " << t;
      }
    }
  }

  GoldenModel golden_;
  Team team_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

class GoldenArchitectures : public testing::TestWithParam<std::string>, protected Case {
 protected:
  GoldenArchitectures() : Case(GetParam()) {}
};

/// Scalings that look at the length so far make a prefill and a walk token by token differ, as they do in transformers.
bool looks_at_length(const Config& config) {
  for (const RopeTable& table : config.ropes)
    if (table.original > 0 && table.original < 40) return true;
  return false;
}

/// A stored matrix in double precision.
struct Matrix {
  int64_t n = 0, k = 0;
  std::vector<float> w;
  Matrix(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config) {
    const QTensor tensor = *load_matrix(checkpoint, spec, config, 0);
    n = tensor.n;
    k = tensor.k;
    w.resize(static_cast<std::size_t>(n * k));
    for (int64_t r = 0; r < n; ++r) tensor.dequantize_row(r, w.data() + r * k);
  }
  std::vector<double> times(const std::vector<double>& x) const {
    std::vector<double> y(static_cast<std::size_t>(n));
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < k; ++c)
        y[static_cast<std::size_t>(r)] += static_cast<double>(w[static_cast<std::size_t>(r * k + c)]) * x[static_cast<std::size_t>(c)];
    return y;
  }
};

std::vector<double> normed(std::vector<double> x, const NormWeights& norm, const Config& config) {
  double mean = 0, square = 0;
  const double n = static_cast<double>(x.size());
  if (config.norm == Norm::layer)
    for (double v : x) mean += v / n;
  for (double v : x) square += (v - mean) * (v - mean) / n;
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = (x[i] - mean) / std::sqrt(square + static_cast<double>(config.norm_eps)) * norm.w[i] +
           (norm.b.empty() ? 0.0 : norm.b[i]);
  return x;
}

TEST_P(GoldenArchitectures, EqualTransformersAtOnceTokenByTokenAndInABatch) {
  const auto model = load(Compute::exact);
  ASSERT_NE(model, nullptr);
  const std::size_t vocab = golden_.vocab();
  ASSERT_EQ(static_cast<std::size_t>(model->config().vocab), vocab);
  const std::vector<float> whole = logits(model, team_);

  double range = 0, worst = 0;
  const auto positions = golden_.golden.find("positions")->elements();
  for (std::size_t p = 0; p < positions.size(); ++p) {
    const auto row = golden_.golden.find("logits")->elements()[p].elements();
    for (std::size_t v = 0; v < vocab; ++v) {
      range = std::max(range, std::fabs(row[v].as_double()));
      const float got = whole[static_cast<std::size_t>(positions[p].as_int()) * vocab + v];
      worst = std::max(worst, std::fabs(row[v].as_double() - static_cast<double>(got)));
    }
  }
  EXPECT_GT(range, 0.1);
  // Far below what any mistake makes, tanh for erf in a GELU among them.
  EXPECT_LT(worst, 5e-5 * range);
  for (std::size_t t = 0; t < golden_.ids.size(); ++t) {
    const float* row = whole.data() + t * vocab;
    EXPECT_EQ(std::max_element(row, row + vocab) - row, golden_.golden.find("argmax")->elements()[t].as_int())
        << "position " << t;
  }

  if (!looks_at_length(model->config())) decode(model, team_, whole, golden_.ids.size());
}

/// The blocks that differ most in what their workers share: alone and together, they give the same bytes.
TEST(GoldenArchitecturesTeam, TwoThreadsGiveTheSameBytes) {
  for (const char* name : {"gpt-neox", "opt-post-norm-projections", "olmo2", "granite", "deepseek-v3"}) {
    SCOPED_TRACE(name);
    Case one(name), two(name, 2);
    const auto model = one.load(Compute::exact);
    ASSERT_NE(model, nullptr);
    const std::vector<float> whole = one.logits(model, one.team_);
    EXPECT_EQ(std::memcmp(one.logits(model, two.team_).data(), whole.data(), whole.size() * 4), 0);
    one.decode(model, two.team_, whole, 6);
  }
}
/// Of latent attention the cache holds each position's latent and turned key, as they are attended to, and nothing for each head.
TEST(LatentCache, DoesNotGrowWithTheHeads) {
  Case one("deepseek-v3");
  const auto model = one.load(Compute::exact);
  ASSERT_NE(model, nullptr);
  Config c = model->config();
  const auto bytes = [&] { return KvCache::create(c, c.layers, 64, KvType::f32, 1)->bytes(); };
  const int64_t latents = c.layers * 64 * (c.latent.kv_rank + c.latent.rope_dim + (c.latent.kv_rank + 15) / 16 * 16) * 4;
  EXPECT_EQ(bytes(), latents);
  c.heads = c.kv_heads = 128;
  EXPECT_EQ(bytes(), latents);
}

/// Calibration's layers are the forward pass's: embedding and layers one by one end where the logits begin. And each
/// linear of the layer is in exactly one of its input groups, whose observed width is the linear's.
TEST_P(GoldenArchitectures, LayerByLayerSeesEveryInput) {
  const auto model = load(Compute::exact);
  ASSERT_NE(model, nullptr);
  const Config& config = model->config();
  const Architecture& arch = **find_architecture(checkpoint_->config(), "golden");
  const int64_t length = static_cast<int64_t>(golden_.ids.size());
  std::vector<float> hidden(static_cast<std::size_t>(length * config.hidden));
  ASSERT_TRUE(embed(*checkpoint_, arch, config, golden_.ids, length, hidden.data()).ok());
  for (int64_t l = 0; l < config.layers; ++l) {
    const auto weights = load_layer(*checkpoint_, arch, config, l);
    ASSERT_TRUE(weights.ok()) << weights.status().message();
    const std::vector<InputGroup> groups = layer_groups(arch, config, l);
    std::map<Part, int> grouped;
    for (const InputGroup& group : groups)
      for (const Part& part : group.linears) ++grouped[part];
    for (const auto& [part, m] : weights->matrices) {
      const bool router = part.role == Role::router || part.role == Role::shared_router;
      EXPECT_EQ(grouped[part], router ? 0 : 1) << role_index(part.role);
    }
    std::vector<int64_t> rows(groups.size());
    const InputObserver observer = [&](std::size_t group, const float* x, int64_t ldx, int64_t m, int64_t k) -> Status {
      for (const Part& part : groups.at(group).linears) EXPECT_EQ(weights->matrices.at(part).k, k) << groups[group].name;
      for (int64_t r = 0; r < m; ++r)
        for (int64_t c = 0; c < k; ++c) EXPECT_TRUE(std::isfinite(x[r * ldx + c]));
      rows[group] += m;
      return {};
    };
    const Status status = run_layer(*weights, arch, config, team_, 1, length, hidden.data(), observer, l);
    ASSERT_TRUE(status.ok()) << status.message();
    for (std::size_t g = 0; g < groups.size(); ++g) EXPECT_GT(rows[g], 0) << groups[g].name << " of layer " << l;
  }
  // What stands behind the layers, in double precision.
  const std::vector<float> want = logits(model, team_);
  const TensorSpec *norm_spec = arch.find(Role::final_norm, config), *out = arch.find(Role::project_out, config);
  const NormWeights norm = norm_spec == nullptr ? NormWeights{} : *load_norm(*checkpoint_, *norm_spec, config, 0);
  const Role head_role = config.tied_embeddings ? Role::embedding : Role::lm_head;
  const Matrix head(*checkpoint_, *arch.find(head_role, config), config);
  const auto bias = load_bias(*checkpoint_, *arch.find(Role::lm_head, config), config, 0);
  double range = 0, worst = 0;
  for (int64_t t = 0; t < length; ++t) {
    std::vector<double> x(hidden.begin() + t * config.hidden, hidden.begin() + (t + 1) * config.hidden);
    if (!norm.w.empty()) x = normed(x, norm, config);
    if (out != nullptr) x = Matrix(*checkpoint_, *out, config).times(x);
    x = head.times(x);
    for (std::size_t v = 0; v < x.size(); ++v) {
      double y = (x[v] + (bias->empty() ? 0.0 : (*bias)[v])) * config.logit_scale;
      if (config.logit_cap > 0) y = config.logit_cap * std::tanh(y / config.logit_cap);
      const double reference = want[static_cast<std::size_t>(t) * x.size() + v];
      range = std::max(range, std::fabs(reference));
      worst = std::max(worst, std::fabs(reference - y));
    }
  }
  EXPECT_LT(worst, 5e-5 * range);
}

INSTANTIATE_TEST_SUITE_P(Variants, GoldenArchitectures, testing::ValuesIn(test::golden_variants()),
                         [](const auto& info) { return test::test_name(info.param); });

}  // namespace
}  // namespace nbl::model
