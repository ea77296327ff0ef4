"""Models and matrices out of memory: bytes, buffers, file objects, packed arrays."""
from __future__ import annotations

import ctypes
import itertools
import json
import threading
from typing import Any

from . import _abi
from ._lib import InvalidArgumentError

# What the library reads until it lets go of it, by the number that it is told.
_held: dict[int, Any] = {}
_numbers = itertools.count(1)
_thrown = threading.local()


@_abi.nbl_release_fn
def _release(user):
    _held.pop(user, None)


@_abi.nbl_read_fn
def _read(user, offset, buffer, size):
    try:
        file = _held[user]
        file.seek(offset)
        into = memoryview((ctypes.c_char * size).from_address(buffer)).cast("B")
        at = 0
        while at < size:
            piece = file.read(size - at)
            if not piece:
                raise EOFError(f"the file ended {size - at} bytes early")
            into[at:at + len(piece)] = piece
            at += len(piece)
        return 0
    except BaseException as error:
        _thrown.error = error
        return 1


def thrown() -> BaseException | None:
    """What a file object of this thread's last call raised."""
    error, _thrown.error = getattr(_thrown, "error", None), None
    return error


def _pointer(data: Any, name: str) -> tuple[Any, int, int]:
    """What to keep, where it lies, and its bytes: without a copy for bytes, numpy arrays and writable buffers."""
    if isinstance(data, bytes):
        return data, ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, len(data)
    if hasattr(data, "data_ptr") and hasattr(data, "is_contiguous"):  # torch
        if not data.is_contiguous() or data.device.type != "cpu":
            raise InvalidArgumentError(f"{name} must be contiguous and on the CPU")
        return data, data.data_ptr(), data.numel() * data.element_size()
    interface = getattr(data, "__array_interface__", None)
    view = memoryview(data)
    if not view.c_contiguous:
        raise InvalidArgumentError(f"{name} must be contiguous")
    if interface is not None:
        return data, interface["data"][0], view.nbytes
    if view.readonly:
        return _pointer(view.tobytes(), name)
    view = view.cast("B") if view.nbytes else view
    return view, ctypes.addressof(ctypes.c_char.from_buffer(view)) if view.nbytes else 0, view.nbytes


def files_array(files: dict[str, Any]):
    """{name: bytes, buffer or seekable binary file} as an array of nbl_file."""
    if not isinstance(files, dict) or not files:
        raise InvalidArgumentError("files: a dict of names and their bytes was expected")
    array = (_abi.nbl_file * len(files))()
    numbers = []
    try:
        for entry, (name, content) in zip(array, files.items()):
            entry.struct_size = ctypes.sizeof(_abi.nbl_file)
            entry.name = name.encode("utf-8")
            number = next(_numbers)
            if hasattr(content, "seek") and hasattr(content, "read"):
                entry.size = content.seek(0, 2)
                entry.read = _read
                _held[number] = content
            else:
                _held[number], address, entry.size = _pointer(content, name)
                entry.data = address or ctypes.addressof(entry)  # of an empty file nothing is read
            numbers.append(number)
            entry.release = _release
            entry.user = number
    except BaseException:
        for number in numbers:
            _held.pop(number, None)
        raise
    return array


_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int32": "I32", "int64": "I64", "int16": "I16", "int8": "I8",
          "uint8": "U8", "uint32": "U32", "float8_e4m3fn": "F8_E4M3", "bool": "BOOL"}
_FORMATS = {"f": "F32", "e": "F16", "i": "I32", "q": "I64", "l": "I64", "h": "I16", "b": "I8", "B": "U8", "I": "U32", "?": "BOOL"}


def packed_arrays(arrays: dict[str, Any]):
    """{name: array} as an array of nbl_array, and what must stay alive with it."""
    if not isinstance(arrays, dict) or not arrays:
        raise InvalidArgumentError("arrays: a dict of names and arrays was expected")
    out, keep = (_abi.nbl_array * len(arrays))(), []
    for entry, (name, values) in zip(out, arrays.items()):
        dtype = str(getattr(values, "dtype", "")).replace("torch.", "")
        kind = _TYPES.get(dtype) or _FORMATS.get(memoryview(values).format if not dtype else "")
        if kind is None:
            raise InvalidArgumentError(f"{name}: elements of type {dtype or memoryview(values).format!r} are not known")
        shape = tuple(values.shape) if hasattr(values, "shape") else memoryview(values).shape
        held, address, _ = _pointer(values, name)
        dims = (ctypes.c_int64 * max(1, len(shape)))(*shape)
        keep += [held, dims]
        entry.struct_size = ctypes.sizeof(_abi.nbl_array)
        entry.rank = len(shape)
        entry.name, entry.type = name.encode("utf-8"), kind.encode()
        entry.shape = dims
        entry.data = address
    return out, keep


def config_text(config: Any) -> bytes | None:
    return None if config is None else json.dumps(config).encode("utf-8")
