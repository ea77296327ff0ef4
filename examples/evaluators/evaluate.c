/* Two models on questions of one's own: nibble's evaluation from C.
 *
 *   evaluate MODEL OTHER QUESTIONS.jsonl
 *
 * QUESTIONS.jsonl has lines {"context", "choices": [...], "answer": index}. Prints the result as JSON.
 */
#include <nibble/nibble.h>
#include <stdio.h>
#include <stdlib.h>

static void check(nbl_status status) {
  if (status == NBL_OK) return;
  fprintf(stderr, "%s: %s\n", nbl_status_name(status), nbl_last_error());
  exit(1);
}

static char* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  size_t room = 1 << 16, got;
  char* bytes = malloc(room);
  *size = 0;
  if (file == NULL || bytes == NULL) {
    perror(path);
    exit(1);
  }
  while ((got = fread(bytes + *size, 1, room - *size, file)) > 0) {
    *size += got;
    if (*size < room) continue;
    room *= 2;
    bytes = realloc(bytes, room);
    if (bytes == NULL) exit(1);
  }
  fclose(file);
  return bytes;
}

int main(int argc, char** argv) {
  nbl_runtime* runtime = NULL;
  nbl_model* models[2] = {NULL, NULL};
  nbl_evaluation* evaluation = NULL;
  nbl_buffer* result = NULL;
  size_t size = 0;
  char* questions;
  int i;
  if (argc != 4) {
    fprintf(stderr, "usage: %s MODEL OTHER QUESTIONS.jsonl\n", argv[0]);
    return 2;
  }
  questions = read_file(argv[3], &size);
  check(nbl_runtime_create(NULL, &runtime));
  check(nbl_evaluation_create(runtime, &evaluation));
  for (i = 0; i < 2; ++i) {
    check(nbl_model_open(runtime, argv[1 + i], NULL, &models[i]));
    check(nbl_evaluation_add_model(evaluation, models[i], argv[1 + i]));
  }
  check(nbl_evaluation_add_task(evaluation, "questions", questions, size));
  check(nbl_evaluation_set(evaluation, "limit", "100"));
  check(nbl_evaluation_tasks(evaluation, &result));
  puts(nbl_buffer_text(result));

  nbl_buffer_destroy(result);
  nbl_evaluation_destroy(evaluation);
  nbl_model_destroy(models[0]);
  nbl_model_destroy(models[1]);
  nbl_runtime_destroy(runtime);
  free(questions);
  return 0;
}
