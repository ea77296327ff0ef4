// nibble tokenize, nibble detokenize
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/cli.h"
#include "cli/json_text.h"

namespace nibble::cli {
namespace {

struct Args {
  std::string model, prompt, prompt_file, jsonl;
  bool special = false, literal = false, keep_special = false;
  std::vector<int32_t> ids;
};

std::string id_list(const std::vector<int32_t>& ids) {
  std::string out = "[";
  for (const int32_t id : ids) out += fmt::format("{}{}", out.size() > 1 ? "," : "", id);
  return out + "]";
}

/// {"ids", "pieces"} of one text.
std::string ids_and_pieces(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string pieces = "[";
  for (const int32_t id : ids) pieces += (pieces.size() > 1 ? "," : "") + json_string(tokenizer.piece(id));
  return ObjectText().set_raw("ids", id_list(ids)).set_raw("pieces", pieces + "]").text();
}

int tokenize(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  const Tokenizer tokenizer = global.open_tokenizer(runtime, args.model);
  const uint32_t flags =
      (args.special ? uint32_t{NBL_ENCODE_SPECIAL} : 0u) | (args.literal ? uint32_t{NBL_ENCODE_LITERAL} : 0u);
  if (!args.jsonl.empty()) {
    const std::string lines = read_file(args.jsonl);
    std::string results;
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < lines.size();) {
      const std::size_t end = std::min(lines.find('\n', begin), lines.size());
      const std::string line = lines.substr(begin, end - begin);
      begin = end + 1;
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      std::string text_of_line;
      try {
        const Doc doc(line);
        text_of_line = std::string(doc.root()["text"].get_string().value());
      } catch (const simdjson::simdjson_error&) {
        throw Failure(kBadInput, fmt::format("'{}' line {}: a JSON object with a string \"text\" was expected",
                                             args.jsonl, number));
      }
      const std::string ids = id_list(tokenizer.encode(text_of_line, flags));
      if (global.tables()) fmt::print("{}\n", ids);
      results += (results.empty() ? "" : ",") + ObjectText().set_raw("ids", ids).text();
    }
    emit_json(
        global,
        indented(ObjectText().set("nibble_version", nbl_version()).set_raw("results", "[" + results + "]").text()));
    return kDone;
  }
  const std::string text = args.prompt_file.empty() ? args.prompt : read_file(args.prompt_file);
  const std::vector<int32_t> ids = tokenizer.encode(text, flags);
  if (global.tables()) {
    for (const int32_t id : ids) fmt::print("{}\t{}\n", id, tokenizer.piece(id));
  }
  const std::string body = ids_and_pieces(tokenizer, ids);
  emit_json(global, indented("{\"nibble_version\":" + json_string(nbl_version()) + "," + body.substr(1)));
  return kDone;
}

int detokenize(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  const Tokenizer tokenizer = global.open_tokenizer(runtime, args.model);
  const std::string text = tokenizer.decode(args.ids, !args.keep_special);
  if (global.tables()) fmt::print("{}\n", text);
  emit_json(global, indented(ObjectText()
                                 .set("nibble_version", nbl_version())
                                 .set_raw("ids", id_list(args.ids))
                                 .set("text", text)
                                 .text()));
  return kDone;
}

}  // namespace

void add_tokenize(const Commands& c) {
  auto args = std::make_shared<Args>();
  auto* command = c.app.add_subcommand("tokenize", "text to token ids");
  command->add_option("MODEL", args->model, "whose tokenizer")->required();
  auto* prompt = command->add_option("-p,--prompt", args->prompt, "the text");
  auto* file = command->add_option("--prompt-file", args->prompt_file, "the file that holds it")->excludes(prompt);
  command->add_option("--jsonl", args->jsonl, "JSON lines with a \"text\" each")->excludes(prompt)->excludes(file);
  command->add_flag("--special", args->special, "add the special tokens that the model expects around a text");
  command->add_flag("--literal", args->literal, "text that looks like a special token is ordinary text");
  command->callback([c, args] { c.chosen = [c, args] { return tokenize(c.global, *args); }; });

  auto other = std::make_shared<Args>();
  auto* back = c.app.add_subcommand("detokenize", "token ids to text");
  back->add_option("MODEL", other->model, "whose tokenizer")->required();
  back->add_option("--ids", other->ids, "token ids: 12,5,9")->delimiter(',')->required();
  back->add_flag("--keep-special", other->keep_special, "show special tokens");
  back->callback([c, other] { c.chosen = [c, other] { return detokenize(c.global, *other); }; });
}

}  // namespace nibble::cli
