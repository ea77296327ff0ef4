#include "fuzz/fuzz.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "dialects/dialects.h"
#include "dialects/gguf_vocab.h"
#include "dialects/tokenizer_export.h"
#include "text/assets.h"

namespace nbl::fuzz {
namespace fs = std::filesystem;

Folder::Folder() {
  std::error_code ec;
  std::string name = (fs::is_directory("/dev/shm", ec) ? std::string("/dev/shm") : fs::temp_directory_path().string());
  name += "/nibble-fuzz-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}

Folder::~Folder() {
  std::error_code ec;
  fs::remove_all(path_, ec);
}

fs::path Folder::put(std::string_view name, std::string_view bytes) const {
  const fs::path path = path_ / name;
  std::error_code ec;
  fs::remove(path, ec);  // a mapping of the last input may still be alive
  fs::create_directories(path.parent_path(), ec);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr || (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size())) std::abort();
  std::fclose(file);
  return path;
}

const Folder& folder() {
  static const Folder one;
  return one;
}

void use(const Checkpoint& checkpoint, int64_t budget) {
  std::vector<float> row;
  for (const TensorInfo& info : checkpoint.tensors()) {
    int64_t count = 1;
    for (const int64_t dimension : info.shape) {
      if (dimension < 0 || (dimension > 0 && count > budget / dimension)) count = budget + 1;
      if (count > budget) break;
      count *= dimension;
    }
    if (count > budget) continue;
    budget -= count;
    if (const auto matrix = checkpoint.matrix(info.name); !failed(matrix)) {
      if (failed(matrix.value().validate(info.name))) continue;
      row.resize(static_cast<std::size_t>(matrix.value().k));
      for (const int64_t r : {int64_t{0}, matrix.value().n - 1}) matrix.value().dequantize_row(r, row.data());
    }
    if (const auto array = checkpoint.array(info.name); !failed(array)) (void)failed(array.value().to_f32());
  }
  for (const std::string& name : checkpoint.asset_names()) (void)failed(checkpoint.asset(name));
  (void)checkpoint.warnings();
  (void)checkpoint.config().dump();
  (void)failed(checkpoint.verify());
}

void use_vocabulary(const std::map<std::string, std::string, std::less<>>& files) {
  constexpr int64_t kRows = 300;
  text::Assets assets;
  assets.origin = "input";
  assets.vocab_size = kRows;
  assets.has = [&](std::string_view name) { return files.contains(name); };
  assets.get = [&](std::string_view name) -> Result<std::string> { return files.find(name)->second; };
  const auto tokenizer = text::load_tokenizer(assets);
  (void)failed(tokenizer);
  (void)failed(text::load_chat_templates(assets, tokenizer.ok() ? tokenizer->get() : nullptr));
  io::GgufMetadata metadata;
  (void)failed(dialects::gguf_vocabulary(files, Json::object({{"eos_token_id", 2}}), kRows, metadata));
  if (const auto gguf = files.find("tokenizer.gguf"); gguf != files.end()) {
    const auto entries = Json::parse(gguf->second, "tokenizer.gguf");
    if (!failed(entries)) (void)failed(dialects::huggingface_tokenizer(*entries));
  }
}

void open_and_use(const fs::path& path) {
  const auto opened = dialects::open(path);
  if (!failed(opened)) use(*opened.value());
}

}  // namespace nbl::fuzz
