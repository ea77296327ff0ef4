#include "model/weight_arena.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace nbl::model {
namespace {

QTensor random_tensor(int64_t n, int64_t k, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> codes(static_cast<std::size_t>(n * k));
  for (uint8_t& c : codes) c = static_cast<uint8_t>(random.below(16));
  const std::vector<float> scales(static_cast<std::size_t>(n * ((k + 63) / 64)), 0.5f);
  AffineParts parts;
  parts.group_size = 64;
  parts.codes = codes;
  parts.scales = scales;
  return make_qtensor(n, k, *pack_affine(n, k, parts));
}

std::vector<float> values(const QTensor& tensor) {
  std::vector<float> all(static_cast<std::size_t>(tensor.n * tensor.k));
  for (int64_t r = 0; r < tensor.n; ++r) tensor.dequantize_row(r, all.data() + r * tensor.k);
  return all;
}

/// Values stay, alignment stays, tensors outlive the arena, and more than one chunk is filled.
TEST(WeightArena, KeepsValuesBeyondItsOwnLife) {
  std::vector<QTensor> tensors;
  std::vector<std::vector<float>> before;
  {
    WeightArena arena;
    for (uint64_t i = 0; i < 24; ++i) {
      tensors.push_back(random_tensor(i % 2 == 0 ? 37 : 1999, i % 2 == 0 ? 100 : 2000, i));
      before.push_back(values(tensors.back()));
      ASSERT_TRUE(tensors.back().segments[0].codes.owns());
      ASSERT_TRUE(arena.adopt(&tensors.back()).ok());
      EXPECT_FALSE(tensors.back().segments[0].codes.owns());
    }
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_TRUE(tensors[i].validate("t").ok());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensors[i].segments[0].codes.data()) % kAlignment, 0u);
    EXPECT_EQ(values(tensors[i]), before[i]) << i;
  }
}

TEST(WeightArena, LeavesMappedArraysWhereTheyAre) {
  QTensor tensor = random_tensor(16, 64, 1);
  const Storage owner = tensor.segments[0].codes;
  tensor.segments[0].codes = Storage::borrow(owner.bytes(), std::make_shared<Storage>(owner));
  WeightArena arena;
  ASSERT_TRUE(arena.adopt(&tensor).ok());
  EXPECT_EQ(tensor.segments[0].codes.data(), owner.data());
}

}  // namespace
}  // namespace nbl::model
