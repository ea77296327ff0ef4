"""The codebooks of trellis codes (src/quant/trellis.cpp): Lloyd's algorithm on the code's own paths.

Normally distributed weights in groups of 64 get the best of some scales, relative to their root mean square, and the path of least
error; then each value becomes the mean of what it stands for. Prints the values of the upper half for each width, their rounding to
multiples of 1/128, the scale that suits variance 1, and the ratio of the weights' power to the error's in decibels.

    python make_trellis.py
"""
import numpy as np

STATES = 64
START = {1: [0.35, 1.2], 2: [0.19, 0.615, 1.095, 1.885], 3: [0.12, 0.358, 0.60, 0.855, 1.13, 1.45, 1.885, 2.56],
         4: [0.06 + 0.12 * i + 0.004 * i * i for i in range(16)]}


def labels(state, bit):
    """Of the step after a state whose step s - d is at bit d - 1."""
    u = [bit] + [state >> d & 1 for d in range(6)]
    return 2 * (u[0] ^ u[1] ^ u[6]) + (u[2] ^ u[4])


def paths(x, levels, scale):
    """Codes of least squared error for sequences x [n, 64] with scale [n, 1], and that error."""
    n, steps = x.shape
    cost = np.full((STATES, n), np.inf)
    cost[0] = 0
    came = np.zeros((steps, STATES, n), bool)
    code = np.zeros((steps, STATES, n), np.uint8)
    for t in range(steps):
        distance, nearest = [], []
        for z in range(4):
            values = levels[z::4]
            index = np.searchsorted((values[1:] + values[:-1]) / 2, x[:, t] / scale[:, 0])
            nearest.append(4 * index + z)
            distance.append((x[:, t] - scale[:, 0] * values[index]) ** 2)
        following = np.empty_like(cost)
        for state in range(STATES):
            bit, first = state & 1, state >> 1
            other = first | STATES // 2
            a, b = (cost[s] + distance[labels(s, bit)] for s in (first, other))
            came[t, state] = b < a
            following[state] = np.minimum(a, b)
            code[t, state] = np.where(b < a, nearest[labels(other, bit)], nearest[labels(first, bit)])
        cost = following
    state, rows = cost.argmin(0), np.arange(n)
    out = np.empty((n, steps), np.uint8)
    for t in reversed(range(steps)):
        out[:, t] = code[t, state, rows]
        state = (state >> 1) | came[t, state, rows] * (STATES // 2)
    return out, cost.min(0)


def main():
    random = np.random.default_rng(1)
    for bits, half in START.items():
        half = np.array(half)
        for _ in range(14):
            x = random.standard_normal((1500, 64))
            root = np.sqrt((x**2).mean(1, keepdims=True))
            levels = np.concatenate([-half[::-1], half])
            least, best, share = np.full(len(x), np.inf), np.zeros(x.shape, np.uint8), np.ones(len(x))
            for factor in np.linspace(0.8, 1.25, 7):
                codes, error = paths(x, levels, root * factor)
                better = error < least
                least[better], best[better], share[better] = error[better], codes[better], factor
            scale = np.broadcast_to(root * share[:, None], x.shape)
            total = np.bincount(best.ravel(), weights=(scale * x).ravel(), minlength=len(levels))
            mean = total / np.bincount(best.ravel(), weights=(scale**2).ravel(), minlength=len(levels))
            half = ((mean - mean[::-1]) / 2)[len(levels) // 2 :] * share.mean()
        stored = np.round(half * 127 / half[-1]).astype(int)
        print(f"{bits} bits: {np.round(half, 4)} stored {stored} unit {128 * half[-1] / 127:.4f}, {10 * np.log10((x**2).sum() / least.sum()):.2f} dB")


if __name__ == "__main__":
    main()
