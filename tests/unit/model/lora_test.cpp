// LoRA adapters against torch's own arithmetic (tests/golden/lora).
#include "model/lora.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "dialects/dialects.h"
#include "model/generation.h"
#include "support/golden_model.h"
#include "support/temp_dir.h"
#include "support/test_isa.h"

namespace nbl::model {
namespace {

const std::filesystem::path kRoot = NIBBLE_SOURCE_DIR;
const std::filesystem::path kGolden = kRoot / "tests/golden/lora";

class Lora : public ::testing::Test {
 protected:
  void SetUp() override {
    checkpoint_ = *dialects::open(kRoot / "examples/models/prose-3.7m");
    golden_ = *Json::parse(*read_text_file(kGolden / "logits.json", 1 << 20), "golden");
    for (const Json& id : golden_.find("ids")->elements()) ids_.push_back(static_cast<text::TokenId>(id.as_int()));
  }
  std::shared_ptr<const Model> load(const Checkpoint& checkpoint) {
    ModelOptions options;
    options.compute = {Compute::exact, nbl::test::test_isa()};
    return *Model::load(checkpoint, options, team_, {});
  }
  std::vector<float> logits(const std::shared_ptr<const Model>& model, bool step_by_step = false) {
    auto session = *Session::create(model, team_, 16);
    std::span<const float> out;
    if (step_by_step)
      for (const text::TokenId id : ids_) out = *session->append({&id, 1}, Session::Logits::last);
    else
      out = *session->append(ids_, Session::Logits::last);
    return {out.begin(), out.end()};
  }
  void expect_golden(const std::vector<float>& got, const char* name) {
    const Json& want = *golden_.find(name);
    double norm = 0;
    for (const float x : got) norm += static_cast<double>(x) * static_cast<double>(x);
    EXPECT_NEAR(std::sqrt(norm), want.find("norm")->as_double(), 2e-3);
    EXPECT_EQ(std::max_element(got.begin(), got.end()) - got.begin(), want.find("largest")->as_int());
    for (std::size_t i = 0; i < 12; ++i)
      EXPECT_NEAR(static_cast<double>(got[i]), want.find("first")->elements()[i].as_double(), 2e-3) << name << " " << i;
  }
  Team team_{2};
  std::shared_ptr<const Checkpoint> checkpoint_;
  Json golden_;
  std::vector<text::TokenId> ids_;
};

TEST_F(Lora, UnmergedAndMergedEqualTorch) {
  const auto base = load(*checkpoint_);
  const auto plain_logits = logits(base);
  for (const char* name : {"plain", "rslora"}) {
    const auto adapter = load_lora(kGolden / name, 1);
    ASSERT_TRUE(adapter.ok()) << adapter.status().message();
    const auto adapted = Model::with_adapter(base, *adapter);
    ASSERT_TRUE(adapted.ok()) << adapted.status().message();
    const auto prefilled = logits(*adapted);
    expect_golden(prefilled, name);
    EXPECT_EQ(logits(*adapted, true), prefilled) << "step by step, the same bytes";
    const auto merged = merge_lora(checkpoint_, *adapter);
    ASSERT_TRUE(merged.ok()) << merged.status().message();
    expect_golden(logits(load(**merged)), name);
  }
  EXPECT_EQ(logits(base), plain_logits) << "the base model stays what it was";
  // Two adapters add up: one and its negative are none.
  const auto both = *Model::with_adapter(*Model::with_adapter(base, *load_lora(kGolden / "plain", 1)), *load_lora(kGolden / "plain", -1));
  const auto cancelled = logits(both);
  for (std::size_t i = 0; i < cancelled.size(); ++i) EXPECT_NEAR(cancelled[i], plain_logits[i], 2e-4f);
}

TEST_F(Lora, RefusesWhatItCannotDo) {
  const nbl::test::TempDir dir;
  std::filesystem::copy_file(kGolden / "plain/adapter_model.safetensors", dir / "adapter_model.safetensors");
  const auto with = [&](const char* config) {
    dir.write("adapter_config.json", config);
    return load_lora(dir.path(), 1).status();
  };
  for (const auto& [config, name] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"peft_type":"LORA","r":4,"lora_alpha":8,"modules_to_save":["lm_head"]})", "modules_to_save"},
           {R"({"peft_type":"LORA","r":4,"lora_alpha":8,"use_dora":true})", "use_dora"},
           {R"({"peft_type":"LORA","r":4,"lora_alpha":8,"bias":"all"})", "bias"},
           {R"({"peft_type":"IA3"})", "IA3"},
           {R"({"peft_type":"LORA","r":4,"lora_alpha":8,"init_lora_weights":"pissa_niter_4"})", "pissa"},
           {R"({"peft_type":"LORA","r":5,"lora_alpha":8})", "rank is 4"},
           {R"({"peft_type":"LORA","r":4,"rank_pattern":{"(q_proj":4}})", "rank_pattern"},
           {R"({"peft_type":"LORA","r":4,"rank_pattern":{".*\\.layers\\.[0-9]+\\.self_attn\\.(q|k|v)_proj":5}})", "rank is 4"}}) {
    const Status status = with(config);
    EXPECT_NE(status.message().find(name), std::string::npos) << config << ": " << status.message();
  }
  EXPECT_TRUE(with(R"({"peft_type":"LORA","r":4,"lora_alpha":8,"bias":"none","modules_to_save":null})").ok());
  EXPECT_TRUE(with(R"({"peft_type":"LORA","r":5,"lora_alpha":8,"rank_pattern":{".*layers.*_proj":4}})").ok());
  EXPECT_FALSE(with(R"({"peft_type":"LORA","r":5,"lora_alpha":8,"rank_pattern":{"layers.*_pro":4}})").ok()) << "the whole of it";
  EXPECT_EQ(load_lora(dir.path() / "none", 1).status().code(), Code::not_found);

  // Made for another model.
  auto other = std::make_shared<LoraAdapter>(**load_lora(kGolden / "plain", 1));
  other->deltas.begin()->second.n += 1;
  EXPECT_EQ(Model::with_adapter(load(*checkpoint_), other).status().code(), Code::mismatch);
  auto deeper = std::make_shared<LoraAdapter>(**load_lora(kGolden / "plain", 1));
  deeper->deltas["model.layers.9.self_attn.q_proj.weight"] = deeper->deltas.begin()->second;
  EXPECT_EQ(Model::with_adapter(load(*checkpoint_), deeper).status().code(), Code::mismatch);
  EXPECT_EQ(merge_lora(checkpoint_, deeper).status().code(), Code::mismatch);
}

/// A small adapter of one weight, [n, k].
std::shared_ptr<LoraAdapter> adapter_of(const std::string& name, int64_t n, int64_t k) {
  auto adapter = std::make_shared<LoraAdapter>();
  adapter->origin = "made here";
  LoraDelta& delta = adapter->deltas[name];
  delta.rank = 3;
  delta.n = n;
  delta.k = k;
  delta.scale = 0.7f;
  for (int64_t i = 0; i < delta.rank * delta.k; ++i) delta.a.push_back(static_cast<float>(i * 7 % 11 - 5) / 9);
  for (int64_t i = 0; i < delta.rank * delta.n; ++i) delta.b.push_back(static_cast<float>(i * 5 % 13 - 6) / 9);
  return adapter;
}

class LoraOf : public Lora {
 protected:
  void expect_merged_as_beside(const nbl::test::GoldenModel& golden, const std::shared_ptr<const Checkpoint>& checkpoint,
                               const std::shared_ptr<const Model>& base, const std::shared_ptr<const LoraAdapter>& adapter) {
    ids_ = golden.ids;
    ids_.resize(12);
    const auto adapted = Model::with_adapter(base, adapter);
    ASSERT_TRUE(adapted.ok()) << adapted.status().message();
    const auto merging = merge_lora(checkpoint, adapter);
    ASSERT_TRUE(merging.ok()) << merging.status().message();
    const auto plain = logits(base), beside = logits(*adapted), merged = logits(load(**merging));
    double range = 0, changed = 0, worst = 0;
    for (std::size_t i = 0; i < plain.size(); ++i) {
      range = std::max(range, static_cast<double>(std::abs(merged[i])));
      changed = std::max(changed, static_cast<double>(std::abs(merged[i] - plain[i])));
      worst = std::max(worst, static_cast<double>(std::abs(merged[i] - beside[i])));
    }
    EXPECT_GT(changed, 1e-2 * range);
    EXPECT_LT(worst, 1e-4 * range);
  }
};

/// Latent attention never multiplies by its up-projection as it is stored; an adapter of it counts all the same.
TEST_F(LoraOf, ALatentUpProjectionEqualsTheMergedOne) {
  const nbl::test::GoldenModel golden("deepseek-v3");
  const std::shared_ptr<const Checkpoint> checkpoint = *dialects::open(golden.directory.path());
  const auto base = load(*checkpoint);
  const Config& c = base->config();
  expect_merged_as_beside(golden, checkpoint, base,
                          adapter_of("model.layers.1.self_attn.kv_b_proj.weight", c.heads * (c.latent.nope_dim + c.v_dim()),
                                     c.latent.kv_rank));
}

/// GPT-2 stores its matrices [in, out], and PEFT says fan_in_fan_out of adapters on them; A and B are what they are elsewhere.
TEST_F(LoraOf, MatricesThatAreStoredTheOtherWayRoundEqualTheMergedOnes) {
  const nbl::test::GoldenModel golden("gpt2");
  const std::shared_ptr<const Checkpoint> checkpoint = *dialects::open(golden.directory.path());
  const auto base = load(*checkpoint);
  const int64_t hidden = base->config().hidden;
  expect_merged_as_beside(golden, checkpoint, base, adapter_of("transformer.h.0.attn.c_attn.weight", 3 * hidden, hidden));
  expect_merged_as_beside(golden, checkpoint, base, adapter_of("transformer.h.1.attn.c_proj.weight", hidden, hidden));
}

/// PEFT takes no notice of fan_in_fan_out on ordinary linear layers.
TEST_F(Lora, SaysTheSameWhicheverWayRoundItClaimsToBeStored) {
  nbl::test::TempDir dir;
  std::filesystem::copy_file(kGolden / "plain/adapter_model.safetensors", dir / "adapter_model.safetensors");
  auto config = Json::parse(*read_text_file(kGolden / "plain/adapter_config.json", 1 << 20), "adapter_config.json").value();
  config.set("fan_in_fan_out", true);
  dir.write("adapter_config.json", config.dump());
  const auto adapter = load_lora(dir.path(), 1);
  ASSERT_TRUE(adapter.ok()) << adapter.status().message();
  expect_golden(logits(*Model::with_adapter(load(*checkpoint_), *adapter)), "plain");
  expect_golden(logits(load(**merge_lora(checkpoint_, *adapter))), "plain");
}

/// What a method moved between weights and norms, an adapter cannot know.
TEST_F(Lora, RefusesWeightsThatScalesWereFoldedInto) {
  class Quantized final : public Checkpoint {
   public:
    Quantized(std::shared_ptr<const Checkpoint> base, Json config, std::string manifest)
        : base_(std::move(base)), config_(std::move(config)), manifest_(std::move(manifest)) {}
    std::string format() const override { return base_->format(); }
    std::string origin() const override { return base_->origin(); }
    const Json& config() const override { return config_; }
    std::vector<TensorInfo> tensors() const override { return base_->tensors(); }
    bool has(std::string_view name) const override { return base_->has(name); }
    Result<QTensor> matrix(std::string_view name) const override { return base_->matrix(name); }
    Result<Array> array(std::string_view name) const override { return base_->array(name); }
    bool has_asset(std::string_view name) const override { return name == "manifest.json" && !manifest_.empty(); }
    Result<std::string> asset(std::string_view) const override { return manifest_; }
    std::vector<std::string> asset_names() const override { return {}; }
    int64_t file_bytes() const override { return 0; }

   private:
    std::shared_ptr<const Checkpoint> base_;
    Json config_;
    std::string manifest_;
  };
  const auto adapter = *load_lora(kGolden / "plain", 1);
  const auto with = [&](const char* manifest, const char* quantization) {
    Json config = checkpoint_->config();
    if (*quantization != 0) config.set("quantization_config", *Json::parse(quantization, "x"));
    return std::make_shared<const Quantized>(checkpoint_, std::move(config), manifest);
  };
  for (const auto& [manifest, quantization, name] : std::initializer_list<std::tuple<const char*, const char*, const char*>>{
           {R"({"method":"awq","recipe":"awq:bits=4"})", "", "awq"},
           {R"({"method":"rtn","recipe":"rtn:bits=8","overrides":[{"pattern":"x","recipe":"smoothquant:bits=8"}]})", "", "smoothquant"},
           {R"({"job":"convert","source":{"method":"awq"}})", "", "awq"},
           {R"({"method":"gptq","rotation":"hadamard"})", "", "rotation"},
           {"", R"({"quant_method":"awq","bits":4})", "awq"}}) {
    const auto checkpoint = with(manifest, quantization);
    const Status merged = merge_lora(checkpoint, adapter).status(), beside = Model::with_adapter(load(*checkpoint), adapter).status();
    for (const Status& status : {merged, beside}) {
      EXPECT_EQ(status.code(), Code::unsupported) << manifest << quantization;
      EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
    }
  }
  EXPECT_TRUE(Model::with_adapter(load(*with(R"({"method":"gptq","recipe":"gptq:bits=4"})", "")), adapter).ok());
}

/// What a cache of this type makes of the components of a group, by the formats' definitions.
std::vector<double> rounded(KvType type, std::span<const double> x) {
  std::vector<double> out(x.begin(), x.end());
  const auto to_bits = [](double v, int bits) {
    int exponent = 0;
    const double m = std::frexp(v, &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(m, bits)), exponent - bits);
  };
  const auto [least, most] = std::minmax_element(x.begin(), x.end());
  const double step = type == KvType::q8 ? std::max(std::fabs(*least), std::fabs(*most)) / 127 : (*most - *least) / 15;
  for (double& v : out) {
    switch (type) {
      case KvType::f16: v = to_bits(v, 11); break;
      case KvType::bf16: v = to_bits(v, 8); break;
      case KvType::q8: v = step == 0 ? 0 : std::nearbyint(v / step) * step; break;
      case KvType::q4: v = step == 0 ? v : std::nearbyint((v - *least) / step) * step + *least; break;
      default: break;
    }
  }
  return out;
}

/// Mean over planes of the relative squared error of keys plus that of values. `pieces`: a float32 cache of `tokens` positions, for each
/// plane tiles [positions / 16][32][16] of keys and rows [positions][32] of values.
double relative_error(KvType type, const std::vector<std::span<std::byte>>& pieces, std::size_t tokens) {
  constexpr std::size_t kDim = 32;  // of a head of this model: one group
  double total = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto* data = reinterpret_cast<const float*>(pieces[i].data());
    double error = 0, size = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      std::vector<double> x(kDim);
      for (std::size_t d = 0; d < kDim; ++d)
        x[d] = static_cast<double>(i % 2 == 0 ? data[(t / 16 * kDim + d) * 16 + t % 16] : data[t * kDim + d]);
      const std::vector<double> y = rounded(type, x);
      for (std::size_t d = 0; d < kDim; ++d) {
        error += (y[d] - x[d]) * (y[d] - x[d]);
        size += x[d] * x[d];
      }
    }
    total += error / size;
  }
  return total / (static_cast<double>(pieces.size()) / 2);
}

/// Caches change the distribution as little as their rounding says, and as much. To first order logits are linear in keys and values, and
/// the divergence of distributions whose logits differ a little is half the variance of the difference. So
///   - between types it goes with the squared error that the formats' definitions make in the model's own keys and values, taken from a
///     float32 cache (a factor of 4 each way for how differently the errors lie);
///   - and bf16's, which others are held against, is at most that of a residual stream in which every layer adds an output with the
///     relative error of its keys and values, and nothing averages out: half of L e^2 times the variance of the logits.
TEST_F(Lora, QuantizedCachesStayClose) {
  const auto model = load(*checkpoint_);
  const auto text = *model->tokenizer()->encode(read_text_file(kRoot / "examples/data/evaluation.txt", 1 << 24)->substr(0, 2500), {});
  const std::span<const text::TokenId> ids(text.data(), std::min<std::size_t>(text.size(), 150));
  ASSERT_EQ(model->config().head_dim, 32);
  std::map<KvType, double> error;
  const auto run = [&](KvType type) {
    SessionOptions options;
    options.max_tokens = 320;
    options.kv_type = type;
    auto session = *Session::create(model, team_, options);
    const auto logits = *session->append(ids, Session::Logits::all);
    std::vector<float> out(logits.begin(), logits.end());
    if (type == KvType::f32) {
      for (const KvType each : {KvType::f16, KvType::bf16, KvType::q8, KvType::q4})
        error[each] = relative_error(each, session->cached(), ids.size());
    }
    // One token at a time gives the same bytes.
    auto stepped = *Session::create(model, team_, options);
    std::span<const float> last;
    for (const text::TokenId id : ids.first(40)) last = *stepped->append({&id, 1}, Session::Logits::last);
    const std::size_t vocab = last.size();
    EXPECT_TRUE(std::equal(last.begin(), last.end(), out.begin() + static_cast<std::ptrdiff_t>(39 * vocab)));
    return out;
  };
  const auto exact = run(KvType::f32);
  const std::size_t vocab = exact.size() / ids.size();
  double variance = 0;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    double sum = 0, squares = 0;
    for (std::size_t v = 0; v < vocab; ++v) {
      const auto logit = static_cast<double>(exact[t * vocab + v]);
      sum += logit;
      squares += logit * logit;
    }
    const auto n = static_cast<double>(vocab);
    variance += (squares - sum * sum / n) / n / static_cast<double>(ids.size());
  }
  double of_bf16 = 0;
  for (const KvType type : {KvType::bf16, KvType::f16, KvType::q8, KvType::q4}) {
    const auto got = run(type);
    double kl = 0;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      const std::span<const float> p(exact.data() + t * vocab, vocab), q(got.data() + t * vocab, vocab);
      const double zp = log_sum_exp(p), zq = log_sum_exp(q);
      for (std::size_t v = 0; v < vocab; ++v) {
        const double lp = static_cast<double>(p[v]) - zp;
        kl += std::exp(lp) * (lp - (static_cast<double>(q[v]) - zq));
      }
    }
    kl /= static_cast<double>(ids.size());
    if (type == KvType::bf16) {
      of_bf16 = kl;
      EXPECT_LT(kl, 0.5 * static_cast<double>(model->config().layers) * error[type] * variance);
      EXPECT_GT(kl, 0);
    }
    const double expected = of_bf16 * error[type] / error[KvType::bf16];
    EXPECT_LT(kl, 4 * expected) << static_cast<int>(type) << ", of bf16 " << of_bf16 << ", error " << error[type];
    EXPECT_GT(kl, expected / 4) << "the cache is what it says: " << static_cast<int>(type) << ", of bf16 " << of_bf16 << ", error " << error[type];
    RecordProperty("mean_kl_" + std::to_string(static_cast<int>(type)), std::to_string(kl));
  }
}

}  // namespace
}  // namespace nbl::model
