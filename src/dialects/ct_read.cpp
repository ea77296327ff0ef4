// Reading compressed-tensors: pack-quantized, int-quantized, naive-quantized and float-quantized modules.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "dialects/code_lines.h"
#include "dialects/common.h"
#include "dialects/ct_layout.h"
#include "dialects/fp8_values.h"
#include "dialects/group_order.h"
#include "io/safetensors_types.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

struct Module {
  const io::RawTensor *codes = nullptr, *scale = nullptr, *zero = nullptr, *g_idx = nullptr;
  bool packed = false, fp8 = false;
  int bits = 0;
  bool straddling = true;  ///< codes run across words; older files put whole codes into each word
  int64_t n = 0, k = 0, groups = 0, group_size = 0, block_rows = 0, block_columns = 0;
};

uint32_t word_at(const io::RawTensor& tensor, int64_t index) noexcept {
  uint32_t word;
  std::memcpy(&word, tensor.bytes.data() + 4 * index, 4);
  return word;
}

// `count` codes, words `stride` apart from the first at `first`.
void unpack_line(const io::RawTensor& words, int64_t first, int64_t stride, int bits, bool straddling, int64_t count,
                 uint8_t* out) {
  const uint32_t mask = (1u << bits) - 1u;
  const int64_t per_word = 32 / bits;
  for (int64_t i = 0; i < count; ++i) {
    if (!straddling) {
      out[i] = static_cast<uint8_t>((word_at(words, first + i / per_word * stride) >> (i % per_word * bits)) & mask);
      continue;
    }
    const int64_t bit = i * bits, offset = bit % 32;
    uint32_t field = word_at(words, first + bit / 32 * stride) >> offset;
    if (offset + bits > 32) field |= word_at(words, first + (bit / 32 + 1) * stride) << (32 - offset);
    out[i] = static_cast<uint8_t>(field & mask);
  }
}

class CtPacking final : public Packing {
 public:
  explicit CtPacking(std::vector<CtScheme> schemes) : schemes_(std::move(schemes)) {}

  Result<std::map<std::string, PackedModule, std::less<>>> modules(HfDirectory& directory) override {
    std::map<std::string, PackedModule, std::less<>> found;
    for (const auto& [name, raw] : directory.tensors()) {
      constexpr std::string_view kScale = ".weight_scale";
      if (!name.ends_with(kScale)) continue;
      const std::string prefix = name.substr(0, name.size() - kScale.size());
      const std::string looked_at = prefix + ".weight_shape";
      NBL_ASSIGN(const std::shared_ptr<const HfDirectory> loaded, directory.with_loaded({&looked_at, 1}));
      NBL_ASSIGN(const Module m, find(*loaded, prefix));
      PackedModule module;
      int64_t bytes = 0;
      for (const char* part :
           {".weight", ".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_g_idx"}) {
        const io::RawTensor* tensor = directory.find(prefix + part);
        if (tensor == nullptr) continue;
        module.consumed.push_back(prefix + part);
        bytes += static_cast<int64_t>(tensor->bytes.size());
      }
      module.info = {prefix + ".weight",
                     {m.n, m.k},
                     m.fp8 ? std::string("fp8") : fmt::format("int {} bit g{}", m.bits, m.group_size),
                     bits_per_element(bytes, m.n * m.k),
                     m.group_size,
                     bytes};
      found.emplace(prefix + ".weight", std::move(module));
    }
    if (found.empty()) {
      return Status(
          Code::corrupt,
          fmt::format("{}: quantized with compressed-tensors, but no tensor named *.weight_scale", directory.origin()));
    }
    return found;
  }

  Result<QTensor> read(const HfDirectory& directory, std::string_view name) const override {
    NBL_ASSIGN(const Module m,
               find(directory, std::string(name.substr(0, name.size() - std::string_view(".weight").size()))));
    if (m.fp8) return fp8_matrix(*m.codes, *m.scale, m.block_rows, m.block_columns);
    return read_affine(m);
  }

 private:
  // The scheme of a module. One serves all unless there are several: then a target that names the module decides, and else the
  // only one that its tensors can be of (what a pattern matches must have the tensors that its scheme makes).
  Result<Module> find(const HfDirectory& directory, const std::string& prefix) const {
    if (schemes_.size() == 1) return find(directory, prefix, schemes_.front());
    for (const CtScheme& scheme : schemes_) {
      if (std::find(scheme.targets.begin(), scheme.targets.end(), prefix) != scheme.targets.end())
        return find(directory, prefix, scheme);
    }
    const io::RawTensor* plain = directory.find(prefix + ".weight");
    const bool fp8 = plain != nullptr && plain->type == "F8_E4M3";
    Result<Module> chosen(
        Status(Code::corrupt, fmt::format("{}: no config group goes with the tensors of {}", directory.origin(), prefix)));
    for (const CtScheme& scheme : schemes_) {
      if (scheme.fp8 != fp8) continue;
      auto module = find(directory, prefix, scheme);
      if (!module.ok()) {
        if (!chosen.ok()) chosen = std::move(module);
        continue;
      }
      // Codes in bytes have their middle at 0 whatever their width, so that all widths read them alike.
      const bool alike = chosen.ok() && module->group_size == chosen->group_size && module->fp8 == chosen->fp8 &&
                         module->block_rows == chosen->block_rows && (!module->packed || module->bits == chosen->bits);
      if (chosen.ok() && !alike) {
        return Status(Code::unsupported,
                      fmt::format("{}: the tensors of {} can be of several config_groups, and none names it in its targets",
                                  directory.origin(), prefix));
      }
      if (!chosen.ok() || module->bits > chosen->bits) chosen = std::move(module);
    }
    return chosen;
  }

  static Result<Module> find(const HfDirectory& directory, const std::string& prefix, const CtScheme& scheme) {
    Module m;
    NBL_ASSIGN(m.scale, directory.get(prefix + ".weight_scale"));
    m.zero = directory.find(prefix + ".weight_zero_point");
    m.g_idx = directory.find(prefix + ".weight_g_idx");
    m.codes = directory.find(prefix + ".weight_packed");
    m.packed = m.codes != nullptr;
    if (!m.packed) {
      NBL_ASSIGN(m.codes, directory.get(prefix + ".weight"));
    }
    if (m.codes->type == "F8_E4M3") {
      m.fp8 = true;
      m.block_rows = scheme.block_rows;
      m.block_columns = scheme.block_columns;
      NBL_TRY(check_fp8(*m.codes, *m.scale, m.block_rows, m.block_columns));
      m.n = m.codes->shape[0];
      m.k = m.codes->shape[1];
      return m;
    }
    m.bits = scheme.bits;
    if (m.codes->type != (m.packed ? "I32" : "I8") || m.codes->shape.size() != 2 || m.codes->shape[0] <= 0 ||
        m.codes->shape[1] <= 0) {
      return unexpected_shape(*m.codes, m.packed ? "I32 of [n, words]" : "I8 or F8_E4M3 of [n, k]");
    }
    m.n = m.codes->shape[0];
    m.k = m.codes->shape[1];
    if (m.packed) {
      NBL_ASSIGN(const io::RawTensor* stated, directory.get(prefix + ".weight_shape"));
      NBL_ASSIGN(const std::vector<int64_t> shape, stated_shape(*stated));
      m.k = shape[1];
      const int64_t words = m.codes->shape[1], per_word = 32 / m.bits;
      if (shape[0] != m.n || m.k <= 0 || m.k > words * 32) {
        return unexpected_shape(
            *m.codes, fmt::format("I32 of [{}, words] for the stated [{}, {}]", shape[0], shape[0], shape[1]));
      }
      m.straddling = words == ceil_div(m.k * m.bits, 32);
      if (!m.straddling && words != ceil_div(m.k, per_word)) {
        return unexpected_shape(*m.codes,
                                fmt::format("I32 of [{}, {}] for {} bits", m.n, ceil_div(m.k * m.bits, 32), m.bits));
      }
    }
    NBL_TRY(check_scales(m, scheme));
    NBL_TRY(check_zeros(m));
    return m;
  }

  static Result<std::vector<int64_t>> stated_shape(const io::RawTensor& raw) {
    const auto type = io::safetensors_dtype(raw.type);
    if (raw.shape != Shape{2} || (type != DType::i64 && type != DType::i32))
      return unexpected_shape(raw, "I64 or I32 of [2]");
    std::vector<int64_t> shape(2);
    for (std::size_t i = 0; i < 2; ++i) {
      if (type == DType::i64) {
        std::memcpy(&shape[i], raw.bytes.data() + 8 * i, 8);
      } else {
        int32_t narrow = 0;
        std::memcpy(&narrow, raw.bytes.data() + 4 * i, 4);
        shape[i] = narrow;
      }
    }
    return shape;
  }

  static Status check_scales(Module& m, const CtScheme& scheme) {
    const auto type = io::safetensors_dtype(m.scale->type);
    const bool floats = type == DType::f32 || type == DType::f16 || type == DType::bf16;
    NBL_ASSIGN(const int64_t count, element_count(m.scale->shape));
    if (floats && count == 1) {
      m.groups = 1;
      m.group_size = m.k;
      return {};
    }
    if (!floats || m.scale->shape.size() > 2 || m.scale->shape.empty() || m.scale->shape[0] != m.n) {
      return unexpected_shape(*m.scale, fmt::format("floats of [1], [{}, 1] or [{}, groups]", m.n, m.n));
    }
    m.groups = m.scale->shape.size() == 2 ? m.scale->shape[1] : 1;
    m.group_size = m.groups == 1 ? m.k : scheme.group_size;
    if (m.groups <= 0 || m.group_size <= 0 || ceil_div(m.k, m.group_size) != m.groups) {
      return unexpected_shape(*m.scale, fmt::format("[{}, {}] for groups of {}", m.n,
                                                    m.group_size > 0 ? ceil_div(m.k, m.group_size) : 1, m.group_size));
    }
    if (m.g_idx != nullptr && (m.g_idx->type != "I32" || m.g_idx->shape != Shape{m.k})) {
      return unexpected_shape(*m.g_idx, fmt::format("I32 of [{}]", m.k));
    }
    return {};
  }

  // Whole codes in a word make for more words than one stream of bits, unless a word holds them without a rest.
  static int64_t zero_words(const Module& m) {
    return m.straddling ? ceil_div(m.n * m.bits, 32) : ceil_div(m.n, 32 / m.bits);
  }

  static Status check_zeros(const Module& m) {
    if (m.zero == nullptr) return {};
    if (m.zero->type == "I32" && m.packed && m.zero->shape == Shape{zero_words(m), m.groups}) return {};
    if (m.zero->type == "I8" && m.zero->shape == m.scale->shape) return {};
    return unexpected_shape(*m.zero, m.packed ? fmt::format("I32 of [{}, {}]", zero_words(m), m.groups)
                                              : std::string("I8 of the scales' shape"));
  }

  static std::size_t slot(const Module& m, const io::RawTensor& tensor, int64_t row, int64_t group) {
    return static_cast<std::size_t>(
        tensor.shape.empty() || element_count(tensor.shape).value() == 1 ? 0 : row * m.groups + group);
  }

  // Codes that run across the words of a row, or a byte each with its middle at 0.
  static Status set_stream(const Module& m, const GroupOrder& order, SegmentBuilder& builder) {
    const int width = m.packed ? m.bits : 8;
    const int64_t row_bytes = m.packed ? 4 * m.codes->shape[1] : m.k, each = int64_t{2} * width, tiles = builder.spec().column_tiles();
    std::vector<WordLine> words(static_cast<std::size_t>(order.columns.empty() ? each : tiles * each));
    CodeLines lines;
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      const std::byte* source = m.codes->bytes.data() + t * kTileRows * row_bytes;
      const auto load = [&](int64_t first, int64_t bytes) {
        if (bytes < static_cast<int64_t>(words.size()) * 4) std::fill(words.begin(), words.end(), WordLine{});
        load_words_of_rows(source + first, row_bytes, builder.rows(t), bytes, words.data());
        return m.packed || raise_bytes(m.bits, builder.rows(t), words);
      };
      if (!order.columns.empty() && !load(0, row_bytes)) return outside(m, t * kTileRows);
      for (int64_t c = 0; c < tiles; ++c) {
        const int64_t columns = std::min(kTileCols, m.k - c * kTileCols), first = 4 * c * each;
        if (!order.columns.empty()) {
          lines_of_columns(width, WordOrder::stream, words.data(), order.columns.data() + c * kTileCols, columns, &lines);
        } else {
          if (!load(first, std::min(4 * each, row_bytes - first))) return outside(m, t * kTileRows);
          lines_from_words(width, WordOrder::stream, words.data(), columns, &lines);
        }
        builder.set_lines(t, c, lines);
      }
    }
    return {};
  }

  // Adds the middle of `bits` bits to every byte; false when one does not fit then.
  static bool raise_bytes(int bits, int64_t rows, std::vector<WordLine>& words) {
    const uint32_t middle = 0x01010101u << (bits - 1), above = ~(0x01010101u * ((1u << bits) - 1u));
    uint32_t beyond = 0;
    for (WordLine& line : words) {
      for (uint32_t& word : line) {
        word = ((word & 0x7f7f7f7fu) + (middle & 0x7f7f7f7fu)) ^ ((word ^ middle) & 0x80808080u);  // no carry from byte to byte
        beyond |= word & above;
      }
      for (int64_t r = rows; r < kTileRows; ++r) line[static_cast<std::size_t>(r)] = 0;
    }
    return beyond == 0;
  }

  // Words of whole codes that leave bits over, as older files have them.
  static void set_padded(const Module& m, const GroupOrder& order, SegmentBuilder& builder) {
    std::vector<uint8_t> codes(static_cast<std::size_t>(kTileRows * m.k)), line(static_cast<std::size_t>(m.k));
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      for (int64_t r = 0; r < builder.rows(t); ++r) {
        unpack_line(*m.codes, (t * kTileRows + r) * m.codes->shape[1], 1, m.bits, m.straddling, m.k, line.data());
        uint8_t* out = codes.data() + r * m.k;
        for (std::size_t p = 0; p < line.size(); ++p)
          out[p] = order.columns.empty() ? line[p] : line[static_cast<std::size_t>(order.columns[p])];
      }
      builder.set_codes(t, codes.data(), m.k);
    }
  }

  // Says which code of a row tile is none.
  static Status outside(const Module& m, int64_t row) {
    const int half = 1 << (m.bits - 1);
    for (int64_t i = row * m.k; i < std::min(m.n, row + kTileRows) * m.k; ++i) {
      const int code = static_cast<int8_t>(m.codes->bytes.bytes()[static_cast<std::size_t>(i)]);
      if (code >= -half && code < half) continue;
      return Status(Code::corrupt, fmt::format("{}: tensor {} holds {} in row {}, column {}, outside {} bits", m.codes->file,
                                               m.codes->name, code, i / m.k, i % m.k, m.bits));
    }
    return Status(Code::internal, "a code outside its bits was not found again");
  }

  static Result<QTensor> read_affine(const Module& m) {
    std::vector<int32_t> index(static_cast<std::size_t>(m.k));
    bool unset = m.g_idx == nullptr;
    if (m.g_idx != nullptr) {
      std::memcpy(index.data(), m.g_idx->bytes.data(), 4 * index.size());
      unset = std::all_of(index.begin(), index.end(), [](int32_t g) { return g == -1; });
    }
    for (std::size_t c = 0; c < index.size(); ++c) {
      if (unset) index[c] = static_cast<int32_t>(static_cast<int64_t>(c) / m.group_size);
      if (index[c] < 0 || index[c] >= m.groups) {
        return Status(Code::corrupt, fmt::format("{}: tensor {} puts column {} into group {} of {}", m.g_idx->file,
                                                 m.g_idx->name, c, index[c], m.groups));
      }
    }
    const GroupOrder order = order_groups(index);
    if (!order.fits) {
      return Status(Code::unsupported, fmt::format("{}: tensor {} has groups that are no multiple of 16 columns",
                                                   m.scale->file, m.scale->name));
    }
    const DType scale_type = *io::safetensors_dtype(m.scale->type);
    const int half = 1 << (m.bits - 1);
    std::vector<uint8_t> zeros(static_cast<std::size_t>(m.n * m.groups), static_cast<uint8_t>(half));
    if (m.zero != nullptr && m.zero->type == "I32") {  // packed down the rows
      std::vector<uint8_t> column(static_cast<std::size_t>(m.n));
      for (int64_t g = 0; g < m.groups; ++g) {
        unpack_line(*m.zero, g, m.groups, m.bits, m.straddling, m.n, column.data());
        for (int64_t r = 0; r < m.n; ++r)
          zeros[static_cast<std::size_t>(r * m.groups + g)] = column[static_cast<std::size_t>(r)];
      }
    } else if (m.zero != nullptr) {
      for (int64_t r = 0; r < m.n; ++r) {
        for (int64_t g = 0; g < m.groups; ++g) {
          const int zero = static_cast<int8_t>(m.zero->bytes.bytes()[slot(m, *m.zero, r, g)]) + half;
          if (zero < 0 || zero >= 2 * half) {
            return Status(Code::corrupt, fmt::format("{}: tensor {} has a zero point of {} with {} bits", m.zero->file,
                                                     m.zero->name, zero - half, m.bits));
          }
          zeros[static_cast<std::size_t>(r * m.groups + g)] = static_cast<uint8_t>(zero);
        }
      }
    }
    Segment spec;
    spec.k_count = m.k;
    spec.encoding = Encoding::affine;
    spec.bits = m.bits;
    spec.group_size = order.group_size;
    spec.scale_type = scale_type;
    const bool symmetric = std::all_of(zeros.begin(), zeros.end(), [&](uint8_t z) { return z == half; });
    spec.zero_kind = symmetric ? ZeroKind::symmetric : ZeroKind::code;
    NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(m.n, spec));
    if (m.packed && !m.straddling) {
      set_padded(m, order, builder);
    } else {
      NBL_TRY(set_stream(m, order, builder));
    }
    const int64_t size = dtype_bytes(scale_type), stride = element_count(m.scale->shape).value() == 1 ? 0 : m.groups;
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      const int64_t row = t * kTileRows, rows = builder.rows(t);
      for (std::size_t g = 0; g < order.groups.size(); ++g) {
        const int64_t stored = order.groups[g], at = stride == 0 ? 0 : row * stride + stored;
        gather_elements(size, m.scale->bytes.data() + at * size, stride * size, rows, builder.scales(t, static_cast<int64_t>(g)));
        uint8_t codes[kTileRows] = {};
        for (int64_t r = 0; r < rows && !symmetric; ++r)
          codes[r] = zeros[static_cast<std::size_t>((row + r) * m.groups + stored)];
        if (!symmetric) builder.set_zero_codes(t, static_cast<int64_t>(g), codes);
      }
    }
    QTensor tensor = make_qtensor(m.n, m.k, std::move(builder).finish());
    if (!order.columns.empty()) {
      NBL_ASSIGN(tensor.column_order, Storage::copy(std::as_bytes(std::span(order.columns))));
    }
    return tensor;
  }

  std::vector<CtScheme> schemes_;
};

}  // namespace

Result<std::vector<CtScheme>> ct_schemes(const Json& quantization, const std::string& origin) {
  const Json* groups = quantization.find_value("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->size() == 0) {
    return Status(Code::corrupt, fmt::format("{}: no config_groups", origin));
  }
  std::vector<CtScheme> schemes;
  for (std::size_t i = 0; i < groups->size(); ++i) {
    const Json* weights = groups->members()[i].second.find_value("weights");
    if (weights == nullptr || !weights->is_object())
      return Status(Code::corrupt, fmt::format("{}: a config group says nothing of weights", origin));
    CtScheme one;
    NBL_ASSIGN(const int64_t bits, weights->int_or("num_bits", 8));
    NBL_ASSIGN(one.group_size, weights->int_or("group_size", -1));
    NBL_ASSIGN(const std::string type, weights->string_or("type", "int"));
    if (bits < 1 || bits > 8 || (type == "float" && bits != 8) || (type != "int" && type != "float")) {
      return Status(Code::unsupported,
                    fmt::format("{}: weights of {} bits and type '{}' are not read", origin, bits, shown(type)));
    }
    one.bits = static_cast<int>(bits);
    if (const Json* block = weights->find_value("block_structure"); block != nullptr && block->size() == 2) {
      one.block_rows = block->elements()[0].as_int();
      one.block_columns = block->elements()[1].as_int();
    }
    one.fp8 = type == "float";
    if (const Json* targets = groups->members()[i].second.find_value("targets"); targets != nullptr && targets->is_array()) {
      for (const Json& target : targets->elements()) one.targets.emplace_back(target.as_string());
    }
    const bool known = std::any_of(schemes.begin(), schemes.end(), [&](CtScheme& other) {
      const bool same = other.fp8 == one.fp8 && other.bits == one.bits && other.group_size == one.group_size &&
                        other.block_rows == one.block_rows && other.block_columns == one.block_columns;
      if (same) other.targets.insert(other.targets.end(), one.targets.begin(), one.targets.end());
      return same;
    });
    if (!known) schemes.push_back(std::move(one));
  }
  return schemes;
}

std::unique_ptr<Packing> make_ct_packing(std::vector<CtScheme> schemes) {
  return std::make_unique<CtPacking>(std::move(schemes));
}

}  // namespace nbl::dialects
