// gram [threads]: how fast the Hessian X^T X of a calibration is summed, beside what the machine can do at most in the same precision.
// Counted are the products of the blocks on and above the diagonal, packing of the inputs included in the time.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "base/cpu.h"
#include "base/random.h"
#include "kernels/gram/gram.h"
#include "pipeline/gram.h"
#include "tensor/limits.h"

namespace {

using Clock = std::chrono::steady_clock;

/// Operations a second, the median of several rounds. Ends the program when memory is short.
double measure(int64_t k, nbl::Compute compute, nbl::Team& team) {
  constexpr int64_t kTokens = 4096;
  std::vector<float> x(static_cast<std::size_t>(k * kTokens));
  nbl::Random random(7);
  for (float& v : x) v = static_cast<float>(random.normal());
  const int64_t panels = (k + nbl::kernels::kGramPanel - 1) / nbl::kernels::kGramPanel;
  const double block = 2.0 * nbl::kernels::kGramPanel * nbl::kernels::kGramPanel * static_cast<double>(kTokens);
  const double operations = block * static_cast<double>(panels * (panels + 1) / 2);
  auto sums = nbl::pipeline::StatsAccumulator::create(k, nbl::quant::kNeedHessian, 0, compute);
  if (!sums.ok()) {
    fmt::print(stderr, "{}\n", sums.status().message());
    std::exit(4);
  }
  const auto round = [&] {
    const auto start = Clock::now();
    sums->add({x.data(), k, kTokens}, team);
    return operations / std::chrono::duration<double>(Clock::now() - start).count();
  };
  round();  // first touches the sums
  std::vector<double> rates;
  for (int i = 0; i < 7; ++i) rates.push_back(round());
  std::nth_element(rates.begin(), rates.begin() + 3, rates.end());
  return rates[3];
}

}  // namespace

int main(int argc, char** argv) {
  nbl::Team team(argc > 1 ? std::atoi(argv[1]) : 0);
  const auto limits = nbl::measure_limits(team, {int64_t{64} << 20, 0.15});
  if (!limits.ok()) {
    fmt::print(stderr, "{}\n", limits.status().message());
    return 4;
  }
  fmt::print("{}, {}, {} threads\n", nbl::cpu_model_name(), nbl::isa_name(nbl::best_isa()), limits->threads);
  fmt::print("| columns | precision | GFLOP/s | share of the measured peak |\n|--:|---|--:|--:|\n");
  for (const int64_t k : {512, 1408, 2048, 4096}) {
    const auto line = [&](const char* name, nbl::Compute compute, double peak) {
      const double rate = measure(k, compute, team);
      fmt::print("| {} | {} | {:.1f} | {:.0f} % of {:.1f} |\n", k, name, rate / 1e9, 100 * rate / peak, peak / 1e9);
    };
    line("float32", nbl::Compute::exact, limits->f32_fma.team);
    if (limits->bf16_dot.team > 0) line("bfloat16, summed in float32", nbl::Compute::fast, limits->bf16_dot.team);
  }
  if (limits->disturbed) fmt::print("\nDisturbed: other programs ran meanwhile, the machine can do more than this.\n");
  return 0;
}
