#include "text/rwkv.h"

#include <fmt/format.h>

#include "text/byte_level.h"

namespace nbl::text {

Result<std::string> unescape_rwkv_piece(std::string_view piece) {
  std::string out;
  for (std::size_t i = 0; i < piece.size(); ++i) {
    if (piece[i] != '\\') {
      out += piece[i];
      continue;
    }
    const auto cut = [&] { return Status(Code::corrupt, fmt::format("the piece \"{}\" ends within an escape", piece)); };
    if (++i == piece.size()) return cut();
    if (piece[i] != 'x') {
      out += piece[i] == 't' ? '\t' : piece[i] == 'n' ? '\n' : piece[i] == 'r' ? '\r' : piece[i];
      continue;
    }
    int value = 0;
    for (int n = 0; n < 2; ++n) {
      const char c = ++i < piece.size() ? piece[i] : '\0';
      const char low = static_cast<char>(c | 32);
      const int digit = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
      if (digit < 0) return cut();
      value = value * 16 + digit;
    }
    out += static_cast<char>(value);
  }
  return out;
}

Result<std::unique_ptr<Model>> RwkvModel::create(Vocabulary vocabulary, std::optional<TokenId> unknown) {
  std::unique_ptr<RwkvModel> model(new RwkvModel(std::move(vocabulary), unknown));
  const Vocabulary& pieces = model->vocabulary_;
  std::vector<std::string> bytes(static_cast<std::size_t>(pieces.size()));
  std::vector<std::pair<std::string_view, TokenId>> entries;
  for (TokenId id = 0; id < pieces.size(); ++id) {
    if (!pieces.has(id)) continue;
    auto spelled = from_byte_level(pieces.piece(id));
    if (!spelled || spelled->empty()) return Status(Code::corrupt, fmt::format("token {} stands for no bytes", id));
    std::string& own = bytes[static_cast<std::size_t>(id)];
    own = std::move(*spelled);
    entries.emplace_back(own, id);
  }
  model->trie_.build(std::move(entries));
  return std::unique_ptr<Model>(std::move(model));
}

Status RwkvModel::tokenize(const Piece& piece, Scratch&, std::vector<TokenId>& out) const {
  for (std::string_view rest = piece.text; !rest.empty();) {
    std::size_t length = 0;
    TokenId id = -1;
    trie_.prefixes(rest, [&](std::size_t n, TokenId found) {
      length = n;
      id = found;
    });
    if (length == 0) {
      if (!unknown_) {
        return Status(Code::invalid_argument, fmt::format("the byte 0x{:02X} is not in the vocabulary, and there is no unknown token",
                                                          static_cast<unsigned char>(rest[0])));
      }
      length = 1;
      id = *unknown_;
    }
    out.push_back(id);
    rest.remove_prefix(length);
  }
  return {};
}

}  // namespace nbl::text
