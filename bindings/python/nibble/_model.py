"""Model, Session, Batch: running a model."""
from __future__ import annotations

import array
import ctypes
import json
import os
import queue
import tempfile
import threading
from typing import Any, Callable, Iterator, Sequence, Union

from . import _abi
from ._lib import (Callbacks, Handle, InvalidArgumentError, NotFoundError, Path, buffer_result, check, encode, lib, take_bytes,
                   take_json)
from ._progress import ProgressLike
from ._results import Generated, Result
from ._runtime import Checkpoint, Runtime, Tokenizer, compute_mode, default_runtime, id_array, named_settings, setting_text

LOGITS = {"none": _abi.NBL_LOGITS_NONE, "last": _abi.NBL_LOGITS_LAST, "all": _abi.NBL_LOGITS_ALL}

#: A text, which the model's tokenizer encodes, or token ids.
Prompt = Union[str, Sequence[int]]


def generation_settings() -> list[dict]:
    """Every setting of generation, with type, bounds, default and help."""
    return json.loads(lib.nbl_generation_settings_json().decode("utf-8"))


def _plain(ids: Sequence[int]) -> list[int]:
    if isinstance(ids, (bytes, bytearray)):
        raise InvalidArgumentError(f"a {type(ids).__name__} is neither a text nor token ids")
    return list(ids)


def _rows(pointer, rows: int, columns: int, copy: bool) -> memoryview:
    """The library's floats as a memoryview [rows, columns]: a copy, or the memory itself."""
    if rows == 0:
        return memoryview(bytearray()).cast("f")
    kind = ctypes.c_float * (rows * columns)
    if copy:
        data = kind()
        ctypes.memmove(data, pointer, ctypes.sizeof(kind))
    else:
        data = kind.from_address(ctypes.addressof(pointer.contents))
    view = memoryview(data).cast("B").cast("f", (rows, columns))
    return view if copy else view.toreadonly()


class Batch(Handle):
    """Several sessions of one model decoded together, a token each."""

    _destroy = "nbl_batch_destroy"

    def __init__(self, model: Model, max_sessions: int):
        self.model, self._vocab_size = model, model.vocab_size
        out = ctypes.POINTER(_abi.nbl_batch)()
        check(lib.nbl_batch_create(model.handle, max_sessions, ctypes.byref(out)))
        super().__init__(out)

    def step(self, sessions: Sequence[Session], tokens: Sequence[int], copy: bool = True) -> memoryview:
        """Appends tokens[i] to sessions[i]. Returns a memoryview of floats [sessions, vocab_size]; with copy=False the library's own
        memory, which the batch's next step overwrites and its end takes away."""
        if len(sessions) != len(tokens):
            raise InvalidArgumentError(f"{len(sessions)} sessions and {len(tokens)} tokens: one token a session was expected")
        handles = (ctypes.POINTER(_abi.nbl_session) * max(1, len(sessions)))(*[s.handle for s in sessions])
        pointer, count = id_array(tokens)
        logits = ctypes.POINTER(ctypes.c_float)()
        check(lib.nbl_batch_step(self.handle, handles, pointer, count, ctypes.byref(logits)))
        return _rows(logits, count, self._vocab_size, copy)


class Model(Handle):
    """A model ready to run: immutable, shareable among threads. source: a path or a Checkpoint; compute: "exact" keeps activations
    in float32, "fast" (the default) rounds them to int8 groups where that pays."""

    _destroy = "nbl_model_destroy"

    def __init__(self, source: Path | Checkpoint, runtime: Runtime | None = None, compute: str = "default",
                 progress: ProgressLike = None):
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

    @classmethod
    def from_pretrained(cls, source: Path | Checkpoint, *, quantize: str | None = None, calibration: Any = None,
                        adapter: Path | None = None, adapter_scale: float = 1.0, compute: str = "default", threads: int = 0,
                        isa: str | None = None, max_memory_bytes: int = 0, runtime: Runtime | None = None,
                        progress: ProgressLike = None, revision: str | None = None, token: str | None = None) -> Model:
        """Opens a model the way users of transformers know.

        source: a directory or file in any format that nibble reads, or a repository of the Hugging Face hub as "owner/name", which
        nibble.hub.pull fetches (revision, token).
        quantize: a recipe ("rtn:bits=4,group=64") to quantize it with first, into a temporary file that goes away with the model;
        calibration as in nibble.quantize, which is the way to keep the result.
        adapter: a LoRA directory beside the weights. threads, isa, max_memory_bytes: of a runtime of its own; or runtime: an
        existing one."""
        if runtime is None:
            own = threads or isa or max_memory_bytes
            runtime = source.runtime if isinstance(source, Checkpoint) else \
                Runtime(threads, isa, max_memory_bytes) if own else default_runtime()
        elif threads or isa or max_memory_bytes:
            raise InvalidArgumentError("give either a runtime, or threads, isa and max_memory_bytes of a new one")
        if not isinstance(source, Checkpoint) and not os.path.exists(source):
            name = os.fspath(source)
            if name.count("/") != 1 or name.startswith((".", "/", "~")):
                raise NotFoundError(f"{name!r} is no file or directory", _abi.NBL_E_NOT_FOUND)
            from . import hub
            source = hub.pull(name, revision=revision, token=token)
        if quantize is None:
            model = cls(source, runtime, compute, progress)
        else:
            from ._jobs import quantize as run
            with tempfile.TemporaryDirectory(prefix="nibble-") as folder:
                path = os.path.join(folder, "model.safetensors")
                run(source, path, quantize, calibration, runtime=runtime, progress=progress)
                model = cls(path, runtime, compute)  # mapped: the file may lose its name
        return model if adapter is None else model.with_adapter(adapter, adapter_scale)

    def with_adapter(self, path: Path, scale: float = 1.0) -> Model:
        """This model with a LoRA adapter (a directory that PEFT wrote) beside its weights, which the two share."""
        out = ctypes.POINTER(_abi.nbl_model)()
        check(lib.nbl_model_add_adapter(self.handle, encode(path), scale, ctypes.byref(out)))
        model = Model.__new__(Model)
        model.runtime = self.runtime
        Handle.__init__(model, out)
        return model

    @property
    def vocab_size(self) -> int:
        return lib.nbl_model_vocab_size(self.handle)

    @property
    def max_positions(self) -> int:
        """The longest sequence the model was made for; 0: unbounded."""
        return lib.nbl_model_max_positions(self.handle)

    @property
    def tokenizer(self) -> Tokenizer:
        out = ctypes.POINTER(_abi.nbl_tokenizer)()
        check(lib.nbl_tokenizer_from_model(self.handle, ctypes.byref(out)))
        return Tokenizer(out)

    def info(self) -> Result:
        """Architecture, dimensions, parameters, bytes that one decoded token reads."""
        return take_json(buffer_result(lib.nbl_model_info, self.handle))

    def session(self, max_tokens: int = 0, **settings: Any) -> Session:
        """A new sequence. settings: as in Session.set, kv_type="q8" among them."""
        return Session(self, max_tokens, **settings)

    def _ids(self, prompt: Prompt) -> list[int]:
        return self.tokenizer.encode(prompt, special=True) if isinstance(prompt, str) else _plain(prompt)

    def _room(self, ids: Sequence[int], max_new_tokens: int) -> int:
        wanted, longest = len(ids) + max_new_tokens, self.max_positions
        return max(1, min(wanted, longest)) if longest > 0 else wanted

    def generate(self, prompt: Prompt, max_new_tokens: int = 128, **options: Any) -> Generated:
        """Continues a text (or a list of ids) and returns the result as a dict; see Session.generate. The context is as long
        as that needs, but no longer than the model was made for."""
        ids = self._ids(prompt)
        with self.session(self._room(ids, max_new_tokens)) as session:
            return session.generate(ids, max_new_tokens, **options)

    def stream(self, prompt: Prompt, max_new_tokens: int = 128, **options: Any) -> Iterator[str]:
        """Continues a text and yields it piece by piece."""
        ids = self._ids(prompt)
        with self.session(self._room(ids, max_new_tokens)) as session:
            yield from session.stream(ids, max_new_tokens, **options)

    def _turn(self, messages: str | Sequence[dict], tools, template: dict | None) -> tuple[list[int], frozenset]:
        """The ids of a conversation that the model is to answer, and the tokens that end an answer."""
        tokenizer = self.tokenizer
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        ids = tokenizer.apply_chat_template(messages, tools, tokenize=True, **{"add_generation_prompt": True, **(template or {})})
        return ids, frozenset(tokenizer.info()["turn_ends"])

    def chat(self, messages: str | Sequence[dict], max_new_tokens: int = 512, tools: Sequence[dict] | None = None,
             template: dict | None = None, on_token: Callable[[int, str], Any] | None = None, **options: Any) -> Generated:
        """Answers a conversation: messages as {"role", "content"} dicts, or one question as a str, put into the model's own chat
        template. Returns what generate() returns, with "message" to append to the conversation. template: variables of the
        template, as {"enable_thinking": False}. NotFoundError: the model carries no template (give one as
        template={"chat_template": ...})."""
        ids, ends = self._turn(messages, tools, template)
        ended = False

        def step(token: int, text: str) -> bool:
            nonlocal ended
            ended = ended or token in ends
            going_on = on_token(token, text) if on_token is not None else True
            return not ended and going_on is not False

        with self.session(self._room(ids, max_new_tokens)) as session:
            result = session.generate(ids, max_new_tokens, on_token=step, **options)
        if ended:
            result["finish_reason"] = "eos"
        result["message"] = {"role": "assistant", "content": result["text"]}
        return result

    def chat_stream(self, messages: str | Sequence[dict], max_new_tokens: int = 512, tools: Sequence[dict] | None = None,
                    template: dict | None = None, **options: Any) -> Iterator[str]:
        """Answers a conversation and yields the answer piece by piece; see chat()."""
        ids, ends = self._turn(messages, tools, template)
        with self.session(self._room(ids, max_new_tokens)) as session:
            yield from session.stream(ids, max_new_tokens, ends=ends, **options)


class Session(Handle):
    """One sequence: KV cache and position. One thread at a time."""

    _destroy = "nbl_session_destroy"

    def __init__(self, model: Model, max_tokens: int = 0, **settings: Any):
        self.model, self._vocab_size = model, model.vocab_size
        self._draft: Model | None = None
        self._settings: dict = {}
        options = _abi.nbl_session_options()
        options.struct_size = ctypes.sizeof(options)
        options.max_tokens = max_tokens
        out = ctypes.POINTER(_abi.nbl_session)()
        check(lib.nbl_session_create(model.handle, ctypes.byref(options), ctypes.byref(out)))
        super().__init__(out)
        self.set(**settings)

    def set(self, name: str | None = None, value: Any = None, /, **settings: Any) -> None:
        """Settings of generation by name, set("top_k", 5) or set(top_k=5): temperature, top_k, top_p, min_p, typical, repetition_penalty, stop, n, logprobs,
        grammar, json_schema, ... (nibble.generation_settings() lists them), and kv_type while the session is empty. Lists and
        dicts are passed as JSON; None takes a setting back to its default."""
        for key, given in named_settings(name, value, settings):
            check(lib.nbl_session_set(self.handle, encode(key), encode(setting_text(given))))
            self._settings[key] = given

    def set_draft(self, model: Model | None) -> None:
        """A smaller model with the same vocabulary drafts tokens for this one to check; None: none."""
        check(lib.nbl_session_set_draft(self.handle, model.handle if model is not None else None))

    def save(self, path: Path) -> None:
        """Writes the sequence, with its keys and values, to a file."""
        check(lib.nbl_session_save(self.handle, encode(path)))

    def load(self, path: Path) -> None:
        """Takes a saved sequence in place of this session's own."""
        check(lib.nbl_session_load(self.handle, encode(path)))

    @property
    def tokens(self) -> list[int]:
        """The ids consumed so far."""
        ids = array.array("i")
        ids.frombytes(take_bytes(buffer_result(lib.nbl_session_tokens, self.handle)))
        return ids.tolist()

    @property
    def position(self) -> int:
        return lib.nbl_session_position(self.handle)

    @property
    def capacity(self) -> int:
        return lib.nbl_session_capacity(self.handle)

    def truncate(self, position: int) -> None:
        """Forgets everything after the first `position` tokens."""
        check(lib.nbl_session_truncate(self.handle, position))

    def append(self, ids: Sequence[int], want: str = "last", copy: bool = True) -> memoryview | None:
        """Runs the model over more tokens. Returns a memoryview of floats [rows, vocab_size], which numpy.asarray takes without a
        copy; None for want="none". It is yours; with copy=False it is the library's own memory, which the session's next call
        overwrites and its end takes away."""
        if want not in LOGITS:
            raise InvalidArgumentError(f"want is {want!r}; one of {', '.join(LOGITS)} was expected")
        pointer, count = id_array(ids)
        logits, rows = ctypes.POINTER(ctypes.c_float)(), ctypes.c_int64()
        check(lib.nbl_session_append(self.handle, pointer, count, LOGITS[want], ctypes.byref(logits), ctypes.byref(rows)))
        return None if want == "none" else _rows(logits, rows.value, self._vocab_size, copy)

    def generate(self, prompt: Sequence[int], max_new_tokens: int | None = None,
                 on_token: Callable[[int, str], Any] | None = None, draft: Model | None = None, **settings: Any) -> Generated:
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
            if not self.closed:
                self.set(**{name: before.get(name) for name in settings if name in self._settings and name != "kv_type"})
                self._settings = before

    def _generate(self, prompt, on_token, draft) -> Generated:
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
        return Generated(result)

    def stream(self, prompt: Sequence[int], max_new_tokens: int | None = None, ends: frozenset = frozenset(),
               **options: Any) -> Iterator[str]:
        """Yields text as it becomes certain. Leaving the loop early stops the generation. ends: tokens after which to stop."""
        pieces: queue.Queue = queue.Queue()
        stop = threading.Event()

        def on_token(token: int, text: str) -> bool:
            if text:
                pieces.put(text)
            return not stop.is_set() and token not in ends

        def work() -> None:
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
