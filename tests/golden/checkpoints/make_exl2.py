"""EXL2 checkpoints packed and decoded by a NumPy reading of the format's description: bit streams along columns, scales
from 4-bit codes, groups with widths of their own, an order of columns.

Needs: numpy and torch (only to write files). Run in this folder.
"""
import numpy as np
import torch
from common import write

P = "model.layers.0.mlp.down_proj."


def one(name, groups, n, seed, last=None, vocabulary=None):
    """groups: (bits, columns) from the widest to the narrowest. last: columns of the last group that there really are."""
    rng = np.random.default_rng(seed)
    padded = (n + 31) // 32 * 32
    words, table, scale_codes, maxima, rows = [], [], [], [], []
    for bits, count in groups:
        codes = rng.integers(0, 1 << bits, (count, padded))
        table += [bits, sum(len(w) for w in words)]
        stream = np.zeros((count * bits, padded), dtype=np.uint64)
        for b in range(bits):
            stream[b::bits] = codes >> b & 1
        words.append((stream.reshape(-1, 32, padded) << np.arange(32, dtype=np.uint64)[None, :, None]).sum(1).astype(np.uint32))
        qs = rng.integers(0, 16, padded)
        most = np.float16(rng.uniform(0.5, 40))
        scale_codes.append((qs.reshape(-1, 8).astype(np.uint64) << np.arange(0, 32, 4, dtype=np.uint64)).sum(1).astype(np.uint32))
        maxima.append(most)
        unit = np.float16(most * np.float16(1 / 256))
        scale = (((qs + 1) ** 2).astype(np.float16) * unit).astype(np.float16).astype(np.float32)
        rows.append((codes - (1 << (bits - 1))).astype(np.float32) * scale)
    packed = np.concatenate(rows)
    k = len(packed) if last is None else len(packed) - groups[-1][1] + last
    inverse = rng.permutation(k).astype(np.int32)
    weight = packed[inverse][:, :n].T  # row k of the weight lies at packed position inverse[k]
    as_i32 = lambda array: torch.from_numpy(np.ascontiguousarray(array).view(np.int32))
    tensors = {
        "q_weight": as_i32(np.concatenate(words)), "q_scale": as_i32(np.stack(scale_codes)),
        "q_scale_max": torch.from_numpy(np.array(maxima, dtype=np.float16)),
        "q_groups": torch.from_numpy(np.array(table, dtype=np.int16)), "q_invperm": torch.from_numpy(inverse),
    }
    prefix = P
    config = {"quant_method": "exl2", "version": "0.2.4", "bits": 4.0, "head_bits": 6,
              "calibration": {"rows": 1, "length": 64, "dataset": "(none)"}}
    if n != padded:  # a bias tells the true number of rows
        tensors["bias"] = torch.zeros(n, dtype=torch.float16)
    write(name, config, {prefix + key: value for key, value in tensors.items()},
          {prefix + "weight": torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32))}, "numpy")


one("exl2_mixed", [(8, 32), (6, 32), (5, 64), (4, 64), (3, 32), (2, 32)], 32, 1)
one("exl2_odd_groups", [(6, 32), (5, 32), (4, 32), (3, 96), (2, 64)], 40, 2)
one("exl2_short_last", [(4, 128), (4, 128), (3, 128)], 32, 3, last=96)
