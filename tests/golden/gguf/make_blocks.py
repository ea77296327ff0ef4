"""Makes blocks.gguf and blocks.bin: random blocks of every GGUF type, and what the gguf package decodes them to.

Needs: pip install gguf numpy. Run in this folder. The file is a llama model in name only; its tensors are called by their
type. blocks.bin holds, for each tensor in the file's order, its values as little-endian float32.
"""
import sys

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T

ROWS, COLUMNS = 3, 512
rng = np.random.default_rng(20240607)

# Where the f16 scales of each type lie in a block; everything else may be any bits.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64],
    T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0], T.IQ1_S: [0], T.IQ1_M: [],
    T.MXFP4: [], T.NVFP4: [],
}


def random_blocks(kind):
    block, size = GGML_QUANT_SIZES[kind]
    count = ROWS * COLUMNS // block
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES[kind]:
        halves = rng.uniform(-1, 1, count).astype(np.float16)
        data[:, at:at + 2] = halves.view(np.uint8).reshape(count, 2)
    if kind == T.TQ1_0:  # only codes that an encoder writes: five digits of base 3, scaled to a byte
        data[:, :48] = (rng.integers(0, 243, (count, 48)) * 256 + 242) // 243
        data[:, 48:52] = (rng.integers(0, 81, (count, 4)) * 3 * 256 + 242) // 243
    if kind == T.MXFP4:
        data[:, 0] = rng.integers(2, 240, count)  # the ends of the exponent are read differently by different tools
    if kind == T.NVFP4:
        data[:, :4] = rng.integers(0, 127, (count, 4))  # scales without a sign; 127 is no number
    if kind == T.IQ1_M:  # its f16 scale lies in the top nibbles of four words
        halves = rng.uniform(-1, 1, count).astype(np.float16).view(np.uint16)
        words = data[:, 48:56].copy().view(np.uint16)
        for i in range(4):
            words[:, i] = (words[:, i] & 0x0fff) | (((halves >> (4 * i)) & 15) << 12)
        data[:, 48:56] = words.view(np.uint8)
    return data.reshape(ROWS, -1)


writer = gguf.GGUFWriter("blocks.gguf", "llama")
writer.add_block_count(1)
writer.add_context_length(64)
writer.add_embedding_length(COLUMNS)
writer.add_feed_forward_length(8)
writer.add_head_count(2)
writer.add_layer_norm_rms_eps(1e-5)
expected = []
embedding = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
for name, kind in (("token_embd.weight", np.float32), ("F16", np.float16)):
    writer.add_tensor(name, embedding.astype(kind))
    expected.append(embedding.astype(kind).astype(np.float32))
bf16 = (embedding.view(np.uint32) >> 16).astype(np.uint16)
writer.add_tensor("BF16", bf16.view(np.uint8), raw_dtype=T.BF16)
expected.append((bf16.astype(np.uint32) << 16).view(np.float32))
for kind in HALVES:
    data = random_blocks(kind)
    writer.add_tensor(kind.name, data, raw_dtype=kind)
    expected.append(gguf.quants.dequantize(data, kind).astype(np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
with open("blocks.bin", "wb") as out:
    for values in expected:
        assert values.shape == (ROWS, COLUMNS) and np.isfinite(values).all(), values.shape
        out.write(values.astype("<f4").tobytes())
print("gguf", sys.modules["gguf"].__file__ and "written", len(expected), "tensors")
