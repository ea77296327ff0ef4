// How fast weights come out of each format: one [4096, 4096] weight of every dialect is written to a temporary directory and read back
// as the tiles that kernels run on, from warm pages, by one thread and by as many as there are processors (each on its own weight). Prints
// bytes of the stored weight a second, and how fast SHA-256 is with and without the processor's instructions.
//
// One thread is measured in its processor time, so that other programs disturb little; several in time that passes.
//
//     bench_repack [REPETITIONS [NAME]]       default 5, of which the best counts; only formats whose name has NAME in it
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "base/sha256_blocks.h"
#include "dialects/dialects.h"

namespace {

using namespace nbl;
using Clock = std::chrono::steady_clock;

constexpr int64_t kRows = 4096, kColumns = 4096;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double processor_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

QTensor affine(std::mt19937& rng, int bits, int64_t group, ZeroKind zeros) {
  AffineParts parts;
  std::vector<uint8_t> codes(static_cast<std::size_t>(kRows * kColumns));
  for (auto& code : codes) code = static_cast<uint8_t>(rng() & ((1u << bits) - 1u));
  std::vector<float> scales(static_cast<std::size_t>(kRows * (group == 0 ? 1 : kColumns / group)), 0.0078125f);
  std::vector<float> middles(zeros == ZeroKind::symmetric ? 0 : scales.size(), 7.0f);
  parts.bits = bits;
  parts.group_size = group;
  parts.codes = codes;
  parts.scales = scales;
  parts.zero_kind = zeros;
  parts.zeros = middles;
  return make_qtensor(kRows, kColumns, pack_affine(kRows, kColumns, parts).value());
}

// Scales (and minimums) that are small whole numbers times one number: what K-quants hold.
QTensor k_quant(std::mt19937& rng, int bits, int64_t group, bool minimums) {
  AffineParts parts;
  std::vector<uint8_t> codes(static_cast<std::size_t>(kRows * kColumns));
  for (auto& code : codes) code = static_cast<uint8_t>(rng() & ((1u << bits) - 1u));
  std::vector<float> scales(static_cast<std::size_t>(kRows * kColumns / group)), zeros(minimums ? scales.size() : 0);
  for (float& s : scales) s = 0x1p-10f * static_cast<float>(1 + rng() % 63);
  for (float& z : zeros) z = -0x1p-9f * static_cast<float>(1 + rng() % 63);
  parts.bits = bits;
  parts.group_size = group;
  parts.codes = codes;
  parts.scales = scales;
  parts.scale_type = parts.zero_type = DType::f32;
  parts.zero_kind = minimums ? ZeroKind::minimum : ZeroKind::symmetric;
  parts.zeros = zeros;
  return make_qtensor(kRows, kColumns, pack_affine(kRows, kColumns, parts).value());
}

QTensor shuffled(std::mt19937& rng, QTensor weight) {
  std::vector<int32_t> order(static_cast<std::size_t>(kColumns));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), rng);
  weight.column_order = Storage::copy(std::as_bytes(std::span(order))).value();
  return weight;
}

QTensor dense(std::mt19937& rng, DType type) {
  std::vector<uint16_t> values(static_cast<std::size_t>(kRows * kColumns));
  for (auto& value : values) value = static_cast<uint16_t>(0x3000u | (rng() & 0x0fffu));
  return make_qtensor(kRows, kColumns, pack_dense(kRows, kColumns, type, values.data()).value());
}

QTensor nf4(std::mt19937& rng) {
  CodebookParts parts;
  std::vector<uint8_t> codes(static_cast<std::size_t>(kRows * kColumns));
  for (auto& code : codes) code = static_cast<uint8_t>(rng() & 15u);
  std::vector<float> scales(static_cast<std::size_t>(kRows * kColumns / 64), 0.01f);
  parts.group_size = 64;
  parts.table = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
                 -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
                 0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};
  parts.codes = codes;
  parts.scales = scales;
  return make_qtensor(kRows, kColumns, pack_codebook(kRows, kColumns, parts).value());
}

Json config() {
  return Json::parse(R"({"model_type":"llama","hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":32,
                         "num_hidden_layers":1,"vocab_size":16,"intermediate_size":4096,"rms_norm_eps":1e-5,
                         "max_position_embeddings":128,"tie_word_embeddings":true})",
                     "bench")
      .value();
}

struct Options {
  int repetitions = 5;
  std::string only;
};

void report(const std::string& name, const QTensor& weight, std::string_view format, const Options& options) {
  if (name.find(options.only) == std::string::npos) return;
  const std::string tensor = "model.layers.0.mlp.up_proj.weight";
  std::string pattern = (std::filesystem::temp_directory_path() / "nibble-repack-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) return;
  const std::filesystem::path folder = pattern, path = folder / "model";
  auto writer = dialects::create(format, path);
  std::vector<float> embedding(16 * 4096, 0.5f);
  const Status wrote = [&]() -> Status {
    NBL_TRY(writer.status());
    NBL_TRY((*writer)->set_config(config()));
    NBL_ASSIGN(Segment segment, pack_dense(16, 4096, DType::f32, embedding.data()));
    NBL_TRY((*writer)->add_matrix("model.embed_tokens.weight", make_qtensor(16, 4096, std::move(segment))));
    NBL_TRY((*writer)->add_matrix(tensor, weight));
    return (*writer)->finish().status();
  }();
  if (!wrote.ok()) {
    fmt::print("{:24} {}\n", name, wrote.message());
  } else {
    const auto model = dialects::open(path);
    int64_t bytes = 0;
    for (const TensorInfo& info : (*model)->tensors()) bytes = info.name == tensor ? info.bytes : bytes;
    const auto read = [&] {
      if (!(*model)->matrix(tensor).ok()) std::abort();
    };
    double one = 1e30, several = 1e30;
    const int all = available_processors();
    Team team(all);
    for (int i = 0; i < options.repetitions; ++i) {
      const double begin = processor_seconds();
      read();
      one = std::min(one, processor_seconds() - begin);
      const auto start = Clock::now();
      team.parallel_for(all, 1, [&](int64_t first, int64_t last) {
        for (int64_t t = first; t < last; ++t) read();
      });
      several = std::min(several, seconds_since(start));
    }
    const double size = static_cast<double>(bytes) / 1e9;
    fmt::print("{:24} {:7.1f} MB {:8.2f} GB/s with 1 thread, {:.2f} with {}\n", name, 1e3 * size, size / one,
               size * all / several, all);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

void hashing() {
  std::vector<uint8_t> bytes(64 << 20, 0x5a);
  uint32_t state[8] = {};
  const auto rate = [&](Sha256Blocks blocks) {
    const auto start = Clock::now();
    blocks(state, bytes.data(), bytes.size() / 64);
    return static_cast<double>(bytes.size()) / seconds_since(start) / 1e9;
  };
  fmt::print("SHA-256                  {:.2f} GB/s in plain code", rate(&sha256_blocks_scalar));
  if (const Sha256Blocks native = sha256_blocks_native()) fmt::print(", {:.2f} GB/s by instructions", rate(native));
  fmt::print(" ({:08x})\n", state[0]);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (argc > 1) options.repetitions = std::max(1, std::atoi(argv[1]));
  if (argc > 2) options.only = argv[2];
  std::mt19937 rng(1);
  fmt::print("{}\n", cpu_model_name());
  if (options.only.empty()) hashing();
  const QTensor sym = affine(rng, 4, 128, ZeroKind::symmetric), asym = affine(rng, 4, 128, ZeroKind::code),
                eight = affine(rng, 8, 0, ZeroKind::symmetric), small = affine(rng, 4, 32, ZeroKind::symmetric);
  report("native, 4 bit", sym, "native", options);
  report("gptq, 4 bit", sym, "gptq", options);
  report("gptq, 4 bit, act-order", shuffled(rng, sym), "gptq", options);
  report("gptq, 3 bit", affine(rng, 3, 128, ZeroKind::symmetric), "gptq", options);
  report("awq, 4 bit", asym, "awq", options);
  report("compressed-tensors, 4", sym, "compressed-tensors", options);
  report("compressed-tensors, 8", eight, "compressed-tensors-int", options);
  report("bitsandbytes, nf4", nf4(rng), "bitsandbytes", options);
  report("bitsandbytes, int8", eight, "bitsandbytes", options);
  report("gguf, Q4_0", small, "gguf", options);
  report("gguf, Q8_0", affine(rng, 8, 32, ZeroKind::symmetric), "gguf", options);
  report("gguf, Q4_K", k_quant(rng, 4, 32, true), "gguf", options);
  report("gguf, Q6_K", k_quant(rng, 6, 16, false), "gguf", options);
  report("huggingface, bf16", dense(rng, DType::bf16), "huggingface", options);
  return 0;
}
