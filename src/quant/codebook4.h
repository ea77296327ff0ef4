// Four-bit codes into a fixed table, blocks with their largest magnitude as scale: what nf4 and fp4 share. Codes, scales and
// nested scales are those of bitsandbytes, bit for bit.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "quant/method.h"

namespace nbl::quant {

/// A table of 16 values in [-1, 1] and how a normalized weight finds its code: the number of boundaries below it is its place
/// among the values in rising order.
struct Codebook4 {
  std::array<float, 16> table{};
  std::array<uint8_t, 16> order{};        ///< codes by rising value
  std::array<float, 16> numbers{};        ///< the same, and 19 boundaries: as kernels::TableCodesArgs wants them
  std::array<float, 19> boundaries{};     ///< x above boundary i < 15 has a place above i
  float base = 0;                         ///< the lowest value, and by how much the value rises at each boundary
  std::array<float, 15> rises{};

  static Codebook4 create(const std::array<float, 16>& table);
  uint8_t code(float x) const noexcept;
  /// table[code(x)], without the table: a step at every boundary.
  float value(float x) const noexcept {
    float sum = base;
    for (int i = 0; i < 15; ++i) sum += x > boundaries[static_cast<std::size_t>(i)] ? rises[static_cast<std::size_t>(i)] : 0.0f;
    return sum;
  }
};

struct BlockRule {
  int64_t block = 64;
  bool nested = false;   ///< scales in 8 bits of a dynamic map, 256 to one f32
  int search_steps = 0;  ///< scales tried for each block, the one of least error (weighed by the inputs) taken; 0: the largest magnitude
};

/// Options shared by the methods: block_size, nested, search.
std::span<const OptionSpec> block_options();
BlockRule block_rule(const Options& options);
double nominal_block_bits(const BlockRule& rule);

Result<LinearResult> quantize_blocks(const LinearTask& task, const Codebook4& codebook, const BlockRule& rule,
                                     const MethodContext& context);

/// A method of such codes: a name and a table.
class Codebook4Method final : public Method {
 public:
  Codebook4Method(std::string_view id, std::string_view summary, const std::array<float, 16>& table)
      : id_(id), summary_(summary), codebook_(Codebook4::create(table)) {}
  std::string_view id() const override { return id_; }
  std::string_view summary() const override { return summary_; }
  std::span<const OptionSpec> options() const override { return block_options(); }
  Status check(const Options& options) const override;
  uint32_t needs(const Options& options) const override { return options.integer("search") > 0 ? kNeedSquare : kNeedNone; }
  double nominal_bits(const Options& options) const override { return nominal_block_bits(block_rule(options)); }
  bool by_rows(const Options& options, int64_t k) const override {
    const BlockRule rule = block_rule(options);
    return !rule.nested && k % rule.block == 0;  // else blocks run on into the next row
  }
  Result<LinearResult> quantize(const LinearTask& task, const Options& options, const MethodContext& context) const override {
    return quantize_blocks(task, codebook_, block_rule(options), context);
  }

 private:
  std::string_view id_, summary_;
  Codebook4 codebook_;
};

/// The 256 values of the signed dynamic map with 7 exponent bits (Dettmers et al., 2022), rising.
const std::array<float, 256>& dynamic_map();

}  // namespace nbl::quant
