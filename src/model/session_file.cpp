#include "model/session_file.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "base/hash.h"
#include "model/adapters.h"
#include "model/weights.h"

namespace nbl::model {
namespace {

static_assert(std::endian::native == std::endian::little, "session files are written as they lie in memory");

constexpr std::array<char, 8> kMagic = {'N', 'B', 'L', 'S', 'E', 'S', 'S', 0};
constexpr uint32_t kVersion = 1;
constexpr std::size_t kHashBytes = 32;

struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t kv_type = 0;
  char fingerprint[64] = {};
  int64_t tokens = 0;
  int64_t cache_bytes = 0;
};
static_assert(sizeof(Header) == 96);

std::span<const std::byte> bytes_of(const auto& value) { return std::as_bytes(std::span(&value, 1)); }

void hash_rows(Sha256& hash, const QTensor& tensor) {
  hash.update(bytes_of(tensor.n));
  hash.update(bytes_of(tensor.k));
  std::vector<float> row(static_cast<std::size_t>(tensor.k));
  for (const int64_t r : {int64_t{0}, tensor.n / 3, tensor.n / 2, tensor.n - 1}) {
    tensor.dequantize_row(r, row.data());
    hash.update(std::as_bytes(std::span(row)));
  }
}

}  // namespace

std::string model_fingerprint(const Model& model) {
  const Model::Impl& m = model.impl();
  Sha256 hash;
  const Config& c = m.config;
  hash.update(std::as_bytes(std::span(c.architecture)));
  for (const int64_t n : {c.vocab, c.hidden, c.layers, c.heads, c.kv_heads, c.head_dim, c.ffn, c.rotary_dim})
    hash.update(bytes_of(n));
  if (c.latent.kv_rank > 0) hash.update(bytes_of(c.latent.kv_rank));  // what is cached are latents
  for (const RopeTable& rope : c.ropes) hash.update(std::as_bytes(std::span(rope.inv_freq)));
  hash_rows(hash, m.weights.embedding);
  if (m.weights.lm_head) hash_rows(hash, m.weights.lm_head->tensor());
  hash.update(std::as_bytes(std::span(m.weights.final_norm.w)));
  for (const Layer& layer : m.weights.layers) {
    for (const auto& linear : layer.linears)
      if (linear) hash_rows(hash, linear->tensor());
    for (const NormWeights& norm : layer.norms) {
      hash.update(std::as_bytes(std::span(norm.w)));
      hash.update(std::as_bytes(std::span(norm.b)));
    }
  }
  if (const Adapters* adapters = model.adapters()) {
    for (const auto& adapter : adapters->sources) {
      for (const auto& [name, delta] : adapter->deltas) {
        hash.update(std::as_bytes(std::span(name)));
        hash.update(bytes_of(delta.scale));
        hash.update(std::as_bytes(std::span(delta.a)));
        hash.update(std::as_bytes(std::span(delta.b)));
      }
    }
  }
  return hash.finish_hex();
}

Status save_session(Session& session, const std::filesystem::path& path) {
  Header header;
  header.kv_type = static_cast<uint32_t>(session.kv_type());
  const std::string fingerprint = model_fingerprint(session.model());
  std::memcpy(header.fingerprint, fingerprint.data(), sizeof header.fingerprint);
  header.tokens = session.position();
  const auto pieces = session.cached();
  for (const auto& piece : pieces) header.cache_bytes += static_cast<int64_t>(piece.size());
  NBL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  Sha256 hash;
  const auto write = [&](std::span<const std::byte> bytes) {
    hash.update(bytes);
    return file.write(bytes);
  };
  NBL_TRY(write(bytes_of(header)));
  NBL_TRY(write(std::as_bytes(session.tokens())));
  for (const auto& piece : pieces) NBL_TRY(write(piece));
  const auto digest = hash.finish();
  NBL_TRY(file.write(std::as_bytes(std::span(digest))));
  return file.commit();
}

Status load_session(Session& session, const std::filesystem::path& path) {
  NBL_ASSIGN(const auto file, MappedFile::open(path));
  std::span<const std::byte> bytes = file->bytes();
  const auto corrupt = [&](std::string_view what) {
    return Status(Code::corrupt, fmt::format("{}: {}", path.string(), what));
  };
  Header header;
  if (bytes.size() < sizeof header + kHashBytes) return corrupt("is too short for a saved session");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) return corrupt("is no saved session");
  if (header.version != kVersion)
    return Status(Code::unsupported, fmt::format("{}: is a saved session of version {}, expected {}", path.string(),
                                                 header.version, kVersion));
  const std::span<const std::byte> body = bytes.first(bytes.size() - kHashBytes);
  const auto room = static_cast<int64_t>(body.size() - sizeof header);
  if (header.tokens < 0 || header.tokens > room / int64_t{sizeof(text::TokenId)} ||
      header.cache_bytes != room - header.tokens * int64_t{sizeof(text::TokenId)})
    return corrupt(fmt::format("says {} tokens and {} bytes of cache, which its {} bytes do not hold", header.tokens,
                               header.cache_bytes, bytes.size()));
  Sha256 hash;
  hash.update(body);
  const auto digest = hash.finish();
  if (std::memcmp(digest.data(), bytes.last(kHashBytes).data(), kHashBytes) != 0)
    return corrupt("its content does not match its hash");
  if (std::string_view(header.fingerprint, sizeof header.fingerprint) != model_fingerprint(session.model()))
    return Status(Code::mismatch, fmt::format("{}: was saved from another model than this one", path.string()));
  if (header.kv_type != static_cast<uint32_t>(session.kv_type()))
    return Status(Code::mismatch, fmt::format("{}: keeps keys and values in another type than the session: set the same "
                                              "kv_type and compute mode",
                                              path.string()));
  std::vector<text::TokenId> tokens(static_cast<std::size_t>(header.tokens));
  std::span<const std::byte> rest = body.subspan(sizeof header);
  if (!tokens.empty()) std::memcpy(tokens.data(), rest.data(), tokens.size() * sizeof(text::TokenId));
  rest = rest.subspan(tokens.size() * sizeof(text::TokenId));
  NBL_TRY(session.restore(tokens, [&](std::span<std::byte> piece) -> Status {
    if (piece.size() > rest.size()) return corrupt("holds fewer keys and values than its tokens need");
    if (!piece.empty()) std::memcpy(piece.data(), rest.data(), piece.size());
    rest = rest.subspan(piece.size());
    return {};
  }));
  return {};
}

}  // namespace nbl::model
