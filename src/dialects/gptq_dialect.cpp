// The GPTQ dialects: version 1 (zero - 1 stored), version 2 and the planar variant for 5, 6 and 7 bits.
#include <fmt/format.h>

#include <map>
#include <vector>

#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/gptq_layout.h"
#include "dialects/hf_writer.h"
#include "dialects/recode.h"
#include "io/safetensors_types.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

enum class Version : uint8_t { v1, v2, planar };

constexpr const char* kIds[] = {"gptq", "gptq_v2", "gptq_p"};

AffineTarget target_of(Version version) {
  AffineTarget target;
  target.bits = version == Version::planar ? std::vector<int>{2, 3, 4, 5, 6, 7, 8} : std::vector<int>{2, 3, 4, 8};
  target.zeros = {ZeroKind::symmetric, ZeroKind::code};
  // Loaders convert scales to the model's 16-bit type, so f32 ones would change there.
  target.scale_types = {DType::f16, DType::bf16};
  target.column_order = true;
  target.zero_code_zero = version != Version::v1;
  return target;
}

Result<AffineView> view_of(const QTensor& tensor, Version version) {
  const std::string_view id = kIds[static_cast<int>(version)];
  NBL_ASSIGN(AffineView view, recode_affine(tensor, target_of(version), id));
  if (words_for(tensor.k, view.bits) < 0 || words_for(tensor.n, view.bits) < 0) {
    return Status(Code::unsupported,
                  fmt::format("{} cannot hold {} x {} codes of {} bits: rows and columns must fill 32-bit words; "
                              "the native format can",
                              id, tensor.n, tensor.k, view.bits));
  }
  return view;
}

// One word-packed line (of a qzeros row) from codes that are `count` long, padded with zero codes to 32.
void pack_line(int bits, WordOrder order, const std::vector<uint8_t>& codes, uint32_t* words, int64_t word_count) {
  for (int64_t first = 0; first < word_count; first += bits) {
    uint8_t run[32] = {};
    const int64_t begin = first * 32 / bits;
    for (int64_t i = 0; i < 32 && begin + i < static_cast<int64_t>(codes.size()); ++i)
      run[i] = codes[static_cast<std::size_t>(begin + i)];
    uint32_t packed[8];
    pack_words(bits, order, run, packed, 1);
    for (int64_t i = 0; i < std::min<int64_t>(bits, word_count - first); ++i) words[first + i] = packed[i];
  }
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

class GptqPacker final : public HfPacker {
 public:
  explicit GptqPacker(Version version) : version_(version) {}

  Status pack(const std::string& module, const QTensor& tensor, io::TensorSpool& spool) override {
    NBL_ASSIGN(const AffineView view, view_of(tensor, version_));
    const int64_t n = tensor.n, k = tensor.k, groups = view.groups;
    const int64_t word_rows = k * view.bits / 32, zero_words = n * view.bits / 32;
    const WordOrder order = version_ == Version::planar ? WordOrder::planar : WordOrder::stream;

    // Packed column -> original column -> group of the original column.
    std::vector<int32_t> original(static_cast<std::size_t>(k)), g_idx(original.size());
    const auto stored = tensor.column_order.as<int32_t>();
    for (std::size_t p = 0; p < original.size(); ++p)
      original[p] = stored.empty() ? static_cast<int32_t>(p) : stored[p];
    for (std::size_t p = 0; p < original.size(); ++p) {
      g_idx[static_cast<std::size_t>(original[p])] =
          view.group_size == 0 ? 0 : static_cast<int32_t>(static_cast<int64_t>(p) / view.group_size);
    }

    std::vector<uint32_t> qweight(static_cast<std::size_t>(word_rows * n));
    std::vector<uint8_t> packed(static_cast<std::size_t>(k)), codes(packed.size());
    std::vector<uint32_t> column(static_cast<std::size_t>(word_rows));
    for (int64_t row = 0; row < n; ++row) {
      view.codes(row, packed.data());
      for (std::size_t p = 0; p < packed.size(); ++p) codes[static_cast<std::size_t>(original[p])] = packed[p];
      pack_line(view.bits, order, codes, column.data(), word_rows);
      for (int64_t w = 0; w < word_rows; ++w)
        qweight[static_cast<std::size_t>(w * n + row)] = column[static_cast<std::size_t>(w)];
    }

    const int subtract = version_ == Version::v1 ? 1 : 0;
    std::vector<uint32_t> qzeros(static_cast<std::size_t>(groups * zero_words));
    std::vector<uint8_t> zeros(static_cast<std::size_t>(n));
    std::vector<float> scales(static_cast<std::size_t>(groups * n));
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t row = 0; row < n; ++row) {
        const auto i = static_cast<std::size_t>(row * groups + g);
        const int zero = view.zeros.empty() ? 1 << (view.bits - 1) : static_cast<int>(view.zeros[i]);
        zeros[static_cast<std::size_t>(row)] = static_cast<uint8_t>(zero - subtract);
        scales[static_cast<std::size_t>(g * n + row)] = view.scales[i];
      }
      pack_line(view.bits, order, zeros, qzeros.data() + g * zero_words, zero_words);
    }
    std::vector<uint16_t> halves(scales.size());
    convert_from_f32(scales.data(), static_cast<int64_t>(scales.size()), view.scale_type, halves.data());

    NBL_TRY(spool.add(module + ".qweight", "I32", {word_rows, n}, bytes_of(qweight)));
    NBL_TRY(spool.add(module + ".qzeros", "I32", {groups, zero_words}, bytes_of(qzeros)));
    NBL_TRY(spool.add(module + ".scales", io::safetensors_type_name(view.scale_type), {groups, n}, bytes_of(halves)));
    NBL_TRY(spool.add(module + ".g_idx", "I32", {k}, bytes_of(g_idx)));
    modules_[module] = Settings{view.bits, view.group_size == 0 ? -1 : view.group_size,
                                view.zero_kind == ZeroKind::symmetric, !tensor.column_order.empty()};
    return {};
  }

  Json quantization_config(const std::vector<std::string>& dense) const override {
    // What most modules have is the rule, the others are exceptions to it.
    std::map<std::pair<int, int64_t>, int> votes;
    bool symmetric = true, reordered = false, lm_head = false;
    for (const auto& [name, s] : modules_) {
      ++votes[{s.bits, s.group_size}];
      symmetric &= s.symmetric;
      reordered |= s.reordered;
      lm_head |= name == "lm_head" || name == "embed_out";
    }
    std::pair<int, int64_t> common{4, 128};
    int most = 0;
    for (const auto& [key, count] : votes) {
      if (count > most) most = count, common = key;
    }
    Json config = Json::object();
    config.set("quant_method", "gptq");
    config.set("bits", common.first);
    config.set("group_size", common.second);
    config.set("desc_act", reordered);
    config.set("sym", symmetric);
    config.set("static_groups", false);
    config.set("true_sequential", true);
    config.set("damp_percent", 0.01);
    config.set("lm_head", lm_head);
    config.set("checkpoint_format", kIds[static_cast<int>(version_)]);
    config.set("pack_dtype", "int32");
    Json rules = Json::object();
    for (const std::string& name : dense) {
      if (name.find(".layers.") != std::string::npos || name.find(".h.") != std::string::npos)
        rules.set("-:^" + escaped(name) + "$", Json::object());
    }
    for (const auto& [name, s] : modules_) {
      if (s.bits == common.first && s.group_size == common.second) continue;
      Json rule = Json::object();
      rule.set("bits", s.bits);
      rule.set("group_size", s.group_size);
      rules.set("+:^" + escaped(name) + "$", std::move(rule));
    }
    if (rules.size() != 0) config.set("dynamic", std::move(rules));
    Json quantizer = Json::array();
    quantizer.push_back("nibble:1");
    Json meta = Json::object();
    meta.set("quantizer", std::move(quantizer));
    config.set("meta", std::move(meta));
    last_config_ = config.dump(2) + "\n";
    return config;
  }

  std::map<std::string, std::string> files() const override { return {{"quantize_config.json", last_config_}}; }

 private:
  struct Settings {
    int bits = 0;
    int64_t group_size = 0;
    bool symmetric = true, reordered = false;
  };
  static std::string escaped(std::string_view name) {
    std::string text;
    for (const char c : name) {
      if (c == '.') text += '\\';
      text += c;
    }
    return text;
  }

  Version version_;
  std::map<std::string, Settings> modules_;
  mutable std::string last_config_;
};

class GptqDialect final : public Dialect {
 public:
  explicit GptqDialect(Version version) : version_(version) {}
  std::string_view id() const override { return kIds[static_cast<int>(version_)]; }
  std::string_view summary() const override {
    switch (version_) {
      case Version::v1:
        return "GPTQ directory as AutoGPTQ writes it: zero points stored minus one";
      case Version::v2:
        return "GPTQ directory, version 2: zero points stored as they are";
      case Version::planar:
        return "GPTQ directory, planar: 2 to 8 bits";
    }
    return {};
  }
  std::string_view limits() const override {
    switch (version_) {
      case Version::v1:
        return "2, 3, 4 or 8 bits, 16-bit scales, integer zero points from 1; no codebooks, minimums, outliers or "
               "input scales.";
      case Version::v2:
        return "2, 3, 4 or 8 bits, 16-bit scales, integer zero points; no codebooks, minimums, outliers or input "
               "scales.";
      case Version::planar:
        return "2 to 8 bits, 16-bit scales, integer zero points; no codebooks, minimums, outliers or input scales.";
    }
    return {};
  }
  // One reader for all versions: the configuration says which it is.
  bool recognise(const fs::path& path) const override {
    return version_ == Version::v1 && is_hf_directory(path) && hf_quant_method(path) == "gptq";
  }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    NBL_ASSIGN(const GptqConvention convention,
               gptq_convention(directory->quantization(), directory->quantization_origin()));
    return make_hf_checkpoint("gptq", std::move(directory), make_gptq_packing(convention));
  }
  bool can_write() const override { return true; }
  Result<std::unique_ptr<CheckpointWriter>> make_writer(const fs::path& path) const override {
    return make_hf_writer(path, std::make_unique<GptqPacker>(version_));
  }
  Status can_represent(std::string_view name, const QTensor& tensor) const override {
    if (is_plain_dense(tensor)) return {};
    return view_of(tensor, version_).status().with_context(fmt::format("tensor {}", name));
  }
  std::vector<std::string> closest_recipes(const QTensor& tensor) const override {
    return nearest_affine_recipes(tensor, target_of(version_).bits, {128, 64, 32, -1});
  }

 private:
  Version version_;
};

}  // namespace

const Dialect& gptq_dialect() {
  static const GptqDialect dialect(Version::v1);
  return dialect;
}
const Dialect& gptq_v2_dialect() {
  static const GptqDialect dialect(Version::v2);
  return dialect;
}
const Dialect& gptq_p_dialect() {
  static const GptqDialect dialect(Version::planar);
  return dialect;
}

}  // namespace nbl::dialects
