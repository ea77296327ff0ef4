// The rules that nibble.h states for every function.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <thread>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "support/sanitizers.h"
#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

TEST(Version, AgreesWithTheHeader) {
  EXPECT_EQ(nbl_version_number(), NBL_VERSION_MAJOR * 10000 + NBL_VERSION_MINOR * 100 + NBL_VERSION_PATCH);
  EXPECT_EQ(std::string(nbl_version()), std::to_string(NBL_VERSION_MAJOR) + "." + std::to_string(NBL_VERSION_MINOR) +
                                            "." + std::to_string(NBL_VERSION_PATCH));
}

TEST(Errors, StatusNamesAreTheCodesOfTheLayers) {
  for (nbl_status s = NBL_OK; s <= NBL_E_INTERNAL; ++s)
    EXPECT_STREQ(nbl_status_name(s), code_name(static_cast<Code>(s)));
  EXPECT_STREQ(nbl_status_name(12), "unknown");
  EXPECT_STREQ(nbl_status_name(-1), "unknown");
}

TEST(Errors, MessageIsClearedByTheNextCallAndBelongsToTheThread) {
  EXPECT_EQ(nbl_runtime_create(nullptr, nullptr), NBL_E_INVALID_ARGUMENT);
  EXPECT_NE(std::string(nbl_last_error()).find("out_runtime"), std::string::npos);
  std::thread([] { EXPECT_STREQ(nbl_last_error(), ""); }).join();
  const Runtime runtime = make_runtime(1);
  EXPECT_STREQ(nbl_last_error(), "");
}

TEST(Errors, LongMessagesAreCutBetweenCharacters) {
  const Runtime runtime = make_runtime(1);
  std::string name;
  for (int i = 0; i < 2000; ++i) name += "é";
  nbl_quantizer* out = nullptr;
  EXPECT_EQ(nbl_quantizer_create(runtime.get(), name.c_str(), &out), NBL_E_INVALID_ARGUMENT);
  const std::string message = nbl_last_error();
  EXPECT_LE(message.size(), 2047u);
  EXPECT_GE(message.size(), 2040u);
  EXPECT_NE(static_cast<unsigned char>(message.back()), 0xc3) << "ends inside a character";
}

TEST(Errors, NullHandlesAndOutputs) {
  nbl_buffer* buffer = reinterpret_cast<nbl_buffer*>(1);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "runtime", nbl_runtime_info(nullptr, &buffer));
  EXPECT_EQ(buffer, nullptr);
  nbl_model* model = reinterpret_cast<nbl_model*>(1);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "runtime", nbl_model_open(nullptr, "x", nullptr, &model));
  EXPECT_EQ(model, nullptr);
  const Runtime runtime = make_runtime(1);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "path", nbl_model_open(runtime.get(), nullptr, nullptr, &model));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "out_model", nbl_model_open(runtime.get(), "x", nullptr, nullptr));
  model = reinterpret_cast<nbl_model*>(1);
  EXPECT_REFUSED(NBL_E_NOT_FOUND, "/no/such/model", nbl_model_open(runtime.get(), "/no/such/model", nullptr, &model));
  EXPECT_EQ(model, nullptr);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "session", nbl_session_truncate(nullptr, 0));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "quantizer", nbl_quantizer_set(nullptr, "a", "b"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "evaluation", nbl_evaluation_perplexity(nullptr, &buffer));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "qtensor", nbl_qtensor_info(nullptr, &buffer));
  EXPECT_EQ(nbl_runtime_threads(nullptr), 0);
  EXPECT_EQ(nbl_model_vocab_size(nullptr), 0);
  EXPECT_EQ(nbl_session_position(nullptr), 0);
  EXPECT_EQ(nbl_qtensor_rows(nullptr), 0);
  EXPECT_EQ(nbl_buffer_data(nullptr), nullptr);
  EXPECT_EQ(nbl_buffer_size(nullptr), 0u);
}

TEST(Handles, DestroyAcceptsNull) {
  nbl_buffer_destroy(nullptr);
  nbl_runtime_destroy(nullptr);
  nbl_checkpoint_destroy(nullptr);
  nbl_quantizer_destroy(nullptr);
  nbl_model_destroy(nullptr);
  nbl_tokenizer_destroy(nullptr);
  nbl_session_destroy(nullptr);
  nbl_evaluation_destroy(nullptr);
  nbl_qtensor_destroy(nullptr);
}

TEST(Handles, MayBeDestroyedInAnyOrder) {
  Runtime runtime = make_runtime();
  Checkpoint checkpoint = open_checkpoint(runtime);
  nbl_model* loaded = nullptr;
  ASSERT_NBL_OK(nbl_model_load(checkpoint.get(), nullptr, &loaded));
  Model model(loaded);
  nbl_tokenizer* raw = nullptr;
  ASSERT_NBL_OK(nbl_tokenizer_from_model(model.get(), &raw));
  Tokenizer tokenizer(raw);
  Session session = make_session(model, 16);
  runtime.reset();
  checkpoint.reset();
  model.reset();
  nbl_buffer* ids = nullptr;
  ASSERT_NBL_OK(nbl_tokenizer_encode(tokenizer.get(), "It was", 6, 0, &ids));
  const Buffer owned(ids);
  const float* logits = nullptr;
  int64_t rows = 0;
  ASSERT_NBL_OK(nbl_session_append(session.get(), nbl_buffer_ids(ids), 2, NBL_LOGITS_LAST, &logits, &rows));
  EXPECT_EQ(rows, 1);
  EXPECT_TRUE(std::isfinite(logits[0]));
}

/// Calls a function with an option struct of each size that some header had, of sizes to come, and of sizes that none had.
template <class Options, class Call>
void try_sizes(Options options, std::initializer_list<std::size_t> sizes, const char* name, Call call) {
  SCOPED_TRACE(name);
  struct Future {
    Options known;
    uint64_t later[4];
  } future = {options, {0, 0, 0, 0}};
  std::size_t first = sizeof(Options);
  for (const std::size_t size : sizes) {
    first = std::min(first, size);
    // What lies behind the struct of an old program is not the library's to read.
    std::vector<unsigned char> old(size);
    std::memcpy(old.data(), &options, size);
    const auto stated = static_cast<uint32_t>(size);
    std::memcpy(old.data(), &stated, sizeof stated);
    EXPECT_NBL_OK(call(reinterpret_cast<const Options*>(old.data()))) << "size " << size;
  }
  EXPECT_EQ(*(sizes.end() - 1), sizeof(Options)) << "a new size belongs into the list";
  for (const std::size_t more : {8u, 32u}) {
    future.known.struct_size = static_cast<uint32_t>(sizeof(Options) + more);
    EXPECT_NBL_OK(call(&future.known)) << "an unknown tail of zeros means defaults";
  }
  future.later[3] = 1;
  EXPECT_REFUSED(NBL_E_UNSUPPORTED, name, call(&future.known));
  Options forgotten = options;
  for (const std::size_t size : {std::size_t{0}, std::size_t{4}, first - 1, std::size_t{1} << 20}) {
    forgotten.struct_size = static_cast<uint32_t>(size);
    EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "struct_size", call(&forgotten));
  }
}

TEST(Options, EverySizeThatAHeaderHadIsTaken) {
  nbl_runtime_options runtime_options = NBL_RUNTIME_OPTIONS_INIT;
  runtime_options.threads = 1;
  try_sizes(runtime_options, {40, 64}, "nbl_runtime_options", [](const nbl_runtime_options* o) {
    nbl_runtime* out = nullptr;
    const nbl_status status = nbl_runtime_create(o, &out);
    EXPECT_EQ(nbl_runtime_threads(out), status == NBL_OK ? 1 : 0);
    const Runtime owned(out);
    return status;
  });
  const Runtime runtime = make_runtime(1);
  const Checkpoint checkpoint = open_checkpoint(runtime);
  const nbl_model_options model_options = NBL_MODEL_OPTIONS_INIT;
  try_sizes(model_options, {24}, "nbl_model_options", [&](const nbl_model_options* o) {
    nbl_model* out = nullptr;
    const nbl_status status = nbl_model_load(checkpoint.get(), o, &out);
    const Model owned(out);
    return status;
  });
  const Model model = open_model(runtime);
  nbl_session_options session_options = NBL_SESSION_OPTIONS_INIT;
  session_options.max_tokens = 8;
  try_sizes(session_options, {16}, "nbl_session_options", [&](const nbl_session_options* o) {
    nbl_session* out = nullptr;
    const nbl_status status = nbl_session_create(model.get(), o, &out);
    const Session owned(out);
    return status;
  });
  const Session session = make_session(model, 8);
  nbl_generate_options generate_options = NBL_GENERATE_OPTIONS_INIT;
  generate_options.max_new_tokens = 1;
  try_sizes(generate_options, {56}, "nbl_generate_options", [&](const nbl_generate_options* o) {
    const int32_t id = 5;
    EXPECT_NBL_OK(nbl_session_truncate(session.get(), 0));
    return nbl_session_generate(session.get(), &id, 1, o, nullptr);
  });
  const nbl_qtensor_options qtensor_options = NBL_QTENSOR_OPTIONS_INIT;
  try_sizes(qtensor_options, {40}, "nbl_qtensor_options", [&](const nbl_qtensor_options* o) {
    const float weight[32] = {1};
    nbl_qtensor* out = nullptr;
    const nbl_status status = nbl_qtensor_quantize(runtime.get(), weight, 1, 32, 32, "fp32", o, &out);
    const QTensor owned(out);
    return status;
  });
  const std::string bytes = "{}";
  nbl_file file = NBL_FILE_INIT;
  file.name = "config.json";
  file.data = bytes.data();
  file.size = static_cast<int64_t>(bytes.size());
  try_sizes(file, {56, 64}, "nbl_file", [&](const nbl_file* f) {
    nbl_checkpoint* out = nullptr;
    const nbl_status status = nbl_checkpoint_open_files(runtime.get(), f, 1, &out);
    return status == NBL_E_NOT_FOUND ? NBL_OK : status;  // taken, and found to lack weights
  });
  const float values[4] = {1, 2, 3, 4};
  const int64_t shape[2] = {1, 4};
  nbl_array array = NBL_ARRAY_INIT;
  array.name = "weight";
  array.type = "F32";
  array.rank = 2;
  array.shape = shape;
  array.data = values;
  try_sizes(array, {40}, "nbl_array", [&](const nbl_array* a) {
    nbl_qtensor* out = nullptr;
    const nbl_status status = nbl_qtensor_from_packed(runtime.get(), "huggingface", a, 1, nullptr, &out);
    const QTensor owned(out);
    return status;
  });
}

TEST(Options, BadValuesAreRefused) {
  nbl_runtime* runtime = nullptr;
  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  options.threads = -1;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "threads", nbl_runtime_create(&options, &runtime));
  options.threads = 1;
  options.isa = "abacus";
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "abacus", nbl_runtime_create(&options, &runtime));
  const Runtime good = make_runtime(1);
  nbl_model* model = nullptr;
  nbl_model_options model_options = NBL_MODEL_OPTIONS_INIT;
  model_options.compute = 7;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "compute",
                 nbl_model_open(good.get(), model_path().c_str(), &model_options, &model));
}

TEST(Catalogs, AreJsonThatNamesWhatExists) {
  for (const char* text : {nbl_methods_json(), nbl_dialects_json(), nbl_architectures_json(), nbl_isas_json(),
                           nbl_protocols_json(), nbl_tasks_json()}) {
    const auto list = Json::parse(text, "catalog");
    ASSERT_TRUE(list.ok()) << list.status().message();
    ASSERT_GT(list->size(), 0u);
    for (const Json& each : list->elements()) EXPECT_FALSE(each.get_string("id").value().empty());
  }
  for (const char* text : {nbl_quantizer_settings_json(), nbl_evaluation_settings_json()}) {
    const Json settings = Json::parse(text, "settings").value();
    for (const Json& each : settings.elements()) {
      EXPECT_FALSE(each.get_string("name").value().empty());
      EXPECT_FALSE(each.get_string("help").value().empty());
    }
  }
  EXPECT_EQ(nbl_methods_json(), nbl_methods_json()) << "the same string each time";
}

TEST(Catalogs, EveryListedDefaultIsAccepted) {
  const Runtime runtime = make_runtime(1);
  const Json methods = Json::parse(nbl_methods_json(), "methods").value();
  const Json settings = Json::parse(nbl_quantizer_settings_json(), "settings").value();
  for (const Json& method : methods.elements()) {
    const std::string id = method.get_string("id").value();
    nbl_quantizer* raw = nullptr;
    ASSERT_NBL_OK(nbl_quantizer_create(runtime.get(), id.c_str(), &raw));
    const Quantizer quantizer(raw);
    for (const Json& option : method.find("options")->elements()) {
      const std::string name = id + "." + option.get_string("name").value();
      EXPECT_NBL_OK(nbl_quantizer_set(raw, name.c_str(), option.get_string("default").value().c_str()));
    }
    for (const Json& setting : settings.elements()) {
      EXPECT_NBL_OK(nbl_quantizer_set(raw, setting.get_string("name").value().c_str(),
                                      setting.get_string("default").value().c_str()));
    }
  }
  nbl_evaluation* raw = nullptr;
  ASSERT_NBL_OK(nbl_evaluation_create(runtime.get(), &raw));
  const Evaluation evaluation(raw);
  const Json others = Json::parse(nbl_evaluation_settings_json(), "settings").value();
  for (const Json& setting : others.elements()) {
    EXPECT_NBL_OK(nbl_evaluation_set(raw, setting.get_string("name").value().c_str(),
                                     setting.get_string("default").value().c_str()));
  }
}

#ifndef NBL_UNDER_THREAD_SANITIZER  // which does not follow a forked child that starts threads
TEST(Fork, AChildComputesTheSame) {
  const Runtime runtime = make_runtime();
  const Model model = open_model(runtime, NBL_COMPUTE_EXACT);
  const Session session = make_session(model, 8);
  const int32_t ids[3] = {300, 400, 500};
  const auto vocab = static_cast<std::size_t>(nbl_model_vocab_size(model.get()));
  const auto logits = [&] {
    const float* row = nullptr;
    int64_t rows = 0;
    if (nbl_session_truncate(session.get(), 0) != NBL_OK) return std::vector<float>();
    if (nbl_session_append(session.get(), ids, 3, NBL_LOGITS_LAST, &row, &rows) != NBL_OK) return std::vector<float>();
    return std::vector<float>(row, row + vocab);
  };
  const std::vector<float> expected = logits();
  ASSERT_EQ(expected.size(), vocab);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(30);  // ends a child that hangs
    nbl_runtime* another = nullptr;
    _exit(logits() == expected && nbl_runtime_create(nullptr, &another) == NBL_OK ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}
#endif

}  // namespace
}  // namespace nbl::test
