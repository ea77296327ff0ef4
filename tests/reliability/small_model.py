#!/usr/bin/env python3
"""A model of one narrow layer with the built-in model's tokenizer and random weights: whole jobs under tools that make everything
many times slower.

usage: small_model.py BUILT-IN FOLDER
"""
import json
import pathlib
import random
import shutil
import struct
import sys

HIDDEN, INNER, HEADS = 64, 128, 2


def main(source, folder):
    source, folder = pathlib.Path(source), pathlib.Path(folder)
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(source / name, folder / name)
    config = json.loads((source / "config.json").read_text())
    config.update(hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=1, num_attention_heads=HEADS, num_key_value_heads=1,
                  head_dim=HIDDEN // HEADS)
    (folder / "config.json").write_text(json.dumps(config))
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], HIDDEN], "model.norm.weight": [HIDDEN],
              layer + "input_layernorm.weight": [HIDDEN], layer + "post_attention_layernorm.weight": [HIDDEN],
              layer + "self_attn.q_proj.weight": [HIDDEN, HIDDEN], layer + "self_attn.k_proj.weight": [HIDDEN // HEADS, HIDDEN],
              layer + "self_attn.v_proj.weight": [HIDDEN // HEADS, HIDDEN], layer + "self_attn.o_proj.weight": [HIDDEN, HIDDEN],
              layer + "mlp.gate_proj.weight": [INNER, HIDDEN], layer + "mlp.up_proj.weight": [INNER, HIDDEN],
              layer + "mlp.down_proj.weight": [HIDDEN, INNER]}
    chance = random.Random(1)
    header, data = {}, bytearray()
    for name, shape in shapes.items():
        begin = len(data)
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        values = [1.0 if len(shape) == 1 else chance.gauss(0, 0.05) for _ in range(count)]
        data += struct.pack(f"<{count}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main(*sys.argv[1:])
