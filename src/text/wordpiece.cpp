#include "text/wordpiece.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace nbl::text {

Result<std::unique_ptr<Model>> WordPieceModel::create(Vocabulary vocabulary, WordPieceOptions options) {
  if (options.max_chars < 1 || options.max_chars > 10'000) {
    return Status(Code::limit, fmt::format("max_input_chars_per_word is {}, outside 1..10000", options.max_chars));
  }
  std::unique_ptr<WordPieceModel> model(new WordPieceModel(std::move(vocabulary), std::move(options)));
  model->unk_ = model->vocabulary_.find(model->options_.unk_token).value_or(-1);
  return std::unique_ptr<Model>(std::move(model));
}

Status WordPieceModel::tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const {
  const std::string_view word = piece.text;
  const std::size_t before = out.size();
  const auto unknown = [&]() -> Status {
    if (unk_ < 0) {
      return Status(Code::corrupt,
                    fmt::format("the unknown token \"{}\" is not in the vocabulary", options_.unk_token));
    }
    out.resize(before);
    out.push_back(unk_);
    return {};
  };
  if (options_.whole_words) {
    const auto id = vocabulary_.find(word);
    if (!id) return unknown();
    out.push_back(*id);
    return {};
  }
  int64_t chars = 0;
  for (const char c : word) chars += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  if (chars > options_.max_chars) return unknown();
  std::string& name = scratch.mapped;
  for (std::size_t start = 0; start < word.size();) {
    name.clear();
    if (start > 0) name += options_.continuing_prefix;
    const std::size_t prefix = name.size();
    name += word.substr(start);
    std::optional<TokenId> id;
    while (name.size() > prefix && !(id = vocabulary_.find(name))) {
      do {
        name.pop_back();
      } while (name.size() > prefix && (static_cast<unsigned char>(word[start + name.size() - prefix]) & 0xC0) == 0x80);
    }
    if (!id) return unknown();
    out.push_back(*id);
    start += name.size() - prefix;
  }
  return {};
}

}  // namespace nbl::text
