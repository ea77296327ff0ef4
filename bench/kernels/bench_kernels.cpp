// bench_kernels [--team=N] [--shapes=FILE,...] [Google Benchmark's options]
//
// Every multiplication kernel x encoding x shape of the text files x activation rows (1: decode, 8: batched decode,
// 512: prefill), named kernel/encoding/shape/m. Counters: bytes of weights a second and their share of the memory
// bandwidth measured at the start, operations a second and their share of the measured peak of what the kernel
// multiplies with.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "bench_weights.h"
#include "kernels/matmul_bf16/matmul_bf16.h"
#include "kernels/qmatmul_exact/qmatmul_exact.h"
#include "kernels/qmatmul_int8/qmatmul_int8.h"
#include "tensor/limits.h"
#include "tensor/linear.h"

namespace nbl::bench {
namespace {

struct Context {
  std::unique_ptr<Team> team;
  MachineLimits limits;
  // The last weight used: benchmarks that share one follow each other.
  std::string weight_name;
  QTensor weight;
};

Context& context() {
  static Context c;
  return c;
}

double peak_of(const std::string& kernel, int64_t m) {
  const MachineLimits& l = context().limits;
  if (kernel == "qmatmul_int8__amx" && m > 4) return l.amx_int8.team;
  if (kernel.starts_with("qmatmul_int8")) return l.int8_dot.team;
  if (kernel == "matmul_bf16__amx" && m >= 8) return l.amx_bf16.team;
  if (kernel == "matmul_bf16__avx512bf16" && m >= 8) return l.bf16_dot.team;
  return l.f32_fma.team;
}

void multiply(benchmark::State& state, const Kind& kind, const Shape& shape, int64_t m, ComputeOptions options) {
  Context& c = context();
  const std::string name = fmt::format("{} {} {}", kind.name, shape.n, shape.k);
  if (c.weight_name != name) {
    c.weight = QTensor();
    auto weight = random_weight(kind, shape.n, shape.k, *c.team);
    if (!weight.ok()) return state.SkipWithError(weight.status().message().c_str());
    c.weight = std::move(weight).value();
    c.weight_name = name;
  }
  auto linear = Linear::create(c.weight, {}, options);
  if (!linear.ok()) return state.SkipWithError(linear.status().message().c_str());
  std::vector<float> x(static_cast<std::size_t>(m * shape.k)), y(static_cast<std::size_t>(m * shape.n));
  Random random(1);
  for (float& v : x) v = random.uniform() - 0.5f;
  auto prepared = Buffer::create(linear->prepared_bytes(m));
  if (!prepared.ok()) return state.SkipWithError(prepared.status().message().c_str());
  for (auto _ : state)
    c.team->run([&](Worker& worker) {
      linear->prepare(worker, x.data(), shape.k, m, prepared->data());
      linear->multiply(worker, prepared->data(), m, y.data(), shape.n);
    });
  benchmark::DoNotOptimize(y.data());
  const auto rounds = static_cast<double>(state.iterations());
  const double bytes = static_cast<double>(linear->weight_bytes()) * rounds;
  const double operations = 2.0 * static_cast<double>(shape.n * shape.k * m) * rounds;
  const auto rate = [](double v) { return benchmark::Counter(v, benchmark::Counter::kIsRate); };
  state.counters["bytes/s"] = rate(bytes);
  state.counters["of_dram"] = rate(bytes / c.limits.dram.team);
  state.counters["op/s"] = rate(operations);
  state.counters["of_peak"] = rate(operations / peak_of(linear->kernel_name(), m));
}

void add_all(const std::vector<Shape>& shapes) {
  const auto add = [](const char* kernel, const Kind& kind, const Shape& shape, ComputeOptions options) {
    for (const int64_t m : {int64_t{1}, int64_t{8}, int64_t{512}}) {
      if (m > 1 && shape.n * shape.k > int64_t{1} << 28) continue;
      benchmark::RegisterBenchmark(fmt::format("{}/{}/{}/{}", kernel, kind.name, shape.name, m).c_str(),
                                   [=](benchmark::State& state) { multiply(state, kind, shape, m, options); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  };
  int count = 0;
  for (const Shape& shape : shapes)
    for (const Kind& kind : kinds()) {
      const kernels::QmatmulInt8Variant* int8 = kernels::qmatmul_int8_variants(&count);
      for (int i = 0; i < count && kind.encoding != Encoding::dense; ++i)
        if (isa_usable(int8[i].isa)) add(int8[i].name, kind, shape, {Compute::fast, int8[i].isa});
      const kernels::MatmulBf16Variant* bf16 = kernels::matmul_bf16_variants(&count);
      for (int i = 0; i < count && kind.encoding == Encoding::dense && kind.value_type != DType::f32; ++i)
        if (isa_usable(bf16[i].isa)) add(bf16[i].name, kind, shape, {Compute::fast, bf16[i].isa});
      const kernels::QmatmulExactVariant* exact = kernels::qmatmul_exact_variants(&count);
      for (int i = 0; i < count; ++i)
        if (isa_usable(exact[i].isa)) add(exact[i].name, kind, shape, {Compute::exact, exact[i].isa});
    }
}

int run(int argc, char** argv) {
  int threads = 0;
  std::vector<std::string> files = {NIBBLE_SHAPES "/tinyllama.txt", NIBBLE_SHAPES "/smollm2_135m.txt",
                                    NIBBLE_SHAPES "/memory.txt"};
  std::vector<char*> left;
  for (int i = 0; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.starts_with("--team=")) {
      threads = std::atoi(arg.c_str() + 7);
    } else if (arg.starts_with("--shapes=")) {
      files.clear();
      std::string list = arg.substr(9);
      for (std::size_t at = 0; at != std::string::npos;) {
        const std::size_t comma = list.find(',', at);
        files.push_back(list.substr(at, comma - at));
        at = comma == std::string::npos ? comma : comma + 1;
      }
    } else {
      left.push_back(argv[i]);
    }
  }
  std::vector<Shape> shapes;
  for (const std::string& file : files) {
    auto more = read_shapes(file);
    if (!more.ok()) {
      fmt::print(stderr, "{}\n", more.status().message());
      return 3;
    }
    shapes.insert(shapes.end(), more->begin(), more->end());
  }
  Context& c = context();
  c.team = std::make_unique<Team>(threads);
  auto limits = measure_limits(*c.team);
  if (!limits.ok()) {
    fmt::print(stderr, "{}\n", limits.status().message());
    return 4;
  }
  c.limits = *limits;
  fmt::print(stderr,
             "{}, {} threads: memory {:.1f} GB/s, f32 {:.0f} GFLOP/s, int8 {:.0f} Gop/s, AMX int8 {:.0f} Gop/s, AMX "
             "bf16 {:.0f} "
             "GFLOP/s\n",
             cpu_model_name(), c.limits.threads, c.limits.dram.team / 1e9, c.limits.f32_fma.team / 1e9,
             c.limits.int8_dot.team / 1e9, c.limits.amx_int8.team / 1e9, c.limits.amx_bf16.team / 1e9);
  add_all(shapes);
  int count = static_cast<int>(left.size());
  benchmark::Initialize(&count, left.data());
  if (benchmark::ReportUnrecognizedArguments(count, left.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace nbl::bench

int main(int argc, char** argv) { return nbl::bench::run(argc, argv); }
