"""Runtime, Checkpoint, Tokenizer, Model, Session."""
import array
import ctypes
import json
import queue
import threading

from . import _abi
from ._lib import (Callbacks, Handle, InvalidArgumentError, buffer_result, check, encode, lib, take_bytes, take_json,
                   take_text)

COMPUTE = {"default": _abi.NBL_COMPUTE_DEFAULT, "exact": _abi.NBL_COMPUTE_EXACT, "fast": _abi.NBL_COMPUTE_FAST}
LOGITS = {"none": _abi.NBL_LOGITS_NONE, "last": _abi.NBL_LOGITS_LAST, "all": _abi.NBL_LOGITS_ALL}


def compute_mode(name):
    try:
        return COMPUTE[name]
    except KeyError:
        raise InvalidArgumentError(f"compute is {name!r}; one of {', '.join(COMPUTE)} was expected") from None


def id_array(ids):
    """Token ids as a C array of int32, without a copy where they already are one."""
    if not (isinstance(ids, array.array) and ids.typecode == "i"):
        try:
            ids = array.array("i", ids)
        except (TypeError, OverflowError) as error:
            raise InvalidArgumentError(f"token ids must be integers below 2**31: {error}") from None
    return (ctypes.c_int32 * len(ids)).from_buffer(ids) if len(ids) else (ctypes.c_int32 * 1)(), len(ids)


def setting_text(value):
    """A setting's value as the library takes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value)
    return value if isinstance(value, (str, bytes)) else str(value)


def generation_settings():
    """Every setting of generation, with type, bounds, default and help."""
    return json.loads(lib.nbl_generation_settings_json().decode("utf-8"))


def limits():
    """Every bound on what a file, a text or a setting may ask for: {name: value in force}."""
    return {each["name"]: lib.nbl_limit_get(each["name"].encode()) for each in json.loads(lib.nbl_limits_json().decode("utf-8"))}


def set_limit(name, value):
    """Changes one of limits() for this process; 0 takes the default back."""
    check(lib.nbl_limit_set(name.encode(), int(value)))


class Batch(Handle):
    """Several sessions of one model decoded together, a token each."""

    _destroy = "nbl_batch_destroy"

    def __init__(self, model, max_sessions):
        self.model = model
        out = ctypes.POINTER(_abi.nbl_batch)()
        check(lib.nbl_batch_create(model.handle, max_sessions, ctypes.byref(out)))
        super().__init__(out)

    def step(self, sessions, tokens):
        """Appends tokens[i] to sessions[i]. Returns a memoryview of floats [sessions, vocab_size]."""
        if len(sessions) != len(tokens):
            raise InvalidArgumentError(f"{len(sessions)} sessions and {len(tokens)} tokens: one token a session was expected")
        handles = (ctypes.POINTER(_abi.nbl_session) * max(1, len(sessions)))(*[s.handle for s in sessions])
        pointer, count = id_array(tokens)
        logits = ctypes.POINTER(ctypes.c_float)()
        check(lib.nbl_batch_step(self.handle, handles, pointer, count, ctypes.byref(logits)))
        shape = (count, self.model.vocab_size)
        return memoryview(bytearray(ctypes.string_at(logits, shape[0] * shape[1] * 4))).cast("f", shape)


class Runtime(Handle):
    """A team of threads and an instruction set. log: called with (level, message)."""

    _destroy = "nbl_runtime_destroy"

    def __init__(self, threads=0, isa=None, max_memory_bytes=0, log=None):
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

    @property
    def threads(self):
        return lib.nbl_runtime_threads(self.handle)

    def info(self):
        return take_json(buffer_result(lib.nbl_runtime_info, self.handle))

    def measure_limits(self):
        """What the machine can do at most: bytes and operations a second, by one thread and by the team."""
        return take_json(buffer_result(lib.nbl_runtime_measure_limits, self.handle))


_default = None
_default_lock = threading.Lock()


def default_runtime():
    """The runtime that functions use when they are given none; made on first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Runtime()
        return _default


class Tokenizer(Handle):
    _destroy = "nbl_tokenizer_destroy"

    @classmethod
    def open(cls, path, runtime=None):
        """The tokenizer of a model, or of a place that has a vocabulary and no weights: a directory with tokenizer.json or
        tokenizer.model, such a file itself, a GGUF file of any architecture."""
        runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_tokenizer)()
        check(lib.nbl_tokenizer_open(runtime.handle, encode(path), ctypes.byref(out)))
        return cls(out)

    def encode(self, text, special=False, literal=False):
        """Text to a list of ids. special: add the tokens that the model expects around a text. literal: text that looks
        like a special token is ordinary text."""
        data = encode(text)
        flags = (_abi.NBL_ENCODE_SPECIAL if special else 0) | (_abi.NBL_ENCODE_LITERAL if literal else 0)
        ids = array.array("i")
        ids.frombytes(take_bytes(buffer_result(lib.nbl_tokenizer_encode, self.handle, data, len(data), flags)))
        return ids.tolist()

    def decode(self, ids, skip_special=True):
        pointer, count = id_array(ids)
        return take_text(buffer_result(lib.nbl_tokenizer_decode, self.handle, pointer, count, int(skip_special)))

    def piece(self, token):
        return take_text(buffer_result(lib.nbl_tokenizer_piece, self.handle, token))

    def find(self, piece):
        out = ctypes.c_int32()
        check(lib.nbl_tokenizer_find(self.handle, encode(piece), ctypes.byref(out)))
        return out.value

    def info(self):
        return take_json(buffer_result(lib.nbl_tokenizer_info, self.handle))

    def apply_chat_template(self, messages, tools=None, add_generation_prompt=False, continue_final_message=False,
                            chat_template=None, tokenize=False, **variables):
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

    def __init__(self, path, runtime=None):
        self.runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_checkpoint)()
        check(lib.nbl_checkpoint_open(self.runtime.handle, encode(path), ctypes.byref(out)))
        super().__init__(out)

    def inspect(self, tensors=True, hash=False):
        flags = (_abi.NBL_INSPECT_TENSORS if tensors else 0) | (_abi.NBL_INSPECT_HASH if hash else 0)
        return take_json(buffer_result(lib.nbl_checkpoint_inspect, self.handle, flags))

    def with_adapter(self, path, scale=1.0):
        """This checkpoint with a LoRA adapter merged into its weights: for quantizing a fine-tuned model."""
        out = ctypes.POINTER(_abi.nbl_checkpoint)()
        check(lib.nbl_checkpoint_add_adapter(self.handle, encode(path), scale, ctypes.byref(out)))
        checkpoint = Checkpoint.__new__(Checkpoint)
        checkpoint.runtime = self.runtime
        Handle.__init__(checkpoint, out)
        return checkpoint

    def verify(self, progress=None):
        """Compares every tensor with the manifest's hashes: {"ok", "differences"}."""
        callbacks = Callbacks(progress)
        ok, out = ctypes.c_int32(), ctypes.POINTER(_abi.nbl_buffer)()
        with callbacks:
            status = lib.nbl_checkpoint_verify(self.handle, callbacks.progress, None, ctypes.byref(ok), ctypes.byref(out))
        result = take_json(out) if out else None
        callbacks.check(status)
        return result

    def examine(self, calibration_text="", progress=None):
        """What would spoil a long job, looked for before it: {"checks": [{"name", "status", "detail"}]}."""
        callbacks = Callbacks(progress)
        data, out = encode(calibration_text), ctypes.POINTER(_abi.nbl_buffer)()
        with callbacks:
            status = lib.nbl_checkpoint_examine(self.handle, data, len(data), callbacks.progress, None, ctypes.byref(out))
        result = take_json(out) if out else None
        callbacks.check(status)
        return result

    def convert(self, output, format="native", allow_lossy=False, verify=False, progress=None):
        """Writes the checkpoint in another format and returns the report as a dict. When the format cannot hold some
        tensors, nothing is written and "refused" names them; allow_lossy quantizes those anew. verify: reopens the
        output and compares every tensor; "differences" says what was found."""
        flags = (_abi.NBL_CONVERT_ALLOW_LOSSY if allow_lossy else 0) | (_abi.NBL_CONVERT_VERIFY if verify else 0)
        callbacks = Callbacks(progress)
        ok, out = ctypes.c_int32(), ctypes.POINTER(_abi.nbl_buffer)()
        with callbacks:
            status = lib.nbl_checkpoint_convert(self.handle, encode(output), encode(format), flags, callbacks.progress, None,
                                                ctypes.byref(ok), ctypes.byref(out))
        result = take_json(out) if out else None
        callbacks.check(status)
        return result

    @property
    def tokenizer(self):
        out = ctypes.POINTER(_abi.nbl_tokenizer)()
        check(lib.nbl_tokenizer_from_checkpoint(self.handle, ctypes.byref(out)))
        return Tokenizer(out)


class Model(Handle):
    """A model ready to run: immutable, shareable among threads. source: a path or a Checkpoint."""

    _destroy = "nbl_model_destroy"

    def __init__(self, source, runtime=None, compute="default", progress=None):
        callbacks = Callbacks(progress)
        options = _abi.nbl_model_options()
        options.struct_size = ctypes.sizeof(options)
        options.compute = compute_mode(compute)
        options.progress = callbacks.progress
        out = ctypes.POINTER(_abi.nbl_model)()
        if isinstance(source, Checkpoint):
            self.runtime = source.runtime
            with callbacks:
                status = lib.nbl_model_load(source.handle, ctypes.byref(options), ctypes.byref(out))
        else:
            self.runtime = runtime or default_runtime()
            path = encode(source)
            with callbacks:
                status = lib.nbl_model_open(self.runtime.handle, path, ctypes.byref(options), ctypes.byref(out))
        if out:
            super().__init__(out)  # owned before a noted Ctrl-C is raised
        callbacks.check(status)

    def with_adapter(self, path, scale=1.0):
        """This model with a LoRA adapter (a directory that PEFT wrote) beside its weights, which the two share."""
        out = ctypes.POINTER(_abi.nbl_model)()
        check(lib.nbl_model_add_adapter(self.handle, encode(path), scale, ctypes.byref(out)))
        model = Model.__new__(Model)
        model.runtime = self.runtime
        Handle.__init__(model, out)
        return model

    @property
    def vocab_size(self):
        return lib.nbl_model_vocab_size(self.handle)

    @property
    def max_positions(self):
        return lib.nbl_model_max_positions(self.handle)

    @property
    def tokenizer(self):
        out = ctypes.POINTER(_abi.nbl_tokenizer)()
        check(lib.nbl_tokenizer_from_model(self.handle, ctypes.byref(out)))
        return Tokenizer(out)

    def info(self):
        return take_json(buffer_result(lib.nbl_model_info, self.handle))

    def session(self, max_tokens=0, **settings):
        """A new sequence. settings: as in Session.set, kv_type="q8" among them."""
        return Session(self, max_tokens, **settings)

    def _room(self, ids, max_new_tokens):
        wanted, longest = len(ids) + max_new_tokens, self.max_positions
        return max(1, min(wanted, longest)) if longest > 0 else wanted

    def generate(self, prompt, max_new_tokens=128, **options):
        """Continues a text (or a list of ids) and returns the result as a dict; see Session.generate. The context is as long
        as that needs, but no longer than the model was made for."""
        ids = self.tokenizer.encode(prompt, special=True) if isinstance(prompt, str) else list(prompt)
        with self.session(self._room(ids, max_new_tokens)) as session:
            return session.generate(ids, max_new_tokens, **options)

    def stream(self, prompt, max_new_tokens=128, **options):
        """Continues a text and yields it piece by piece."""
        ids = self.tokenizer.encode(prompt, special=True) if isinstance(prompt, str) else list(prompt)
        with self.session(self._room(ids, max_new_tokens)) as session:
            yield from session.stream(ids, max_new_tokens, **options)


class Session(Handle):
    """One sequence: KV cache and position. One thread at a time."""

    _destroy = "nbl_session_destroy"

    def __init__(self, model, max_tokens=0, **settings):
        self.model = model
        self._draft = None
        self._settings = {}
        options = _abi.nbl_session_options()
        options.struct_size = ctypes.sizeof(options)
        options.max_tokens = max_tokens
        out = ctypes.POINTER(_abi.nbl_session)()
        check(lib.nbl_session_create(model.handle, ctypes.byref(options), ctypes.byref(out)))
        super().__init__(out)
        self.set(**settings)

    def set(self, **settings):
        """Settings of generation by name: temperature, top_k, top_p, min_p, typical, repetition_penalty, stop, n, logprobs,
        grammar, json_schema, ... (nibble.generation_settings() lists them), and kv_type while the session is empty. Lists and
        dicts are passed as JSON; None takes a setting back to its default."""
        for name, value in settings.items():
            check(lib.nbl_session_set(self.handle, encode(name), encode(setting_text(value))))
            self._settings[name] = value

    def set_draft(self, model):
        """A smaller model with the same vocabulary drafts tokens for this one to check; None: none."""
        check(lib.nbl_session_set_draft(self.handle, model.handle if model is not None else None))

    def save(self, path):
        """Writes the sequence, with its keys and values, to a file."""
        check(lib.nbl_session_save(self.handle, encode(path)))

    def load(self, path):
        """Takes a saved sequence in place of this session's own."""
        check(lib.nbl_session_load(self.handle, encode(path)))

    @property
    def tokens(self):
        """The ids consumed so far."""
        ids = array.array("i")
        ids.frombytes(take_bytes(buffer_result(lib.nbl_session_tokens, self.handle)))
        return ids.tolist()

    @property
    def position(self):
        return lib.nbl_session_position(self.handle)

    @property
    def capacity(self):
        return lib.nbl_session_capacity(self.handle)

    def truncate(self, position):
        check(lib.nbl_session_truncate(self.handle, position))

    def append(self, ids, want="last"):
        """Runs the model over more tokens. Returns a memoryview of floats [rows, vocab_size] (numpy.asarray takes it without
        a copy), a copy of the library's that stays yours; None for want="none"."""
        if want not in LOGITS:
            raise InvalidArgumentError(f"want is {want!r}; one of {', '.join(LOGITS)} was expected")
        pointer, count = id_array(ids)
        logits, rows = ctypes.POINTER(ctypes.c_float)(), ctypes.c_int64()
        check(lib.nbl_session_append(self.handle, pointer, count, LOGITS[want], ctypes.byref(logits), ctypes.byref(rows)))
        if want == "none":
            return None
        vocab = self.model.vocab_size
        data = bytearray(ctypes.string_at(logits, rows.value * vocab * 4)) if rows.value else bytearray()
        return memoryview(data).cast("f", (rows.value, vocab)) if rows.value else memoryview(data).cast("f")

    def generate(self, prompt, max_new_tokens=None, on_token=None, draft=None, **settings):
        """Appends the prompt's ids and chooses token after token. on_token(id, text) may return False to stop; id is -1 with
        text that was held back, -2 when there is neither. draft: a smaller model that drafts. settings: as in set(), for
        this call alone. Returns a dict: text, token_ids, finish_reason, prefill_tok_s, decode_tok_s, ..."""
        if max_new_tokens is not None:
            settings["max_new_tokens"] = max_new_tokens
        before = dict(self._settings)
        try:
            self.set(**settings)
            return self._generate(prompt, on_token, draft)
        finally:
            if self._pointer is not None:
                self.set(**{name: before.get(name) for name in settings if name in self._settings and name != "kv_type"})
                self._settings = before

    def _generate(self, prompt, on_token, draft):
        if draft is not self._draft:
            self.set_draft(draft)
            self._draft = draft
        callbacks = Callbacks(on_token=on_token)
        options = _abi.nbl_generate_options()
        options.struct_size = ctypes.sizeof(options)
        options.on_token = callbacks.on_token
        pointer, count = id_array(prompt)
        out = ctypes.POINTER(_abi.nbl_buffer)()
        with callbacks:
            status = lib.nbl_session_generate(self.handle, pointer, count, ctypes.byref(options), ctypes.byref(out))
        result = take_json(out) if out else None  # being stopped by on_token is no error: there is a result to free
        callbacks.check(status)
        return result

    def stream(self, prompt, max_new_tokens=None, **options):
        """Yields text as it becomes certain. Leaving the loop early stops the generation."""
        pieces, stop = queue.Queue(), threading.Event()

        def on_token(_token, text):
            if text:
                pieces.put(text)
            return not stop.is_set()

        def work():
            try:
                self.generate(prompt, max_new_tokens, on_token=on_token, **options)
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while True:
                piece = pieces.get()
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            stop.set()
            thread.join()
