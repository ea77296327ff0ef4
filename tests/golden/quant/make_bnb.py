#!/usr/bin/env python3
"""Golden nested NF4, FP4 and int8 rows from bitsandbytes itself (pip install bitsandbytes torch; MIT licence).

Writes bnb.bin, little-endian: int32 number of cases; each four int32 (kind: 0 nf4, 1 fp4, 2 int8; n; k; block, negative when the
scales are nested), the weight f32 [n, k], and what the package makes of it. 4 bits: codes u8 [n, k], the dequantized weight f32
[n, k]; nested: also the offset f32, the scale codes u8 [blocks], nested scales f32 [ceil(blocks / 256)], the map f32 [256]. int8:
codes i8 [n, k], row maxima f32 [n]. Usage: python3 make_bnb.py
"""
import pathlib
import struct

import bitsandbytes
import bitsandbytes.functional as bnb
import torch


def floats(tensor):
    return tensor.detach().float().numpy().astype("<f4").tobytes()


def main():
    generator = torch.Generator().manual_seed(7)
    cases = []
    for kind, n, k, block, nested in [
        ("nf4", 24, 384, 32, True),
        ("fp4", 12, 256, 64, False),
        ("fp4", 12, 320, 64, True),
        ("nf4", 9, 96, 64, False),  # blocks straddle rows
        ("fp4", 6, 64, 128, True),  # blocks of two rows
        ("nf4", 5, 96, 64, True),  # a short last block
        ("int8", 9, 130, 0, False),
    ]:
        weight = torch.randn(n, k, generator=generator) * 0.05
        weight = (weight * (1 + torch.rand(n, 1, generator=generator) * 3)).to(torch.bfloat16).float()
        weight[1, : k // 2] = 0
        head = struct.pack("<4i", ["nf4", "fp4", "int8"].index(kind), n, k, -block if nested else block)
        if kind == "int8":
            weight = weight.half().float()
            codes, maxima, _ = bnb.int8_vectorwise_quant(weight.half())
            cases.append(head + floats(weight) + codes.numpy().astype("i1").tobytes() + floats(maxima))
            continue
        packed, state = bnb.quantize_4bit(weight, blocksize=block, quant_type=kind, compress_statistics=nested)
        flat = packed.flatten()
        codes = torch.stack([flat >> 4, flat & 15], dim=1).flatten()[: n * k]
        # Not dequantize_4bit(): on a CPU it takes the wrong scale where a block straddles rows.
        absmax = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset if nested else state.absmax
        values = state.code[codes.long()] * absmax.repeat_interleave(block)[: n * k]
        part = head + floats(weight) + codes.numpy().astype("u1").tobytes() + floats(values)
        if nested:
            part += floats(state.offset.reshape(1)) + state.absmax.numpy().astype("u1").tobytes()
            part += floats(state.state2.absmax) + floats(state.state2.code)
        cases.append(part)
    path = pathlib.Path(__file__).with_name("bnb.bin")
    path.write_bytes(struct.pack("<i", len(cases)) + b"".join(cases))
    print(path.name, path.stat().st_size, "bytes, bitsandbytes", bitsandbytes.__version__, "torch", torch.__version__)


if __name__ == "__main__":
    main()
