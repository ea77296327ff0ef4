"""llama.cpp on GGUF files of every architecture that nibble writes: it loads them, and its logits are transformers'.

    gguf_architectures.py NIBBLE    NIBBLE: the command

The models are those of tests/golden/architectures (weights by formula, logits that transformers computed). Architectures whose writing
is refused are listed with the reason. Needs llama-cpp-python (exit status 77 without it).
"""
import ast
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import llama_peer as peer
import numpy as np

NIBBLE = sys.argv[1]
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "architectures" / "data"
# Written and read back here with the same logits, but not loaded by llama.cpp.
NOT_LOADED = {"deepseek-v2": "it wants q_lora_rank of models of other than 27 layers", "falcon-new-decoder": "its Falcon has no biases",
              "gptj": "it knows the name only",
              "olmo2": "heads share the width there", "starcoder2-no-bias": "its StarCoder2 has biases"}
# Loaded, but another computation: llama.cpp does not read everything that the file says.
OTHERWISE = {"mixtral": "no sliding window (9 tokens here)", "phi3": "no sliding window (11 tokens here)",
             "starcoder2": "no sliding window (9 tokens here)", "phi3-short": "the list of factors goes by the size of the context",
             "llama-longrope-short": "the same"}


def formula():
    """make.py's weight(), without the packages that its file imports."""
    tree = ast.parse((GOLDEN.parent / "make.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "weight"]
    names = {"numpy": np}
    exec(compile(tree, "make.py", "exec"), names)
    return names["weight"]


weight = formula()


def write_model(golden, folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(golden["config"]))
    header, data = {}, b""
    for name, shape in golden["tensors"].items():
        values = weight(name, shape).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


class Architectures(unittest.TestCase):
    def test_llama_cpp_computes_the_same(self):
        agreed, refused = [], []
        for file in sorted(GOLDEN.glob("*.json")):
            name = file.stem
            with self.subTest(name), tempfile.TemporaryDirectory() as temporary:
                golden = json.loads(file.read_text())
                folder = pathlib.Path(temporary)
                write_model(golden, folder / "model")
                done = subprocess.run([NIBBLE, "convert", folder / "model", "-o", folder / "m.gguf", "--format", "gguf", "--allow-lossy",
                                       "--quiet"], capture_output=True, text=True)
                if done.returncode != 0:
                    self.assertIn("native format", done.stderr, name)
                    refused.append(f"{name}: {done.stderr.strip().splitlines()[0][:160]}")
                    continue
                if name in NOT_LOADED:
                    with self.assertRaises(ValueError):
                        peer.open_model(folder / "m.gguf", context=64)
                    print(f"\n{name} is not loaded: {NOT_LOADED[name]}", end="")
                    continue
                llama = peer.open_model(folder / "m.gguf", context=64)
                llama.eval(golden["ids"])
                want = np.array(golden["logits"])
                got = llama.scores[golden["positions"], :want.shape[1]]
                worst = np.abs(got - want).max() / np.abs(want).max()
                if name in OTHERWISE:
                    print(f"\n{name} is {worst:.1e} apart: {OTHERWISE[name]}", end="")
                    continue
                agreed.append(f"{name} {worst:.0e}")
                # Its GELU comes from a table of halves, and attention rounds to them.
                self.assertLess(worst, 5e-3, f"{name}: {worst}")
        print("\nagree:", ", ".join(agreed), "\nrefused:", *refused, sep="\n  ")
        self.assertGreater(len(agreed), 20)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
