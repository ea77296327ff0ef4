#include "dialects/hf_conv1d.h"

#include <vector>

namespace nbl::dialects {

bool stored_as_conv1d(const Json& config, std::string_view name) {
  struct Line {
    std::string_view type, suffix;
  };
  static constexpr Line kLines[] = {
#define NBL_HF_PREFIX(type, from, to)
#define NBL_HF_SUFFIX(from, to)
#define NBL_HF_CONV1D(type, suffix) {type, suffix},
#include "dialects/hf_names.inc"
#undef NBL_HF_PREFIX
#undef NBL_HF_SUFFIX
#undef NBL_HF_CONV1D
  };
  const Json* type = config.find_value("model_type");
  if (type == nullptr) return false;
  for (const Line& line : kLines)
    if (line.type == type->as_string() && name.ends_with(line.suffix)) return true;
  return false;
}

Result<QTensor> transpose_dense(const QTensor& t) {
  if (t.segments.size() != 1 || t.segments.front().encoding != Encoding::dense)
    return Status(Code::internal, "only a dense matrix can be turned round");
  std::vector<float> turned(static_cast<std::size_t>(t.n) * static_cast<std::size_t>(t.k));
  std::vector<float> row(static_cast<std::size_t>(t.k));
  for (int64_t r = 0; r < t.n; ++r) {
    t.dequantize_row(r, row.data());
    for (int64_t c = 0; c < t.k; ++c) turned[static_cast<std::size_t>(c * t.n + r)] = row[static_cast<std::size_t>(c)];
  }
  // The values came from `type`, so going back to it loses nothing.
  const DType type = t.segments.front().value_type;
  std::vector<std::byte> stored(turned.size() * static_cast<std::size_t>(dtype_bytes(type)));
  convert_from_f32(turned.data(), static_cast<int64_t>(turned.size()), type, stored.data());
  NBL_ASSIGN(Segment segment, pack_dense(t.k, t.n, type, stored.data()));
  return make_qtensor(t.k, t.n, std::move(segment));
}

}  // namespace nbl::dialects
