#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "dialects/code_lines.h"
#include "dialects/common.h"
#include "dialects/gptq_layout.h"
#include "dialects/group_order.h"
#include "io/safetensors_types.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

constexpr std::string_view kMark = ".qweight";

struct Module {
  const io::RawTensor *qweight = nullptr, *qzeros = nullptr, *scales = nullptr, *g_idx = nullptr;
  int bits = 0;
  int64_t n = 0, k = 0, groups = 0, group_size = 0;
};

uint32_t word_at(const io::RawTensor& tensor, int64_t index) noexcept {
  uint32_t word;
  std::memcpy(&word, tensor.bytes.data() + 4 * index, 4);
  return word;
}

float scale_of(const Module& m, DType type, int64_t group, int64_t n) noexcept {
  float scale;
  convert_to_f32(type, m.scales->bytes.data() + (group * m.n + n) * dtype_bytes(type), 1, &scale);
  return scale;
}

class GptqPacking final : public Packing {
 public:
  explicit GptqPacking(const GptqConvention& convention) : convention_(convention) {}

  Result<std::map<std::string, PackedModule, std::less<>>> modules(HfDirectory& directory) override;
  Result<QTensor> read(const HfDirectory& directory, std::string_view name) const override;

 private:
  Result<Module> find(const HfDirectory& directory, const std::string& prefix) const;
  Result<std::vector<int32_t>> group_index(const Module& m) const;
  /// The zero points of one stored group, [n].
  void zero_row(const Module& m, int64_t group, uint8_t* zeros) const;
  /// All codes into tiles, column p of them the module's column order.columns[p] (or p).
  void set_codes(const Module& m, const GroupOrder& order, SegmentBuilder& builder) const;
  /// Codes of rows [row, row + rows), row r at out + r * k.
  void code_rows(const Module& m, int64_t row, int64_t rows, uint8_t* out) const;
  Result<QTensor> values(const Module& m, const std::vector<int32_t>& g_idx) const;
  Status judge_zeros(const HfDirectory& directory, const std::vector<std::string>& prefixes, std::vector<std::string>& warnings);

  GptqConvention convention_;
};

Result<Module> GptqPacking::find(const HfDirectory& directory, const std::string& prefix) const {
  Module m;
  m.qweight = directory.find(prefix + ".qweight");
  NBL_ASSIGN(m.qzeros, directory.get(prefix + ".qzeros"));
  NBL_ASSIGN(m.scales, directory.get(prefix + ".scales"));
  m.g_idx = directory.find(prefix + ".g_idx");
  if (m.qweight->type != "I32" || m.qweight->shape.size() != 2)
    return unexpected_shape(*m.qweight, "I32 of [k * bits / 32, n]");
  m.n = m.qweight->shape[1];
  const auto scale_type = io::safetensors_dtype(m.scales->type);
  const bool scales_ok = scale_type == DType::f16 || scale_type == DType::bf16 || scale_type == DType::f32;
  if (!scales_ok || m.scales->shape.size() != 2 || m.scales->shape[1] != m.n || m.scales->shape[0] <= 0 || m.n <= 0) {
    return unexpected_shape(*m.scales, fmt::format("F16, BF16 or F32 of [groups, {}]", m.n));
  }
  m.groups = m.scales->shape[0];
  if (m.qzeros->type != "I32" || m.qzeros->shape.size() != 2 || m.qzeros->shape[0] != m.groups) {
    return unexpected_shape(*m.qzeros, fmt::format("I32 of [{}, n * bits / 32]", m.groups));
  }
  // The zeros' width says how many bits a code has; overrides of the configuration need not be parsed for that.
  const int64_t words = m.qzeros->shape[1];
  const auto fits = [&](int64_t bits) { return ceil_div(m.n * bits, 32) == words; };
  if (convention_.bits != 0) {
    m.bits = fits(convention_.bits) ? convention_.bits : 0;
  } else {
    for (const int bits : {4, 8, 2, 3, 5, 6, 7}) {
      if (m.bits == 0 && fits(bits)) m.bits = bits;
    }
  }
  const bool planar = convention_.order == WordOrder::planar;
  if (m.bits < 2 || (!planar && (m.bits == 5 || m.bits == 6 || m.bits == 7))) {
    return unexpected_shape(*m.qzeros, convention_.bits == 0
                                           ? fmt::format("{} zero points of 2, 3, 4 or 8 bits a row", m.n)
                                           : fmt::format("I32 of [{}, {}] for {} bits", m.groups,
                                                         ceil_div(m.n * convention_.bits, 32), convention_.bits));
  }
  // Rows are padded to whole words; g_idx has the true length.
  const int64_t word_rows = m.qweight->shape[0];
  m.k = 32 * word_rows / m.bits;
  if (m.g_idx != nullptr && m.g_idx->type == "I32" && m.g_idx->shape.size() == 1 &&
      ceil_div(m.g_idx->shape[0] * m.bits, 32) == word_rows) {
    m.k = m.g_idx->shape[0];
  }
  if (m.k <= 0) return unexpected_shape(*m.qweight, "at least one row");
  if (m.g_idx != nullptr && (m.g_idx->type != "I32" || m.g_idx->shape != Shape{m.k})) {
    return unexpected_shape(*m.g_idx, fmt::format("I32 of [{}]", m.k));
  }
  // The configured size when the number of groups agrees, else an even split.
  m.group_size = convention_.group_size > 0 ? convention_.group_size : m.k;
  if (m.groups == 1) m.group_size = m.k;
  if (ceil_div(m.k, m.group_size) != m.groups) {
    m.group_size = m.k % m.groups == 0 ? m.k / m.groups : 0;
    if (m.group_size == 0 && m.g_idx == nullptr) {
      return unexpected_shape(*m.scales, fmt::format("[{}, {}] for groups of {}", ceil_div(m.k, convention_.group_size),
                                                     m.n, convention_.group_size));
    }
  }
  return m;
}

Result<std::map<std::string, PackedModule, std::less<>>> GptqPacking::modules(HfDirectory& directory) {
  std::map<std::string, PackedModule, std::less<>> found;
  std::vector<std::string> prefixes;
  for (const auto& [name, raw] : directory.tensors()) {
    if (!name.ends_with(kMark)) continue;
    const std::string prefix = name.substr(0, name.size() - kMark.size());
    NBL_ASSIGN(const Module m, find(directory, prefix));
    PackedModule module;
    module.consumed = {name, prefix + ".qzeros", prefix + ".scales"};
    if (m.g_idx != nullptr) module.consumed.push_back(prefix + ".g_idx");
    int64_t bytes = 0;
    for (const std::string& part : module.consumed) bytes += static_cast<int64_t>(directory.find(part)->bytes.size());
    module.info = {prefix + ".weight",
                   {m.n, m.k},
                   fmt::format("gptq {} bit g{}", m.bits, m.group_size == 0 ? m.k / m.groups : m.group_size),
                   bits_per_element(bytes, m.n * m.k),
                   m.group_size,
                   bytes};
    prefixes.push_back(prefix);
    found.emplace(prefix + ".weight", std::move(module));
  }
  if (found.empty()) {
    return Status(Code::corrupt,
                  fmt::format("{}: quantized with gptq, but no tensor named *.qweight", directory.origin()));
  }
  std::vector<std::string> warnings;
  NBL_TRY(judge_zeros(directory, prefixes, warnings));
  directory.warnings.insert(directory.warnings.end(), warnings.begin(), warnings.end());
  return found;
}

void GptqPacking::zero_row(const Module& m, int64_t group, uint8_t* zeros) const {
  const int64_t words = m.qzeros->shape[1];
  for (int64_t n = 0; n < m.n; n += 32) {
    uint32_t run[8] = {};
    const int64_t first = n * m.bits / 32, count = std::min<int64_t>(m.bits, words - first);
    for (int64_t i = 0; i < count; ++i) run[i] = word_at(*m.qzeros, group * words + first + i);
    const bool minus_one = convention_.zeros == ZeroOffset::minus_one;
    const bool whole_words = minus_one && convention_.carry && 32 % m.bits == 0;
    if (whole_words) {  // undoes the subtraction where a zero of 0 has borrowed from its neighbour
      for (int64_t i = 0; i < count; ++i) run[i] += 0xffffffffu / ((1u << m.bits) - 1u);
    }
    uint8_t fields[32];
    unpack_words(m.bits, convention_.order, run, 1, fields);
    const int add = minus_one && !whole_words ? 1 : 0;
    for (int64_t i = 0; i < std::min<int64_t>(32, m.n - n); ++i) {
      zeros[n + i] = static_cast<uint8_t>((fields[i] + add) & ((1 << m.bits) - 1));
    }
  }
}

void GptqPacking::set_codes(const Module& m, const GroupOrder& order, SegmentBuilder& builder) const {
  const int64_t words = m.qweight->shape[0], each = int64_t{2} * m.bits, tiles = builder.spec().column_tiles();
  const std::byte* data = m.qweight->bytes.data();
  std::vector<WordLine> line(static_cast<std::size_t>(order.columns.empty() ? each : tiles * each));
  CodeLines lines;
  if (order.columns.empty()) {  // along the rows: a column tile's words are a few long runs
    for (int64_t c = 0; c < tiles; ++c) {
      const int64_t count = std::min(each, words - c * each), columns = std::min(kTileCols, m.k - c * kTileCols);
      std::fill(line.begin(), line.end(), WordLine{});
      for (int64_t t = 0; t < builder.row_tiles(); ++t) {
        load_words_side_by_side(data + 4 * (c * each * m.n + t * kTileRows), 4 * m.n, builder.rows(t), count, line.data());
        lines_from_words(m.bits, convention_.order, line.data(), columns, &lines);
        builder.set_lines(t, c, lines);
      }
    }
    return;
  }
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    load_words_side_by_side(data + 4 * t * kTileRows, 4 * m.n, builder.rows(t), words, line.data());
    for (int64_t c = 0; c < tiles; ++c) {
      lines_of_columns(m.bits, convention_.order, line.data(), order.columns.data() + c * kTileCols,
                       std::min(kTileCols, m.k - c * kTileCols), &lines);
      builder.set_lines(t, c, lines);
    }
  }
}

void GptqPacking::code_rows(const Module& m, int64_t row, int64_t rows, uint8_t* out) const {
  const int64_t words = m.qweight->shape[0];
  for (int64_t k = 0; k < m.k; k += 32) {
    for (int64_t r = 0; r < rows; ++r) {
      uint32_t run[8] = {};
      const int64_t first = k * m.bits / 32;
      for (int64_t i = 0; i < std::min<int64_t>(m.bits, words - first); ++i) {
        run[i] = word_at(*m.qweight, (first + i) * m.n + row + r);
      }
      uint8_t codes[32];
      unpack_words(m.bits, convention_.order, run, 1, codes);
      for (int64_t i = 0; i < std::min<int64_t>(32, m.k - k); ++i) out[r * m.k + k + i] = codes[i];
    }
  }
}

Result<std::vector<int32_t>> GptqPacking::group_index(const Module& m) const {
  std::vector<int32_t> index(static_cast<std::size_t>(m.k));
  bool all_zero = true;
  if (m.g_idx != nullptr) {
    std::memcpy(index.data(), m.g_idx->bytes.data(), 4 * index.size());
    for (std::size_t c = 0; c < index.size(); ++c) {
      if (index[c] < 0 || index[c] >= m.groups) {
        return Status(Code::corrupt, fmt::format("{}: tensor {} puts column {} into group {} of {}", m.g_idx->file,
                                                 m.g_idx->name, c, index[c], m.groups));
      }
      all_zero &= index[c] == 0;
    }
  }
  if (all_zero) {  // absent, or never filled in
    for (std::size_t c = 0; c < index.size(); ++c) {
      index[c] = m.group_size == 0 ? 0 : static_cast<int32_t>(static_cast<int64_t>(c) / m.group_size);
    }
  }
  return index;
}

Result<QTensor> GptqPacking::read(const HfDirectory& directory, std::string_view name) const {
  const std::string prefix(name.substr(0, name.size() - std::string_view(".weight").size()));
  NBL_ASSIGN(const Module m, find(directory, prefix));
  NBL_ASSIGN(const std::vector<int32_t> g_idx, group_index(m));
  const GroupOrder order = order_groups(g_idx);
  if (!order.fits) return values(m, g_idx);

  const DType scale_type = *io::safetensors_dtype(m.scales->type);
  Segment spec;
  spec.k_count = m.k;
  spec.encoding = Encoding::affine;
  spec.bits = m.bits;
  spec.group_size = order.group_size;
  spec.scale_type = scale_type;
  const int64_t groups = static_cast<int64_t>(order.groups.size());
  std::vector<uint8_t> zeros(static_cast<std::size_t>(m.groups * m.n));
  for (int64_t g = 0; g < m.groups; ++g) zero_row(m, g, zeros.data() + g * m.n);
  const auto centre = static_cast<uint8_t>(1 << (m.bits - 1));
  const bool symmetric = std::all_of(zeros.begin(), zeros.end(), [&](uint8_t z) { return z == centre; });
  spec.zero_kind = symmetric ? ZeroKind::symmetric : ZeroKind::code;

  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(m.n, spec));
  set_codes(m, order, builder);
  const int64_t scale_bytes = dtype_bytes(scale_type);
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    const int64_t row = t * kTileRows;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t stored = order.groups[static_cast<std::size_t>(g)];
      std::memcpy(builder.scales(t, g), m.scales->bytes.data() + (stored * m.n + row) * scale_bytes,
                  static_cast<std::size_t>(builder.rows(t) * scale_bytes));
      if (!symmetric) builder.set_zero_codes(t, g, zeros.data() + stored * m.n + row);
    }
  }
  QTensor tensor = make_qtensor(m.n, m.k, std::move(builder).finish());
  if (!order.columns.empty()) {
    NBL_ASSIGN(tensor.column_order, Storage::copy(std::as_bytes(std::span(order.columns))));
  }
  return tensor;
}

// Groups that no run length suits: the values themselves.
Result<QTensor> GptqPacking::values(const Module& m, const std::vector<int32_t>& g_idx) const {
  Segment spec;
  spec.k_count = m.k;
  spec.encoding = Encoding::dense;
  spec.value_type = DType::f32;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(m.n, spec));
  const DType scale_type = *io::safetensors_dtype(m.scales->type);
  std::vector<uint8_t> zeros(static_cast<std::size_t>(m.groups * m.n)),
      codes(static_cast<std::size_t>(kTileRows * m.k));
  for (int64_t g = 0; g < m.groups; ++g) zero_row(m, g, zeros.data() + g * m.n);
  std::vector<float> rows(codes.size());
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    code_rows(m, t * kTileRows, builder.rows(t), codes.data());
    for (int64_t r = 0; r < builder.rows(t); ++r) {
      const int64_t n = t * kTileRows + r;
      for (int64_t c = 0; c < m.k; ++c) {
        const int64_t g = g_idx[static_cast<std::size_t>(c)];
        const int q = codes[static_cast<std::size_t>(r * m.k + c)], z = zeros[static_cast<std::size_t>(g * m.n + n)];
        rows[static_cast<std::size_t>(r * m.k + c)] = scale_of(m, scale_type, g, n) * static_cast<float>(q - z);
      }
    }
    builder.set_dense(t, reinterpret_cast<const std::byte*>(rows.data()), 4 * m.k);
  }
  return make_qtensor(m.n, m.k, std::move(builder).finish());
}

// The configuration says how zeros are stored; files exist where it is wrong. What the zeros themselves say: symmetric
// ones are all the same number, and with others the codes of a group average to about its zero point, since weights
// average to about nothing.
Status GptqPacking::judge_zeros(const HfDirectory& directory, const std::vector<std::string>& prefixes,
                                std::vector<std::string>& warnings) {
  const ZeroOffset declared = convention_.zeros;
  convention_.zeros = ZeroOffset::plain;  // the stored numbers
  double sum = 0, squares = 0;
  int64_t samples = 0, constant_v1 = 0, constant_v2 = 0, other = 0;
  const std::size_t step = std::max<std::size_t>(1, prefixes.size() / 8);
  for (std::size_t i = 0; i < prefixes.size(); i += step) {
    const std::string looked_at[] = {prefixes[i] + ".qweight", prefixes[i] + ".qzeros", prefixes[i] + ".g_idx"};
    NBL_ASSIGN(const std::shared_ptr<const HfDirectory> loaded, directory.with_loaded(looked_at));
    NBL_ASSIGN(const Module m, find(*loaded, prefixes[i]));
    const int centre = 1 << (m.bits - 1);
    std::vector<uint8_t> zeros(static_cast<std::size_t>(m.n)), codes(static_cast<std::size_t>(kTileRows * m.k));
    zero_row(m, 0, zeros.data());
    for (const uint8_t z : zeros) {
      constant_v1 += z == centre - 1;
      constant_v2 += z == centre;
      other += z != centre && z != centre - 1;
    }
    const auto index = group_index(m);
    if (!index.ok()) continue;  // reading the module says so
    const int64_t rows = std::min(kTileRows, m.n);
    code_rows(m, 0, rows, codes.data());
    for (int64_t r = 0; r < rows; ++r) {
      double codes_sum = 0;
      int64_t count = 0;
      for (int64_t c = 0; c < m.k; ++c) {
        if ((*index)[static_cast<std::size_t>(c)] != 0) continue;
        codes_sum += codes[static_cast<std::size_t>(r * m.k + c)];
        ++count;
      }
      if (count == 0) continue;
      const double difference = codes_sum / static_cast<double>(count) - zeros[static_cast<std::size_t>(r)];
      sum += difference;
      squares += difference * difference;
      ++samples;
    }
  }
  convention_.zeros = declared;
  const char* names[] = {"version 1 (zero - 1 stored)", "version 2 (zero stored)"};
  const auto say = [&](ZeroOffset decision, const std::string& why) {
    warnings.push_back(fmt::format("{}: the zero points are declared as {}, but {}; read as {}", directory.origin(),
                                   names[static_cast<int>(declared)], why, names[static_cast<int>(decision)]));
    convention_.zeros = decision;
  };
  const int64_t zeros_seen = constant_v1 + constant_v2 + other;
  if (other == 0 && zeros_seen >= 32 && (constant_v1 == zeros_seen || constant_v2 == zeros_seen)) {
    const ZeroOffset found = constant_v1 == zeros_seen ? ZeroOffset::minus_one : ZeroOffset::plain;
    if (found != declared && convention_.symmetric)
      say(found, "all of them are what the other stores for symmetric weights");
    return {};
  }
  if (samples < 64) return {};
  const double mean = sum / static_cast<double>(samples);
  const double error =
      std::sqrt(std::max(0.0, squares / static_cast<double>(samples) - mean * mean) / static_cast<double>(samples));
  const double expected = declared == ZeroOffset::minus_one ? 1.0 : 0.0, alternative = 1.0 - expected;
  if (error < 0.1 && std::abs(mean - expected) > 6 * error + 0.3 && std::abs(mean - alternative) < 6 * error + 0.2) {
    say(declared == ZeroOffset::minus_one ? ZeroOffset::plain : ZeroOffset::minus_one,
        fmt::format("the codes lie {:.2f} above them on average where {:.0f} was to be expected", mean, expected));
  }
  return {};
}

}  // namespace

Result<GptqConvention> gptq_convention(const Json& quantization, const std::string& origin) {
  GptqConvention convention;
  const Json* format = quantization.find_value("checkpoint_format");
  if (format == nullptr) format = quantization.find_value("format");
  const std::string_view name = format == nullptr ? std::string_view("gptq") : format->as_string("gptq");
  convention.zeros_declared = format != nullptr;
  if (name == "gptq_v2") {
    convention.zeros = ZeroOffset::plain;
  } else if (name == "gptq_p") {
    convention.zeros = ZeroOffset::plain;
    convention.order = WordOrder::planar;
  } else if (name != "gptq") {
    return Status(Code::unsupported, fmt::format("{}: checkpoint_format '{}' is not read; gptq, gptq_v2 and gptq_p are",
                                                 origin, shown(name)));
  }
  const auto number = [&](const char* key, const char* synonym, int64_t fallback) {
    const Json* value = quantization.find_value(key);
    if (value == nullptr) value = quantization.find_value(synonym);
    return value == nullptr ? fallback : value->as_int(fallback);
  };
  if (const Json* marlin = quantization.find_value("is_marlin_format"); marlin != nullptr && marlin->as_bool()) {
    return Status(Code::unsupported, fmt::format("{}: weights permuted for Marlin kernels are not read", origin));
  }
  const int64_t bits = number("bits", "w_bit", 0);
  if (bits < 0 || bits > 8) return Status(Code::corrupt, fmt::format("{}: {} bits", origin, bits));
  // With overrides each module may have its own width; its tensors say which.
  convention.bits = quantization.find_value("dynamic") != nullptr ? 0 : static_cast<int>(bits);
  convention.group_size = number("group_size", "q_group_size", 128);
  if (const Json* meta = quantization.find_value("meta")) {
    const Json* quantizer = meta->find_value("quantizer");
    convention.carry = quantizer != nullptr && quantizer->dump().find("gptqmodel") != std::string::npos;
  }
  if (const Json* sym = quantization.find_value("sym")) convention.symmetric = sym->as_bool(true);
  return convention;
}

std::unique_ptr<Packing> make_gptq_packing(const GptqConvention& convention) {
  return std::make_unique<GptqPacking>(convention);
}

}  // namespace nbl::dialects
