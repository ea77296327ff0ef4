// Whole jobs through the C interface: quantize, generate, measure; cancelled, capped, shared among threads.
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

std::string calibration() { return read_file(source_file("examples/data/calibration.txt")); }
std::string evaluation_text() { return read_file(source_file("examples/data/evaluation.txt")); }

std::vector<int32_t> encode(const Model& model, const std::string& text) {
  nbl_tokenizer* raw = nullptr;
  EXPECT_NBL_OK(nbl_tokenizer_from_model(model.get(), &raw));
  const Tokenizer tokenizer(raw);
  nbl_buffer* ids = nullptr;
  EXPECT_NBL_OK(nbl_tokenizer_encode(raw, text.data(), text.size(), 0, &ids));
  const Buffer owned(ids);
  return {nbl_buffer_ids(ids), nbl_buffer_ids(ids) + nbl_buffer_size(ids) / 4};
}

/// Stops at the given call, and remembers what it was told.
struct Watch {
  int stop_at = -1;
  int calls = 0;
  std::string stages;
  static int32_t call(void* user, const nbl_progress* p) {
    auto* self = static_cast<Watch*>(user);
    EXPECT_EQ(p->struct_size, sizeof(nbl_progress));
    EXPECT_GE(p->done, 0);
    EXPECT_TRUE(p->total == 0 || p->done <= p->total);
    if (self->stages.find(p->stage) == std::string::npos) self->stages += std::string(p->stage) + " ";
    return ++self->calls == self->stop_at ? 1 : 0;
  }
};

TEST(Quantizer, WritesAModelThatRunsAndIsNearTheOriginal) {
  const Scratch scratch;
  const Runtime runtime = make_runtime();
  const Checkpoint original = open_checkpoint(runtime);
  nbl_quantizer* raw = nullptr;
  ASSERT_NBL_OK(nbl_quantizer_create(runtime.get(), "gptq:group=64", &raw));
  const Quantizer quantizer(raw);
  ASSERT_NBL_OK(nbl_quantizer_set(raw, "gptq.bits", "4"));
  ASSERT_NBL_OK(nbl_quantizer_set(raw, "calibration.windows", "4"));
  ASSERT_NBL_OK(nbl_quantizer_set(raw, "calibration.length", "128"));
  nbl_buffer* report = nullptr;
  const std::string text = calibration();
  ASSERT_NBL_OK(nbl_quantizer_set_calibration_text(raw, text.data(), text.size(), "calibration.txt"));
  Watch watch;
  ASSERT_NBL_OK(nbl_quantizer_set_progress(raw, Watch::call, &watch));
  ASSERT_NBL_OK(nbl_quantizer_run(raw, original.get(), scratch.file("m").c_str(), &report));
  EXPECT_GT(watch.calls, 28);
  EXPECT_NE(watch.stages.find("quantize"), std::string::npos) << watch.stages;
  const Json r = json_of(report);
  EXPECT_EQ(r.get_string("method").value(), "gptq");
  EXPECT_EQ(r.find("layers")->size(), 28u);
  EXPECT_EQ(r.get_int("file_bytes").value(), static_cast<int64_t>(std::filesystem::file_size(scratch.file("m"))));
  EXPECT_EQ(scratch.entries(), 1u);

  const Model reference = open_model(runtime), candidate = open_model(runtime, NBL_COMPUTE_DEFAULT, scratch.file("m"));
  nbl_evaluation* e = nullptr;
  ASSERT_NBL_OK(nbl_evaluation_create(runtime.get(), &e));
  const Evaluation evaluation(e);
  nbl_buffer* result = nullptr;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "model", nbl_evaluation_compare(e, &result));
  ASSERT_NBL_OK(nbl_evaluation_add_model(e, reference.get(), "original"));
  ASSERT_NBL_OK(nbl_evaluation_add_model(e, candidate.get(), nullptr));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "text", nbl_evaluation_compare(e, &result));
  const std::string words = evaluation_text();
  ASSERT_NBL_OK(nbl_evaluation_set_text(e, words.data(), words.size(), nullptr));
  ASSERT_NBL_OK(nbl_evaluation_set(e, "windows", "2"));
  ASSERT_NBL_OK(nbl_evaluation_compare(e, &result));
  const Json row = json_of(result).find("candidates")->elements()[0];
  EXPECT_EQ(row.get_string("name").value(), "model 2");
  EXPECT_GT(row.get_double("mean_kl").value(), 0.005);
  EXPECT_LT(row.get_double("mean_kl").value(), 0.3);
}

TEST(Quantizer, CancelledAnywhereLeavesNothing) {
  const Scratch scratch;
  const Runtime runtime = make_runtime();
  const Checkpoint original = open_checkpoint(runtime);
  nbl_quantizer* raw = nullptr;
  ASSERT_NBL_OK(nbl_quantizer_create(runtime.get(), "rtn", &raw));
  const Quantizer quantizer(raw);
  Watch whole;
  ASSERT_NBL_OK(nbl_quantizer_set_progress(raw, Watch::call, &whole));
  ASSERT_NBL_OK(nbl_quantizer_run(raw, original.get(), scratch.file("whole").c_str(), nullptr));
  ASSERT_EQ(scratch.entries(), 1u);
  for (int stop = 1; stop <= whole.calls; stop += std::max(1, whole.calls / 7)) {
    Watch watch{stop, 0, {}};
    ASSERT_NBL_OK(nbl_quantizer_set_progress(raw, Watch::call, &watch));
    nbl_buffer* report = reinterpret_cast<nbl_buffer*>(1);
    EXPECT_EQ(nbl_quantizer_run(raw, original.get(), scratch.file("part").c_str(), &report), NBL_E_CANCELLED);
    EXPECT_EQ(report, nullptr);
    EXPECT_EQ(scratch.entries(), 1u) << "stopped at call " << stop;
  }
}

TEST(Quantizer, RefusesWhatItDoesNotKnow) {
  const Runtime runtime = make_runtime(1);
  nbl_quantizer* raw = nullptr;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "magic", nbl_quantizer_create(runtime.get(), "magic", &raw));
  EXPECT_EQ(raw, nullptr);
  ASSERT_NBL_OK(nbl_quantizer_create(runtime.get(), "rtn", &raw));
  const Quantizer quantizer(raw);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "colour", nbl_quantizer_set(raw, "colour", "red"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "gptq", nbl_quantizer_set(raw, "gptq.bits", "4"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "rtn.bits", nbl_quantizer_set(raw, "rtn.bits", "99"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "magic", nbl_quantizer_add_override(raw, ".*", "magic"));
  const int32_t id = 1;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "windows", nbl_quantizer_set_calibration_ids(raw, &id, 1, 1, nullptr));
}

TEST(Runtime, MemoryCapEndsTheJob) {
  const Scratch scratch;
  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  options.threads = 1;
  options.max_memory_bytes = 1 << 20;
  nbl_runtime* raw = nullptr;
  ASSERT_NBL_OK(nbl_runtime_create(&options, &raw));
  const Runtime runtime(raw);
  const Checkpoint original = open_checkpoint(runtime);
  nbl_quantizer* q = nullptr;
  ASSERT_NBL_OK(nbl_quantizer_create(raw, "rtn", &q));
  const Quantizer quantizer(q);
  EXPECT_REFUSED(NBL_E_LIMIT, "cap", nbl_quantizer_run(q, original.get(), scratch.file("m").c_str(), nullptr));
  EXPECT_EQ(scratch.entries(), 0u);
}

TEST(Session, LogitsOfAllAtOnceEqualThoseOfOneByOne) {
  const Runtime runtime = make_runtime();
  const Model model = open_model(runtime, NBL_COMPUTE_EXACT);
  const std::vector<int32_t> ids = encode(model, "The ship lay in the harbour.");
  const auto vocab = static_cast<std::size_t>(nbl_model_vocab_size(model.get()));
  const Session whole = make_session(model, 32), steps = make_session(model, 32);
  const float* logits = nullptr;
  int64_t rows = 0;
  ASSERT_NBL_OK(
      nbl_session_append(whole.get(), ids.data(), static_cast<int64_t>(ids.size()), NBL_LOGITS_ALL, &logits, &rows));
  ASSERT_EQ(rows, static_cast<int64_t>(ids.size()));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const float* one = nullptr;
    ASSERT_NBL_OK(nbl_session_append(steps.get(), &ids[i], 1, NBL_LOGITS_LAST, &one, &rows));
    EXPECT_EQ(std::memcmp(one, logits + i * vocab, vocab * sizeof(float)), 0) << "token " << i;
  }
  EXPECT_EQ(nbl_session_position(steps.get()), static_cast<int64_t>(ids.size()));
  ASSERT_NBL_OK(nbl_session_truncate(steps.get(), 2));
  EXPECT_EQ(nbl_session_position(steps.get()), 2);
  EXPECT_EQ(nbl_session_truncate(steps.get(), 3), NBL_E_INVALID_ARGUMENT);
}

TEST(Session, RefusesWhatDoesNotFit) {
  const Runtime runtime = make_runtime(1);
  const Model model = open_model(runtime);
  const Session session = make_session(model, 4);
  EXPECT_EQ(nbl_session_capacity(session.get()), 4);
  const int32_t ids[5] = {1, 2, 3, 4, 5};
  EXPECT_EQ(nbl_session_append(session.get(), ids, 5, NBL_LOGITS_NONE, nullptr, nullptr), NBL_E_LIMIT);
  EXPECT_EQ(nbl_session_position(session.get()), 0);
  EXPECT_NBL_OK(nbl_session_append(session.get(), ids, 3, NBL_LOGITS_NONE, nullptr, nullptr));
  const int32_t outside = 1 << 30;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "1073741824",
                 nbl_session_append(session.get(), &outside, 1, NBL_LOGITS_NONE, nullptr, nullptr));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "out_logits",
                 nbl_session_append(session.get(), ids, 1, NBL_LOGITS_LAST, nullptr, nullptr));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "want", nbl_session_append(session.get(), ids, 1, 3, nullptr, nullptr));
}

struct Tokens {
  std::vector<int32_t> ids;
  std::string text;
  std::size_t stop_after = 1000;
  nbl_session* busy = nullptr;  ///< tried from inside the call
  static int32_t call(void* user, int32_t id, const char* text, size_t size) {
    auto* self = static_cast<Tokens*>(user);
    if (id >= 0) self->ids.push_back(id);
    self->text.append(text, size);
    if (self->busy != nullptr) {
      EXPECT_EQ(nbl_session_truncate(self->busy, 0), NBL_E_BUSY);
    }
    return self->ids.size() >= self->stop_after ? 1 : 0;
  }
};

TEST(Session, GeneratesStreamsAndStops) {
  const Runtime runtime = make_runtime();
  const Model model = open_model(runtime, NBL_COMPUTE_EXACT);
  const std::vector<int32_t> prompt = encode(model, "It was a dark");
  const auto count = static_cast<int64_t>(prompt.size());
  nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
  options.max_new_tokens = 20;
  Tokens whole;
  options.on_token = Tokens::call;
  options.on_token_user = &whole;
  const Session session = make_session(model, 64);
  whole.busy = session.get();
  nbl_buffer* result = nullptr;
  ASSERT_NBL_OK(nbl_session_generate(session.get(), prompt.data(), count, &options, &result));
  const Json r = json_of(result);
  EXPECT_EQ(r.get_string("finish_reason").value(), "length");
  EXPECT_EQ(r.get_string("text").value(), whole.text);
  ASSERT_EQ(r.find("token_ids")->size(), whole.ids.size());
  EXPECT_EQ(whole.ids.size(), 20u);

  Tokens part;
  part.stop_after = 7;
  options.on_token_user = &part;
  const Session other = make_session(model, 64);
  ASSERT_NBL_OK(nbl_session_generate(other.get(), prompt.data(), count, &options, &result));
  EXPECT_EQ(json_of(result).get_string("finish_reason").value(), "cancelled");
  EXPECT_EQ(part.ids, std::vector<int32_t>(whole.ids.begin(), whole.ids.begin() + 7));

  options.temperature = std::nanf("");
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "temperature",
                 nbl_session_generate(other.get(), prompt.data(), count, &options, nullptr));
}

TEST(Threads, ManySessionsOnOneModelEachGetTheirOwnText) {
  const Runtime runtime = make_runtime();
  const Model model = open_model(runtime, NBL_COMPUTE_EXACT);
  const std::vector<std::string> prompts{"It was", "The captain", "She said", "In the morning"};
  const auto generate = [&](const std::string& prompt) {
    const std::vector<int32_t> ids = encode(model, prompt);
    const Session session = make_session(model, 64);
    nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
    options.max_new_tokens = 24;
    nbl_buffer* result = nullptr;
    EXPECT_NBL_OK(nbl_session_generate(session.get(), ids.data(), static_cast<int64_t>(ids.size()), &options, &result));
    return json_of(result).get_string("text").value();
  };
  std::vector<std::string> alone, together(prompts.size());
  for (const std::string& prompt : prompts) alone.push_back(generate(prompt));
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < prompts.size(); ++i) threads.emplace_back([&, i] { together[i] = generate(prompts[i]); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone);
}

TEST(Runtime, WithoutMappingAFileMayBeCutShortInTheMidstOfAJob) {
  const Scratch scratch;
  const std::string input = scratch.file("model.safetensors"), whole = scratch.file("whole"), cut = scratch.file("cut");
  int32_t ok = 0;
  {
    const Runtime runtime = make_runtime(1);
    const Checkpoint original = open_checkpoint(runtime);
    ASSERT_NBL_OK(nbl_checkpoint_convert(original.get(), input.c_str(), "native", 0, nullptr, nullptr, &ok, nullptr));
  }
  struct Cut {
    std::string path;
    int events = 0;
  };
  for (const std::string* output : {&whole, &cut}) {
    const Runtime runtime = make_runtime(1);
    ASSERT_NBL_OK(nbl_runtime_set(runtime.get(), "mmap", "off"));
    const Checkpoint checkpoint = open_checkpoint(runtime, input);
    nbl_quantizer* raw = nullptr;
    ASSERT_NBL_OK(nbl_quantizer_create(runtime.get(), "rtn:bits=4,group=64", &raw));
    const Quantizer quantizer(raw);
    Cut state{output == &cut ? input : ""};
    ASSERT_NBL_OK(nbl_quantizer_set_progress(
        raw,
        [](void* user, const nbl_progress*) -> int32_t {
          auto& each = *static_cast<Cut*>(user);
          if (each.events++ == 0 && !each.path.empty()) std::filesystem::resize_file(each.path, 4096);
          return 0;
        },
        &state));
    ASSERT_NBL_OK(nbl_quantizer_run(raw, checkpoint.get(), output->c_str(), nullptr));
    EXPECT_GT(state.events, 1);
  }
  EXPECT_EQ(std::filesystem::file_size(input), 4096U);
  EXPECT_EQ(read_file(whole), read_file(cut));
}

TEST(Runtime, TuningIsASettingThatChangesNoResult) {
  const Scratch scratch;
  const std::string path = scratch.file("rtn.safetensors");
  std::vector<std::string> texts;
  for (const char* tune : {"off", "on"}) {
    const Runtime runtime = make_runtime(2);
    ASSERT_NBL_OK(nbl_runtime_set(runtime.get(), "tune", tune));
    if (texts.empty()) {
      const Checkpoint original = open_checkpoint(runtime);
      nbl_quantizer* q = nullptr;
      ASSERT_NBL_OK(nbl_quantizer_create(runtime.get(), "rtn:bits=4,group=64", &q));
      const Quantizer quantizer(q);
      ASSERT_NBL_OK(nbl_quantizer_run(q, original.get(), path.c_str(), nullptr));
    }
    nbl_model* raw = nullptr;
    ASSERT_NBL_OK(nbl_model_open(runtime.get(), path.c_str(), nullptr, &raw));
    const Model model(raw);
    const std::vector<int32_t> ids = encode(model, "It was a long way, and the road");
    const Session session = make_session(model, 48);
    nbl_buffer* result = nullptr;
    nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
    options.max_new_tokens = 16;
    ASSERT_NBL_OK(nbl_session_generate(session.get(), ids.data(), static_cast<int64_t>(ids.size()), &options, &result));
    texts.push_back(json_of(result).get_string("text").value());
    nbl_buffer* info = nullptr;
    ASSERT_NBL_OK(nbl_runtime_info(runtime.get(), &info));
    const Json j = json_of(info);
    EXPECT_EQ(j.get_string("tune").value(), tune);
    EXPECT_EQ(j.find("tuned")->size() > 0, std::string(tune) == "on");
  }
  EXPECT_EQ(texts[0], texts[1]);
  const Runtime runtime = make_runtime(1);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "tune", nbl_runtime_set(runtime.get(), "tuen", "on"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "off", nbl_runtime_set(runtime.get(), "tune", "maybe"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "value", nbl_runtime_set(runtime.get(), "tune", nullptr));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "runtime", nbl_runtime_set(nullptr, "tune", "on"));
}

TEST(Runtime, SeveralInAProcessAgree) {
  std::vector<std::string> texts;
  for (const int32_t threads : {1, 2, 3}) {
    const Runtime runtime = make_runtime(threads);
    EXPECT_EQ(nbl_runtime_threads(runtime.get()), threads);
    const Model model = open_model(runtime, NBL_COMPUTE_EXACT);
    const std::vector<int32_t> ids = encode(model, "It was");
    const Session session = make_session(model, 32);
    nbl_buffer* result = nullptr;
    nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
    options.max_new_tokens = 16;
    ASSERT_NBL_OK(nbl_session_generate(session.get(), ids.data(), static_cast<int64_t>(ids.size()), &options, &result));
    texts.push_back(json_of(result).get_string("text").value());
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_EQ(texts[0], texts[2]);
}

TEST(Evaluation, ModelsBelongToItsRuntime) {
  const Runtime one = make_runtime(1), other = make_runtime(1);
  const Model model = open_model(other);
  nbl_evaluation* raw = nullptr;
  ASSERT_NBL_OK(nbl_evaluation_create(one.get(), &raw));
  const Evaluation evaluation(raw);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "runtime", nbl_evaluation_add_model(raw, model.get(), "x"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "protocol", nbl_evaluation_set(raw, "protocol", "nonsense"));
  EXPECT_NE(nbl_evaluation_add_task(raw, "t", "{}", 2), NBL_OK);
  EXPECT_NE(nbl_evaluation_add_task(raw, "t", "", 0), NBL_OK);
}

}  // namespace
}  // namespace nbl::test
