"""The C interface, as include/nibble/nibble.h declares it. Written by generate_abi.py; do not edit."""
import ctypes

NBL_VERSION_MAJOR = 0
NBL_VERSION_MINOR = 1
NBL_VERSION_PATCH = 0

NBL_OK = 0
NBL_E_INVALID_ARGUMENT = 1
NBL_E_NOT_FOUND = 2
NBL_E_IO = 3
NBL_E_CORRUPT = 4
NBL_E_UNSUPPORTED = 5
NBL_E_LIMIT = 6
NBL_E_CANCELLED = 7
NBL_E_OUT_OF_MEMORY = 8
NBL_E_BUSY = 9
NBL_E_MISMATCH = 10
NBL_E_INTERNAL = 11
NBL_LOG_WARNING = 1
NBL_LOG_INFO = 2
NBL_LOG_DEBUG = 3
NBL_FILE_ON_DEMAND = 1
NBL_INSPECT_TENSORS = 1
NBL_INSPECT_HASH = 2
NBL_INSPECT_MANIFEST = 4
NBL_CONVERT_ALLOW_LOSSY = 1
NBL_CONVERT_VERIFY = 2
NBL_COMPUTE_DEFAULT = 0
NBL_COMPUTE_EXACT = 1
NBL_COMPUTE_FAST = 2
NBL_ENCODE_SPECIAL = 1
NBL_ENCODE_LITERAL = 2
NBL_LOGITS_NONE = 0
NBL_LOGITS_LAST = 1
NBL_LOGITS_ALL = 2


class nbl_buffer(ctypes.Structure):
    pass


class nbl_runtime(ctypes.Structure):
    pass


class nbl_checkpoint(ctypes.Structure):
    pass


class nbl_quantizer(ctypes.Structure):
    pass


class nbl_export(ctypes.Structure):
    pass


class nbl_model(ctypes.Structure):
    pass


class nbl_tokenizer(ctypes.Structure):
    pass


class nbl_session(ctypes.Structure):
    pass


class nbl_batch(ctypes.Structure):
    pass


class nbl_sampler(ctypes.Structure):
    pass


class nbl_evaluation(ctypes.Structure):
    pass


class nbl_qtensor(ctypes.Structure):
    pass


class _Struct(ctypes.Structure):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if isinstance(value, int) and getattr(self, name) != value:
            raise OverflowError(f"{name}: {value} does not fit")


def _checked(kind):
    class Checked(kind):
        @classmethod
        def from_param(cls, value):
            number = value.__index__() if hasattr(value, "__index__") else value
            converted = kind(number)
            if converted.value != number:
                raise OverflowError(f"{number} does not fit into {kind.__name__[2:]}")
            return converted

    return Checked


_Int32, _UInt32, _Int64, _Size = map(_checked, (ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_size_t))


class nbl_progress(_Struct):
    pass


class nbl_runtime_options(_Struct):
    pass


class nbl_file(_Struct):
    pass


class nbl_model_options(_Struct):
    pass


class nbl_session_options(_Struct):
    pass


class nbl_generate_options(_Struct):
    pass


class nbl_qtensor_options(_Struct):
    pass


class nbl_array(_Struct):
    pass


nbl_log_fn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p)
nbl_progress_fn = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(nbl_progress))
nbl_allocate_fn = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
nbl_deallocate_fn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
nbl_read_fn = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_size_t)
nbl_release_fn = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
nbl_token_fn = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)
nbl_progress._fields_ = [
    ("struct_size", ctypes.c_uint32),
    ("reserved", ctypes.c_uint32),
    ("stage", ctypes.c_char_p),
    ("detail", ctypes.c_char_p),
    ("done", ctypes.c_int64),
    ("total", ctypes.c_int64),
    ("memory_bytes", ctypes.c_int64),
]
nbl_runtime_options._fields_ = [
    ("struct_size", ctypes.c_uint32),
    ("threads", ctypes.c_int32),
    ("isa", ctypes.c_char_p),
    ("max_memory_bytes", ctypes.c_int64),
    ("log", nbl_log_fn),
    ("log_user", ctypes.c_void_p),
    ("allocate", nbl_allocate_fn),
    ("deallocate", nbl_deallocate_fn),
    ("allocator_user", ctypes.c_void_p),
]
nbl_file._fields_ = [
    ("struct_size", ctypes.c_uint32),
    ("reserved", ctypes.c_uint32),
    ("name", ctypes.c_char_p),
    ("data", ctypes.c_void_p),
    ("size", ctypes.c_int64),
    ("read", nbl_read_fn),
    ("release", nbl_release_fn),
    ("user", ctypes.c_void_p),
    ("flags", ctypes.c_uint64),
]
nbl_model_options._fields_ = [
    ("struct_size", ctypes.c_uint32),
    ("compute", ctypes.c_int32),
    ("progress", nbl_progress_fn),
    ("progress_user", ctypes.c_void_p),
]
nbl_session_options._fields_ = [
    ("struct_size", ctypes.c_uint32),
    ("reserved", ctypes.c_uint32),
    ("max_tokens", ctypes.c_int64),
]
nbl_generate_options._fields_ = [
    ("struct_size", ctypes.c_uint32),
    ("top_k", ctypes.c_int32),
    ("max_new_tokens", ctypes.c_int64),
    ("temperature", ctypes.c_float),
    ("top_p", ctypes.c_float),
    ("seed", ctypes.c_uint64),
    ("ignore_eos", ctypes.c_int32),
    ("reserved", ctypes.c_int32),
    ("on_token", nbl_token_fn),
    ("on_token_user", ctypes.c_void_p),
]
nbl_qtensor_options._fields_ = [
    ("struct_size", ctypes.c_uint32),
    ("reserved", ctypes.c_uint32),
    ("seed", ctypes.c_uint64),
    ("tokens", ctypes.c_int64),
    ("hessian", ctypes.POINTER(ctypes.c_float)),
    ("abs_mean", ctypes.POINTER(ctypes.c_float)),
]
nbl_array._fields_ = [
    ("struct_size", ctypes.c_uint32),
    ("rank", ctypes.c_int32),
    ("name", ctypes.c_char_p),
    ("type", ctypes.c_char_p),
    ("shape", ctypes.POINTER(ctypes.c_int64)),
    ("data", ctypes.c_void_p),
]

FUNCTIONS = {
    "nbl_version": (ctypes.c_char_p, []),
    "nbl_version_number": (ctypes.c_int32, []),
    "nbl_status_name": (ctypes.c_char_p, [_Int32]),
    "nbl_last_error": (ctypes.c_char_p, []),
    "nbl_buffer_data": (ctypes.c_void_p, [ctypes.POINTER(nbl_buffer)]),
    "nbl_buffer_text": (ctypes.c_char_p, [ctypes.POINTER(nbl_buffer)]),
    "nbl_buffer_ids": (ctypes.POINTER(ctypes.c_int32), [ctypes.POINTER(nbl_buffer)]),
    "nbl_buffer_size": (ctypes.c_size_t, [ctypes.POINTER(nbl_buffer)]),
    "nbl_buffer_destroy": (None, [ctypes.POINTER(nbl_buffer)]),
    "nbl_runtime_create": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime_options), ctypes.POINTER(ctypes.POINTER(nbl_runtime))]),
    "nbl_runtime_destroy": (None, [ctypes.POINTER(nbl_runtime)]),
    "nbl_runtime_set": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.c_char_p, ctypes.c_char_p]),
    "nbl_runtime_threads": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime)]),
    "nbl_runtime_info": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_runtime_measure_limits": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_methods_json": (ctypes.c_char_p, []),
    "nbl_dialects_json": (ctypes.c_char_p, []),
    "nbl_architectures_json": (ctypes.c_char_p, []),
    "nbl_isas_json": (ctypes.c_char_p, []),
    "nbl_protocols_json": (ctypes.c_char_p, []),
    "nbl_tasks_json": (ctypes.c_char_p, []),
    "nbl_runtime_settings_json": (ctypes.c_char_p, []),
    "nbl_quantizer_settings_json": (ctypes.c_char_p, []),
    "nbl_evaluation_settings_json": (ctypes.c_char_p, []),
    "nbl_generation_settings_json": (ctypes.c_char_p, []),
    "nbl_sampler_settings_json": (ctypes.c_char_p, []),
    "nbl_export_settings_json": (ctypes.c_char_p, []),
    "nbl_limits_json": (ctypes.c_char_p, []),
    "nbl_limit_set": (ctypes.c_int32, [ctypes.c_char_p, _Int64]),
    "nbl_limit_get": (ctypes.c_int64, [ctypes.c_char_p]),
    "nbl_checkpoint_open": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(nbl_checkpoint))]),
    "nbl_checkpoint_destroy": (None, [ctypes.POINTER(nbl_checkpoint)]),
    "nbl_checkpoint_open_files": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.POINTER(nbl_file), _Int64, ctypes.POINTER(ctypes.POINTER(nbl_checkpoint))]),
    "nbl_checkpoint_add_adapter": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), ctypes.c_char_p, ctypes.c_float, ctypes.POINTER(ctypes.POINTER(nbl_checkpoint))]),
    "nbl_checkpoint_inspect": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), _UInt32, ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_checkpoint_verify": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), nbl_progress_fn, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_checkpoint_examine": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), ctypes.c_char_p, _Size, nbl_progress_fn, ctypes.c_void_p, ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_checkpoint_convert": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), ctypes.c_char_p, ctypes.c_char_p, _UInt32, nbl_progress_fn, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_checkpoint_set_measured": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), ctypes.c_char_p]),
    "nbl_quantizer_create": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(nbl_quantizer))]),
    "nbl_quantizer_destroy": (None, [ctypes.POINTER(nbl_quantizer)]),
    "nbl_quantizer_set": (ctypes.c_int32, [ctypes.POINTER(nbl_quantizer), ctypes.c_char_p, ctypes.c_char_p]),
    "nbl_quantizer_add_override": (ctypes.c_int32, [ctypes.POINTER(nbl_quantizer), ctypes.c_char_p, ctypes.c_char_p]),
    "nbl_quantizer_set_calibration_text": (ctypes.c_int32, [ctypes.POINTER(nbl_quantizer), ctypes.c_char_p, _Size, ctypes.c_char_p]),
    "nbl_quantizer_set_calibration_ids": (ctypes.c_int32, [ctypes.POINTER(nbl_quantizer), ctypes.POINTER(ctypes.c_int32), _Int64, _Int64, ctypes.c_char_p]),
    "nbl_quantizer_set_progress": (ctypes.c_int32, [ctypes.POINTER(nbl_quantizer), nbl_progress_fn, ctypes.c_void_p]),
    "nbl_quantizer_run": (ctypes.c_int32, [ctypes.POINTER(nbl_quantizer), ctypes.POINTER(nbl_checkpoint), ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_export_create": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(nbl_export))]),
    "nbl_export_destroy": (None, [ctypes.POINTER(nbl_export)]),
    "nbl_export_set": (ctypes.c_int32, [ctypes.POINTER(nbl_export), ctypes.c_char_p, ctypes.c_char_p]),
    "nbl_export_set_progress": (ctypes.c_int32, [ctypes.POINTER(nbl_export), nbl_progress_fn, ctypes.c_void_p]),
    "nbl_export_run": (ctypes.c_int32, [ctypes.POINTER(nbl_export), ctypes.POINTER(nbl_checkpoint), ctypes.c_char_p, ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_model_load": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), ctypes.POINTER(nbl_model_options), ctypes.POINTER(ctypes.POINTER(nbl_model))]),
    "nbl_model_open": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.c_char_p, ctypes.POINTER(nbl_model_options), ctypes.POINTER(ctypes.POINTER(nbl_model))]),
    "nbl_model_destroy": (None, [ctypes.POINTER(nbl_model)]),
    "nbl_model_add_adapter": (ctypes.c_int32, [ctypes.POINTER(nbl_model), ctypes.c_char_p, ctypes.c_float, ctypes.POINTER(ctypes.POINTER(nbl_model))]),
    "nbl_model_vocab_size": (ctypes.c_int64, [ctypes.POINTER(nbl_model)]),
    "nbl_model_max_positions": (ctypes.c_int64, [ctypes.POINTER(nbl_model)]),
    "nbl_model_info": (ctypes.c_int32, [ctypes.POINTER(nbl_model), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_tokenizer_from_checkpoint": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), ctypes.POINTER(ctypes.POINTER(nbl_tokenizer))]),
    "nbl_tokenizer_from_model": (ctypes.c_int32, [ctypes.POINTER(nbl_model), ctypes.POINTER(ctypes.POINTER(nbl_tokenizer))]),
    "nbl_tokenizer_open": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(nbl_tokenizer))]),
    "nbl_tokenizer_destroy": (None, [ctypes.POINTER(nbl_tokenizer)]),
    "nbl_tokenizer_encode": (ctypes.c_int32, [ctypes.POINTER(nbl_tokenizer), ctypes.c_char_p, _Size, _UInt32, ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_tokenizer_decode": (ctypes.c_int32, [ctypes.POINTER(nbl_tokenizer), ctypes.POINTER(ctypes.c_int32), _Int64, _Int32, ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_tokenizer_piece": (ctypes.c_int32, [ctypes.POINTER(nbl_tokenizer), _Int32, ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_tokenizer_find": (ctypes.c_int32, [ctypes.POINTER(nbl_tokenizer), ctypes.c_char_p, ctypes.POINTER(ctypes.c_int32)]),
    "nbl_tokenizer_info": (ctypes.c_int32, [ctypes.POINTER(nbl_tokenizer), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_tokenizer_apply_chat_template": (ctypes.c_int32, [ctypes.POINTER(nbl_tokenizer), ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_session_create": (ctypes.c_int32, [ctypes.POINTER(nbl_model), ctypes.POINTER(nbl_session_options), ctypes.POINTER(ctypes.POINTER(nbl_session))]),
    "nbl_session_destroy": (None, [ctypes.POINTER(nbl_session)]),
    "nbl_session_position": (ctypes.c_int64, [ctypes.POINTER(nbl_session)]),
    "nbl_session_capacity": (ctypes.c_int64, [ctypes.POINTER(nbl_session)]),
    "nbl_session_append": (ctypes.c_int32, [ctypes.POINTER(nbl_session), ctypes.POINTER(ctypes.c_int32), _Int64, _Int32, ctypes.POINTER(ctypes.POINTER(ctypes.c_float)), ctypes.POINTER(ctypes.c_int64)]),
    "nbl_session_truncate": (ctypes.c_int32, [ctypes.POINTER(nbl_session), _Int64]),
    "nbl_session_tokens": (ctypes.c_int32, [ctypes.POINTER(nbl_session), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_session_save": (ctypes.c_int32, [ctypes.POINTER(nbl_session), ctypes.c_char_p]),
    "nbl_session_load": (ctypes.c_int32, [ctypes.POINTER(nbl_session), ctypes.c_char_p]),
    "nbl_session_set": (ctypes.c_int32, [ctypes.POINTER(nbl_session), ctypes.c_char_p, ctypes.c_char_p]),
    "nbl_session_set_draft": (ctypes.c_int32, [ctypes.POINTER(nbl_session), ctypes.POINTER(nbl_model)]),
    "nbl_session_generate": (ctypes.c_int32, [ctypes.POINTER(nbl_session), ctypes.POINTER(ctypes.c_int32), _Int64, ctypes.POINTER(nbl_generate_options), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_batch_create": (ctypes.c_int32, [ctypes.POINTER(nbl_model), _Int64, ctypes.POINTER(ctypes.POINTER(nbl_batch))]),
    "nbl_batch_destroy": (None, [ctypes.POINTER(nbl_batch)]),
    "nbl_batch_step": (ctypes.c_int32, [ctypes.POINTER(nbl_batch), ctypes.POINTER(ctypes.POINTER(nbl_session)), ctypes.POINTER(ctypes.c_int32), _Int64, ctypes.POINTER(ctypes.POINTER(ctypes.c_float))]),
    "nbl_sampler_create": (ctypes.c_int32, [_Int64, ctypes.POINTER(nbl_tokenizer), ctypes.POINTER(ctypes.POINTER(nbl_sampler))]),
    "nbl_sampler_clone": (ctypes.c_int32, [ctypes.POINTER(nbl_sampler), ctypes.POINTER(ctypes.POINTER(nbl_sampler))]),
    "nbl_sampler_destroy": (None, [ctypes.POINTER(nbl_sampler)]),
    "nbl_sampler_set": (ctypes.c_int32, [ctypes.POINTER(nbl_sampler), ctypes.c_char_p, ctypes.c_char_p]),
    "nbl_sampler_reset": (ctypes.c_int32, [ctypes.POINTER(nbl_sampler), ctypes.POINTER(ctypes.c_int32), _Int64]),
    "nbl_sampler_choose": (ctypes.c_int32, [ctypes.POINTER(nbl_sampler), ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int32)]),
    "nbl_sampler_accept": (ctypes.c_int32, [ctypes.POINTER(nbl_sampler), _Int32]),
    "nbl_sampler_sample": (ctypes.c_int32, [ctypes.POINTER(nbl_sampler), ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int32)]),
    "nbl_sampler_ended": (ctypes.c_int32, [ctypes.POINTER(nbl_sampler)]),
    "nbl_evaluation_create": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.POINTER(ctypes.POINTER(nbl_evaluation))]),
    "nbl_evaluation_destroy": (None, [ctypes.POINTER(nbl_evaluation)]),
    "nbl_evaluation_set": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.c_char_p, ctypes.c_char_p]),
    "nbl_evaluation_add_model": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.POINTER(nbl_model), ctypes.c_char_p]),
    "nbl_evaluation_set_text": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.c_char_p, _Size, ctypes.c_char_p]),
    "nbl_evaluation_add_task": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.c_char_p, ctypes.c_char_p, _Size]),
    "nbl_evaluation_add_task_definition": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.c_char_p, _Size, ctypes.c_char_p]),
    "nbl_evaluation_set_progress": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), nbl_progress_fn, ctypes.c_void_p]),
    "nbl_evaluation_perplexity": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_evaluation_compare": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_evaluation_tasks": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_evaluation_score": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.c_char_p, _Size, ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_evaluation_speed": (ctypes.c_int32, [ctypes.POINTER(nbl_evaluation), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_qtensor_quantize": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.POINTER(ctypes.c_float), _Int64, _Int64, _Int64, ctypes.c_char_p, ctypes.POINTER(nbl_qtensor_options), ctypes.POINTER(ctypes.POINTER(nbl_qtensor))]),
    "nbl_qtensor_from_checkpoint": (ctypes.c_int32, [ctypes.POINTER(nbl_checkpoint), ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(nbl_qtensor))]),
    "nbl_qtensor_from_packed": (ctypes.c_int32, [ctypes.POINTER(nbl_runtime), ctypes.c_char_p, ctypes.POINTER(nbl_array), _Int64, ctypes.c_char_p, ctypes.POINTER(ctypes.POINTER(nbl_qtensor))]),
    "nbl_qtensor_destroy": (None, [ctypes.POINTER(nbl_qtensor)]),
    "nbl_qtensor_rows": (ctypes.c_int64, [ctypes.POINTER(nbl_qtensor)]),
    "nbl_qtensor_columns": (ctypes.c_int64, [ctypes.POINTER(nbl_qtensor)]),
    "nbl_qtensor_info": (ctypes.c_int32, [ctypes.POINTER(nbl_qtensor), ctypes.POINTER(ctypes.POINTER(nbl_buffer))]),
    "nbl_qtensor_dequantize": (ctypes.c_int32, [ctypes.POINTER(nbl_qtensor), _Int64, _Int64, ctypes.POINTER(ctypes.c_float), _Int64]),
    "nbl_qtensor_matmul": (ctypes.c_int32, [ctypes.POINTER(nbl_qtensor), _Int32, ctypes.POINTER(ctypes.c_float), _Int64, _Int64, ctypes.POINTER(ctypes.c_float), _Int64]),
}


def declare(library):
    """Gives every function of the loaded library its types."""
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
