// The layout of every public struct, frozen field by field: an existing line never changes, a new field gets a new
// line.
#include <cstddef>

#include "nibble/nibble.h"

#define NBL_FIELD(type, field, offset) static_assert(offsetof(type, field) == (offset), #type "." #field " moved")

static_assert(sizeof(void*) == 8, "the offsets below are those of 64-bit platforms");

NBL_FIELD(nbl_progress, struct_size, 0);
NBL_FIELD(nbl_progress, reserved, 4);
NBL_FIELD(nbl_progress, stage, 8);
NBL_FIELD(nbl_progress, detail, 16);
NBL_FIELD(nbl_progress, done, 24);
NBL_FIELD(nbl_progress, total, 32);
NBL_FIELD(nbl_progress, memory_bytes, 40);

NBL_FIELD(nbl_runtime_options, struct_size, 0);
NBL_FIELD(nbl_runtime_options, threads, 4);
NBL_FIELD(nbl_runtime_options, isa, 8);
NBL_FIELD(nbl_runtime_options, max_memory_bytes, 16);
NBL_FIELD(nbl_runtime_options, log, 24);
NBL_FIELD(nbl_runtime_options, log_user, 32);
NBL_FIELD(nbl_runtime_options, allocate, 40);
NBL_FIELD(nbl_runtime_options, deallocate, 48);
NBL_FIELD(nbl_runtime_options, allocator_user, 56);

NBL_FIELD(nbl_file, struct_size, 0);
NBL_FIELD(nbl_file, reserved, 4);
NBL_FIELD(nbl_file, name, 8);
NBL_FIELD(nbl_file, data, 16);
NBL_FIELD(nbl_file, size, 24);
NBL_FIELD(nbl_file, read, 32);
NBL_FIELD(nbl_file, release, 40);
NBL_FIELD(nbl_file, user, 48);
NBL_FIELD(nbl_file, flags, 56);

NBL_FIELD(nbl_array, struct_size, 0);
NBL_FIELD(nbl_array, rank, 4);
NBL_FIELD(nbl_array, name, 8);
NBL_FIELD(nbl_array, type, 16);
NBL_FIELD(nbl_array, shape, 24);
NBL_FIELD(nbl_array, data, 32);

NBL_FIELD(nbl_model_options, struct_size, 0);
NBL_FIELD(nbl_model_options, compute, 4);
NBL_FIELD(nbl_model_options, progress, 8);
NBL_FIELD(nbl_model_options, progress_user, 16);

NBL_FIELD(nbl_session_options, struct_size, 0);
NBL_FIELD(nbl_session_options, reserved, 4);
NBL_FIELD(nbl_session_options, max_tokens, 8);

NBL_FIELD(nbl_generate_options, struct_size, 0);
NBL_FIELD(nbl_generate_options, top_k, 4);
NBL_FIELD(nbl_generate_options, max_new_tokens, 8);
NBL_FIELD(nbl_generate_options, temperature, 16);
NBL_FIELD(nbl_generate_options, top_p, 20);
NBL_FIELD(nbl_generate_options, seed, 24);
NBL_FIELD(nbl_generate_options, ignore_eos, 32);
NBL_FIELD(nbl_generate_options, reserved, 36);
NBL_FIELD(nbl_generate_options, on_token, 40);
NBL_FIELD(nbl_generate_options, on_token_user, 48);

NBL_FIELD(nbl_qtensor_options, struct_size, 0);
NBL_FIELD(nbl_qtensor_options, reserved, 4);
NBL_FIELD(nbl_qtensor_options, seed, 8);
NBL_FIELD(nbl_qtensor_options, tokens, 16);
NBL_FIELD(nbl_qtensor_options, hessian, 24);
NBL_FIELD(nbl_qtensor_options, abs_mean, 32);
