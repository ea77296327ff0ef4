#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "dialects/dialects.h"
#include "support/shared.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

std::vector<float> values_of(const Checkpoint& model, const std::string& name) {
  auto array = model.array(name);
  if (!array.ok()) return {};
  auto values = array->to_f32();
  return values.ok() ? *values : std::vector<float>();
}

using test::TempDir;

template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(T));
}

// A model of one layer: dim 32, hidden 48, 4 heads, 2 kv heads, vocabulary 6, length 8. Values count up through each
// tensor.
constexpr int32_t kDim = 32, kHidden = 48, kHeads = 4, kKv = 2, kVocab = 6, kLength = 8, kHead = 8;

std::string counts(int32_t vocab) {
  std::string bytes;
  for (const int32_t v : {kDim, kHidden, 1, kHeads, kKv, vocab, kLength}) bytes += raw(v);
  return bytes;
}
std::string floats(int64_t count) {
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) bytes += raw(static_cast<float>(i));
  return bytes;
}

std::string version0(bool shared) {
  std::string file = counts(shared ? kVocab : -kVocab) + floats(kVocab * kDim) + floats(kDim);
  for (const int rows : {kHeads * kHead, kKv * kHead, kKv * kHead, kDim}) file += floats(rows * kDim);
  file += floats(kDim);
  for (int i = 0; i < 3; ++i) file += floats(kHidden * kDim);
  file += floats(kDim) + floats(kLength * kHead);
  return shared ? file : file + floats(kVocab * kDim);
}

// Row r of a half-split head lies at row 2i + j of the file.
int64_t file_row(int64_t r) {
  const int64_t within = r % kHead;
  return r / kHead * kHead + 2 * (within % (kHead / 2)) + within / (kHead / 2);
}

TEST(Llama2c, VersionZero) {
  TempDir dir;
  dir.write("tok6.bin", "tokens");
  auto model = open(dir.write("m.bin", version0(true)));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->format(), "llama2c");
  EXPECT_TRUE((*model)->config().find("tie_word_embeddings")->as_bool());
  EXPECT_EQ((*model)->config().get_int("intermediate_size").value(), kHidden);
  EXPECT_EQ((*model)->asset("tokenizer.bin").value(), "tokens");
  EXPECT_FALSE((*model)->has("lm_head.weight"));
  for (const char* name : {"q", "k"}) {
    const std::string full = std::string("model.layers.0.self_attn.") + name + "_proj.weight";
    const auto values = values_of(**model, full);
    ASSERT_FALSE(values.empty());
    for (int64_t r = 0; r < static_cast<int64_t>(values.size()) / kDim; ++r) {
      for (int64_t c = 0; c < kDim; ++c) {
        ASSERT_EQ(values[static_cast<std::size_t>(r * kDim + c)], static_cast<float>(file_row(r) * kDim + c));
      }
    }
  }
  const auto v = values_of(**model, "model.layers.0.self_attn.v_proj.weight");
  for (std::size_t i = 0; i < v.size(); ++i) ASSERT_EQ(v[i], static_cast<float>(i));
  EXPECT_EQ((*model)->matrix("model.layers.0.mlp.down_proj.weight")->k, kHidden);
  EXPECT_EQ(values_of(**model, "model.norm.weight").at(5), 5.0f);
  EXPECT_EQ((*model)->tensors().size(), 11u);

  auto separate = open(dir.write("m.bin", version0(false)));
  ASSERT_TRUE(separate.ok());
  EXPECT_TRUE((*separate)->has("lm_head.weight"));
  EXPECT_FALSE((*separate)->config().find("tie_word_embeddings")->as_bool(true));
}

std::string later_header(int32_t version, bool shared, int32_t group) {
  std::string head = raw(uint32_t{0x616b3432}) + raw(version) + counts(kVocab) + std::string(1, shared ? '\1' : '\0');
  if (version == 2) head += raw(group);
  head.resize(256);
  return head;
}

TEST(Llama2c, VersionOne) {
  TempDir dir;
  std::string file = later_header(1, true, 0) + floats(kDim) + floats(kDim) + floats(kDim) + floats(kVocab * kDim);
  for (const int rows : {kHeads * kHead, kKv * kHead, kKv * kHead, kDim}) file += floats(rows * kDim);
  for (int i = 0; i < 3; ++i) file += floats(kHidden * kDim);
  auto model = open(dir.write("m", file));
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ(values_of(**model, "model.layers.0.self_attn.q_proj.weight").at(32), static_cast<float>(2 * kDim));
  EXPECT_TRUE((*model)->asset_names().empty());
}

TEST(Llama2c, VersionTwoKeepsItsCodes) {
  TempDir dir;
  const auto quantized = [](int64_t count, int64_t group) {
    std::string bytes;
    for (int64_t i = 0; i < count; ++i) bytes += static_cast<char>(static_cast<int8_t>(i % 255 - 127));
    for (int64_t g = 0; g < count / group; ++g) bytes += raw(0.01f * static_cast<float>(g + 1));
    return bytes;
  };
  for (const int32_t group : {16, 32, 8}) {
    std::string file =
        later_header(2, true, group) + floats(kDim) + floats(kDim) + floats(kDim) + quantized(kVocab * kDim, group);
    for (const int rows : {kHeads * kHead, kKv * kHead, kKv * kHead, kDim}) file += quantized(rows * kDim, group);
    for (int i = 0; i < 3; ++i) file += quantized(kHidden * kDim, group);
    auto model = open(dir.write("m", file));
    ASSERT_TRUE(model.ok()) << model.status().message();
    for (const char* name : {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight",
                             "model.layers.0.mlp.up_proj.weight"}) {
      SCOPED_TRACE(name);
      auto tensor = (*model)->matrix(name);
      ASSERT_TRUE(tensor.ok()) << tensor.status().message();
      const bool fits = group % 16 == 0 && tensor->k % group == 0;
      EXPECT_EQ(tensor->segments[0].encoding == Encoding::affine, fits);
      std::vector<float> row(static_cast<std::size_t>(tensor->k));
      for (int64_t r = 0; r < tensor->n; ++r) {
        tensor->dequantize_row(r, row.data());
        const bool q = std::strstr(name, "q_proj") != nullptr;
        for (int64_t c = 0; c < tensor->k; ++c) {
          const int64_t i = (q ? file_row(r) : r) * tensor->k + c;
          const float scale = 0.01f * static_cast<float>(i / group + 1);
          ASSERT_EQ(row[static_cast<std::size_t>(c)], scale * static_cast<float>(i % 255 - 127));
        }
      }
    }
  }
}

TEST(Llama2c, WrongFiles) {
  TempDir dir;
  const std::string good = version0(true);
  const auto refused = [&](const std::string& content, Code code) {
    const Status status = open(dir.write("m.bin", content)).status();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find("m.bin"), std::string::npos);
  };
  refused(good.substr(0, good.size() - 4), Code::corrupt);
  refused(good.substr(0, good.size() / 2), Code::corrupt);
  refused(good + "1234", Code::unsupported);
  for (std::size_t field = 0; field < 7; ++field) {
    for (const int32_t value : {0, -1, 7, 1 << 30, INT32_MIN, INT32_MAX}) {
      std::string changed = good;
      std::memcpy(changed.data() + 4 * field, &value, 4);
      EXPECT_FALSE(open(dir.write("m.bin", changed)).ok()) << field << " " << value;
    }
  }
  refused(later_header(1, true, 0), Code::corrupt);
  refused(later_header(3, true, 0), Code::unsupported);
  refused(later_header(2, true, 0), Code::corrupt);
  refused(later_header(2, true, -5), Code::corrupt);
  refused(later_header(1, true, 0).substr(0, 100), Code::corrupt);
}

TEST(Llama2c, Stories260k) {
  const auto path = test::shared_path("models/stories260k/stories260K.bin");
  NBL_NEED_SHARED(path);
  auto model = open(path);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->config().get_int("vocab_size").value(), 512);
  EXPECT_TRUE((*model)->has_asset("tokenizer.bin"));
  for (const TensorInfo& info : (*model)->tensors()) {
    const std::vector<float> values = values_of(**model, info.name);
    ASSERT_FALSE(values.empty()) << info.name;
    for (const float value : values) ASSERT_TRUE(std::isfinite(value)) << info.name;
  }
}

}  // namespace
}  // namespace nbl::dialects
