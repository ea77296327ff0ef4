// SHA-256 by ARM's SHA2 instructions. Compiled with their flags; called only where the processor has them.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "base/sha256_blocks.h"

namespace nbl {

void sha256_blocks_arm(uint32_t* h, const uint8_t* p, size_t count) noexcept {
  uint32x4_t abcd = vld1q_u32(h), efgh = vld1q_u32(h + 4);
  for (; count != 0; --count, p += 64) {
    const uint32x4_t abcd_before = abcd, efgh_before = efgh;
    uint32x4_t w[4];
    for (int i = 0; i < 4; ++i) w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * i)));
    for (int i = 0; i < 16; ++i) {  // four rounds each
      uint32x4_t& now = w[i & 3];
      if (i >= 4) now = vsha256su1q_u32(vsha256su0q_u32(now, w[(i + 1) & 3]), w[(i + 2) & 3], w[(i + 3) & 3]);
      const uint32x4_t sum = vaddq_u32(now, vld1q_u32(kSha256Rounds + 4 * i)), before = abcd;
      abcd = vsha256hq_u32(abcd, efgh, sum);
      efgh = vsha256h2q_u32(efgh, before, sum);
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(h, abcd);
  vst1q_u32(h + 4, efgh);
}

}  // namespace nbl

#endif
