// A hostile file is refused, or read, without taking more memory than twice its size and 64 MB: what it states is bounded before it
// is believed. Counted by the allocator (faults.cpp).
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "dialects/dialects.h"
#include "eval/fields.h"
#include "eval/yaml.h"
#include "faults/faults.h"
#include "model/grammar.h"
#include "nibble/nibble.h"
#include "support/temp_dir.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace nbl::faults {
namespace {
namespace fs = std::filesystem;

const fs::path& folder() {
  static const fs::path path = [] {
    std::string name = (fs::temp_directory_path() / "nibble-hostile-XXXXXX").string();
    return fs::path(mkdtemp(name.data()));
  }();
  return path;
}

/// Bytes taken at most while `read` runs, beyond what was there before.
template <class F>
int64_t memory_of(F&& read) {
  const int64_t before = live_bytes();
  forget_peak();
  read();
  return peak_bytes() - before;
}

void expect_bounded(const std::string& what, std::size_t size, int64_t taken) {
  EXPECT_LE(taken, 2 * static_cast<int64_t>(size) + (int64_t{64} << 20)) << what << ": " << size << " bytes took " << taken;
}

/// As a model and as a tokenizer, up to a first look at everything.
void open_file(const fs::path& path) {
  const auto opened = dialects::open(path);
  if (!opened.ok()) return;
  for (const TensorInfo& info : (*opened)->tensors()) (void)(*opened)->matrix(info.name);
  for (const std::string& name : (*opened)->asset_names()) (void)(*opened)->asset(name);
}

std::string u64(uint64_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }
std::string u32(uint32_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }
std::string safetensors(const std::string& header, std::size_t data) { return u64(header.size()) + header + std::string(data, '\1'); }

TEST(HostileMemory, FilesThatStateTooMuch) {
  const uint64_t huge = uint64_t{1} << 60;
  const std::string gguf = "GGUF" + u32(3);
  const auto metadata = [&](const std::string& value) { return gguf + u64(0) + u64(1) + u64(1) + "k" + value; };
  const std::pair<const char*, std::string> files[] = {
      {"header length", u64(huge) + "{}"},
      {"header length within the limit", u64(99'000'000) + "{}"},
      {"shape", safetensors(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 8)},
      {"offsets", safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775807]}})", 8)},
      {"gguf tensors", gguf + u64(huge) + u64(0)},
      {"gguf metadata", gguf + u64(0) + u64(huge)},
      {"gguf string", metadata(u32(8) + u64(huge))},
      {"gguf array", metadata(u32(9) + u32(8) + u64(huge))},
      {"gguf array of bytes", metadata(u32(9) + u32(0) + u64(100'000'000))},
      {"gguf nested arrays", metadata(u32(9) + u32(9) + u64(100'000))},
      {"llama2.c", std::string("\x00\x00\x40\x00\x00\x00\x40\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x00\x40\x00\x00\x00\x40\x00", 28) + "xxxx"},
      {"native text", safetensors(R"({"__metadata__":{"format":"nibble","format_version":"1","nibble.text.config.json":"{\"bytes\":1000000000,\"zstd\":true}"},)"
                                  R"("nibble.text.config.json":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}})", 16)},
  };
  for (const auto& [what, bytes] : files) {
    const fs::path path = folder() / "model.bin";
    std::ofstream(path, std::ios::binary) << bytes;
    expect_bounded(what, bytes.size(), memory_of([&] { open_file(path); }));
  }
}

TEST(HostileMemory, DamagedSeeds) {
  std::mt19937_64 random(11);
  static constexpr uint64_t kTelling[] = {0xffffffff, 0x7fffffff, uint64_t{1} << 40, ~uint64_t{0}, 0xffff, 1 << 24};
  int files = 0;
  for (const char* target : {"safetensors", "gguf", "native", "llama2c", "tokenizer_json", "sentencepiece"}) {
    for (const auto& entry : fs::directory_iterator(fs::path(NIBBLE_FUZZ_SEEDS) / target)) {
      const std::string seed = test::read_all(entry.path());
      const int rounds = entry.path().filename().string().starts_with("more-") ? 2 : 12;  // those are wrong already, and many
      for (int round = 0; round < rounds; ++round, ++files) {
        std::string bytes = seed;
        for (int i = 0; i < 1 + round % 4 && bytes.size() > 8; ++i) {
          const uint64_t value = kTelling[random() % std::size(kTelling)];
          const std::size_t width = random() % 2 == 0 ? 4 : 8;
          std::memcpy(bytes.data() + random() % (std::min<std::size_t>(bytes.size(), 4096) - 7), &value, width);
        }
        const fs::path path = folder() / (std::strcmp(target, "tokenizer_json") == 0 ? "tokenizer.json" : "model.bin");
        std::ofstream(path, std::ios::binary) << bytes;
        expect_bounded(target + (" " + entry.path().filename().string()), bytes.size(), memory_of([&] {
                         open_file(path);
                         if (std::strcmp(target, "tokenizer_json") == 0) (void)text::load_tokenizer_json(bytes, {}, "input");
                         if (std::strcmp(target, "sentencepiece") == 0) (void)text::load_tokenizer_sentencepiece(bytes, {}, "input");
                       }));
      }
    }
  }
  EXPECT_GT(files, 300);
}

TEST(HostileMemory, TextsThatExpand) {
  const auto repeat = [](std::string_view text, std::size_t n) {
    std::string out;
    while (n-- > 0) out += text;
    return out;
  };
  const std::string numbers = "[" + repeat("1,", 500'000) + "1]", empties = "[" + repeat("{},", 300'000) + "{}]";
  expect_bounded("json numbers", numbers.size(), memory_of([&] { (void)Json::parse(numbers, "input"); }));
  expect_bounded("json objects", empties.size(), memory_of([&] { (void)Json::parse(empties, "input"); }));
  for (const char* grammar : {R"(root ::= "a"{1000000})", R"(root ::= ("a"? "b"?){100000})", R"(root ::= (("a"{1000}){1000}){1000})",
                              R"(root ::= [^a]{1,1000000})"})
    expect_bounded(grammar, std::strlen(grammar), memory_of([&] { (void)model::parse_gbnf(grammar); }));
  for (const char* schema : {R"({"type":"array","items":{"type":"string"},"maxItems":100000,"minItems":100000})",
                             R"({"type":"string","minLength":100000,"maxLength":100000})", R"({"type":"string","pattern":"^(a{1,1000}b){1,1000}$"})",
                             R"({"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991})"})
    expect_bounded(schema, std::strlen(schema), memory_of([&] { (void)model::grammar_from_schema(schema); }));
  for (const std::size_t length : {19'000, 200'000}) {
    const std::string schema = R"({"additionalProperties":true,"properties":{")" + std::string(length, 'a') + R"(":true}})";
    expect_bounded("schema of a long name", schema.size(), memory_of([&] { (void)model::grammar_from_schema(schema); }));
  }
  const std::string cells = "a\n" + repeat("x\n", 300'000), lines = repeat("{}\n", 300'000), yaml = repeat("- a\n", 200'000);
  expect_bounded("csv", cells.size(), memory_of([&] { (void)eval::read_csv(cells, "input"); }));
  expect_bounded("jsonl", lines.size(), memory_of([&] { (void)eval::read_jsonl(lines, "input"); }));
  expect_bounded("yaml", yaml.size(), memory_of([&] { (void)eval::parse_yaml(yaml, "input"); }));
  const std::string outputs = repeat("{{x}}", 100'000);
  expect_bounded("template", outputs.size(), memory_of([&] { (void)text::Template::compile(outputs, "input", text::chat_template_options()); }));
}

}  // namespace
}  // namespace nbl::faults
