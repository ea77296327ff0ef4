// A saved session, loaded into a session of a tiny model: as it is, and once more with the model's fingerprint and the hash at its
// end put right, so that what lies behind those checks is reached.
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/hash.h"
#include "base/parallel.h"
#include "dialects/dialects.h"
#include "fuzz/fuzz.h"
#include "model/session_file.h"

namespace {

constexpr std::size_t kFingerprintAt = 16, kFingerprintBytes = 64, kHashBytes = 32;

struct Held {
  nbl::Team team{1};
  std::shared_ptr<const nbl::model::Model> model;
  std::unique_ptr<nbl::model::Session> session;
};

Held& held() {
  static Held& one = *[] {
    static Held made;
    const auto checkpoint = nbl::dialects::open(NIBBLE_SOURCE_DIR "/tests/golden/logits/tiny/llama");
    if (!checkpoint.ok()) std::abort();
    auto model = nbl::model::Model::load(**checkpoint, {}, made.team, {});
    if (!model.ok()) std::abort();
    made.model = std::move(model).value();
    auto session = nbl::model::Session::create(made.model, made.team, {.max_tokens = 16, .kv_type = nbl::model::KvType::f32});
    if (!session.ok()) std::abort();
    made.session = std::move(session).value();
    return &made;
  }();
  return one;
}

void load(std::string_view bytes) {
  auto& session = *held().session;
  const auto path = nbl::fuzz::folder().put("session.bin", bytes);
  if (nbl::fuzz::failed(nbl::model::load_session(session, path))) return;
  const nbl::text::TokenId next[] = {1};
  (void)nbl::fuzz::failed(session.append(next, nbl::model::Session::Logits::last));
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(nbl::fuzz::text_of(data, size));
  load(bytes);
  if (size < kFingerprintAt + kFingerprintBytes + kHashBytes) return 0;
  static const std::string fingerprint = nbl::model::model_fingerprint(*held().model);
  std::memcpy(bytes.data() + kFingerprintAt, fingerprint.data(), kFingerprintBytes);
  nbl::Sha256 hash;
  hash.update(std::as_bytes(std::span(bytes.data(), bytes.size() - kHashBytes)));
  const auto digest = hash.finish();
  std::memcpy(bytes.data() + bytes.size() - kHashBytes, digest.data(), kHashBytes);
  load(bytes);
  return 0;
}
