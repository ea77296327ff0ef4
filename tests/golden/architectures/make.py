"""Makes the golden files of this folder: what transformers computes, in float32, for small models of every architecture.

    python make.py [-o OUT_DIR] [NAME ...]

needs torch, transformers and safetensors. The weights are a formula of a tensor's name and an element's index (weight()), so a
file holds the config as transformers writes it, the names and shapes of the tensors, 40 token ids and the logits of a few
positions; tests/unit/model/architectures_test.cpp makes the same weights. Norms and biases are far from their initial ones and
zeros, which would hide mistakes.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

import numpy
import safetensors.numpy
import torch
import transformers

from variants import VARIANTS

LENGTH = 40
POSITIONS = [0, 1, 8, 9, 17, 39]


def weight(name, shape):
    """Elements in [-1, 1) from a hash (FNV-1a of the name, splitmix64's finalizer over it and the index), scaled by what the
    tensor is: vectors called weight lie about 1, other vectors about 0, matrices keep the size of what they multiply."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with numpy.errstate(over="ignore"):
        x = numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15) + numpy.uint64(seed)
        x = (x ^ (x >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        x = x ^ (x >> numpy.uint64(31))
    unit = (x >> numpy.uint64(40)).astype(numpy.float64) / 8388608.0 - 1.0
    if len(shape) == 1:
        values = unit * 0.5 + (1.0 if name.endswith("weight") else 0.0)
    else:
        values = unit * (2.0 / numpy.sqrt(float(shape[-1])))
    return values.astype(numpy.float32).reshape(shape)


def build(kind, settings, directory):
    """A model of this configuration, its weights as weight() says, saved to and loaded from `directory`."""
    config = getattr(transformers, kind)(**settings)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(directory)
    path = pathlib.Path(directory) / "model.safetensors"
    tensors = {name: weight(name, value.shape) for name, value in safetensors.numpy.load_file(path).items()}
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    # Falcon's eager attention adds ALiBi twice (transformers 5.23).
    attention = "sdpa" if kind == "FalconConfig" else "eager"
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation=attention)
    return model.eval(), tensors


def golden(name, kind, settings):
    with tempfile.TemporaryDirectory() as directory:
        torch.manual_seed(0)
        model, tensors = build(kind, settings, directory)
        config = json.loads((pathlib.Path(directory) / "config.json").read_text())
        ids = torch.tensor([(7 * i * i + 3 * i + len(name)) % settings["vocab_size"] for i in range(LENGTH)])
        with torch.no_grad():
            logits = model(ids[None], use_cache=False).logits[0].float()
    rows = [[float(f"{float(x):.7g}") for x in row] for row in logits[POSITIONS]]
    return {
        "config": config,
        "tensors": {key: list(value.shape) for key, value in sorted(tensors.items())},
        "ids": ids.tolist(),
        "positions": POSITIONS,
        "logits": rows,
        "argmax": logits.argmax(dim=1).tolist(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "data")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    for name in arguments.names or VARIANTS:
        record = golden(name, *VARIANTS[name])
        (arguments.out / f"{name}.json").write_text(json.dumps(record) + "\n")
        print(name, max(max(map(abs, row)) for row in record["logits"]))


if __name__ == "__main__":
    main()
