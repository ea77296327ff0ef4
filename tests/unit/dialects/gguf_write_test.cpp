// Writing GGUF: every block type from its own numbers, other weights in the smallest type that holds them, rows and
// norms as llama.cpp wants them, vocabularies of every kind.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "dialects/dialects.h"
#include "dialects/gguf_blocks.h"
#include "dialects/gguf_encode.h"
#include "dialects/gguf_encode_blocks.h"
#include "io/container.h"
#include "io/gguf_types.h"
#include "support/random_qtensor.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

using test::TempDir;

QTensor decode(const GgufRows& rows, int64_t n, int64_t k) {
  io::RawTensor raw;
  raw.name = "test";
  raw.type = rows.type;
  raw.shape = {n, k};
  raw.bytes = Storage::copy(rows.data).value();
  return gguf_matrix(raw, {}).value();
}

void expect_equal_values(const QTensor& a, const QTensor& b) {
  std::vector<float> x(static_cast<std::size_t>(a.k)), y(x.size());
  for (int64_t r = 0; r < a.n; ++r) {
    a.dequantize_row(r, x.data());
    b.dequantize_row(r, y.data());
    ASSERT_EQ(x, y) << "row " << r;
  }
}

TEST(GgufWrite, EveryTypeIsWrittenFromItsOwnNumbers) {
  const auto path = std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests" / "golden" / "gguf" / "blocks.gguf";
  auto container = io::open_gguf(path);
  ASSERT_TRUE(container.ok());
  const auto writable = gguf_writable_types();
  std::size_t written = 0;
  for (const io::RawTensor& raw : (*container)->tensors()) {
    SCOPED_TRACE(raw.name);
    auto tensor = gguf_matrix(raw, {});
    ASSERT_TRUE(tensor.ok());
    if (std::find(writable.begin(), writable.end(), raw.type) == writable.end()) {
      EXPECT_TRUE(raw.type.starts_with("IQ1") || raw.type.starts_with("IQ2") || raw.type.starts_with("IQ3")) << raw.type;
      auto refused = gguf_encode(*tensor);
      ASSERT_FALSE(refused.ok());
      EXPECT_EQ(refused.status().code(), Code::unsupported);
      continue;
    }
    const bool plain = raw.type == "F32" || raw.type == "F16" || raw.type == "BF16";
    auto rows = gguf_encode(*tensor, plain ? std::string_view() : raw.type);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(rows->type, raw.type);
    test::expect_same(*tensor, decode(*rows, tensor->n, tensor->k));
    auto chosen = gguf_encode(*tensor);
    ASSERT_TRUE(chosen.ok());
    EXPECT_LE(chosen->row_bytes, rows->row_bytes);
    expect_equal_values(*tensor, decode(*chosen, tensor->n, tensor->k));
    ++written;
  }
  EXPECT_EQ(written, 19u);
}

TEST(GgufWrite, TheSmallestTypeThatHoldsTheValuesIsTaken) {
  std::mt19937 rng(3);
  const auto type_of = [](const QTensor& tensor) {
    auto rows = gguf_encode(tensor);
    if (!rows.ok()) return std::string("refused");
    expect_equal_values(tensor, decode(*rows, tensor.n, tensor.k));
    return std::string(rows->type);
  };
  const auto affine = [&](int bits, int64_t group, ZeroKind kind) {
    return test::random_affine(rng, 8, 256, bits, group, kind);
  };
  EXPECT_EQ(type_of(affine(4, 32, ZeroKind::symmetric)), "Q4_0");
  EXPECT_EQ(type_of(affine(4, 128, ZeroKind::symmetric)), "Q4_0");  // groups are cut
  EXPECT_EQ(type_of(affine(3, 32, ZeroKind::symmetric)), "Q4_0");
  EXPECT_EQ(type_of(affine(3, 64, ZeroKind::code)), "Q4_0");  // seven either side of the zero point
  EXPECT_EQ(type_of(affine(4, 32, ZeroKind::code)), "Q5_0");
  EXPECT_EQ(type_of(affine(4, 32, ZeroKind::minimum)), "Q4_1");
  EXPECT_EQ(type_of(affine(5, 32, ZeroKind::symmetric)), "Q5_0");
  EXPECT_EQ(type_of(affine(5, 32, ZeroKind::minimum)), "Q5_1");
  EXPECT_EQ(type_of(affine(6, 64, ZeroKind::code)), "Q8_0");
  EXPECT_EQ(type_of(affine(8, 0, ZeroKind::symmetric)), "Q8_0");
  EXPECT_EQ(type_of(affine(8, 32, ZeroKind::code)), "refused");
  EXPECT_EQ(type_of(affine(4, 16, ZeroKind::symmetric)), "refused");
  EXPECT_EQ(type_of(test::random_dense(rng, 4, 40, DType::e4m3)), "BF16");
  EXPECT_EQ(type_of(test::random_affine(rng, 4, 40, 4, 0, ZeroKind::symmetric)), "refused");

  // With zero points whose product with the scale is an f16 number, the smaller type with minimums will do.
  QTensor powers = test::random_affine(rng, 8, 96, 4, 32, ZeroKind::code);
  Segment& s = powers.segments[0];
  std::vector<uint16_t> scales(s.scales.bytes().size() / 2, f32_to_f16(0.125f));
  s.scales = test::storage_of(scales);
  EXPECT_EQ(type_of(powers), "Q4_1");
}

TEST(GgufWrite, ScalesAreFactored) {
  std::mt19937 rng(5);
  const std::pair<int, int> ranges[] = {{0, 15}, {0, 63}, {-32, 31}, {-128, 127}};
  for (const auto& [low, high] : ranges) {
    for (int trial = 0; trial < 200; ++trial) {
      float d = test::random_half(rng) * (trial % 3 == 0 ? 1e-4f : 1.0f);
      d = f16_to_f32(f32_to_f16(d));
      float values[16];
      for (float& v : values) {
        v = d * static_cast<float>(std::uniform_int_distribution<int>(low, high)(rng));
      }
      uint16_t found = 0;
      int integers[16];
      ASSERT_TRUE(factor_scales(values, low, high, &found, integers)) << d;
      for (int i = 0; i < 16; ++i) {
        ASSERT_GE(integers[i], low);
        ASSERT_LE(integers[i], high);
        ASSERT_EQ(f16_to_f32(found) * static_cast<float>(integers[i]), values[i]);
      }
      values[3] = 3.14159265f;  // more digits than the product of an f16 number and a small integer has
      EXPECT_FALSE(factor_scales(values, low, high, &found, integers));
    }
  }
}

Json llama_config() {
  return Json::parse(R"({"model_type":"llama","hidden_size":64,"num_attention_heads":4,"num_key_value_heads":2,
    "num_hidden_layers":1,"vocab_size":12,"intermediate_size":64,"rms_norm_eps":1e-5,"head_dim":16,
    "max_position_embeddings":131072,"rope_theta":500000.0,"tie_word_embeddings":true,
    "rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
                    "original_max_position_embeddings":8192}})",
                     "test")
      .value();
}

TEST(GgufWrite, RowsOfQueriesAndKeysAreInterleavedAndBiasesGoWithThem) {
  TempDir dir;
  std::mt19937 rng(9);
  const QTensor q = test::random_affine(rng, 64, 64, 4, 32, ZeroKind::symmetric),
                k = test::random_affine(rng, 32, 64, 8, 0, ZeroKind::symmetric),
                embedding = test::random_dense(rng, 12, 64, DType::bf16);
  std::vector<float> bias(64);
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i);
  {
    auto writer = find_dialect("gguf").value()->make_writer(dir / "m.gguf");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->set_config(llama_config()).ok());
    ASSERT_TRUE((*writer)->add_matrix("model.embed_tokens.weight", embedding).ok());
    ASSERT_TRUE((*writer)->add_matrix("model.layers.0.self_attn.q_proj.weight", q).ok());
    ASSERT_TRUE((*writer)->add_array("model.layers.0.self_attn.q_proj.bias", Array::from_f32(bias, {64}).value()).ok());
    ASSERT_TRUE((*writer)->add_matrix("model.layers.0.self_attn.k_proj.weight", k).ok());
    const Status twice = (*writer)->add_matrix("model.layers.0.self_attn.k_proj.weight", k);
    EXPECT_EQ(twice.code(), Code::invalid_argument);
    const Status homeless = (*writer)->add_matrix("model.layers.0.self_attn.extra.weight", k);
    EXPECT_EQ(homeless.code(), Code::unsupported);
    EXPECT_NE(homeless.message().find("self_attn.extra"), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(dir / "m.gguf"));
    auto hash = (*writer)->finish();
    ASSERT_TRUE(hash.ok()) << hash.status().message();
    EXPECT_EQ(hash->size(), 64u);
  }
  auto file = io::open_gguf(dir / "m.gguf");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const QTensor stored = gguf_matrix(*(*file)->find("blk.0.attn_q.weight"), {}).value();
  std::vector<float> want(64), got(64);
  const auto stored_bias = io::to_array(*(*file)->find("blk.0.attn_q.bias")).value().to_f32().value();
  for (int64_t head = 0; head < 4; ++head) {
    for (int64_t i = 0; i < 8; ++i) {
      for (int64_t j = 0; j < 2; ++j) {  // GGUF row 2i + j is Hugging Face's row 8j + i of the head
        q.dequantize_row(head * 16 + 8 * j + i, want.data());
        stored.dequantize_row(head * 16 + 2 * i + j, got.data());
        ASSERT_EQ(want, got);
        ASSERT_EQ(stored_bias[static_cast<std::size_t>(head * 16 + 2 * i + j)], static_cast<float>(head * 16 + 8 * j + i));
      }
    }
  }
  auto model = open(dir / "m.gguf");
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE((*model)->warnings().empty());
  test::expect_same((*model)->matrix("model.layers.0.self_attn.q_proj.weight").value(), q);
  expect_equal_values((*model)->matrix("model.layers.0.self_attn.k_proj.weight").value(), k);
  EXPECT_EQ((*model)->array("model.layers.0.self_attn.q_proj.bias").value().to_f32().value(), bias);
  const Json& config = (*model)->config();
  for (const char* key : {"hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size",
                          "intermediate_size", "head_dim", "max_position_embeddings"}) {
    EXPECT_EQ(config.get_int(key).value(), llama_config().get_int(key).value()) << key;
  }
  EXPECT_EQ(config.get_double("rms_norm_eps").value(), 1e-5);
  EXPECT_EQ(config.get_double("rope_theta").value(), 500000.0);
  EXPECT_EQ(config.find("rope_scaling")->get_string("rope_type").value(), "llama3");
  EXPECT_EQ(config.find("rope_scaling")->get_double("factor").value(), 8.0);
  EXPECT_TRUE(config.find("tie_word_embeddings")->as_bool());
}

// The divisors that Llama 3's rule amounts to hang on the base, which GPT-NeoX calls otherwise; read back, they are the rule's again.
TEST(GgufWrite, TheRuleOfLlama3TakesTheFamilysOwnBase) {
  TempDir dir;
  const Json config = Json::parse(R"({"model_type":"gpt_neox","hidden_size":64,"num_attention_heads":4,"num_hidden_layers":1,"vocab_size":12,
    "intermediate_size":64,"layer_norm_eps":1e-5,"max_position_embeddings":131072,"rotary_emb_base":500000,"rotary_pct":0.5,
    "use_parallel_residual":true,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
                                                 "original_max_position_embeddings":8192}})",
                                  "test")
                          .value();
  auto writer = find_dialect("gguf").value()->make_writer(dir / "m.gguf");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->set_config(config).ok());
  std::mt19937 rng(1);
  ASSERT_TRUE((*writer)->add_matrix("gpt_neox.embed_in.weight", test::random_dense(rng, 12, 64, DType::f32)).ok());
  const auto hash = (*writer)->finish();
  ASSERT_TRUE(hash.ok()) << hash.status().message();
  auto model = open(dir / "m.gguf");
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->config().get_double("rotary_emb_base").value(), 500000.0);
  EXPECT_EQ((*model)->config().get_double("rotary_pct").value(), 0.5);
  const Json* scaling = (*model)->config().find("rope_scaling");
  ASSERT_NE(scaling, nullptr);
  EXPECT_EQ(scaling->get_string("rope_type").value(), "llama3");
  EXPECT_EQ(scaling->get_double("factor").value(), 8.0);
}

TEST(GgufWrite, NormsThatOneAddedWouldRoundAreRefusedUnlessRoundingIsAllowed) {
  TempDir dir;
  auto writer = find_dialect("gguf").value()->make_writer(dir / "m.gguf");
  ASSERT_TRUE(writer.ok());
  Json config = llama_config();
  config.set("model_type", "gemma");
  config.erase("rope_scaling");
  ASSERT_TRUE((*writer)->set_config(config).ok());
  const Array fine = Array::from_f32({0.5f, -0.25f}, {2}).value(), tiny = Array::from_f32({0.5f, 1e-9f}, {2}).value();
  EXPECT_TRUE((*writer)->add_array("model.norm.weight", fine).ok());
  const Status refused = (*writer)->add_array("model.layers.0.input_layernorm.weight", tiny);
  EXPECT_EQ(refused.code(), Code::unsupported);
  EXPECT_NE(refused.message().find("model.layers.0.input_layernorm.weight"), std::string::npos);
  (*writer)->set_rounding(true);
  EXPECT_TRUE((*writer)->add_array("model.layers.0.input_layernorm.weight", tiny).ok());
  std::mt19937 rng(1);
  ASSERT_TRUE((*writer)->add_matrix("model.embed_tokens.weight", test::random_dense(rng, 12, 64, DType::f32)).ok());
  ASSERT_TRUE((*writer)->finish().ok());
  auto model = open(dir / "m.gguf");
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->array("model.norm.weight").value().to_f32().value(), (std::vector<float>{0.5f, -0.25f}));
}

TEST(GgufWrite, ArchitecturesAndScalingsThatGgufHasNoWordForAreRefused) {
  TempDir dir;
  auto writer = find_dialect("gguf").value()->make_writer(dir / "m.gguf");
  ASSERT_TRUE(writer.ok());
  Json config = llama_config();
  config.set("model_type", "unheard_of");
  const Status refused = (*writer)->set_config(config);
  EXPECT_EQ(refused.code(), Code::unsupported);
  EXPECT_NE(refused.message().find("unheard_of"), std::string::npos);
  config = llama_config();
  config.set("rope_scaling", Json::object({{"rope_type", "dynamic"}, {"factor", 2.0}}));
  ASSERT_TRUE((*writer)->set_config(config).ok());
  std::mt19937 rng(1);
  ASSERT_TRUE((*writer)->add_matrix("model.embed_tokens.weight", test::random_dense(rng, 12, 64, DType::f32)).ok());
  const auto finished = (*writer)->finish();
  EXPECT_EQ(finished.status().code(), Code::unsupported);
  EXPECT_NE(finished.status().message().find("dynamic"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(dir / "m.gguf"));
}

}  // namespace
}  // namespace nbl::dialects
