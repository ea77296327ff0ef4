// What the library can do, as JSON made from the plug-in lists; and the settings that quantizers and evaluations take.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "quant/method.h"

namespace nbl::capi {

Json methods_catalog();
Json dialects_catalog();
Json architectures_catalog();
Json isas_catalog();
Json protocols_catalog();
Json tasks_catalog();

/// Settings are described by the same schema as a method's options.
std::span<const quant::OptionSpec> runtime_settings();
std::span<const quant::OptionSpec> quantizer_settings();
std::span<const quant::OptionSpec> evaluation_settings();
std::span<const quant::OptionSpec> export_settings();

}  // namespace nbl::capi
