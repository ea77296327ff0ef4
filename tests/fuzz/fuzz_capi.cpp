// The C interface itself: the input is a program, a sequence of calls with arguments that are often wrong, on a handful of
// handles. Nothing may crash, leak, or fail without a sentence; a failed call leaves its output NULL or 0.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/capi_program.h"
#include "fuzz/fuzz.h"

namespace {

using namespace nbl::fuzz;

const char* const kModels[] = {"llama", "gpt-bigcode-multi-query", "qwen2", "mistral-window", "no-such-model"};
const char* const kRecipes[] = {"rtn:bits=4,group=16", "int8", "nf4:block=64", "gptq:bits=3,group=32", "awq",
                                "rtn:bits=99",         "",     "fp16",         "nonsense:x=y"};
const char* const kNames[] = {"calibration.windows", "protocol", "windows", "limit", "rtn.bits", "", "\xff", "seed"};
const char* const kValues[] = {"1", "-1", "windows-512", "true", "", "1e99", "rolling", "\xc3"};

struct World {
  Slots<nbl_runtime, nbl_runtime_destroy> runtimes;
  Slots<nbl_checkpoint, nbl_checkpoint_destroy> checkpoints;
  Slots<nbl_model, nbl_model_destroy> models;
  Slots<nbl_tokenizer, nbl_tokenizer_destroy> tokenizers;
  Slots<nbl_session, nbl_session_destroy> sessions;
  Slots<nbl_quantizer, nbl_quantizer_destroy> quantizers;
  Slots<nbl_evaluation, nbl_evaluation_destroy> evaluations;
  Slots<nbl_qtensor, nbl_qtensor_destroy> qtensors;
};

int32_t read_bytes(void* user, int64_t offset, void* buffer, size_t size) {
  const auto& bytes = *static_cast<const std::string*>(user);
  if (offset < 0 || static_cast<size_t>(offset) > bytes.size() || size > bytes.size() - static_cast<size_t>(offset)) std::abort();
  std::memcpy(buffer, bytes.data() + offset, size);
  return bytes.size() % 7 == 0 ? 1 : 0;
}

/// A model whose files lie in memory, some of them damaged, missing, twice there or behind a function.
void open_in_memory(World& world, Program& program, unsigned slot) {
  static const auto kFiles = [] {
    std::vector<std::pair<std::string, std::string>> files;
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
      if (std::ifstream file(std::string(NIBBLE_SOURCE_DIR "/tests/golden/logits/tiny/llama/") + name, std::ios::binary); file)
        files.emplace_back(name, std::string(std::istreambuf_iterator<char>(file), {}));
    return files;
  }();
  struct Held {
    std::string name, bytes;
  };
  std::vector<Held> held;
  for (unsigned n = program.byte() % 5; n > 0; --n) {
    const auto& [name, bytes] = kFiles[program.byte() % kFiles.size()];
    held.push_back({program.byte() % 16 == 0 ? program.text() : name, bytes});
    if (program.byte() % 4 == 0) held.back().bytes.resize(program.byte());
    if (program.byte() % 4 == 0 && !held.back().bytes.empty())
      held.back().bytes[program.byte() % held.back().bytes.size()] = static_cast<char>(program.byte());
  }
  // Room behind them: a struct_size may be stated that is larger than the struct, and is the array's stride.
  std::vector<nbl_file> files(held.size() + 4 * 256 / sizeof(nbl_file) + 1, NBL_FILE_INIT);
  for (size_t i = 0; i < held.size(); ++i) {
    files[i].name = held[i].name.c_str();
    files[i].size = program.byte() % 16 == 0 ? program.number() : static_cast<int64_t>(held[i].bytes.size());
    if (files[i].size > static_cast<int64_t>(held[i].bytes.size())) files[i].size = static_cast<int64_t>(held[i].bytes.size());
    if (program.byte() % 3 == 0) {
      files[i].read = read_bytes;
      files[i].user = &held[i].bytes;
    } else {
      files[i].data = held[i].bytes.data();
    }
    if (program.byte() % 32 == 0) files[i].struct_size = program.byte();
  }
  nbl_checkpoint* out = nullptr;
  check(nbl_checkpoint_open_files(world.runtimes.get(slot), files.data(), static_cast<int64_t>(held.size()), &out), out);
  if (out == nullptr) return;
  nbl_buffer* buffer = nullptr;
  take(nbl_checkpoint_inspect(out, 0, &buffer), buffer);
  nbl_model* model = nullptr;
  check(nbl_model_load(out, nullptr, &model), model);
  nbl_model_destroy(model);
  nbl_checkpoint_destroy(out);  // before the bytes that it borrows
}

/// A matrix out of arrays whose names, types and shapes fit each other now and then.
void unpack_something(World& world, Program& program, unsigned slot) {
  static const char* const kFormats[] = {"gptq", "awq", "bitsandbytes", "compressed-tensors", "hqq", "fp8", "none", ""};
  static const char* const kArrays[] = {"qweight", "qzeros", "scales", "g_idx", "weight", "weight.absmax", "weight.quant_map",
                                        "weight_packed", "weight_scale", "weight_shape", "weight.quant_state.bitsandbytes__nf4", "W_q"};
  static const char* const kTypes[] = {"I32", "U8", "I8", "F16", "BF16", "F32", "I64", "F8_E4M3", "F4"};
  static const char* const kConfigs[] = {R"({"bits":4,"group_size":32})", R"({"bits":8,"group_size":-1,"desc_act":true})", "{}", "{", "",
                                         R"({"bits":4,"group_size":128,"version":"gemm","zero_point":true})",
                                         R"({"format":"pack-quantized","config_groups":{"group_0":{"weights":{"num_bits":4,"group_size":32}}}})"};
  static const std::string kBytes(1 << 16, '\x11');  // as many as any of the shapes below
  std::vector<nbl_array> arrays(program.byte() % 6, NBL_ARRAY_INIT);
  std::vector<std::array<int64_t, 3>> shapes(arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    static constexpr int64_t kSizes[] = {1, 2, 4, 8, 16, 32, 64, 0, -1, 3};
    for (int64_t& size : shapes[i]) size = kSizes[program.byte() % std::size(kSizes)];
    arrays[i].name = program.one_of(kArrays);
    arrays[i].type = program.one_of(kTypes);
    arrays[i].shape = shapes[i].data();
    arrays[i].rank = static_cast<int32_t>(program.byte() % 8 == 0 ? program.byte() % 4 : 2);
    if (arrays[i].rank > 2) shapes[i][2] = std::min<int64_t>(shapes[i][2], 2);  // 64 x 64 x 2 of eight bytes
    arrays[i].data = program.byte() % 32 == 0 ? nullptr : kBytes.data();
  }
  nbl_qtensor* out = nullptr;
  check(nbl_qtensor_from_packed(world.runtimes.get(slot), program.one_of(kFormats), arrays.data(), static_cast<int64_t>(arrays.size()),
                                program.one_of(kConfigs), &out),
        out);
  world.qtensors.put(slot, out);
}

void open_something(World& world, Program& program, unsigned op, unsigned slot) {
  switch (op) {
    case 0: {
      nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
      options.threads = static_cast<int32_t>(program.byte() % 4) - 1;
      if (program.byte() % 8 == 0) options.struct_size = program.byte() % (sizeof options + 1);  // of what there is
      if (program.byte() % 8 == 0) options.isa = "scalar";
      nbl_runtime* out = nullptr;
      check(nbl_runtime_create(&options, &out), out);
      world.runtimes.put(slot, out);
      break;
    }
    case 1: {
      const std::string path = std::string(NIBBLE_SOURCE_DIR "/tests/golden/logits/tiny/") + program.one_of(kModels);
      nbl_checkpoint* out = nullptr;
      check(nbl_checkpoint_open(world.runtimes.get(slot), path.c_str(), &out), out);
      world.checkpoints.put(slot, out);
      break;
    }
    case 2: {
      nbl_model_options options = NBL_MODEL_OPTIONS_INIT;
      options.compute = static_cast<int32_t>(program.byte() % 4);
      nbl_model* out = nullptr;
      check(nbl_model_load(world.checkpoints.get(slot), &options, &out), out);
      world.models.put(slot, out);
      break;
    }
    case 3: {
      nbl_tokenizer* out = nullptr;
      check(nbl_tokenizer_from_model(world.models.get(slot), &out), out);
      world.tokenizers.put(slot, out);
      break;
    }
    case 4: {
      nbl_session_options options = NBL_SESSION_OPTIONS_INIT;
      options.max_tokens = std::min<int64_t>(program.number(), 64);
      nbl_session* out = nullptr;
      check(nbl_session_create(world.models.get(slot), &options, &out), out);
      world.sessions.put(slot, out);
      break;
    }
    case 5: {
      nbl_quantizer* out = nullptr;
      check(nbl_quantizer_create(world.runtimes.get(slot), program.one_of(kRecipes), &out), out);
      world.quantizers.put(slot, out);
      break;
    }
    case 6: {
      nbl_evaluation* out = nullptr;
      check(nbl_evaluation_create(world.runtimes.get(slot), &out), out);
      world.evaluations.put(slot, out);
      break;
    }
    default: {
      const std::vector<float> weight(16 * 64, 0.25f);
      const int64_t k = program.byte() % 2 == 0 ? 64 : 33;
      nbl_qtensor* out = nullptr;
      check(nbl_qtensor_quantize(world.runtimes.get(slot), weight.data(), program.byte() % 16, k, k, program.one_of(kRecipes),
                                 nullptr, &out),
            out);
      world.qtensors.put(slot, out);
    }
  }
}

void call_something(World& world, Program& program, unsigned op, unsigned slot) {
  nbl_buffer* buffer = nullptr;
  switch (op) {
    case 0:
      take(nbl_checkpoint_inspect(world.checkpoints.get(slot), program.byte(), &buffer), buffer);
      break;
    case 1:
      take(nbl_model_info(world.models.get(slot), &buffer), buffer);
      break;
    case 2: {
      std::vector<int32_t> ids(program.byte() % 12);
      for (int32_t& id : ids) id = static_cast<int32_t>(program.byte()) - 4;
      const float* logits = nullptr;
      int64_t rows = 0;
      const nbl_status status = nbl_session_append(world.sessions.get(slot), ids.data(), static_cast<int64_t>(ids.size()),
                                                   static_cast<int32_t>(program.byte() % 4), &logits, &rows);
      check(status, status == NBL_OK ? nullptr : logits);
      if (status != NBL_OK && rows != 0) std::abort();
      break;
    }
    case 3:
      check(nbl_session_truncate(world.sessions.get(slot), program.number()), nullptr);
      break;
    case 4: {
      nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
      options.max_new_tokens = std::min<int64_t>(program.number(), 8);
      options.temperature = static_cast<float>(program.number());
      options.top_k = static_cast<int32_t>(program.number());
      options.top_p = static_cast<float>(program.byte()) / 128.0f;
      const int32_t prompt[] = {1, 2, static_cast<int32_t>(program.byte())};
      take(nbl_session_generate(world.sessions.get(slot), prompt, program.byte() % 4, &options, &buffer), buffer);
      break;
    }
    case 5: {
      const std::string text = program.text();
      take(nbl_tokenizer_encode(world.tokenizers.get(slot), text.data(), text.size(), program.byte(), &buffer), buffer);
      break;
    }
    case 6:
      check(nbl_quantizer_set(world.quantizers.get(slot), program.one_of(kNames), program.one_of(kValues)), nullptr);
      break;
    case 7:
      check(nbl_quantizer_add_override(world.quantizers.get(slot), program.text().c_str(), program.one_of(kRecipes)), nullptr);
      break;
    case 8:
      check(nbl_evaluation_set(world.evaluations.get(slot), program.one_of(kNames), program.one_of(kValues)), nullptr);
      break;
    case 9:
      check(nbl_evaluation_add_model(world.evaluations.get(slot), world.models.get(program.byte()), nullptr), nullptr);
      break;
    case 10: {
      const std::string requests = R"({"context_ids":[1,2],"continuation_ids":[)" + std::to_string(program.byte()) + "]}\n";
      take(nbl_evaluation_score(world.evaluations.get(slot), requests.data(), requests.size(), &buffer), buffer);
      break;
    }
    case 11: {
      const std::string text = program.text();
      check(nbl_evaluation_add_task(world.evaluations.get(slot), "t", text.data(), text.size()), nullptr);
      break;
    }
    case 12: {
      std::vector<float> out(16 * 64);
      nbl_qtensor* qtensor = world.qtensors.get(slot);
      const int64_t k = std::max<int64_t>(nbl_qtensor_columns(qtensor), 1);
      check(nbl_qtensor_dequantize(qtensor, program.number(), program.byte() % 8, out.data(), k), nullptr);
      break;
    }
    case 13: {
      const std::vector<float> x(3 * 64, 0.5f);
      std::vector<float> y(3 * 16);
      check(nbl_qtensor_matmul(world.qtensors.get(slot), static_cast<int32_t>(program.byte() % 3), x.data(), 64,
                               program.byte() % 4, y.data(), 16),
            nullptr);
      break;
    }
    case 14:
      take(nbl_qtensor_info(world.qtensors.get(slot), &buffer), buffer);
      break;
    default:
      take(nbl_quantizer_run(world.quantizers.get(slot), world.checkpoints.get(program.byte()),
                             (nbl::fuzz::folder().path() / "out.safetensors").c_str(), &buffer),
           buffer);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  World world;
  Program program(data, std::min<size_t>(size, 256));
  // A world that has something in it; the program then adds, replaces and uses.
  static constexpr uint8_t kStart[] = {2, 1, 1};
  for (unsigned op = 0; op < 8; ++op) {
    Program fixed(kStart, sizeof kStart);
    open_something(world, op == 1 || op == 5 ? program : fixed, op, 0);
  }
  while (!program.done()) {
    const unsigned op = program.byte() % 26, slot = program.byte() % 3;
    if (op < 8)
      open_something(world, program, op, slot);
    else if (op == 24)
      open_in_memory(world, program, slot);
    else if (op == 25)
      unpack_something(world, program, slot);
    else
      call_something(world, program, op - 8, slot);
  }
  return 0;
}
