// Samplers: choosing tokens from logits that need not be a session's.
#include <fmt/format.h>

#include "capi/handles.h"
#include "model/token_sampler.h"

struct nbl_sampler {
  explicit nbl_sampler(nbl::model::TokenSampler s) : sampler(std::move(s)) {}
  nbl::model::TokenSampler sampler;
  std::atomic<bool> busy{false};
};

using nbl::Code;
using nbl::Status;
using namespace nbl::capi;

namespace {

Status choose(nbl_sampler* sampler, const float* logits, bool accept, int32_t* out_id) {
  NBL_TRY(require(sampler, "sampler"));
  NBL_TRY(require(logits, "logits"));
  NBL_TRY(require(out_id, "out_id"));
  BusyLock lock(sampler->busy);
  NBL_TRY(lock.status("sampler"));
  NBL_ASSIGN(const auto token, sampler->sampler.choose({logits, static_cast<std::size_t>(sampler->sampler.vocab())}));
  if (accept && token) NBL_TRY(sampler->sampler.accept(*token));
  *out_id = token.value_or(-1);
  return {};
}

}  // namespace

extern "C" {

nbl_status nbl_sampler_create(int64_t vocab_size, nbl_tokenizer* tokenizer, nbl_sampler** out_sampler) {
  if (out_sampler != nullptr) *out_sampler = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(out_sampler, "out_sampler"));
    NBL_ASSIGN(auto made, nbl::model::TokenSampler::create(vocab_size, tokenizer == nullptr ? nullptr : tokenizer->tokenizer));
    *out_sampler = new nbl_sampler(std::move(made));
    return {};
  });
}

nbl_status nbl_sampler_clone(nbl_sampler* sampler, nbl_sampler** out_sampler) {
  if (out_sampler != nullptr) *out_sampler = nullptr;
  return guard([&]() -> Status {
    NBL_TRY(require(sampler, "sampler"));
    NBL_TRY(require(out_sampler, "out_sampler"));
    BusyLock lock(sampler->busy);
    NBL_TRY(lock.status("sampler"));
    *out_sampler = new nbl_sampler(sampler->sampler.clone());
    return {};
  });
}

void nbl_sampler_destroy(nbl_sampler* sampler) { delete sampler; }

nbl_status nbl_sampler_set(nbl_sampler* sampler, const char* name, const char* value) {
  return guard([&]() -> Status {
    NBL_TRY(require(sampler, "sampler"));
    NBL_TRY(require(name, "name"));
    NBL_TRY(require(value, "value"));
    BusyLock lock(sampler->busy);
    NBL_TRY(lock.status("sampler"));
    return sampler->sampler.set(name, value);
  });
}

nbl_status nbl_sampler_reset(nbl_sampler* sampler, const int32_t* prompt, int64_t count) {
  return guard([&]() -> Status {
    NBL_TRY(require(sampler, "sampler"));
    if (count < 0) return {Code::invalid_argument, fmt::format("count is {}; it cannot be negative", count)};
    if (count > 0) NBL_TRY(require(prompt, "prompt"));
    BusyLock lock(sampler->busy);
    NBL_TRY(lock.status("sampler"));
    return sampler->sampler.reset({prompt, static_cast<std::size_t>(count)});
  });
}

nbl_status nbl_sampler_choose(nbl_sampler* sampler, const float* logits, int32_t* out_id) {
  if (out_id != nullptr) *out_id = 0;
  return guard([&] { return choose(sampler, logits, false, out_id); });
}

nbl_status nbl_sampler_sample(nbl_sampler* sampler, const float* logits, int32_t* out_id) {
  if (out_id != nullptr) *out_id = 0;
  return guard([&] { return choose(sampler, logits, true, out_id); });
}

nbl_status nbl_sampler_accept(nbl_sampler* sampler, int32_t id) {
  return guard([&]() -> Status {
    NBL_TRY(require(sampler, "sampler"));
    BusyLock lock(sampler->busy);
    NBL_TRY(lock.status("sampler"));
    return sampler->sampler.accept(id);
  });
}

int32_t nbl_sampler_ended(const nbl_sampler* sampler) { return sampler != nullptr && sampler->sampler.ended() ? 1 : 0; }

}  // extern "C"
