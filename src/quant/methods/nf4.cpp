// nf4: four-bit codes into a table of normal quantiles, one f32 scale (the largest magnitude) a block. Codes and scales equal
// those of bitsandbytes bit for bit when the row length is a multiple of the block size. bitsandbytes lays its blocks over the
// flattened weight, so that with other lengths they straddle rows; here a block never leaves its row, and the last one of a
// row is short.
#include <algorithm>
#include <array>
#include <cmath>

#include "quant/affine.h"
#include "quant/calibrated.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

constexpr std::array<float, 16> kTable = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f};

/// A normalized weight above boundary i has a code above i.
constexpr std::array<float, 15> kBoundaries = {
    -0.8480964004993439f,  -0.6106329262256622f,  -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
    -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f,   0.2035212516784668f,
    0.2920137718319893f,   0.3893125355243683f,   0.5016634166240692f,  0.6427869200706482f,   0.8614784178118011f};

uint8_t nf4_code(float x) noexcept {
  int code = 0;
  for (float boundary : kBoundaries) code += x > boundary ? 1 : 0;
  return static_cast<uint8_t>(code);
}

const OptionSpec kOptions[] = {
    {"block_size", OptionSpec::Type::integer, "64", 16, 65536, {}, "weights that share a scale; -1 is not allowed"},
};

class Nf4Method final : public Method {
 public:
  std::string_view id() const override { return "nf4"; }
  std::string_view summary() const override { return "4-bit normal-float codes with block scales (QLoRA)"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override {
    return check_group_size(options.integer("block_size")).with_context("block_size");
  }
  uint32_t needs(const Options&) const override { return kNeedNone; }
  double nominal_bits(const Options& options) const override {
    return 4.0 + 32.0 / static_cast<double>(options.integer("block_size"));
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    const int64_t block = effective_group(options.integer("block_size"), task.k);
    const int64_t blocks = (task.k + block - 1) / block;
    std::vector<uint8_t> codes(task.weight.size());
    std::vector<float> scales(static_cast<std::size_t>(task.n * blocks));
    context.team->parallel_for(task.n, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t b = 0; b < blocks; ++b) {
          const int64_t first = row * task.k + b * block, count = std::min(block, task.k - b * block);
          const float* w = task.weight.data() + first;
          float reach = 0;
          for (int64_t i = 0; i < count; ++i) reach = std::max(reach, std::fabs(w[i]));
          scales[static_cast<std::size_t>(row * blocks + b)] = reach;
          const float inverse = reach > 0 ? 1.0f / reach : 0.0f;
          const bool usable = std::isfinite(inverse);
          uint8_t* out = codes.data() + first;
          for (int64_t i = 0; i < count; ++i) out[i] = nf4_code(usable ? w[i] * inverse : w[i] / reach);
        }
      }
    });
    CodebookParts parts;
    parts.group_size = stored_group(block, task.k);
    parts.table = kTable;
    parts.codes = codes;
    parts.scales = scales;
    parts.scale_type = DType::f32;
    NBL_ASSIGN(Segment segment, pack_codebook(task.n, task.k, parts));
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), {}, context);
  }
};

}  // namespace

const Method* nf4_method() {
  static const Nf4Method method;
  return &method;
}

}  // namespace nbl::quant
