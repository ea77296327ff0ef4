// HQQ: codes of a weight seen as a list of groups, packed by sections of that list, with real zero points. Read only.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/bounds.h"
#include "base/checked.h"
#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/hf_directory.h"
#include "io/safetensors_types.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = ".W_q";
constexpr BoundOf<int64_t> kMaxDimension{Bound::tensor_dimension};
// What a layer saves beside W_q, scale and zero.
constexpr std::string_view kSettings[] = {
    "nbits",         "group_size",     "shape",        "axis",         "packing",       "unpack_view_dtype",
    "view_as_float", "quant_scale",    "quant_zero",   "compute_dtype", "offload_meta", "encoded_state_dict",
    "channel_wise",  "stores_quant_config", "optimize", "round_zero",  "W_q",          "scale",
    "zero"};

struct Module {
  const io::RawTensor *codes = nullptr, *scale = nullptr, *zero = nullptr;
  DType scale_type = DType::f32, zero_type = DType::f32;
  int64_t n = 0, k = 0, axis = 1;
  int64_t groups = 0, size = 0;  // the weight as [groups, size] (axis 1) or [size, groups] (axis 0)
  int bits = 0;
};

// One number out of an I32, I64 or U8 tensor.
Result<int64_t> setting(const HfDirectory& directory, const std::string& name, int64_t index, int64_t count) {
  NBL_ASSIGN(const io::RawTensor* raw, directory.get(name));
  NBL_ASSIGN(const Array array, io::to_array(*raw));
  if (array.size() != count || (array.dtype != DType::i32 && array.dtype != DType::i64 && array.dtype != DType::u8)) {
    return unexpected_shape(*raw, fmt::format("{} whole numbers", count));
  }
  const std::byte* at = array.storage.data() + index * dtype_bytes(array.dtype);
  if (array.dtype == DType::u8) return static_cast<int64_t>(*at);
  if (array.dtype == DType::i32) {
    int32_t value;
    std::memcpy(&value, at, 4);
    return value;
  }
  int64_t value;
  std::memcpy(&value, at, 8);
  return value;
}

int64_t codes_in(int bits) noexcept {  // rows that share an element; 0: no such packing
  switch (bits) {
    case 8:
    case 6:
    case 5:
      return 1;
    case 4:
      return 2;
    case 3:
      return 10;
    case 2:
      return 4;
    case 1:
      return 8;
    default:
      return 0;
  }
}

Result<Module> find_module(const HfDirectory& directory, const std::string& prefix) {
  Module m;
  m.codes = directory.find(prefix + ".W_q");
  for (const char* nested : {".zero_q", ".scale_q", ".meta_zero", ".meta_scale"}) {
    if (directory.find(prefix + nested) != nullptr) {
      return Status(Code::unsupported, fmt::format("{}: tensor {}{}: quantized scales and zeros of HQQ are not read",
                                                   m.codes->file, shown(prefix), nested));
    }
  }
  NBL_ASSIGN(m.scale, directory.get(prefix + ".scale"));
  NBL_ASSIGN(m.zero, directory.get(prefix + ".zero"));
  NBL_ASSIGN(m.n, setting(directory, prefix + ".shape", 0, 2));
  NBL_ASSIGN(m.k, setting(directory, prefix + ".shape", 1, 2));
  NBL_ASSIGN(const int64_t bits, setting(directory, prefix + ".nbits", 0, 1));
  NBL_ASSIGN(m.axis, setting(directory, prefix + ".axis", 0, 1));
  int64_t count = 0;
  if (m.n <= 0 || m.k <= 0 || m.n > kMaxDimension || m.k > kMaxDimension || !checked_mul(m.n, m.k, &count) ||
      codes_in(static_cast<int>(std::clamp<int64_t>(bits, 0, 9))) == 0 || (m.axis != 0 && m.axis != 1)) {
    return Status(Code::corrupt, fmt::format("{}: module {} is of {} x {} weights of {} bits along axis {}",
                                             m.codes->file, shown(prefix), m.n, m.k, bits, m.axis));
  }
  m.bits = static_cast<int>(bits);
  for (const auto& [tensor, type] : {std::pair{m.scale, &m.scale_type}, std::pair{m.zero, &m.zero_type}}) {
    const auto dtype = io::safetensors_dtype(tensor->type);
    const bool real = dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
    NBL_ASSIGN(const int64_t elements, element_count(tensor->shape));
    if (!real || elements <= 0 || (m.groups != 0 && elements != m.groups)) {
      return unexpected_shape(*tensor, m.groups == 0 ? std::string("floats, one a group")
                                                     : fmt::format("{} floats", m.groups));
    }
    *type = *dtype;
    m.groups = elements;
  }
  if (count % m.groups != 0) {
    return unexpected_shape(*m.scale, fmt::format("a divisor of {} x {} weights", m.n, m.k));
  }
  m.size = count / m.groups;
  const int64_t rows = m.axis == 1 ? m.groups : m.size, columns = m.axis == 1 ? m.size : m.groups;
  const int64_t shared = codes_in(m.bits), element = m.bits == 3 ? 4 : 1;
  if (m.bits != 3 && rows % shared != 0) {
    return Status(Code::corrupt, fmt::format("{}: tensor {} packs {} rows, no whole sections of {}", m.codes->file,
                                             shown(m.codes->name), rows, shared));
  }
  const int64_t bytes = ceil_div(rows, shared) * columns * element;
  if (static_cast<int64_t>(m.codes->bytes.size()) != bytes) {
    return unexpected_shape(*m.codes, fmt::format("{} bytes", bytes));
  }
  return m;
}

// The code at (row, column) of the list of groups. Sections of its rows share an element, the first in the high bits.
class Codes {
 public:
  explicit Codes(const Module& m)
      : data_(m.codes->bytes.data()),
        bits_(m.bits),
        columns_(m.axis == 1 ? m.size : m.groups),
        section_(ceil_div(m.axis == 1 ? m.groups : m.size, codes_in(m.bits))) {}
  uint8_t at(int64_t row, int64_t column) const noexcept {
    const int64_t part = row / section_, index = row % section_ * columns_ + column;
    if (bits_ == 3) {
      uint32_t word;
      std::memcpy(&word, data_ + 4 * index, 4);
      return static_cast<uint8_t>(word >> (27 - 3 * part) & 7);
    }
    const auto byte = static_cast<uint8_t>(data_[index]);
    if (bits_ > 4) return byte;
    return static_cast<uint8_t>(byte >> (8 - bits_ - bits_ * part) & ((1 << bits_) - 1));
  }

 private:
  const std::byte* data_;
  int bits_;
  int64_t columns_, section_;
};

// Groups along rows of the weight stay groups.
Result<QTensor> read_groups(const Module& m) {
  Segment spec;
  spec.k_count = m.k;
  spec.encoding = Encoding::affine;
  spec.bits = m.bits;
  spec.group_size = m.size == m.k ? 0 : m.size;
  spec.scale_type = m.scale_type;
  spec.zero_kind = ZeroKind::real;
  spec.zero_type = m.zero_type;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(m.n, spec));
  const Codes source(m);
  const int64_t each = m.k / m.size, scale_bytes = dtype_bytes(m.scale_type), zero_bytes = dtype_bytes(m.zero_type);
  std::vector<uint8_t> codes(static_cast<std::size_t>(kTileRows * m.k));
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    for (int64_t r = 0; r < builder.rows(t); ++r) {
      for (int64_t g = 0; g < each; ++g) {
        const int64_t group = (t * kTileRows + r) * each + g;
        for (int64_t c = 0; c < m.size; ++c) {
          const uint8_t code = source.at(group, c);
          if (code >> m.bits != 0) {
            return Status(Code::corrupt, fmt::format("{}: tensor {} holds the code {}, too large for {} bits",
                                                     m.codes->file, shown(m.codes->name), code, m.bits));
          }
          codes[static_cast<std::size_t>(r * m.k + g * m.size + c)] = code;
        }
        std::memcpy(builder.scales(t, g) + r * scale_bytes, m.scale->bytes.data() + group * scale_bytes,
                    static_cast<std::size_t>(scale_bytes));
        std::memcpy(builder.zeros(t, g) + r * zero_bytes, m.zero->bytes.data() + group * zero_bytes,
                    static_cast<std::size_t>(zero_bytes));
      }
    }
    builder.set_codes(t, codes.data(), m.k);
  }
  return make_qtensor(m.n, m.k, std::move(builder).finish());
}

// Groups that run down columns, across rows or in odd sizes: the values themselves, in float32.
Result<QTensor> read_values(const Module& m) {
  NBL_ASSIGN(const Array scales, io::to_array(*m.scale));
  NBL_ASSIGN(const Array zeros, io::to_array(*m.zero));
  NBL_ASSIGN(const std::vector<float> scale, scales.to_f32());
  NBL_ASSIGN(const std::vector<float> zero, zeros.to_f32());
  Segment spec;
  spec.k_count = m.k;
  spec.encoding = Encoding::dense;
  spec.value_type = DType::f32;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(m.n, spec));
  const Codes source(m);
  std::vector<float> rows(static_cast<std::size_t>(kTileRows * m.k));
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    for (int64_t i = 0; i < builder.rows(t) * m.k; ++i) {
      const int64_t flat = t * kTileRows * m.k + i;
      const int64_t group = m.axis == 1 ? flat / m.size : flat % m.groups;
      const int64_t within = m.axis == 1 ? flat % m.size : flat / m.groups;
      const uint8_t code = m.axis == 1 ? source.at(group, within) : source.at(within, group);
      const auto g = static_cast<std::size_t>(group);
      rows[static_cast<std::size_t>(i)] = (static_cast<float>(code) - zero[g]) * scale[g];
    }
    builder.set_dense(t, reinterpret_cast<const std::byte*>(rows.data()), 4 * m.k);
  }
  return make_qtensor(m.n, m.k, std::move(builder).finish());
}

class HqqPacking final : public Packing {
 public:
  Result<std::map<std::string, PackedModule, std::less<>>> modules(HfDirectory& directory) override {
    std::map<std::string, PackedModule, std::less<>> found;
    for (const auto& [name, raw] : directory.tensors()) {
      if (!name.ends_with(kMark)) continue;
      const std::string prefix = name.substr(0, name.size() - kMark.size());
      const std::string looked_at[] = {prefix + ".shape", prefix + ".nbits", prefix + ".axis"};
      NBL_ASSIGN(const std::shared_ptr<const HfDirectory> loaded, directory.with_loaded(looked_at));
      NBL_ASSIGN(const Module m, find_module(*loaded, prefix));
      PackedModule module;
      for (const std::string_view each : kSettings) {
        const std::string part = fmt::format("{}.{}", prefix, each);
        if (directory.find(part) != nullptr) module.consumed.push_back(part);
      }
      const auto bytes =
          static_cast<int64_t>(m.codes->bytes.size() + m.scale->bytes.size() + m.zero->bytes.size());
      module.info = {prefix + ".weight",
                     {m.n, m.k},
                     fmt::format("hqq {} bit g{} axis {}", m.bits, m.size, m.axis),
                     bits_per_element(bytes, m.n * m.k),
                     m.size,
                     bytes};
      found.emplace(prefix + ".weight", std::move(module));
    }
    if (found.empty()) {
      return Status(Code::corrupt,
                    fmt::format("{}: quantized with hqq, but no tensor named *{}", directory.origin(), kMark));
    }
    return found;
  }

  Result<QTensor> read(const HfDirectory& directory, std::string_view name) const override {
    const std::string prefix(name.substr(0, name.size() - std::string_view(".weight").size()));
    NBL_ASSIGN(const Module m, find_module(directory, prefix));
    const bool along_rows = m.axis == 1 && m.k % m.size == 0 && (m.size == m.k || m.size % 16 == 0);
    return along_rows ? read_groups(m) : read_values(m);
  }
};

class HqqDialect final : public Dialect {
 public:
  std::string_view id() const override { return "hqq"; }
  std::string_view summary() const override { return "HQQ directory: 1 to 8 bits, real zero points, either axis"; }
  std::string_view limits() const override { return "1, 2, 3, 4, 5, 6 or 8 bits with real scales and zero points."; }
  bool recognise(const fs::path& path) const override { return is_hf_directory(path) && hf_quant_method(path) == "hqq"; }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    return make_hf_checkpoint("hqq", std::move(directory), std::make_unique<HqqPacking>());
  }
};

}  // namespace

const Dialect& hqq_dialect() {
  static const HqqDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
