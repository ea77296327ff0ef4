#include <gtest/gtest.h>

#include <functional>

#include "io/container.h"
#include "io/gguf_types.h"
#include "support/gguf_file.h"
#include "support/temp_dir.h"

namespace nbl::io {
namespace {

using test::GgufFile;
using test::TempDir;

GgufFile small() {
  GgufFile file;
  file.text("general.architecture", "llama");
  file.u32("n", 5);
  file.tensor("a", {2, 8}, std::vector<float>(16, 1.0f));
  file.tensor_of("b", {1, 64}, 2, std::string(36, 'b'));
  return file;
}

TEST(GgufFile, ReadsKeysAndTensors) {
  TempDir dir;
  GgufFile file = small();
  file.entry("minus", 5, GgufFile::raw<int32_t>(-3));
  file.entry("tiny", 0, GgufFile::raw<uint8_t>(200));
  file.entry("signed", 1, GgufFile::raw<int8_t>(-100));
  file.entry("short", 2, GgufFile::raw<uint16_t>(60000));
  file.entry("yes", 7, GgufFile::raw<uint8_t>(1));
  file.entry("wide", 10, GgufFile::raw<uint64_t>(1ull << 40));
  file.entry("wider", 10, GgufFile::raw<uint64_t>(~0ull));
  file.entry("double", 12, GgufFile::raw(0.1));
  file.f32("float", 0.5f);
  file.texts("words", {"x", "caf\xc3\xa9", "bad\xff"});
  file.entry(
      "numbers", 9,
      GgufFile::raw<uint32_t>(5) + GgufFile::raw<uint64_t>(2) + GgufFile::raw<int32_t>(7) + GgufFile::raw<int32_t>(-7));
  const auto pair = [](int32_t a, int32_t b) {
    return GgufFile::raw<uint32_t>(5) + GgufFile::raw<uint64_t>(2) + GgufFile::raw(a) + GgufFile::raw(b);
  };
  file.entry("nested", 9, GgufFile::raw<uint32_t>(9) + GgufFile::raw<uint64_t>(2) + pair(1, 2) + pair(3, 4));
  file.entry("empty", 9, GgufFile::raw<uint32_t>(8) + GgufFile::raw<uint64_t>(0));
  auto container = open_gguf(dir.write("m.gguf", file.bytes()));
  ASSERT_TRUE(container.ok()) << container.status().message();
  const Json& meta = (*container)->metadata();
  EXPECT_EQ(meta.find("n")->as_int(), 5);
  EXPECT_EQ(meta.find("minus")->as_int(), -3);
  EXPECT_EQ(meta.find("tiny")->as_int(), 200);
  EXPECT_EQ(meta.find("signed")->as_int(), -100);
  EXPECT_EQ(meta.find("short")->as_int(), 60000);
  EXPECT_TRUE(meta.find("yes")->as_bool());
  EXPECT_EQ(meta.find("wide")->as_int(), 1ll << 40);
  EXPECT_EQ(meta.find("wider")->as_double(), 18446744073709551616.0);
  EXPECT_EQ(meta.find("double")->as_double(), 0.1);
  EXPECT_EQ(meta.find("float")->as_double(), 0.5);
  EXPECT_EQ(meta.find("words")->elements()[1].as_string(), "caf\xc3\xa9");
  EXPECT_EQ(meta.find("words")->elements()[2].as_string(), "bad\xef\xbf\xbd");
  EXPECT_EQ(meta.find("numbers")->elements()[1].as_int(), -7);
  EXPECT_EQ(meta.find("nested")->dump(), "[[1,2],[3,4]]");
  EXPECT_EQ(meta.find("empty")->size(), 0u);
  const RawTensor* b = (*container)->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->type, "Q4_0");
  EXPECT_EQ(b->shape, (Shape{1, 64}));
  EXPECT_EQ(b->bytes.bytes()[35], std::byte{'b'});
  EXPECT_EQ((*container)->find("a")->shape, (Shape{2, 8}));
  EXPECT_EQ((*container)->find("c"), nullptr);
}

TEST(GgufFile, VersionTwoAndOtherAlignments) {
  TempDir dir;
  GgufFile file;
  file.version = 2;
  file.alignment = 128;
  file.u32("general.alignment", 128);
  file.tensor("a", {3}, {1, 2, 3});
  file.tensor("b", {1}, {4});
  auto container = open_gguf(dir.write("m", file.bytes()));
  ASSERT_TRUE(container.ok()) << container.status().message();
  EXPECT_EQ(to_array(*(*container)->find("b"))->to_f32().value(), std::vector<float>{4});
  // The padding of the last tensor may be missing.
  const std::string bytes = file.bytes();
  EXPECT_TRUE(open_gguf(dir.write("m", bytes.substr(0, bytes.size() - 124))).ok());
  EXPECT_FALSE(open_gguf(dir.write("m", bytes.substr(0, bytes.size() - 125))).ok());
}

TEST(GgufFile, EveryMalformedFileIsRefusedWithItsReason) {
  const auto raw32 = [](uint32_t v) { return GgufFile::raw(v); };
  const auto raw64 = [](uint64_t v) { return GgufFile::raw(v); };
  struct Case {
    const char* name;
    std::function<void(GgufFile&)> change;
    const char* words;
  };
  const auto info = [&](const std::string& name, const std::string& rest) {
    return [=](GgufFile& f) { f.info(name, rest, ""); };
  };
  const Case cases[] = {
      {"magic", [](GgufFile& f) { f.magic = "GGML"; }, "does not begin"},
      {"lower-case magic", [](GgufFile& f) { f.magic = "gguf"; }, "does not begin"},
      {"version 0", [](GgufFile& f) { f.version = 0; }, "version 0"},
      {"version 1", [](GgufFile& f) { f.version = 1; }, "version 1"},
      {"version 4", [](GgufFile& f) { f.version = 4; }, "version 4"},
      {"big-endian", [](GgufFile& f) { f.version = 3u << 24; }, "big-endian"},
      {"all tensors", [](GgufFile& f) { f.extra_tensors = -3; }, "tensors are stated"},
      {"many tensors", [](GgufFile& f) { f.extra_tensors = 1 << 20; }, "tensors are stated"},
      {"one tensor more", [](GgufFile& f) { f.extra_tensors = 1; }, "m.gguf"},
      {"one tensor fewer, data shifts", [](GgufFile& f) { f.extra_tensors = 10; }, "m.gguf"},
      {"negative keys", [](GgufFile& f) { f.extra_keys = -3; }, "metadata entries are stated"},
      {"many keys", [](GgufFile& f) { f.extra_keys = 1 << 20; }, "metadata entries are stated"},
      {"one key more", [](GgufFile& f) { f.extra_keys = 1; }, "m.gguf"},
      {"empty key", [&](GgufFile& f) { f.entry("", 4, raw32(1)); }, "empty, too long or no text"},
      {"key of bad text", [&](GgufFile& f) { f.entry("\xff\xfe", 4, raw32(1)); }, "no text"},
      {"key of 70000 bytes", [&](GgufFile& f) { f.entry(std::string(70000, 'k'), 4, raw32(1)); }, "too long"},
      {"duplicate key", [](GgufFile& f) { f.u32("n", 6); }, "key n is there twice"},
      {"unknown value type", [&](GgufFile& f) { f.entry("x", 13, raw32(1)); }, "unknown type 13"},
      {"huge value type", [&](GgufFile& f) { f.entry("x", 0xffffffffu, raw32(1)); }, "unknown type 4294967295"},
      {"boolean of 2", [&](GgufFile& f) { f.entry("x", 7, std::string(1, 2)); }, "a boolean holds 2"},
      {"string past the end", [&](GgufFile& f) { f.entry("x", 8, raw64(1 << 20)); }, "ends within metadata entry x"},
      {"string of all ones", [&](GgufFile& f) { f.entry("x", 8, raw64(~0ull)); }, "ends within metadata entry x"},
      {"array of arrays that is cut off", [&](GgufFile& f) { f.entry("x", 9, raw32(9) + raw64(1u << 30) + raw32(4) + raw64(0)); },
       "an array of 1073741824 elements is stated"},
      {"arrays in arrays",
       [&](GgufFile& f) {
         std::string deep;
         for (int i = 0; i < 9; ++i) deep += raw32(9) + raw64(1);
         f.entry("x", 9, deep + raw32(4) + raw64(0));
       },
       "arrays nested more than 8 deep"},
      {"array of unknown type", [&](GgufFile& f) { f.entry("x", 9, raw32(77) + raw64(1)); }, "unknown type 77"},
      {"array longer than the file", [&](GgufFile& f) { f.entry("x", 9, raw32(4) + raw64(1 << 20)); },
       "elements is stated"},
      {"array of all ones", [&](GgufFile& f) { f.entry("x", 9, raw32(0) + raw64(~0ull)); }, "elements is stated"},
      {"strings longer than the file", [&](GgufFile& f) { f.entry("x", 9, raw32(8) + raw64(1) + raw64(1ull << 40)); },
       "ends within metadata entry x"},
      {"alignment 0", [](GgufFile& f) { f.u32("general.alignment", 0); }, "general.alignment 0"},
      {"alignment 24", [](GgufFile& f) { f.u32("general.alignment", 24); }, "general.alignment 24"},
      {"alignment of 2^31", [](GgufFile& f) { f.u32("general.alignment", 1u << 31); }, "general.alignment"},
      {"alignment is text", [](GgufFile& f) { f.text("general.alignment", "32"); }, "general.alignment"},
      {"alignment other than the data's", [](GgufFile& f) { f.u32("general.alignment", 64); }, "m.gguf"},
      {"nameless tensor", info("", raw32(1) + raw64(1) + raw32(0) + raw64(128)), "empty, too long"},
      {"name of 300 bytes", info(std::string(300, 'n'), raw32(1) + raw64(1) + raw32(0) + raw64(128)),
       "too long"},
      {"name of bad text", info("\xc3", raw32(1) + raw64(1) + raw32(0) + raw64(128)), "no text"},
      {"duplicate tensor", [](GgufFile& f) { f.tensor("a", {1}, {1}); }, "tensor a is there twice"},
      {"no dimensions", info("x", raw32(0) + raw32(0) + raw64(128)), "0 dimensions"},
      {"five dimensions",
       info("x", raw32(5) + raw64(1) + raw64(1) + raw64(1) + raw64(1) + raw64(1) + raw32(0) + raw64(128)),
       "5 dimensions"},
      {"2^32-1 dimensions", info("x", raw32(~0u)), "dimensions"},
      {"dimension of 2^63", info("x", raw32(1) + raw64(1ull << 63) + raw32(0) + raw64(128)), "a dimension of"},
      {"product overflows", info("x", raw32(2) + raw64(1ull << 40) + raw64(1ull << 40) + raw32(0) + raw64(128)),
       "more elements"},
      {"bytes overflow", info("x", raw32(1) + raw64(1ull << 62) + raw32(28) + raw64(128)), "overflows"},
      {"removed type", info("x", raw32(1) + raw64(32) + raw32(4) + raw64(128)), "type 4, which is not known"},
      {"unknown type", info("x", raw32(1) + raw64(32) + raw32(999) + raw64(128)), "type 999"},
      {"rows of half a block", info("x", raw32(1) + raw64(48) + raw32(2) + raw64(128)), "no whole blocks of 32"},
      {"offset overlaps", info("x", raw32(1) + raw64(1) + raw32(0) + raw64(64)), "lies at byte 64"},
      {"offset beyond", info("x", raw32(1) + raw64(1) + raw32(0) + raw64(1 << 20)), "lies at byte 1048576"},
      {"offset unaligned", info("x", raw32(1) + raw64(1) + raw32(0) + raw64(129)), "lies at byte 129"},
      {"offset of all ones", info("x", raw32(1) + raw64(1) + raw32(0) + raw64(~0ull)), "lies at byte"},
      {"data missing", info("x", raw32(1) + raw64(1000) + raw32(0) + raw64(128)), "truncated"},
  };
  EXPECT_GE(std::size(cases), 40u);
  TempDir dir;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    GgufFile file = small();
    c.change(file);
    const auto result = open_gguf(dir.write("m.gguf", file.bytes()));
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.status().message().find(c.words), std::string::npos) << result.status().message();
    EXPECT_NE(result.status().message().find("m.gguf"), std::string::npos) << result.status().message();
    EXPECT_LT(result.status().message().size(), 1000u);
  }
  const std::string good = small().bytes();
  ASSERT_TRUE(open_gguf(dir.write("m.gguf", good)).ok());
  for (std::size_t length = 0; length + 28 < good.size(); ++length) {  // 28 bytes of padding end the file
    EXPECT_FALSE(open_gguf(dir.write("m.gguf", good.substr(0, length))).ok()) << length;
  }
}

TEST(GgufFile, SplitSets) {
  TempDir dir;
  const auto part = [](int number, int count, const char* tensor, int total) {
    GgufFile file;
    file.entry("split.no", 2, GgufFile::raw<uint16_t>(static_cast<uint16_t>(number)));
    file.entry("split.count", 2, GgufFile::raw<uint16_t>(static_cast<uint16_t>(count)));
    file.entry("split.tensors.count", 5, GgufFile::raw<int32_t>(total));
    file.tensor(tensor, {1}, {static_cast<float>(number)});
    return file.bytes();
  };
  const auto first = dir.write("m-00001-of-00002.gguf", part(0, 2, "a", 2));
  EXPECT_NE(open_gguf(first).status().message().find("m-00002-of-00002.gguf"), std::string::npos);
  const auto second = dir.write("m-00002-of-00002.gguf", part(1, 2, "b", 2));
  auto container = open_gguf(first);
  ASSERT_TRUE(container.ok()) << container.status().message();
  EXPECT_EQ(to_array(*(*container)->find("b"))->to_f32().value(), std::vector<float>{1});
  EXPECT_NE(open_gguf(second).status().message().find("open the first part"), std::string::npos);
  dir.write("m-00002-of-00002.gguf", part(1, 2, "a", 2));
  EXPECT_NE(open_gguf(first).status().message().find("there twice"), std::string::npos);
  dir.write("m-00002-of-00002.gguf", part(0, 2, "b", 2));
  EXPECT_NE(open_gguf(first).status().message().find("does not state that it is part 2"), std::string::npos);
  dir.write("m-00002-of-00002.gguf", part(1, 2, "b", 2));
  dir.write("m-00001-of-00002.gguf", part(0, 2, "a", 3));
  EXPECT_NE(open_gguf(first).status().message().find("2 tensors where 3"), std::string::npos);
  const auto misnamed = dir.write("other.gguf", part(0, 2, "a", 2));
  EXPECT_NE(open_gguf(misnamed).status().message().find("must be named"), std::string::npos);
}

TEST(GgufTypes, NamesAndIdsAgree) {
  for (uint32_t id = 0; id < 64; ++id) {
    const GgufType* type = gguf_type(id);
    if (type == nullptr) continue;
    EXPECT_EQ(gguf_type(type->name), type);
  }
  EXPECT_EQ(gguf_type(12)->name, "Q4_K");
  EXPECT_EQ(gguf_type(4), nullptr);
}

}  // namespace
}  // namespace nbl::io
