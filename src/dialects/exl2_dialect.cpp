// EXL2: groups of columns with widths of their own, columns in an order of their own. Read only.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "base/checked.h"
#include "base/half.h"
#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/hf_directory.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMark = ".q_weight";

struct Group {
  int bits = 0;
  int64_t first_word = 0;  // row of q_weight
  int64_t first = 0, count = 0;  // packed columns
};

struct Module {
  const io::RawTensor *weight = nullptr, *scale = nullptr, *scale_max = nullptr, *perm = nullptr;
  int64_t n = 0, k = 0, padded = 0;
  std::vector<Group> groups;
};

template <class T>
T element(const io::RawTensor& tensor, int64_t index) noexcept {
  T value;
  std::memcpy(&value, tensor.bytes.data() + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

bool is_width(int bits) noexcept { return (bits >= 2 && bits <= 6) || bits == 8; }

Result<Module> find_module(const HfDirectory& directory, const std::string& prefix) {
  Module m;
  NBL_ASSIGN(m.weight, directory.get(prefix + ".q_weight"));
  NBL_ASSIGN(m.scale, directory.get(prefix + ".q_scale"));
  NBL_ASSIGN(m.scale_max, directory.get(prefix + ".q_scale_max"));
  NBL_ASSIGN(const io::RawTensor* groups, directory.get(prefix + ".q_groups"));
  m.perm = directory.find(prefix + ".q_invperm");
  if (m.weight->type != "I32" || m.weight->shape.size() != 2 || m.weight->shape[0] <= 0 || m.weight->shape[1] <= 0 ||
      m.weight->shape[1] % 8 != 0) {
    return unexpected_shape(*m.weight, "I32 of [words, n]");
  }
  m.padded = m.n = m.weight->shape[1];
  if (groups->type != "I16" || groups->shape.size() != 1 || groups->shape[0] < 2 || groups->shape[0] % 2 != 0) {
    return unexpected_shape(*groups, "I16 of [2 * groups]");
  }
  const int64_t count = groups->shape[0] / 2, words = m.weight->shape[0];
  if (m.scale->type != "I32" || m.scale->shape != Shape{count, m.padded / 8}) {
    return unexpected_shape(*m.scale, fmt::format("I32 of [{}, {}]", count, m.padded / 8));
  }
  if (m.scale_max->type != "F16" || m.scale_max->shape != Shape{count}) {
    return unexpected_shape(*m.scale_max, fmt::format("F16 of [{}]", count));
  }
  const auto bad = [&](std::string what) {
    return Status(Code::corrupt, fmt::format("{}: tensor {}: {}", groups->file, shown(groups->name), std::move(what)));
  };
  int64_t column = 0;
  for (int64_t g = 0; g < count; ++g) {
    Group group;
    group.bits = element<int16_t>(*groups, 2 * g);
    group.first_word = element<uint16_t>(*groups, 2 * g + 1);
    const int64_t end = g + 1 < count ? element<uint16_t>(*groups, 2 * g + 3) : words;
    if (!is_width(group.bits)) return bad(fmt::format("group {} is of {} bits", g, group.bits));
    if (group.first_word >= end || end > words || (g == 0 && group.first_word != 0)) {
      return bad(fmt::format("group {} takes rows {} to {} of {}", g, group.first_word, end, words));
    }
    group.first = column;
    group.count = (end - group.first_word) * 32 / group.bits;
    column += group.count;
    m.groups.push_back(group);
  }
  m.k = column;
  if (m.perm == nullptr) return m;
  if (m.perm->type != "I32" || m.perm->shape.size() != 1) return unexpected_shape(*m.perm, "I32 of [k]");
  // The words of the last group may have room for more than there is.
  m.k = m.perm->shape[0];
  Group& last = m.groups.back();
  if (m.k <= last.first || m.k > column) return unexpected_shape(*m.perm, fmt::format("I32 of [{}]", column));
  last.count = m.k - last.first;
  return m;
}

// The codes of the columns of a group for rows [row, row + rows), moved to the middle of a wider code.
void read_codes(const Module& m, const Group& group, int bits, int64_t row, int64_t rows, int64_t ld, uint8_t* out) {
  const int shift = (1 << (bits - 1)) - (1 << (group.bits - 1));
  const uint32_t mask = (1u << group.bits) - 1u;
  for (int64_t i = 0; i < group.count; ++i) {
    const int64_t bit = i * group.bits, word = group.first_word + bit / 32, offset = bit % 32;
    const bool two = offset + group.bits > 32;
    for (int64_t r = 0; r < rows; ++r) {
      uint32_t value = element<uint32_t>(*m.weight, word * m.padded + row + r) >> offset;
      if (two) value |= element<uint32_t>(*m.weight, (word + 1) * m.padded + row + r) << (32 - offset);
      out[r * ld + i] = static_cast<uint8_t>(static_cast<int>(value & mask) + shift);
    }
  }
}

// (qs + 1)^2 * (max / 256), both products rounded to f16.
float scale_of(const Module& m, int64_t group, int64_t n) {
  const auto word = element<uint32_t>(*m.scale, group * (m.padded / 8) + n / 8);
  const auto code = static_cast<float>((word >> (4 * (n % 8)) & 15) + 1);
  const float most = f16_to_f32(element<uint16_t>(*m.scale_max, group));
  const float unit = f16_to_f32(f32_to_f16(most * (1.0f / 256.0f)));
  return f16_to_f32(f32_to_f16(code * code * unit));
}

// Groups that become one segment: [first, last), of the widest of their widths, in runs that all of them are made of.
struct Run {
  std::size_t first = 0, last = 0;
  int bits = 0;
  int64_t columns = 0, group_size = 0;
};

// Segments are whole tiles of 64 columns but for the last one, so a group may have to go with its wider neighbour: its
// codes move to the middle of the wider range and its values stay what they are.
std::vector<Run> runs_of(const Module& m) {
  std::vector<Run> runs;
  for (std::size_t g = 0; g < m.groups.size(); ++g) {
    const Group& group = m.groups[g];
    if (runs.empty() || (runs.back().bits != group.bits && runs.back().columns % kTileCols == 0)) {
      runs.push_back({g, g, group.bits, 0, 0});
    }
    Run& run = runs.back();
    run.last = g + 1;
    run.bits = std::max(run.bits, group.bits);
    run.columns += group.count;
    // The very last group may be short without shortening the others.
    if (g + 1 < m.groups.size() || run.group_size == 0 || group.count > run.group_size) {
      run.group_size = std::gcd(run.group_size, group.count);
    }
  }
  for (Run& run : runs) {
    if (run.last - run.first == 1) run.group_size = 0;
  }
  return runs;
}

Result<Segment> read_run(const Module& m, const Run& run) {
  Segment spec;
  spec.k_begin = m.groups[run.first].first;
  spec.k_count = run.columns;
  spec.encoding = Encoding::affine;
  spec.bits = run.bits;
  spec.group_size = run.group_size;
  spec.scale_type = DType::f16;
  spec.zero_kind = ZeroKind::symmetric;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(m.n, spec));
  std::vector<uint8_t> codes(static_cast<std::size_t>(kTileRows * run.columns));
  const int64_t size = run.group_size == 0 ? run.columns : run.group_size;
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    const int64_t row = t * kTileRows, rows = builder.rows(t);
    for (std::size_t g = run.first; g < run.last; ++g) {
      const Group& group = m.groups[g];
      const int64_t at = group.first - spec.k_begin;
      read_codes(m, group, run.bits, row, rows, run.columns, codes.data() + at);
      for (int64_t r = 0; r < rows; ++r) {
        const float scale = scale_of(m, static_cast<int64_t>(g), row + r);
        for (int64_t c = at / size; c < ceil_div(at + group.count, size); ++c) builder.set_scale(row + r, c, scale);
      }
    }
    builder.set_codes(t, codes.data(), run.columns);
  }
  return std::move(builder).finish();
}

class Exl2Packing final : public Packing {
 public:
  Result<std::map<std::string, PackedModule, std::less<>>> modules(HfDirectory& directory) override {
    const Json* vocab = directory.config().find_value("vocab_size");
    vocab_ = vocab == nullptr ? 0 : vocab->as_int();
    std::map<std::string, PackedModule, std::less<>> found;
    for (const auto& [name, raw] : directory.tensors()) {
      if (!name.ends_with(kMark)) continue;
      const std::string prefix = name.substr(0, name.size() - kMark.size());
      const std::string looked_at = prefix + ".q_groups";
      NBL_ASSIGN(const std::shared_ptr<const HfDirectory> loaded, directory.with_loaded({&looked_at, 1}));
      NBL_ASSIGN(const Module m, find(*loaded, prefix));
      PackedModule module;
      int64_t bytes = 0;
      for (const char* suffix : {".q_weight", ".q_scale", ".q_scale_max", ".q_groups", ".q_invperm", ".q_perm",
                                 ".q_group_map"}) {
        const io::RawTensor* part = directory.find(prefix + suffix);
        if (part == nullptr) continue;
        module.consumed.push_back(prefix + suffix);
        bytes += static_cast<int64_t>(part->bytes.size());
      }
      const double bits = bits_per_element(bytes, m.n * m.k);
      module.info = {prefix + ".weight", {m.n, m.k}, fmt::format("exl2 {:.2f} bit", bits), bits,
                     m.groups.front().count, bytes};
      found.emplace(prefix + ".weight", std::move(module));
    }
    if (found.empty()) {
      return Status(Code::corrupt,
                    fmt::format("{}: quantized with exl2, but no tensor named *{}", directory.origin(), kMark));
    }
    return found;
  }

  Result<QTensor> read(const HfDirectory& directory, std::string_view name) const override {
    const std::string prefix(name.substr(0, name.size() - std::string_view(".weight").size()));
    NBL_ASSIGN(const Module m, find(directory, prefix));
    QTensor tensor;
    tensor.n = m.n;
    tensor.k = m.k;
    for (const Run& run : runs_of(m)) {
      if (run.group_size % 16 != 0) {
        return Status(Code::unsupported, fmt::format("{}: tensor {} has groups of {}, no multiple of 16", m.weight->file,
                                                     shown(m.weight->name), run.group_size));
      }
      NBL_ASSIGN(Segment segment, read_run(m, run));
      tensor.segments.push_back(std::move(segment));
    }
    NBL_ASSIGN(tensor.column_order, column_order(m));
    return tensor;
  }

 private:
  // Rows are padded to whole lines of 32: the vocabulary says how many of an output projection's are real.
  Result<Module> find(const HfDirectory& directory, const std::string& prefix) const {
    NBL_ASSIGN(Module m, find_module(directory, prefix));
    const bool head = prefix == "lm_head" || prefix.ends_with(".lm_head") || prefix == "embed_out";
    if (head && vocab_ > 0 && vocab_ < m.n && m.n - vocab_ < 32) m.n = vocab_;
    if (const io::RawTensor* bias = directory.find(prefix + ".bias"); bias != nullptr && bias->shape.size() == 1) {
      if (bias->shape[0] < m.n && m.n - bias->shape[0] < 32 && bias->shape[0] > 0) m.n = bias->shape[0];
    }
    return m;
  }

  static Result<Storage> column_order(const Module& m) {
    if (m.perm == nullptr) return Storage();
    std::vector<int32_t> order(static_cast<std::size_t>(m.k), -1);
    bool moved = false;
    for (int64_t k = 0; k < m.k; ++k) {
      const auto p = element<int32_t>(*m.perm, k);
      if (p < 0 || p >= m.k || order[static_cast<std::size_t>(p)] >= 0) {
        return Status(Code::corrupt, fmt::format("{}: tensor {} is no permutation: entry {} is {}", m.perm->file,
                                                 shown(m.perm->name), k, p));
      }
      order[static_cast<std::size_t>(p)] = static_cast<int32_t>(k);
      moved |= p != k;
    }
    if (!moved) return Storage();
    return Storage::copy(std::as_bytes(std::span(order)));
  }

  int64_t vocab_ = 0;
};

class Exl2Dialect final : public Dialect {
 public:
  std::string_view id() const override { return "exl2"; }
  std::string_view summary() const override { return "EXL2 directory: 2 to 8 bits mixed within a weight"; }
  std::string_view limits() const override {
    return "symmetric codes of 2, 3, 4, 5, 6 or 8 bits a group, scales that are squares of 4-bit codes times an f16.";
  }
  bool recognise(const fs::path& path) const override { return is_hf_directory(path) && hf_quant_method(path) == "exl2"; }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    return make_hf_checkpoint("exl2", std::move(directory), std::make_unique<Exl2Packing>());
  }
};

}  // namespace

const Dialect& exl2_dialect() {
  static const Exl2Dialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
