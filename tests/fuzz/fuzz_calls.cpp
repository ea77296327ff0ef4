// The rest of the C interface: batches, saved sessions, drafts, adapters, tokenizers, conversions, measurements. As fuzz_capi.cpp, whose
// calls make, load and quantize: the input is a program of calls with arguments that are often wrong.
#include <algorithm>
#include <vector>

#include "fuzz/capi_program.h"
#include "fuzz/fuzz.h"

namespace {

using namespace nbl::fuzz;

#define GOLDEN NIBBLE_SOURCE_DIR "/tests/golden/"
const char* const kModels[] = {GOLDEN "logits/tiny/llama", GOLDEN "logits/tiny/qwen2", GOLDEN "logits/tiny/mistral-window",
                               GOLDEN "logits/tiny/gpt-bigcode-multi-query"};
const char* const kTokenizers[] = {NIBBLE_SOURCE_DIR "/examples/models/prose-3.7m", GOLDEN "tokenizers/none", GOLDEN "logits/tiny/llama"};
const char* const kAdapters[] = {GOLDEN "lora/plain", GOLDEN "lora/rslora", GOLDEN "lora/none"};
const char* const kFormats[] = {"native", "gguf", "gptq", "awq", "bitsandbytes", "huggingface", "none", ""};
const char* const kTensors[] = {"model.layers.0.mlp.down_proj.weight", "model.embed_tokens.weight", "lm_head.weight", "", "none"};
const char* const kSettings[] = {"kv_type", "temperature", "top_k",  "beams",   "samples", "stop",    "min_p", "prompt_lookup",
                                 "grammar", "json_schema", "dry_multiplier", "logit_bias", "typical", "none"};
const char* const kValues[] = {"",   "0",  "1",       "2",   "-1",  "q8",  "f16", "1e30", "nan", "0.5", "root ::= \"a\"*", "{\"type\":\"integer\"}",
                               "a", "[1]", "{\"1\":2}", "\xff"};
const char* const kMessages[] = {R"([{"role":"user","content":"a"}])", "[]", "{}", "", R"([{"role":1}])", "[[[["};

/// What opens slowly or is large is opened once; handles made of it are counted, so that it outlives none of them wrongly.
struct Opened {
  nbl_runtime* runtime = nullptr;
  nbl_checkpoint* checkpoints[std::size(kModels)] = {};
  nbl_model* models[std::size(kModels)] = {};
  nbl_tokenizer* tokenizers[std::size(kTokenizers) + 1] = {};
};

const Opened& opened() {
  static const Opened& one = *[] {
    static Opened made;
    nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
    options.threads = 1;
    if (nbl_runtime_create(&options, &made.runtime) != NBL_OK) std::abort();
    for (size_t i = 0; i < std::size(kModels); ++i) {
      if (nbl_checkpoint_open(made.runtime, kModels[i], &made.checkpoints[i]) != NBL_OK) std::abort();
      if (nbl_model_load(made.checkpoints[i], nullptr, &made.models[i]) != NBL_OK) std::abort();
    }
    for (size_t i = 0; i < std::size(kTokenizers); ++i)
      check(nbl_tokenizer_open(made.runtime, kTokenizers[i], &made.tokenizers[i]), made.tokenizers[i]);
    if (made.tokenizers[0] == nullptr) std::abort();
    return &made;
  }();
  return one;
}

struct World {
  Slots<nbl_session, nbl_session_destroy> sessions;
  Slots<nbl_batch, nbl_batch_destroy> batches;
  Slots<nbl_model, nbl_model_destroy> adapted;
  Slots<nbl_checkpoint, nbl_checkpoint_destroy> checkpoints;
  Slots<nbl_evaluation, nbl_evaluation_destroy> evaluations;
  Slots<nbl_quantizer, nbl_quantizer_destroy> quantizers;
  Slots<nbl_qtensor, nbl_qtensor_destroy> qtensors;

  nbl_model* model(unsigned i) const {
    nbl_model* const mine = adapted.get(i);
    return i % 4 == 0 && mine != nullptr ? mine : i % 16 == 15 ? nullptr : opened().models[i % std::size(kModels)];
  }
  nbl_checkpoint* checkpoint(unsigned i) const {
    nbl_checkpoint* const mine = checkpoints.get(i);
    return i % 4 == 0 && mine != nullptr ? mine : i % 16 == 15 ? nullptr : opened().checkpoints[i % std::size(kModels)];
  }
};

int32_t stop_now_and_then(void* user, const nbl_progress*) {
  return ++*static_cast<int*>(user) % 7 == 0 ? 1 : 0;
}

void check_number(nbl_status status) { check(status, static_cast<const void*>(nullptr)); }

void use_sessions(World& world, Program& program, unsigned op, unsigned slot) {
  nbl_buffer* buffer = nullptr;
  nbl_session* const session = world.sessions.get(slot);
  const std::string saved = (folder().path() / ("session" + std::to_string(program.byte() % 3))).string();
  switch (op) {
    case 0: {
      nbl_session_options options = NBL_SESSION_OPTIONS_INIT;
      options.max_tokens = std::min<int64_t>(program.number(), 64);
      nbl_session* out = nullptr;
      check(nbl_session_create(world.model(program.byte()), &options, &out), out);
      world.sessions.put(slot, out);
      break;
    }
    case 1: {
      nbl_batch* out = nullptr;
      check(nbl_batch_create(world.model(program.byte()), std::min<int64_t>(program.number(), 8), &out), out);
      world.batches.put(slot, out);
      break;
    }
    case 2: {
      nbl_session* sessions[4];
      int32_t tokens[4];
      const int64_t count = static_cast<int64_t>(program.byte() % 6) - 1;
      for (int i = 0; i < 4; ++i) {
        sessions[i] = world.sessions.get(program.byte());
        tokens[i] = static_cast<int32_t>(program.number());
      }
      const float* logits = nullptr;
      const nbl_status status = nbl_batch_step(world.batches.get(slot), sessions, tokens, std::min<int64_t>(count, 4), &logits);
      check(status, status == NBL_OK ? nullptr : logits);
      break;
    }
    case 3:
      check_number(nbl_session_save(session, saved.c_str()));
      break;
    case 4:
      check_number(nbl_session_load(session, saved.c_str()));
      break;
    case 5:
      check_number(nbl_session_set(session, program.one_of(kSettings), program.one_of(kValues)));
      break;
    case 6:
      check_number(nbl_session_set_draft(session, program.byte() % 4 == 0 ? nullptr : world.model(program.byte())));
      break;
    case 7: {
      const nbl_status status = nbl_session_tokens(session, &buffer);
      check(status, buffer);
      const size_t ids = nbl_buffer_size(buffer) / sizeof(int32_t);
      if (status == NBL_OK && static_cast<int64_t>(ids) != nbl_session_position(session)) std::abort();
      for (size_t i = 0; i < ids; ++i)
        if (nbl_buffer_ids(buffer)[i] < 0) std::abort();
      if (nbl_session_position(session) > nbl_session_capacity(session)) std::abort();
      nbl_buffer_destroy(buffer);
      break;
    }
    default: {
      nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
      options.max_new_tokens = 1 + program.byte() % 6;
      options.temperature = static_cast<float>(program.byte() % 3);
      const int32_t prompt[] = {1, static_cast<int32_t>(program.byte() % 40), 2, 1};
      take(nbl_session_generate(session, prompt, program.byte() % 5, &options, &buffer), buffer);
    }
  }
}

void use_tokenizer(Program& program, unsigned op, unsigned slot) {
  nbl_buffer* buffer = nullptr;
  nbl_tokenizer* const tokenizer = opened().tokenizers[slot];
  switch (op) {
    case 0: {
      std::vector<int32_t> ids(program.byte() % 9);
      for (int32_t& id : ids) id = static_cast<int32_t>(program.number());
      take(nbl_tokenizer_decode(tokenizer, ids.data(), static_cast<int64_t>(ids.size()), program.byte() % 2, &buffer), buffer);
      break;
    }
    case 1: {
      int32_t id = 0;
      const nbl_status status = nbl_tokenizer_find(tokenizer, program.text().c_str(), &id);
      check_number(status);
      break;
    }
    case 2:
      take(nbl_tokenizer_piece(tokenizer, static_cast<int32_t>(program.number()), &buffer), buffer);
      break;
    case 3:
      take(nbl_tokenizer_info(tokenizer, &buffer), buffer);
      break;
    default:
      take(nbl_tokenizer_apply_chat_template(tokenizer, program.one_of(kMessages), program.byte() % 3 == 0 ? program.one_of(kMessages) : nullptr,
                                             program.byte() % 3 == 0 ? program.one_of(kValues) : nullptr, &buffer),
           buffer);
  }
}

void use_files(World& world, Program& program, unsigned op, unsigned slot) {
  nbl_buffer* buffer = nullptr;
  int calls = static_cast<int>(program.byte());
  int32_t ok = 0;
  switch (op) {
    case 0: {
      nbl_checkpoint* out = nullptr;
      check(nbl_checkpoint_add_adapter(world.checkpoint(program.byte()), program.one_of(kAdapters), static_cast<float>(program.number()), &out), out);
      world.checkpoints.put(slot, out);
      break;
    }
    case 1: {
      nbl_model* out = nullptr;
      check(nbl_model_add_adapter(world.model(program.byte()), program.one_of(kAdapters), static_cast<float>(program.number()), &out), out);
      world.adapted.put(slot, out);
      break;
    }
    case 2: {
      const auto path = folder().path() / ("converted" + std::to_string(program.byte() % 4));
      std::error_code ec;
      std::filesystem::remove_all(path, ec);  // a mapping of it may still be alive
      take(nbl_checkpoint_convert(world.checkpoint(program.byte()), path.c_str(), program.one_of(kFormats), program.byte() % 5, stop_now_and_then,
                                  &calls, &ok, &buffer),
           buffer);
      nbl_checkpoint* out = nullptr;
      check(nbl_checkpoint_open(opened().runtime, path.c_str(), &out), out);
      world.checkpoints.put(slot, out);
      break;
    }
    case 3:
      take(nbl_checkpoint_verify(world.checkpoint(program.byte()), stop_now_and_then, &calls, &ok, &buffer), buffer);
      break;
    case 4: {
      const std::string text = program.text();
      take(nbl_checkpoint_examine(world.checkpoint(program.byte()), text.data(), text.size(), stop_now_and_then, &calls, &buffer), buffer);
      break;
    }
    case 5:
      check_number(nbl_checkpoint_set_measured(world.checkpoint(program.byte()), program.one_of(kValues)));
      break;
    case 6: {
      nbl_qtensor* out = nullptr;
      check(nbl_qtensor_from_checkpoint(world.checkpoint(program.byte()), program.one_of(kTensors), &out), out);
      if (nbl_qtensor_rows(out) < 0 || (out != nullptr && nbl_qtensor_rows(out) == 0)) std::abort();
      world.qtensors.put(slot, out);
      break;
    }
    case 7: {
      nbl_tokenizer* out = nullptr;
      check(nbl_tokenizer_from_checkpoint(world.checkpoint(program.byte()), &out), out);
      nbl_tokenizer_destroy(out);
      break;
    }
    default: {
      const int64_t before = nbl_limit_get("json_depth");
      check_number(nbl_limit_set(program.byte() % 2 == 0 ? "json_depth" : "none", program.number()));
      if (nbl_limit_set("json_depth", before) != NBL_OK || nbl_limit_get("json_depth") != before) std::abort();
    }
  }
}

void measure(World& world, Program& program, unsigned op, unsigned slot) {
  nbl_buffer* buffer = nullptr;
  nbl_evaluation* const evaluation = world.evaluations.get(slot);
  const std::string text = program.text();
  switch (op) {
    case 0: {
      nbl_evaluation* out = nullptr;
      check(nbl_evaluation_create(opened().runtime, &out), out);
      world.evaluations.put(slot, out);
      break;
    }
    case 1:
      check_number(nbl_evaluation_add_model(evaluation, world.model(program.byte()), program.byte() % 2 == 0 ? nullptr : text.c_str()));
      break;
    case 2:
      check_number(nbl_evaluation_set_text(evaluation, text.data(), text.size(), nullptr));
      break;
    case 3:
      take(nbl_evaluation_perplexity(evaluation, &buffer), buffer);
      break;
    case 4:
      take(nbl_evaluation_compare(evaluation, &buffer), buffer);
      break;
    case 5:
      take(nbl_evaluation_tasks(evaluation, &buffer), buffer);
      break;
    case 6:
      check_number(nbl_evaluation_add_task_definition(evaluation, text.data(), text.size(), nullptr));
      break;
    case 7: {
      nbl_quantizer* out = nullptr;
      check(nbl_quantizer_create(opened().runtime, "gptq:bits=4,group=16", &out), out);
      world.quantizers.put(slot, out);
      break;
    }
    case 8: {
      std::vector<int32_t> ids(64);
      for (size_t i = 0; i < 4; ++i) ids[i] = static_cast<int32_t>(program.number());
      const int64_t windows = static_cast<int64_t>(program.byte() % 4) - 1, length = static_cast<int64_t>(program.byte() % 18) - 1;
      check_number(nbl_quantizer_set_calibration_ids(world.quantizers.get(slot), ids.data(), windows, length, nullptr));
      break;
    }
    case 9:
      check_number(nbl_quantizer_set_calibration_text(world.quantizers.get(slot), text.data(), text.size(), nullptr));
      break;
    default: {
      int calls = static_cast<int>(program.byte());
      check_number(nbl_quantizer_set_progress(world.quantizers.get(slot), stop_now_and_then, &calls));
      take(nbl_quantizer_run(world.quantizers.get(slot), world.checkpoint(program.byte()), (folder().path() / "quantized").c_str(), &buffer), buffer);
      check_number(nbl_quantizer_set_progress(world.quantizers.get(slot), nullptr, nullptr));
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)opened();
  World world;
  Program program(data, std::min<size_t>(size, 256));
  while (!program.done()) {
    const unsigned op = program.byte() % 34, slot = program.byte() % 3;
    if (op < 9)
      use_sessions(world, program, op, slot);
    else if (op < 14)
      use_tokenizer(program, op - 9, slot);
    else if (op < 23)
      use_files(world, program, op - 14, slot);
    else
      measure(world, program, op - 23, slot);
  }
  return 0;
}
