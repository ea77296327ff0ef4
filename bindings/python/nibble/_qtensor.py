"""Quantized matrices on their own: the methods and the kernels without a model."""
from __future__ import annotations

import ctypes
from typing import Any

from . import _abi, _memory
from ._lib import Handle, InvalidArgumentError, buffer_result, check, encode, lib, take_json
from ._results import Result
from ._runtime import Checkpoint, Runtime, compute_mode, default_runtime

_FLOATS = ctypes.POINTER(ctypes.c_float)


class Floats:
    """Float32 values of the caller's, in place where they are contiguous (or rows at one distance): numpy arrays, torch tensors on
    the CPU, array.array, memoryviews; sequences of numbers are copied. `pointer` for ctypes; `shape`; `stride`, floats from one row
    to the next."""

    def __init__(self, values: Any, name: str, writable: bool = False):
        self.shape: tuple[int, ...]
        if hasattr(values, "data_ptr") and hasattr(values, "stride"):  # a torch tensor, which has no buffer protocol
            if str(values.dtype) != "torch.float32" or values.device.type != "cpu":
                raise InvalidArgumentError(f"{name} is {values.dtype} on {values.device}; float32 on the CPU was expected")
            values = values.detach()
            self._keep, address = values, values.data_ptr()
            self.shape, strides = tuple(values.shape), tuple(s * 4 for s in values.stride())
        else:
            try:
                view = memoryview(values)
            except TypeError:
                if writable:
                    raise InvalidArgumentError(f"{name} is a {type(values).__name__}; a float32 array was expected") from None
                flat = [v for row in values for v in (row if hasattr(row, "__iter__") else (row,))]
                view = memoryview((ctypes.c_float * len(flat))(*flat)).cast("B").cast("f")
            if view.format.lstrip("<=@") != "f":
                raise InvalidArgumentError(f"{name} must be float32, not format {view.format!r}")
            if writable and view.readonly:
                raise InvalidArgumentError(f"{name} cannot be written to")
            self.shape, strides = view.shape, view.strides
            if view.readonly:  # ctypes takes the address of writable memory only
                if hasattr(values, "__array_interface__"):
                    self._keep, address = values, values.__array_interface__["data"][0]
                else:
                    self._keep = (ctypes.c_float * (view.nbytes // 4)).from_buffer_copy(view.tobytes())
                    address, strides = ctypes.addressof(self._keep), _contiguous(self.shape)
            else:
                self._keep = view
                address = ctypes.addressof(ctypes.c_char.from_buffer(view)) if view.c_contiguous else _address(values, name)
        self.count = 1
        for extent in self.shape:
            self.count *= extent
        self.stride = self.shape[-1] if self.shape else 1
        if strides != _contiguous(self.shape):
            if len(self.shape) != 2 or (self.shape[1] > 1 and strides[1] != 4) or strides[0] % 4 or strides[0] < 4 * self.shape[1]:
                raise InvalidArgumentError(f"{name} must be contiguous, or rows of contiguous floats")
            self.stride = strides[0] // 4
        self.pointer = ctypes.cast(address, _FLOATS) if self.count else (ctypes.c_float * 1)()

    def rows_of(self, columns: int, name: str) -> int:
        """How many rows of `columns` floats these are."""
        if self.count == 0 or (self.shape[-1] != columns if len(self.shape) > 1 else self.count % columns):
            raise InvalidArgumentError(f"{name} of shape {list(self.shape)}: rows of {columns} floats were expected")
        if len(self.shape) == 1:
            self.stride = columns
        return self.count // columns


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 4
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def _address(values: Any, name: str) -> int:
    try:
        return values.__array_interface__["data"][0]
    except (AttributeError, KeyError):
        raise InvalidArgumentError(f"{name} must be contiguous") from None


class QTensor(Handle):
    """A quantized matrix [n, k] on its own: the methods and the kernels without a model."""

    _destroy = "nbl_qtensor_destroy"

    @classmethod
    def quantize(cls, weight: Any, shape: tuple[int, int] | None, recipe: str, runtime: Runtime | None = None, seed: int = 0,
                 hessian: Any = None, abs_mean: Any = None, tokens: int = 0) -> QTensor:
        """weight: float32 [n, k] row-major: a numpy array, a torch tensor, anything with the buffer protocol, or a sequence of
        floats. shape: (n, k); None: that of the weight, whose rows may then lie apart. hessian [k, k]: the sum of x x^T over `tokens` inputs,
        abs_mean [k]: the mean of |x|, for the methods that need them."""
        runtime = runtime or default_runtime()
        given = Floats(weight, "weight")
        if shape is None:
            if len(given.shape) != 2:
                raise InvalidArgumentError(f"weight of shape {list(given.shape)}: two dimensions were expected")
            (n, k), stride = given.shape, given.stride
        else:
            n, k = shape
            stride = k
            if given.count != n * k or given.stride not in (k, given.shape[-1] if len(given.shape) != 2 else k):
                raise InvalidArgumentError(f"weight holds {given.count} floats; {n * k} were expected")
        options = _abi.nbl_qtensor_options()
        options.struct_size = ctypes.sizeof(options)
        options.seed, options.tokens = seed, tokens
        keep = []
        for name, values, count in (("hessian", hessian, k * k), ("abs_mean", abs_mean, k)):
            if values is not None:
                floats = Floats(values, name)
                if floats.count != count or (len(floats.shape) == 2 and floats.stride != floats.shape[1]):
                    raise InvalidArgumentError(f"{name} holds {floats.count} floats; {count} in a row were expected")
                keep.append(floats)
                setattr(options, name, ctypes.cast(floats.pointer, _FLOATS))
        out = ctypes.POINTER(_abi.nbl_qtensor)()
        check(lib.nbl_qtensor_quantize(runtime.handle, given.pointer, n, k, stride, encode(recipe), ctypes.byref(options),
                                       ctypes.byref(out)))
        return cls(out)

    @classmethod
    def from_array(cls, weight: Any, recipe: str, **options: Any) -> QTensor:
        """quantize() of a numpy array or torch tensor, which knows its shape."""
        return cls.quantize(weight, None, recipe, **options)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, name: str) -> QTensor:
        """A matrix of a checkpoint, by its Hugging Face parameter name."""
        out = ctypes.POINTER(_abi.nbl_qtensor)()
        check(lib.nbl_qtensor_from_checkpoint(checkpoint.handle, encode(name), ctypes.byref(out)))
        return cls(out)

    @classmethod
    def from_packed(cls, format: str, arrays: dict[str, Any], config: dict | None = None, runtime: Runtime | None = None) -> QTensor:
        """A matrix out of another tool's packed arrays, the same numbers to the bit: format "gptq" with {"qweight", "qzeros", "scales"},
        "awq", "bitsandbytes" with {"weight", "weight.absmax", ...}; numpy arrays, torch tensors or anything with the buffer protocol; "gguf"
        with {"weight": ("Q4_K", (n, k), bytes of the blocks)}. config: the checkpoint's quantization_config."""
        runtime = runtime or default_runtime()
        given, keep = _memory.packed_arrays(arrays)
        out = ctypes.POINTER(_abi.nbl_qtensor)()
        check(lib.nbl_qtensor_from_packed(runtime.handle, encode(format), given, len(given), _memory.config_text(config),
                                          ctypes.byref(out)))
        del keep
        return cls(out)

    @property
    def shape(self) -> tuple[int, int]:
        return lib.nbl_qtensor_rows(self.handle), lib.nbl_qtensor_columns(self.handle)

    def info(self) -> Result:
        """shape, encoding, bits_per_weight, stored_bytes, segments, error and notes."""
        return take_json(buffer_result(lib.nbl_qtensor_info, self.handle))

    def _output(self, out: Any, rows: int, columns: int) -> tuple[Any, Any, int]:
        """What to return, where to write, and floats from one row to the next."""
        if out is None:
            data = (ctypes.c_float * (rows * columns))()
            return memoryview(data).cast("B").cast("f", (rows, columns)), data, columns
        floats = Floats(out, "out", writable=True)
        if floats.shape != (rows, columns):
            raise InvalidArgumentError(f"out has shape {list(floats.shape)}; [{rows}, {columns}] was expected")
        return out, floats.pointer, floats.stride

    def dequantize(self, out: Any = None, begin: int = 0, end: int | None = None) -> Any:
        """Rows [begin, end) as floats: a memoryview [rows, k], which numpy.asarray takes without a copy; or written into `out`, a
        float32 array or tensor of that shape, which is returned."""
        n, k = self.shape
        rows = (n if end is None else end) - begin
        if begin < 0 or rows < 1 or begin + rows > n:
            raise InvalidArgumentError(f"rows {begin} to {begin + rows} of a matrix of {n} rows")
        result, pointer, stride = self._output(out, rows, k)
        check(lib.nbl_qtensor_dequantize(self.handle, begin, rows, pointer, stride))
        return result

    def numpy(self) -> Any:
        """The dequantized matrix as a numpy array."""
        import numpy
        return numpy.asarray(self.dequantize())

    def torch(self) -> Any:
        """The dequantized matrix as a torch tensor (float32, on the CPU)."""
        import torch
        out = torch.empty(self.shape, dtype=torch.float32)
        return self.dequantize(out)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if copy is False:
            raise ValueError("the floats of a QTensor are made when they are asked for")
        values = self.numpy()
        return values if dtype is None else values.astype(dtype)

    def matmul(self, x: Any, compute: str = "default", out: Any = None) -> Any:
        """x: float32 [m, k]. x times the transposed matrix, [m, n]: a memoryview, or written into `out`, which is returned."""
        n, k = self.shape
        given = Floats(x, "x")
        m = given.rows_of(k, "x")
        result, pointer, stride = self._output(out, m, n)
        check(lib.nbl_qtensor_matmul(self.handle, compute_mode(compute), given.pointer, given.stride, m, pointer, stride))
        return result
