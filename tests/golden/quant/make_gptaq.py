#!/usr/bin/env python3
"""Golden results of asymmetric calibration (GPTAQ: Li et al., 2025), written plainly in float64 NumPy.

X [k, tokens] is the input as the quantized model has it, U the same of the original model. GPTAQ asks for the codes with the
least |W (X + alpha (U - X)) - Q X|^2. The paper charges each column's share of W (U - X) when that column is rounded, to the
columns after it (its matrix P); nibble rounds from the least-squares solution of the whole, which the paper's order
approximates. Written here: nibble's way, code for code, and the error that the paper's way has on the same data, which
nibble's must not exceed by more than chance.

Writes gptaq.bin, little-endian: n, k, tokens (int32), weight f32 [n, k], Hessian f32 [k, k], cross f32 [k, k] (row j, column i:
sum of x_j (u_i - x_i)), residual f32 [n, k] (sum of r x^T), X and U f32 [k, tokens]; int32 number of cases, each int32 bits and
group, f32 alpha and beta, codes u8 [n, k], scales f32 [n, groups], zeros f32 [n, groups], f64 the error of the paper's way (-1
with beta, which is not the paper's). Usage: python3 make_gptaq.py
"""
import pathlib
import struct

import numpy as np

from make_gptq import DAMP, find_grid


def prepared(hessian):
    h = hessian + DAMP * np.mean(np.diag(hessian)) * np.eye(len(hessian))
    return h, np.linalg.cholesky(np.linalg.inv(h)).T  # upper


def round_columns(start, hessian, bits, group, shift=None):
    """GPTQ's loop from the real-valued weight `start`; shift [k, k]: what column i adds to the columns after it."""
    n, k = start.shape
    _, inverse = prepared(hessian)
    maxq = 2**bits - 1
    groups = -(-k // group)
    w = start.copy()
    codes, scales, zeros = np.zeros((n, k), np.uint8), np.zeros((n, groups)), np.zeros((n, groups))
    value = np.zeros((n, k))
    for i in range(k):
        g = i // group
        if i % group == 0:
            for r in range(n):
                scales[r, g], zeros[r, g] = find_grid(w[r, i : i + group], bits, 0)
        q = np.rint(np.clip(w[:, i] / scales[:, g] + zeros[:, g], 0, maxq))
        codes[:, i] = q
        value[:, i] = scales[:, g] * (q - zeros[:, g])
        now = w[:, i].copy()
        w[:, i:] -= np.outer((now - value[:, i]) / inverse[i, i], inverse[i, i:])
        if shift is not None:
            w[:, i + 1 :] += np.outer(now, shift[i, i + 1 :])
    return codes, scales, zeros, value


def nibble_way(weight, hessian, cross, residual, bits, group, alpha, beta):
    h, _ = prepared(hessian)
    b = alpha * weight @ cross.T + beta * residual
    return round_columns(weight + np.linalg.solve(h, b.T).T, hessian, bits, group)


def paper_way(weight, hessian, cross, bits, group, alpha):
    _, upper = prepared(hessian)
    # P = ((dX X^T L) o M) L^T with L the lower factor of the inverse Hessian, M strictly upper.
    p = alpha * np.triu(cross.T @ upper.T, 1) @ upper
    return round_columns(weight.astype(np.float64), hessian, bits, group, p)


def main():
    random = np.random.default_rng(20250403)
    n, k, tokens = 24, 80, 140
    weight = (random.standard_normal((n, k)) * random.gamma(2, 0.02, (1, k))).astype(np.float32)
    mix = random.standard_normal((k, k)) * (0.93 ** np.arange(k))[:, None]
    u = (random.standard_normal((tokens, k)) @ mix + 0.3 * random.standard_normal((tokens, k))).T.astype(np.float32)
    drift = 0.08 * random.standard_normal((k, k)) / np.sqrt(k)
    x = (u + drift @ u + 0.05 * random.standard_normal((k, tokens))).astype(np.float32)
    r = (0.05 * random.standard_normal((n, k)) @ u / np.sqrt(k)).astype(np.float32)
    x64, u64 = x.astype(np.float64), u.astype(np.float64)
    hessian = (x64 @ x64.T).astype(np.float32)
    cross = (x64 @ (u64 - x64).T).astype(np.float32)
    residual = (r.astype(np.float64) @ x64.T).astype(np.float32)
    out = struct.pack("<3i", n, k, tokens)
    for array in (weight, hessian, cross, residual, x, u):
        out += array.astype("<f4").tobytes()
    cases = [(4, 32, 1.0, 0.0), (3, 32, 0.5, 0.0), (2, 48, 1.0, 0.0), (3, 80, 0.5, 0.5), (4, 16, 0.0, 1.0)]
    out += struct.pack("<i", len(cases))
    h64, c64 = hessian.astype(np.float64), cross.astype(np.float64)
    for bits, group, alpha, beta in cases:
        codes, scales, zeros, value = nibble_way(weight.astype(np.float64), h64, c64, residual.astype(np.float64), bits, group, alpha, beta)
        target = weight.astype(np.float64) @ (x64 + alpha * (u64 - x64))
        error = -1.0
        if beta == 0:
            error = float(np.sum((target - paper_way(weight, h64, c64, bits, group, alpha)[3] @ x64) ** 2))
            plain = float(np.sum((target - round_columns(weight.astype(np.float64), h64, bits, group)[3] @ x64) ** 2))
            own = float(np.sum((target - value @ x64) ** 2))
            print(f"bits {bits}, alpha {alpha}: GPTQ {plain:.4f}, the paper's way {error:.4f}, nibble's {own:.4f}")
        out += struct.pack("<2i2f", bits, group, alpha, beta) + codes.tobytes()
        out += scales.astype("<f4").tobytes() + zeros.astype("<f4").tobytes() + struct.pack("<d", error)
    path = pathlib.Path(__file__).with_name("gptaq.bin")
    path.write_bytes(out)
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
