// Checkpoints behind read functions: the same tensors as from a mapped file whatever the format, each read when it is asked for, and
// an error from every single read that fails.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "dialects/dialects.h"
#include "pipeline/compare_tensors.h"
#include "pipeline/convert.h"
#include "support/golden_model.h"
#include "support/read_files.h"

namespace nbl::pipeline {
namespace {

namespace fs = std::filesystem;
using test::ReadFiles;

void expect_same(const fs::path& path, std::string_view format = {}) {
  SCOPED_TRACE(path.filename().string());
  const auto mapped = dialects::open(path);
  ASSERT_TRUE(mapped.ok()) << mapped.status().message();
  ReadFiles files(path);
  const auto read = dialects::open(files.path());
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ((*read)->format(), (*mapped)->format());
  if (!format.empty()) {
    EXPECT_TRUE((*read)->format().starts_with(format.substr(0, 4))) << (*read)->format();
  }
  EXPECT_EQ((*read)->config().dump(), (*mapped)->config().dump());
  EXPECT_EQ((*read)->file_bytes(), (*mapped)->file_bytes());
  EXPECT_EQ((*read)->warnings().size(), (*mapped)->warnings().size());
  EXPECT_EQ((*read)->asset_names(), (*mapped)->asset_names());
  for (const std::string& name : (*mapped)->asset_names()) EXPECT_EQ((*read)->asset(name).value(), (*mapped)->asset(name).value()) << name;

  const auto expected = (*mapped)->tensors(), infos = (*read)->tensors();
  ASSERT_EQ(infos.size(), expected.size());
  for (std::size_t i = 0; i < infos.size(); ++i) {
    EXPECT_EQ(infos[i].name, expected[i].name);
    EXPECT_EQ(infos[i].shape, expected[i].shape) << infos[i].name;
    EXPECT_EQ(infos[i].encoding, expected[i].encoding) << infos[i].name;
    EXPECT_EQ(infos[i].bits, expected[i].bits) << infos[i].name;
    EXPECT_EQ(infos[i].bytes, expected[i].bytes) << infos[i].name;
  }
  const int64_t opened = files.asked;
  Team team(2);
  const auto compared = compare_tensors(**mapped, **read, team, {});
  ASSERT_TRUE(compared.ok()) << compared.status().message();
  EXPECT_EQ(compared->differences, std::vector<std::string>{});
  EXPECT_EQ(compared->tensors, static_cast<int64_t>(expected.size()));
  EXPECT_GT(files.asked, opened);
  for (const TensorInfo& info : infos) EXPECT_TRUE((*read)->array(info.name).ok()) << info.name;
}

/// Every read in turn fails: opening or a tensor's reading then says so, and the next attempt works.
void expect_failures_told(const fs::path& path) {
  ReadFiles files(path);
  int64_t told = 0;
  for (files.fail_at = 0;; ++files.fail_at) {
    files.calls = 0;
    std::string message;
    const auto checkpoint = dialects::open(files.path());
    if (!checkpoint.ok()) message = checkpoint.status().message();
    if (checkpoint.ok()) {
      for (const TensorInfo& info : (*checkpoint)->tensors()) {
        const Status status = is_matrix(info) ? (*checkpoint)->matrix(info.name).status() : (*checkpoint)->array(info.name).status();
        if (status.ok()) continue;
        EXPECT_EQ(status.code(), Code::io) << status.message();
        message = status.message();
        const Status again = is_matrix(info) ? (*checkpoint)->matrix(info.name).status() : (*checkpoint)->array(info.name).status();
        EXPECT_TRUE(again.ok()) << again.message();
      }
    }
    if (files.calls <= files.fail_at) break;  // no read was left to fail
    if (message.find("on purpose") != message.npos) ++told;
  }
  EXPECT_GE(told, static_cast<int64_t>(dialects::open(path).value()->tensors().size())) << path;
}

TEST(ReadFiles, EveryGoldenCheckpoint) {
  int count = 0;
  const fs::path golden = fs::path(NIBBLE_SOURCE_DIR) / "tests" / "golden";
  for (const auto& entry : fs::directory_iterator(golden / "checkpoints")) {
    if (!fs::exists(entry.path() / "config.json")) continue;
    // As a user has it: what the values should be is a file of the tests alone.
    const test::TempDir copy;
    for (const char* name : {"config.json", "model.safetensors"}) fs::copy_file(entry.path() / name, copy / name);
    expect_same(copy.path());
    expect_failures_told(copy.path());
    ++count;
  }
  EXPECT_GE(count, 30);
  expect_same(golden / "native" / "v1.safetensors");
  expect_failures_told(golden / "native" / "v1.safetensors");
  expect_same(golden / "gguf" / "blocks.gguf");
}

TEST(ReadFiles, EveryFormatThatIsWritten) {
  const test::GoldenModel model("mixtral");
  const auto source = dialects::open(model.directory.path());
  ASSERT_TRUE(source.ok());
  Team team(2);
  std::set<std::string> written;
  for (const dialects::Dialect* dialect : dialects::dialects()) {
    if (!dialect->can_write()) continue;
    const test::TempDir folder;
    ConvertOptions options;
    options.format = std::string(dialect->id());
    options.allow_lossy = true;
    const auto report = convert(**source, folder / "out", options, team, {});
    ASSERT_TRUE(report.ok()) << dialect->id() << ": " << report.status().message();
    if (!report->written) continue;  // nothing that it holds comes near
    written.insert(options.format);
    expect_same(folder / "out");
    expect_failures_told(folder / "out");
  }
  for (const char* format : {"native", "huggingface", "gguf"}) EXPECT_TRUE(written.contains(format)) << format;
}

TEST(ReadFiles, AJobReadsEachTensorAndHoldsNoFile) {
  const fs::path path = fs::path(NIBBLE_SOURCE_DIR) / "examples" / "models" / "prose-3.7m";
  ReadFiles files(path);
  const auto checkpoint = dialects::open(files.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_LT(files.asked, 200'000) << "opening reads configurations and the header";
  int64_t largest = 0;
  for (const TensorInfo& info : (*checkpoint)->tensors()) largest = std::max(largest, info.bytes);
  const test::TempDir folder;
  Team team(2);
  const int64_t before = files.asked;
  const auto report = convert(**checkpoint, folder / "out", {}, team, {});
  ASSERT_TRUE(report.ok() && report->written);
  EXPECT_LE(files.asked - before, files.total + files.total / 10) << "hardly anything is read twice";
  EXPECT_LE(files.largest, largest) << "in no larger pieces than a tensor";
  const auto mapped = dialects::open(path);
  const auto compared = compare_tensors(**mapped, *dialects::open(folder / "out").value(), team, {});
  ASSERT_TRUE(compared.ok());
  EXPECT_EQ(compared->differences, std::vector<std::string>{});
}

}  // namespace
}  // namespace nbl::pipeline
