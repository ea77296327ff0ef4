/* nibble.h - quantize language models, run them on CPUs, measure what it cost.
 *
 * The whole of nibble's C interface, in the order in which you will use it. C99; C++ programs may prefer nibble.hpp,
 * which is these functions in RAII clothes and nothing more.
 *
 *
 * A TOUR
 *
 *   nbl_runtime* runtime;                                      // threads and instruction set
 *   nbl_checkpoint* original;                                  // a model as it lies in files
 *   nbl_quantizer* quantizer;                                  // a job: one recipe, one calibration text
 *   nbl_buffer* report;                                        // bytes the library returns: here JSON
 *   nbl_model* model;                                          // weights made ready to run; immutable, shareable
 *   nbl_session* session;                                      // one sequence: KV cache, position
 *
 *   nbl_runtime_create(NULL, &runtime);                        // NULL: every option at its default
 *   nbl_checkpoint_open(runtime, "models/prose", &original);
 *
 *   nbl_quantizer_create(runtime, "gptq:bits=4,group=64", &quantizer);
 *   nbl_quantizer_set_calibration_text(quantizer, text, text_size, "my text");
 *   nbl_quantizer_run(quantizer, original, "prose-4bit.safetensors", &report);
 *
 *   nbl_model_open(runtime, "prose-4bit.safetensors", NULL, &model);
 *   nbl_session_create(model, NULL, &session);
 *   nbl_session_generate(session, ids, id_count, &generate_options, &result);
 *
 * examples/c/quickstart.c is the same with its error checks, and with the comparison of the two models added.
 *
 *
 * RULES, the same for every function
 *
 * Errors      Functions that can fail return nbl_status; NBL_OK is 0. nbl_last_error() then holds one sentence that
 *             names the file, the tensor, what was found and what was expected. Outputs come last and are named
 *             out_*; when a function fails they are NULL or 0. Getters without a status cannot fail.
 * Handles     Opaque. What a *_create, *_open, *_load or an out_* parameter gives you is yours: give it to the
 *             matching *_destroy, which accepts NULL. The order of destruction is free: handles hold what they need.
 * Strings     UTF-8. `const char*` parameters end with NUL, unless a size in bytes follows them. Returned
 *             `const char*` are borrowed from their owner and live as long as it does, unless said otherwise.
 * Options     Structs are passed by pointer; NULL means all defaults. The first field is struct_size; initialize with
 *             the INIT macro that stands beside the struct. 0 or NULL in a field always means its default. A struct
 *             grows at its end only, so programs compiled against an older header keep working; a field that this
 *             library does not know is accepted when it is zero and refused (NBL_E_UNSUPPORTED) when it is not.
 * Settings    Quantizer and evaluation take named settings as text, listed with type, bounds, default and help by the
 *             *_json functions: a new method or metric changes no struct.
 * Results     Of whole jobs are JSON documents; docs/cli.md lists the keys. Keys are added, never renamed.
 * Threads     nbl_last_error() is per thread. Runtime, checkpoint, model, tokenizer and qtensor may be used from
 *             several threads at once; session, sampler, quantizer, export and evaluation by one thread at a time (another
 *             gets NBL_E_BUSY). Any handle may be used and destroyed on another thread than the one that created it. A
 *             runtime owns one team of threads; jobs given to it at the same time take turns.
 * fork        A child process made by fork() may use what its parent made, with threads of its own, unless another thread of
 *             the parent was inside the library at that moment. Better start children with exec.
 * Manners     The library never prints, exits, reads environment variables, sets the locale or installs signal
 *             handlers. Messages go to your log function, progress to your progress function.
 *
 * Everything here is since 0.1 unless a comment says otherwise.
 */
#ifndef NIBBLE_H
#define NIBBLE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define NBL_API
#elif defined(__GNUC__)
#define NBL_API __attribute__((visibility("default")))
#else
#define NBL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ==================================================================================================================
 * 1. Version and errors
 * ================================================================================================================== */

/* The version of this header. */
#define NBL_VERSION_MAJOR 0
#define NBL_VERSION_MINOR 1 /* rises when something is added */
#define NBL_VERSION_PATCH 0 /* rises when something is mended */

/* The version of the library that is loaded, as "0.1.0". */
NBL_API const char* nbl_version(void);

/* The same as a number: major * 10000 + minor * 100 + patch. Compare with the header's to find a mismatch. */
NBL_API int32_t nbl_version_number(void);

/* What a function says about its success. Values are fixed; new ones are only appended. */
typedef int32_t nbl_status;
enum {
  NBL_OK = 0,
  NBL_E_INVALID_ARGUMENT = 1, /* an argument is wrong: NULL where a handle is needed, an unknown option, a bad value */
  NBL_E_NOT_FOUND = 2,        /* a file, a tensor or a name does not exist */
  NBL_E_IO = 3,               /* the operating system refused a read or a write (permission, disk full) */
  NBL_E_CORRUPT = 4,          /* a file contradicts its own format: truncated, damaged, inconsistent */
  NBL_E_UNSUPPORTED = 5,      /* valid, but nothing in this version implements it */
  NBL_E_LIMIT = 6,            /* memory, context length, a bound on untrusted input, or a missing CPU feature */
  NBL_E_CANCELLED = 7,        /* your progress or token function asked to stop */
  NBL_E_OUT_OF_MEMORY = 8,
  NBL_E_BUSY = 9,      /* the handle is being used by another thread */
  NBL_E_MISMATCH = 10, /* two things that must agree do not: shapes, hashes, vocabularies */
  NBL_E_INTERNAL = 11  /* a bug of nibble's; please report it */
};

/* The name of a status: "ok", "not_found", ... For an unknown value "unknown". Never NULL. */
NBL_API const char* nbl_status_name(nbl_status status);

/* What went wrong in this thread's last call that returned a status; "" when it succeeded. Borrowed until the next one.
 * At most 2047 bytes. */
NBL_API const char* nbl_last_error(void);

/* ==================================================================================================================
 * 2. Bytes that the library returns
 *
 * JSON documents, decoded text and token ids come as an nbl_buffer: immutable, owned by you.
 * ================================================================================================================== */

/* Bytes of the library's, yours to destroy. */
typedef struct nbl_buffer nbl_buffer;

/* The first byte; aligned for any type, and followed by a NUL that size does not count: JSON and text may be used as C
 * strings. NULL gives NULL. */
NBL_API const void* nbl_buffer_data(const nbl_buffer* buffer);
/* nbl_buffer_data() as text. */
NBL_API const char* nbl_buffer_text(const nbl_buffer* buffer);
/* nbl_buffer_data() as token ids; there are nbl_buffer_size() / 4 of them. */
NBL_API const int32_t* nbl_buffer_ids(const nbl_buffer* buffer);
/* Bytes, the final NUL not included. NULL gives 0. */
NBL_API size_t nbl_buffer_size(const nbl_buffer* buffer);
NBL_API void nbl_buffer_destroy(nbl_buffer* buffer);

/* ==================================================================================================================
 * 3. Functions of yours that the library calls
 * ================================================================================================================== */

enum { NBL_LOG_WARNING = 1, NBL_LOG_INFO = 2, NBL_LOG_DEBUG = 3 };

/* One message, without a line break; `message` lives until you return. Called from the thread that made the call. */
typedef void (*nbl_log_fn)(void* user, int32_t level, const char* message);

/* How far a long job has come. */
typedef struct nbl_progress {
  uint32_t struct_size; /* of this struct in the library that calls you: look at no field beyond it */
  uint32_t reserved;
  const char* stage;    /* "load", "calibrate", "quantize", "write", "evaluate", ... */
  const char* detail;   /* the layer, file or model at hand; may be "" */
  int64_t done;         /* steps of this stage */
  int64_t total;        /* 0: unknown */
  int64_t memory_bytes; /* resident memory of the process now; 0: unknown */
} nbl_progress;

/* Return 0 to go on. Anything else cancels: the job returns NBL_E_CANCELLED soon and leaves nothing half-written.
 * Called from the thread that runs the job. The struct lives until you return. Do not call into the same handle from
 * here. */
typedef int32_t (*nbl_progress_fn)(void* user, const nbl_progress* progress);

/* ==================================================================================================================
 * 4. The runtime: a team of threads and an instruction set
 * ================================================================================================================== */

/* Threads, instruction set, memory. What it is needed for keeps it. */
typedef struct nbl_runtime nbl_runtime;

/* Memory of yours. allocate: `size` bytes, a multiple of 64, at an address that is a multiple of `alignment` (64); NULL
 * when there is none: the call then fails with NBL_E_OUT_OF_MEMORY. deallocate: such a block back, whole. Both are called
 * from any thread, several at once, until the last handle made with the runtime is gone. */
typedef void* (*nbl_allocate_fn)(void* user, size_t size, size_t alignment);
/* See nbl_allocate_fn. */
typedef void (*nbl_deallocate_fn)(void* user, void* memory, size_t size);

/* Of nbl_runtime_create(). */
typedef struct nbl_runtime_options {
  uint32_t struct_size;
  int32_t threads;          /* 0: one for each processor that this process may use */
  const char* isa;          /* use no instruction set above this one: "scalar", "avx2", ... ; NULL: the best usable */
  int64_t max_memory_bytes; /* a job ends with NBL_E_LIMIT once the process's resident memory exceeds it; 0: no cap */
  nbl_log_fn log;           /* warnings and notes; NULL: dropped */
  void* log_user;
  /* Where blocks of numbers come from: weights that cannot stay in their file's mapping, KV caches, work space, quantized
   * matrices, files read by nbl_read_fn. Handles, texts, tables and calibration statistics always come from malloc. Both
   * or neither (NULL: the system's memory). */
  nbl_allocate_fn allocate;
  nbl_deallocate_fn deallocate;
  void* allocator_user;
} nbl_runtime_options;
#define NBL_RUNTIME_OPTIONS_INIT \
  { (uint32_t)sizeof(nbl_runtime_options), 0, NULL, 0, NULL, NULL, NULL, NULL, NULL }

/* Several runtimes may live in a process, each with its own threads.
 * Errors: INVALID_ARGUMENT (unknown isa), LIMIT (this CPU lacks it). */
NBL_API nbl_status nbl_runtime_create(const nbl_runtime_options* options, nbl_runtime** out_runtime);
NBL_API void nbl_runtime_destroy(nbl_runtime* runtime);

/* One setting as text, one of nbl_runtime_settings_json(), for models and matrices made from then on. "mmap": "off" reads files whole
 * instead of mapping them: a mapped file that another process cuts short raises SIGBUS, one that was read cannot, but it takes memory
 * of its size.
 * Errors: INVALID_ARGUMENT naming the settings there are, or what this one may be. */
NBL_API nbl_status nbl_runtime_set(nbl_runtime* runtime, const char* name, const char* value);

/* The number of threads of the team, at least 1. NULL gives 0. */
NBL_API int32_t nbl_runtime_threads(const nbl_runtime* runtime);

/* JSON: version, CPU, memory, instruction sets usable and chosen, the settings, what tuning chose ("tuned": [{"shape", "choice",
 * "us", "default_us"}]), and everything section 5 lists. */
NBL_API nbl_status nbl_runtime_info(nbl_runtime* runtime, nbl_buffer** out_json);

/* What the machine can do at most, measured: JSON {"threads", "dram_read", "l2_read", "f32_fma", "int8_dot",
 * "bf16_dot", "amx_int8", "amx_bf16", "disturbed"}, each of the seven {"one", "team"} in bytes or operations a second
 * (medians of five rounds or more), null where the processor has no such instructions; "disturbed" is true when other
 * programs took part of the machine meanwhile. Takes a second or two and, for a moment, at least 256 MB. */
NBL_API nbl_status nbl_runtime_measure_limits(nbl_runtime* runtime, nbl_buffer** out_json);

/* ==================================================================================================================
 * 5. What this library can do, as JSON arrays
 *
 * The strings live as long as the library and are made of the lists that the library itself works from, so a user
 * interface built on them needs to know no name. NULL only when memory ran out.
 * ================================================================================================================== */

/* [{"id", "summary", "needs_calibration", "nominal_bits", "uses_calibration", "options": [{"name", "type", "default", "min",
 *   "max", "choices", "help"}]}]: quantization methods; an option "x" of method "m" is the quantizer setting "m.x". A method
 *   that needs no calibration as it comes may use one with other options. */
NBL_API const char* nbl_methods_json(void);
/* [{"id", "summary", "reads", "writes"}]: checkpoint formats. */
NBL_API const char* nbl_dialects_json(void);
/* [{"id", "model_types"}]: model families, with the config.json model_type values that select them. */
NBL_API const char* nbl_architectures_json(void);
/* [{"id", "usable", "best"}]: instruction sets that kernels exist for. */
NBL_API const char* nbl_isas_json(void);
/* [{"id", "summary"}]: perplexity protocols. */
NBL_API const char* nbl_protocols_json(void);
/* [{"id", "summary", "version", "output_type", "num_fewshot", "metrics", "files"}]: benchmark tasks; groups have "members". */
NBL_API const char* nbl_tasks_json(void);
/* [{"name", "type", "default", "min", "max", "choices", "help"}]: settings of a runtime. */
NBL_API const char* nbl_runtime_settings_json(void);
/* The same of every quantizer, whatever its method. */
NBL_API const char* nbl_quantizer_settings_json(void);
/* The same, for evaluations. */
NBL_API const char* nbl_evaluation_settings_json(void);
/* The same, for generation: samplers, penalties, stop strings, beams, grammars, speculation (docs/generation.md). */
NBL_API const char* nbl_generation_settings_json(void);
/* The same, for samplers: those settings of generation that choose tokens, and "end_tokens". */
NBL_API const char* nbl_sampler_settings_json(void);
/* The same, for exports. */
NBL_API const char* nbl_export_settings_json(void);

/* [{"name", "default", "max", "help"}]: the bounds on what a file, a text or a setting may ask for. Beyond one of them a call fails
 * with NBL_E_LIMIT or NBL_E_CORRUPT before memory or time is spent. */
NBL_API const char* nbl_limits_json(void);
/* Changes one of them for this process, for calls that begin afterwards; from any thread. value: 1 to its "max"; 0: the default.
 * Errors: NOT_FOUND (no such name), INVALID_ARGUMENT (out of range). Since 0.1. */
NBL_API nbl_status nbl_limit_set(const char* name, int64_t value);
/* The value in force; 0 for an unknown name. */
NBL_API int64_t nbl_limit_get(const char* name);

/* ==================================================================================================================
 * 6. Checkpoints: a model as it lies in files
 * ================================================================================================================== */

/* Opened files: config, tensors, tokenizer. */
typedef struct nbl_checkpoint nbl_checkpoint;

/* Opens a Hugging Face directory, a native nibble file, a .gguf file or a llama2.c .bin. The format is recognised by
 * content, never by name. Files are mapped, not read: this is cheap, and every size and offset is checked.
 * Errors: NOT_FOUND, IO, CORRUPT, UNSUPPORTED (a format or model nobody here knows). */
NBL_API nbl_status nbl_checkpoint_open(nbl_runtime* runtime, const char* path, nbl_checkpoint** out_checkpoint);
NBL_API void nbl_checkpoint_destroy(nbl_checkpoint* checkpoint);

/* Reads `size` bytes (at most 16 MiB) at `offset` of a file of yours into `buffer`. Return 0; anything else is an NBL_E_IO that
 * names the file, the place and what you returned. */
typedef int32_t (*nbl_read_fn)(void* user, int64_t offset, void* buffer, size_t size);
/* The file is no longer needed. Called once for each file that names it, from whichever thread let go of it last, also
 * when the function that took the files fails. */
typedef void (*nbl_release_fn)(void* user);

enum {
  NBL_FILE_ON_DEMAND = 1 /* `read` is called when something is needed, for that range; memory holds what is in use, not the file */
};

/* A file that lies in no file system: bytes of yours, or a function that reads them. */
typedef struct nbl_file {
  uint32_t struct_size; /* sizeof(nbl_file), the same in all elements of an array */
  uint32_t reserved;
  const char* name;       /* "config.json", "model.safetensors", "model.gguf": no path; copied */
  const void* data;       /* the bytes, borrowed until release is called; NULL: `read` gives them */
  int64_t size;           /* of the file, in bytes */
  nbl_read_fn read;       /* with data NULL: called before the function returns, for the whole file, in pieces; on demand: until
                           * release, from any thread, one call at a time for a file */
  nbl_release_fn release; /* NULL: none */
  void* user;             /* for both */
  uint64_t flags;         /* NBL_FILE_ON_DEMAND or 0 */
} nbl_file;
#define NBL_FILE_INIT \
  { (uint32_t)sizeof(nbl_file), 0, NULL, NULL, 0, NULL, NULL, NULL, 0 }

/* nbl_checkpoint_open() for files in memory. files: `count` of them; with a "config.json" they are a Hugging Face
 * directory, else the first is the model, and what its format looks for beside it (further parts of a split GGUF,
 * tokenizer.bin) is found among the others. A native file whose data is 64-byte aligned is used where it lies. Of a file on demand
 * the head is read now and each tensor when a call needs it, into the memory where it stays or for as long as it takes to repack it;
 * files of up to 1 MiB are read whole at once. A read that fails later fails the call that needed it, with IO.
 * Errors: those of nbl_checkpoint_open, INVALID_ARGUMENT (a name that is none or is there twice, flags), IO (read failed). */
NBL_API nbl_status nbl_checkpoint_open_files(nbl_runtime* runtime, const nbl_file* files, int64_t count,
                                             nbl_checkpoint** out_checkpoint);

/* The same checkpoint with a LoRA adapter merged into its weights as they are read: for quantizing a fine-tuned model.
 * Parameters and errors as nbl_model_add_adapter(). */
NBL_API nbl_status nbl_checkpoint_add_adapter(nbl_checkpoint* checkpoint, const char* path, float scale,
                                              nbl_checkpoint** out_checkpoint);

enum {
  NBL_INSPECT_TENSORS = 1, /* list every tensor */
  NBL_INSPECT_HASH = 2,    /* with its SHA-256: of a dense tensor's elements, of a quantized one's packed parts */
  NBL_INSPECT_MANIFEST = 4 /* with "manifest": how nibble made the file; absent when it has none */
};
/* What it is: JSON as `nibble inspect --json` prints. flags: NBL_INSPECT_* or 0. Hashing reads every byte. */
NBL_API nbl_status nbl_checkpoint_inspect(nbl_checkpoint* checkpoint, uint32_t flags, nbl_buffer** out_json);

/* Compares every tensor with the hash that the file's manifest holds for it. *out_ok is 1 when all agree; the JSON
 * names those that do not. UNSUPPORTED: the format carries no manifest. */
NBL_API nbl_status nbl_checkpoint_verify(nbl_checkpoint* checkpoint, nbl_progress_fn progress, void* progress_user,
                                         int32_t* out_ok, nbl_buffer** out_json);

/* Looks for what would spoil a long job, before it: tokenizer, BOS and EOS, chat template, NaN, dead channels, coverage by
 * the calibration text (`size` bytes of UTF-8; 0: that check is skipped), memory and disk. Reads every weight once.
 * out_json: {"checks": [{"name", "status" ("ok", "warning", "fail", "skipped"), "detail"}]}. What is wrong with the model
 * is a failed check, not an error. */
NBL_API nbl_status nbl_checkpoint_examine(nbl_checkpoint* checkpoint, const char* calibration_text, size_t size,
                                          nbl_progress_fn progress, void* progress_user, nbl_buffer** out_json);

enum {
  NBL_CONVERT_ALLOW_LOSSY = 1, /* quantize anew what the format cannot hold, instead of refusing */
  NBL_CONVERT_VERIFY = 2       /* reopen the output and compare every tensor with the input's */
};
/* An nbl_export (section 7) in one call.
 * Writes the checkpoint in another format (an id of nbl_dialects_json() that writes; NULL: "native"): the same codes
 * where the format has codes, the same values always. *out_ok is 1 when the output was written and, where that was
 * asked for, verified. It is 0 when tensors were refused - the JSON's "refused" names each with the reason and the
 * formats that hold it exactly, and nothing was written - or when verification found differences. out_json: as `nibble
 * convert --json` prints; NULL if you need none.
 * Errors: INVALID_ARGUMENT (unknown format, flags), IO, LIMIT (disk full), CANCELLED. */
NBL_API nbl_status nbl_checkpoint_convert(nbl_checkpoint* checkpoint, const char* output_path, const char* format,
                                          uint32_t flags, nbl_progress_fn progress, void* progress_user,
                                          int32_t* out_ok, nbl_buffer** out_json);

/* Figures for the model card (README.md) of what nbl_checkpoint_convert() and nbl_quantizer_run() make of this
 * checkpoint: the JSON of `nibble perplexity`, `compare`, `eval` or `sweep`, or an array of several. The caller says that
 * they were measured of the weights that are written. NULL or "": none, and the card says "Not measured". Not while the
 * checkpoint is in use by another thread.
 * Errors: INVALID_ARGUMENT (no object or array), CORRUPT (no JSON). Since 0.1. */
NBL_API nbl_status nbl_checkpoint_set_measured(nbl_checkpoint* checkpoint, const char* results_json);

/* ==================================================================================================================
 * 7. Jobs, from a checkpoint to a new file: the quantizer, and the export
 * ================================================================================================================== */

/* A recipe with its settings and its calibration. */
typedef struct nbl_quantizer nbl_quantizer;

/* recipe: a method with options, as "rtn:bits=4,group=64", "gptq:bits=3", "nf4:block=64"; "fp16", "bf16" and "fp32"
 * keep the weights dense. nbl_methods_json() lists methods and options.
 * Errors: INVALID_ARGUMENT, naming the option, the value and what is allowed. */
NBL_API nbl_status nbl_quantizer_create(nbl_runtime* runtime, const char* recipe, nbl_quantizer** out_quantizer);
NBL_API void nbl_quantizer_destroy(nbl_quantizer* quantizer);

/* One setting as text: "<method>.<option>", or one of nbl_quantizer_settings_json(). */
NBL_API nbl_status nbl_quantizer_set(nbl_quantizer* quantizer, const char* name, const char* value);

/* Tensors whose whole name matches `regex` get `recipe` instead; "" keeps them as they are. The first match wins. */
NBL_API nbl_status nbl_quantizer_add_override(nbl_quantizer* quantizer, const char* regex, const char* recipe);

/* The text whose activations guide the methods that need calibration, `size` bytes of UTF-8, copied. `source` names it
 * in the report and the manifest; NULL: "memory". Windows are taken evenly over it ("calibration.windows"). */
NBL_API nbl_status nbl_quantizer_set_calibration_text(nbl_quantizer* quantizer, const char* text, size_t size,
                                                      const char* source);
/* The same as token ids, for models without a tokenizer: windows * length ids, copied. */
NBL_API nbl_status nbl_quantizer_set_calibration_ids(nbl_quantizer* quantizer, const int32_t* ids, int64_t windows,
                                                     int64_t length, const char* source);

/* Called while the job runs; NULL: none. */
NBL_API nbl_status nbl_quantizer_set_progress(nbl_quantizer* quantizer, nbl_progress_fn progress, void* user);

/* Does the job: `input` is quantized into a new file or directory `output_path`, which appears only when all is done
 * and replaces an older one in one step. One decoder layer is in memory at a time. out_report: JSON as
 * `nibble quantize --json` prints. May be called again, with other settings or another input.
 * Errors: INVALID_ARGUMENT (no calibration though the method needs it), CORRUPT (a NaN weight), IO, LIMIT, CANCELLED;
 * then nothing is left behind at output_path. */
NBL_API nbl_status nbl_quantizer_run(nbl_quantizer* quantizer, nbl_checkpoint* input, const char* output_path,
                                     nbl_buffer** out_report);

/* A format with its settings: writes checkpoints for other programs, with the numbers that they have. */
typedef struct nbl_export nbl_export;

/* format: an id of nbl_dialects_json() that writes; NULL: "native".
 * Errors: INVALID_ARGUMENT, naming the formats that write. */
NBL_API nbl_status nbl_export_create(nbl_runtime* runtime, const char* format, nbl_export** out_export);
NBL_API void nbl_export_destroy(nbl_export* job);

/* One of nbl_export_settings_json(): "allow_lossy", "verify", "measured"; "" takes it back to its default. */
NBL_API nbl_status nbl_export_set(nbl_export* job, const char* name, const char* value);
/* Called while the job runs; NULL: none. */
NBL_API nbl_status nbl_export_set_progress(nbl_export* job, nbl_progress_fn progress, void* user);

/* Does the job: a complete file or directory `output_path`, with tokenizer, configuration and a model card where the format
 * has a place for them; it appears only when all is done. *out_ok and out_report: as out_ok and out_json of
 * nbl_checkpoint_convert(). May be called again, with other settings or another input.
 * Errors: IO, LIMIT (disk full), CANCELLED; then nothing is left behind at output_path. */
NBL_API nbl_status nbl_export_run(nbl_export* job, nbl_checkpoint* input, const char* output_path, int32_t* out_ok,
                                  nbl_buffer** out_report);

/* ==================================================================================================================
 * 8. Models and tokenizers
 * ================================================================================================================== */

/* Weights ready to run. */
typedef struct nbl_model nbl_model;
/* Text to token ids and back. */
typedef struct nbl_tokenizer nbl_tokenizer;

enum {
  NBL_COMPUTE_DEFAULT = 0, /* fast */
  NBL_COMPUTE_EXACT = 1,   /* activations stay float32; the same bytes for any number of threads and batch size */
  NBL_COMPUTE_FAST = 2     /* activations quantized to int8 groups where the weights' encoding has an integer kernel */
};

/* Of nbl_model_load() and nbl_model_open(). */
typedef struct nbl_model_options {
  uint32_t struct_size;
  int32_t compute; /* NBL_COMPUTE_* */
  nbl_progress_fn progress; /* of loading; NULL: none */
  void* progress_user;
} nbl_model_options;
#define NBL_MODEL_OPTIONS_INIT \
  { (uint32_t)sizeof(nbl_model_options), NBL_COMPUTE_DEFAULT, NULL, NULL }

/* Makes a checkpoint ready to run. A native file is used in place: weights stay in the mapping. Immutable afterwards,
 * and shareable among threads. The checkpoint may be destroyed.
 * Errors: those of nbl_checkpoint_open, and CORRUPT or MISMATCH for a tensor that is missing or of the wrong shape. */
NBL_API nbl_status nbl_model_load(nbl_checkpoint* checkpoint, const nbl_model_options* options, nbl_model** out_model);
/* nbl_checkpoint_open() and nbl_model_load() in one. */
NBL_API nbl_status nbl_model_open(nbl_runtime* runtime, const char* path, const nbl_model_options* options,
                                  nbl_model** out_model);
NBL_API void nbl_model_destroy(nbl_model* model);

/* The same model with a LoRA adapter (a directory that PEFT wrote: adapter_config.json and adapter_model.safetensors)
 * applied beside its weights, quantized or not. The two models share the weights; adapters added to the result add up.
 * scale: multiplies the adapter's own scale; usually 1.
 * Errors: UNSUPPORTED naming what of the adapter is not implemented, MISMATCH (made for another model), CORRUPT. */
NBL_API nbl_status nbl_model_add_adapter(nbl_model* model, const char* path, float scale, nbl_model** out_model);

/* Number of token ids: ids are 0 ... vocab_size - 1, and a row of logits has so many floats. */
NBL_API int64_t nbl_model_vocab_size(const nbl_model* model);
/* The longest sequence the model was made for; 0: unbounded. */
NBL_API int64_t nbl_model_max_positions(const nbl_model* model);
/* JSON: architecture, dimensions, parameters, bytes of weights that one decoded token reads, compute mode, isa. */
NBL_API nbl_status nbl_model_info(nbl_model* model, nbl_buffer** out_json);

/* The tokenizer that the files carry. NOT_FOUND: they carry none. */
NBL_API nbl_status nbl_tokenizer_from_checkpoint(nbl_checkpoint* checkpoint, nbl_tokenizer** out_tokenizer);
/* The same, of a model. */
NBL_API nbl_status nbl_tokenizer_from_model(nbl_model* model, nbl_tokenizer** out_tokenizer);
/* The tokenizer of a model, or of a place that has a vocabulary and no weights: a directory with tokenizer.json or
 * tokenizer.model, such a file itself, a GGUF file of any architecture. Errors: those of nbl_checkpoint_open. */
NBL_API nbl_status nbl_tokenizer_open(nbl_runtime* runtime, const char* path, nbl_tokenizer** out_tokenizer);
NBL_API void nbl_tokenizer_destroy(nbl_tokenizer* tokenizer);

enum {
  NBL_ENCODE_SPECIAL = 1, /* add what the model expects around a text (a beginning-of-sequence token, say) */
  NBL_ENCODE_LITERAL = 2  /* text that looks like a special token is ordinary text; otherwise it becomes that token */
};
/* Text (`size` bytes of UTF-8) to ids; flags: NBL_ENCODE_* or 0. out_ids: see nbl_buffer_ids(). */
NBL_API nbl_status nbl_tokenizer_encode(nbl_tokenizer* tokenizer, const char* text, size_t size, uint32_t flags,
                                        nbl_buffer** out_ids);
/* Ids to text. skip_special: non-zero leaves special tokens out. */
NBL_API nbl_status nbl_tokenizer_decode(nbl_tokenizer* tokenizer, const int32_t* ids, int64_t count,
                                        int32_t skip_special, nbl_buffer** out_text);
/* The token as the vocabulary stores it. INVALID_ARGUMENT: no such id. */
NBL_API nbl_status nbl_tokenizer_piece(nbl_tokenizer* tokenizer, int32_t id, nbl_buffer** out_text);
/* The id of such a piece. NOT_FOUND: the vocabulary has none. */
NBL_API nbl_status nbl_tokenizer_find(nbl_tokenizer* tokenizer, const char* piece, int32_t* out_id);
/* JSON: kind, vocab_size, bos, eos, turn_ends (ids that end an answer), chat_templates (their names). */
NBL_API nbl_status nbl_tokenizer_info(nbl_tokenizer* tokenizer, nbl_buffer** out_json);

/* A conversation as the text that the model expects: its own chat template (Jinja, interpreted in a sandbox that bounds
 * steps, depth and memory) over the messages. Encode the text with flags 0: the template writes its special tokens.
 *   messages_json: [{"role", "content", ...}, ...], one at least.
 *   tools_json: JSON schemas of functions that the model may call, as transformers passes them; NULL: none.
 *   settings_json: an object; NULL: {}. "add_generation_prompt" (false): end with what begins an answer;
 *     "continue_final_message" (false): leave the last message open; "chat_template": a template's name or its source.
 *     Every other member is a variable of the template ("enable_thinking": false).
 * Errors: NOT_FOUND (the model carries no template), INVALID_ARGUMENT (not such JSON), CORRUPT (the template raises an
 * error or is none: line and reason), UNSUPPORTED (a part of the language that is missing), LIMIT (a bound). */
NBL_API nbl_status nbl_tokenizer_apply_chat_template(nbl_tokenizer* tokenizer, const char* messages_json,
                                                     const char* tools_json, const char* settings_json,
                                                     nbl_buffer** out_text);

/* ==================================================================================================================
 * 9. Sessions: one sequence being processed; batches of them; samplers
 * ================================================================================================================== */

/* A sequence, its keys and values, and the settings by which it is continued. */
typedef struct nbl_session nbl_session;

/* Of nbl_session_create(). */
typedef struct nbl_session_options {
  uint32_t struct_size;
  uint32_t reserved;
  int64_t max_tokens; /* positions to make room for, prompt included; 0: the model's own length, at most 4096 */
} nbl_session_options;
#define NBL_SESSION_OPTIONS_INIT \
  { (uint32_t)sizeof(nbl_session_options), 0, 0 }

/* Takes all the memory that the sequence will ever need: stepping allocates nothing. */
NBL_API nbl_status nbl_session_create(nbl_model* model, const nbl_session_options* options, nbl_session** out_session);
NBL_API void nbl_session_destroy(nbl_session* session);

/* Tokens consumed so far. NULL gives 0. */
NBL_API int64_t nbl_session_position(const nbl_session* session);
/* Room for tokens in all. NULL gives 0. */
NBL_API int64_t nbl_session_capacity(const nbl_session* session);

enum { NBL_LOGITS_NONE = 0, NBL_LOGITS_LAST = 1, NBL_LOGITS_ALL = 2 };
/* Appends `count` tokens and runs the model over them. want: whose logits to return. *out_logits: row-major
 * [*out_rows, vocab_size] floats, natural-log units, borrowed until the session's next call; NULL and 0 rows for
 * NBL_LOGITS_NONE. Both outputs may be NULL then.
 * Errors: LIMIT (no room: nothing was appended), INVALID_ARGUMENT (an id outside the vocabulary). */
NBL_API nbl_status nbl_session_append(nbl_session* session, const int32_t* ids, int64_t count, int32_t want,
                                      const float** out_logits, int64_t* out_rows);

/* Forgets everything after the first `position` tokens. */
NBL_API nbl_status nbl_session_truncate(nbl_session* session, int64_t position);

/* The tokens consumed so far: see nbl_buffer_ids(). */
NBL_API nbl_status nbl_session_tokens(nbl_session* session, nbl_buffer** out_ids);

/* Writes the sequence (tokens, keys and values) to a file, which appears only when it is whole. */
NBL_API nbl_status nbl_session_save(nbl_session* session, const char* path);
/* Takes a saved sequence in place of the session's own.
 * Errors: CORRUPT (no such file, damaged), MISMATCH (of another model or another kv_type), LIMIT (no room). On an error the
 * session is empty or what it was. */
NBL_API nbl_status nbl_session_load(nbl_session* session, const char* path);

/* One setting of this session's generation as text, one of nbl_generation_settings_json(); "" takes it back to its
 * default. Also "kv_type" (auto, f32, f16, bf16, q8, q4: how keys and values are kept), while the session is empty.
 * Errors: INVALID_ARGUMENT, naming the setting, the value and what is allowed. */
NBL_API nbl_status nbl_session_set(nbl_session* session, const char* name, const char* value);
/* A smaller model with the same vocabulary that drafts tokens for this one to check: generation gives what it would give
 * without, sooner. The setting "draft_tokens" says how many at a time. NULL: none.
 * Errors: MISMATCH (another vocabulary). */
NBL_API nbl_status nbl_session_set_draft(nbl_session* session, nbl_model* draft);

/* Called with each token that was chosen. text: what became certain with it, `size` bytes, never half a character,
 * maybe none; always empty for a model without a tokenizer. Return 0 to go on, anything else to stop. The last call,
 * with id -1, brings text that was held back, if any; a call with id -2 and no text, between the parts of a long prompt
 * and with tokens of samples other than the first, only gives you the chance to stop. */
typedef int32_t (*nbl_token_fn)(void* user, int32_t id, const char* text, size_t size);

/* A field that is 0 leaves the session's setting of that name. */
typedef struct nbl_generate_options {
  uint32_t struct_size;
  int32_t top_k;          /* choose among the k likeliest; 0: all */
  int64_t max_new_tokens; /* 0: 128 */
  float temperature;      /* 0: greedy, the likeliest token each time */
  float top_p;            /* choose among the likeliest that together reach this probability; 0 or 1: all */
  uint64_t seed;          /* of the choices; the same seed gives the same text */
  int32_t ignore_eos;     /* non-zero: do not stop at the end-of-sequence token */
  int32_t reserved;
  nbl_token_fn on_token; /* NULL: none */
  void* on_token_user;
} nbl_generate_options;
#define NBL_GENERATE_OPTIONS_INIT \
  { (uint32_t)sizeof(nbl_generate_options), 0, 0, 0.0f, 0.0f, 0, 0, 0, NULL, NULL }

/* Appends the prompt, then chooses token after token until max_new_tokens, an end-of-sequence token, a stop string, the
 * end of the room or your stop. out_result: JSON {"prompt_tokens", "text", "token_ids", "finish_reason" ("length", "eos",
 * "stop", "context", "grammar", "cancelled"), "prefill_tok_s", "decode_tok_s", ...}, and what settings add: "stop",
 * "logprobs", "prompt_logprobs", "samples", "drafted_tokens", "accepted_tokens"; NULL if you need none. Being stopped by
 * on_token is no error. The session keeps the sequence: generate again to continue it. */
NBL_API nbl_status nbl_session_generate(nbl_session* session, const int32_t* prompt, int64_t count,
                                        const nbl_generate_options* options, nbl_buffer** out_result);

/* Several sessions of one model decoded together, a token each: the weights are read once for all of them. */
typedef struct nbl_batch nbl_batch;
/* max_sessions: how many sessions a step may have; takes the memory for them. */
NBL_API nbl_status nbl_batch_create(nbl_model* model, int64_t max_sessions, nbl_batch** out_batch);
NBL_API void nbl_batch_destroy(nbl_batch* batch);
/* Appends tokens[i] to sessions[i], all different and of the batch's model. *out_logits: row-major [count, vocab_size], in
 * the order of the sessions, borrowed until the batch's next step. On an error no session has moved.
 * Errors: LIMIT (a session is full), INVALID_ARGUMENT, BUSY. */
NBL_API nbl_status nbl_batch_step(nbl_batch* batch, nbl_session* const* sessions, const int32_t* tokens, int64_t count,
                                  const float** out_logits);

/* Chooses tokens from logits as nbl_session_generate() does, for loops of your own and for engines that have their own
 * logits: the same settings, the same logits and the same seed give the same tokens.
 *
 *   nbl_sampler_create(nbl_model_vocab_size(model), tokenizer, &sampler);
 *   nbl_sampler_set(sampler, "temperature", "0.8");
 *   nbl_sampler_reset(sampler, prompt, prompt_count);
 *   for (;;) {
 *     nbl_sampler_sample(sampler, logits, &id);         // logits after the text so far
 *     if (id < 0 || nbl_sampler_ended(sampler)) break;  // the text is complete
 *     ...                                               // append id, compute the next logits
 *   }
 */
typedef struct nbl_sampler nbl_sampler;

/* vocab_size: floats in a row of logits. tokenizer: needed by the settings "grammar", "json_schema" and "dry_breakers", and
 * names the tokens that end a text; NULL: none. Greedy until settings say otherwise.
 * Errors: INVALID_ARGUMENT (no such vocab_size). */
NBL_API nbl_status nbl_sampler_create(int64_t vocab_size, nbl_tokenizer* tokenizer, nbl_sampler** out_sampler);
/* Another one that stands where this one stands: settings, text so far, place in the grammar. */
NBL_API nbl_status nbl_sampler_clone(nbl_sampler* sampler, nbl_sampler** out_sampler);
NBL_API void nbl_sampler_destroy(nbl_sampler* sampler);

/* One setting as text, one of nbl_sampler_settings_json(); "" takes it back to its default. May be changed between two
 * choices; another grammar begins at the next token.
 * Errors: INVALID_ARGUMENT, naming the setting, the value and what is allowed; UNSUPPORTED (a grammar without a
 * tokenizer). On an error nothing has changed. */
NBL_API nbl_status nbl_sampler_set(nbl_sampler* sampler, const char* name, const char* value);
/* Begins a text: `count` ids that come before the first choice (for the penalties; 0: none), copied. Settings stay. */
NBL_API nbl_status nbl_sampler_reset(nbl_sampler* sampler, const int32_t* prompt, int64_t count);

/* The next token out of logits [vocab_size], which are read only; the sampler does not move, and the same logits give the
 * same token again. *out_id is -1 when a grammar's text is complete.
 * Errors: INVALID_ARGUMENT (no logit is a finite number), UNSUPPORTED (no token is allowed by the grammar). */
NBL_API nbl_status nbl_sampler_choose(nbl_sampler* sampler, const float* logits, int32_t* out_id);
/* `id` is now part of the text, whoever chose it. Errors: INVALID_ARGUMENT (outside the vocabulary or the grammar). */
NBL_API nbl_status nbl_sampler_accept(nbl_sampler* sampler, int32_t id);
/* Both in one: chooses and accepts. */
NBL_API nbl_status nbl_sampler_sample(nbl_sampler* sampler, const float* logits, int32_t* out_id);
/* 1 when the token accepted last ends a text (an end-of-sequence token), else 0. NULL gives 0. */
NBL_API int32_t nbl_sampler_ended(const nbl_sampler* sampler);

/* ==================================================================================================================
 * 10. Evaluation: what did quantization cost?
 *
 * An evaluation holds models, a text, tasks and settings; each of the functions at the end measures one thing over
 * them. Every number comes with its protocol and its standard error.
 * ================================================================================================================== */

/* What is measured: models, a text, tasks, settings. */
typedef struct nbl_evaluation nbl_evaluation;

/* An empty evaluation. */
NBL_API nbl_status nbl_evaluation_create(nbl_runtime* runtime, nbl_evaluation** out_evaluation);
NBL_API void nbl_evaluation_destroy(nbl_evaluation* evaluation);

/* One of nbl_evaluation_settings_json(): "protocol", "windows", "limit", ... */
NBL_API nbl_status nbl_evaluation_set(nbl_evaluation* evaluation, const char* name, const char* value);
/* The first model added is the reference that the others are compared with. The model must belong to the evaluation's
 * runtime. name: NULL gives "model 1", "model 2", ... */
NBL_API nbl_status nbl_evaluation_add_model(nbl_evaluation* evaluation, nbl_model* model, const char* name);
/* `size` bytes of UTF-8, copied. source names it in results; NULL: "memory". */
NBL_API nbl_status nbl_evaluation_set_text(nbl_evaluation* evaluation, const char* text, size_t size,
                                           const char* source);
/* A multiple-choice task: JSON lines {"context", "choices": [...], "answer": index}. Copied. */
NBL_API nbl_status nbl_evaluation_add_task(nbl_evaluation* evaluation, const char* name, const char* jsonl,
                                           size_t size);
/* A task of your own in lm-evaluation-harness's task format, YAML or JSON: `size` bytes, copied; docs/evaluation.md says which
 * keys. source names it in messages; where it is a path, the task's files are looked for beside it, else in the setting
 * "data". UNSUPPORTED names what is outside the subset. */
NBL_API nbl_status nbl_evaluation_add_task_definition(nbl_evaluation* evaluation, const char* definition, size_t size,
                                                      const char* source);
/* Called while something is measured; NULL: none. */
NBL_API nbl_status nbl_evaluation_set_progress(nbl_evaluation* evaluation, nbl_progress_fn progress, void* user);

/* Perplexity of the first model over the text: JSON as `nibble perplexity --json`. */
NBL_API nbl_status nbl_evaluation_perplexity(nbl_evaluation* evaluation, nbl_buffer** out_json);
/* KL divergence, top-1 agreement and perplexity ratio of every other model against the first, in lockstep over the
 * text: no logits are stored. JSON as `nibble compare --json`. MISMATCH: vocabularies differ. */
NBL_API nbl_status nbl_evaluation_compare(nbl_evaluation* evaluation, nbl_buffer** out_json);
/* Every model on every task: those named by the setting "tasks" (nbl_tasks_json() lists them; their files lie in the folder
 * that the setting "data" names) and the added ones. Results in lm-evaluation-harness's layout and paired differences of
 * every two models: JSON as `nibble eval --json`; with the setting "samples" also every request and answer. NOT_FOUND: a task's
 * file is missing; the message says what fetches it. */
NBL_API nbl_status nbl_evaluation_tasks(nbl_evaluation* evaluation, nbl_buffer** out_json);
/* Log-likelihood of continuations under the first model. requests: JSON lines {"context", "continuation"} or
 * {"context_ids", "continuation_ids"}. JSON as `nibble score --json`, in the order of the requests. */
NBL_API nbl_status nbl_evaluation_score(nbl_evaluation* evaluation, const char* requests, size_t size,
                                        nbl_buffer** out_json);
/* Prefill and decode speed of the first model: JSON as `nibble bench --json`, less what only the loader knows. */
NBL_API nbl_status nbl_evaluation_speed(nbl_evaluation* evaluation, nbl_buffer** out_json);

/* ==================================================================================================================
 * 11. Quantized matrices on their own
 *
 * For engines that want only the methods and the kernels: no file, no model.
 * ================================================================================================================== */

/* A quantized matrix. */
typedef struct nbl_qtensor nbl_qtensor;

/* What calibration knows about the input that the matrix multiplies. */
typedef struct nbl_qtensor_options {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t seed;         /* of methods that draw at random */
  int64_t tokens;        /* number of input vectors behind the statistics */
  const float* hessian;  /* [k, k] row-major: the sum of x x^T over them; NULL: not known */
  const float* abs_mean; /* [k]: the mean of |x|; NULL: not known */
} nbl_qtensor_options;
#define NBL_QTENSOR_OPTIONS_INIT \
  { (uint32_t)sizeof(nbl_qtensor_options), 0, 0, 0, NULL, NULL }

/* Quantizes a weight matrix: n output rows of k inputs, row r at weight + r * stride (floats; stride >= k). recipe: as
 * in nbl_quantizer_create. The matrix is read, not kept.
 * Errors: INVALID_ARGUMENT (a method without the statistics it needs), CORRUPT (NaN, naming row and column). */
NBL_API nbl_status nbl_qtensor_quantize(nbl_runtime* runtime, const float* weight, int64_t n, int64_t k, int64_t stride,
                                        const char* recipe, const nbl_qtensor_options* options,
                                        nbl_qtensor** out_qtensor);
/* A matrix of a checkpoint, by its Hugging Face parameter name. Shares the file's mapping where it can. */
NBL_API nbl_status nbl_qtensor_from_checkpoint(nbl_checkpoint* checkpoint, const char* name, nbl_qtensor** out_qtensor);

/* An array as other tools' files hold it: row-major, without gaps, little-endian. */
typedef struct nbl_array {
  uint32_t struct_size; /* sizeof(nbl_array), the same in all elements of an array */
  int32_t rank;         /* dimensions, at most 8 */
  const char* name;     /* "qweight", "qzeros", "scales", "g_idx", "weight", "weight.absmax", ...: after the module's name */
  const char* type;     /* element type as safetensors names it: "I32", "U8", "F16", "BF16", "F32", ...; for the
                         * format "gguf" a block type as GGUF names it: "Q4_0", "Q6_K", "IQ4_XS", "MXFP4", ... */
  const int64_t* shape; /* [rank], of elements */
  const void* data;     /* the elements */
} nbl_array;
#define NBL_ARRAY_INIT \
  { (uint32_t)sizeof(nbl_array), 0, NULL, NULL, NULL, NULL }

/* A matrix out of another tool's packed arrays, the same numbers to the bit. format: an id of nbl_dialects_json() whose
 * models are directories ("gptq", "gptq_v2", "awq", "bitsandbytes", "compressed-tensors", "hqq", ...), with all arrays that
 * the format keeps for the one module; or "gguf", with one array "weight" of blocks and the shape [n, k]. config_json: the
 * checkpoint's quantization_config ("{\"bits\": 4, \"group_size\": 128}"); NULL: {}. Everything is copied.
 * Errors: INVALID_ARGUMENT (no such format or element type), CORRUPT or NOT_FOUND (shapes that do not fit, an array
 * that is missing), UNSUPPORTED. */
NBL_API nbl_status nbl_qtensor_from_packed(nbl_runtime* runtime, const char* format, const nbl_array* arrays,
                                           int64_t count, const char* config_json, nbl_qtensor** out_qtensor);
NBL_API void nbl_qtensor_destroy(nbl_qtensor* qtensor);

/* n, the outputs. NULL gives 0. */
NBL_API int64_t nbl_qtensor_rows(const nbl_qtensor* qtensor);
/* k, the inputs. NULL gives 0. */
NBL_API int64_t nbl_qtensor_columns(const nbl_qtensor* qtensor);
/* JSON: shape, description, bits_per_weight, stored_bytes, segments, error and notes of the quantization. */
NBL_API nbl_status nbl_qtensor_info(nbl_qtensor* qtensor, nbl_buffer** out_json);

/* Rows [row, row + rows) as floats, row i at out + i * stride (floats; stride >= k). */
NBL_API nbl_status nbl_qtensor_dequantize(nbl_qtensor* qtensor, int64_t row, int64_t rows, float* out, int64_t stride);

/* y = x W^T: m input rows of k floats, row i at x + i * x_stride, give m rows of n floats at y + i * y_stride. compute:
 * NBL_COMPUTE_*. The kernel is chosen on first use. x and y must not overlap. */
NBL_API nbl_status nbl_qtensor_matmul(nbl_qtensor* qtensor, int32_t compute, const float* x, int64_t x_stride,
                                      int64_t m, float* y, int64_t y_stride);

#ifdef __cplusplus
}
#endif

#endif /* NIBBLE_H */
