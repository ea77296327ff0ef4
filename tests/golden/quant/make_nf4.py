#!/usr/bin/env python3
"""Golden NF4 codes and scales from bitsandbytes itself (pip install bitsandbytes torch; MIT licence).

Writes nf4.bin: little-endian; the first int32 is the number of cases. A case is three int32 (n, k, block), the weight f32
[n, k], codes u8 [n, k] and absmax f32 [n * k / block]. Usage: python3 make_nf4.py
"""
import pathlib
import struct

import bitsandbytes
import bitsandbytes.functional as bnb
import numpy as np
import torch


def main():
    generator = torch.Generator().manual_seed(5)
    cases = []
    for n, k, block in [(16, 256, 64), (12, 320, 64), (8, 512, 128), (3, 4096, 4096), (5, 96, 32)]:
        weight = torch.randn(n, k, generator=generator) * 0.05
        if block == 64:
            weight = weight.to(torch.bfloat16).float()  # what checkpoints hold; many ties
            weight[1, :64] = 0
            weight[2, 64:128] = torch.linspace(-1, 1, 64)
            weight[3, 0] = 37.5
        packed, state = bnb.quantize_4bit(weight, blocksize=block, quant_type="nf4")
        flat = packed.flatten().numpy()
        codes = np.stack([flat >> 4, flat & 15], axis=1).reshape(n, k).astype(np.uint8)
        absmax = state.absmax.numpy().astype("<f4")
        assert absmax.size == n * k // block
        cases.append(struct.pack("<3i", n, k, block) + weight.numpy().astype("<f4").tobytes() + codes.tobytes() + absmax.tobytes())
    path = pathlib.Path(__file__).with_name("nf4.bin")
    path.write_bytes(struct.pack("<i", len(cases)) + b"".join(cases))
    print(path.name, path.stat().st_size, "bytes, bitsandbytes", bitsandbytes.__version__, "torch", torch.__version__)


if __name__ == "__main__":
    main()
