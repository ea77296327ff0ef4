#include "tensor/coded_numbers.h"

#include <bit>

#include "base/checked.h"
#include "tensor/qtensor.h"

namespace nbl {

bool has_kernel_form(const ScaleCodes& c, int64_t groups) noexcept {
  return c.rows == 1 && c.groups > 0 && std::has_single_bit(static_cast<uint64_t>(c.groups)) && groups % c.groups == 0 &&
         c.bits > 0 && c.bits <= 8 && c.shift == 0 && c.addends.empty() && c.table.empty();
}

Result<CodedNumbers> kernel_form(const ScaleCodes& c, int64_t n, int64_t groups) {
  CodedNumbers out;
  const int64_t tiles = ceil_div(n, kTileRows), blocks = groups / c.groups;
  NBL_ASSIGN(out.bytes, Buffer::create(static_cast<std::size_t>(tiles * groups * kTileRows)));
  NBL_ASSIGN(out.supers, Buffer::create(static_cast<std::size_t>(tiles * blocks * kTileRows) * sizeof(float)));
  auto* bytes = reinterpret_cast<uint8_t*>(out.bytes.data());
  const auto supers = out.supers.as<float>();
  for (int64_t r = 0; r < n; ++r) {
    const int64_t tile = r / kTileRows, row = r % kTileRows;
    for (int64_t g = 0; g < groups; ++g)
      bytes[(tile * groups + g) * kTileRows + row] = static_cast<uint8_t>(c.code_at(r * groups + g));
    for (int64_t b = 0; b < blocks; ++b)
      convert_to_f32(c.super_type, c.supers.data() + (r * blocks + b) * dtype_bytes(c.super_type), 1,
                     &supers[static_cast<std::size_t>((tile * blocks + b) * kTileRows + row)]);
  }
  out.codes = {supers.data(), static_cast<int32_t>(std::countr_zero(static_cast<uint64_t>(c.groups))),
               static_cast<float>(c.offset)};
  return out;
}

}  // namespace nbl
