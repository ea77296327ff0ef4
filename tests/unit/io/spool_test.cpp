#include "io/spool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/hash.h"
#include "support/temp_dir.h"

namespace nbl::io {
namespace {

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + seed) & 0xff);
  return bytes;
}

TEST(TensorSpool, SameBytesWhateverTheOrderOfAdding) {
  test::TempDir dir;
  const auto a = pattern(3'000'000, 1), b = pattern(100, 2);
  std::string hashes[2];
  for (const int turn : {0, 1}) {
    auto spool = TensorSpool::create(dir.path());
    ASSERT_TRUE(spool.ok()) << spool.status().message();
    EXPECT_EQ(test::entries(dir.path()), static_cast<std::size_t>(turn));  // the spool has no name
    if (turn == 0) {
      ASSERT_TRUE(spool->add("a", "U8", {3'000'000}, a).ok());
    }
    ASSERT_TRUE(spool->add("b", "U8", {}, b, 64).ok());
    if (turn == 1) {
      ASSERT_TRUE(spool->add("a", "U8", {3'000'000}, a).ok());
    }
    const std::vector<std::size_t> order = turn == 0 ? std::vector<std::size_t>{1, 0} : std::vector<std::size_t>{0, 1};
    auto hash = spool->write_file(dir / "out", order, {{"k", "v"}}, true);
    ASSERT_TRUE(hash.ok()) << hash.status().message();
    hashes[turn] = *hash;
    const std::string content = test::read_all(dir / "out");
    EXPECT_EQ(*hash, sha256_hex(std::as_bytes(std::span(content.data(), content.size()))));
  }
  EXPECT_EQ(hashes[0], hashes[1]);
  auto container = open_safetensors(dir / "out");
  ASSERT_TRUE(container.ok()) << container.status().message();
  EXPECT_EQ((*container)->find("b")->shape, (Shape{128}));
  EXPECT_EQ((*container)->find("b")->bytes.bytes()[127], std::byte{0});
  EXPECT_TRUE(std::equal(a.begin(), a.end(), (*container)->find("a")->bytes.bytes().begin()));
}

/// Tensors of none, some and several pieces, aligned or not, and one behind them that holds their hashes.
TEST(TensorSpool, TheLastTensorIsToldTheOthersHashes) {
  test::TempDir dir;
  std::string first_hash;
  for (const int threads : {1, 2}) {
    auto spool = TensorSpool::create(dir.path());
    ASSERT_TRUE(spool.ok()) << spool.status().message();
    spool->set_threads(threads);
    const std::size_t sizes[] = {0, 7'000'064, 1 << 20, 100, 64, 0, 3'000'001, 1, 0};
    std::vector<std::size_t> order;
    for (const std::size_t size : sizes) {
      const std::string name = "t" + std::to_string(order.size());
      ASSERT_TRUE(spool->add(name, "U8", {static_cast<int64_t>(size)}, pattern(size, static_cast<unsigned>(size))).ok());
      order.insert(order.begin(), order.size());
    }
    std::string told;
    const TensorSpool::Last last{{"last", "U8", {3}, 3}, [&] {
                                   for (const auto& entry : spool->entries()) told += entry.sha256 + "\n";
                                   return std::string("abc");
                                 }};
    auto hash = spool->write_file(dir / "out", order, {}, true, &last);
    ASSERT_TRUE(hash.ok()) << hash.status().message();
    std::string expected;
    for (const std::size_t size : sizes) expected += sha256_hex(pattern(size, static_cast<unsigned>(size))) + "\n";
    EXPECT_EQ(told, expected) << threads << " threads";
    const std::string content = test::read_all(dir / "out");
    EXPECT_TRUE(content.ends_with("abc"));
    EXPECT_EQ(*hash, sha256_hex(std::as_bytes(std::span(content.data(), content.size()))));
    if (first_hash.empty()) first_hash = *hash;
    EXPECT_EQ(*hash, first_hash);
  }
}

TEST(TensorSpool, AFullDiskIsAnErrorAndLeavesNothing) {
  test::TempDir dir;
  auto spool = TensorSpool::create(dir.path());
  ASSERT_TRUE(spool.ok());
  const auto bytes = pattern(1 << 20, 1);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{100'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = spool->add("a", "U8", {1 << 20}, bytes);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(status.code(), Code::limit) << status.message();
  EXPECT_EQ(test::entries(dir.path()), 0u);
}

TEST(TensorSpool, MissingDirectory) {
  test::TempDir dir;
  EXPECT_EQ(TensorSpool::create(dir / "none").status().code(), Code::not_found);
}

TEST(NaturalLess, DigitsCountAsNumbers) {
  EXPECT_TRUE(natural_less("layers.2.x", "layers.10.x"));
  EXPECT_FALSE(natural_less("layers.10.x", "layers.2.x"));
  EXPECT_TRUE(natural_less("a", "b"));
  EXPECT_TRUE(natural_less("a", "a.1"));
  EXPECT_FALSE(natural_less("a", "a"));
  EXPECT_TRUE(natural_less("a9z", "a10"));
  EXPECT_NE(natural_less("a01", "a1"), natural_less("a1", "a01"));
  EXPECT_TRUE(natural_less("n00000000000000000000000000000001", "n99999999999999999999999999"));
}

}  // namespace
}  // namespace nbl::io
