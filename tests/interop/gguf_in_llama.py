"""llama.cpp on the GGUF files that nibble writes, and nibble on llama.cpp's: the same tokens, the same perplexity.

    gguf_in_llama.py NIBBLE MODEL    NIBBLE: the command; MODEL: a small Llama directory (examples/models/prose-3.7m)

Needs llama-cpp-python (exit status 77 without it).
"""
import pathlib
import sys
import tempfile
import unittest

import llama_peer as peer

NIBBLE, MODEL = sys.argv[1], pathlib.Path(sys.argv[2])
TEXT = MODEL.parents[1] / "data" / "evaluation.txt"
WINDOWS = 6


def nibble(*arguments):
    return peer.command(NIBBLE, *arguments)


class LlamaCpp(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def same_tokens(self, path):
        """The ids of the text, which llama.cpp must find too."""
        llama = peer.llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
        sample = TEXT.read_bytes()[:20000].decode("utf-8", "ignore")
        mine = self.dir / "sample.txt"
        mine.write_text(sample)
        self.assertEqual(llama.tokenize(sample.encode(), add_bos=False, special=False),
                         nibble("tokenize", path, "--prompt-file", mine)["ids"])
        return nibble("tokenize", path, "--prompt-file", TEXT)["ids"]

    def test_types(self):
        for name, method in (("f32", "fp32"), ("q4_0", "rtn:bits=4,group=32,sym=true"), ("q5_0", "rtn:bits=4,group=64,sym=false"),
                             ("q8_0", "rtn:bits=8,group=32,sym=true"),
                             ("q4_k", "kquant:type=Q4_K,feedback=false"), ("q6_k", "kquant:type=Q6_K,feedback=false"),
                             ("iq4_xs", "kquant:type=IQ4_XS,feedback=false")):
            with self.subTest(name):
                path, plain = self.dir / f"{name}.gguf", self.dir / "plain.gguf"
                nibble("quantize", MODEL, "-o", path, "--method", method, "--format", "gguf", "--calib-tokens", 512)
                ids = self.same_tokens(path)
                ours = nibble("perplexity", path, "--text", TEXT, "--protocol", "windows-512", "--windows", WINDOWS, "--compute",
                              "exact")["perplexity"]
                # llama.cpp rounds activations to 8 bits before it multiplies quantized weights. The same values as float32 are
                # what its arithmetic and ours have in common; exports.py shows that the values are the same.
                nibble("quantize", path, "-o", plain, "--method", "fp32", "--format", "gguf")
                theirs, exact = (peer.perplexity(p, ids, WINDOWS) for p in (path, plain))
                print(f"\n{name}: nibble {ours:.4f}, llama.cpp {theirs:.4f} ({theirs / ours - 1:+.4%}), on the same weights in "
                      f"float32 {exact:.4f} ({exact / ours - 1:+.4%})")
                self.assertLess(abs(exact / ours - 1), 0.001)
                self.assertLess(abs(theirs / ours - 1), abs(theirs / exact - 1) + 0.001)
                plain.unlink()

    def test_a_file_of_llama_cpp(self):
        path = peer.fetched("smollm2")
        if path is None:
            self.skipTest("SmolLM2 cannot be fetched")
        ids = self.same_tokens(path)
        # Written again by nibble, it is the same to llama.cpp.
        again = self.dir / "again.gguf"
        self.assertTrue(nibble("convert", path, "-o", again, "--format", "gguf", "--verify")["lossless"])
        self.assertEqual(peer.perplexity(again, ids, 1), peer.perplexity(path, ids, 1))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
