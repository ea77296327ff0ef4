// The bitsandbytes dialect.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "dialects/bnb_layout.h"
#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/hf_writer.h"
#include "dialects/recode.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

enum class Kind : uint8_t { nf4, fp4, int8 };
constexpr const char* kKindNames[] = {"nf4", "fp4", "int8"};

Status no(std::string why) { return Status(Code::unsupported, "bitsandbytes cannot hold " + std::move(why)); }

bool is_nf4(const std::array<float, 16>& table) { return std::equal(table.begin(), table.end(), kNf4Table); }

// fp4: sign and magnitude; positive magnitudes are twelfths of 0, 1/16, 8, 12, 4, 6, 2, 3.
bool is_fp4(const std::array<float, 16>& table) {
  static constexpr double kTwelfths[8] = {0, 0.0625, 8, 12, 4, 6, 2, 3};
  for (std::size_t i = 0; i < 16; ++i) {
    const double expected = (i < 8 ? 1 : -1) * kTwelfths[i % 8] / 12;
    if (std::abs(static_cast<double>(table[i]) - expected) > 1e-7) return false;
  }
  return true;
}

// SCB such that our reading gives back exactly this scale.
std::optional<float> row_maximum(float scale) {
  const float guess = scale / kBnbInt8Step;
  float low = guess, high = guess;
  for (int i = 0; i < 8; ++i) {
    if (low * kBnbInt8Step == scale) return low;
    if (high * kBnbInt8Step == scale) return high;
    low = std::nextafter(low, -INFINITY);
    high = std::nextafter(high, INFINITY);
  }
  return std::nullopt;
}

Result<AffineView> int8_view(const QTensor& tensor) {
  AffineTarget target;
  target.bits = {8};
  target.groups = {0};
  target.zeros = {ZeroKind::symmetric};
  target.scale_types = {DType::f32};
  NBL_ASSIGN(AffineView view, recode_affine(tensor, target, "bitsandbytes"));
  for (float& scale : view.scales) {
    const auto maximum = row_maximum(scale);
    if (!maximum) return no("this row scale");
    scale = *maximum;
  }
  return view;
}

Result<Kind> kind_of(const QTensor& tensor) {
  const Segment& s = tensor.segments.front();
  if (tensor.segments.size() != 1 || !tensor.column_order.empty() || !tensor.input_scale.empty() || tensor.outliers ||
      tensor.input_rounding) {
    return no("reordered columns, mixed encodings, input scales, rounded inputs or outliers; the native format can");
  }
  if (s.encoding == Encoding::affine) {
    NBL_TRY(int8_view(tensor).status());
    return Kind::int8;
  }
  const bool nf4 = s.encoding == Encoding::codebook && is_nf4(s.table);
  if (!nf4 && !(s.encoding == Encoding::codebook && is_fp4(s.table))) {
    return no(fmt::format("{} with another table than nf4 or fp4; the native format can", tensor.description()));
  }
  // Blocks run over the flattened weight, so that rows must hold whole ones.
  const int64_t block = s.group_size == 0 ? tensor.k : s.group_size;
  const bool power = block >= 32 && block <= 4096 && (block & (block - 1)) == 0;
  if (!power || tensor.k % block != 0) {
    return no(fmt::format("blocks of {} in rows of {}; powers of two from 32 to 4096 that divide a row can be", block,
                          tensor.k));
  }
  return nf4 ? Kind::nf4 : Kind::fp4;
}

// Scales quantized the way that bitsandbytes nests them: 8-bit codes of one table, a scale a run of blocks, one offset for all.
bool is_nested(const Segment& s) {
  if (!s.scale_codes) return false;
  const ScaleCodes& c = *s.scale_codes;
  return c.bits == 8 && c.offset == 0 && c.rows == 0 && c.groups > 0 && c.super_type == DType::f32 && c.addends.empty() &&
         c.table.size() == 256 * sizeof(float);
}

class BnbPacker final : public HfPacker {
 public:
  Status pack(const std::string& module, const QTensor& tensor, io::TensorSpool& spool) override {
    NBL_ASSIGN(const Kind kind, kind_of(tensor));
    if (kind_ && *kind_ != kind) {
      return no(fmt::format("{} beside {} in one model; the native format can", kKindNames[static_cast<int>(kind)],
                            kKindNames[static_cast<int>(*kind_)]));
    }
    kind_ = kind;
    return kind == Kind::int8 ? pack_int8(module, tensor, spool) : pack_four_bit(module, tensor, kind, spool);
  }

  Json quantization_config(const std::vector<std::string>& dense) const override {
    const bool int8 = kind_ == Kind::int8;
    Json config = Json::object();
    config.set("quant_method", "bitsandbytes");
    config.set("_load_in_4bit", !int8);
    config.set("_load_in_8bit", int8);
    config.set("load_in_4bit", !int8);
    config.set("load_in_8bit", int8);
    config.set("bnb_4bit_compute_dtype", "float32");
    config.set("bnb_4bit_quant_storage", "uint8");
    config.set("bnb_4bit_quant_type", kind_ == Kind::fp4 ? "fp4" : "nf4");
    config.set("bnb_4bit_use_double_quant", nested_);
    config.set("llm_int8_enable_fp32_cpu_offload", false);
    config.set("llm_int8_has_fp16_weight", false);
    Json skipped = Json::array();
    for (const std::string& name : dense) skipped.push_back(name);
    config.set("llm_int8_skip_modules", skipped.size() == 0 ? Json() : std::move(skipped));
    // Weights alone: activations are not to be quantized on the fly unless the user asks for it.
    config.set("llm_int8_threshold", 6.0);
    return config;
  }

 private:
  static Status pack_int8(const std::string& module, const QTensor& tensor, io::TensorSpool& spool) {
    NBL_ASSIGN(const AffineView view, int8_view(tensor));
    std::vector<uint8_t> codes(static_cast<std::size_t>(tensor.n * tensor.k));
    for (int64_t row = 0; row < tensor.n; ++row) view.codes(row, codes.data() + row * tensor.k);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(code ^ 0x80);
    const std::byte format{0};
    NBL_TRY(spool.add(module + ".weight", "I8", {tensor.n, tensor.k}, std::as_bytes(std::span(codes))));
    NBL_TRY(spool.add(module + ".SCB", "F32", {tensor.n}, std::as_bytes(std::span(view.scales))));
    return spool.add(module + ".weight_format", "U8", {}, std::span(&format, 1));
  }

  Status pack_four_bit(const std::string& module, const QTensor& tensor, Kind kind, io::TensorSpool& spool) {
    const Segment& s = tensor.segments.front();
    const int64_t count = tensor.n * tensor.k, block = s.group_size == 0 ? tensor.k : s.group_size;
    std::vector<uint8_t> bytes(static_cast<std::size_t>(ceil_div(count, 2))), codes(static_cast<std::size_t>(tensor.k));
    std::vector<float> absmax;
    for (int64_t row = 0; row < tensor.n; ++row) {
      tensor.unpack_row_codes(row, codes.data());
      for (int64_t c = 0; c < tensor.k; ++c) {
        const int64_t i = row * tensor.k + c;
        auto& byte = bytes[static_cast<std::size_t>(i / 2)];
        byte = static_cast<uint8_t>(byte | codes[static_cast<std::size_t>(c)] << (i % 2 == 0 ? 4 : 0));
      }
      for (int64_t g = 0; g < s.groups(); ++g) absmax.push_back(scale_at(s, row, g));
    }
    const std::string name = module + ".weight";
    const std::string type = kKindNames[static_cast<int>(kind)];
    std::string state =
        fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "float32", "shape": [{}, {}])", type, block,
                    tensor.n, tensor.k);
    const bool nested = is_nested(s);
    if (nested) {
      nested_ = true;
      // The shortest decimal that reads back to the same float.
      std::string offset = fmt::format("{}", s.scale_codes->shift);
      if (offset.find_first_of(".e") == std::string::npos) offset += ".0";
      state += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})", s.scale_codes->groups,
                           offset);
    }
    state += "}";
    NBL_TRY(spool.add(name, "U8", {static_cast<int64_t>(bytes.size()), 1}, std::as_bytes(std::span(bytes))));
    const auto count_of = [](const auto& list) { return static_cast<int64_t>(list.size()); };
    if (nested) {
      std::vector<uint8_t> levels(absmax.size());
      for (std::size_t i = 0; i < levels.size(); ++i)
        levels[i] = static_cast<uint8_t>(s.scale_codes->code_at(static_cast<int64_t>(i)));
      const auto supers = s.scale_codes->supers.as<float>();
      NBL_TRY(spool.add(name + ".absmax", "U8", {count_of(levels)}, std::as_bytes(std::span(levels))));
      NBL_TRY(spool.add(name + ".nested_absmax", "F32", {count_of(supers)}, std::as_bytes(supers)));
      NBL_TRY(spool.add(name + ".nested_quant_map", "F32", {256}, s.scale_codes->table.bytes()));
    } else {
      NBL_TRY(spool.add(name + ".absmax", "F32", {count_of(absmax)}, std::as_bytes(std::span(absmax))));
    }
    NBL_TRY(spool.add(name + ".quant_map", "F32", {16}, std::as_bytes(std::span(s.table))));
    return spool.add(name + ".quant_state.bitsandbytes__" + type, "U8", {static_cast<int64_t>(state.size())},
                     std::as_bytes(std::span(state.data(), state.size())));
  }

  std::optional<Kind> kind_;
  bool nested_ = false;
};

class BnbDialect final : public Dialect {
 public:
  std::string_view id() const override { return "bitsandbytes"; }
  std::string_view summary() const override {
    return "bitsandbytes directory: nf4 and fp4, nested or not, and int8 rows";
  }
  std::string_view limits() const override {
    return "nf4 or fp4 in blocks of 32 to 4096 that divide a row, or symmetric 8 bits with a scale a row, one of them "
           "a model.";
  }
  bool recognise(const fs::path& path) const override {
    return is_hf_directory(path) && hf_quant_method(path) == "bitsandbytes";
  }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    return make_hf_checkpoint("bitsandbytes", std::move(directory), make_bnb_packing());
  }
  bool can_write() const override { return true; }
  Result<std::unique_ptr<CheckpointWriter>> make_writer(const fs::path& path) const override {
    return make_hf_writer(path, std::make_unique<BnbPacker>());
  }
  Status can_represent(std::string_view name, const QTensor& tensor) const override {
    if (is_plain_dense(tensor)) return {};
    return kind_of(tensor).status().with_context(fmt::format("tensor {}", name));
  }
  std::vector<std::string> closest_recipes(const QTensor& tensor) const override {
    const std::vector<std::string> four = {"nf4:block_size=64", "nf4:block_size=32"};
    const bool wide = std::any_of(tensor.segments.begin(), tensor.segments.end(),
                                  [](const Segment& s) { return s.encoding == Encoding::dense || s.bits > 4; });
    std::vector<std::string> recipes = four;
    recipes.insert(wide ? recipes.begin() : recipes.end(), "int8");
    return recipes;
  }
};

}  // namespace

const Dialect& bitsandbytes_dialect() {
  static const BnbDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
