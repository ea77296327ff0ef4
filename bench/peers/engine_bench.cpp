// Measures llama.cpp, or an engine with its C interface (ik_llama.cpp: compile with -DOLDER_INTERFACE), the way
// `nibble bench` measures nibble. Built by bench/versus_peers.sh against the engine's own headers and library.
//
//   engine_bench speed MODEL.gguf THREADS PROMPT GEN DEPTH    -> {"prefill_tok_s", "decode_tok_s"}
//   engine_bench nll MODEL.gguf THREADS TEXT WINDOWS          -> {"nll", "tokens"}: windows of 512, tokens 2 ... 512 scored
//   engine_bench quantize MODEL.gguf OUT.gguf TYPE            TYPE: a number of the engine's llama_ftype
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "llama.h"

namespace {

#if defined(OLDER_INTERFACE)
llama_model* load(const char* path, llama_model_params p) {
  p.repack_tensors = true;  // its faster layouts are made when asked for
  return llama_model_load_from_file(path, p);
}
llama_context* start(llama_model* model, llama_context_params p) { return llama_init_from_model(model, p); }
void forget(llama_context* context) { llama_kv_cache_clear(context); }
int vocabulary(llama_model* model) { return llama_n_vocab(model); }
int tokenize(llama_model* model, const std::string& text, std::vector<llama_token>& ids) {
  return llama_tokenize(model, text.data(), static_cast<int>(text.size()), ids.data(), static_cast<int>(ids.size()),
                        false, false);
}
llama_batch one_run(llama_token* ids, int count, int past) { return llama_batch_get_one(ids, count, past, 0); }
#else
llama_model* load(const char* path, llama_model_params p) { return llama_model_load_from_file(path, p); }
llama_context* start(llama_model* model, llama_context_params p) { return llama_init_from_model(model, p); }
void forget(llama_context* context) { llama_memory_clear(llama_get_memory(context), true); }
int vocabulary(llama_model* model) { return llama_vocab_n_tokens(llama_model_get_vocab(model)); }
int tokenize(llama_model* model, const std::string& text, std::vector<llama_token>& ids) {
  return llama_tokenize(llama_model_get_vocab(model), text.data(), static_cast<int>(text.size()), ids.data(),
                        static_cast<int>(ids.size()), false, false);
}
llama_batch one_run(llama_token* ids, int count, int past) {
  (void)past;
  return llama_batch_get_one(ids, count);
}
#endif

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "engine_bench: %s\n", what);
  std::exit(3);
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

llama_context* context_of(llama_model* model, int threads, int tokens) {
  llama_context_params p = llama_context_default_params();
  p.n_ctx = static_cast<uint32_t>(tokens);
  p.n_batch = 512;
  p.n_ubatch = 512;
  p.n_threads = threads;
  p.n_threads_batch = threads;
  llama_context* context = start(model, p);
  if (context == nullptr) fail("no context");
  return context;
}

int feed(llama_context* context, std::vector<llama_token>& ids, int count, int past) {
  for (int done = 0; done < count; done += 512) {
    const int now_many = std::min(512, count - done);
    if (llama_decode(context, one_run(ids.data() + done, now_many, past + done)) != 0) fail("decoding failed");
  }
  return past + count;
}

int speed(llama_model* model, int threads, int prompt, int gen, int depth) {
  llama_context* context = context_of(model, threads, prompt + depth + gen + 64);
  std::vector<llama_token> ids(static_cast<std::size_t>(std::max({prompt, depth, 512})));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<llama_token>(300 + i * 7919 % 20000 % (vocabulary(model) - 300));
  feed(context, ids, 16, 0);  // warm
  forget(context);
  int past = feed(context, ids, depth, 0);
  double begin = now();
  past = feed(context, ids, prompt, past);
  if (llama_get_logits_ith(context, -1) == nullptr) fail("no logits");
  const double prefill = now() - begin;
  begin = now();
  for (int i = 0; i < gen; ++i) {
    past = feed(context, ids, 1, past);
    if (llama_get_logits_ith(context, -1) == nullptr) fail("no logits");
  }
  const double decode = now() - begin;
  std::printf("{\"prefill_tok_s\": %.3f, \"decode_tok_s\": %.3f}\n", prompt / prefill, gen / decode);
  return 0;
}

int nll(llama_model* model, int threads, const char* path, int windows) {
  constexpr int kWindow = 512;
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<llama_token> ids(text.size() + 16);
  const int count = tokenize(model, text, ids);
  if (count < kWindow) fail("the text has less than a window of tokens");
  windows = std::min(windows, count / kWindow);
  llama_context* context = context_of(model, threads, kWindow + 64);
  llama_batch batch = llama_batch_init(kWindow, 0, 1);
  const int words = vocabulary(model);
  double total = 0;
  for (int w = 0; w < windows; ++w) {
    forget(context);
    batch.n_tokens = kWindow;
    for (int i = 0; i < kWindow; ++i) {
      batch.token[i] = ids[static_cast<std::size_t>(w * kWindow + i)];
      batch.pos[i] = i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) fail("decoding failed");
    for (int i = 0; i + 1 < kWindow; ++i) {
      const float* logits = llama_get_logits_ith(context, i);
      const float top = *std::max_element(logits, logits + words);
      double sum = 0;
      for (int v = 0; v < words; ++v) sum += std::exp(static_cast<double>(logits[v] - top));
      total += std::log(sum) + top - logits[batch.token[i + 1]];
    }
  }
  const int scored = windows * (kWindow - 1);
  std::printf("{\"nll\": %.6f, \"tokens\": %d}\n", total / scored, scored);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  llama_log_set([](ggml_log_level level, const char* text, void*) {
    if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
  }, nullptr);
  llama_backend_init();
  if (mode == "quantize" && argc == 5) {
    llama_model_quantize_params p = llama_model_quantize_default_params();
    p.ftype = static_cast<llama_ftype>(std::atoi(argv[4]));
    p.nthread = 2;
    p.allow_requantize = true;
    return llama_model_quantize(argv[2], argv[3], &p) == 0 ? 0 : 3;
  }
  if ((mode == "speed" && argc == 7) || (mode == "nll" && argc == 6)) {
    llama_model* model = load(argv[2], llama_model_default_params());
    if (model == nullptr) fail("the model does not load");
    const int threads = std::atoi(argv[3]);
    if (mode == "nll") return nll(model, threads, argv[4], std::atoi(argv[5]));
    return speed(model, threads, std::atoi(argv[4]), std::atoi(argv[5]), std::atoi(argv[6]));
  }
  fail("usage: engine_bench speed|nll|quantize ...");
}
