// Options of awq's scale search, for awq and for what begins with it.
#pragma once

#include "quant/method.h"

namespace nbl::quant::awq_options {

inline const OptionSpec duo{"duo", OptionSpec::Type::boolean, "false", 0, 1, {}, "scales weigh activations against weights, not alone"};
inline const OptionSpec grid{"grid", OptionSpec::Type::integer, "20", 1, 200, {}, "exponents tried in the scale search"};

}  // namespace nbl::quant::awq_options
