// Gemma 1.
#include "model/arch/gemma_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_gemma_config(reader, "gemma", {}));
  NBL_TRY(read_rope(reader, {}, &c));
  NBL_TRY(reader.refuse("sliding_window"));
  NBL_TRY(apply_windows(reader, &c, 0, no_layer));
  return c;
}

}  // namespace

extern const Architecture gemma;
const Architecture gemma = {.id = "gemma",
                            .model_types = {"gemma"},
                            .tensors = llama_tensors(Bias::optional, Bias::optional),
                            .groups = llama_groups(),
                            .read_config = read_config};

}  // namespace nbl::model::arch
