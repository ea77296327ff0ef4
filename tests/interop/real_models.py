"""Published models that nibble did not make, in it and in llama.cpp: SmolLM2-135M (Q4_1) and Gemma 3 270M (Q4_K with Q6_K parts).

    real_models.py NIBBLE MODEL    NIBBLE: the command; MODEL: examples/models/prose-3.7m, whose folder's sibling data holds a text

llama.cpp rounds activations to 8 bits before it multiplies quantized weights, nibble's exact mode does not. Built with a BLAS it does not
either: then the files as they are agree within 0.1 % of the perplexity. Without, they are compared where that rounding leaves it so
(0.3 %), and, as the strict check, with their weights as float32 in llama.cpp too: perplexity within 0.1 %, and greedy text equal for 32
tokens unless the top two logits are within 1e-3.

Needs llama-cpp-python and gguf (exit status 77 without them).
"""
import pathlib
import sys
import tempfile
import unittest

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

import llama_peer as peer

NIBBLE, MODEL = sys.argv[1], pathlib.Path(sys.argv[2])
TEXT = MODEL.parents[1] / "data" / "evaluation.txt"
PROMPTS = ("The capital of France is", "Once upon a time", "def fibonacci(n):", "The three laws of thermodynamics")
WINDOWS = 2


class Published:
    name = None

    @classmethod
    def setUpClass(cls):
        cls.path = peer.fetched(cls.name)
        if cls.path is None:
            raise unittest.SkipTest(f"{cls.name} cannot be fetched")
        cls.folder = tempfile.TemporaryDirectory()
        cls.plain = pathlib.Path(cls.folder.name) / "f32.gguf"
        peer.command(NIBBLE, "quantize", cls.path, "-o", cls.plain, "--method", "fp32", "--lm-head", "--format", "gguf")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_the_float32_file_holds_the_values(self):
        theirs = {t.name: t for t in GGUFReader(self.path).tensors}
        seen = 0
        for tensor in GGUFReader(self.plain).tensors:
            source = theirs.get(tensor.name)
            if source is None:
                self.assertIn(tensor.name, ("output.weight",))
                continue
            values = dequantize(source.data, source.tensor_type)
            # Embeddings stay as they are stored.
            np.testing.assert_array_equal(values.reshape(-1), dequantize(tensor.data, tensor.tensor_type).reshape(-1), err_msg=tensor.name)
            seen += 1
        self.assertEqual(seen, len([t for t in theirs if not t.startswith("rope_")]))

    def test_perplexity(self):
        ids = peer.command(NIBBLE, "tokenize", self.path, "--prompt-file", TEXT)["ids"]
        for protocol in ("windows-512", "llama.cpp-512"):
            with self.subTest(protocol):
                ours = peer.command(NIBBLE, "perplexity", self.path, "--text", TEXT, "--protocol", protocol, "--windows", WINDOWS,
                                    "--compute", "exact")["perplexity"]
                theirs = peer.perplexity(self.path, ids, WINDOWS, protocol)
                plain = peer.perplexity(self.plain, ids, WINDOWS, protocol)
                print(f"\n{self.name} {protocol}: nibble {ours:.4f}, llama.cpp {theirs:.4f}, its float32 {plain:.4f}")
                self.assertLess(abs(ours / plain - 1), 0.001)
                if peer.multiplies_in_float32():
                    self.assertLess(abs(ours / theirs - 1), 0.001)
                # Within 0.3 %, or no further than llama.cpp is from itself on the same weights, and 0.1 %.
                self.assertLess(abs(ours / theirs - 1), max(0.003, abs(plain / theirs - 1) + 0.001))

    def test_greedy_text(self):
        for prompt in PROMPTS:
            with self.subTest(prompt):
                ours = peer.command(NIBBLE, "run", self.path, "-p", prompt, "-n", 32, "--compute", "exact")
                ids = peer.prompt_ids(self.path, prompt)
                self.assertEqual(len(ids), ours["prompt_tokens"])
                tokens = ours["token_ids"]
                self.assertGreaterEqual(len(tokens), 8)
                for step, logits in enumerate(peer.followed(self.plain, ids, tokens)):
                    choice = int(logits.argmax())
                    if choice != tokens[step]:
                        self.assertLessEqual(logits[choice] - logits[tokens[step]], 1e-3, f"token {step}")
                        break


class SmolLM2(Published, unittest.TestCase):
    name = "smollm2"


class Gemma3(Published, unittest.TestCase):
    name = "gemma3"


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
