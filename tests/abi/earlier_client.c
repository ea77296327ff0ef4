/* A program of the time of the first header: opens, quantizes, generates, compares, multiplies. Compiled against each earlier header
 * (NIBBLE_HEADER) and run with today's library.
 *
 *   earlier_client MODEL SCRATCH.safetensors
 */
#include NIBBLE_HEADER

#include <math.h>
#include <stdio.h>
#include <string.h>

static nbl_runtime* runtime;
static int calls_of_progress, tokens_seen, logged;

static int32_t on_progress(void* user, const nbl_progress* progress) {
  (void)user;
  calls_of_progress += progress->struct_size >= sizeof(nbl_progress) && progress->stage != NULL && progress->done >= 0;
  return 0;
}
static int32_t on_token(void* user, int32_t id, const char* text, size_t size) {
  (void)user;
  (void)text;
  (void)size;
  tokens_seen += id >= 0;
  return 0;
}
static void on_log(void* user, int32_t level, const char* message) {
  (void)user;
  (void)message;
  logged += level > 0;
}

#define TRY(call)                                                                       \
  do {                                                                                  \
    const nbl_status status_ = (call);                                                  \
    if (status_ != NBL_OK) {                                                            \
      fprintf(stderr, "%s: %s: %s\n", #call, nbl_status_name(status_), nbl_last_error()); \
      return 1;                                                                         \
    }                                                                                   \
  } while (0)
#define EXPECT(condition)                                          \
  do {                                                             \
    if (!(condition)) {                                            \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      return 1;                                                    \
    }                                                              \
  } while (0)

static int matrix(void) {
  float weight[2 * 64], x[64], y[2], back[2 * 64];
  nbl_qtensor_options options = NBL_QTENSOR_OPTIONS_INIT;
  nbl_qtensor* q = NULL;
  int i;
  for (i = 0; i < 2 * 64; ++i) weight[i] = (float)(i % 9) - 4.0f;
  for (i = 0; i < 64; ++i) x[i] = 0.5f;
  options.seed = 1;
  TRY(nbl_qtensor_quantize(runtime, weight, 2, 64, 64, "rtn:bits=8,group=64", &options, &q));
  TRY(nbl_qtensor_dequantize(q, 0, 2, back, 64));
  TRY(nbl_qtensor_matmul(q, NBL_COMPUTE_EXACT, x, 64, 1, y, 2));
  for (i = 0; i < 2 * 64; ++i) EXPECT(fabsf(back[i] - weight[i]) < 0.05f);
  EXPECT(nbl_qtensor_rows(q) == 2 && nbl_qtensor_columns(q) == 64);
  nbl_qtensor_destroy(q);
  return 0;
}

static int job(const char* path, const char* output) {
  nbl_checkpoint* checkpoint = NULL;
  nbl_quantizer* quantizer = NULL;
  nbl_buffer* report = NULL;
  TRY(nbl_checkpoint_open(runtime, path, &checkpoint));
  TRY(nbl_quantizer_create(runtime, "rtn:bits=8,group=64", &quantizer));
  TRY(nbl_quantizer_set_progress(quantizer, on_progress, NULL));
  TRY(nbl_quantizer_run(quantizer, checkpoint, output, &report));
  EXPECT(strstr(nbl_buffer_text(report), "\"bits_per_weight\"") != NULL && calls_of_progress > 0);
  nbl_buffer_destroy(report);
  nbl_quantizer_destroy(quantizer);
  nbl_checkpoint_destroy(checkpoint);
  return 0;
}

static int text(nbl_model* model) {
  nbl_session_options session_options = NBL_SESSION_OPTIONS_INIT;
  nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
  nbl_tokenizer* tokenizer = NULL;
  nbl_session* session = NULL;
  nbl_buffer *ids = NULL, *result = NULL;
  const float* logits = NULL;
  int64_t rows = 0;
  TRY(nbl_tokenizer_from_model(model, &tokenizer));
  TRY(nbl_tokenizer_encode(tokenizer, "It was", 6, 0, &ids));
  session_options.max_tokens = 64;
  TRY(nbl_session_create(model, &session_options, &session));
  EXPECT(nbl_session_capacity(session) >= 64);
  TRY(nbl_session_append(session, nbl_buffer_ids(ids), (int64_t)(nbl_buffer_size(ids) / 4), NBL_LOGITS_LAST, &logits, &rows));
  EXPECT(rows == 1 && logits[0] == logits[0]);
  TRY(nbl_session_truncate(session, 0));
  options.max_new_tokens = 8;
  options.temperature = 0.5f;
  options.seed = 7;
  options.ignore_eos = 1;
  options.on_token = on_token;
  TRY(nbl_session_generate(session, nbl_buffer_ids(ids), (int64_t)(nbl_buffer_size(ids) / 4), &options, &result));
  EXPECT(tokens_seen == 8 && strstr(nbl_buffer_text(result), "\"finish_reason\": \"length\"") != NULL);
  nbl_session_destroy(session);
  nbl_tokenizer_destroy(tokenizer);
  nbl_buffer_destroy(ids);
  nbl_buffer_destroy(result);
  return 0;
}

static int measure(nbl_model* original, nbl_model* quantized) {
  nbl_evaluation* evaluation = NULL;
  nbl_buffer* json = NULL;
  char long_text[6000] = "";
  while (strlen(long_text) < sizeof long_text - 64) strcat(long_text, "It was a bright morning, and the ship lay still. ");
  TRY(nbl_evaluation_create(runtime, &evaluation));
  TRY(nbl_evaluation_add_model(evaluation, original, "a"));
  TRY(nbl_evaluation_add_model(evaluation, quantized, NULL));
  TRY(nbl_evaluation_set_text(evaluation, long_text, strlen(long_text), NULL));
  TRY(nbl_evaluation_set(evaluation, "windows", "1"));
  TRY(nbl_evaluation_compare(evaluation, &json));
  EXPECT(strstr(nbl_buffer_text(json), "\"mean_kl\"") != NULL);
  nbl_buffer_destroy(json);
  nbl_evaluation_destroy(evaluation);
  return 0;
}

int main(int argc, char** argv) {
  nbl_runtime_options options = NBL_RUNTIME_OPTIONS_INIT;
  nbl_model_options model_options = NBL_MODEL_OPTIONS_INIT;
  nbl_model *original = NULL, *quantized = NULL;
  EXPECT(argc == 3);
  EXPECT(nbl_version_number() >= NBL_VERSION_MAJOR * 10000 + NBL_VERSION_MINOR * 100 + NBL_VERSION_PATCH);
  options.threads = 1;
  options.log = on_log;
  TRY(nbl_runtime_create(&options, &runtime));
  EXPECT(nbl_runtime_threads(runtime) == 1);
  model_options.compute = NBL_COMPUTE_EXACT;
  model_options.progress = on_progress;
  EXPECT(nbl_model_open(runtime, "/no/such/model", NULL, &original) == NBL_E_NOT_FOUND && original == NULL);
  if (matrix() != 0 || job(argv[1], argv[2]) != 0) return 1;
  TRY(nbl_model_open(runtime, argv[1], &model_options, &original));
  TRY(nbl_model_open(runtime, argv[2], &model_options, &quantized));
  EXPECT(nbl_model_vocab_size(original) == nbl_model_vocab_size(quantized));
  if (text(quantized) != 0 || measure(original, quantized) != 0) return 1;
  nbl_model_destroy(original);
  nbl_model_destroy(quantized);
  nbl_runtime_destroy(runtime);
  puts("ok");
  return 0;
}
