// Llama 1 to 3 and what kept its shape (SmolLM2, TinyLlama...).
#include "model/arch/llama_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_llama_config(reader, "llama", {}));
  // This family attends to everything: a window in its config would be somebody's change.
  NBL_TRY(reader.refuse("sliding_window"));
  NBL_TRY(apply_windows(reader, &c, 0, no_layer));
  return c;
}

}  // namespace

extern const Architecture llama;
const Architecture llama = {.id = "llama",
                            .model_types = {"llama"},
                            .tensors = llama_tensors(Bias::optional, Bias::optional),
                            .groups = llama_groups(),
                            .read_config = read_config};

}  // namespace nbl::model::arch
