// GGUF's IQ1, IQ2 and IQ3 types: vectors of 4 or 8 elements picked from a grid, with signs and a scale. All of them
// come down to a codebook of at most 16 values.
#pragma once

#include <cstdint>

namespace nbl::dialects::iq {

// Tables of the codes that the decoders below give.
extern const float kIq2Table[16];
extern const float kIq3xxsTable[16];
extern const float kIq3sTable[16];
extern const float kIq1Table[16];

// As GgufBlock::decode.
void iq2_xxs(const uint8_t* block, uint8_t* codes, float* scales, float* zeros);
void iq2_xs(const uint8_t* block, uint8_t* codes, float* scales, float* zeros);
void iq2_s(const uint8_t* block, uint8_t* codes, float* scales, float* zeros);
void iq3_xxs(const uint8_t* block, uint8_t* codes, float* scales, float* zeros);
void iq3_s(const uint8_t* block, uint8_t* codes, float* scales, float* zeros);
void iq1_s(const uint8_t* block, uint8_t* codes, float* scales, float* zeros);
void iq1_m(const uint8_t* block, uint8_t* codes, float* scales, float* zeros);

}  // namespace nbl::dialects::iq
