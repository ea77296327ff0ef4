// What methods that round by gptq share with it: its options, each written once.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "quant/method.h"

namespace nbl::quant {

struct FeedbackRule;

namespace gptq_options {
inline const OptionSpec bits{"bits", OptionSpec::Type::integer, "4", 2, 8, {}, "bits a weight"};
inline const OptionSpec group_size{"group_size", OptionSpec::Type::integer, "128", -1, 65536, {}, "weights that share a scale; -1: a row"};
inline const OptionSpec sym{"sym", OptionSpec::Type::boolean, "false", 0, 1, {}, "symmetric grid: no zero points"};
inline const OptionSpec scale_bits{"scale_bits", OptionSpec::Type::integer, "0", 0, 8, {}, "bits of a scale, a multiple of a step that rows share; 0: 16-bit numbers"};
inline const OptionSpec mse{"mse", OptionSpec::Type::integer, "40", 0, 200, {}, "ranges tried for each grid; 0: the full one"};
inline const OptionSpec alpha{"alpha", OptionSpec::Type::real, "0.5", 0, 1, {}, "share of earlier layers' error that is corrected (GPTAQ)"};
inline const OptionSpec beta{"beta", OptionSpec::Type::real, "0.5", 0, 1, {}, "share of the residual stream's error that is corrected"};
inline const OptionSpec correct{"correct", OptionSpec::Type::real, "1", 0.01, 1, {}, "share of the calibration windows over which that error is measured"};
inline const OptionSpec even_tokens{"even_tokens", OptionSpec::Type::boolean, "true", 0, 1, {}, "with corrections: tokens with a far larger residual stream than most count less"};
inline const OptionSpec output_tokens{"output_tokens", OptionSpec::Type::integer, "0", 0, int64_t{1} << 24, {}, "calibration tokens of a pass back through the whole model, from which rows learn to make good each other's errors; 0: none"};
inline const OptionSpec refine{"refine", OptionSpec::Type::integer, "2", 0, 20, {}, "rounds of refitting scales and moving codes"};

/// One of them with another default, and least value.
inline OptionSpec with(OptionSpec spec, std::string_view fallback, double min) {
  spec.fallback = fallback;
  spec.min = min;
  return spec;
}
}  // namespace gptq_options

/// The statistics that corrections of these sizes need.
inline uint32_t correction_needs(const Options& options) {
  const uint32_t corrections = (options.real("alpha") > 0 ? kNeedCross : 0u) | (options.real("beta") > 0 ? kNeedResidual : 0u);
  return kNeedHessian | corrections | (corrections != 0 && options.boolean("even_tokens") ? kNeedEvenTokens : 0u);
}

/// scale_bits is 0 or 3 to 8.
Status check_scale_bits(const Options& options);

/// The shares of the corrections that the options ask for, of those whose sums are there and are numbers.
void choose_corrections(const LinearTask& task, const Options& options, FeedbackRule* rule, std::vector<std::string>* notes);

/// "gptq:" with those options of another method that gptq has by the same names, and `more`.
Result<Recipe> gptq_of(const Options& options, std::initializer_list<std::string_view> names, std::string_view more = {});

}  // namespace nbl::quant
