#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "dialects/awq_layout.h"
#include "dialects/code_lines.h"
#include "dialects/common.h"
#include "dialects/group_order.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

constexpr std::string_view kMark = ".qweight";

struct Module {
  const io::RawTensor *qweight = nullptr, *qzeros = nullptr, *scales = nullptr;
  int64_t n = 0, k = 0, groups = 0;
};

template <class T>
T element(const io::RawTensor& tensor, int64_t index) noexcept {
  T value;
  std::memcpy(&value, tensor.bytes.data() + static_cast<int64_t>(sizeof(T)) * index, sizeof(T));
  return value;
}

bool is_matrix(const io::RawTensor& tensor, std::string_view type) {
  return tensor.type == type && tensor.shape.size() == 2 && tensor.shape[0] > 0 && tensor.shape[1] > 0;
}

// The layout gemm keeps eight neighbouring rows' codes of one column in a word. Four columns' words of up to 16 rows, `bytes` (4 or 8)
// bytes each and `column_bytes` apart, become a line: the four bytes of every nibble are brought together in pairs, then in fours.
void line_of_gemm(const std::byte* src, int64_t column_bytes, int64_t columns, int64_t bytes, uint32_t* line) noexcept {
  constexpr uint64_t kNibbles = 0x0f0f0f0f0f0f0f0f, kBytes = 0x00ff00ff00ff00ff, kPairs = 0x0000ffff0000ffff;
  uint64_t word[4] = {};
  if (columns == 4 && bytes == 8) {
    for (int64_t i = 0; i < 4; ++i) std::memcpy(&word[i], src + i * column_bytes, 8);
  } else {
    for (int64_t i = 0; i < columns; ++i) std::memcpy(&word[i], src + i * column_bytes, static_cast<std::size_t>(bytes));
  }
  for (std::size_t odd = 0; odd < 2; ++odd) {
    const uint64_t a = (word[0] >> (4 * odd)) & kNibbles, b = (word[1] >> (4 * odd)) & kNibbles;
    const uint64_t c = (word[2] >> (4 * odd)) & kNibbles, d = (word[3] >> (4 * odd)) & kNibbles;
    const uint64_t ab[2] = {(a & kBytes) | (b & kBytes) << 8, ((a >> 8) & kBytes) | (b & ~kBytes)};
    const uint64_t cd[2] = {(c & kBytes) | (d & kBytes) << 8, ((c >> 8) & kBytes) | (d & ~kBytes)};
    for (std::size_t i = 0; i < 2; ++i) {  // bytes i and i + 2 of both words
      const uint64_t low = (ab[i] & kPairs) | (cd[i] & kPairs) << 16, high = ((ab[i] >> 16) & kPairs) | (cd[i] & ~kPairs);
      const int row = kAwqNibble[2 * i + odd], other = kAwqNibble[2 * i + 4 + odd];
      line[row] = static_cast<uint32_t>(low);
      line[8 + row] = static_cast<uint32_t>(low >> 32);
      line[other] = static_cast<uint32_t>(high);
      line[8 + other] = static_cast<uint32_t>(high >> 32);
    }
  }
}

class AwqPacking final : public Packing {
 public:
  explicit AwqPacking(AwqLayout layout) : layout_(layout) {}

  Result<std::map<std::string, PackedModule, std::less<>>> modules(HfDirectory& directory) override {
    std::map<std::string, PackedModule, std::less<>> found;
    for (const auto& [name, raw] : directory.tensors()) {
      if (!name.ends_with(kMark)) continue;
      const std::string prefix = name.substr(0, name.size() - kMark.size());
      NBL_ASSIGN(const Module m, find(directory, prefix));
      PackedModule module;
      module.consumed = {name, zeros_name(directory, prefix), prefix + ".scales"};
      int64_t bytes = 0;
      for (const std::string& part : module.consumed) bytes += static_cast<int64_t>(directory.find(part)->bytes.size());
      if (const std::string act = activation_scales(directory, prefix); !act.empty()) module.consumed.push_back(act);
      module.info = {prefix + ".weight",
                     {m.n, m.k},
                     fmt::format("awq 4 bit g{}", m.k / m.groups),
                     bits_per_element(bytes, m.n * m.k),
                     m.k / m.groups,
                     bytes};
      found.emplace(prefix + ".weight", std::move(module));
    }
    if (found.empty()) {
      return Status(Code::corrupt,
                    fmt::format("{}: quantized with awq, but no tensor named *.qweight", directory.origin()));
    }
    return found;
  }

  Result<QTensor> read(const HfDirectory& directory, std::string_view name) const override {
    const std::string prefix(name.substr(0, name.size() - std::string_view(".weight").size()));
    NBL_ASSIGN(const Module m, find(directory, prefix));
    NBL_ASSIGN(QTensor tensor, layout_ == AwqLayout::gemm ? read_gemm(m) : read_rows(m));
    NBL_ASSIGN(tensor.input_scale, input_scale(directory, prefix, m.k));
    return tensor;
  }

 private:
  static std::string zeros_name(const HfDirectory& directory, const std::string& prefix) {
    return prefix + (directory.find(prefix + ".scaled_zeros") != nullptr ? ".scaled_zeros" : ".qzeros");
  }

  static std::string activation_scales(const HfDirectory& directory, const std::string& prefix) {
    if (!awq_reads_activation(prefix)) return {};
    for (const std::string_view suffix : kAwqActScales) {
      std::string name = prefix.substr(0, prefix.rfind('.')) + std::string(suffix);
      if (directory.find(name) != nullptr) return name;
    }
    return {};
  }

  // The model divides the activation by the stored scales.
  static Result<Storage> input_scale(const HfDirectory& directory, const std::string& prefix, int64_t k) {
    const std::string name = activation_scales(directory, prefix);
    if (name.empty()) return Storage();
    const io::RawTensor& raw = *directory.find(name);
    if (raw.shape != Shape{k}) return unexpected_shape(raw, fmt::format("[{}]", k));
    NBL_ASSIGN(const Array array, io::to_array(raw));
    NBL_ASSIGN(std::vector<float> values, array.to_f32());
    for (float& value : values) value = 1.0f / value;
    return Storage::copy(std::as_bytes(std::span(values)));
  }

  Result<Module> find(const HfDirectory& directory, const std::string& prefix) const {
    Module m;
    m.qweight = directory.find(prefix + ".qweight");
    NBL_ASSIGN(m.qzeros, directory.get(zeros_name(directory, prefix)));
    NBL_ASSIGN(m.scales, directory.get(prefix + ".scales"));
    if (layout_ == AwqLayout::gemm) {
      if (!is_matrix(*m.qweight, "I32")) return unexpected_shape(*m.qweight, "I32 of [k, n / 8]");
      m.k = m.qweight->shape[0];
      m.n = 8 * m.qweight->shape[1];
      if (!is_matrix(*m.scales, "F16") || m.scales->shape[1] != m.n || m.k % m.scales->shape[0] != 0) {
        return unexpected_shape(*m.scales, fmt::format("F16 of [groups of {}, {}]", m.k, m.n));
      }
      m.groups = m.scales->shape[0];
      if (m.qzeros->type != "I32" || m.qzeros->shape != Shape{m.groups, m.n / 8}) {
        return unexpected_shape(*m.qzeros, fmt::format("I32 of [{}, {}]", m.groups, m.n / 8));
      }
      return m;
    }
    // The other two pad the groups, so their number follows from the configured size.
    if (layout_ == AwqLayout::gemv) {
      if (!is_matrix(*m.qweight, "I32")) return unexpected_shape(*m.qweight, "I32 of [n, k / 8]");
      m.n = m.qweight->shape[0];
      m.k = 8 * m.qweight->shape[1];
    } else {
      if (!is_matrix(*m.qweight, "I16") || m.qweight->shape[1] % 64 != 0) {
        return unexpected_shape(*m.qweight, "I16 of [n / 4, k] with k a multiple of 64");
      }
      m.n = 4 * m.qweight->shape[0];
      m.k = m.qweight->shape[1];
    }
    const Json* configured = directory.quantization().find_value("group_size");
    if (configured == nullptr) configured = directory.quantization().find_value("q_group_size");
    const int64_t stated = configured == nullptr ? 128 : configured->as_int(128);
    const int64_t size = stated <= 0 ? m.k : stated;
    m.groups = m.k / size;
    if (m.groups == 0 || m.k % size != 0) {
      return Status(Code::corrupt, fmt::format("{}: tensor {} has {} columns, no whole groups of {}", m.qweight->file,
                                               shown(m.qweight->name), m.k, size));
    }
    const bool rows_first = layout_ == AwqLayout::gemv;
    const auto padded_groups = [&](const io::RawTensor& t) { return t.shape[rows_first ? 1 : 0]; };
    if (!is_matrix(*m.scales, "F16") || m.scales->shape[rows_first ? 0 : 1] != m.n ||
        padded_groups(*m.scales) < m.groups) {
      return unexpected_shape(*m.scales, fmt::format("F16 of {} rows and at least {} groups", m.n, m.groups));
    }
    const int64_t per = rows_first ? 8 : 1;
    if (!is_matrix(*m.qzeros, rows_first ? "I32" : "F16") || m.qzeros->shape[rows_first ? 0 : 1] != m.n ||
        padded_groups(*m.qzeros) * per < m.groups) {
      return unexpected_shape(
          *m.qzeros, fmt::format("{} of {} rows and at least {} groups", rows_first ? "I32" : "F16", m.n, m.groups));
    }
    return m;
  }

  static Result<Segment> spec_of(const Module& m, ZeroKind zeros) {
    Segment spec;
    spec.k_count = m.k;
    spec.encoding = Encoding::affine;
    spec.bits = 4;
    const GroupOrder order = consecutive_groups(m.k, m.k / m.groups);
    if (!order.fits) {
      return Status(Code::unsupported, fmt::format("{}: tensor {} has groups of {}, no multiple of 16", m.scales->file,
                                                   shown(m.scales->name), m.k / m.groups));
    }
    spec.group_size = order.group_size;
    spec.scale_type = DType::f16;
    spec.zero_kind = zeros;
    spec.zero_type = DType::f16;
    return spec;
  }

  static Result<QTensor> read_gemm(const Module& m) {
    NBL_ASSIGN(const Segment spec, spec_of(m, ZeroKind::code));
    NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(m.n, spec));
    const int64_t words = m.n / 8;
    CodeLines lines;
    for (int64_t c = 0; c < spec.column_tiles(); ++c) {  // along the rows, as they lie in memory
      for (int64_t t = 0; t < builder.row_tiles(); ++t) {
        const int64_t bytes = builder.rows(t) / 2;
        for (int64_t l = 0; l < kTileCols / 4; ++l) {
          const int64_t column = c * kTileCols + 4 * l;
          line_of_gemm(m.qweight->bytes.data() + 4 * (column * words + 2 * t), 4 * words,
                       std::clamp<int64_t>(m.k - column, 0, 4), bytes, lines.words[l]);
        }
        builder.set_lines(t, c, lines);
      }
    }
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      const int64_t rows = builder.rows(t);
      for (int64_t g = 0; g < m.groups; ++g) {
        uint8_t zeros[kTileRows] = {};
        for (int64_t w = 0; w < rows / 8; ++w) {
          const auto word = element<uint32_t>(*m.qzeros, g * words + 2 * t + w);
          for (int i = 0; i < 8; ++i) zeros[8 * w + kAwqNibble[i]] = (word >> (4 * i)) & 15;
        }
        builder.set_zero_codes(t, g, zeros);
        std::memcpy(builder.scales(t, g), m.scales->bytes.data() + 2 * (g * m.n + kTileRows * t),
                    static_cast<std::size_t>(2 * rows));
      }
    }
    return make_qtensor(m.n, m.k, std::move(builder).finish());
  }

  // gemv_fast: where in the row of four interleaved rows the code of column k lies. Inside 32 columns the order is that
  // of kernel lanes; blocks of 64 columns of four rows follow one another.
  static int64_t fast_nibble(int64_t row, int64_t k) {
    const int64_t within = k % 32, a = within / 8, b = within / 2 % 4, c = within % 2;
    const int64_t place = k % 64 / 32 * 32 + b * 8 + c * 4 + a;
    return k / 64 * 256 + row % 4 * 64 + place;
  }

  Result<QTensor> read_rows(const Module& m) const {
    const bool fast = layout_ == AwqLayout::gemv_fast;
    NBL_ASSIGN(const Segment spec, spec_of(m, fast ? ZeroKind::minimum : ZeroKind::code));
    NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(m.n, spec));
    std::vector<uint8_t> codes(static_cast<std::size_t>(fast ? kTileRows * m.k : 0));
    WordLine words[8] = {};
    CodeLines lines;
    const int64_t padded = m.scales->shape[1], zero_words = m.qzeros->shape[1];
    for (int64_t t = 0; t < builder.row_tiles(); ++t) {
      const int64_t rows = builder.rows(t), first = t * kTileRows;
      for (int64_t c = 0; c < spec.column_tiles() && !fast; ++c) {
        const int64_t columns = std::min(kTileCols, m.k - c * kTileCols);
        std::fill(std::begin(words), std::end(words), WordLine{});
        load_words_of_rows(m.qweight->bytes.data() + first * m.k / 2 + c * kTileCols / 2, m.k / 2, rows, columns / 2, words);
        lines_from_words(4, WordOrder::stream, words, columns, &lines);
        builder.set_lines(t, c, lines);
      }
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t row = first + r;
        for (int64_t k = 0; k < m.k && fast; ++k) {
          const int64_t nibble = fast_nibble(row, k);
          const auto word = static_cast<uint32_t>(element<uint16_t>(*m.qweight, row / 4 * m.k + nibble / 4));
          codes[static_cast<std::size_t>(r * m.k + k)] = (word >> (4 * (nibble % 4))) & 15;
        }
        for (int64_t g = 0; g < m.groups; ++g) {
          const int64_t scale = fast ? g * m.n + row : row * padded + g;
          std::memcpy(builder.scales(t, g) + 2 * r, m.scales->bytes.data() + 2 * scale, 2);
          if (fast) {
            std::memcpy(builder.zeros(t, g) + 2 * r, m.qzeros->bytes.data() + 2 * (g * m.n + row), 2);
          } else {
            builder.set_zero_code(row, g,
                                  (element<uint32_t>(*m.qzeros, row * zero_words + g / 8) >> (4 * (g % 8))) & 15);
          }
        }
      }
      if (fast) builder.set_codes(t, codes.data(), m.k);
    }
    return make_qtensor(m.n, m.k, std::move(builder).finish());
  }

  AwqLayout layout_;
};

}  // namespace

bool awq_reads_activation(std::string_view module) noexcept {
  static constexpr std::string_view kReaders[] = {"c_proj", "dense_4h_to_h", "down_proj", "fc_out"};
  const std::size_t dot = module.rfind('.');
  return dot != std::string_view::npos &&
         std::find(std::begin(kReaders), std::end(kReaders), module.substr(dot + 1)) != std::end(kReaders);
}

Result<AwqLayout> awq_layout(const Json& quantization, const std::string& origin) {
  const Json* bits = quantization.find_value("bits");
  if (bits == nullptr) bits = quantization.find_value("w_bit");
  if (bits != nullptr && bits->as_int() != 4) {
    return Status(Code::unsupported, fmt::format("{}: AWQ of {} bits; 4 are read", origin, bits->as_int()));
  }
  std::string version = "gemm";
  if (const Json* value = quantization.find_value("version"); value != nullptr && value->is_string()) {
    version = std::string(value->as_string());
    std::transform(version.begin(), version.end(), version.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  }
  if (version == "gemm" || version == "exllama" || version == "ipex") return AwqLayout::gemm;
  if (version == "gemv") return AwqLayout::gemv;
  if (version == "gemv_fast" || version == "llm-awq") return AwqLayout::gemv_fast;
  return Status(Code::unsupported,
                fmt::format("{}: AWQ version '{}' is not read; gemm, gemv and gemv_fast are", origin, shown(version)));
}

std::unique_ptr<Packing> make_awq_packing(AwqLayout layout) { return std::make_unique<AwqPacking>(layout); }

}  // namespace nbl::dialects
