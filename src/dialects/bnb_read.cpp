// Reading bitsandbytes: 4-bit codebooks (nf4, fp4, nested scales) and int8 with row scales.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "dialects/bnb_layout.h"
#include "dialects/code_lines.h"
#include "dialects/common.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

constexpr std::string_view kState = ".quant_state.bitsandbytes__";
constexpr std::string_view kWeight = ".weight";

// A 4-bit weight: what its quant_state says, checked against the tensors.
struct FourBit {
  const io::RawTensor *codes = nullptr, *absmax = nullptr, *map = nullptr, *state = nullptr;
  const io::RawTensor *nested_absmax = nullptr, *nested_map = nullptr;
  int64_t n = 0, k = 0, block = 0, blocks = 0, nested_block = 0;
  float offset = 0;
  std::string type;
};

float float_at(const io::RawTensor& tensor, int64_t index) noexcept {
  float value;
  std::memcpy(&value, tensor.bytes.data() + 4 * index, 4);
  return value;
}

class BnbPacking final : public Packing {
 public:
  Result<std::map<std::string, PackedModule, std::less<>>> modules(HfDirectory& directory) override {
    std::map<std::string, PackedModule, std::less<>> found;
    for (const auto& [name, raw] : directory.tensors()) {
      if (const std::size_t at = name.find(kState); at != std::string::npos) {
        const std::string weight = name.substr(0, at);
        NBL_ASSIGN(const std::shared_ptr<const HfDirectory> loaded, directory.with_loaded({&name, 1}));
        NBL_ASSIGN(const FourBit w, four_bit(*loaded, weight));
        PackedModule module;
        int64_t bytes = 0;
        for (const io::RawTensor* part : {w.codes, w.absmax, w.map, w.state, w.nested_absmax, w.nested_map}) {
          if (part != nullptr) bytes += static_cast<int64_t>(part->bytes.size());
        }
        for (const char* suffix : {"", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"}) {
          if (directory.find(weight + suffix) != nullptr) module.consumed.push_back(weight + suffix);
        }
        module.consumed.push_back(name);
        module.info = {weight,
                       {w.n, w.k},
                       fmt::format("{} g{}{}", w.type, w.block, w.nested_map != nullptr ? " nested" : ""),
                       bits_per_element(bytes, w.n * w.k),
                       w.block,
                       bytes};
        found.emplace(weight, std::move(module));
      } else if (name.ends_with(".SCB")) {
        const std::string prefix = name.substr(0, name.size() - 4), weight = prefix + std::string(kWeight);
        const std::string looked_at = prefix + ".weight_format";
        NBL_ASSIGN(const std::shared_ptr<const HfDirectory> loaded, directory.with_loaded({&looked_at, 1}));
        NBL_TRY(check_int8(*loaded, prefix));
        const io::RawTensor& codes = *directory.find(weight);
        PackedModule module;
        module.consumed = {weight, name};
        if (directory.find(prefix + ".weight_format") != nullptr) module.consumed.push_back(prefix + ".weight_format");
        const auto bytes = static_cast<int64_t>(codes.bytes.size() + raw->bytes.size());
        module.info = {weight, codes.shape, "int8 rows", bits_per_element(bytes, codes.shape[0] * codes.shape[1]),
                       0,      bytes};
        found.emplace(weight, std::move(module));
      }
    }
    if (found.empty()) {
      return Status(Code::corrupt, fmt::format("{}: quantized with bitsandbytes, but no tensor named *.SCB or *{}*",
                                               directory.origin(), kState));
    }
    return found;
  }

  Result<QTensor> read(const HfDirectory& directory, std::string_view name) const override {
    const std::string weight(name), prefix = weight.substr(0, weight.size() - kWeight.size());
    if (directory.find(prefix + ".SCB") != nullptr) return read_int8(directory, prefix);
    NBL_ASSIGN(const FourBit w, four_bit(directory, weight));
    return read_four_bit(w);
  }

 private:
  static Status check_int8(const HfDirectory& directory, const std::string& prefix) {
    NBL_ASSIGN(const io::RawTensor* codes, directory.get(prefix + std::string(kWeight)));
    const io::RawTensor& scales = *directory.find(prefix + ".SCB");
    if (codes->type != "I8" || codes->shape.size() != 2 || codes->shape[0] <= 0 || codes->shape[1] <= 0) {
      return unexpected_shape(*codes, "I8 of [n, k]");
    }
    if (scales.type != "F32" || scales.shape != Shape{codes->shape[0]}) {
      return unexpected_shape(scales, fmt::format("F32 of [{}]", codes->shape[0]));
    }
    if (const io::RawTensor* format = directory.find(prefix + ".weight_format")) {
      const bool row = format->type == "U8" && format->bytes.size() == 1 && format->bytes.bytes()[0] == std::byte{0};
      if (!row) {
        return Status(Code::unsupported,
                      fmt::format("{}: tensor {} says that the weight is permuted for a GPU; only row order is read",
                                  format->file, shown(format->name)));
      }
    }
    return {};
  }

  static Result<QTensor> read_int8(const HfDirectory& directory, const std::string& prefix) {
    NBL_TRY(check_int8(directory, prefix));
    const io::RawTensor &raw = *directory.find(prefix + std::string(kWeight)),
                        &scales = *directory.find(prefix + ".SCB");
    const int64_t n = raw.shape[0], k = raw.shape[1];
    Segment spec;
    spec.k_count = k;
    spec.encoding = Encoding::affine;
    spec.bits = 8;
    spec.scale_type = DType::f32;
    NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, spec));
    std::vector<uint8_t> codes(static_cast<std::size_t>(kTileRows * k));
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      const auto* source = reinterpret_cast<const uint8_t*>(raw.bytes.data()) + t * kTileRows * k;
      const auto count = static_cast<std::size_t>(builder.rows(t) * k);
      for (std::size_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(source[i] ^ 0x80);
      builder.set_codes(t, codes.data(), k);
      for (int64_t r = 0; r < builder.rows(t); ++r) {
        builder.set_scale(t * kTileRows + r, 0, float_at(scales, t * kTileRows + r) * kBnbInt8Step);
      }
    }
    return make_qtensor(n, k, std::move(builder).finish());
  }

  static Result<FourBit> four_bit(const HfDirectory& directory, const std::string& weight) {
    FourBit w;
    NBL_ASSIGN(w.codes, directory.get(weight));
    NBL_ASSIGN(w.absmax, directory.get(weight + ".absmax"));
    NBL_ASSIGN(w.map, directory.get(weight + ".quant_map"));
    for (const char* type : {"nf4", "fp4"}) {
      if (const io::RawTensor* state = directory.find(weight + std::string(kState) + type)) {
        w.state = state;
        w.type = type;
      }
    }
    if (w.state == nullptr)
      return Status(Code::unsupported, fmt::format("{}: tensor {} is neither nf4 nor fp4", directory.origin(), weight));
    const std::string where = fmt::format("{}: {}", w.state->file, w.state->name);
    const std::string_view text(reinterpret_cast<const char*>(w.state->bytes.data()), w.state->bytes.size());
    NBL_ASSIGN(const Json state, Json::parse(text, where, {.max_bytes = 1 << 20, .max_depth = 8}));
    const Json* shape = state.find("shape");
    if (shape == nullptr || shape->size() != 2 || !shape->elements()[0].is_int() || !shape->elements()[1].is_int()) {
      return Status(Code::corrupt, fmt::format("{}: shape is no pair of numbers", where));
    }
    w.n = shape->elements()[0].as_int();
    w.k = shape->elements()[1].as_int();
    NBL_ASSIGN(w.block, state.get_int("blocksize"));
    int64_t count = 0;
    if (w.n <= 0 || w.k <= 0 || w.block <= 0 || w.block > (1 << 20) || !checked_mul(w.n, w.k, &count)) {
      return Status(Code::corrupt, fmt::format("{}: shape [{}, {}] in blocks of {}", where, w.n, w.k, w.block));
    }
    w.blocks = ceil_div(count, w.block);
    // The bytes may be declared as another type of the same size; their number is what counts.
    if (static_cast<int64_t>(w.codes->bytes.size()) < ceil_div(count, 2) ||
        static_cast<int64_t>(w.codes->bytes.size()) > round_up(ceil_div(count, 2), 8)) {
      return unexpected_shape(*w.codes, fmt::format("{} bytes for [{}, {}]", ceil_div(count, 2), w.n, w.k));
    }
    if (w.map->type != "F32" || w.map->shape != Shape{16}) return unexpected_shape(*w.map, "F32 of [16]");
    w.nested_map = directory.find(weight + ".nested_quant_map");
    if (w.nested_map == nullptr) {
      if (w.absmax->type != "F32" || w.absmax->shape != Shape{w.blocks}) {
        return unexpected_shape(*w.absmax, fmt::format("F32 of [{}]", w.blocks));
      }
      return w;
    }
    NBL_ASSIGN(w.nested_absmax, directory.get(weight + ".nested_absmax"));
    NBL_ASSIGN(w.nested_block, state.get_int("nested_blocksize"));
    NBL_ASSIGN(const double offset, state.get_double("nested_offset"));
    w.offset = static_cast<float>(offset);
    if (w.nested_block <= 0 || w.nested_block > (1 << 20)) {
      return Status(Code::corrupt, fmt::format("{}: nested blocks of {}", where, w.nested_block));
    }
    if (w.absmax->type != "U8" || w.absmax->shape != Shape{w.blocks}) {
      return unexpected_shape(*w.absmax, fmt::format("U8 of [{}]", w.blocks));
    }
    if (w.nested_map->type != "F32" || w.nested_map->shape != Shape{256})
      return unexpected_shape(*w.nested_map, "F32 of [256]");
    if (w.nested_absmax->type != "F32" || w.nested_absmax->shape != Shape{ceil_div(w.blocks, w.nested_block)}) {
      return unexpected_shape(*w.nested_absmax, fmt::format("F32 of [{}]", ceil_div(w.blocks, w.nested_block)));
    }
    return w;
  }

  static float scale_of(const FourBit& w, int64_t block) {
    if (w.nested_map == nullptr) return float_at(*w.absmax, block);
    const auto code = static_cast<int64_t>(w.absmax->bytes.bytes()[static_cast<std::size_t>(block)]);
    const float product = float_at(*w.nested_map, code) * float_at(*w.nested_absmax, block / w.nested_block);
    return product + w.offset;
  }

  static void set_scales(const FourBit& w, SegmentBuilder& builder) {
    const int64_t groups = builder.spec().groups(), size = builder.spec().group_size == 0 ? w.k : builder.spec().group_size;
    const bool plain = w.nested_map == nullptr && size == w.block;  // each block is a group
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t row = t * kTileRows, rows = builder.rows(t);
        if (plain) {
          gather_elements(4, w.absmax->bytes.data() + 4 * (row * groups + g), 4 * groups, rows, builder.scales(t, g));
          continue;
        }
        for (int64_t r = 0; r < rows; ++r) builder.set_scale(row + r, g, scale_of(w, ((row + r) * w.k + g * size) / w.block));
      }
    }
  }

  // Rows of whole bytes, two codes each, the first in the upper half.
  static void set_nibbles(const FourBit& w, SegmentBuilder& builder) {
    WordLine words[8] = {};
    CodeLines lines;
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      const std::byte* source = w.codes->bytes.data() + t * kTileRows * w.k / 2;
      for (int64_t c = 0; c < builder.spec().column_tiles(); ++c) {
        const int64_t columns = std::min(kTileCols, w.k - c * kTileCols);
        if (columns < kTileCols) std::fill(std::begin(words), std::end(words), WordLine{});
        load_words_of_rows(source + c * kTileCols / 2, w.k / 2, builder.rows(t), columns / 2, words);
        for (WordLine& line : words) {
          for (uint32_t& word : line) word = ((word >> 4) & 0x0f0f0f0fu) | (word & 0x0f0f0f0fu) << 4;
        }
        lines_from_words(4, WordOrder::stream, words, columns, &lines);
        builder.set_lines(t, c, lines);
      }
    }
  }

  // The general way: codes, or the values where no groups suit.
  static void set_one_by_one(const FourBit& w, bool fits, SegmentBuilder& builder) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(w.codes->bytes.data());
    const auto code_at = [&](int64_t i) {
      return static_cast<uint8_t>(i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15);
    };
    std::vector<uint8_t> codes(static_cast<std::size_t>(fits ? kTileRows * w.k : 0));
    std::vector<float> values(static_cast<std::size_t>(fits ? 0 : kTileRows * w.k));
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      for (int64_t r = 0; r < builder.rows(t); ++r) {
        const int64_t first = (t * kTileRows + r) * w.k;
        for (int64_t c = 0; c < w.k; ++c) {
          const auto at = static_cast<std::size_t>(r * w.k + c);
          if (fits) {
            codes[at] = code_at(first + c);
          } else {
            values[at] = scale_of(w, (first + c) / w.block) * float_at(*w.map, code_at(first + c));
          }
        }
      }
      if (fits) {
        builder.set_codes(t, codes.data(), w.k);
      } else {
        builder.set_dense(t, reinterpret_cast<const std::byte*>(values.data()), 4 * w.k);
      }
    }
  }

  // Blocks run over the flattened weight. Where they do not end with the rows, the groups are what both divide into.
  static Result<QTensor> read_four_bit(const FourBit& w) {
    int64_t group = w.block;
    if (w.k % w.block != 0) group = w.block % w.k == 0 ? 0 : std::gcd(w.k, w.block);
    const bool fits = group % 16 == 0;
    Segment spec;
    spec.k_count = w.k;
    spec.bits = 4;
    if (fits) {
      spec.encoding = Encoding::codebook;
      spec.group_size = group;
      spec.scale_type = DType::f32;
      for (std::size_t i = 0; i < 16; ++i) spec.table[i] = float_at(*w.map, static_cast<int64_t>(i));
    } else {
      spec.encoding = Encoding::dense;
      spec.value_type = DType::f32;
    }
    NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(w.n, spec));
    // What nested scales are made of is kept, and they come from that.
    const bool nested = fits && w.nested_map != nullptr && group == w.block;
    if (fits && !nested) set_scales(w, builder);
    if (fits && w.k % 2 == 0) {
      set_nibbles(w, builder);
    } else {
      set_one_by_one(w, fits, builder);
    }
    Segment segment = std::move(builder).finish();
    if (nested) {
      ScaleCodes form;
      form.bits = 8;
      form.rows = 0;
      form.groups = w.nested_block;
      form.shift = w.offset;
      form.super_type = DType::f32;
      std::vector<float> supers, map;
      for (int64_t i = 0; i < w.nested_absmax->shape[0]; ++i) supers.push_back(float_at(*w.nested_absmax, i));
      for (int64_t i = 0; i < 256; ++i) map.push_back(float_at(*w.nested_map, i));
      NBL_ASSIGN(form, make_scale_codes(w.n, segment.groups(), std::move(form), {w.absmax->bytes.as<uint8_t>(), supers, {}, map}));
      NBL_TRY(set_scale_codes(w.n, std::move(form), &segment));
    }
    return make_qtensor(w.n, w.k, std::move(segment));
  }
};

}  // namespace

std::unique_ptr<Packing> make_bnb_packing() { return std::make_unique<BnbPacking>(); }

}  // namespace nbl::dialects
