// Qwen2 and Qwen2.5: Llama with biases on q, k and v, and a window over the upper layers when the config asks for it.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "qwen2", {}));
  NBL_ASSIGN(const bool use_window, reader.flag_or("use_sliding_window", false));
  int64_t window = 0;
  if (use_window) {
    NBL_ASSIGN(window, reader.count_or("sliding_window", 4096, kMaxPositions));
  }
  NBL_TRY(apply_windows(reader, &c, window, [](const Json& json, int64_t layer) {
    const Json* first = json.find_value("max_window_layers");
    return layer >= (first == nullptr ? 28 : first->as_int(28));
  }));
  return c;
}

}  // namespace

extern const Architecture qwen2;
const Architecture qwen2 = {.id = "qwen2",
                            .model_types = {"qwen2"},
                            .tensors = llama_tensors(Bias::required, Bias::none),
                            .groups = llama_groups(),
                            .read_config = read_config};

}  // namespace nbl::model::arch
