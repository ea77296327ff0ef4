"""Reads version 1 of the native format with NumPy, written from docs/formats.md alone, and stores hashes of the values that it finds.

    read_native.py v1.safetensors v1.expected.txt    a packed weight a line: name, SHA-256 of its values as float32

Needs numpy and ml_dtypes.

v1.safetensors was written by this library (unit test NativeGolden.VersionOne with NIBBLE_UPDATE_GOLDEN set): every kind of encoding on small
random weights. The test compares the library's values with those found here, so the page and the code say the same.
"""
import hashlib
import json
import sys

import ml_dtypes
import numpy as np

TYPES = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "bf16": np.dtype(ml_dtypes.bfloat16), "e4m3": np.dtype(ml_dtypes.float8_e4m3fn)}
PLANES = {1: [1], 2: [2], 3: [2, 1], 4: [4], 5: [4, 1], 6: [4, 2], 7: [4, 2, 1], 8: [8]}


def ceil(a, b):
    return -(-a // b)


def numbers(data, kind):
    if kind == "e8m0":
        return np.exp2(data.astype(np.float32) - 127).astype(np.float32)
    return data.view(TYPES[kind]).astype(np.float32)


def unpack_codes(data, bits, row_tiles, columns):
    """[row_tiles * 16, column tiles * 64] codes."""
    tiles = ceil(columns, 64)
    data = data.reshape(row_tiles, tiles, 128 * bits)
    codes = np.zeros((row_tiles, tiles, 16, 64), np.uint8)
    at = shift = 0
    for width in PLANES[bits]:
        plane = data[:, :, at:at + 128 * width].reshape(row_tiles, tiles, 2 * width, 16, 4)
        for column in range(64):
            within = column % (8 * width)
            field = plane[:, :, within // 4, :, within % 4] >> (width * (column // (8 * width)))
            codes[:, :, :, column] |= (field & ((1 << width) - 1)).astype(np.uint8) << shift
        at += 128 * width
        shift += width
    return codes.transpose(0, 2, 1, 3).reshape(row_tiles * 16, tiles * 64)


def unpack_trellis(data, bits, row_tiles, columns):
    """The same for trellis codes: a path bit a column, then bits - 1 free bits."""
    data = data.reshape(row_tiles, ceil(columns, 64), 128 * bits)
    u = unpack_codes(data[:, :, :128].copy(), 1, row_tiles, columns).reshape(row_tiles * 16, -1, 64)
    free = unpack_codes(data[:, :, 128:].copy(), bits - 1, row_tiles, columns).reshape(u.shape) if bits > 1 else 0 * u
    codes = np.zeros_like(u)
    column = [s // 8 + 8 * (s % 8) for s in range(64)]
    at = lambda s: u[:, :, column[s]] if s >= 0 else 0
    for s in range(64):
        labels = 2 * (at(s) ^ at(s - 1) ^ at(s - 6)) + (at(s - 2) ^ at(s - 4))
        codes[:, :, column[s]] = 4 * free[:, :, column[s]] + labels
    return codes.reshape(row_tiles * 16, -1)


def coded(part, form, rows, groups):
    """Scales (or zeros) that are kept as small codes and super-scales."""
    count = rows * groups
    bits, down = form["bits"], form["rows"]
    if down:
        block = np.arange(rows)[:, None] // down * ceil(groups, form["groups"]) + np.arange(groups)[None, :] // form["groups"]
    else:
        block = np.arange(count).reshape(rows, groups) // form["groups"]
    blocks = int(block.max()) + 1
    size = TYPES[form["super"]].itemsize
    supers = numbers(part("supers")[:blocks * size], form["super"])[block]
    if bits:
        stream = np.unpackbits(part("codes"), bitorder="little")[:count * bits].reshape(rows, groups, bits)
        code = (stream.astype(np.int32) << np.arange(bits)).sum(-1)
        code = part("table").view("<f4")[code] if form["table"] else (code - form["offset"]).astype(np.float32)
        values = supers * code
    else:
        values = supers
    if form["addends"]:
        return values + numbers(part("addends")[:blocks * size], form["super"])[block]
    return values + np.float32(form["shift"]) if form["shift"] else values


def segment_values(part, segment, index, rows):
    row_tiles, columns = ceil(rows, 16), segment["columns"]
    codes = part(f".{index}.codes")
    group = segment.get("group") or columns
    groups = ceil(columns, group)
    of = np.arange(columns) // group

    def per_row(suffix, kind):
        if suffix[:-1] + "_codes" in segment:
            return coded(lambda s: part(f".{index}.{suffix[:-1]}_{s}"), segment[suffix[:-1] + "_codes"], rows, groups)[:, of]
        size = 1 if kind == "e8m0" else TYPES[kind].itemsize
        data = part(f".{index}.{suffix}")[:row_tiles * groups * 16 * size]
        return numbers(data, kind).reshape(row_tiles, groups, 16).transpose(0, 2, 1).reshape(-1, groups)[:rows][:, of]

    if segment["encoding"] == "dense":
        kind = TYPES[segment["type"]]
        per = 4 // kind.itemsize
        values = codes.view(kind).reshape(row_tiles, -1, 16, per).transpose(0, 2, 1, 3).reshape(row_tiles * 16, -1)
        values = values[:rows, :columns].astype(np.float32)
        return per_row("scales", segment["scale"]) * values if segment.get("scaled") else values
    unpack = unpack_trellis if segment["encoding"] == "trellis" else unpack_codes
    q = unpack(codes[:row_tiles * ceil(columns, 64) * 128 * segment["bits"]], segment["bits"], row_tiles, columns)
    q = q[:rows, :columns]
    scale = per_row("scales", segment["scale"])
    if segment["encoding"] in ("codebook", "trellis"):
        table = np.array(segment["table"], np.float32)
        if segment["encoding"] == "trellis" and segment["bits"] == 4:
            table = np.concatenate([-table[::-1], table])
        return scale * table[q]
    code = q.astype(np.float32)
    if segment["zero"] == "symmetric":
        return scale * (code - np.float32(1 << (segment["bits"] - 1)))
    if segment["zero"] == "code":
        bits = segment["bits"]
        data = part(f".{index}.zeros")[:row_tiles * groups * 2 * bits].reshape(row_tiles, groups, 2 * bits)
        stream = np.unpackbits(data, axis=-1, bitorder="little").reshape(row_tiles, groups, 16, bits)
        zero = (stream.astype(np.int32) << np.arange(bits)).sum(-1).transpose(0, 2, 1).reshape(-1, groups)[:rows][:, of]
        return scale * (code - zero.astype(np.float32))
    zero = per_row("zeros", segment["zero_type"])
    return scale * code + zero if segment["zero"] == "minimum" else scale * (code - zero)


def main(file, output):
    data = open(file, "rb").read()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__")
    assert metadata["format"] == "nibble" and metadata["format_version"] == "1"

    def tensor(name):
        begin, end = header[name]["data_offsets"]
        return np.frombuffer(data, np.uint8, end - begin, 8 + length + begin)

    with open(output, "w") as out:
        for name in sorted(k.removeprefix("tensor:") for k in metadata if k.startswith("tensor:")):
            descriptor = json.loads(metadata["tensor:" + name])
            rows, columns = descriptor["shape"]
            part = lambda suffix: tensor(name + suffix)
            values = np.concatenate([segment_values(part, s, i, rows) for i, s in enumerate(descriptor["segments"])], 1)
            if descriptor.get("column_order"):
                order = part(".column_order")[:4 * columns].view("<i4")
                moved = np.empty_like(values)
                moved[:, order] = values
                values = moved
            if "outliers" in descriptor:
                count = descriptor["outliers"]
                starts = part(".outlier_rows")[:4 * (rows + 1)].view("<i4")
                where = part(".outlier_columns")[:4 * count].view("<i4")
                what = part(".outlier_values")[:2 * count].view("<f2").astype(np.float32)
                for row in range(rows):
                    for i in range(starts[row], starts[row + 1]):
                        values[row, where[i]] += what[i]
            out.write(f"{name} {hashlib.sha256(values.astype('<f4').tobytes()).hexdigest()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
