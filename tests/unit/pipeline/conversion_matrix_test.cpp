// The conversion matrix of docs/formats.md, made by trying: every source form is written, converted into every format and
// verified tensor by tensor. The test fails when the page says something else; with NIBBLE_UPDATE_DOCS set it rewrites it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "dialects/dialects.h"
#include "dialects/gguf_blocks.h"
#include "io/container.h"
#include "pipeline/compare_tensors.h"
#include "pipeline/convert.h"
#include "support/random_qtensor.h"
#include "support/temp_dir.h"

namespace nbl::pipeline {
namespace {

using dialects::Dialect;
using test::TempDir;

constexpr int64_t kRows = 32, kColumns = 256;
constexpr const char* kBegin = "<!-- conversions: begin -->\n";
constexpr const char* kEnd = "<!-- conversions: end -->\n";

struct Source {
  std::string format, name;
  QTensor weight;
};

Json config() {
  return Json::parse(R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":256,
    "num_attention_heads":4,"num_key_value_heads":4,"num_hidden_layers":1,"vocab_size":16,"intermediate_size":32,
    "rms_norm_eps":1e-5,"max_position_embeddings":128,"rope_theta":10000.0,"tie_word_embeddings":true})",
                     "test")
      .value();
}

constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";
constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";

void write_source(const std::filesystem::path& path, std::string_view format, const QTensor& weight) {
  std::mt19937 rng(11);
  auto writer = dialects::create(format, path);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  ASSERT_TRUE((*writer)->set_config(config()).ok());
  ASSERT_TRUE(
      (*writer)->add_matrix("model.embed_tokens.weight", test::random_dense(rng, 16, kColumns, DType::bf16)).ok());
  for (const char* name : {kQuery, kUp}) {
    const Status status = (*writer)->add_matrix(name, weight);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  ASSERT_TRUE((*writer)->add_array("model.norm.weight", Array::from_f32({1, 2}, {2}).value()).ok());
  auto hash = (*writer)->finish();
  ASSERT_TRUE(hash.ok()) << hash.status().message();
}

QTensor reordered(std::mt19937& rng) {
  QTensor tensor = test::random_affine(rng, kRows, kColumns, 4, 128, ZeroKind::code);
  tensor.column_order = test::storage_of(test::random_order(rng, kColumns));
  return tensor;
}

// No zero point is 0, so that version 1 of GPTQ can say it too.
QTensor asymmetric(std::mt19937& rng, int bits, int64_t group) {
  for (;;) {
    QTensor tensor = test::random_affine(rng, kRows, kColumns, bits, group, ZeroKind::code);
    const Segment& s = tensor.segments[0];
    std::vector<std::byte> zeros(s.zeros.bytes().begin(), s.zeros.bytes().end());
    for (std::byte& byte : zeros) byte |= bits == 4 ? std::byte{0x11} : bits == 2 ? std::byte{0x55} : std::byte{1};
    tensor.segments[0].zeros = Storage::copy(zeros).value();
    return tensor;
  }
}

std::vector<Source> sources() {
  std::mt19937 rng(20);
  std::vector<Source> all;
  const auto symmetric = [&](int bits, int64_t group) {
    return test::random_affine(rng, kRows, kColumns, bits, group, ZeroKind::symmetric);
  };
  for (const DType type : {DType::bf16, DType::f16, DType::f32}) {
    all.push_back({"huggingface", dtype_name(type), test::random_dense(rng, kRows, kColumns, type)});
  }
  all.push_back({"native", "dense e4m3", test::random_dense(rng, kRows, kColumns, DType::e4m3)});
  all.push_back({"native", "affine, input scale", symmetric(4, 64)});
  std::vector<float> scale(kColumns, 0.75f);
  all.back().weight.input_scale = test::storage_of(scale);
  all.push_back({"native", "affine, outliers", symmetric(4, 64)});
  std::vector<int32_t> offsets(kRows + 1, 0);
  offsets.back() = 1;
  all.back().weight.outliers = Outliers{test::storage_of(offsets), test::storage_of(std::vector<int32_t>{3}),
                                        test::storage_of(std::vector<uint16_t>{0x3c00}), 1};
  all.push_back({"native", "affine 4 bit real zeros (HQQ)",
                 test::random_affine(rng, kRows, kColumns, 4, 64, ZeroKind::real)});
  all.push_back({"gptq", "4 bit sym g32", symmetric(4, 32)});
  all.push_back({"gptq", "4 bit asym g128", asymmetric(rng, 4, 128)});
  all.push_back({"gptq", "2 bit asym g64", asymmetric(rng, 2, 64)});
  all.push_back({"gptq", "3 bit sym g32", symmetric(3, 32)});
  all.push_back({"gptq", "8 bit sym row", symmetric(8, 0)});
  all.push_back({"gptq_v2", "4 bit asym g64, zeros of 0",
                 test::random_affine(rng, kRows, kColumns, 4, 64, ZeroKind::code)});
  all.push_back({"gptq_v2", "4 bit act-order", reordered(rng)});
  all.push_back({"gptq_p", "6 bit sym g32", symmetric(6, 32)});
  all.push_back({"awq", "4 bit g64", test::random_affine(rng, kRows, kColumns, 4, 64, ZeroKind::code)});
  all.push_back({"bitsandbytes", "nf4 b64", test::random_nf4(rng, kRows, kColumns, 64)});
  all.push_back({"bitsandbytes", "nf4 b64, nested", test::nested(rng, test::random_nf4(rng, kRows, kColumns, 64), 256)});
  all.push_back({"compressed-tensors", "4 bit sym g128", symmetric(4, 128)});
  all.push_back({"compressed-tensors", "8 bit sym channel", symmetric(8, 0)});
  all.push_back({"compressed-tensors", "5 bit asym g64", test::random_affine(rng, kRows, kColumns, 5, 64, ZeroKind::code)});
  all.push_back({"compressed-tensors-int", "8 bit sym g64", symmetric(8, 64)});
  all.push_back({"compressed-tensors-int", "8 bit asym channel", test::random_affine(rng, kRows, kColumns, 8, 0, ZeroKind::code)});
  for (const int64_t group : {int64_t{0}, int64_t{128}}) {
    std::vector<std::byte> values(kRows * kColumns);
    for (auto& v : values) v = static_cast<std::byte>(rng() % 0x78);
    std::vector<float> scales(static_cast<std::size_t>(kRows * (group == 0 ? 1 : kColumns / group)));
    for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = 0.001f * static_cast<float>(1 + (group == 0 ? i : i % 2));
    auto segment = pack_scaled_dense(kRows, kColumns, DType::e4m3, values.data(), group, scales, DType::f32);
    EXPECT_TRUE(segment.ok());
    all.push_back({"compressed-tensors", group == 0 ? "FP8, a scale a row" : "FP8, 128 x 128 blocks",
                   make_qtensor(kRows, kColumns, std::move(segment).value())});
  }
  // Random blocks of each type of GGUF, read as the file has them.
  auto blocks = io::open_gguf(std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/gguf/blocks.gguf");
  EXPECT_TRUE(blocks.ok());
  for (const io::RawTensor& raw : (*blocks)->tensors()) {
    if (dialects::gguf_block(raw.type) == nullptr) continue;
    auto tensor = dialects::gguf_matrix(raw, {});
    EXPECT_TRUE(tensor.ok());
    // Their three rows of 512 as 32 rows of 256, cut out of the blocks again and again.
    io::RawTensor cut = raw;
    std::string data;
    const std::size_t half = raw.bytes.size() / 6;
    for (int64_t row = 0; row < kRows; ++row) {
      data.append(reinterpret_cast<const char*>(raw.bytes.data()) + half * static_cast<std::size_t>(row % 6), half);
    }
    cut.shape = {kRows, kColumns};
    cut.bytes = Storage::copy(std::as_bytes(std::span(data.data(), data.size()))).value();
    all.push_back({"gguf", raw.type, dialects::gguf_matrix(cut, {}).value()});
  }
  return all;
}

// What one cell of the table says.
std::string cell(const Checkpoint& input, const std::filesystem::path& output, const Dialect& target, Team& team) {
  ConvertOptions options;
  options.format = target.id();
  options.verify = true;
  auto report = convert(input, output, options, team, {});
  if (!report.ok()) {
    ADD_FAILURE() << report.status().message();
    return "error";
  }
  if (!report->written) {
    EXPECT_FALSE(report->refused.empty());
    for (const std::string& each : report->refused) {
      const bool named = each.find(kQuery) != std::string::npos || each.find(kUp) != std::string::npos;
      EXPECT_TRUE(named || each.find("no weight of this model is quantized") != std::string::npos) << each;
    }
    EXPECT_FALSE(std::filesystem::exists(output));
    return "–";
  }
  EXPECT_TRUE(report->lossless);
  EXPECT_EQ(report->max_abs_difference, 0);
  EXPECT_EQ(report->tensors_checked, report->tensors);
  auto written = dialects::open(output);
  EXPECT_TRUE(written.ok());
  std::string how;
  for (const TensorInfo& info : (*written)->tensors()) {
    if (info.name != kUp) continue;
    how = (*written)->matrix(kUp)->description();
    // A block type's name says more.
    const std::size_t paren = info.encoding.rfind('(');
    if (target.id() == "gguf" && paren != std::string::npos) {
      return info.encoding.substr(paren + 1, info.encoding.size() - paren - 2);
    }
  }
  if (how.starts_with("dense ")) return "values, " + how.substr(6);
  return report->codes_checked > 0 ? "codes" : "recoded";
}

std::string matrix_text() {
  std::vector<const Dialect*> targets;
  for (const Dialect* dialect : dialects::dialects()) {
    if (dialect->can_write()) targets.push_back(dialect);
  }
  std::string text = "| from | weight |", rule = "|---|---|";
  for (const Dialect* target : targets) {
    text += " " + std::string(target->id()) + " |";
    rule += "---|";
  }
  text += "\n" + rule + "\n";
  TempDir dir;
  Team team(1);
  int pairs = 0;
  for (const Source& source : sources()) {
    SCOPED_TRACE(source.format + " " + source.name);
    const bool writable = dialects::find_dialect(source.format).value()->can_represent(kUp, source.weight).ok();
    const auto path = dir / ("from" + std::to_string(pairs));
    write_source(path, writable ? source.format : "native", source.weight);
    auto input = dialects::open(path);
    if (!input.ok()) {
      ADD_FAILURE() << input.status().message();
      continue;
    }
    text += "| " + source.format + " | " + source.name + " |";
    for (const Dialect* target : targets) {
      const auto output = dir / ("to" + std::to_string(pairs++));
      text += " " + cell(**input, output, *target, team) + " |";
      std::filesystem::remove_all(output);
    }
    text += "\n";
    std::filesystem::remove_all(path);
  }
  return text;
}

TEST(ConversionMatrix, IsWhatThePageSays) {
  const auto page = std::filesystem::path(NIBBLE_SOURCE_DIR) / "docs" / "formats.md";
  std::ifstream file(page);
  ASSERT_TRUE(file.good());
  std::stringstream content;
  content << file.rdbuf();
  std::string old = content.str();
  const std::size_t begin = old.find(kBegin), end = old.find(kEnd);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  const std::string made = old.substr(0, begin) + kBegin + "\n" + matrix_text() + "\n" + old.substr(end);
  if (std::getenv("NIBBLE_UPDATE_DOCS") != nullptr) {
    std::ofstream(page) << made;
    return;
  }
  EXPECT_EQ(made, old) << "run this test with NIBBLE_UPDATE_DOCS=1 to rewrite docs/formats.md";
}

}  // namespace
}  // namespace nbl::pipeline
