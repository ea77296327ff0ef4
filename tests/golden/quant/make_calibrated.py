#!/usr/bin/env python3
"""Golden results of AWQ, SmoothQuant and SpQR, written from the papers in float64 NumPy; inputs are kept as they are, token by token.

Writes calibrated.bin, little-endian: int32 n1, n2, k, tokens; weights f32 [n1, k], [n2, k] of two linears that share an input; sum of
x x^T f32 [k, k]; mean |x| f32 [k]; max |x| f32 [k]; then
  AWQ          int32 cases, each int32 bits, group, duo; scales f32 [k]; the first weight, scaled, clipped and rounded, f32 [n1, k]
  SmoothQuant  int32 cases, each f32 alpha; scales f32 [k]; int8 codes of the first weight, scaled, [n1, k]
  SpQR         int32 cases, each int32 bits, f32 share of outliers; error of the first weight, f64: |X E^T|^2 / |X W^T|^2

AWQ (Lin et al., 2023): s = mean|x|^a, and with duo the magnitude of the weights below it, as the authors' code has it; a from 0 to 0.95,
the one of least output error of both linears; then each group's range is shrunk as far as that lowers its own output error.
SmoothQuant (Xiao et al., 2022): s = max|x|^a / max|w|^(1-a), int8 rows by their largest magnitude.
SpQR (Dettmers et al., 2023): groups of 16, scales and zeros themselves in 3 bits for 16 rows, outliers by sensitivity, GPTQ's updates
in falling order of the diagonal.
Grids are those of nibble: scales rounded to f16, ranges that hold zero. Usage: python3 make_calibrated.py
"""
import pathlib
import struct

import numpy as np

from make_gptq import find_grid


def rounded(w, bits, group, shrink=None):
    """Nearest values of every group's grid; shrink [n, groups] multiplies the ranges."""
    n, k = w.shape
    out = np.empty_like(w)
    for g, first in enumerate(range(0, k, group)):
        for r in range(n):
            part = w[r, first : first + group]
            ends = np.array([min(0.0, part.min()), max(0.0, part.max())]) * (1.0 if shrink is None else shrink[r, g])
            scale, zero = find_grid(ends, bits, False)
            out[r, first : first + group] = scale * (np.rint(np.clip(part / scale + zero, 0, 2**bits - 1)) - zero)
    return out


def output_error(x, e):
    return float(((x @ e.T) ** 2).sum())


def awq_scales(x, weights, bits, group, duo, steps=20):
    k = x.shape[1]
    activation = np.abs(x).mean(0)
    relative = []
    for w in weights:
        parts = np.abs(w).reshape(len(w), k // group, group)
        relative.append((parts / parts.max(2, keepdims=True)).reshape(len(w), k))
    magnitude = np.concatenate(relative).mean(0)

    def error(s):
        return sum(output_error(x, w - rounded(w * s, bits, group) / s) for w in weights)

    best, least = np.ones(k), error(np.ones(k))
    for step in range(0 if duo else 1, steps):
        ratio = step / steps
        s = activation**ratio
        if duo:
            s = s / (magnitude ** (1 - ratio) + 1e-4)
        s = np.maximum(s, 1e-4)
        s = s / np.sqrt(s.max() * s.min())
        if (e := error(s)) < least:
            best, least = s, e
    return best


def awq_clipped(x, w, bits, group):
    n, k = w.shape
    shrink = np.ones((n, k // group))
    for g, first in enumerate(range(0, k, group)):
        part, inputs = w[:, first : first + group], x[:, first : first + group]
        least = np.full(n, np.inf)
        for step in range(10):
            factor = 1 - step / 20
            e = part - rounded(part, bits, group, np.full((n, 1), factor))
            errors = ((inputs @ e.T) ** 2).sum(0)
            better = errors < least
            shrink[better, g], least = factor, np.minimum(least, errors)
    return rounded(w, bits, group, shrink)


def spqr(x, weight, bits, share, group=16, rows=16, stat_bits=3, damp=0.01):
    n, k = weight.shape
    top = 2**bits - 1
    h = x.T @ x
    order = np.argsort(-np.diag(h), kind="stable")
    w, h = weight[:, order].copy(), h[order][:, order]
    h += damp * np.mean(np.diag(h)) * np.eye(k)
    inverse = np.linalg.inv(h)
    upper = np.linalg.cholesky(inverse).T

    def stats(part, keep):
        low, high = np.where(keep, part, np.inf).min(1), np.where(keep, part, -np.inf).max(1)
        scale = (high - low) / top
        zero = -low / scale
        for values in (scale, zero):  # the second order: 3 bits between a block's smallest and largest
            for r in range(0, n, rows):
                block = values[r : r + rows]
                step = (block.max() - block.min()) / (2**stat_bits - 1)
                if step > 0:
                    values[r : r + rows] = block.min() + step * np.rint((block - block.min()) / step)
        return scale, zero

    def nearest(part, scale, zero):
        return scale * (np.rint(np.clip(part / scale + zero, 0, top)) - zero)

    sensitivity = np.zeros((n, k))
    for first in range(0, k, group):
        part = w[:, first : first + group]
        scale, zero = stats(part, np.ones_like(part, bool))
        sensitivity[:, first : first + group] = (part - nearest(part, scale[:, None], zero[:, None])) ** 2
    sensitivity /= np.diag(inverse)
    wanted = int(share * n * k)
    outlier = np.zeros((n, k), bool)
    if wanted:
        outlier.ravel()[np.argsort(-sensitivity, axis=None)[:wanted]] = True
    out = np.zeros((n, k))
    for i in range(k):
        if i % group == 0:
            scale, zero = stats(w[:, i : i + group], ~outlier[:, i : i + group])
        out[:, i] = np.where(outlier[:, i], np.float16(w[:, i]).astype(float), nearest(w[:, i], scale, zero))
        error = (w[:, i] - out[:, i]) / upper[i, i]
        w[:, i + 1 :] -= np.outer(error, upper[i, i + 1 :])
    e = weight[:, order] - out
    return output_error(x[:, order], e) / output_error(x, weight)


def main():
    random = np.random.default_rng(12)
    n1, n2, k, tokens = 32, 16, 128, 512
    size = np.where(random.random(k) < 0.06, 8.0, 0.3 + random.random(k))
    x = np.zeros((tokens, k))
    for t in range(tokens):
        previous = 0.0
        for c in range(k):
            previous = 0.7 * previous + random.normal()
            x[t, c] = previous * size[c]
    weights = [(random.normal(size=(n, k)) * 0.05).astype("<f4").astype(float) for n in (n1, n2)]
    out = struct.pack("<4i", n1, n2, k, tokens) + b"".join(w.astype("<f4").tobytes() for w in weights)
    out += (x.T @ x).astype("<f4").tobytes() + np.abs(x).mean(0).astype("<f4").tobytes() + np.abs(x).max(0).astype("<f4").tobytes()
    cases = [(4, 64, 1), (3, 64, 1), (3, 64, 0), (4, 128, 0), (2, 32, 1)]
    out += struct.pack("<i", len(cases))
    for bits, group, duo in cases:
        s = awq_scales(x, weights, bits, group, duo).astype("<f4").astype(float)
        scaled = (weights[0] * s).astype("<f4").astype(float)
        out += struct.pack("<3i", bits, group, duo) + s.astype("<f4").tobytes()
        out += awq_clipped(x / s, scaled, bits, group).astype("<f4").tobytes()
    alphas = (0.3, 0.5, 0.75)
    out += struct.pack("<i", len(alphas))
    for alpha in alphas:
        reach = np.maximum(np.abs(weights[0]).max(0), np.abs(weights[1]).max(0))
        s = (np.abs(x).max(0).astype("<f4").astype(float) ** alpha / reach ** (1 - alpha)).astype("<f4").astype(float)
        scaled = (weights[0] * s).astype("<f4").astype(float)
        codes = np.rint(scaled * (127 / np.abs(scaled).max(1, keepdims=True))).astype(np.int8)
        out += struct.pack("<f", alpha) + s.astype("<f4").tobytes() + codes.tobytes()
    cases = [(3, 0.0), (3, 0.01), (4, 0.01), (2, 0.02)]
    out += struct.pack("<i", len(cases))
    for bits, share in cases:
        out += struct.pack("<ifd", bits, share, spqr(x, weights[0], bits, share))
    path = pathlib.Path(__file__).with_name("calibrated.bin")
    path.write_bytes(out)
    print(path.name, len(out), "bytes, numpy", np.__version__)


if __name__ == "__main__":
    main()
