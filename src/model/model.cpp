#include "model/model.h"

#include <fmt/format.h>

#include "model/adapters.h"
#include "model/arch.h"
#include "model/lora.h"
#include "model/token_trie.h"
#include "model/weights.h"
#include "text/assets.h"

namespace nbl::model {
namespace {

/// Generation stops at what generation_config.json names, where there is one that does; it overrides config.json.
Status read_generation_config(const Checkpoint& checkpoint, Config* config) {
  if (!checkpoint.has_asset("generation_config.json")) return {};
  NBL_ASSIGN(const std::string text, checkpoint.asset("generation_config.json"));
  NBL_ASSIGN(const Json json, Json::parse(text, fmt::format("{}: generation_config.json", checkpoint.origin())));
  const Json* eos = json.find_value("eos_token_id");
  if (eos == nullptr) return {};
  const std::span<const Json> all = eos->is_array() ? eos->elements() : std::span<const Json>(eos, 1);
  std::vector<text::TokenId> ids;
  for (const Json& id : all)
    if (id.is_int() && id.as_int() >= 0 && id.as_int() < config->vocab)
      ids.push_back(static_cast<text::TokenId>(id.as_int()));
  if (!ids.empty()) config->eos = std::move(ids);
  return {};
}

/// Narrower models multiply activations in two planes: one cost SmolLM2-135M 0.010 nats a token, and decoding hides the second
/// (docs/performance.md).
constexpr int64_t kWideHidden = 1024;

}  // namespace

Model::Model(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

Result<std::shared_ptr<const Model>> Model::load(const Checkpoint& checkpoint, const ModelOptions& options, Team& team,
                                                 const ProgressFn& progress) {
  (void)team;
  NBL_ASSIGN(const Architecture* const arch, find_architecture(checkpoint.config(), checkpoint.origin()));
  auto impl = std::make_shared<Impl>();
  NBL_ASSIGN(impl->config, arch->read_config(checkpoint.config(), checkpoint.origin()));
  NBL_TRY(read_generation_config(checkpoint, &impl->config));
  impl->compute = options.compute;
  impl->compute.fine = options.compute.compute == Compute::fast && impl->config.hidden < kWideHidden;
  impl->origin = checkpoint.origin();
  impl->folded = folded_scales(checkpoint);
  NBL_ASSIGN(impl->weights, load_weights(checkpoint, *arch, impl->config, impl->compute, progress));
  auto tokenizer = text::load_tokenizer(text::assets_of(checkpoint));
  if (tokenizer.ok()) {
    impl->tokenizer = std::move(*tokenizer);
    if (impl->config.eos.empty())
      if (const auto eos = impl->tokenizer->eos()) impl->config.eos.push_back(*eos);
  } else {
    impl->tokenizer_status = tokenizer.status();
  }
  return std::shared_ptr<const Model>(new Model(std::move(impl)));
}

Result<std::shared_ptr<const Model>> Model::with_adapter(const std::shared_ptr<const Model>& base,
                                                         std::shared_ptr<const LoraAdapter> adapter) {
  NBL_TRY(refuse_folded(base->impl_->folded, *adapter, base->impl_->origin));
  auto adapters = base->adapters_ == nullptr ? std::make_shared<Adapters>() : std::make_shared<Adapters>(*base->adapters_);
  NBL_TRY(adapters->add(*base, std::move(adapter)));
  auto model = std::shared_ptr<Model>(new Model(base->impl_));
  model->adapters_ = std::move(adapters);
  return std::shared_ptr<const Model>(std::move(model));
}

const Config& Model::config() const noexcept { return impl_->config; }
const text::Tokenizer* Model::tokenizer() const noexcept { return impl_->tokenizer.get(); }
const Status& Model::tokenizer_status() const noexcept { return impl_->tokenizer_status; }
int64_t Model::parameters() const noexcept { return impl_->weights.parameters; }
int64_t Model::weight_bytes() const noexcept { return impl_->weights.bytes; }
std::shared_ptr<const TokenTrie> Model::token_trie() const {
  if (impl_->tokenizer == nullptr) return nullptr;
  const std::scoped_lock lock(impl_->trie_mutex);
  if (impl_->trie == nullptr) impl_->trie = TokenTrie::create(*impl_->tokenizer, impl_->config.vocab);
  return impl_->trie;
}
const ComputeOptions& Model::compute() const noexcept { return impl_->compute; }

}  // namespace nbl::model
