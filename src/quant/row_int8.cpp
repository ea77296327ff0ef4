#include "quant/row_int8.h"

#include <algorithm>
#include <cmath>

#include "kernels/rounding/rounding.h"

namespace nbl::quant {

namespace {
/// The float32 nearest to 1 / 127. bitsandbytes stores the reach of a row and multiplies by this, so scales made the same way
/// are among those that it can say.
constexpr float kStep = 7.874015718698502e-3f;
}  // namespace

Result<QTensor> quantize_rows_int8(const LinearTask& task, const MethodContext& context) {
  std::vector<uint8_t> codes(task.weight.size());
  std::vector<float> scales(static_cast<std::size_t>(task.n));
  const kernels::RoundingKernels& kernel = kernels::rounding_kernels(context.isa);
  context.team->parallel_for(task.n, 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* w = task.weight.data() + row * task.k;
      float low = 0, high = 0;
      kernel.extent(w, task.k, &low, &high);
      const float reach = std::max(high, -low);
      // A row of denormals would have no finite reciprocal: its codes are zero, like those of a zero row.
      const float factor = reach > 0 ? 127.0f / reach : 0.0f;
      const bool usable = std::isfinite(factor) && factor > 0;
      scales[static_cast<std::size_t>(row)] = usable ? reach * kStep : 0.0f;
      kernel.centered_codes(w, task.k, usable ? factor : 0.0f, codes.data() + row * task.k);
    }
  });
  AffineParts parts;
  parts.bits = 8;
  parts.codes = codes;
  parts.scales = scales;
  parts.scale_type = DType::f32;
  parts.zero_kind = ZeroKind::symmetric;
  NBL_ASSIGN(Segment segment, pack_affine(task.n, task.k, parts));
  return make_qtensor(task.n, task.k, std::move(segment));
}

}  // namespace nbl::quant
