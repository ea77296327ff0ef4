// GPTBigCode: SantaCoder and StarCoder. GPT-2 with one key-value head for all query heads (multi_query), or one each
// with the three parts of a head side by side.
#include "model/arch/gpt2_family.h"

namespace nbl::model::arch {
namespace {

Result<Config> read_config(const Json& config, std::string_view origin) {
  const ConfigReader reader(config, origin);
  NBL_ASSIGN(Config c, read_gpt2_config(reader, "gpt_bigcode", "gelu_pytorch_tanh", {}));
  NBL_ASSIGN(const bool multi_query, reader.flag_or("multi_query", true));
  c.kv_heads = multi_query ? 1 : c.heads;
  NBL_TRY(reader.expect_count("num_key_value_heads", c.kv_heads));
  c.qkv_order = multi_query ? QkvOrder::blocks : QkvOrder::groups;
  return c;
}

}  // namespace

extern const Architecture gpt_bigcode;
const Architecture gpt_bigcode = {.id = "gpt_bigcode",
                                  .model_types = {"gpt_bigcode"},
                                  .tensors = gpt2_tensors(),
                                  .groups = gpt2_groups(InputGroup::Producer::linear),
                                  .read_config = read_config};

}  // namespace nbl::model::arch
