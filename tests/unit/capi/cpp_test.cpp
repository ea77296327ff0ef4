// nibble.hpp: handles that move and do not copy, errors as exceptions or as results, callers' exceptions through jobs.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nibble/nibble.hpp>
#include <type_traits>

#include "support/temp_dir.h"

namespace nbl::test {
namespace {

template <class Handle>
constexpr bool move_only = std::is_nothrow_move_constructible_v<Handle> && std::is_move_assignable_v<Handle> &&
                           !std::is_copy_constructible_v<Handle> && !std::is_copy_assignable_v<Handle>;
static_assert(move_only<nibble::Runtime> && move_only<nibble::Tokenizer> && move_only<nibble::Checkpoint> && move_only<nibble::Model> &&
              move_only<nibble::Session> && move_only<nibble::Batch> && move_only<nibble::Sampler> && move_only<nibble::Quantizer> &&
              move_only<nibble::Export> && move_only<nibble::Evaluation> && move_only<nibble::QTensor>);

const std::string kModel = std::string(NIBBLE_SOURCE_DIR) + "/examples/models/prose-3.7m";

TEST(Cpp, ErrorsAreExceptionsOrResultsByChoice) {
  const nibble::Runtime runtime;
  try {
    const nibble::Model model(runtime, "/nowhere");
    FAIL() << "opened";
  } catch (const nibble::Error& e) {
    EXPECT_EQ(e.status(), NBL_E_NOT_FOUND);
    EXPECT_NE(std::string(e.what()).find("/nowhere"), std::string::npos);
  }
  auto none = nibble::attempt([&] { return nibble::Model(runtime, "/nowhere"); });
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().status(), NBL_E_NOT_FOUND);
  EXPECT_THROW((void)none.value(), nibble::Error);
  auto model = nibble::attempt([&] { return nibble::Model(runtime, kModel); });
  ASSERT_TRUE(model.has_value());
  nibble::Model moved = std::move(model).value();
  EXPECT_EQ(nibble::attempt([&] { return moved.tokenizer().encode("It was").size(); }).value_or(std::size_t{0}),
            moved.tokenizer().encode("It was").size());
  nibble::Quantizer quantizer(runtime, "rtn");
  EXPECT_TRUE(nibble::attempt([&] { quantizer.set("seed", "3"); }));
  const auto refused = nibble::attempt([&] { quantizer.set("no such setting", "3"); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status(), NBL_E_INVALID_ARGUMENT);
  // What is none of the library's errors passes through.
  EXPECT_THROW((void)nibble::attempt([]() -> int { throw std::bad_alloc(); }), std::bad_alloc);
}

TEST(Cpp, ACallersExceptionEndsTheJobAndComesBack) {
  struct Mine {};
  const nibble::Runtime runtime;
  const TempDir folder;
  const nibble::Checkpoint original(runtime, kModel);
  nibble::Quantizer quantizer(runtime, "rtn:bits=4,group=64");
  quantizer.set_progress([](const nibble::Progress&) -> bool { throw Mine(); });
  EXPECT_THROW(quantizer.run(original, (folder / "out").string()), Mine);
  EXPECT_EQ(entries(folder.path()), 0u);
  quantizer.set_progress([](const nibble::Progress&) { return false; });
  const auto cancelled = nibble::attempt([&] { return quantizer.run(original, (folder / "out").string()); });
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().status(), NBL_E_CANCELLED);
  quantizer.set_progress(nullptr);
  EXPECT_NE(quantizer.run(original, (folder / "out").string()).find("\"bits_per_weight\""), std::string::npos);

  nibble::Session session(nibble::Model(runtime, (folder / "out").string()));
  const auto prompt = std::vector<int32_t>{300, 400};
  EXPECT_THROW(session.generate(prompt, {.max_new_tokens = 4}, [](int32_t, std::string_view) -> bool { throw Mine(); }), Mine);
  int tokens = 0;
  nibble::Session again(nibble::Model(runtime, (folder / "out").string()));
  again.generate(prompt, {.max_new_tokens = 4}, [&](int32_t id, std::string_view) { return tokens += id >= 0, true; });
  EXPECT_EQ(tokens, 4);
}

}  // namespace
}  // namespace nbl::test
