// Buffer, status, random, hash, cpu and progress.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "base/buffer.h"
#include "base/cpu.h"
#include "base/hash.h"
#include "base/plain_text.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/sha256_blocks.h"
#include "base/status.h"

namespace nbl {
namespace {

TEST(Buffer, IsAlignedZeroedAndMovable) {
  auto made = Buffer::create(1000);
  ASSERT_TRUE(made.ok());
  Buffer b = std::move(made).value();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data()) % kAlignment, 0U);
  EXPECT_EQ(b.size(), 1000U);
  for (std::size_t i = 0; i < 1024; ++i) ASSERT_EQ(b.data()[i], std::byte{0});  // the capacity is whole lines
  b.as<float>()[249] = 3.0F;
  const Buffer c = std::move(b);
  EXPECT_EQ(c.as<float>()[249], 3.0F);
  EXPECT_EQ(b.data(), nullptr);  // NOLINT(bugprone-use-after-move): moved-from is empty
  EXPECT_TRUE(Buffer::create(0).ok());
}

TEST(Buffer, LargeOnesAreAlignedZeroedAndGivenBack) {
  for (const std::size_t bytes : {(std::size_t{4} << 20) - 1, std::size_t{4} << 20, (std::size_t{6} << 20) + 13}) {
    for (int round = 0; round < 3; ++round) {  // memory that comes back must be zero again
      auto made = Buffer::create(bytes);
      ASSERT_TRUE(made.ok()) << made.status().message();
      Buffer b = std::move(made).value();
      EXPECT_EQ(b.size(), bytes);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data()) % kAlignment, 0u);
      const std::size_t step = 4093;
      for (std::size_t i = 0; i < bytes; i += step) ASSERT_EQ(b.data()[i], std::byte{0}) << i << " of " << bytes;
      ASSERT_EQ(b.data()[bytes - 1], std::byte{0});
      for (std::size_t i = 0; i < bytes; i += step) b.data()[i] = std::byte{1};
      b.data()[bytes - 1] = std::byte{1};
    }
  }
}

TEST(Buffer, ImpossibleSizesAreErrors) {
  EXPECT_EQ(Buffer::create(std::numeric_limits<std::size_t>::max()).status().code(), Code::out_of_memory);
  EXPECT_EQ(Buffer::create(std::size_t{1} << 62).status().code(), Code::out_of_memory);
}

Status fails() { return {Code::io, "no"}; }
Result<int> doubled(Result<int> r) {
  NBL_ASSIGN(const int v, r);
  return 2 * v;
}
Status chain() {
  NBL_TRY(Status());
  NBL_TRY(fails());
  return {};
}

TEST(Status, PropagatesAndNames) {
  EXPECT_EQ(*doubled(21), 42);
  EXPECT_EQ(doubled(fails()).status().message(), "no");
  EXPECT_EQ(chain().with_context("tensor x").message(), "tensor x: no");
  EXPECT_TRUE(Status().with_context("tensor x").ok());
  std::set<std::string> names;
  for (int i = 0; i <= 11; ++i) names.insert(code_name(static_cast<Code>(i)));
  EXPECT_EQ(names.size(), 12U);
  EXPECT_FALSE(names.contains("unknown"));
}

// From an independent implementation of splitmix64 and xoshiro256** (in Python, integers of arbitrary size).
TEST(Random, KnownSequence) {
  Random r(42);
  EXPECT_EQ(r.next(), 0x15780b2e0c2ec716U);
  EXPECT_EQ(r.next(), 0x6104d9866d113a7eU);
  EXPECT_EQ(r.next(), 0xae17533239e499a1U);
}

TEST(Random, MomentsAndBounds) {
  Random r(1);
  double sum = 0;
  double squares = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double v = r.normal();
    sum += v;
    squares += v * v;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.01);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.02);
  int histogram[7] = {};
  for (int i = 0; i < 70000; ++i) ++histogram[r.below(7)];
  for (const int count : histogram) EXPECT_NEAR(count, 10000, 500);
  for (int i = 0; i < 1000; ++i) {
    const float u = r.uniform();
    ASSERT_TRUE(u >= 0.0F && u < 1.0F);
  }
}

std::string sha(std::string_view s) { return sha256_hex(std::as_bytes(std::span(s.data(), s.size()))); }

TEST(Sha256, PublishedVectors) {
  EXPECT_EQ(sha(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, InstructionsGiveWhatThePlainCodeGives) {
  const Sha256Blocks native = sha256_blocks_native();
  if (native == nullptr) GTEST_SKIP() << "this processor has no instructions for SHA-256";
  std::mt19937 rng(256);
  for (std::size_t blocks = 0; blocks < 40; ++blocks) {
    std::vector<uint8_t> bytes(64 * blocks + 1);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng());
    uint32_t one[8], other[8];
    for (std::size_t i = 0; i < 8; ++i) one[i] = other[i] = static_cast<uint32_t>(rng());
    sha256_blocks_scalar(one, bytes.data() + 1, blocks);  // at no particular alignment
    native(other, bytes.data() + 1, blocks);
    for (std::size_t i = 0; i < 8; ++i) ASSERT_EQ(one[i], other[i]) << blocks << " blocks, word " << i;
  }
}

TEST(Sha256, PiecesOfAnySizeGiveTheSame) {
  std::string text;
  for (int i = 0; i < 400; ++i) text.push_back(static_cast<char>(i * 7));
  for (std::size_t length = 0; length < 200; ++length) {
    const std::string_view s(text.data(), length);
    for (const std::size_t piece : {1U, 3U, 63U, 64U, 65U}) {
      Sha256 h;
      for (std::size_t at = 0; at < length; at += piece) {
        const auto part = s.substr(at, piece);
        h.update(std::as_bytes(std::span(part.data(), part.size())));
      }
      ASSERT_EQ(h.finish_hex(), sha(s)) << length << " in pieces of " << piece;
    }
  }
}

TEST(Sha256, BothAtOnceAreWhatEachIs) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text.push_back(static_cast<char>(i * 11));
  for (const std::size_t before : {0U, 1U, 64U, 100U}) {  // what the first has seen already
    for (const std::size_t piece : {1U, 64U, 65U, 300U, 1000U}) {
      Sha256 a, b;
      a.update(std::as_bytes(std::span(text.data(), before)));
      for (std::size_t at = 0; at < text.size(); at += piece) {
        const auto part = std::string_view(text).substr(at, piece);
        update_both(a, b, std::as_bytes(std::span(part.data(), part.size())));
      }
      EXPECT_EQ(a.finish_hex(), sha(text.substr(0, before) + text)) << before << " before, pieces of " << piece;
      EXPECT_EQ(b.finish_hex(), sha(text)) << before << " before, pieces of " << piece;
    }
  }
}

TEST(PlainText, EscapesWhatIsNoText) {
  EXPECT_EQ(plain_text("caf\xc3\xa9 \xe2\x96\x81 \xf0\x9f\x99\x82"), "caf\xc3\xa9 \xe2\x96\x81 \xf0\x9f\x99\x82");
  EXPECT_EQ(plain_text(std::string_view("a\0b\x1b[31m\n\x7f", 10)), "a\\x00b\\x1b[31m\\x0a\\x7f");
  EXPECT_EQ(plain_text("\xc2\x85\xc2\xa0"), "\\xc2\\x85\xc2\xa0");                      // U+0085 is a control character, U+00A0 none
  EXPECT_EQ(plain_text("\xff\xc3 \xed\xa0\x80"), "\\xff\\xc3 \\xed\\xa0\\x80");         // surrogates are no UTF-8
  EXPECT_EQ(plain_text(""), "");
}

TEST(PlainText, IsCutBetweenCharacters) {
  const std::string text = "ab\xc3\xa9\x01z";
  const std::string whole = plain_text(text);
  for (std::size_t capacity = 1; capacity < 16; ++capacity) {
    std::string out(capacity + 1, '#');
    const std::size_t size = write_plain_text(text, out.data(), capacity);
    ASSERT_LT(size, capacity);
    EXPECT_EQ(out[size], '\0');
    EXPECT_EQ(out[capacity], '#');
    EXPECT_EQ(out.substr(0, size), whole.substr(0, size));
    EXPECT_TRUE(size == whole.size() || size == 0 || size == 1 || size == 2 || size == 4 || size == 8) << size;
  }
}

TEST(Cpu, NamesReadBack) {
  for (const Isa isa : usable_isas()) {
    EXPECT_TRUE(isa_usable(isa));
    EXPECT_EQ(*isa_from_name(isa_name(isa)), isa);
  }
  EXPECT_EQ(usable_isas().front(), Isa::scalar);
  EXPECT_EQ(usable_isas().back(), best_isa());
  EXPECT_EQ(isa_from_name("mmx").status().code(), Code::invalid_argument);
  EXPECT_FALSE(isa_usable(static_cast<Isa>(31)));
  EXPECT_FALSE(isa_usable(static_cast<Isa>(1000)));
}

#if defined(__x86_64__)
TEST(Cpu, AgreesWithTheCompilersOwnDetection) {
  __builtin_cpu_init();
  EXPECT_EQ(isa_usable(Isa::avx2), __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0);
  EXPECT_EQ(isa_usable(Isa::avx512),
            __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0);
  EXPECT_EQ(isa_usable(Isa::avx512vnni), __builtin_cpu_supports("avx512vnni") != 0);
}
#endif

TEST(Cpu, MemoryFiguresAreOrdered) {
  EXPECT_GE(available_processors(), 1);
  EXPECT_GT(physical_memory_bytes(), int64_t{1} << 26);
  EXPECT_GT(current_rss_bytes(), 0);
  EXPECT_GE(peak_rss_bytes(), current_rss_bytes());
  const int64_t before = peak_rss_bytes();
  auto block = Buffer::create(std::size_t{64} << 20);
  ASSERT_TRUE(block.ok());
  std::fill_n(block->data(), block->size(), std::byte{1});
  EXPECT_GE(peak_rss_bytes(), before + (int64_t{32} << 20));
  EXPECT_FALSE(cpu_model_name().empty());
}

TEST(Progress, CancelsWithTheStageNamed) {
  EXPECT_TRUE(report_progress({}, {}).ok());
  int calls = 0;
  const ProgressFn twice = [&](const ProgressEvent&) { return ++calls < 2; };
  EXPECT_TRUE(report_progress(twice, {"quantize", "layer 1", 1, 2}).ok());
  const Status s = report_progress(twice, {"quantize", "layer 2", 2, 2});
  EXPECT_EQ(s.code(), Code::cancelled);
  EXPECT_EQ(s.message(), "cancelled during quantize (layer 2)");
}

}  // namespace
}  // namespace nbl
