/* Load, quantize, generate, compare: nibble from C.
 *
 *   quickstart MODEL CALIBRATION.txt EVALUATION.txt OUTPUT
 *
 * In the source tree, after building:
 *   cc -Iinclude examples/c/quickstart.c -Lbuild/release/lib -lnibble -Wl,-rpath,build/release/lib -o quickstart
 *   ./quickstart examples/models/prose-3.7m examples/data/calibration.txt examples/data/evaluation.txt prose-4bit.safetensors
 */
#include <nibble/nibble.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything in nibble that can fail returns a status; nbl_last_error() has the sentence. */
static void check(nbl_status status) {
  if (status == NBL_OK) return;
  fprintf(stderr, "%s: %s\n", nbl_status_name(status), nbl_last_error());
  exit(1);
}

static char* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  char* bytes;
  long length;
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0) {
    perror(path);
    exit(1);
  }
  rewind(file);
  bytes = malloc((size_t)length + 1);
  if (bytes == NULL || fread(bytes, 1, (size_t)length, file) != (size_t)length) {
    perror(path);
    exit(1);
  }
  fclose(file);
  bytes[length] = '\0';
  *size = (size_t)length;
  return bytes;
}

/* Prints text as it becomes certain. A result other than 0 would stop the generation. */
static int32_t on_token(void* user, int32_t id, const char* text, size_t size) {
  (void)user;
  (void)id;
  fwrite(text, 1, size, stdout);
  fflush(stdout);
  return 0;
}

int main(int argc, char** argv) {
  const char* prompt = "It was a bright morning, and";
  nbl_runtime* runtime = NULL;
  nbl_checkpoint* original = NULL;
  nbl_quantizer* quantizer = NULL;
  nbl_model *model = NULL, *reference = NULL;
  nbl_tokenizer* tokenizer = NULL;
  nbl_session* session = NULL;
  nbl_evaluation* evaluation = NULL;
  nbl_buffer *ids = NULL, *report = NULL, *comparison = NULL;
  nbl_generate_options generate = NBL_GENERATE_OPTIONS_INIT;
  char *calibration, *text;
  size_t calibration_size, text_size;

  if (argc != 5) {
    fprintf(stderr, "usage: %s MODEL CALIBRATION.txt EVALUATION.txt OUTPUT\n", argv[0]);
    return 2;
  }
  calibration = read_file(argv[2], &calibration_size);
  text = read_file(argv[3], &text_size);

  /* Load: a runtime owns the threads, a checkpoint is a model as it lies in files. */
  check(nbl_runtime_create(NULL, &runtime));
  check(nbl_checkpoint_open(runtime, argv[1], &original));

  /* Quantize: GPTQ to 4 bits in groups of 64, guided by a text. */
  check(nbl_quantizer_create(runtime, "gptq:bits=4,group=64", &quantizer));
  check(nbl_quantizer_set(quantizer, "calibration.windows", "16"));
  check(nbl_quantizer_set_calibration_text(quantizer, calibration, calibration_size, argv[2]));
  check(nbl_quantizer_run(quantizer, original, argv[4], &report));

  /* Generate: greedily, 40 tokens, from the file just written. */
  check(nbl_model_open(runtime, argv[4], NULL, &model));
  check(nbl_tokenizer_from_model(model, &tokenizer));
  check(nbl_tokenizer_encode(tokenizer, prompt, strlen(prompt), NBL_ENCODE_SPECIAL, &ids));
  check(nbl_session_create(model, NULL, &session));
  generate.max_new_tokens = 40;
  generate.on_token = on_token;
  fputs(prompt, stdout);
  check(nbl_session_generate(session, nbl_buffer_ids(ids), (int64_t)(nbl_buffer_size(ids) / sizeof(int32_t)), &generate,
                             NULL));
  fputs("\n\n", stdout);

  /* Compare: how far is the quantized model from the original? The first model is the reference. */
  check(nbl_model_load(original, NULL, &reference));
  check(nbl_evaluation_create(runtime, &evaluation));
  check(nbl_evaluation_add_model(evaluation, reference, "original"));
  check(nbl_evaluation_add_model(evaluation, model, "gptq 4 bit"));
  check(nbl_evaluation_set_text(evaluation, text, text_size, argv[3]));
  check(nbl_evaluation_set(evaluation, "windows", "4"));
  check(nbl_evaluation_compare(evaluation, &comparison));
  fputs(nbl_buffer_text(comparison), stdout);

  /* Handles may be destroyed in any order. */
  nbl_buffer_destroy(comparison);
  nbl_buffer_destroy(report);
  nbl_buffer_destroy(ids);
  nbl_evaluation_destroy(evaluation);
  nbl_session_destroy(session);
  nbl_tokenizer_destroy(tokenizer);
  nbl_model_destroy(reference);
  nbl_model_destroy(model);
  nbl_quantizer_destroy(quantizer);
  nbl_checkpoint_destroy(original);
  nbl_runtime_destroy(runtime);
  free(text);
  free(calibration);
  return 0;
}
