"""Finds and loads the library, turns statuses into exceptions and handles into objects that destroy themselves."""
from __future__ import annotations

import ctypes
import json
import os
import pathlib
import signal
import threading
import weakref
from typing import Any, Union

from . import _abi
from ._progress import Progress, ProgressLike, reporter
from ._results import Result

#: A place in the file system.
Path = Union[str, "os.PathLike[str]"]


class NibbleError(RuntimeError):
    """What a nibble function refused: its status, and one sentence about it."""

    status: int = _abi.NBL_E_INTERNAL

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        if status is not None:
            self.status = status


class InvalidArgumentError(NibbleError, ValueError):
    status = _abi.NBL_E_INVALID_ARGUMENT


class NotFoundError(NibbleError, LookupError):
    status = _abi.NBL_E_NOT_FOUND


class InputOutputError(NibbleError, OSError):
    status = _abi.NBL_E_IO


class CorruptError(NibbleError):
    status = _abi.NBL_E_CORRUPT


class UnsupportedError(NibbleError):
    status = _abi.NBL_E_UNSUPPORTED


class LimitError(NibbleError):
    status = _abi.NBL_E_LIMIT


class CancelledError(NibbleError):
    status = _abi.NBL_E_CANCELLED


class OutOfMemoryError(NibbleError, MemoryError):
    status = _abi.NBL_E_OUT_OF_MEMORY


class BusyError(NibbleError):
    status = _abi.NBL_E_BUSY


class MismatchError(NibbleError):
    status = _abi.NBL_E_MISMATCH


_ERRORS = {cls.status: cls for cls in (InvalidArgumentError, NotFoundError, InputOutputError, CorruptError,
                                       UnsupportedError, LimitError, CancelledError, OutOfMemoryError, BusyError,
                                       MismatchError)}


def _candidates():
    given = os.environ.get("NIBBLE_LIBRARY")
    if given:
        yield given
        return
    here = pathlib.Path(__file__).resolve().parent
    for name in ("libnibble.so", "libnibble.so.0"):
        yield str(here / name)
    yield str(here.parents[2] / "build" / "release" / "lib" / "libnibble.so")
    yield "libnibble.so.0"


def _load():
    tried = []
    for path in _candidates():
        if os.sep in path and not os.path.exists(path):
            tried.append(path)
            continue
        try:
            library = _abi.declare(ctypes.CDLL(path))
        except (OSError, AttributeError) as error:
            tried.append(f"{path} ({error})")
            continue
        found = library.nbl_version_number()
        wanted = _abi.NBL_VERSION_MAJOR * 10000 + _abi.NBL_VERSION_MINOR * 100
        if found // 10000 != _abi.NBL_VERSION_MAJOR or found < wanted:
            raise ImportError(f"{path} is nibble {library.nbl_version().decode()}, too old or too new for this package")
        return library
    raise ImportError("the nibble library was not found; build it or set NIBBLE_LIBRARY. Tried: " + ", ".join(tried))


lib = _load()


#: What file objects raised while the library read them, on whatever thread: the cause of the error that it makes of that.
read_errors: list[BaseException] = []


def check(status):
    if status != _abi.NBL_OK:
        message = lib.nbl_last_error().decode("utf-8", "replace")
        cause = read_errors[-1] if read_errors and status == _abi.NBL_E_IO else None
        read_errors.clear()
        raise _ERRORS.get(status, NibbleError)(message, status) from cause


def encode(text: Path, sized: bool = False) -> bytes:
    """Text or a path as the library takes it. sized: it is told the length, so that the text may hold null characters."""
    if isinstance(text, os.PathLike):
        data = os.fsencode(text)
    elif isinstance(text, str):
        data = text.encode("utf-8")
    else:
        raise TypeError(f"{text!r} is a {type(text).__name__}; a str was expected")
    if not sized and b"\0" in data:
        raise ValueError(f"{text!r} holds a null character")
    return data


def take_bytes(buffer):
    """The content of an nbl_buffer, which is destroyed."""
    try:
        return ctypes.string_at(lib.nbl_buffer_data(buffer), lib.nbl_buffer_size(buffer))
    finally:
        lib.nbl_buffer_destroy(buffer)


def take_text(buffer):
    return take_bytes(buffer).decode("utf-8", "replace")


def take_json(buffer):
    """The document in an nbl_buffer, which is destroyed; an object comes as a Result."""
    value = json.loads(take_bytes(buffer))
    return Result(value) if isinstance(value, dict) else value


def buffer_result(function, *arguments):
    """Calls a function whose last parameter is nbl_buffer** and returns the buffer."""
    out = ctypes.POINTER(_abi.nbl_buffer)()
    check(function(*arguments, ctypes.byref(out)))
    return out


def _destroyer(name, kind, address):
    getattr(lib, name)(ctypes.cast(address, kind))


class Handle:
    """A handle that is destroyed with its object, by close(), or at the end of a with block."""

    _destroy: str  # name of the function
    _pointer = None  # until __init__ was given one

    def __init__(self, pointer):
        # What is destroyed hangs on the pointer, which ctypes holds as long as a call runs: closing an object that another thread
        # is using takes effect when that call has returned.
        self._pointer = pointer
        address = ctypes.c_void_p.from_buffer(pointer).value  # cast() would have the pointer keep itself alive
        weakref.finalize(pointer, _destroyer, self._destroy, type(pointer), address)

    @property
    def handle(self):
        """The library's own handle, for calls of one's own."""
        if self._pointer is None:
            raise InvalidArgumentError(f"this {type(self).__name__} has been closed")
        return self._pointer

    def close(self) -> None:
        """Gives up what the object holds; it cannot be used any more. May be called again."""
        self._pointer = None

    @property
    def closed(self) -> bool:
        return self._pointer is None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} holds memory of this process and cannot be pickled")


class Callbacks:
    """Carries Python functions into a call, and an exception or Ctrl-C out of it.

        callbacks = Callbacks(progress)
        with callbacks:
            status = lib.nbl_...(..., callbacks.progress, None, ...)
        callbacks.check(status)

    An exception must not travel through C: it is kept, the job cancelled, and raised again by check(). KeyboardInterrupt could
    strike in a callback before its first line, so that in the main thread SIGINT is only noted during the call, and given to the
    caller's own handler after it. A progress function is always passed, so that Python gets to notice.
    """

    def __init__(self, progress: ProgressLike = None, on_token=None):
        self.thrown = None
        self._interrupted = None
        self._handler = None
        self._own_bar = progress is True
        self._progress, self._on_token = reporter(progress), on_token
        self.progress = _abi.nbl_progress_fn(self._call_progress)
        self.on_token = _abi.nbl_token_fn(self._call_token)

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception):
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        if self._own_bar:
            self._progress.close()

    def _note(self, number, frame):
        self._interrupted = (number, frame)

    def _call_progress(self, _user, pointer):
        if self._interrupted:
            return 1
        if self._progress is None:
            return 0
        try:
            p = pointer.contents
            going_on = self._progress(Progress(p.stage.decode(), p.detail.decode("utf-8", "replace"), p.done, p.total,
                                               p.memory_bytes))
            return 1 if going_on is False else 0
        except BaseException as error:
            self.thrown = error
            return 1

    def _call_token(self, _user, token, text, size):
        if self._interrupted:
            return 1
        if self._on_token is None:
            return 0
        try:
            going_on = self._on_token(token, ctypes.string_at(text, size).decode("utf-8", "replace") if size else "")
            return 1 if going_on is False else 0
        except BaseException as error:
            self.thrown = error
            return 1

    def check(self, status):
        """Raises what happened: the caller's own exception, Ctrl-C, or the library's error."""
        if self.thrown is not None:
            error, self.thrown = self.thrown, None
            raise error
        if self._interrupted:
            self._handler(*self._interrupted)
        check(status)
