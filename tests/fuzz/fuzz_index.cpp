// The index of a sharded checkpoint, beside one real shard.
#include "fuzz/fuzz.h"
#include "io/container.h"

namespace {
constexpr char kHeader[] = R"({"a.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto& folder = nbl::fuzz::folder();
  std::string shard(8, '\0');
  shard[0] = static_cast<char>(sizeof kHeader - 1);
  shard += kHeader;
  shard.append(8, '\1');
  folder.put("model-00001-of-00001.safetensors", shard);
  folder.put("config.json", R"({"model_type":"llama"})");
  const auto index = folder.put("model.safetensors.index.json", nbl::fuzz::text_of(data, size));
  (void)nbl::fuzz::failed(nbl::io::open_safetensors_index(index));
  nbl::fuzz::open_and_use(folder.path());
  return 0;
}
