// kquant: the block types of GGUF, so that the result is that file's bytes: 32 weights with an f16 scale (Q4_0 to Q8_0, IQ4_NL), or 256
// weights whose groups' scales are small multiples of one f16 number (the K types, IQ4_XS). Scales are searched for the least error on
// the calibration; then every weight is rounded with the errors before it fed into those after it, as gptq does.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "quant/affine.h"
#include "quant/block_mixtures.h"
#include "quant/block_search.h"
#include "quant/calibrated.h"
#include "quant/grid_feedback.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

constexpr std::array<float, 16> kIq4 = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct BlockType {
  std::string_view name;
  int bits;
  int64_t group;          ///< weights with a scale
  int64_t super;          ///< groups with one f16 number; 0: each scale is f16 itself
  bool minimum;           ///< codes from 0 with a minimum, else levels around 0
  int scale_bits, scale_offset, minimum_bits;
  bool table;
  double file_bits;       ///< a weight in the file
  std::string_view other; ///< for rows that are no multiple of a super-block
};

constexpr BlockType kTypes[] = {
    {"Q2_K", 2, 16, 16, true, 4, 0, 4, false, 2.625, "IQ4_NL"},  {"Q3_K", 3, 16, 16, false, 6, 32, 0, false, 3.4375, "IQ4_NL"},
    {"Q4_K", 4, 32, 8, true, 6, 0, 6, false, 4.5, "Q5_0"},       {"Q5_K", 5, 32, 8, true, 6, 0, 6, false, 5.5, "Q5_1"},
    {"Q6_K", 6, 16, 16, false, 8, 128, 0, false, 6.5625, "Q8_0"}, {"Q4_0", 4, 32, 0, false, 0, 0, 0, false, 4.5, ""},
    {"Q4_1", 4, 32, 0, true, 0, 0, 0, false, 5.0, ""},           {"Q5_0", 5, 32, 0, false, 0, 0, 0, false, 5.5, ""},
    {"Q5_1", 5, 32, 0, true, 0, 0, 0, false, 6.0, ""},           {"Q8_0", 8, 32, 0, false, 0, 0, 0, false, 8.5, ""},
    {"IQ4_NL", 4, 32, 0, false, 0, 0, 0, true, 4.5, ""},         {"IQ4_XS", 4, 32, 8, false, 6, 32, 0, true, 4.25, "IQ4_NL"},
};

const OptionSpec kOptions[] = {
    {"type", OptionSpec::Type::choice, "Q4_K", 0, 0,
     {"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "IQ4_XS", "Q3_K_S", "Q3_K_M", "Q3_K_L",
      "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M"},
     "block type, or a mixture of them (_S, _M, _L); rows that are no multiple of 256 get the nearest type in blocks of 32"},
    {"feedback", OptionSpec::Type::boolean, "true", 0, 1, {}, "round with error feedback through the inputs' second moments"},
    {"search", OptionSpec::Type::integer, "20", 2, 200, {}, "scales tried for each group"},
    kDampOption,
};

const BlockType& find_type(std::string_view name) {
  for (const BlockType& type : kTypes) {
    if (type.name == name) return type;
  }
  return kTypes[2];
}

Levels levels_of(const BlockType& type) {
  static const Codebook4 iq4 = Codebook4::create(kIq4);
  Levels levels;
  levels.low = -(1 << (type.bits - 1));
  levels.high = -levels.low - 1;
  if (type.table) levels.table = &iq4;
  return levels;
}

/// Everything a weight's blocks hold but the codes.
struct Scales {
  std::vector<float> scale, minimum;          ///< [n, groups], as they multiply
  std::vector<uint8_t> scale_code, minimum_code;
  std::vector<float> super_scale, super_minimum;  ///< [n, groups / super]
};

class Blocks {
 public:
  Blocks(const LinearTask& task, const BlockType& type, int steps)
      : task_(task), type_(type), levels_(levels_of(type)), steps_(steps), groups_((task.k + type.group - 1) / type.group) {
    const std::size_t count = static_cast<std::size_t>(task.n * groups_);
    out_.scale.resize(count);
    if (type.minimum) out_.minimum.resize(count);
    if (type.super == 0) return;
    supers_ = (groups_ + type.super - 1) / type.super;
    out_.scale_code.resize(count);
    out_.super_scale.resize(static_cast<std::size_t>(task.n * supers_));
    if (!type.minimum) return;
    out_.minimum_code.resize(count);
    out_.super_minimum.resize(out_.super_scale.size());
  }

  void search(const std::vector<float>& importance, const MethodContext& context) {
    std::vector<float> uniform(importance.empty() ? static_cast<std::size_t>(task_.k) : 0, 1.0f);
    const float* h = importance.empty() ? uniform.data() : importance.data();
    context.team->parallel_for(task_.n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        if (type_.super > 0) {
          for (int64_t s = 0; s < supers_; ++s) search_super(row, s, h);
        } else {
          for (int64_t g = 0; g < groups_; ++g) search_group(row, g, h);
        }
      }
    });
  }

  /// The code of a weight, and its value rounded as the QTensor defines it.
  uint8_t code(int64_t row, int64_t column, float w, float* value) const {
    const std::size_t at = static_cast<std::size_t>(row * groups_ + column / type_.group);
    const float scale = out_.scale[at];
    if (type_.minimum) {
      const BlockFit fit{scale, out_.minimum[at]};
      const uint8_t code = minimum_code(w, fit, (1 << type_.bits) - 1);
      *value = fit.scale * static_cast<float>(code) + fit.minimum;
      return code;
    }
    const float inverse = scale != 0 && std::isfinite(1.0f / scale) ? 1.0f / scale : 0.0f;
    const uint8_t code = levels_.code(w * inverse);
    *value = scale * levels_.level(code);
    return code;
  }

  Result<Segment> pack(std::span<const uint8_t> codes) const {
    Segment segment;
    const DType own = type_.super > 0 ? DType::f32 : DType::f16;
    if (type_.table) {
      CodebookParts parts;
      parts.group_size = type_.group;
      parts.table = kIq4;
      parts.codes = codes;
      parts.scales = out_.scale;
      parts.scale_type = own;
      NBL_ASSIGN(segment, pack_codebook(task_.n, task_.k, parts));
    } else {
      AffineParts parts;
      parts.bits = type_.bits;
      parts.group_size = type_.group;
      parts.codes = codes;
      parts.scales = out_.scale;
      parts.scale_type = own;
      parts.zero_kind = type_.minimum ? ZeroKind::minimum : ZeroKind::symmetric;
      parts.zeros = out_.minimum;
      parts.zero_type = own;
      NBL_ASSIGN(segment, pack_affine(task_.n, task_.k, parts));
    }
    if (type_.super == 0) return segment;
    ScaleCodes form;
    form.groups = type_.super;
    form.bits = type_.scale_bits;
    form.offset = type_.scale_offset;
    NBL_ASSIGN(ScaleCodes scales, make_scale_codes(task_.n, groups_, form, {out_.scale_code, out_.super_scale, {}, {}}));
    NBL_TRY(set_scale_codes(task_.n, std::move(scales), &segment));
    if (!type_.minimum) return segment;
    form.bits = type_.minimum_bits;
    form.offset = 0;
    NBL_ASSIGN(ScaleCodes zeros, make_scale_codes(task_.n, groups_, form, {out_.minimum_code, out_.super_minimum, {}, {}}));
    NBL_TRY(set_zero_codes(task_.n, std::move(zeros), &segment));
    return segment;
  }

 private:
  void search_group(int64_t row, int64_t g, const float* h) {
    const int64_t first = g * type_.group, count = std::min(type_.group, task_.k - first);
    const float* w = task_.weight.data() + row * task_.k + first;
    const auto half = [](float x) { return f16_to_f32(f32_to_f16(std::clamp(x, -65504.0f, 65504.0f))); };
    const std::size_t at = static_cast<std::size_t>(row * groups_ + g);
    if (type_.minimum) {
      const BlockFit fit = fit_minimum(w, h + first, count, (1 << type_.bits) - 1, false, steps_);
      out_.scale[at] = half(fit.scale);
      out_.minimum[at] = half(fit.minimum);
    } else {
      out_.scale[at] = half(fit_scale(w, h + first, count, levels_, steps_));
    }
  }

  void search_super(int64_t row, int64_t s, const float* h) {
    const int64_t block = type_.group * type_.super, first = s * block, count = std::min(block, task_.k - first);
    SuperRule rule;
    rule.group = type_.group;
    rule.scale_low = -type_.scale_offset;
    rule.scale_high = (1 << type_.scale_bits) - 1 - type_.scale_offset;
    rule.minimum_high = type_.minimum ? (1 << type_.minimum_bits) - 1 : 0;
    rule.levels = levels_;
    rule.max_code = (1 << type_.bits) - 1;
    rule.steps = steps_;
    const SuperFit fit = fit_super(task_.weight.data() + row * task_.k + first, h + first, count, rule);
    const std::size_t super = static_cast<std::size_t>(row * supers_ + s);
    out_.super_scale[super] = fit.scale;
    if (type_.minimum) out_.super_minimum[super] = fit.minimum;
    for (int64_t g = 0; g < (count + type_.group - 1) / type_.group; ++g) {
      const std::size_t at = static_cast<std::size_t>(row * groups_ + s * type_.super + g), i = static_cast<std::size_t>(g);
      out_.scale_code[at] = static_cast<uint8_t>(fit.scale_multiple[i] + type_.scale_offset);
      out_.scale[at] = fit.scale * static_cast<float>(fit.scale_multiple[i]);
      if (!type_.minimum) continue;
      out_.minimum_code[at] = static_cast<uint8_t>(fit.minimum_multiple[i]);
      out_.minimum[at] = fit.minimum * static_cast<float>(fit.minimum_multiple[i]);
    }
  }

  const LinearTask& task_;
  const BlockType& type_;
  Levels levels_;
  int steps_;
  int64_t groups_, supers_ = 0;
  Scales out_;
};

class KquantMethod final : public Method {
 public:
  std::string_view id() const override { return "kquant"; }
  std::string_view summary() const override { return "GGUF block types (Q2_K to Q8_0, IQ4), scales searched on the calibration"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  uint32_t needs(const Options& options) const override { return options.boolean("feedback") ? kNeedHessian : kNeedSquare; }
  double nominal_bits(const Options& options) const override {
    const BlockMixture* mixture = find_mixture(options.text("type"));
    return mixture != nullptr ? mixture->bits : find_type(options.text("type")).file_bits;
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    const BlockMixture* mixture = find_mixture(options.text("type"));
    const BlockType* type = &find_type(mixture != nullptr ? type_in_mixture(*mixture, task.place) : options.text("type"));
    if (type->super > 0 && task.k % 256 != 0) {
      notes.push_back(fmt::format("{} instead of {}: rows of {} are no multiple of 256", type->other, type->name, task.k));
      type = &find_type(type->other);
    }
    float reach = 0;
    for (const float w : task.weight) reach = std::max(reach, std::fabs(w));
    if (reach > 60000.0f) {
      return Status(Code::unsupported, fmt::format("{}: weights up to {:g} are beyond the f16 scales of {}", task.name, reach, type->name));
    }
    const std::vector<float> importance = column_importance(task);
    if (importance.empty()) notes.push_back("no calibration statistics: all inputs count alike");
    Blocks blocks(task, *type, static_cast<int>(options.integer("search")));
    blocks.search(importance, context);

    std::vector<uint8_t> codes(task.weight.size());
    HessianFactor factor;
    if (options.boolean("feedback") && !importance.empty()) factor = feedback_factor(task, damping_of(options), context, &notes);
    if (factor.r.empty()) {
      context.team->parallel_for(task.n, 4, [&](int64_t begin, int64_t end) {
        float value;
        for (int64_t i = begin * task.k; i < end * task.k; ++i) {
          codes[static_cast<std::size_t>(i)] = blocks.code(i / task.k, i % task.k, task.weight[static_cast<std::size_t>(i)], &value);
        }
      });
    } else {
      round_on_grids(task, factor, context, [&](int64_t row, int64_t rows, int64_t column, const float* target, float* value) {
        for (int64_t r = 0; r < rows; ++r) {
          codes[static_cast<std::size_t>((row + r) * task.k + column)] = blocks.code(row + r, column, target[r], value + r);
        }
      });
    }
    NBL_ASSIGN(Segment segment, blocks.pack(codes));
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
  }
};

}  // namespace

const Method* kquant_method() {
  static const KquantMethod method;
  return &method;
}

}  // namespace nbl::quant
