// llama2.c's .bin: a header, then the tensors of each kind for all layers, in a fixed order. Rotary pairs are adjacent
// there; rows of q and k are put into the Hugging Face order on the way in.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "base/bounds.h"
#include "base/checked.h"
#include "base/memory_files.h"
#include "dialects/common.h"
#include "dialects/dialects.h"
#include "io/file_source.h"
#include "io/spool.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kMagic = 0x616b3432;
constexpr int64_t kHeadBytes = 256;
constexpr BoundOf<int64_t> kMaxTokenizer{Bound::tokenizer_bytes};

struct Header {
  int32_t version = 0;
  int64_t dim = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, vocab = 0, seq_len = 0;
  bool shared = true;
  int64_t group = 0;  // version 2
  int64_t data_begin = 0;
};

// A tensor in the file: f32 values, or (group > 0) int8 codes followed by f32 scales.
struct Place {
  int64_t offset = 0, rows = 0, columns = 0;  // columns 0: a vector of `rows`
  int64_t group = 0;
  int64_t permute_heads = 0;  // heads whose rows are in adjacent-pair order

  int64_t count() const noexcept { return rows * std::max<int64_t>(columns, 1); }
  int64_t bytes() const noexcept { return group == 0 ? 4 * count() : count() + 4 * (count() / group); }
};

int32_t read_i32(std::span<const std::byte> bytes, std::size_t at) {
  int32_t value = 0;
  std::memcpy(&value, bytes.data() + at, 4);
  return value;
}

// The seven counts must describe a transformer of sane size; this is also how version 0, which has no magic, is
// recognised.
Status check(const Header& h, const std::string& file) {
  const auto within = [](int64_t value, int64_t limit) { return value > 0 && value <= limit; };
  if (within(h.dim, 1 << 20) && within(h.hidden, 1 << 22) && within(h.layers, 1 << 12) && within(h.heads, 1 << 12) &&
      within(h.kv_heads, h.heads) && within(h.vocab, 1 << 24) && within(h.seq_len, 1 << 24) && h.dim % h.heads == 0 &&
      h.heads % h.kv_heads == 0 && h.dim / h.heads % 2 == 0) {
    return {};
  }
  return Status(
      Code::corrupt,
      fmt::format(
          "{}: a header of dim {}, hidden {}, layers {}, heads {}, kv heads {}, vocabulary {}, length {} describes "
          "no llama2.c model",
          file, h.dim, h.hidden, h.layers, h.heads, h.kv_heads, h.vocab, h.seq_len));
}

void read_counts(std::span<const std::byte> bytes, std::size_t at, Header& h) {
  int64_t* const fields[] = {&h.dim, &h.hidden, &h.layers, &h.heads, &h.kv_heads, &h.vocab, &h.seq_len};
  for (int64_t* field : fields) {
    *field = read_i32(bytes, at);
    at += 4;
  }
}

Result<Header> read_header(std::span<const std::byte> bytes, const std::string& file) {
  Header h;
  if (bytes.size() < 28)
    return Status(Code::corrupt, fmt::format("{}: {} bytes are too few for a llama2.c model", file, bytes.size()));
  if (static_cast<uint32_t>(read_i32(bytes, 0)) != kMagic) {
    read_counts(bytes, 0, h);
    h.shared = h.vocab > 0;
    h.vocab = h.vocab < 0 ? -h.vocab : h.vocab;
    h.data_begin = 28;
    NBL_TRY(check(h, file));
    return h;
  }
  if (bytes.size() < 256)
    return Status(Code::corrupt, fmt::format("{}: {} bytes end within the header", file, bytes.size()));
  h.version = read_i32(bytes, 4);
  if (h.version != 1 && h.version != 2) {
    return Status(Code::unsupported, fmt::format("{}: llama2.c version {}; 0, 1 and 2 are read", file, h.version));
  }
  read_counts(bytes, 8, h);
  h.shared = bytes[36] != std::byte{0};
  if (h.version == 2) {
    h.group = read_i32(bytes, 37);
    if (h.group <= 0 || h.group > (1 << 20))
      return Status(Code::corrupt, fmt::format("{}: group size {}", file, h.group));
  }
  h.data_begin = 256;
  NBL_TRY(check(h, file));
  return h;
}

class Layout {
 public:
  explicit Layout(const Header& h) : h_(h), at_(h.data_begin) {
    const int64_t head_dim = h.dim / h.heads, q_rows = h.dim, kv_rows = h.kv_heads * head_dim;
    if (h.version == 0) {
      matrices("model.embed_tokens.weight", 1, h.vocab, h.dim);
      vectors("model.layers.{}.input_layernorm.weight", h.layers);
      projections(q_rows, kv_rows);
      vectors("model.layers.{}.post_attention_layernorm.weight", h.layers);
      mlp();
      vectors("model.norm.weight", 1);
      skip(4 * h.seq_len * head_dim);  // cosines and sines, half a head each
    } else {
      vectors("model.layers.{}.input_layernorm.weight", h.layers);
      vectors("model.layers.{}.post_attention_layernorm.weight", h.layers);
      vectors("model.norm.weight", 1);
      matrices("model.embed_tokens.weight", 1, h.vocab, h.dim);
      projections(q_rows, kv_rows);
      mlp();
    }
    if (!h.shared) matrices("lm_head.weight", 1, h.vocab, h.dim);
  }
  int64_t end() const noexcept { return at_; }  // -1 when it overflowed
  std::map<std::string, Place, std::less<>> places;

 private:
  void skip(int64_t bytes) {
    if (at_ < 0 || !checked_add(at_, bytes, &at_)) at_ = -1;
  }
  void add(const std::string& name, int64_t rows, int64_t columns, int64_t group, int64_t heads) {
    places[name] = Place{at_, rows, columns, group, heads};
    const int64_t count = rows * std::max<int64_t>(columns, 1);  // both are bounded by the header's check
    skip(group == 0 ? 4 * count : count + 4 * (count / group));
  }
  static std::string numbered(std::string_view pattern, int64_t layer) {
    std::string name(pattern);
    if (const std::size_t at = name.find("{}"); at != std::string::npos) name.replace(at, 2, fmt::format("{}", layer));
    return name;
  }
  void vectors(std::string_view pattern, int64_t count) {
    for (int64_t l = 0; l < count; ++l) add(numbered(pattern, l), h_.dim, 0, 0, 0);
  }
  void matrices(std::string_view pattern, int64_t count, int64_t rows, int64_t columns, int64_t heads = 0) {
    for (int64_t l = 0; l < count; ++l) add(numbered(pattern, l), rows, columns, h_.group, heads);
  }
  void projections(int64_t q_rows, int64_t kv_rows) {
    matrices("model.layers.{}.self_attn.q_proj.weight", h_.layers, q_rows, h_.dim, h_.heads);
    matrices("model.layers.{}.self_attn.k_proj.weight", h_.layers, kv_rows, h_.dim, h_.kv_heads);
    matrices("model.layers.{}.self_attn.v_proj.weight", h_.layers, kv_rows, h_.dim);
    matrices("model.layers.{}.self_attn.o_proj.weight", h_.layers, h_.dim, q_rows);
  }
  void mlp() {
    matrices("model.layers.{}.mlp.gate_proj.weight", h_.layers, h_.hidden, h_.dim);
    matrices("model.layers.{}.mlp.down_proj.weight", h_.layers, h_.dim, h_.hidden);
    matrices("model.layers.{}.mlp.up_proj.weight", h_.layers, h_.hidden, h_.dim);
  }

  const Header& h_;
  int64_t at_;
};

// tokenizer.bin, or tok<vocab>.bin as the training scripts name it, beside the model.
fs::path find_tokenizer(const fs::path& model, int64_t vocab) {
  for (const std::string& name : {fmt::format("tok{}.bin", vocab), std::string("tokenizer.bin")}) {
    fs::path path = model.parent_path() / name;
    if (file_exists(path)) return path;
  }
  return {};
}

class Llama2cCheckpoint final : public Checkpoint {
 public:
  static Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) {
    auto checkpoint = std::make_unique<Llama2cCheckpoint>();
    checkpoint->path_ = path;
    NBL_ASSIGN(checkpoint->source_, io::FileSource::open(path));
    const int64_t size = checkpoint->source_->size();
    NBL_ASSIGN(const Storage head, checkpoint->source_->read(0, std::min(size, kHeadBytes)));
    NBL_ASSIGN(checkpoint->header_, read_header(head.bytes(), path.string()));
    const Header& h = checkpoint->header_;
    Layout layout(h);
    if (layout.end() != size) {
      return Status(Code::corrupt, fmt::format("{}: the header asks for {} bytes, the file has {}", path.string(),
                                               layout.end(), size));
    }
    checkpoint->places_ = std::move(layout.places);
    checkpoint->make_config();
    checkpoint->tokenizer_ = find_tokenizer(path, h.vocab);
    return std::unique_ptr<Checkpoint>(std::move(checkpoint));
  }

  std::string format() const override { return "llama2c"; }
  std::string origin() const override { return path_.string(); }
  const Json& config() const override { return config_; }
  bool has(std::string_view name) const override { return places_.contains(name); }
  int64_t file_bytes() const override { return source_->size(); }
  bool has_asset(std::string_view name) const override { return name == "tokenizer.bin" && !tokenizer_.empty(); }
  Result<std::string> asset(std::string_view name) const override {
    if (!has_asset(name)) return Status(Code::not_found, fmt::format("{}: no {} beside it", origin(), shown(name)));
    return read_text_file(tokenizer_, kMaxTokenizer);
  }
  std::vector<std::string> asset_names() const override {
    return tokenizer_.empty() ? std::vector<std::string>{} : std::vector<std::string>{"tokenizer.bin"};
  }

  std::vector<TensorInfo> tensors() const override {
    std::vector<TensorInfo> infos;
    for (const auto& [name, p] : places_) {
      const int64_t count = p.count(), bytes = p.bytes();
      infos.push_back({name, p.columns == 0 ? Shape{p.rows} : Shape{p.rows, p.columns},
                       p.group == 0 ? std::string("f32") : fmt::format("affine 8 bit g{} f32 sym", p.group),
                       bits_per_element(bytes, count), p.group, bytes});
    }
    std::sort(infos.begin(), infos.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return io::natural_less(a.name, b.name); });
    return infos;
  }

  Result<QTensor> matrix(std::string_view name) const override {
    const auto it = places_.find(name);
    if (it == places_.end()) return not_found(origin(), name);
    const Place& p = it->second;
    if (p.columns == 0) {
      return Status(Code::mismatch,
                    fmt::format("{}: tensor {} of shape [{}] is no matrix", origin(), shown(name), p.rows));
    }
    // Groups that do not fit our rows are read as the values they stand for.
    const bool packed = p.group != 0 && p.group % 16 == 0 && p.columns % p.group == 0;
    NBL_ASSIGN(const Storage stored, source_->read(p.offset, p.bytes()));
    auto tensor = packed ? quantized(p, stored.data()) : dense(p, stored.data());
    if (!tensor.ok()) return tensor.status().with_context(fmt::format("{}: tensor {}", origin(), name));
    const Status status = tensor->validate(std::string(name));
    if (!status.ok()) return status.with_context(origin());
    return tensor;
  }

  Result<Array> array(std::string_view name) const override {
    const auto it = places_.find(name);
    if (it == places_.end()) return not_found(origin(), name);
    const Place& p = it->second;
    if (p.columns != 0) {
      NBL_ASSIGN(const QTensor tensor, matrix(name));
      return to_array(tensor);
    }
    NBL_ASSIGN(Storage values, source_->read(p.offset, p.bytes()));
    return Array{DType::f32, {p.rows}, std::move(values)};
  }

 private:
  void make_config() {
    const Header& h = header_;
    config_ = Json::object();
    config_.set("model_type", "llama");
    Json classes = Json::array();
    classes.push_back("LlamaForCausalLM");
    config_.set("architectures", std::move(classes));
    config_.set("hidden_act", "silu");
    config_.set("hidden_size", h.dim);
    config_.set("intermediate_size", h.hidden);
    config_.set("num_hidden_layers", h.layers);
    config_.set("num_attention_heads", h.heads);
    config_.set("num_key_value_heads", h.kv_heads);
    config_.set("vocab_size", h.vocab);
    config_.set("max_position_embeddings", h.seq_len);
    config_.set("rms_norm_eps", 1e-5);
    config_.set("rope_theta", 10000.0);
    config_.set("tie_word_embeddings", h.shared);
    config_.set("bos_token_id", 1);
    config_.set("eos_token_id", 2);
    config_.set("torch_dtype", "float32");
  }

  // The file's row for row `row` of the Hugging Face tensor.
  static int64_t source_row(const Place& p, int64_t row) {
    if (p.permute_heads == 0) return row;
    const int64_t d = p.rows / p.permute_heads, head = row / d, within = row % d;
    return head * d + 2 * (within % (d / 2)) + within / (d / 2);
  }
  // `data`: where the tensor's bytes begin.
  static float scale_at(const Place& p, const std::byte* data, int64_t index) {
    float scale;
    std::memcpy(&scale, data + p.rows * p.columns + 4 * index, 4);
    return scale;
  }

  static Result<QTensor> dense(const Place& p, const std::byte* data) {
    Segment spec;
    spec.k_count = p.columns;
    spec.encoding = Encoding::dense;
    spec.value_type = DType::f32;
    NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(p.rows, spec));
    std::vector<float> rows(static_cast<std::size_t>(kTileRows * p.columns));
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      for (int64_t r = 0; r < builder.rows(t); ++r) {
        const int64_t source = source_row(p, t * kTileRows + r);
        float* out = rows.data() + r * p.columns;
        if (p.group == 0) {
          std::memcpy(out, data + 4 * source * p.columns, static_cast<std::size_t>(4 * p.columns));
        } else {
          convert_to_f32(DType::i8, data + source * p.columns, p.columns, out);
          for (int64_t c = 0; c < p.columns; ++c) out[c] *= scale_at(p, data, (source * p.columns + c) / p.group);
        }
      }
      builder.set_dense(t, reinterpret_cast<const std::byte*>(rows.data()), 4 * p.columns);
    }
    return make_qtensor(p.rows, p.columns, std::move(builder).finish());
  }

  static Result<QTensor> quantized(const Place& p, const std::byte* stored) {
    Segment spec;
    spec.k_count = p.columns;
    spec.encoding = Encoding::affine;
    spec.bits = 8;
    spec.group_size = p.group;
    spec.scale_type = DType::f32;
    NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(p.rows, spec));
    std::vector<uint8_t> codes(static_cast<std::size_t>(kTileRows * p.columns));
    const auto* data = reinterpret_cast<const uint8_t*>(stored);
    const int64_t groups = p.columns / p.group;
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      for (int64_t r = 0; r < builder.rows(t); ++r) {
        const int64_t row = t * kTileRows + r, source = source_row(p, row);
        for (int64_t c = 0; c < p.columns; ++c) {
          codes[static_cast<std::size_t>(r * p.columns + c)] =
              static_cast<uint8_t>(data[source * p.columns + c] ^ 0x80);
        }
        for (int64_t g = 0; g < groups; ++g) builder.set_scale(row, g, scale_at(p, stored, source * groups + g));
      }
      builder.set_codes(t, codes.data(), p.columns);
    }
    return make_qtensor(p.rows, p.columns, std::move(builder).finish());
  }

  fs::path path_;
  std::shared_ptr<const io::FileSource> source_;
  Header header_;
  std::map<std::string, Place, std::less<>> places_;
  fs::path tokenizer_;
  Json config_;
};

class Llama2cDialect final : public Dialect {
 public:
  std::string_view id() const override { return "llama2c"; }
  std::string_view summary() const override { return "llama2.c's .bin, versions 0, 1 and 2 (int8 groups)"; }
  std::string_view limits() const override { return "Llama models in f32, or int8 with one group size."; }
  bool recognise(const fs::path& path) const override {
    const Storage head = io::file_head(path, kHeadBytes);
    const auto bytes = head.bytes();
    if (bytes.size() >= 4 && static_cast<uint32_t>(read_i32(bytes, 0)) == kMagic) return true;
    const auto header = read_header(bytes, path.string());
    if (!header.ok()) return false;
    // Version 0 has no magic, so its size must fit; one cut short is still recognised when most of it is there.
    const int64_t end = Layout(*header).end(), size = size_of_file(path);
    return end > 0 && size <= end && size >= end / 4;
  }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    return Llama2cCheckpoint::open(path);
  }
};

}  // namespace

const Dialect& llama2c_dialect() {
  static const Llama2cDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
