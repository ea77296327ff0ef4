// What reading and writing bitsandbytes share.
#pragma once

#include <memory>

#include "dialects/hf_directory.h"

namespace nbl::dialects {

/// int8: w = q * SCB * this, the float32 nearest to 1 / 127. We round SCB * this first, then multiply by the code.
inline constexpr float kBnbInt8Step = 7.874015718698502e-3f;

/// The tables by code.
inline constexpr float kNf4Table[16] = {-1.0f,
                                        -0.6961928009986877f,
                                        -0.5250730514526367f,
                                        -0.39491748809814453f,
                                        -0.28444138169288635f,
                                        -0.18477343022823334f,
                                        -0.09105003625154495f,
                                        0.0f,
                                        0.07958029955625534f,
                                        0.16093020141124725f,
                                        0.24611230194568634f,
                                        0.33791524171829224f,
                                        0.44070982933044434f,
                                        0.5626170039176941f,
                                        0.7229568362236023f,
                                        1.0f};

std::unique_ptr<Packing> make_bnb_packing();

}  // namespace nbl::dialects
