#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "base/half.h"
#include "dialects/common.h"
#include "dialects/dialects.h"
#include "io/container.h"
#include "support/random_qtensor.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

using test::TempDir;

Json small_config() {
  Json config = Json::object();
  config.set("model_type", "llama");
  config.set("hidden_size", 64);
  return config;
}

TEST(Native, HoldsEveryKindOfTensor) {
  TempDir dir;
  std::mt19937 rng(42);
  const auto tensors = test::random_qtensors(rng);
  const std::string tokenizer(50'000, 't');
  auto writer = create("native", dir / "model.nbl");
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  ASSERT_TRUE((*writer)->set_config(small_config()).ok());
  for (const auto& [name, tensor] : tensors) {
    const Status status = (*writer)->add_matrix(name, tensor);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  const Array norm = Array::from_f32({1, 2, 3, 4, 5}, {5}).value();
  ASSERT_TRUE((*writer)->add_array("model.norm.weight", norm).ok());
  ASSERT_TRUE((*writer)->add_asset("tokenizer.json", tokenizer).ok());
  ASSERT_TRUE((*writer)->add_asset("chat_template.jinja", "{{ x }}").ok());
  Json manifest = Json::object();
  manifest.set("recipe", "rtn:bits=4");
  ASSERT_TRUE((*writer)->set_manifest(manifest).ok());
  EXPECT_EQ(test::entries(dir.path()), 0u);
  auto hash = (*writer)->finish();
  ASSERT_TRUE(hash.ok()) << hash.status().message();
  EXPECT_EQ(hash->size(), 64u);

  auto opened = open(dir / "model.nbl");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Checkpoint& model = **opened;
  EXPECT_EQ(model.format(), "native");
  EXPECT_EQ(model.config(), small_config());
  EXPECT_EQ(model.asset("tokenizer.json").value(), tokenizer);
  EXPECT_EQ(model.asset("chat_template.jinja").value(), "{{ x }}");
  EXPECT_FALSE(model.has_asset("config.json"));
  EXPECT_LT(model.file_bytes(), 1'000'000);
  EXPECT_TRUE(model.verify().value().empty());
  EXPECT_EQ(model.tensors().size(), tensors.size() + 1);
  EXPECT_EQ(model.array("model.norm.weight")->to_f32().value(), norm.to_f32().value());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    auto read = model.matrix(name);
    ASSERT_TRUE(read.ok()) << read.status().message();
    ASSERT_TRUE(read->validate(name).ok());
    test::expect_same(tensor, *read);
    auto array = model.array(name);
    ASSERT_TRUE(array.ok());
    std::vector<float> row(static_cast<std::size_t>(tensor.k)), all = array->to_f32().value();
    for (int64_t r = 0; r < tensor.n; ++r) {
      tensor.dequantize_row(r, row.data());
      ASSERT_TRUE(std::equal(row.begin(), row.end(), all.begin() + r * tensor.k));
    }
  }
}

TEST(Native, RunsInPlace) {
  TempDir dir;
  std::mt19937 rng(1);
  auto writer = create("native", dir / "m");
  ASSERT_TRUE((*writer)->set_config(small_config()).ok());
  ASSERT_TRUE((*writer)->add_matrix("w", test::random_affine(rng, 32, 128, 4, 64, ZeroKind::code)).ok());
  ASSERT_TRUE((*writer)->finish().ok());
  auto mapped = MappedFile::open(dir / "m");
  ASSERT_TRUE(mapped.ok());
  auto model = open(dir / "m");
  ASSERT_TRUE(model.ok());
  // Asking twice gives the same memory, whole lines, in a mapping: no copy was made.
  const QTensor a = (*model)->matrix("w").value(), b = (*model)->matrix("w").value();
  EXPECT_EQ(a.segments[0].codes.data(), b.segments[0].codes.data());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.segments[0].codes.data()) % 64, 0u);
}

TEST(Native, TheOrderOfWritingDoesNotMatter) {
  TempDir dir;
  std::mt19937 rng(2);
  const QTensor a = test::random_affine(rng, 20, 100, 3, 16, ZeroKind::real),
                b = test::random_affine(rng, 9, 64, 8, 0, ZeroKind::symmetric);
  const Array norm = Array::from_f32({1, 2, 3}, {3}).value();
  std::string hashes[2];
  for (const int turn : {0, 1}) {
    auto writer = create("native", dir / "m");
    ASSERT_TRUE((*writer)->set_config(small_config()).ok());
    if (turn == 0) {
      ASSERT_TRUE((*writer)->add_array("norm", norm).ok());
      ASSERT_TRUE((*writer)->add_asset("z", "1").ok());
    }
    ASSERT_TRUE((*writer)->add_matrix(turn == 0 ? "a" : "b", turn == 0 ? a : b).ok());
    ASSERT_TRUE((*writer)->add_matrix(turn == 0 ? "b" : "a", turn == 0 ? b : a).ok());
    if (turn == 1) {
      ASSERT_TRUE((*writer)->add_asset("z", "1").ok());
      ASSERT_TRUE((*writer)->add_array("norm", norm).ok());
    }
    hashes[turn] = (*writer)->finish().value();
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

TEST(Native, WriterRefusesMistakes) {
  TempDir dir;
  std::mt19937 rng(3);
  const QTensor t = test::random_affine(rng, 16, 64, 4, 0, ZeroKind::symmetric);
  {
    auto writer = create("native", dir / "m");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->add_matrix("a", t).ok());
    EXPECT_FALSE((*writer)->add_matrix("a", t).ok());
    EXPECT_FALSE((*writer)->add_array("a", Array::from_f32({1}, {1}).value()).ok());
    EXPECT_FALSE((*writer)->add_asset("../x", "1").ok());
    EXPECT_FALSE((*writer)->add_asset("config.json", "1").ok());
    QTensor broken = t;
    broken.k = 65;
    EXPECT_FALSE((*writer)->add_matrix("b", broken).ok());
    EXPECT_FALSE((*writer)->finish().ok());  // no config
  }
  EXPECT_EQ(test::entries(dir.path()), 0u);
  EXPECT_FALSE(create("native", dir / "none" / "m").ok());
  EXPECT_EQ(create("nonsense", dir / "m").status().code(), Code::not_found);
}

// A good file, and the same file changed in one place.
class NativeDamage : public ::testing::Test {
 protected:
  void SetUp() override {
    std::mt19937 rng(4);
    auto writer = create("native", dir_ / "m");
    ASSERT_TRUE((*writer)->set_config(small_config()).ok());
    QTensor t = test::random_affine(rng, 16, 64, 4, 32, ZeroKind::code);
    std::vector<int32_t> order(64);
    for (int32_t i = 0; i < 64; ++i) order[static_cast<std::size_t>(i)] = 63 - i;
    t.column_order = Storage::copy(std::as_bytes(std::span(order))).value();
    ASSERT_TRUE((*writer)->add_matrix("w", t).ok());
    ASSERT_TRUE((*writer)->add_array("norm", Array::from_f32({1, 2}, {2}).value()).ok());
    ASSERT_TRUE((*writer)->add_asset("tokenizer.json", std::string(5000, 'x')).ok());
    ASSERT_TRUE((*writer)->finish().ok());
    good_ = test::read_all(dir_ / "m");
  }
  // Replaces text in the header by text of the same length.
  std::string with(std::string_view from, std::string_view to) const {
    std::string changed = good_;
    const std::size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    return at == std::string::npos ? changed : changed.replace(at, to.size(), to);
  }
  void expect_refused(const std::string& content, const char* words) {
    const auto path = dir_.write("bad", content);
    auto model = open(path);
    ASSERT_FALSE(model.ok()) << words;
    EXPECT_NE(model.status().message().find(words), std::string::npos) << model.status().message();
    EXPECT_NE(model.status().message().find("bad"), std::string::npos) << model.status().message();
  }
  TempDir dir_;
  std::string good_;
};

TEST_F(NativeDamage, EveryLieInTheHeaderIsFound) {
  expect_refused(with(R"("format_version":"1")", R"("format_version":"9")"), "format version '9'");
  expect_refused(with(R"(\"shape\":[16,64])", R"(\"shape\":[16,96])"), "tensor w");
  expect_refused(with(R"(\"shape\":[16,64])", R"(\"shape\":[99,64])"), "were expected");
  expect_refused(with(R"(\"shape\":[16,64])", R"(\"shape\":[-1,64])"), "impossible shape");
  expect_refused(with(R"(\"shape\":[16,64])", R"(\"shape\":[16, 0])"), "impossible shape");
  expect_refused(with(R"(\"shape\":[16,64])", R"(\"shape\":\"6,4\")"), "tensor w");
  expect_refused(with(R"(\"columns\":64)", R"(\"columns\":99)"), "99 columns");
  expect_refused(with(R"(\"columns\":64)", R"(\"columns\":32)"), "cover 32 columns of 64");
  expect_refused(with(R"(\"bits\":4)", R"(\"bits\":8)"), "were expected");
  expect_refused(with(R"(\"bits\":4)", R"(\"bits\":0)"), "0 bits");
  expect_refused(with(R"(\"group\":32)", R"(\"group\":-1)"), "groups of -1");
  expect_refused(with(R"(\"group\":32)", R"(\"group\":24)"), "were expected");
  expect_refused(with(R"(\"scale\":\"f16\")", R"(\"scale\":\"i99\")"), "unknown type");
  expect_refused(with(R"(\"zero\":\"code\")", R"(\"zero\":\"c0de\")"), "unknown kind of zero");
  expect_refused(with(R"(\"encoding\":\"affine\")", R"(\"encoding\":\"asfine\")"), "unknown encoding");
  expect_refused(with(R"(\"encoding\":)", R"(\"enc0ding\":)"), "encoding");
  expect_refused(with(R"("w.0.codes":)", R"("w.0.c0des":)"), ".0.codes is missing");
  expect_refused(with(R"("w.column_order":)", R"("w.column_0rder":)"), ".column_order is missing");
  expect_refused(with(R"("nibble.text.config.json":)", R"("nibble.text.c0nfig.json":)"), "bytes are missing");
  expect_refused(with(R"("text:config.json":)", R"("text:c0nfig.json":)"), "bytes are missing");
  expect_refused(good_.substr(0, good_.size() - 1), "truncated");
  expect_refused(good_.substr(0, 500), "truncated");
  expect_refused(good_ + "x", "which has");
}

TEST_F(NativeDamage, EveryOtherNumberIsRefusedOrReadsSafely) {
  int cases = 0, refused = 0;
  const auto try_file = [&](const std::string& content) {
    ++cases;
    auto model = open(dir_.write("bad", content));
    if (!model.ok()) {
      ++refused;
      EXPECT_NE(model.status().message().find("bad"), std::string::npos);
      return;
    }
    auto tensor = (*model)->matrix("w");
    if (!tensor.ok() || !tensor->validate("w").ok()) {
      ++refused;
      return;
    }
    std::vector<float> row(static_cast<std::size_t>(tensor->k));
    for (int64_t r = 0; r < tensor->n; ++r) tensor->dequantize_row(r, row.data());
  };
  for (char digit = '0'; digit <= '9'; ++digit) {
    try_file(with(R"(\"bits\":4)", std::string(R"(\"bits\":)") + digit));
    for (const char first : {'0', '1', '3', '6', '9'}) {
      const std::string number{first, digit};
      try_file(with(R"(\"group\":32)", R"(\"group\":)" + number));
      try_file(with(R"(\"columns\":64)", R"(\"columns\":)" + number));
      try_file(with(R"(\"shape\":[16,64])", R"(\"shape\":[)" + number + ",64]"));
      try_file(with(R"(\"shape\":[16,64])", R"(\"shape\":[16,)" + number + "]"));
    }
  }
  EXPECT_GT(cases, 200);
  EXPECT_GT(refused, cases / 2);
}

TEST_F(NativeDamage, ABadPermutationIsFoundAtOpening) {
  auto container = io::open_safetensors(dir_ / "m");
  ASSERT_TRUE(container.ok());
  const auto mapped = (*container)->find("w.column_order")->bytes;
  const std::string bytes(reinterpret_cast<const char*>(mapped.data()), mapped.size());
  const std::size_t at = good_.find(bytes);
  ASSERT_NE(at, std::string::npos);
  std::string changed = good_;
  changed[at] = 5;
  expect_refused(changed, "names column 5 twice");
  changed[at + 3] = 1;
  expect_refused(changed, "outside 0 to 63");
}

TEST_F(NativeDamage, VerifyFindsEveryChangedByte) {
  // One bit in each stored tensor, and one in the descriptors.
  auto container = io::open_safetensors(dir_ / "m");
  ASSERT_TRUE(container.ok());
  int checked = 0;
  for (const io::RawTensor& raw : (*container)->tensors()) {
    if (raw.name.find("column_order") != std::string::npos || raw.name.find("nibble.text") != std::string::npos)
      continue;
    const std::string bytes(reinterpret_cast<const char*>(raw.bytes.data()), raw.bytes.size());
    std::string changed = good_;
    const std::size_t at = changed.find(bytes);
    ASSERT_NE(at, std::string::npos);
    changed[at] = static_cast<char>(changed[at] ^ 1);
    auto model = open(dir_.write("bad", changed));
    ASSERT_TRUE(model.ok()) << model.status().message();
    const auto differences = (*model)->verify().value();
    ASSERT_EQ(differences.size(), 1u) << raw.name;
    EXPECT_NE(differences[0].find(raw.name), std::string::npos) << differences[0];
    ++checked;
  }
  EXPECT_EQ(checked, 4);
}

TEST_F(NativeDamage, ADamagedTextIsFound) {
  auto container = io::open_safetensors(dir_ / "m");
  const auto raw = (*container)->find("nibble.text.tokenizer.json")->bytes;
  const std::string bytes(reinterpret_cast<const char*>(raw.data()), raw.size());
  std::string changed = good_;
  changed[changed.find(bytes) + bytes.size() / 2] ^= 0x55;
  auto model = open(dir_.write("bad", changed));
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto text = (*model)->asset("tokenizer.json");
  if (text.ok()) {
    EXPECT_FALSE((*model)->verify().value().empty());
  } else {
    EXPECT_EQ(text.status().code(), Code::corrupt);
  }
  // A text that claims to be larger than it is.
  auto larger = open(dir_.write("bad", with(R"({\"bytes\":5000)", R"({\"bytes\":9000)")));
  ASSERT_TRUE(larger.ok());
  EXPECT_EQ((*larger)->asset("tokenizer.json").status().code(), Code::corrupt);
}

TEST(Dialects, WhatIsNoModelIsNamed) {
  TempDir dir;
  EXPECT_EQ(open(dir / "none").status().code(), Code::not_found);
  EXPECT_NE(open(dir.write("empty", "")).status().message().find("empty"), std::string::npos);
  EXPECT_EQ(open(dir.write("text", "hello")).status().code(), Code::unsupported);
  EXPECT_EQ(open(dir.path()).status().code(), Code::unsupported);
}

}  // namespace
}  // namespace nbl::dialects
