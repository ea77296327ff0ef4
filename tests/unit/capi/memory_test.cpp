// The caller's memory: models in buffers and behind read functions, packed arrays, allocators.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/json.h"
#include "dialects/dialects.h"
#include "dialects/gguf_blocks.h"
#include "io/container.h"
#include "io/gguf_types.h"
#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

/// Files that count how often they were let go of, and can fail.
struct Given {
  std::string name, bytes;
  int released = 0;
  int64_t fail_from = -1;
  int64_t asked = 0, largest = 0, inside = 0;

  static int32_t read(void* user, int64_t offset, void* buffer, size_t size) {
    auto* self = static_cast<Given*>(user);
    EXPECT_EQ(self->released, 0) << "read after it was let go of";
    EXPECT_EQ(self->inside++, 0) << "two calls at once";
    self->asked += static_cast<int64_t>(size);
    self->largest = std::max(self->largest, static_cast<int64_t>(size));
    --self->inside;
    if (self->fail_from >= 0 && offset + static_cast<int64_t>(size) > self->fail_from) return 42;
    std::memcpy(buffer, self->bytes.data() + offset, size);
    return 0;
  }
  static void release(void* user) { ++static_cast<Given*>(user)->released; }
  nbl_file file(bool through_function) {
    nbl_file f = NBL_FILE_INIT;
    f.name = name.c_str();
    f.size = static_cast<int64_t>(bytes.size());
    if (through_function)
      f.read = read;
    else
      f.data = bytes.data();
    f.release = release;
    f.user = this;
    return f;
  }
};

std::vector<Given> directory_files() {
  std::vector<Given> files;
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"})
    files.push_back({name, read_file(model_path() + "/" + name)});
  return files;
}

std::vector<float> logits_of(const Model& model) {
  const Session session = make_session(model, 8);
  const int32_t ids[3] = {300, 400, 500};
  const float* row = nullptr;
  int64_t rows = 0;
  EXPECT_NBL_OK(nbl_session_append(session.get(), ids, 3, NBL_LOGITS_LAST, &row, &rows));
  if (row == nullptr) return {};
  return {row, row + nbl_model_vocab_size(model.get())};
}

Model load_exact(const Checkpoint& checkpoint) {
  nbl_model_options options = NBL_MODEL_OPTIONS_INIT;
  options.compute = NBL_COMPUTE_EXACT;
  nbl_model* out = nullptr;
  EXPECT_NBL_OK(nbl_model_load(checkpoint.get(), &options, &out));
  return Model(out);
}

TEST(Memory, ADirectoryOfBuffersOrReadFunctionsIsTheModel) {
  const Runtime runtime = make_runtime();
  const std::vector<float> expected = logits_of(open_model(runtime, NBL_COMPUTE_EXACT));
  for (const bool through_function : {false, true}) {
    std::vector<Given> given = directory_files();
    std::vector<nbl_file> files;
    for (Given& g : given) files.push_back(g.file(through_function));
    nbl_checkpoint* raw = nullptr;
    ASSERT_NBL_OK(nbl_checkpoint_open_files(runtime.get(), files.data(), 3, &raw));
    Checkpoint checkpoint(raw);
    for (const Given& g : given) EXPECT_EQ(g.released, through_function ? 1 : 0) << g.name;
    nbl_buffer* json = nullptr;
    ASSERT_NBL_OK(nbl_checkpoint_inspect(raw, NBL_INSPECT_HASH | NBL_INSPECT_TENSORS, &json));
    const Buffer owned(json);
    EXPECT_NE(std::string(nbl_buffer_text(json)).find("\"format\": \"huggingface\""), std::string::npos);
    Model model = load_exact(checkpoint);
    nbl_tokenizer* tokenizer = nullptr;
    ASSERT_NBL_OK(nbl_tokenizer_from_checkpoint(raw, &tokenizer));
    nbl_tokenizer_destroy(tokenizer);
    checkpoint.reset();
    EXPECT_EQ(logits_of(model), expected);
    model.reset();
    for (const Given& g : given) EXPECT_EQ(g.released, 1) << g.name;
  }
}

/// The model in files on demand, opened.
Checkpoint open_on_demand(const Runtime& runtime, std::vector<Given>& given) {
  std::vector<nbl_file> files;
  for (Given& g : given) {
    files.push_back(g.file(true));
    files.back().flags = NBL_FILE_ON_DEMAND;
  }
  nbl_checkpoint* raw = nullptr;
  EXPECT_NBL_OK(nbl_checkpoint_open_files(runtime.get(), files.data(), static_cast<int64_t>(files.size()), &raw));
  return Checkpoint(raw);
}

TEST(Memory, AFileOnDemandIsReadWhereItIsNeeded) {
  const Runtime runtime = make_runtime();
  const std::vector<float> expected = logits_of(open_model(runtime, NBL_COMPUTE_EXACT));
  std::vector<Given> given = directory_files();
  Given& weights = given[1];
  Checkpoint checkpoint = open_on_demand(runtime, given);
  const auto size = static_cast<int64_t>(weights.bytes.size());
  EXPECT_LT(weights.asked, 20'000) << "the header, of " << size << " bytes";
  EXPECT_EQ(given[0].released, 1) << "config.json, read at once";
  EXPECT_EQ(weights.released, 0);
  nbl_buffer* json = nullptr;
  ASSERT_NBL_OK(nbl_checkpoint_inspect(checkpoint.get(), NBL_INSPECT_TENSORS, &json));
  nbl_buffer_destroy(json);
  EXPECT_LT(weights.asked, 20'000) << "a list of tensors needs none of their numbers";

  Model model = load_exact(checkpoint);
  EXPECT_LE(weights.asked, size + 20'000) << "each tensor once";
  EXPECT_GT(weights.asked, size / 2);
  EXPECT_LT(weights.largest, size / 2) << "tensor by tensor";
  checkpoint.reset();
  EXPECT_EQ(logits_of(model), expected);
  model.reset();
  for (const Given& g : given) EXPECT_EQ(g.released, 1) << g.name;
}

TEST(Memory, AFailingReadOnDemandFailsTheCallThatNeededIt) {
  const Runtime runtime = make_runtime();
  const Scratch scratch;
  std::vector<Given> given = directory_files();
  Given& weights = given[1];
  const Checkpoint checkpoint = open_on_demand(runtime, given);
  weights.fail_from = static_cast<int64_t>(weights.bytes.size()) / 2;
  nbl_model* model = nullptr;
  EXPECT_REFUSED(NBL_E_IO, "of 'model.safetensors' failed: the caller's function returned 42", nbl_model_load(checkpoint.get(), nullptr, &model));
  EXPECT_NE(std::string(nbl_last_error()).find("tensor "), std::string::npos) << nbl_last_error();
  int32_t ok = 0;
  EXPECT_REFUSED(NBL_E_IO, "returned 42",
                 nbl_checkpoint_convert(checkpoint.get(), scratch.file("out").c_str(), "native", 0, nullptr, nullptr, &ok, nullptr));
  EXPECT_EQ(scratch.entries(), 0u) << "nothing half-written";
  weights.fail_from = -1;  // the line is up again
  ASSERT_NBL_OK(nbl_checkpoint_convert(checkpoint.get(), scratch.file("out").c_str(), "native", 0, nullptr, nullptr, &ok, nullptr));
  EXPECT_EQ(ok, 1);
  const Model loaded(load_exact(open_checkpoint(runtime, scratch.file("out"))));
  EXPECT_EQ(logits_of(loaded), logits_of(open_model(runtime, NBL_COMPUTE_EXACT)));

  nbl_file file = given[1].file(true);
  file.flags = 6;
  nbl_checkpoint* none = nullptr;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "flags 0x6", nbl_checkpoint_open_files(runtime.get(), &file, 1, &none));
}

TEST(Memory, OneBufferHoldsAWholeModel) {
  const Runtime runtime = make_runtime();
  const Scratch scratch;
  const Checkpoint original = open_checkpoint(runtime);
  nbl_quantizer* raw_quantizer = nullptr;
  ASSERT_NBL_OK(nbl_quantizer_create(runtime.get(), "rtn:bits=4,group=32,sym=true", &raw_quantizer));
  const Quantizer quantizer(raw_quantizer);
  ASSERT_NBL_OK(nbl_quantizer_run(raw_quantizer, original.get(), scratch.file("m.safetensors").c_str(), nullptr));
  const Checkpoint quantized = open_checkpoint(runtime, scratch.file("m.safetensors"));
  int32_t ok = 0;
  ASSERT_NBL_OK(nbl_checkpoint_convert(quantized.get(), scratch.file("m.gguf").c_str(), "gguf", 0, nullptr, nullptr, &ok, nullptr));
  for (const char* name : {"m.safetensors", "m.gguf"}) {
    SCOPED_TRACE(name);
    const std::vector<float> expected = logits_of(open_model(runtime, NBL_COMPUTE_EXACT, scratch.file(name)));
    const std::string bytes = read_file(scratch.file(name));
    std::vector<unsigned char> room(bytes.size() + 128);
    const std::size_t start = 64 - reinterpret_cast<std::uintptr_t>(room.data()) % 64;
    for (const std::size_t off : {std::size_t{0}, std::size_t{3}}) {  // used in place, and copied where it must be
      std::memcpy(room.data() + start + off, bytes.data(), bytes.size());
      nbl_file file = NBL_FILE_INIT;
      file.name = "anything";
      file.data = room.data() + start + off;
      file.size = static_cast<int64_t>(bytes.size());
      nbl_checkpoint* raw = nullptr;
      ASSERT_NBL_OK(nbl_checkpoint_open_files(runtime.get(), &file, 1, &raw));
      const Checkpoint checkpoint(raw);
      EXPECT_EQ(logits_of(load_exact(checkpoint)), expected);
      if (std::string(name) == "m.safetensors") {
        ASSERT_NBL_OK(nbl_checkpoint_verify(raw, nullptr, nullptr, &ok, nullptr));
        EXPECT_EQ(ok, 1);
        // And it is a job's input like any other.
        ASSERT_NBL_OK(nbl_checkpoint_convert(raw, scratch.file("again").c_str(), "gptq", 0, nullptr, nullptr, &ok, nullptr));
        std::filesystem::remove_all(scratch.file("again"));
      }
    }
  }
}

TEST(Memory, WhatIsWrongIsRefusedAndEverythingLetGoOf) {
  const Runtime runtime = make_runtime(1);
  const auto refused = [&](nbl_status status, const char* word, auto change) {
    std::vector<Given> given = directory_files();
    for (Given& g : given) g.fail_from = -1;
    std::vector<nbl_file> files;
    for (Given& g : given) files.push_back(g.file(true));
    change(given, files);
    nbl_checkpoint* out = reinterpret_cast<nbl_checkpoint*>(1);
    EXPECT_REFUSED(status, word, nbl_checkpoint_open_files(runtime.get(), files.data(), static_cast<int64_t>(files.size()), &out));
    EXPECT_EQ(out, nullptr);
    for (const Given& g : given) EXPECT_EQ(g.released, 1) << g.name;
  };
  using Files = std::vector<nbl_file>;
  using Givens = std::vector<Given>;
  refused(NBL_E_IO, "model.safetensors", [](Givens& g, Files&) { g[1].fail_from = 1000; });
  refused(NBL_E_INVALID_ARGUMENT, "size is negative", [](Givens&, Files& f) { f[0].size = -1; });
  refused(NBL_E_INVALID_ARGUMENT, "neither data nor read", [](Givens&, Files& f) { f[0].read = nullptr; });
  refused(NBL_E_INVALID_ARGUMENT, "no plain file name", [](Givens&, Files& f) { f[2].name = "../passwd"; });
  refused(NBL_E_INVALID_ARGUMENT, "no plain file name", [](Givens&, Files& f) { f[2].name = nullptr; });
  refused(NBL_E_INVALID_ARGUMENT, "two files", [](Givens&, Files& f) { f[2].name = "config.json"; });
  refused(NBL_E_CORRUPT, "model.safetensors", [](Givens&, Files& f) { f[1].size /= 2; });
  refused(NBL_E_NOT_FOUND, "safetensors", [](Givens&, Files& f) { f[1].name = "other"; });
  nbl_checkpoint* out = nullptr;
  const nbl_file none = NBL_FILE_INIT;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "count", nbl_checkpoint_open_files(runtime.get(), &none, 0, &out));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "files", nbl_checkpoint_open_files(runtime.get(), nullptr, 1, &out));
  // Nothing of it can be reached by name.
  EXPECT_REFUSED(NBL_E_NOT_FOUND, "memory:1", nbl_checkpoint_open(runtime.get(), "memory:1", &out));
}

// GPTQ's arrays of a matrix of 8 outputs and 32 inputs, made by their definition: w = scale * (code - zero).
TEST(Memory, PackedArraysOfOtherTools) {
  const Runtime runtime = make_runtime(1);
  constexpr int64_t n = 8, k = 32;
  std::vector<int32_t> qweight(k / 8 * n), qzeros(n / 8);
  std::vector<uint16_t> scales(n, 0x3800);  // 0.5
  std::vector<float> expected(n * k);
  for (int64_t c = 0; c < k; ++c) {
    for (int64_t r = 0; r < n; ++r) {
      const uint32_t code = static_cast<uint32_t>((3 * c + 5 * r + c * r) % 16);
      auto& word = reinterpret_cast<uint32_t&>(qweight[static_cast<std::size_t>(c / 8 * n + r)]);
      word |= code << (4 * (c % 8));
      expected[static_cast<std::size_t>(r * k + c)] = 0.5f * (static_cast<float>(code) - static_cast<float>(r + 1));
    }
  }
  for (int64_t r = 0; r < n; ++r) reinterpret_cast<uint32_t&>(qzeros[0]) |= static_cast<uint32_t>(r) << (4 * r);  // zero - 1
  const int64_t weight_shape[2] = {k / 8, n}, zero_shape[2] = {1, n / 8}, scale_shape[2] = {1, n};
  const auto array = [](const char* name, const char* type, const int64_t* shape, const void* data) {
    nbl_array a = NBL_ARRAY_INIT;
    a.name = name;
    a.type = type;
    a.rank = 2;
    a.shape = shape;
    a.data = data;
    return a;
  };
  std::vector<nbl_array> arrays = {array("qweight", "I32", weight_shape, qweight.data()), array("qzeros", "I32", zero_shape, qzeros.data()),
                                   array("scales", "F16", scale_shape, scales.data())};
  nbl_qtensor* raw = nullptr;
  const char* config = R"({"bits": 4, "group_size": 32, "sym": false})";
  ASSERT_NBL_OK(nbl_qtensor_from_packed(runtime.get(), "gptq", arrays.data(), 3, config, &raw));
  const QTensor q(raw);
  EXPECT_EQ(nbl_qtensor_rows(raw), n);
  EXPECT_EQ(nbl_qtensor_columns(raw), k);
  std::vector<float> found(n * k), x(k, 1.0f), y(n);
  ASSERT_NBL_OK(nbl_qtensor_dequantize(raw, 0, n, found.data(), k));
  EXPECT_EQ(found, expected);
  ASSERT_NBL_OK(nbl_qtensor_matmul(raw, NBL_COMPUTE_EXACT, x.data(), k, 1, y.data(), n));
  for (int64_t r = 0; r < n; ++r) {
    float sum = 0;
    for (int64_t c = 0; c < k; ++c) sum += expected[static_cast<std::size_t>(r * k + c)];
    EXPECT_FLOAT_EQ(y[static_cast<std::size_t>(r)], sum);
  }
  nbl_qtensor* out = nullptr;
  EXPECT_REFUSED(NBL_E_NOT_FOUND, "nonsense", nbl_qtensor_from_packed(runtime.get(), "nonsense", arrays.data(), 3, config, &out));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "config_json", nbl_qtensor_from_packed(runtime.get(), "gptq", arrays.data(), 3, "[]", &out));
  arrays[1].name = "qweight";
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "twice", nbl_qtensor_from_packed(runtime.get(), "gptq", arrays.data(), 3, config, &out));
  arrays[1].name = "other";
  EXPECT_NE(nbl_qtensor_from_packed(runtime.get(), "gptq", arrays.data(), 3, config, &out), NBL_OK);
  arrays[1].name = "qzeros";
  arrays[2].type = "F99";
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "F99", nbl_qtensor_from_packed(runtime.get(), "gptq", arrays.data(), 3, config, &out));
  arrays[2].type = "F16";
  arrays[0].rank = 9;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "dimensions", nbl_qtensor_from_packed(runtime.get(), "gptq", arrays.data(), 3, config, &out));
  EXPECT_EQ(out, nullptr);
}

/// Every number of the two matrices is the same to the bit.
void expect_same(nbl_qtensor* a, const nbl::QTensor& b, const std::string& what) {
  ASSERT_EQ(nbl_qtensor_rows(a), b.n);
  ASSERT_EQ(nbl_qtensor_columns(a), b.k);
  std::vector<float> x(static_cast<std::size_t>(b.n * b.k)), y(x.size());
  ASSERT_NBL_OK(nbl_qtensor_dequantize(a, 0, b.n, x.data(), b.k));
  for (int64_t r = 0; r < b.n; ++r) b.dequantize_row(r, y.data() + r * b.k);
  EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size() * 4), 0) << what;
}

TEST(Memory, PackedBlocksOfGguf) {
  const Runtime runtime = make_runtime(1);
  auto container = io::open_gguf(source_file("tests/golden/gguf/blocks.gguf"));
  ASSERT_TRUE(container.ok());
  std::set<std::string> types;
  for (const io::RawTensor& raw : (*container)->tensors()) {
    if (raw.shape.size() != 2) continue;
    auto expected = dialects::gguf_matrix(raw, {});
    ASSERT_TRUE(expected.ok()) << expected.status().message();
    nbl_array a = NBL_ARRAY_INIT;
    a.name = "weight";
    a.type = raw.type.c_str();
    a.rank = 2;
    a.shape = raw.shape.data();
    a.data = raw.bytes.data();
    nbl_qtensor* q = nullptr;
    ASSERT_NBL_OK(nbl_qtensor_from_packed(runtime.get(), "gguf", &a, 1, nullptr, &q));
    const QTensor owned(q);
    expect_same(q, *expected, raw.type);
    types.insert(raw.type);
    const int64_t odd[2] = {raw.shape[0], raw.shape[1] + 1};
    a.shape = odd;
    if (io::gguf_type(raw.type)->block > 1)
      EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, raw.type, nbl_qtensor_from_packed(runtime.get(), "gguf", &a, 1, nullptr, &q));
    a.shape = raw.shape.data();
    a.name = "qweight";
    EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "weight", nbl_qtensor_from_packed(runtime.get(), "gguf", &a, 1, nullptr, &q));
  }
  for (const char* type : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS",
                           "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4"})
    EXPECT_TRUE(types.contains(type)) << type;
}

TEST(Memory, PackedArraysAreWhatTheFilesReadersGive) {
  const Scratch scratch;
  const Runtime runtime = make_runtime();
  const Checkpoint original = open_checkpoint(runtime);
  const struct {
    const char *format, *recipe;
  } kinds[] = {{"gptq", "rtn:bits=4,group=64,sym=false"},     {"gptq_v2", "rtn:bits=4,group=64,sym=false"},
               {"gptq_p", "rtn:bits=3,group=64,sym=false"},   {"gptq_v2", "rtn:bits=8,group=128,sym=true"},
               {"awq", "rtn:bits=4,group=64,sym=false"},      {"bitsandbytes", "nf4:block=64"},
               {"compressed-tensors", "rtn:bits=4,group=64,sym=true"}};
  for (const auto& kind : kinds) {
    nbl_quantizer* raw = nullptr;
    ASSERT_NBL_OK(nbl_quantizer_create(runtime.get(), kind.recipe, &raw));
    const Quantizer quantizer(raw);
    ASSERT_NBL_OK(nbl_quantizer_set(raw, "format", kind.format));
    const std::string path = scratch.file(kind.format);
    ASSERT_NBL_OK(nbl_quantizer_run(raw, original.get(), path.c_str(), nullptr)) << kind.format;
    auto files = io::open_safetensors(path + "/model.safetensors");
    ASSERT_TRUE(files.ok()) << files.status().message();
    const auto config = Json::parse(read_file(path + "/config.json"), "config");
    const std::string quantization = config->find("quantization_config")->dump();
    const std::string module = "model.layers.1.mlp.down_proj.";
    std::vector<nbl_array> arrays;
    for (const io::RawTensor& t : (*files)->tensors()) {
      if (!t.name.starts_with(module)) continue;
      nbl_array a = NBL_ARRAY_INIT;
      a.name = t.name.c_str() + module.size();
      a.type = t.type.c_str();
      a.rank = static_cast<int32_t>(t.shape.size());
      a.shape = t.shape.data();
      a.data = t.bytes.data();
      arrays.push_back(a);
    }
    nbl_qtensor* q = nullptr;
    ASSERT_NBL_OK(nbl_qtensor_from_packed(runtime.get(), kind.format, arrays.data(), static_cast<int64_t>(arrays.size()), quantization.c_str(), &q))
        << kind.format;
    const QTensor owned(q);
    auto checkpoint = dialects::open(path);
    ASSERT_TRUE(checkpoint.ok());
    auto expected = (*checkpoint)->matrix(module + "weight");
    ASSERT_TRUE(expected.ok());
    expect_same(q, *expected, kind.format);
    if (std::string_view(kind.format) == "gptq_v2") {
      // The name of the format alone says how zeros are stored.
      Json bare = *config->find("quantization_config");
      Json few = Json::object({{"bits", bare.find("bits")->as_int()}, {"group_size", bare.find("group_size")->as_int()}});
      nbl_qtensor* again = nullptr;
      ASSERT_NBL_OK(nbl_qtensor_from_packed(runtime.get(), "gptq_v2", arrays.data(), static_cast<int64_t>(arrays.size()), few.dump().c_str(), &again));
      const QTensor second(again);
      expect_same(again, *expected, "gptq_v2 by its name");
    }
    std::filesystem::remove_all(path);
  }
}

/// A caller's heap, which knows every block that it gave out.
struct Heap {
  std::mutex mutex;
  std::map<void*, size_t> blocks;
  int64_t given = 0, bytes = 0, wrong = 0, budget = -1;
  int64_t held = 0, most = 0;  ///< bytes at a time

  static void* allocate(void* user, size_t size, size_t alignment) {
    auto* self = static_cast<Heap*>(user);
    const std::lock_guard lock(self->mutex);
    if (alignment != 64 || size % 64 != 0 || size == 0) ++self->wrong;
    if (self->budget >= 0 && self->given >= self->budget) return nullptr;
    void* p = std::aligned_alloc(alignment, size);
    std::memset(p, 0xa5, size);  // the library must not count on zeros
    self->blocks[p] = size;
    ++self->given;
    self->bytes += static_cast<int64_t>(size);
    self->most = std::max(self->most, self->held += static_cast<int64_t>(size));
    return p;
  }
  static void deallocate(void* user, void* memory, size_t size) {
    auto* self = static_cast<Heap*>(user);
    const std::lock_guard lock(self->mutex);
    const auto it = self->blocks.find(memory);
    if (it == self->blocks.end() || it->second != size) {
      ++self->wrong;
      return;
    }
    self->held -= static_cast<int64_t>(size);
    self->blocks.erase(it);
    std::free(memory);
  }
  Runtime runtime(int32_t threads) {
    nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
    options.threads = threads;
    options.allocate = allocate;
    options.deallocate = deallocate;
    options.allocator_user = this;
    nbl_runtime* out = nullptr;
    EXPECT_NBL_OK(nbl_runtime_create(&options, &out));
    return Runtime(out);
  }
};

TEST(Allocator, LargeBlocksAreTheCallersAndComeBack) {
  const Runtime plain = make_runtime();
  const std::vector<float> expected = logits_of(open_model(plain, NBL_COMPUTE_EXACT));
  Heap heap, other;
  {
    const Runtime runtime = heap.runtime(2), second = other.runtime(1);
    Model model = open_model(runtime, NBL_COMPUTE_EXACT);
    const int64_t weights = heap.bytes;
    EXPECT_GT(weights, 4'000'000) << "the weights of a bf16 model, repacked";
    EXPECT_EQ(other.given, 0) << "another runtime's memory";
    EXPECT_EQ(logits_of(model), expected);
    EXPECT_GT(heap.bytes, weights) << "the keys and values of the session";
    // A job, which works in the team's threads too.
    const Scratch scratch;
    const Checkpoint checkpoint = open_checkpoint(second);
    nbl_quantizer* quantizer = nullptr;
    ASSERT_NBL_OK(nbl_quantizer_create(second.get(), "rtn:bits=4,group=64", &quantizer));
    const Quantizer owned(quantizer);
    ASSERT_NBL_OK(nbl_quantizer_run(quantizer, checkpoint.get(), scratch.file("q").c_str(), nullptr));
    EXPECT_GT(other.given, 0);
    EXPECT_TRUE(other.blocks.empty()) << "a job is over";
    // On another thread than the one that made it.
    std::thread([&] { model.reset(); }).join();
    std::vector<Given> given = directory_files();
    std::vector<nbl_file> files;
    for (Given& g : given) files.push_back(g.file(true));
    nbl_checkpoint* raw = nullptr;
    const int64_t before = heap.bytes;
    ASSERT_NBL_OK(nbl_checkpoint_open_files(runtime.get(), files.data(), 3, &raw));
    EXPECT_GE(heap.bytes - before, 7'000'000) << "a file that was read through a function";
    nbl_checkpoint_destroy(raw);
  }
  EXPECT_TRUE(heap.blocks.empty() && other.blocks.empty()) << heap.blocks.size() << " and " << other.blocks.size() << " blocks are left";
  EXPECT_EQ(heap.wrong + other.wrong, 0);
}

TEST(Allocator, AFileOnDemandIsNeverHeldWhole) {
  Heap heap;
  {
    const Runtime runtime = heap.runtime(2);
    const Scratch scratch;
    std::vector<Given> given = directory_files();
    const Checkpoint checkpoint = open_on_demand(runtime, given);
    const int64_t opened = heap.held;
    EXPECT_LT(opened, 200'000) << "the small files and the header";
    int32_t ok = 0;
    ASSERT_NBL_OK(nbl_checkpoint_convert(checkpoint.get(), scratch.file("out").c_str(), "native", 0, nullptr, nullptr, &ok, nullptr));
    const auto size = static_cast<int64_t>(given[1].bytes.size());
    EXPECT_LT(heap.most, size * 3 / 4) << "the largest tensor and what it becomes, of a file of " << size;
    EXPECT_EQ(heap.held, opened) << "and nothing of it afterwards";
  }
  EXPECT_TRUE(heap.blocks.empty());
}

TEST(Allocator, NoMemoryIsAStatus) {
  int64_t needed = 0;
  for (int64_t budget = -1; budget < needed; ++budget) {
    Heap heap;
    heap.budget = budget;
    {
      const Runtime runtime = heap.runtime(1);
      const Checkpoint checkpoint = open_checkpoint(runtime);
      nbl_model* raw = nullptr;
      nbl_status status = nbl_model_load(checkpoint.get(), nullptr, &raw);
      const Model model(raw);
      if (status == NBL_OK) {
        nbl_session_options options = NBL_SESSION_OPTIONS_INIT;
        options.max_tokens = 8;
        nbl_session* session = nullptr;
        status = nbl_session_create(raw, &options, &session);
        nbl_session_destroy(session);
      }
      if (budget < 0) {
        needed = std::min<int64_t>(heap.given, 40);
        EXPECT_NBL_OK(status);
        EXPECT_GT(needed, 1);
      } else {
        EXPECT_EQ(status, NBL_E_OUT_OF_MEMORY) << "after " << budget << " blocks: " << nbl_last_error();
      }
    }
    EXPECT_TRUE(heap.blocks.empty()) << "after " << budget << " blocks";
  }
}

TEST(Allocator, HalfOfOneIsRefused) {
  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  options.allocate = Heap::allocate;
  nbl_runtime* out = nullptr;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "deallocate", nbl_runtime_create(&options, &out));
}

}  // namespace
}  // namespace nbl::test
