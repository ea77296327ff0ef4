"""Models and matrices out of memory: bytes, buffers, file objects, packed arrays."""
from __future__ import annotations

import ctypes
import itertools
import json
import math
from typing import Any

from . import _abi
from ._lib import InvalidArgumentError, read_errors

# What the library reads until it lets go of it, by the number that it is told.
_held: dict[int, Any] = {}
_numbers = itertools.count(1)


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
        read_errors.append(error)
        return 1


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


def files_array(files: dict[str, Any], on_demand: bool = False):
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
                entry.flags = _abi.NBL_FILE_ON_DEMAND if on_demand else 0
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


# Elements in a block of GGUF's types, and its bytes.
_BLOCKS = {
    "F32": (1, 4), "F16": (1, 2), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q8_1": (32, 36), "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210), "Q8_K":
    (256, 292), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ3_XXS": (256, 98), "IQ1_S": (256, 50), "IQ4_NL": (32, 18),
    "IQ3_S": (256, 110), "IQ2_S": (256, 82), "IQ4_XS": (256, 136), "I8": (1, 1), "I16": (1, 2), "I32": (1, 4), "I64": (1, 8),
    "F64": (1, 8), "IQ1_M": (256, 56), "BF16": (1, 2), "TQ1_0": (256, 54), "TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64,
    36)}


def _type_and_shape(values: Any, name: str):
    dtype = str(getattr(values, "dtype", "")).replace("torch.", "")
    kind = _TYPES.get(dtype) or _FORMATS.get(memoryview(values).format if not dtype else "")
    if kind is None:
        raise InvalidArgumentError(f"{name}: elements of type {dtype or memoryview(values).format!r} are not known")
    return kind, tuple(values.shape) if hasattr(values, "shape") else memoryview(values).shape


def packed_arrays(arrays: dict[str, Any]):
    """{name: array, or (type, shape, bytes)} as an array of nbl_array, and what must stay alive with it."""
    if not isinstance(arrays, dict) or not arrays:
        raise InvalidArgumentError("arrays: a dict of names and arrays was expected")
    out, keep = (_abi.nbl_array * len(arrays))(), []
    for entry, (name, values) in zip(out, arrays.items()):
        if isinstance(values, tuple) and len(values) == 3:  # blocks, whose type no array has
            kind, shape, values = values
            width, block_bytes = _BLOCKS.get(kind, (0, 0))
            held, address, size = _pointer(values, name)
            if width == 0 or not shape or shape[-1] % width or math.prod(shape) // width * block_bytes != size:
                raise InvalidArgumentError(f"{name}: {size} bytes are no {list(shape)} elements of type {kind!r}")
        else:
            kind, shape = _type_and_shape(values, name)
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
