// Qwen2 and Qwen2.5: Llama with biases on q, k and v, and a window over the upper layers when the config asks for it.
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "qwen2", {.max_positions = 32768, .windows = true}));
  NBL_TRY(apply_qwen_windows(reader, &c));
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
