#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>

namespace nbl {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "nibble-file-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { fs::remove_all(dir_); }

  int entries() const {
    return static_cast<int>(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()));
  }
  static std::string text(const fs::path& p) { return read_text_file(p, 1 << 30).value(); }

  fs::path dir_;
};

TEST_F(FileTest, WritesMapsAndReads) {
  const fs::path p = dir_ / "a.txt";
  ASSERT_TRUE(write_text_file(p, "hello").ok());
  EXPECT_EQ(text(p), "hello");
  auto mapped = MappedFile::open(p);
  ASSERT_TRUE(mapped.ok());
  ASSERT_EQ((*mapped)->bytes().size(), 5U);
  EXPECT_EQ((*mapped)->bytes()[4], std::byte{'o'});
  ASSERT_TRUE(write_text_file(p, "other").ok());
  EXPECT_EQ((*mapped)->bytes()[4], std::byte{'o'}) << "a mapping keeps the file that it opened";
  EXPECT_EQ(entries(), 1);
}

TEST_F(FileTest, WhatIsReadWholeStaysWhateverBecomesOfTheFile) {
  const fs::path p = dir_ / "a";
  const std::string content(3 << 20, 'x');  // many pages: behind the end of a shortened mapping they cannot be read
  ASSERT_TRUE(write_text_file(p, content).ok());
  auto opened = [&] {
    const FileReadingScope whole(true);
    return MappedFile::open(p);
  }();
  ASSERT_TRUE(opened.ok());
  EXPECT_TRUE(MappedFile::maps(p));
  fs::resize_file(p, 10);
  MappedFile::release_pages();  // of mappings only
  const auto bytes = (*opened)->bytes();
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), content);
  opened = MappedFile::open(p);  // outside the scope, which ended
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ((*opened)->bytes().size(), 10U);
  std::ofstream(p, std::ios::app) << "more";
  EXPECT_EQ((*opened)->bytes().data()[4], std::byte{'x'});
  opened = std::shared_ptr<const MappedFile>();
  EXPECT_FALSE(MappedFile::maps(p));
  {
    const FileReadingScope whole(true);
    EXPECT_EQ(MappedFile::open(dir_ / "none").status().code(), Code::not_found);
    ASSERT_TRUE(write_text_file(p, "").ok());
    EXPECT_TRUE(MappedFile::open(p).value()->bytes().empty());
    fs::resize_file(p, int64_t{1} << 42);  // four terabytes that are not there
    const Status large = MappedFile::open(p).status();
    EXPECT_EQ(large.code(), Code::limit) << large.message();
  }
}

TEST_F(FileTest, EmptyFilesMapAsNothing) {
  ASSERT_TRUE(write_text_file(dir_ / "e", "").ok());
  auto mapped = MappedFile::open(dir_ / "e");
  ASSERT_TRUE(mapped.ok());
  EXPECT_TRUE((*mapped)->bytes().empty());
  EXPECT_EQ(text(dir_ / "e"), "");
}

TEST_F(FileTest, ErrorsNameTheFile) {
  const Status missing = MappedFile::open(dir_ / "missing").status();
  EXPECT_EQ(missing.code(), Code::not_found);
  EXPECT_EQ(missing.message(), "cannot open '" + (dir_ / "missing").string() + "': No such file or directory");
  EXPECT_EQ(MappedFile::open(dir_).status().message(), "'" + dir_.string() + "' is a directory, not a file");
  ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(dir_ / "pipe").status().code(), Code::invalid_argument);
  EXPECT_EQ(write_text_file(dir_ / "no" / "where", "x").code(), Code::not_found);
  ASSERT_TRUE(write_text_file(dir_ / "ten", "0123456789").ok());
  EXPECT_EQ(read_text_file(dir_ / "ten", 9).status().code(), Code::limit);
  EXPECT_TRUE(read_text_file(dir_ / "ten", 10).ok());
}

TEST_F(FileTest, LeavesNothingWithoutCommit) {
  ASSERT_TRUE(write_text_file(dir_ / "kept", "old").ok());
  {
    auto file = AtomicFile::create(dir_ / "kept");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("new").ok());
    EXPECT_EQ(entries(), 2);
  }
  EXPECT_EQ(entries(), 1);
  EXPECT_EQ(text(dir_ / "kept"), "old");
}

TEST_F(FileTest, LargeAndSmallWritesAndHeaderPatch) {
  std::string expected;
  auto file = AtomicFile::create(dir_ / "big");
  ASSERT_TRUE(file.ok());
  for (std::size_t i = 0; i < 40; ++i) {
    const std::string piece(i * i * 3001 % 2500000, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(file->write(piece).ok());
    expected += piece;
    ASSERT_EQ(file->position(), static_cast<int64_t>(expected.size()));
  }
  const std::string patch = "HEADER";
  ASSERT_TRUE(file->write_at(3, std::as_bytes(std::span(patch))).ok());
  expected.replace(3, patch.size(), patch);
  EXPECT_EQ(file->write_at(file->position() - 2, std::as_bytes(std::span(patch))).code(), Code::internal);
  ASSERT_TRUE(file->write("tail").ok());
  expected += "tail";
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(text(dir_ / "big"), expected);
  EXPECT_EQ(entries(), 1);
}

TEST_F(FileTest, RefusesToReplaceWhatIsNoFile) {
  EXPECT_EQ(AtomicFile::create(dir_).status().code(), Code::invalid_argument);
  EXPECT_EQ(write_text_file("/dev/null", "x").code(), Code::invalid_argument);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(FileTest, KeepsLinksAndPermissions) {
  ASSERT_TRUE(write_text_file(dir_ / "target", "1").ok());
  ASSERT_EQ(::chmod((dir_ / "target").c_str(), 0640), 0);
  fs::create_symlink("target", dir_ / "link");
  ASSERT_TRUE(write_text_file(dir_ / "link", "2").ok());
  EXPECT_TRUE(fs::is_symlink(dir_ / "link"));
  EXPECT_EQ(text(dir_ / "target"), "2");
  struct stat st;
  ASSERT_EQ(::stat((dir_ / "target").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0640U);
}

TEST_F(FileTest, LongNamesWork) {
  const std::string name(250, 'n');
  ASSERT_TRUE(write_text_file(dir_ / name, "x").ok());
  EXPECT_EQ(text(dir_ / name), "x");
  EXPECT_EQ(write_text_file(dir_ / std::string(300, 'n'), "x").code(), Code::invalid_argument);
}

// The limit makes write() fail as a full disk does, and raises a signal that must not kill.
TEST_F(FileTest, FileSizeLimitIsAnErrorAndLeavesTheOldFile) {
  ASSERT_TRUE(write_text_file(dir_ / "out", "old").ok());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 100000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status s = write_text_file(dir_ / "out", std::string(3000000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(s.code(), Code::limit);
  EXPECT_EQ(s.message(), "cannot write '" + (dir_ / "out").string() + "': File too large");
  EXPECT_EQ(text(dir_ / "out"), "old");
  EXPECT_EQ(entries(), 1);
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGXFSZ), 0);
}

TEST_F(FileTest, AFailedFileStaysFailed) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 1000;
  auto file = AtomicFile::create(dir_ / "out");
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_FALSE(file->write(std::string(3000000, 'x')).ok());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(file->write("more").code(), Code::limit);
  EXPECT_EQ(file->commit().code(), Code::limit);
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

// Runs `work` in a child process and returns its exit status, or -1 when it ended otherwise.
template <class F>
int in_child(F work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = -1;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(FileTest, PermissionsAreErrorsWithTheirReason) {
  ASSERT_TRUE(write_text_file(dir_ / "secret", "x").ok());
  ASSERT_EQ(::chmod((dir_ / "secret").c_str(), 0), 0);
  ASSERT_EQ(::chmod(dir_.c_str(), 0555), 0);
  const int result = in_child([&] {
    if (::geteuid() == 0 && ::seteuid(65534) != 0) return 9;  // root is refused nothing
    const Status read = MappedFile::open(dir_ / "secret").status();
    if (read.code() != Code::io || !read.message().ends_with("Permission denied")) return 1;
    const Status write = write_text_file(dir_ / "new", "x");
    if (write.code() != Code::io ||
        write.message() != "cannot create '" + (dir_ / "new").string() + "': Permission denied")
      return 2;
    return 0;
  });
  ASSERT_EQ(::chmod(dir_.c_str(), 0755), 0);
  EXPECT_EQ(result, 0);
  EXPECT_EQ(entries(), 1);
}

TEST_F(FileTest, AKilledWriterLeavesTheOldFileWhole) {
  ASSERT_TRUE(write_text_file(dir_ / "out", "old").ok());
  EXPECT_EQ(in_child([&] {
              auto file = AtomicFile::create(dir_ / "out");
              if (!file.ok() || !file->write(std::string(5000000, 'n')).ok()) return 1;
              ::raise(SIGKILL);
              return 0;
            }),
            -1);
  EXPECT_EQ(text(dir_ / "out"), "old");
}

TEST_F(FileTest, AFolderThatVanishesIsAnError) {
  fs::create_directory(dir_ / "sub");
  auto file = AtomicFile::create(dir_ / "sub" / "out");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->write("x").ok());
  fs::remove_all(dir_ / "sub");
  const Status s = file->commit();
  EXPECT_EQ(s.code(), Code::not_found);
  EXPECT_NE(s.message().find((dir_ / "sub" / "out").string()), std::string::npos) << s.message();
}

}  // namespace
}  // namespace nbl
