// A LoRA adapter: the input is adapter_config.json, a line break, and adapter_model.safetensors. It is added to a vector, and merged into
// the model that the seeds are made for.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "dialects/dialects.h"
#include "fuzz/fuzz.h"
#include "model/lora.h"

namespace {

const std::shared_ptr<const nbl::Checkpoint>& base() {
  static const std::shared_ptr<const nbl::Checkpoint> one = [] {
    auto opened = nbl::dialects::open(NIBBLE_SOURCE_DIR "/tests/golden/logits/tiny/llama");
    if (!opened.ok()) std::abort();
    return std::shared_ptr<const nbl::Checkpoint>(std::move(opened).value());
  }();
  return one;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = nbl::fuzz::text_of(data, size);
  const std::size_t end = std::min(bytes.find('\n'), bytes.size());
  const auto& folder = nbl::fuzz::folder();
  folder.put("adapter_config.json", bytes.substr(0, end));
  folder.put("adapter_model.safetensors", bytes.substr(std::min(end + 1, bytes.size())));
  const auto adapter = nbl::model::load_lora(folder.path(), 1.0f);
  if (nbl::fuzz::failed(adapter)) return 0;
  std::shared_ptr<const nbl::model::LoraAdapter> shared = adapter.value();
  if (const auto merged = nbl::model::merge_lora(base(), shared); !nbl::fuzz::failed(merged)) nbl::fuzz::use(**merged);
  for (const auto& [name, delta] : (*adapter)->deltas) {
    if (delta.n > 4096 || delta.k > 4096) continue;
    const std::vector<float> x(static_cast<std::size_t>(delta.k), 1.0f);
    std::vector<float> y(static_cast<std::size_t>(delta.n));
    nbl::model::add_lora(delta, x.data(), y.data(), 0, delta.n);
  }
  return 0;
}
