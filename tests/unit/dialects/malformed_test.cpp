// Quantized directories that lie: every tensor of every golden checkpoint is dropped, retyped, reshaped, cut and filled with nonsense,
// and every setting of its configuration is given values that no tool writes. Each must end in a clear error or in finite
// numbers of the stated shape; the sanitizers watch that nothing is read outside the mapping.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>

#include "dialects/dialects.h"
#include "io/container.h"
#include "io/safetensors_types.h"
#include "support/safetensors_file.h"
#include "support/temp_dir.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;
using test::FileTensor;
using test::TempDir;

std::vector<fs::path> goldens() {
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(fs::path(NIBBLE_SOURCE_DIR) / "tests" / "golden" / "checkpoints")) {
    if (fs::exists(entry.path() / "expected.safetensors")) all.push_back(entry.path());
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<FileTensor> tensors_of(const fs::path& file) {
  auto container = io::open_safetensors(file);
  EXPECT_TRUE(container.ok());
  std::vector<FileTensor> list;
  for (const io::RawTensor& raw : (*container)->tensors()) {
    list.push_back({raw.name, raw.type, raw.shape,
                    std::string(reinterpret_cast<const char*>(raw.bytes.data()), raw.bytes.size())});
  }
  return list;
}

struct Tally {
  int cases = 0, refused = 0;
};

// Opens and reads everything. An error must name where it was found; a success must be numbers.
void try_reading(const fs::path& path, const std::string& what, Tally& tally) {
  SCOPED_TRACE(what);
  ++tally.cases;
  const auto refuse = [&](const Status& status) {
    ++tally.refused;
    EXPECT_NE(status.code(), Code::internal) << status.message();
    EXPECT_NE(status.code(), Code::ok);
    EXPECT_LT(status.message().size(), 2000u);
    EXPECT_GT(status.message().size(), 20u);
  };
  auto model = open(path);
  if (!model.ok()) {
    EXPECT_NE(model.status().message().find(path.string()), std::string::npos) << model.status().message();
    return refuse(model.status());
  }
  bool failed = false;
  for (const TensorInfo& info : (*model)->tensors()) {
    if (info.shape.size() != 2) continue;
    auto tensor = (*model)->matrix(info.name);
    if (!tensor.ok()) {
      if (!failed) refuse(tensor.status());
      failed = true;
      continue;
    }
    ASSERT_EQ((Shape{tensor->n, tensor->k}), info.shape);
    ASSERT_LT(tensor->n * tensor->k, 1 << 22) << "more numbers than the file has bits";
    std::vector<float> row(static_cast<std::size_t>(tensor->k));
    for (int64_t r = 0; r < tensor->n; ++r) tensor->dequantize_row(r, row.data());
  }
}

struct Mutation {
  const char* name;
  std::function<void(FileTensor&)> apply;
};

const std::vector<Mutation>& mutations() {
  static const std::vector<Mutation> all = {
      {"one dimension more", [](FileTensor& t) { t.shape.insert(t.shape.begin(), 1); }},
      {"flattened",
       [](FileTensor& t) {
         int64_t count = 1;
         for (const int64_t d : t.shape) count *= d;
         t.shape = {count};
       }},
      {"transposed shape", [](FileTensor& t) { std::reverse(t.shape.begin(), t.shape.end()); }},
      {"empty", [](FileTensor& t) { t.shape = {0}, t.bytes.clear(); }},
      {"empty rows",
       [](FileTensor& t) {
         if (!t.shape.empty()) t.shape[0] = 0, t.bytes.clear();
       }},
      {"half of it",
       [](FileTensor& t) {
         if (t.shape.empty() || t.shape[0] < 2) return;
         t.bytes.resize(t.bytes.size() / static_cast<std::size_t>(t.shape[0]) * static_cast<std::size_t>(t.shape[0] / 2));
         t.shape[0] /= 2;
       }},
      {"twice as much",
       [](FileTensor& t) {
         if (t.shape.empty()) return;
         t.bytes += t.bytes;
         t.shape[0] *= 2;
       }},
      {"bytes", [](FileTensor& t) { t.type = "U8", t.shape = {static_cast<int64_t>(t.bytes.size())}; }},
      {"other type of the same width",
       [](FileTensor& t) {
         static const std::map<std::string, std::string> kTwins = {{"I32", "F32"},     {"F32", "I32"}, {"F16", "I16"},
                                                                   {"I16", "F16"},     {"U8", "I8"},   {"I8", "U8"},
                                                                   {"F8_E4M3", "U8"},  {"I64", "F64"}, {"BF16", "U16"}};
         const auto it = kTwins.find(t.type);
         if (it != kTwins.end()) t.type = it->second;
       }},
      {"zeros", [](FileTensor& t) { t.bytes.assign(t.bytes.size(), '\0'); }},
      {"ones", [](FileTensor& t) { t.bytes.assign(t.bytes.size(), '\xff'); }},
      {"largest positive",
       [](FileTensor& t) {
         for (std::size_t i = 0; i < t.bytes.size(); ++i) t.bytes[i] = i % 4 == 3 ? '\x7f' : '\xff';
       }},
      {"noise",
       [](FileTensor& t) {
         uint32_t state = 12345;
         for (char& c : t.bytes) c = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
       }},
  };
  return all;
}

TEST(Malformed, TensorsOfEveryDialect) {
  std::map<std::string, Tally> tallies;
  for (const fs::path& golden : goldens()) {
    SCOPED_TRACE(golden.filename().string());
    const std::vector<FileTensor> original = tensors_of(golden / "model.safetensors");
    auto dialect = recognise(golden);
    ASSERT_TRUE(dialect.ok());
    Tally& tally = tallies[std::string((*dialect)->id())];
    TempDir dir;
    fs::copy_file(golden / "config.json", dir / "config.json");
    for (std::size_t i = 0; i < original.size(); ++i) {
      std::vector<FileTensor> changed = original;
      changed.erase(changed.begin() + static_cast<std::ptrdiff_t>(i));
      test::write_safetensors(dir / "model.safetensors", changed);
      try_reading(dir.path(), original[i].name + " missing", tally);
      for (const Mutation& mutation : mutations()) {
        changed = original;
        mutation.apply(changed[i]);
        if (changed[i].shape == original[i].shape && changed[i].bytes == original[i].bytes &&
            changed[i].type == original[i].type) {
          continue;
        }
        test::write_safetensors(dir / "model.safetensors", changed);
        try_reading(dir.path(), original[i].name + ": " + mutation.name, tally);
      }
    }
  }
  for (const auto& [name, tally] : tallies) {
    std::printf("%s: %d cases, %d refused\n", name.c_str(), tally.cases, tally.refused);
    EXPECT_GE(tally.cases, 20) << name;
    EXPECT_GE(tally.refused, tally.cases / 4) << name;
  }
}

TEST(Malformed, SettingsOfEveryDialect) {
  const std::vector<std::string> hostile = {
      "-1",   "0",    "3",     "99",   "9223372036854775807", "-9223372036854775808", "1e308", "0.5", "true", "false",
      "null", "\"\"", "\"4\"", "\"" + std::string(10000, 'x') + "\"", "[]", "[[[[]]]]", "{}", "[-1, -1]", "{\"a\": {\"b\": null}}"};
  Tally tally;
  for (const fs::path& golden : goldens()) {
    SCOPED_TRACE(golden.filename().string());
    auto config = Json::parse(test::read_all(golden / "config.json"), "config.json");
    ASSERT_TRUE(config.ok());
    const Json settings = *config->find("quantization_config");
    TempDir dir;
    fs::copy_file(golden / "model.safetensors", dir / "model.safetensors");
    for (const auto& [key, value] : settings.members()) {
      for (const std::string& text : hostile) {
        Json changed = settings;
        changed.set(key, Json::parse(text, "hostile").value());
        Json whole = *config;
        whole.set("quantization_config", std::move(changed));
        dir.write("config.json", whole.dump());
        try_reading(dir.path(), key + " = " + text.substr(0, 40), tally);
      }
    }
  }
  std::printf("%d cases, %d refused\n", tally.cases, tally.refused);
  EXPECT_GE(tally.cases, 1000);
}

TEST(Malformed, PathsThatLeaveTheDirectory) {
  const fs::path golden = goldens().front();
  TempDir outside, dir;
  fs::copy_file(golden / "model.safetensors", outside / "secret.safetensors");
  fs::copy_file(golden / "config.json", dir / "config.json");
  const std::string name = tensors_of(golden / "model.safetensors").front().name;
  for (const std::string& file :
       {"../" + outside.path().filename().string() + "/secret.safetensors", (outside / "secret.safetensors").string(),
        std::string(".."), std::string("."), std::string(""), std::string("a/../../x"), std::string("sub/x.safetensors"),
        std::string("x\\y"), std::string(5000, 'a')}) {
    dir.write("model.safetensors.index.json",
              Json::object({{"weight_map", Json::object({{name, Json(file)}})}}).dump());
    auto model = open(dir.path());
    ASSERT_FALSE(model.ok()) << file.substr(0, 60);
    EXPECT_NE(model.status().message().find("model.safetensors.index.json"), std::string::npos) << model.status().message();
  }
}

TEST(Malformed, DirectoriesAndDevicesInPlaceOfFiles) {
  const fs::path golden = goldens().front();
  {
    TempDir dir;
    fs::copy_file(golden / "config.json", dir / "config.json");
    fs::create_directory(dir / "model.safetensors");
    EXPECT_FALSE(open(dir.path()).ok());
  }
  {
    TempDir dir;
    fs::copy_file(golden / "config.json", dir / "config.json");
    fs::create_symlink(dir / "model.safetensors", dir / "model.safetensors");  // to itself
    EXPECT_FALSE(open(dir.path()).ok());
  }
  {
    TempDir dir;
    fs::copy_file(golden / "config.json", dir / "config.json");
    fs::create_symlink("/dev/zero", dir / "model.safetensors");
    EXPECT_FALSE(open(dir.path()).ok());
  }
  {
    TempDir dir;
    fs::create_symlink("/dev/zero", dir / "config.json");
    fs::copy_file(golden / "model.safetensors", dir / "model.safetensors");
    EXPECT_FALSE(open(dir.path()).ok());
  }
  {
    TempDir dir;  // a link to a file elsewhere is how hubs keep their files: fine
    fs::create_symlink(golden / "config.json", dir / "config.json");
    fs::create_symlink(golden / "model.safetensors", dir / "model.safetensors");
    EXPECT_TRUE(open(dir.path()).ok());
  }
}

TEST(Malformed, HostileConfigs) {
  const fs::path golden = goldens().front();
  TempDir dir;
  fs::copy_file(golden / "model.safetensors", dir / "model.safetensors");
  std::string deep(100'000, '[');
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), std::string("{\"a\":1,\"a\":2}"),
        std::string("\xff\xfe{}"), std::string("{\"quantization_config\":[]}"), std::string("{\"quantization_config\":5}"),
        "{\"quantization_config\":" + deep, "{\"x\":\"" + std::string(20 << 20, 'x') + "\"}",
        std::string("{\"quantization_config\":{\"quant_method\":\"magic\"}}"),
        std::string("{\"quantization_config\":{\"quant_method\":7}}")}) {
    dir.write("config.json", text);
    auto model = open(dir.path());
    ASSERT_FALSE(model.ok()) << text.substr(0, 60);
    EXPECT_NE(model.status().message().find(dir.path().string()), std::string::npos) << model.status().message();
  }
}

}  // namespace
}  // namespace nbl::dialects
