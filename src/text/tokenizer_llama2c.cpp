// llama2.c's tokenizer.bin: u32 longest piece; then for each token f32 score, u32 length, bytes.
#include <fmt/format.h>

#include <cstring>

#include "text/bpe.h"
#include "text/pipeline_tokenizer.h"

namespace nbl::text {
namespace {

constexpr int64_t kUnk = 0;
constexpr int64_t kBos = 1;
constexpr int64_t kEos = 2;
constexpr int64_t kFirstPiece = 259;  // behind the specials and the 256 bytes
constexpr uint32_t kMaxPiece = 4096;

template <class T>
bool read(std::string_view& bytes, T* value) {
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(value, bytes.data(), sizeof(T));
  bytes.remove_prefix(sizeof(T));
  return true;
}

Result<std::unique_ptr<Tokenizer>> load(std::string_view bytes, int64_t vocab_size, std::string_view origin) {
  if (vocab_size < kFirstPiece || vocab_size > kMaxTokens) {
    return Status(Code::unsupported,
                  fmt::format("a vocabulary of {} tokens; {} to {} are possible", vocab_size, kFirstPiece, kMaxTokens.get()));
  }
  uint32_t longest = 0;
  if (!read(bytes, &longest)) return Status(Code::corrupt, "the file is shorter than its first number");
  if (longest == 0 || longest > kMaxPiece) {
    return Status(Code::corrupt,
                  fmt::format("the longest piece is said to have {} bytes, not 1 to {}", longest, kMaxPiece));
  }
  Vocabulary vocabulary;
  std::vector<float> scores;
  std::vector<bool> mergeable;
  for (int64_t id = 0; id < vocab_size; ++id) {
    float score = 0;
    uint32_t length = 0;
    if (!read(bytes, &score) || !read(bytes, &length) || length > kMaxPiece || length > bytes.size()) {
      return Status(Code::corrupt, fmt::format("the file ends inside token {} of {}", id, vocab_size));
    }
    std::string_view piece = bytes.substr(0, length);
    bytes.remove_prefix(length);
    // The specials are written "\n<s>\n".
    if (id < 3 && piece.starts_with('\n') && piece.ends_with('\n') && piece.size() > 2)
      piece = piece.substr(1, piece.size() - 2);
    NBL_TRY(vocabulary.insert(piece, id));
    scores.push_back(score);
    mergeable.push_back(id >= kFirstPiece);
  }
  if (!bytes.empty()) {
    return Status(Code::corrupt, fmt::format("{} bytes follow the last of {} tokens", bytes.size(), vocab_size));
  }
  PipelineParts parts;
  parts.origin = std::string(origin);
  for (int64_t id : {kUnk, kBos, kEos}) {
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.content = std::string(vocabulary.piece(token.id));
    token.special = true;
    NBL_TRY(parts.added.add(std::move(token)));
  }
  BpeOptions options;
  options.byte_fallback = true;
  options.unk_token = std::string(vocabulary.piece(kUnk));
  auto model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(options));
  NBL_TRY(model->add_scored_merges(scores, mergeable));
  NBL_TRY(model->build());
  parts.model = std::move(model);
  // Pieces hold plain spaces, and one is put before the text.
  NBL_ASSIGN(const Json prepend, Json::parse(R"({"type": "Prepend", "prepend": " "})", "prepend"));
  NBL_ASSIGN(parts.normalizer, parse_normalizer(prepend));
  NBL_ASSIGN(const Json decoder,
             Json::parse(R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"},
                             {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
                         "decoder"));
  NBL_ASSIGN(parts.decoder, parse_decoder(decoder));
  parts.kind = "sentencepiece bpe";
  parts.bos = static_cast<TokenId>(kBos);
  parts.eos = static_cast<TokenId>(kEos);
  parts.prefix.push_back(*parts.bos);
  return PipelineTokenizer::create(std::move(parts));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_tokenizer_llama2c(std::string_view bytes, int64_t vocab_size,
                                                          std::string_view origin) {
  auto made = load(bytes, vocab_size, origin);
  if (!made.ok()) return made.status().with_context(std::string(origin));
  return made;
}

}  // namespace nbl::text
