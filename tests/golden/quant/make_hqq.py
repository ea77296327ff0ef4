#!/usr/bin/env python3
"""Golden HQQ results from the hqq package itself (pip install hqq torch; Apache-2.0 licence).

Writes hqq.bin, little-endian: int32 number of cases; each four int32 (bits, group, n, k), the weight f32 [n, k], codes u8 [n, k],
scales f32 [n, k / group], zeros f32 [n, k / group]; w = (q - zero) * scale. Usage: python3 make_hqq.py
"""
import pathlib
import struct

import hqq
import numpy as np
import torch
from hqq.core.quantize import Quantizer


def main():
    generator = torch.Generator().manual_seed(3)
    cases = []
    for bits, group, n, k in [(8, 64, 8, 128), (4, 64, 24, 256), (3, 64, 24, 192), (2, 32, 24, 128), (1, 32, 16, 128), (4, 128, 12, 256)]:
        weight = torch.randn(n, k, generator=generator) * 0.05 + torch.randn(n, 1, generator=generator) * 0.02
        weight[:, ::17] *= 4
        codes, meta = Quantizer.quantize(weight, nbits=bits, group_size=group, axis=1, optimize=True, bitpack=False, device="cpu",
                                         compute_dtype=torch.float32)
        codes = codes.reshape(n, k).round().to(torch.uint8).numpy()
        scale = meta["scale"].float().reshape(n, k // group).numpy().astype("<f4")
        zero = meta["zero"].float().reshape(n, k // group).numpy().astype("<f4")
        cases.append(struct.pack("<4i", bits, group, n, k) + weight.numpy().astype("<f4").tobytes() + codes.tobytes()
                     + scale.tobytes() + zero.tobytes())
    path = pathlib.Path(__file__).with_name("hqq.bin")
    path.write_bytes(struct.pack("<i", len(cases)) + b"".join(cases))
    print(path.name, path.stat().st_size, "bytes, hqq", getattr(hqq, "__version__", "?"), "torch", torch.__version__)


if __name__ == "__main__":
    main()
