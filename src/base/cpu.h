// What this processor and operating system can run, and the names of the instruction sets that kernels exist for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nbl {

/// Ordered: a variant for a later x86 entry is preferred over an earlier one when both can run.
/// Each x86 level implies the ones before it, but avxvnni (256-bit VNNI without AVX-512), which implies avx2 alone.
enum class Isa : int32_t {
  scalar = 0,
  avx2 = 1,        ///< AVX2 + FMA + F16C
  avxvnni = 2,     ///< avx2 + AVX-VNNI
  avx512 = 3,      ///< AVX-512 F, BW, VL, DQ + avx2
  avx512vnni = 4,  ///< avx512 + AVX512-VNNI
  avx512bf16 = 5,  ///< avx512vnni + AVX512-BF16
  amx = 6,         ///< avx512bf16 + AMX-TILE, AMX-INT8, AMX-BF16, with the OS's permission granted
  neon_dotprod = 16,
  neon_i8mm = 17,
};

const char* isa_name(Isa isa) noexcept;
Result<Isa> isa_from_name(std::string_view name);

/// Whether code for `isa` can run here (CPU bits and, for AMX, the OS's permission, asked for once).
bool isa_usable(Isa isa) noexcept;
/// All usable ones, ascending.
std::vector<Isa> usable_isas();
/// The last usable one.
Isa best_isa() noexcept;

std::string cpu_model_name();
/// Processors that this process may run on.
int available_processors() noexcept;
/// Bytes; 0 when unknown.
int64_t physical_memory_bytes() noexcept;
/// The process's largest resident size so far, bytes.
int64_t peak_rss_bytes() noexcept;
int64_t current_rss_bytes() noexcept;
int64_t last_level_cache_bytes() noexcept;

}  // namespace nbl
