// Mistral: Llama with a window over every layer (null in the later releases).
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "mistral", {.windows = true}));
  NBL_ASSIGN(const int64_t window, reader.count_or("sliding_window", 0, kMaxPositions));
  NBL_TRY(apply_windows(reader, &c, window, every_layer));
  return c;
}

}  // namespace

extern const Architecture mistral;
const Architecture mistral = {.id = "mistral",
                              .model_types = {"mistral"},
                              .tensors = llama_tensors(Bias::none, Bias::none),
                              .groups = llama_groups(),
                              .read_config = read_config};

}  // namespace nbl::model::arch
