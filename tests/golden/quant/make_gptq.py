#!/usr/bin/env python3
"""Golden results of GPTQ: the published algorithm (Frantar et al., 2022), written plainly in float64 NumPy.

Writes gptq.bin, little-endian: int32 number of data sets, each n, k (int32), weight f32 [n, k], Hessian f32 [k, k] (sum of
x x^T); int32 number of cases, each six int32 (data set, bits, group, sym, desc_act, static_groups), the order i32 [k], codes u8
[n, k] in processing order (static groups: in original order), scales f32 [n, groups], zeros f32 [n, groups].

Grids are those of nibble: scales rounded to f16 before codes are chosen, the range always holding zero, groups found from the
weight with the errors of all earlier columns already compensated. Usage: python3 make_gptq.py
"""
import pathlib
import struct

import numpy as np

DAMP = 0.01


def find_grid(w, bits, sym):
    maxq = 2**bits - 1
    lo, hi = min(0.0, w.min()), max(0.0, w.max())
    if sym:
        reach = max(-lo, hi)
        if reach == 0:
            return 1.0, 2.0 ** (bits - 1)
        return float(np.float16(2 * reach / maxq)), 2.0 ** (bits - 1)
    if lo == hi:
        return 1.0, 0.0
    scale = float(np.float16((hi - lo) / maxq))
    return scale, float(np.clip(np.rint(-lo / scale), 0, maxq))


def gptq(weight, hessian, bits, group, sym, desc_act, static_groups):
    n, k = weight.shape
    maxq = 2**bits - 1
    w = weight.astype(np.float64).copy()
    h = hessian.astype(np.float64).copy()
    group = k if group <= 0 else group
    groups = -(-k // group)
    dead = np.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    order = np.argsort(-np.diag(hessian), kind="stable") if desc_act else np.arange(k)
    scales, zeros = np.zeros((n, groups)), np.zeros((n, groups))
    if static_groups:
        for r in range(n):
            for g in range(groups):
                scales[r, g], zeros[r, g] = find_grid(w[r, g * group : (g + 1) * group], bits, sym)
    w, h = w[:, order], h[order][:, order]
    h += DAMP * np.mean(np.diag(h)) * np.eye(k)
    inverse = np.linalg.cholesky(np.linalg.inv(h)).T  # upper
    codes = np.zeros((n, k), np.uint8)
    for i in range(k):
        g = order[i] // group if static_groups else i // group
        if not static_groups and i % group == 0:
            for r in range(n):
                scales[r, g], zeros[r, g] = find_grid(w[r, i : i + group], bits, sym)
        q = np.rint(np.clip(w[:, i] / scales[:, g] + zeros[:, g], 0, maxq))
        codes[:, order[i] if static_groups else i] = q
        error = (w[:, i] - scales[:, g] * (q - zeros[:, g])) / inverse[i, i]
        w[:, i:] -= np.outer(error, inverse[i, i:])
    return order, codes, scales, zeros


def main():
    random = np.random.default_rng(20240607)
    data = []
    for n, k, dead in [(48, 160, -1), (32, 112, 17)]:
        weight = (random.standard_normal((n, k)) * random.gamma(2, 0.02, (1, k))).astype(np.float32)
        mix = random.standard_normal((k, k)) * (0.9 ** np.arange(k))[:, None]
        x = random.standard_normal((3 * k, k)) @ mix * 2 + 0.3 * random.standard_normal((3 * k, k))
        if dead >= 0:
            x[:, dead] = 0
        data.append((weight, (x.T @ x).astype(np.float32)))
    out = struct.pack("<i", len(data))
    for weight, hessian in data:
        out += struct.pack("<2i", *weight.shape) + weight.astype("<f4").tobytes() + hessian.astype("<f4").tobytes()
    cases = [
        (0, 4, 64, 0, 1, 0),
        (0, 3, 64, 0, 1, 0),
        (0, 2, 32, 0, 0, 0),
        (0, 4, 48, 1, 1, 1),
        (0, 8, 128, 0, 1, 0),
        (1, 4, 32, 1, 0, 0),
        (1, 3, -1, 1, 1, 0),
        (1, 2, 16, 0, 1, 0),
        (1, 5, 16, 0, 1, 1),
    ]
    out += struct.pack("<i", len(cases))
    for which, *options in cases:
        order, codes, scales, zeros = gptq(*data[which], *options)
        out += struct.pack("<6i", which, *options) + order.astype("<i4").tobytes() + codes.tobytes()
        out += scales.astype("<f4").tobytes() + zeros.astype("<f4").tobytes()
    path = pathlib.Path(__file__).with_name("gptq.bin")
    path.write_bytes(out)
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
