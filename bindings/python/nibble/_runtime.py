"""Runtime, Checkpoint, Tokenizer."""
from __future__ import annotations

import array
import ctypes
import json
import os
import threading
from typing import Any, Callable, Iterable, Iterator, Sequence

from . import _abi, _memory
from ._lib import (Callbacks, Handle, InvalidArgumentError, Path, buffer_result, check, encode, lib, read_errors, take_bytes,
                   take_json, take_text)
from ._progress import ProgressLike
from ._results import Result

COMPUTE = {"default": _abi.NBL_COMPUTE_DEFAULT, "exact": _abi.NBL_COMPUTE_EXACT, "fast": _abi.NBL_COMPUTE_FAST}


def compute_mode(name: str) -> int:
    try:
        return COMPUTE[name]
    except (KeyError, TypeError):
        raise InvalidArgumentError(f"compute is {name!r}; one of {', '.join(COMPUTE)} was expected") from None


def output_format(format: str | None, output: Path) -> str:
    """The format asked for; where none was, that of the output's name."""
    return format or ("gguf" if os.fspath(output).lower().endswith(".gguf") else "native")


def id_array(ids: Iterable[int]):
    """Token ids as a C array of int32, without a copy where they already are one."""
    if not (isinstance(ids, array.array) and ids.typecode == "i"):
        try:
            if isinstance(ids, (bytes, bytearray, str)):  # which array would take as memory
                raise TypeError(f"a {type(ids).__name__}")
            ids = array.array("i", ids)
        except (TypeError, OverflowError) as error:
            raise InvalidArgumentError(f"token ids must be integers below 2**31: {error}") from None
    return (ctypes.c_int32 * len(ids)).from_buffer(ids) if len(ids) else (ctypes.c_int32 * 1)(), len(ids)


def setting_text(value: Any) -> Any:
    """A setting's value as the library takes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value)
    return value if isinstance(value, str) else str(value)


def named_settings(name: str | None, value: Any, more: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of a call set(name, value) or set(name=value, ...)."""
    if name is not None:
        yield name, value
    yield from more.items()


def limits() -> dict[str, int]:
    """Every bound on what a file, a text or a setting may ask for, with the value in force."""
    return {each["name"]: lib.nbl_limit_get(each["name"].encode()) for each in json.loads(lib.nbl_limits_json().decode("utf-8"))}


def set_limit(name: str, value: int) -> None:
    """Changes one of limits() for this process; 0 takes the default back."""
    check(lib.nbl_limit_set(name.encode(), int(value)))


def runtime_settings() -> list[dict[str, Any]]:
    """What Runtime.set() takes: name, type, default, choices and help of each."""
    return json.loads(lib.nbl_runtime_settings_json().decode("utf-8"))


class Runtime(Handle):
    """A team of threads and an instruction set. threads: 0 for all processors; isa: none above this one; max_memory_bytes: a job
    ends with LimitError once the process holds more; log: called with (level, message); mmap: False reads model files whole instead
    of mapping them: a mapped file that another process cuts short ends this one by SIGBUS."""

    _destroy = "nbl_runtime_destroy"

    def __init__(self, threads: int = 0, isa: str | None = None, max_memory_bytes: int = 0,
                 log: Callable[[int, str], Any] | None = None, mmap: bool = True):
        options = _abi.nbl_runtime_options()
        options.struct_size = ctypes.sizeof(options)
        options.threads = threads
        options.isa = encode(isa) if isa else None
        options.max_memory_bytes = max_memory_bytes
        if log is not None:
            # Kept alive by the runtime; everything made with it keeps the runtime.
            self._log = _abi.nbl_log_fn(lambda _user, level, message: log(level, message.decode("utf-8", "replace")))
            options.log = self._log
        out = ctypes.POINTER(_abi.nbl_runtime)()
        check(lib.nbl_runtime_create(ctypes.byref(options), ctypes.byref(out)))
        super().__init__(out)
        if not mmap:
            self.set("mmap", "off")

    @property
    def threads(self) -> int:
        return lib.nbl_runtime_threads(self.handle)

    def set(self, name: str, value: Any) -> None:
        """One of runtime_settings(), for models made from then on: set("tune", "on") chooses kernels by measuring them,
        set("mmap", "off") reads files whole instead of mapping them."""
        check(lib.nbl_runtime_set(self.handle, name.encode(), setting_text(value).encode()))

    def info(self) -> Result:
        """Version, machine, instruction sets, and all that the catalogs list."""
        return take_json(buffer_result(lib.nbl_runtime_info, self.handle))

    def measure_limits(self) -> Result:
        """What the machine can do at most: bytes and operations a second, by one thread and by the team."""
        return take_json(buffer_result(lib.nbl_runtime_measure_limits, self.handle))


_default: Runtime | None = None
_default_lock = threading.Lock()


def default_runtime() -> Runtime:
    """The runtime that functions use when they are given none; made on first use."""
    global _default
    with _default_lock:
        if _default is None or _default.closed:
            _default = Runtime()
        return _default


class Tokenizer(Handle):
    """Text to token ids and back, as the model's own files define it."""

    _destroy = "nbl_tokenizer_destroy"

    @classmethod
    def open(cls, path: Path, runtime: Runtime | None = None) -> Tokenizer:
        """The tokenizer of a model, or of a place that has a vocabulary and no weights: a directory with tokenizer.json or
        tokenizer.model, such a file itself, a GGUF file of any architecture."""
        runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_tokenizer)()
        check(lib.nbl_tokenizer_open(runtime.handle, encode(path), ctypes.byref(out)))
        return cls(out)

    def encode(self, text: str, special: bool = False, literal: bool = False) -> list[int]:
        """Text to a list of ids. special: add the tokens that the model expects around a text. literal: text that looks
        like a special token is ordinary text."""
        data = encode(text, sized=True)
        flags = (_abi.NBL_ENCODE_SPECIAL if special else 0) | (_abi.NBL_ENCODE_LITERAL if literal else 0)
        ids = array.array("i")
        ids.frombytes(take_bytes(buffer_result(lib.nbl_tokenizer_encode, self.handle, data, len(data), flags)))
        return ids.tolist()

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        pointer, count = id_array(ids)
        return take_text(buffer_result(lib.nbl_tokenizer_decode, self.handle, pointer, count, int(skip_special)))

    def piece(self, token: int) -> str:
        """The token as the vocabulary stores it."""
        return take_text(buffer_result(lib.nbl_tokenizer_piece, self.handle, token))

    def find(self, piece: str) -> int:
        """The id of such a piece; NotFoundError when the vocabulary has none."""
        out = ctypes.c_int32()
        check(lib.nbl_tokenizer_find(self.handle, encode(piece), ctypes.byref(out)))
        return out.value

    def info(self) -> Result:
        """kind, vocab_size, bos, eos, turn_ends, chat_templates."""
        return take_json(buffer_result(lib.nbl_tokenizer_info, self.handle))

    def apply_chat_template(self, messages: Sequence[dict], tools: Sequence[dict] | None = None,
                            add_generation_prompt: bool = False, continue_final_message: bool = False,
                            chat_template: str | None = None, tokenize: bool = False, **variables: Any) -> Any:
        """The conversation as the text that the model expects, or as its ids with tokenize=True. messages: dicts with
        "role" and "content". tools: JSON schemas as dicts. Further keywords are variables of the template."""
        settings = dict(variables, add_generation_prompt=bool(add_generation_prompt))
        if continue_final_message:
            settings["continue_final_message"] = continue_final_message
        if chat_template is not None:
            settings["chat_template"] = chat_template
        text = take_text(buffer_result(
            lib.nbl_tokenizer_apply_chat_template, self.handle, encode(json.dumps(messages)),
            None if tools is None else encode(json.dumps(tools)), encode(json.dumps(settings))))
        return self.encode(text) if tokenize else text


class Checkpoint(Handle):
    """A model as it lies in files: a Hugging Face directory, a native file, a .gguf, a llama2.c .bin."""

    _destroy = "nbl_checkpoint_destroy"

    def __init__(self, path: Path, runtime: Runtime | None = None):
        self.runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_checkpoint)()
        check(lib.nbl_checkpoint_open(self.runtime.handle, encode(path), ctypes.byref(out)))
        super().__init__(out)

    @classmethod
    def _of(cls, pointer, runtime: Runtime) -> Checkpoint:
        checkpoint = cls.__new__(cls)
        checkpoint.runtime = runtime
        Handle.__init__(checkpoint, pointer)
        return checkpoint

    @classmethod
    def from_files(cls, files: dict[str, Any], runtime: Runtime | None = None, on_demand: bool = False) -> Checkpoint:
        """A model out of memory: {"config.json": ..., "model.safetensors": ..., "tokenizer.json": ...}, or one file of any name that
        holds a whole model (a native file, a GGUF). The values are bytes or buffers, which are used in place and must not change,
        or seekable binary files, which are read at once; on_demand: each tensor when it is needed, from any thread, so that the files
        must stay open and untouched as long as the checkpoint and the models made of it live."""
        runtime = runtime or default_runtime()
        given, out = _memory.files_array(files, on_demand), ctypes.POINTER(_abi.nbl_checkpoint)()
        read_errors.clear()
        status = lib.nbl_checkpoint_open_files(runtime.handle, given, len(given), ctypes.byref(out))
        if read_errors:
            raise read_errors.pop()
        check(status)
        return cls._of(out, runtime)

    @classmethod
    def from_bytes(cls, data: Any, runtime: Runtime | None = None) -> Checkpoint:
        """A model that one buffer holds: a native file or a GGUF."""
        return cls.from_files({"model": data}, runtime)

    def inspect(self, tensors: bool = True, hash: bool = False) -> Result:
        """What it is, as `nibble inspect --json` says."""
        flags = (_abi.NBL_INSPECT_TENSORS if tensors else 0) | (_abi.NBL_INSPECT_HASH if hash else 0)
        return take_json(buffer_result(lib.nbl_checkpoint_inspect, self.handle, flags))

    def with_adapter(self, path: Path, scale: float = 1.0) -> Checkpoint:
        """This checkpoint with a LoRA adapter merged into its weights: for quantizing a fine-tuned model."""
        out = ctypes.POINTER(_abi.nbl_checkpoint)()
        check(lib.nbl_checkpoint_add_adapter(self.handle, encode(path), scale, ctypes.byref(out)))
        return Checkpoint._of(out, self.runtime)

    def verify(self, progress: ProgressLike = None) -> Result:
        """Compares every tensor with the manifest's hashes: {"ok", "differences"}."""
        callbacks = Callbacks(progress)
        ok, out = ctypes.c_int32(), ctypes.POINTER(_abi.nbl_buffer)()
        with callbacks:
            status = lib.nbl_checkpoint_verify(self.handle, callbacks.progress, None, ctypes.byref(ok), ctypes.byref(out))
        result = take_json(out) if out else None
        callbacks.check(status)
        return result

    def examine(self, calibration_text: str = "", progress: ProgressLike = None) -> Result:
        """What would spoil a long job, looked for before it: {"checks": [{"name", "status", "detail"}]}."""
        callbacks = Callbacks(progress)
        data, out = encode(calibration_text, sized=True), ctypes.POINTER(_abi.nbl_buffer)()
        with callbacks:
            status = lib.nbl_checkpoint_examine(self.handle, data, len(data), callbacks.progress, None, ctypes.byref(out))
        result = take_json(out) if out else None
        callbacks.check(status)
        return result

    def set_measured(self, results: Any) -> None:
        """Figures for the model card of what is made of this checkpoint: the dict that perplexity(), compare() or evaluate()
        returned, or a list of several; None for none."""
        check(lib.nbl_checkpoint_set_measured(self.handle, encode("" if results is None else json.dumps(results))))

    def convert(self, output: Path, format: str | None = None, allow_lossy: bool = False, verify: bool = False,
                progress: ProgressLike = None) -> Result:
        """Writes the checkpoint in another format (None: "gguf" for a name that ends so, else "native") and returns the report
        as a dict. When the format cannot hold some
        tensors, nothing is written and "refused" names them; allow_lossy quantizes those anew. verify: reopens the
        output and compares every tensor; "differences" says what was found."""
        flags = (_abi.NBL_CONVERT_ALLOW_LOSSY if allow_lossy else 0) | (_abi.NBL_CONVERT_VERIFY if verify else 0)
        callbacks = Callbacks(progress)
        ok, out = ctypes.c_int32(), ctypes.POINTER(_abi.nbl_buffer)()
        with callbacks:
            status = lib.nbl_checkpoint_convert(self.handle, encode(output), encode(output_format(format, output)), flags, callbacks.progress, None,
                                                ctypes.byref(ok), ctypes.byref(out))
        result = take_json(out) if out else None
        callbacks.check(status)
        return result

    @property
    def tokenizer(self) -> Tokenizer:
        out = ctypes.POINTER(_abi.nbl_tokenizer)()
        check(lib.nbl_tokenizer_from_checkpoint(self.handle, ctypes.byref(out)))
        return Tokenizer(out)
