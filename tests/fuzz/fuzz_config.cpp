// config.json: the architecture's reading of it, and loading a checkpoint that holds one small tensor under it.
#include "base/json.h"
#include "base/parallel.h"
#include "dialects/dialects.h"
#include "fuzz/fuzz.h"
#include "model/arch.h"

namespace {
constexpr char kHeader[] =
    R"({"model.embed_tokens.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})";
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = nbl::fuzz::text_of(data, size);
  const auto config = nbl::Json::parse(text, "config.json");
  if (nbl::fuzz::failed(config)) return 0;
  const auto found = nbl::model::find_architecture(config.value(), "input");
  if (!nbl::fuzz::failed(found)) (void)nbl::fuzz::failed(found.value()->read_config(config.value(), "input"));

  const auto& folder = nbl::fuzz::folder();
  std::string file(8, '\0');
  file[0] = static_cast<char>(sizeof kHeader - 1);
  file += kHeader;
  file.append(8, '\1');
  folder.put("model.safetensors", file);
  folder.put("config.json", text);
  const auto checkpoint = nbl::dialects::open(folder.path());
  if (nbl::fuzz::failed(checkpoint)) return 0;
  nbl::fuzz::use(*checkpoint.value());
  static nbl::Team team(1);
  (void)nbl::fuzz::failed(nbl::model::Model::load(*checkpoint.value(), {}, team, {}));
  return 0;
}
