#include <gtest/gtest.h>

#include <cstring>

#include "io/container.h"
#include "io/safetensors_types.h"
#include "support/temp_dir.h"

namespace nbl::io {
namespace {

using test::TempDir;

// A file of this header and this much data; the length field says what the header really takes unless told otherwise.
std::string file_of(const std::string& header, std::size_t data_bytes, int64_t stated = -1) {
  const uint64_t length = stated < 0 ? header.size() : static_cast<uint64_t>(stated);
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header;
  for (std::size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(Safetensors, ReadsWhatAnotherToolWrites) {
  TempDir dir;
  // Unsorted offsets, a scalar, an empty tensor, metadata at the end and a header that ends in spaces.
  const std::string header =
      R"({"b":{"dtype":"F32","shape":[],"data_offsets":[8,12]},"empty":{"dtype":"I64","shape":[0,4],"data_offsets":[8,8]},)"
      R"("a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]},"__metadata__":{"format":"pt"}}   )";
  const auto path = dir.write("m.safetensors", file_of(header, 12));
  auto container = open_safetensors(path);
  ASSERT_TRUE(container.ok()) << container.status().message();
  EXPECT_EQ((*container)->format(), "safetensors");
  EXPECT_EQ((*container)->tensors().size(), 3u);
  EXPECT_EQ((*container)->metadata().find("format")->as_string(), "pt");
  const RawTensor* a = (*container)->find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->shape, (Shape{2, 2}));
  EXPECT_EQ(a->type, "BF16");
  EXPECT_EQ(a->bytes.bytes()[7], std::byte{7});
  const RawTensor* b = (*container)->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_TRUE(b->shape.empty());
  EXPECT_EQ(b->bytes.bytes()[0], std::byte{8});
  EXPECT_EQ((*container)->find("empty")->bytes.size(), 0u);
  EXPECT_EQ((*container)->find("c"), nullptr);
  EXPECT_EQ((*container)->file_bytes(), static_cast<int64_t>(std::filesystem::file_size(path)));
}

TEST(Safetensors, TensorsOutliveTheContainer) {
  TempDir dir;
  const auto path = dir.write("m", file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  Storage bytes;
  {
    auto container = open_safetensors(path);
    ASSERT_TRUE(container.ok());
    bytes = (*container)->find("a")->bytes;
  }
  EXPECT_EQ(bytes.bytes()[3], std::byte{3});
}

TEST(Safetensors, EveryMalformedFileIsRefusedWithItsReason) {
  const auto one = [](const char* entry) { return std::string("{\"x\":") + entry + "}"; };
  const std::string good = R"({"dtype":"U8","shape":[8],"data_offsets":[0,8]})";
  struct Case {
    const char* name;
    std::string content;
    const char* words;
  };
  const std::string huge(200, '9');
  const Case cases[] = {
      {"empty file", "", "is empty"},
      {"seven bytes", "1234567", "too few"},
      {"length beyond the limit", file_of(one(good.c_str()), 8, 100'000'001), "at most 100000000"},
      {"length of all ones", std::string(8, '\xff') + "{}", "at most 100000000"},
      {"length beyond the file", file_of(one(good.c_str()), 8, 1000), "truncated"},
      {"length zero", file_of("", 8), "does not start with '{'"},
      {"header cut short", file_of(one(good.c_str()), 8, 20), "header"},
      {"leading space", file_of(" " + one(good.c_str()), 8), "does not start with '{'"},
      {"array header", file_of("[1,2]", 0), "does not start with '{'"},
      {"not JSON", file_of("{nonsense}", 8), "header"},
      {"bytes after the object", file_of(one(good.c_str()) + "x", 8), "header"},
      {"invalid UTF-8", file_of(std::string("{\"\xff\xfe\":") + good + "}", 8), "header"},
      {"NUL padding", file_of(one(good.c_str()) + std::string(4, '\0'), 8), "header"},
      {"duplicate name", file_of("{\"x\":" + good + ",\"x\":" + good + "}", 8), "x"},
      {"duplicate field", file_of(one(R"({"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]})"), 8), "dtype"},
      {"deep nesting", file_of(one((std::string(5000, '[') + std::string(5000, ']')).c_str()), 8), "header"},
      {"entry is a number", file_of(one("5"), 8), "no object"},
      {"entry is null", file_of(one("null"), 8), "no object"},
      {"no dtype", file_of(one(R"({"shape":[8],"data_offsets":[0,8]})"), 8), "no object"},
      {"no shape", file_of(one(R"({"dtype":"U8","data_offsets":[0,8]})"), 8), "no object"},
      {"no offsets", file_of(one(R"({"dtype":"U8","shape":[8]})"), 8), "no object"},
      {"dtype is a number", file_of(one(R"({"dtype":8,"shape":[8],"data_offsets":[0,8]})"), 8), "no object"},
      {"unknown dtype", file_of(one(R"({"dtype":"Q3","shape":[8],"data_offsets":[0,8]})"), 8), "unknown dtype Q3"},
      {"lower-case dtype", file_of(one(R"({"dtype":"u8","shape":[8],"data_offsets":[0,8]})"), 8), "unknown dtype u8"},
      {"negative dimension", file_of(one(R"({"dtype":"U8","shape":[-8],"data_offsets":[0,8]})"), 8), "whole number"},
      {"real dimension", file_of(one(R"({"dtype":"U8","shape":[8.5],"data_offsets":[0,8]})"), 8), "whole number"},
      {"text dimension", file_of(one(R"({"dtype":"U8","shape":["8"],"data_offsets":[0,8]})"), 8), "whole number"},
      {"giant dimension",
       file_of(one(("{\"dtype\":\"U8\",\"shape\":[" + huge + "],\"data_offsets\":[0,8]}").c_str()), 8), "m"},
      {"product overflows", file_of(one(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,8]})"), 8),
       "more elements"},
      {"product overflows to 8",
       file_of(one(R"({"dtype":"U8","shape":[9223372036854775807,2,8],"data_offsets":[0,8]})"), 8), "more elements"},
      {"bits overflow", file_of(one(R"({"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,8]})"), 8),
       "overflows"},
      {"zero hides overflow",
       file_of(one(R"({"dtype":"U8","shape":[4294967296,4294967296,4294967296,0],"data_offsets":[0,8]})"), 8),
       "more elements"},
      {"too many dimensions",
       file_of(one(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,8],"data_offsets":[0,8]})"), 8),
       "17 dimensions"},
      {"half a byte", file_of(one(R"({"dtype":"F4","shape":[15],"data_offsets":[0,8]})"), 8), "within a byte"},
      {"size too small", file_of(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), 8), "takes 12 bytes"},
      {"one offset", file_of(one(R"({"dtype":"U8","shape":[8],"data_offsets":[8]})"), 8), "pair"},
      {"three offsets", file_of(one(R"({"dtype":"U8","shape":[8],"data_offsets":[0,8,9]})"), 8), "pair"},
      {"offsets reversed", file_of(one(R"({"dtype":"U8","shape":[8],"data_offsets":[8,0]})"), 8), "no range"},
      {"negative offset", file_of(one(R"({"dtype":"U8","shape":[8],"data_offsets":[-8,0]})"), 8), "no range"},
      {"offset beyond 64 bits",
       file_of(one(R"({"dtype":"U8","shape":[8],"data_offsets":[18446744073709551608,18446744073709551616]})"), 8),
       "m"},
      {"data truncated", file_of(one(good.c_str()), 7), "truncated"},
      {"data missing", file_of(one(good.c_str()), 0), "truncated"},
      {"bytes left over", file_of(one(good.c_str()), 9), "which has 9"},
      {"no tensor but data", file_of("{}", 4), "which has 4"},
      {"first does not begin at 0", file_of(one(R"({"dtype":"U8","shape":[4],"data_offsets":[4,8]})"), 8),
       "leave a gap"},
      {"gap",
       file_of(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
           8),
       "leave a gap"},
      {"overlap",
       file_of(
           R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
           8),
       "overlap"},
      {"same range twice",
       file_of(
           R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
           8),
       "overlap"},
      {"empty tensor inside another",
       file_of(
           R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
           8),
       "overlap"},
      {"metadata is a list", file_of(R"({"__metadata__":[1]})", 0), "__metadata__ is no object"},
      {"metadata holds a number", file_of(R"({"__metadata__":{"a":1}})", 0), "no string"},
      {"nameless tensor", file_of("{\"\":" + good + "}", 8), "no name"},
  };
  EXPECT_GE(std::size(cases), 40u);
  TempDir dir;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto path = dir.write("m.safetensors", c.content);
    const auto result = open_safetensors(path);
    ASSERT_FALSE(result.ok());
    EXPECT_TRUE(result.status().code() == Code::corrupt || result.status().code() == Code::limit)
        << code_name(result.status().code());
    EXPECT_NE(result.status().message().find(c.words), std::string::npos) << result.status().message();
    EXPECT_NE(result.status().message().find("m.safetensors"), std::string::npos) << result.status().message();
    EXPECT_LT(result.status().message().size(), 1000u);
  }
}

TEST(Safetensors, MissingFilesAndDirectories) {
  TempDir dir;
  EXPECT_EQ(open_safetensors(dir / "none").status().code(), Code::not_found);
  EXPECT_FALSE(open_safetensors(dir.path()).ok());
  std::filesystem::create_symlink("loop", dir / "loop");
  EXPECT_FALSE(open_safetensors(dir / "loop").ok());
  std::filesystem::create_symlink("/dev/zero", dir / "device");
  EXPECT_FALSE(open_safetensors(dir / "device").ok());
}

TEST(SafetensorsIndex, ShardsAreOneModel) {
  TempDir dir;
  dir.write("m-00001-of-00002.safetensors", file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  dir.write("m-00002-of-00002.safetensors", file_of(R"({"b":{"dtype":"U8","shape":[6],"data_offsets":[0,6]}})", 6));
  const auto index = dir.write(
      "m.safetensors.index.json",
      R"({"metadata":{"total_size":1},"weight_map":{"a":"m-00001-of-00002.safetensors","b":"m-00002-of-00002.safetensors"}})");
  auto container = open_safetensors_index(index);
  ASSERT_TRUE(container.ok()) << container.status().message();
  EXPECT_EQ((*container)->find("b")->shape, (Shape{6}));
}

TEST(SafetensorsIndex, EveryMalformedIndexIsRefusedWithItsReason) {
  TempDir dir;
  dir.write("one.safetensors", file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  dir.write("two.safetensors", file_of(R"({"b":{"dtype":"U8","shape":[6],"data_offsets":[0,6]}})", 6));
  dir.write("twin.safetensors", file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  dir.write("cut.safetensors", file_of(R"({"c":{"dtype":"U8","shape":[6],"data_offsets":[0,6]}})", 3));
  dir.write("empty.safetensors", "");
  std::filesystem::create_directory(dir / "folder.safetensors");
  struct Case {
    const char* map;
    const char* words;
  };
  const Case cases[] = {
      {R"({"a":"three.safetensors"})", "three.safetensors"},
      {R"({"a":"../one.safetensors"})", "no plain file name"},
      {R"({"a":"/etc/passwd"})", "no plain file name"},
      {R"({"a":".."})", "no plain file name"},
      {R"({"a":"."})", "no plain file name"},
      {R"({"a":""})", "no plain file name"},
      {R"({"a":"x\u0000y"})", "no plain file name"},
      {R"({"a":"sub/one.safetensors"})", "no plain file name"},
      {R"({"a":"..\\one.safetensors"})", "no plain file name"},
      {R"({"a":3})", "no file name"},
      {R"({"a":null})", "no file name"},
      {R"({})", "weight_map is empty"},
      {R"([])", "no weight_map object"},
      {R"({"x":"one.safetensors"})", "tensor x should be in one.safetensors and is not"},
      {R"({"a":"one.safetensors","b":"one.safetensors"})", "tensor b should be in one.safetensors and is not"},
      {R"({"a":"one.safetensors","b":"twin.safetensors"})", "tensor a is in both"},
      {R"({"b":"one.safetensors","a":"two.safetensors"})", "should be in"},
      {R"({"c":"cut.safetensors"})", "truncated"},
      {R"({"c":"empty.safetensors"})", "is empty"},
      {R"({"c":"folder.safetensors"})", "directory"},
      {R"({"a":"one.safetensors","a":"two.safetensors"})", "a"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.map);
    const auto index = dir.write("index.json", std::string("{\"weight_map\":") + c.map + "}");
    const auto result = open_safetensors_index(index);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.status().message().find(c.words), std::string::npos) << result.status().message();
  }
  for (const char* text : {"", "null", "{\"weight_map\":5}", "{}", "{\"weight_map\"", "[]"}) {
    EXPECT_FALSE(open_safetensors_index(dir.write("index.json", text)).ok()) << text;
  }
}

TEST(SafetensorsWriter, WritesWhatItPlanned) {
  TempDir dir;
  const auto path = dir / "out.safetensors";
  auto writer = SafetensorsWriter::create(path, {{"a", "F32", {2}, 8}, {"none", "U8", {0}, 0}, {"b", "U8", {3}, 3}},
                                          {{"format", "pt"}}, true);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  ASSERT_TRUE(writer->write(bytes_of("01234")).ok());
  ASSERT_TRUE(writer->write(bytes_of("567")).ok());
  EXPECT_FALSE(writer->write(bytes_of("abcd")).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_NE(writer->commit().message().find("tensor b got 0 bytes of 3"), std::string::npos);
  ASSERT_TRUE(writer->write(bytes_of("abc")).ok());
  ASSERT_TRUE(writer->commit().ok());
  auto container = open_safetensors(path);
  ASSERT_TRUE(container.ok()) << container.status().message();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>((*container)->find("a")->bytes.data()) % 64, 0u);
  EXPECT_EQ(std::memcmp((*container)->find("b")->bytes.data(), "abc", 3), 0);
}

TEST(SafetensorsWriter, RefusesPlansThatCannotBeRead) {
  TempDir dir;
  const auto refused = [&](SafetensorsWriter::Planned planned) {
    return !SafetensorsWriter::create(dir / "out", {planned}, {}, false).ok();
  };
  EXPECT_TRUE(refused({"", "F32", {2}, 8}));
  EXPECT_TRUE(refused({"__metadata__", "F32", {2}, 8}));
  EXPECT_TRUE(refused({"a", "F32", {2}, 9}));
  EXPECT_TRUE(refused({"a", "Q4", {2}, 8}));
  EXPECT_TRUE(refused({"a", "F32", {-2}, 8}));
  EXPECT_FALSE(SafetensorsWriter::create(dir / "out", {{"a", "U8", {1}, 1}, {"a", "U8", {1}, 1}}, {}, false).ok());
  EXPECT_FALSE(SafetensorsWriter::create(dir / "no" / "out", {{"a", "U8", {1}, 1}}, {}, false).ok());
  EXPECT_EQ(test::entries(dir.path()), 0u);
}

TEST(SafetensorsTypes, ToArray) {
  const double values[] = {0.5, -2};
  RawTensor raw{"x", "F64", {2}, Storage::borrow(std::as_bytes(std::span(values)), nullptr), "f"};
  auto array = to_array(raw);
  ASSERT_TRUE(array.ok());
  EXPECT_EQ(array->dtype, DType::f32);
  EXPECT_EQ(array->to_f32().value(), (std::vector<float>{0.5f, -2.0f}));
  raw.type = "C64";
  EXPECT_EQ(to_array(raw).status().code(), Code::unsupported);
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::e4m3, DType::f64, DType::i8, DType::u8,
                           DType::i16, DType::i32, DType::i64, DType::e8m0}) {
    EXPECT_EQ(safetensors_dtype(safetensors_type_name(type)), type);
    EXPECT_EQ(safetensors_type_bits(safetensors_type_name(type)), 8 * dtype_bytes(type));
  }
}

}  // namespace
}  // namespace nbl::io
