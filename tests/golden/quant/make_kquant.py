#!/usr/bin/env python3
"""What llama.cpp's own quantizer loses in each block type, for tests that nibble's loses no more.

Writes kquant.bin, little-endian: int32 n, k; weight f32 [n, k]; importance f32 [k] (mean x^2 of the inputs); int32 types, each a name
padded with zeros to 8 bytes and two f64: the error sum h e^2 / sum h w^2 with the importance given to the quantizer and without. Blocks are
made by ggml_quantize_chunk of libggml (pip install llama-cpp-python) and read back by the gguf package (pip install gguf).
Usage: python3 make_kquant.py
"""
import ctypes
import pathlib
import struct

import gguf
import llama_cpp
import numpy as np

TYPES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "IQ4_XS"]


def main():
    library = ctypes.CDLL(str(pathlib.Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    random = np.random.default_rng(5)
    n, k = 16, 1024
    weight = (random.normal(size=(n, k)) * 0.05 * np.exp(0.3 * random.normal(size=(n, 1)))).astype("<f4")
    weight[random.random((n, k)) < 0.004] *= 5
    importance = np.exp(1.2 * random.normal(size=k)).astype("<f4")
    out = struct.pack("<2i", n, k) + weight.tobytes() + importance.tobytes() + struct.pack("<i", len(TYPES))
    for name in TYPES:
        type_ = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[type_]
        errors = []
        for given in (importance, None):
            packed = np.zeros((n, k // block * size), np.uint8)
            quantize(int(type_), weight.ctypes.data, packed.ctypes.data, 0, n, k, None if given is None else given.ctypes.data)
            value = gguf.dequantize(packed, type_).reshape(n, k).astype(float)
            h = importance.astype(float)
            errors.append(float((h * (weight - value) ** 2).sum() / (h * weight.astype(float) ** 2).sum()))
        print(name, *errors)
        out += name.encode().ljust(8, b"\0") + struct.pack("<2d", *errors)
    path = pathlib.Path(__file__).with_name("kquant.bin")
    path.write_bytes(out)
    print(path.name, len(out), "bytes")


if __name__ == "__main__":
    main()
