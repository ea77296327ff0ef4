#include "quant/codebook4.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/checked.h"
#include "kernels/rounding/rounding.h"
#include "quant/affine.h"
#include "quant/calibrated.h"

namespace nbl::quant {
namespace {

constexpr int64_t kNestedBlock = 256;

const OptionSpec kBlockOptions[] = {
    {"block_size", OptionSpec::Type::integer, "64", 16, 65536, {}, "weights that share a scale"},
    {"nested", OptionSpec::Type::boolean, "false", 0, 1, {}, "scales in 8 bits, 256 of them to one 32-bit number (double quantization)"},
    {"search", OptionSpec::Type::integer, "0", 0, 200, {}, "scales tried for each block, the least error on the calibration taken; 0: the largest magnitude"},
};

/// A run of the weight's elements that share a scale.
struct Block {
  int64_t first = 0, count = 0;
};

/// How blocks lie in the weight and how the QTensor's groups express them.
struct BlockLayout {
  int64_t n = 0, k = 0, block = 0;
  bool by_row = false;    ///< blocks start anew in every row
  int64_t group = 0;      ///< as stored: columns of a group, 0 for a row
  int64_t groups = 0;     ///< a row
  int64_t repeat = 1;     ///< consecutive groups, row-major, that are one block

  int64_t blocks() const { return by_row ? n * groups : ceil_div(n * k, block); }
  Block at(int64_t b) const {
    if (!by_row) return {b * block, std::min(block, n * k - b * block)};
    const int64_t row = b / groups, first = b % groups * block;
    return {row * k + first, std::min(block, k - first)};
  }
};

/// Blocks run over the flattened weight, as in bitsandbytes. Where they do not end with the rows, groups are what both divide into;
/// where that is no multiple of 16, blocks stay inside their row instead.
BlockLayout layout_of(const LinearTask& task, int64_t block, std::vector<std::string>* notes) {
  BlockLayout l;
  l.n = task.n;
  l.k = task.k;
  l.block = block;
  if (task.k % block == 0) {
    l.group = stored_group(block, task.k);
    l.groups = task.k / block;
  } else if (block % task.k == 0) {
    l.groups = 1;
    l.repeat = block / task.k;
  } else if (const int64_t common = std::gcd(task.k, block); common % 16 == 0) {
    l.group = common;
    l.groups = task.k / common;
    l.repeat = block / common;
  } else {
    l.by_row = true;
    l.block = std::min(block, task.k);
    l.group = stored_group(block, task.k);
    l.groups = ceil_div(task.k, l.block);
    notes->push_back("blocks end with their row: its length and the block size share no multiple of 16");
  }
  return l;
}

/// Codes of one block at one scale, as bitsandbytes chooses them.
void block_codes(const float* w, int64_t count, float scale, const Codebook4& codebook, const kernels::RoundingKernels& kernel,
                 uint8_t* codes) {
  kernel.table_codes({w, count, scale, codebook.boundaries.data(), codebook.numbers.data(), codes});
}

/// The scale of least weighted squared error: a grid of shares of the largest magnitude, then the least-squares fit of the scale
/// to the codes found, twice.
float search_scale(const float* w, const float* importance, int64_t count, float reach, int steps,
                   const Codebook4& codebook) {
  if (reach <= 0) return reach;
  const auto measure = [&](float scale, double* fit) {
    double error = 0, wt = 0, tt = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float t = codebook.table[codebook.code(w[i] / scale)], d = w[i] - scale * t;
      const double h = importance == nullptr ? 1.0 : static_cast<double>(importance[i]);
      error += h * static_cast<double>(d) * static_cast<double>(d);
      wt += h * static_cast<double>(w[i]) * static_cast<double>(t);
      tt += h * static_cast<double>(t) * static_cast<double>(t);
    }
    *fit = tt > 0 ? wt / tt : 0.0;
    return error;
  };
  float best = reach;
  double fit = 0, best_fit = 0;
  double least = measure(reach, &best_fit);
  const auto attempt = [&](float scale) {
    if (!(scale > 0) || !std::isfinite(scale)) return;
    const double error = measure(scale, &fit);
    if (error < least) {
      least = error;
      best = scale;
      best_fit = fit;
    }
  };
  for (int s = 0; s < steps; ++s) {
    attempt(reach * static_cast<float>(0.6 + 0.55 * s / std::max(1, steps - 1)));
  }
  for (int round = 0; round < 2; ++round) attempt(static_cast<float>(best_fit));
  return best;
}

struct Nested {
  std::vector<uint8_t> codes;   ///< one a block
  std::vector<float> supers;
  float offset = 0;
};

/// bitsandbytes looks x in [-1, 1] up in 65536 steps on a CPU: the code nearest to the step's value, which is not always the one
/// nearest to x.
uint8_t map_code(float x) noexcept {
  const auto& map = dynamic_map();
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): its rounding, to the bit
  x = static_cast<float>(static_cast<int>((x + 1.0f) * 32767.5f + 0.5f)) / 32767.5f - 1.0f;
  const auto above = std::lower_bound(map.begin(), map.end(), x);
  if (above == map.begin()) return 0;
  if (above == map.end()) return 255;
  const std::size_t high = static_cast<std::size_t>(above - map.begin());
  return static_cast<uint8_t>(x - map[high - 1] <= map[high] - x ? high - 1 : high);
}

/// What bitsandbytes makes of the scales. Its mean is a float32 sum whose order depends on the processor; this one is the
/// correctly rounded mean.
Nested nest(const std::vector<float>& scales) {
  Nested nested;
  double sum = 0;
  for (const float s : scales) sum += static_cast<double>(s);
  nested.offset = static_cast<float>(sum / static_cast<double>(scales.size()));
  const int64_t count = static_cast<int64_t>(scales.size());
  for (int64_t first = 0; first < count; first += kNestedBlock) {
    const int64_t last = std::min(count, first + kNestedBlock);
    float reach = 0;
    for (int64_t i = first; i < last; ++i) {
      reach = std::max(reach, std::fabs(scales[static_cast<std::size_t>(i)] - nested.offset));
    }
    const float inverse = reach > 0 ? 1.0f / reach : 0.0f;
    nested.supers.push_back(reach);
    for (int64_t i = first; i < last; ++i) {
      const float x = (scales[static_cast<std::size_t>(i)] - nested.offset) * (std::isfinite(inverse) ? inverse : 0.0f);
      nested.codes.push_back(map_code(std::clamp(x, -1.0f, 1.0f)));
    }
  }
  return nested;
}

/// The quantized scales of the QTensor's groups; none when every group has its own 32-bit scale.
Result<std::optional<ScaleCodes>> stored_scales(const BlockLayout& l, const std::vector<float>& scales,
                                                const Nested* nested) {
  ScaleCodes form;
  form.super_type = DType::f32;
  form.rows = 0;
  if (nested == nullptr) {
    if (l.repeat == 1) return std::optional<ScaleCodes>();
    form.groups = l.repeat;
    NBL_ASSIGN(form, make_scale_codes(l.n, l.groups, std::move(form), {{}, scales, {}, {}}));
    return std::optional<ScaleCodes>(std::move(form));
  }
  form.bits = 8;
  form.shift = nested->offset;
  form.groups = kNestedBlock * l.repeat;
  std::vector<uint8_t> codes(static_cast<std::size_t>(l.n * l.groups));
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = nested->codes[i / static_cast<std::size_t>(l.repeat)];
  NBL_ASSIGN(form, make_scale_codes(l.n, l.groups, std::move(form), {codes, nested->supers, {}, dynamic_map()}));
  return std::optional<ScaleCodes>(std::move(form));
}

}  // namespace

Codebook4 Codebook4::create(const std::array<float, 16>& table) {
  Codebook4 c;
  c.table = table;
  std::iota(c.order.begin(), c.order.end(), uint8_t{0});
  std::stable_sort(c.order.begin(), c.order.end(), [&](uint8_t a, uint8_t b) { return table[a] < table[b]; });
  std::copy(c.order.begin(), c.order.end(), c.numbers.begin());
  for (std::size_t i = 0; i < 15; ++i) c.boundaries[i] = (table[c.order[i]] + table[c.order[i + 1]]) / 2;
  c.base = table[c.order[0]];
  for (std::size_t i = 0; i < 15; ++i) c.rises[i] = table[c.order[i + 1]] - table[c.order[i]];
  return c;
}

uint8_t Codebook4::code(float x) const noexcept {
  int place = 0;
  for (std::size_t i = 0; i < 15; ++i) place += x > boundaries[i] ? 1 : 0;
  return order[static_cast<std::size_t>(place)];
}

const std::array<float, 256>& dynamic_map() {
  static const std::array<float, 256> map = [] {
    std::array<float, 256> values{};
    std::size_t at = 0;
    for (int i = 0; i < 7; ++i) {
      const int steps = 1 << i;
      // Boundaries from 0.1 to 1 in equal steps, in float32 from both ends towards the middle, each fused as PyTorch does.
      const float step = (1.0f - 0.1f) / static_cast<float>(steps);
      std::vector<float> edges(static_cast<std::size_t>(steps) + 1);
      for (int e = 0; e <= steps; ++e) {
        edges[static_cast<std::size_t>(e)] = e < (steps + 1) / 2
                                                 ? std::fma(step, static_cast<float>(e), 0.1f)
                                                 : std::fma(-step, static_cast<float>(steps - e), 1.0f);
      }
      const float power = static_cast<float>(std::pow(10.0, i - 6));
      for (std::size_t e = 0; e + 1 < edges.size(); ++e) {
        const float mean = (edges[e] + edges[e + 1]) / 2.0f;
        values[at++] = power * mean;
        values[at++] = -power * mean;
      }
    }
    values[at++] = 0.0f;
    values[at++] = 1.0f;
    std::sort(values.begin(), values.end());
    return values;
  }();
  return map;
}

std::span<const OptionSpec> block_options() { return kBlockOptions; }

BlockRule block_rule(const Options& options) {
  return {options.integer("block_size"), options.boolean("nested"), static_cast<int>(options.integer("search"))};
}

double nominal_block_bits(const BlockRule& rule) {
  const double block = static_cast<double>(rule.block);
  return rule.nested ? 4.0 + 8.0 / block + 32.0 / (256.0 * block) : 4.0 + 32.0 / block;
}

Status Codebook4Method::check(const Options& options) const {
  return check_group_size(options.integer("block_size")).with_context("block_size");
}

Result<LinearResult> quantize_blocks(const LinearTask& task, const Codebook4& codebook, const BlockRule& rule,
                                     const MethodContext& context) {
  NBL_TRY(check_task(task, context.isa));
  const kernels::RoundingKernels& kernel = kernels::rounding_kernels(context.isa);
  std::vector<std::string> notes;
  const BlockLayout layout = layout_of(task, rule.block, &notes);
  const int64_t blocks = layout.blocks();
  std::vector<uint8_t> codes(task.weight.size());
  std::vector<float> scales(static_cast<std::size_t>(blocks));
  const std::vector<float> columns = rule.search_steps > 0 ? column_importance(task) : std::vector<float>();
  if (rule.search_steps > 0 && columns.empty()) notes.push_back("scales searched without calibration statistics");

  context.team->parallel_for(blocks, 256, [&](int64_t begin, int64_t end) {
    std::vector<float> importance(static_cast<std::size_t>(layout.block));
    for (int64_t b = begin; b < end; ++b) {
      const Block block = layout.at(b);
      const float* w = task.weight.data() + block.first;
      float low = 0, high = 0;
      kernel.extent(w, block.count, &low, &high);
      float reach = std::max(high, -low);
      if (rule.search_steps > 0) {
        for (std::size_t i = 0; i < static_cast<std::size_t>(block.count) && !columns.empty(); ++i) {
          importance[i] = columns[(static_cast<std::size_t>(block.first) + i) % static_cast<std::size_t>(task.k)];
        }
        reach = search_scale(w, columns.empty() ? nullptr : importance.data(), block.count, reach, rule.search_steps,
                             codebook);
      }
      scales[static_cast<std::size_t>(b)] = reach;
      if (rule.search_steps == 0 || !rule.nested) block_codes(w, block.count, reach, codebook, kernel, codes.data() + block.first);
    }
  });

  Nested nested;
  if (rule.nested) {
    nested = nest(scales);
    for (std::size_t b = 0; b < scales.size(); ++b) {
      const float product = dynamic_map()[nested.codes[b]] * nested.supers[b / kNestedBlock];
      scales[b] = product + nested.offset;
    }
    // bitsandbytes keeps the codes of the exact scales; a search takes those of the stored ones.
    if (rule.search_steps > 0) {
      context.team->parallel_for(blocks, 256, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
          const Block block = layout.at(b);
          block_codes(task.weight.data() + block.first, block.count, scales[static_cast<std::size_t>(b)], codebook, kernel,
                      codes.data() + block.first);
        }
      });
    }
  }

  NBL_ASSIGN(std::optional<ScaleCodes> stored, stored_scales(layout, scales, rule.nested ? &nested : nullptr));
  std::vector<float> spread;  // a scale for every group
  if (layout.repeat != 1) {
    spread.resize(static_cast<std::size_t>(task.n * layout.groups));
    for (std::size_t i = 0; i < spread.size(); ++i) spread[i] = scales[i / static_cast<std::size_t>(layout.repeat)];
  }
  CodebookParts parts;
  parts.group_size = layout.group;
  parts.table = codebook.table;
  parts.codes = codes;
  parts.scales = layout.repeat == 1 ? scales : spread;
  parts.scale_type = DType::f32;
  NBL_ASSIGN(Segment segment, pack_codebook(task.n, task.k, parts));
  if (stored) NBL_TRY(set_scale_codes(task.n, std::move(*stored), &segment));
  return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
}

}  // namespace nbl::quant
