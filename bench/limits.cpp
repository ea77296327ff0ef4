// limits [threads]: what this machine can do at most, as one line a limit.
#include <fmt/format.h>

#include <cstdlib>

#include "base/cpu.h"
#include "tensor/limits.h"

int main(int argc, char** argv) {
  nbl::Team team(argc > 1 ? std::atoi(argv[1]) : 0);
  const auto limits = nbl::measure_limits(team);
  if (!limits.ok()) {
    fmt::print(stderr, "{}\n", limits.status().message());
    return 4;
  }
  const nbl::MachineLimits& l = *limits;
  fmt::print("{}, {}, {} threads\n", nbl::cpu_model_name(), nbl::isa_name(nbl::best_isa()), l.threads);
  fmt::print("| limit | 1 thread | {} threads |\n|---|---|---|\n", l.threads);
  const auto line = [](const char* name, const nbl::Measured& m, double unit, const char* text) {
    if (m.one > 0) fmt::print("| {} | {:.1f} {} | {:.1f} {} |\n", name, m.one / unit, text, m.team / unit, text);
  };
  line(fmt::format("memory read ({} MB)", l.dram_bytes >> 20).c_str(), l.dram, 1e9, "GB/s");
  line("L2 read (512 KB a thread)", l.l2, 1e9, "GB/s");
  line("float32 FMA", l.f32_fma, 1e9, "GFLOP/s");
  line("int8 dot products", l.int8_dot, 1e9, "Gop/s");
  line("AVX512-BF16 dot products", l.bf16_dot, 1e9, "GFLOP/s");
  line("AMX int8", l.amx_int8, 1e9, "Gop/s");
  line("AMX bf16", l.amx_bf16, 1e9, "GFLOP/s");
  if (l.disturbed) fmt::print("\nDisturbed: other programs ran meanwhile, the machine can do more than this.\n");
  return 0;
}
