#!/usr/bin/env python3
"""Prints the tokens that the sampler must choose, from its definition alone: splitmix64 as a counter-based generator, and the
token with the smallest -log(u) / p. Integers, and decimals of 50 digits: no platform's mathematics takes part.

    reference.py        the numbers of tests/unit/model/generation_test.cpp, IsTheSameOnEveryPlatform
"""
from decimal import Decimal, getcontext

getcontext().prec = 50
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def at(key, index):
    return mix((key + (index + 1) * GOLDEN) & MASK)


def choose(seed, stream, number, logits):
    key = mix(at(mix(at(seed, stream)), number))
    best = None
    for token, logit in enumerate(logits):
        u = Decimal(1) - Decimal(at(key, token) >> 11) / Decimal(1 << 53)
        time = -u.ln() / (Decimal(logit) - Decimal(max(logits))).exp()
        if best is None or time < best[0]:
            best = (time, token)
    return best[1]


if __name__ == "__main__":
    print(", ".join(str(choose(42, 3, i, [(t % 7) * 0.25 for t in range(50)])) for i in range(16)))
