// Codes that foreign formats keep in 32-bit words, as the lines that tiles are packed from. All rows of a row tile go through the same
// shifts and masks side by side, which compilers make vector code of.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "dialects/bitpack.h"
#include "tensor/tiles.h"

namespace nbl::dialects {

/// The words of 16 rows: word [w][r] is word w of row r. 64 codes of b bits are 2 b words.
using WordLine = std::array<uint32_t, kTileRows>;
inline constexpr int64_t kMaxTileWords = 16;

/// The first `bytes` bytes of each of `rows` rows as words, row r at src + r * row_bytes. Missing rows and the rest of the last word
/// become 0.
void load_words_of_rows(const std::byte* src, int64_t row_bytes, int64_t rows, int64_t bytes, WordLine* words) noexcept;
/// `count` words of rows that lie side by side: word w of row r at src + w * word_bytes + 4 r. Missing rows become 0.
void load_words_side_by_side(const std::byte* src, int64_t word_bytes, int64_t rows, int64_t count, WordLine* words) noexcept;

/// 64 codes of `bits` bits of every row from 2 * bits words, those that a row does not have being 0. Only the first `columns` codes
/// count; the others become 0.
void lines_from_words(int bits, WordOrder order, const WordLine* words, int64_t columns, CodeLines* lines) noexcept;

/// The codes of the `columns` <= 64 columns that `which` names, in its order, out of all words of the rows, as many as whole tiles
/// have; the rest of the lines becomes 0.
void lines_of_columns(int bits, WordOrder order, const WordLine* words, const int32_t* which, int64_t columns,
                      CodeLines* lines) noexcept;

/// The `count` <= 16 elements of `bytes` bytes (2 or 4) each that lie `stride` bytes apart, side by side.
void gather_elements(int64_t bytes, const std::byte* src, int64_t stride, int64_t count, std::byte* out) noexcept;

}  // namespace nbl::dialects
