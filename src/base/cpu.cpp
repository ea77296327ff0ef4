#include "base/cpu.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <thread>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "base/sha256_blocks.h"

namespace nbl {
namespace {

constexpr std::array<std::pair<Isa, const char*>, 9> kNames = {{{Isa::scalar, "scalar"},
                                                                {Isa::avx2, "avx2"},
                                                                {Isa::avxvnni, "avxvnni"},
                                                                {Isa::avx512, "avx512"},
                                                                {Isa::avx512vnni, "avx512vnni"},
                                                                {Isa::avx512bf16, "avx512bf16"},
                                                                {Isa::amx, "amx"},
                                                                {Isa::neon_dotprod, "neon_dotprod"},
                                                                {Isa::neon_i8mm, "neon_i8mm"}}};

constexpr uint32_t bit(Isa isa) noexcept { return 1U << static_cast<uint32_t>(isa); }

#if defined(__x86_64__)

struct CpuidLeaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidLeaf cpuid(uint32_t leaf, uint32_t subleaf) noexcept {
  CpuidLeaf r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

// Which register states the operating system saves and restores.
uint64_t xcr0() noexcept {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

// Linux hands out the tile data state on request only, once for the whole process.
bool amx_permitted() noexcept {
  constexpr int kArchReqXcompPerm = 0x1023;
  constexpr int kXfeatureXtiledata = 18;
  return ::syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

constexpr bool has(uint32_t word, std::initializer_list<int> bits) noexcept {
  for (const int b : bits) {
    if ((word >> b & 1U) == 0) return false;
  }
  return true;
}

uint32_t detect() noexcept {
  uint32_t found = bit(Isa::scalar);
  const CpuidLeaf l1 = cpuid(1, 0);
  const CpuidLeaf l7 = cpuid(7, 0);
  const CpuidLeaf l71 = l7.eax >= 1 ? cpuid(7, 1) : CpuidLeaf{};
  constexpr int kFma = 12, kOsxsave = 27, kAvx = 28, kF16c = 29;  // leaf 1 ecx
  if (!has(l1.ecx, {kOsxsave})) return found;
  const uint64_t os = xcr0();
  const auto saved = [os](uint64_t mask) { return (os & mask) == mask; };
  constexpr uint64_t kAvxState = 0x6, kAvx512State = 0xe6, kTileState = 0x60000;

  constexpr int kAvx2 = 5;  // leaf 7 ebx
  if (!has(l1.ecx, {kFma, kAvx, kF16c}) || !has(l7.ebx, {kAvx2}) || !saved(kAvxState)) return found;
  found |= bit(Isa::avx2);
  constexpr int kAvxVnni = 4, kAvx512Bf16 = 5;  // leaf 7.1 eax
  if (has(l71.eax, {kAvxVnni})) found |= bit(Isa::avxvnni);

  constexpr int kF = 16, kDq = 17, kBw = 30, kVl = 31;  // leaf 7 ebx
  if (!has(l7.ebx, {kF, kDq, kBw, kVl}) || !saved(kAvx512State)) return found;
  found |= bit(Isa::avx512);
  constexpr int kAvx512Vnni = 11;  // leaf 7 ecx
  if (!has(l7.ecx, {kAvx512Vnni})) return found;
  found |= bit(Isa::avx512vnni);
  if (!has(l71.eax, {kAvx512Bf16})) return found;
  found |= bit(Isa::avx512bf16);
  constexpr int kAmxBf16 = 22, kAmxTile = 24, kAmxInt8 = 25;  // leaf 7 edx
  if (has(l7.edx, {kAmxBf16, kAmxTile, kAmxInt8}) && saved(kTileState) && amx_permitted()) found |= bit(Isa::amx);
  return found;
}

bool detect_sha256() noexcept {
  constexpr int kSsse3 = 9, kSse41 = 19, kSha = 29;  // leaf 1 ecx, leaf 7 ebx
  return has(cpuid(1, 0).ecx, {kSsse3, kSse41}) && has(cpuid(7, 0).ebx, {kSha});
}

#elif defined(__aarch64__)

bool detect_sha256() noexcept {
  constexpr unsigned long kSha2 = 1UL << 6;  // AT_HWCAP
  return (::getauxval(AT_HWCAP) & kSha2) != 0;
}

uint32_t detect() noexcept {
  uint32_t found = bit(Isa::scalar);
  constexpr unsigned long kAsimdHp = 1UL << 10, kAsimdDp = 1UL << 20;  // AT_HWCAP
  constexpr unsigned long kI8mm = 1UL << 13;                           // AT_HWCAP2
  const unsigned long hwcap = ::getauxval(AT_HWCAP);
  if ((hwcap & kAsimdHp) == 0 || (hwcap & kAsimdDp) == 0) return found;
  found |= bit(Isa::neon_dotprod);
  if ((::getauxval(AT_HWCAP2) & kI8mm) != 0) found |= bit(Isa::neon_i8mm);
  return found;
}

#else

bool detect_sha256() noexcept { return false; }

uint32_t detect() noexcept { return bit(Isa::scalar); }

#endif

uint32_t usable_mask() noexcept {
  static const uint32_t mask = detect();
  return mask;
}

// The number behind `key` in a file of "key: value kB" lines; 0 when there is none.
int64_t proc_kilobytes(const char* path, const char* key) noexcept {
  std::FILE* f = std::fopen(path, "re");
  if (f == nullptr) return 0;
  char line[256];
  long long kb = 0;
  const std::size_t length = std::strlen(key);
  while (std::fgets(line, sizeof line, f) != nullptr) {
    if (std::strncmp(line, key, length) == 0 && std::sscanf(line + length, ": %lld", &kb) == 1) break;
  }
  std::fclose(f);
  return kb * 1024;
}

}  // namespace

const char* isa_name(Isa isa) noexcept {
  for (const auto& [value, name] : kNames) {
    if (value == isa) return name;
  }
  return "unknown";
}

Result<Isa> isa_from_name(std::string_view name) {
  std::string known;
  for (const auto& [value, text] : kNames) {
    if (name == text) return value;
    known += known.empty() ? "" : ", ";
    known += text;
  }
  return Status(Code::invalid_argument, fmt::format("'{}' is no instruction set; known ones are {}", name, known));
}

bool isa_usable(Isa isa) noexcept {
  const auto index = static_cast<uint32_t>(isa);
  return index < 32 && (usable_mask() >> index & 1U) != 0;
}

std::vector<Isa> usable_isas() {
  std::vector<Isa> list;
  for (const auto& [isa, name] : kNames) {
    if (isa_usable(isa)) list.push_back(isa);
  }
  return list;
}

Isa best_isa() noexcept {
  Isa best = Isa::scalar;
  for (const auto& [isa, name] : kNames) {
    if (isa_usable(isa)) best = isa;
  }
  return best;
}

bool cpu_has_sha256() noexcept {
  static const bool has_them = detect_sha256();
  return has_them;
}

std::string cpu_model_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
#if defined(__aarch64__)
  return "aarch64 processor";
#else
  return "unknown processor";
#endif
}

int available_processors() noexcept {
  // The set grows until the kernel's own fits: machines with more than 1024 processors exist.
  for (std::size_t cpus = 1024; cpus <= (std::size_t{1} << 20); cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool ok = ::sched_getaffinity(0, bytes, set) == 0;
    const int count = ok ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (ok && count > 0) return count;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int64_t physical_memory_bytes() noexcept {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? static_cast<int64_t>(pages) * page : 0;
}

// Not getrusage: its maximum is inherited from the process that executed this one.
int64_t peak_rss_bytes() noexcept { return proc_kilobytes("/proc/self/status", "VmHWM"); }

int64_t current_rss_bytes() noexcept { return proc_kilobytes("/proc/self/status", "VmRSS"); }

int64_t last_level_cache_bytes() noexcept {
  for (const int level : {_SC_LEVEL4_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE, _SC_LEVEL2_CACHE_SIZE}) {
    const long bytes = ::sysconf(level);
    if (bytes > 0) return bytes;
  }
  return 0;
}

}  // namespace nbl
