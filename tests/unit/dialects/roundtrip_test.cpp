// Every writable dialect, by being listed: what it says it can represent comes back to the bit, the rest is refused by
// name.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "dialects/dialects.h"
#include "support/random_qtensor.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

using test::TempDir;

// Sizes that suit packed words as well as sizes that do not.
std::map<std::string, QTensor> candidates(std::mt19937& rng) {
  std::map<std::string, QTensor> all = test::random_qtensors(rng);
  all["even_nf4"] = test::random_nf4(rng, 64, 256, 64);
  all["even_nf4_nested"] = test::nested(rng, test::random_nf4(rng, 64, 256, 64), 64);
  all["even_nf4_nested_short"] = test::nested(rng, test::random_nf4(rng, 24, 192, 64), 32);  // the last run is short
  all["even_fp8_row"] = test::random_fp8(rng, 64, 256, 0);
  all["even_fp8_block"] = test::random_fp8(rng, 128, 256, 128);
  for (const int64_t group : {0, 32, 64, 128}) {
    for (int bits = 2; bits <= 8; ++bits) {
      const std::string name = std::to_string(bits) + "g" + std::to_string(group);
      all["even_sym" + name] = test::random_affine(rng, 64, 256, bits, group, ZeroKind::symmetric);
      QTensor& asym = all["even_asym" + name] = test::random_affine(rng, 64, 256, bits, group, ZeroKind::code);
      if (group == 32) {
        QTensor reordered = asym;
        reordered.column_order = test::storage_of(test::random_order(rng, 256));
        all["even_act_order" + name] = reordered;
      }
    }
  }
  return all;
}

Json config_of() {
  return Json::parse(R"({"model_type":"llama","hidden_size":64,"num_attention_heads":4,"num_key_value_heads":4,
                         "num_hidden_layers":1,"vocab_size":10,"intermediate_size":64,"rms_norm_eps":1e-5,
                         "max_position_embeddings":128,"tie_word_embeddings":false,"torch_dtype":"float16"})",
                     "test")
      .value();
}

// Names that every format has a place for: one layer for each candidate, in the order in which they are asked for.
std::string weight_name(const std::string& name) {
  static std::map<std::string, std::size_t> layers;
  const std::size_t layer = layers.emplace(name, layers.size()).first->second;
  return "model.layers." + std::to_string(layer) + ".mlp.up_proj.weight";
}

class RoundTrip : public ::testing::TestWithParam<const Dialect*> {};

const std::vector<float> kNorm = {1, 2, 3, 4};

std::unique_ptr<CheckpointWriter> begin(const Dialect& dialect, const std::filesystem::path& path) {
  auto writer = dialect.make_writer(path);
  if (!writer.ok()) {
    ADD_FAILURE() << writer.status().message();
    return nullptr;
  }
  std::mt19937 rng(7);
  EXPECT_TRUE((*writer)->set_config(config_of()).ok());
  EXPECT_TRUE((*writer)->add_matrix("model.embed_tokens.weight", test::random_dense(rng, 10, 64, DType::f16)).ok());
  EXPECT_TRUE((*writer)->add_array("model.norm.weight", Array::from_f32(kNorm, {4}).value()).ok());
  return std::move(writer).value();
}

void expect_written(const std::filesystem::path& path, const std::map<std::string, QTensor>& written) {
  auto model = open(path);
  ASSERT_TRUE(model.ok()) << model.status().message();
  for (const std::string& warning : (*model)->warnings()) ADD_FAILURE() << warning;
  for (const auto& [name, before] : written) {
    SCOPED_TRACE(name);
    auto after = (*model)->matrix(weight_name(name));
    ASSERT_TRUE(after.ok()) << after.status().message();
    ASSERT_EQ(after->n, before.n);
    ASSERT_EQ(after->k, before.k);
    std::vector<float> x(static_cast<std::size_t>(before.k)), y(x.size());
    for (int64_t r = 0; r < before.n; ++r) {
      before.dequantize_row(r, x.data());
      after->dequantize_row(r, y.data());
      ASSERT_EQ(x, y) << "row " << r;
    }
    // Scales that are codes stay codes.
    if (before.segments[0].scale_codes && (*model)->format() == "bitsandbytes") {
      ASSERT_TRUE(after->segments[0].scale_codes);
      EXPECT_EQ(after->segments[0].scale_codes->groups, before.segments[0].scale_codes->groups);
      EXPECT_EQ(after->segments[0].scale_codes->shift, before.segments[0].scale_codes->shift);
    }
  }
  auto array = (*model)->array("model.norm.weight");
  ASSERT_TRUE(array.ok());
  EXPECT_EQ(array->to_f32().value(), kNorm);
}

TEST_P(RoundTrip, WhatCanBeRepresentedComesBackUnchanged) {
  const Dialect& dialect = *GetParam();
  TempDir dir;
  std::size_t kept = 0, refused = 0;
  for (const unsigned seed : {1u, 2u, 3u}) {
    std::mt19937 rng(seed);
    std::map<std::string, QTensor> left = candidates(rng);
    for (auto it = left.begin(); it != left.end();) {
      const Status can = dialect.can_represent(weight_name(it->first), it->second);
      if (can.ok()) {
        ++it;
        continue;
      }
      EXPECT_EQ(can.code(), Code::unsupported);
      EXPECT_NE(can.message().find(weight_name(it->first)), std::string::npos) << can.message();
      ++refused;
      it = left.erase(it);
    }
    // A dialect may want all weights of a file alike: what does not go with the first goes into another file.
    while (!left.empty()) {
      const auto path = dir / ("model" + std::to_string(seed) + "." + std::to_string(left.size()));
      auto writer = begin(dialect, path);
      ASSERT_NE(writer, nullptr);
      std::map<std::string, QTensor> written;
      for (auto it = left.begin(); it != left.end();) {
        const Status status = writer->add_matrix(weight_name(it->first), it->second);
        if (status.ok()) {
          written.insert(*it);
          it = left.erase(it);
        } else {
          EXPECT_EQ(status.code(), Code::unsupported);
          EXPECT_NE(status.message().find(weight_name(it->first)), std::string::npos) << status.message();
          ++it;
        }
      }
      ASSERT_FALSE(written.empty()) << "nothing of " << left.size() << " was accepted, first " << left.begin()->first;
      auto hash = writer->finish();
      ASSERT_TRUE(hash.ok()) << hash.status().message();
      expect_written(path, written);
      kept += written.size();
    }
  }
  std::printf("%zu weights came back, %zu were refused\n", kept, refused);
  EXPECT_GT(kept, 0u);
}

TEST_P(RoundTrip, NothingIsLeftOfAnAbandonedExport) {
  TempDir dir;
  {
    auto writer = GetParam()->make_writer(dir / "model");
    ASSERT_TRUE(writer.ok());
    std::mt19937 rng(1);
    ASSERT_TRUE((*writer)->set_config(config_of()).ok());
    ASSERT_TRUE((*writer)->add_matrix(weight_name("q"), test::random_dense(rng, 16, 64, DType::f32)).ok());
    EXPECT_FALSE(std::filesystem::exists(dir / "model"));
  }
  EXPECT_EQ(test::entries(dir.path()), 0u);
}

std::vector<const Dialect*> writable() {
  std::vector<const Dialect*> all;
  for (const Dialect* dialect : dialects()) {
    if (dialect->can_write()) all.push_back(dialect);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Dialects, RoundTrip, ::testing::ValuesIn(writable()), [](const auto& info) {
  std::string name(info.param->id());
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace nbl::dialects
