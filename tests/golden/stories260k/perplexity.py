"""The perplexity of stories260k over the two sample texts on its page, by a plain NumPy forward pass: the number that
tests/models/test_numbers.py expects. Run: perplexity.py SHARED/models/stories260k   (NumPy; prints 2.12418)

Ids: the page's two samples, joined by a line feed, encoded as llama2.c does (leading space, best-scored merge first);
the first 512 ids, no BOS: 511 predictions."""
import pathlib
import re
import struct
import sys

import numpy as np


def vocabulary(data):
    pieces, scores, at = [], [], 4
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        pieces.append(data[at + 8:at + 8 + length])
        scores.append(score)
        at += 8 + length
    return pieces, scores


def encode(text, pieces, scores):
    index = {}
    for i, piece in enumerate(pieces):
        index.setdefault(piece, i)
    ids = [index[b" "]]
    for character in text:
        data = character.encode()
        ids += [index[data]] if data in index else [byte + 3 for byte in data]
    while True:
        merges = [(scores[index[m]], -i) for i in range(len(ids) - 1)
                  if (m := pieces[ids[i]] + pieces[ids[i + 1]]) in index]
        if not merges:
            return ids
        at = -max(merges)[1]
        ids[at:at + 2] = [index[pieces[ids[at]] + pieces[ids[at + 1]]]]


def perplexity(data, ids):
    dim, hidden, layers, heads, kv, vocab, _ = struct.unpack_from("<7i", data, 0)
    values, at, size = np.frombuffer(data, np.float32, offset=28).astype(np.float64), 0, dim // heads

    def take(*shape):
        nonlocal at
        part = values[at:at + int(np.prod(shape))].reshape(shape)
        at += part.size
        return part

    embedding = take(abs(vocab), dim)
    attn_norm, wq = take(layers, dim), take(layers, dim, dim)
    wk, wv, wo = take(layers, kv * size, dim), take(layers, kv * size, dim), take(layers, dim, dim)
    ffn_norm, w1 = take(layers, dim), take(layers, hidden, dim)
    w2, w3, last_norm = take(layers, dim, hidden), take(layers, hidden, dim), take(dim)

    count = len(ids)
    angles = np.arange(count)[:, None, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    turn = np.exp(1j * angles)

    def rotate(x):  # neighbouring elements are one complex number
        y = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return np.stack([y.real, y.imag], -1).reshape(x.shape)

    def norm(x, w):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w

    x = embedding[ids].copy()
    future = np.triu(np.ones((count, count), bool), 1)
    for i in range(layers):
        h = norm(x, attn_norm[i])
        q = rotate((h @ wq[i].T).reshape(count, heads, size))
        k = np.repeat(rotate((h @ wk[i].T).reshape(count, kv, size)), heads // kv, 1)
        v = np.repeat((h @ wv[i].T).reshape(count, kv, size), heads // kv, 1)
        s = np.where(future, -np.inf, np.einsum("thd,shd->hts", q, k) / np.sqrt(size))
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        x = x + np.einsum("hts,shd->thd", p, v).reshape(count, dim) @ wo[i].T
        h = norm(x, ffn_norm[i])
        g = h @ w1[i].T
        x = x + (g / (1 + np.exp(-g)) * (h @ w3[i].T)) @ w2[i].T
    logits = norm(x, last_norm) @ embedding.T
    top = logits.max(-1, keepdims=True)
    logprob = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    return float(np.exp(-logprob[np.arange(count - 1), ids[1:]].mean()))


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    blocks = re.findall(r"```\n(.*?)```", (folder / "stories260K.md").read_text(), re.S)
    samples = [b.split("\n", 1)[1].rstrip("\n") for b in blocks if b.startswith("$ ./run")]
    text = samples[0] + "\n" + samples[1] + "\n"
    print(perplexity((folder / "stories260K.bin").read_bytes(),
                     encode(text, *vocabulary((folder / "tok512.bin").read_bytes()))[:512]))
