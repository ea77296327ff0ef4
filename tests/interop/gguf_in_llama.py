"""llama.cpp on the GGUF files that nibble writes, and nibble on llama.cpp's: the same tokens, the same perplexity.

    gguf_in_llama.py NIBBLE MODEL    NIBBLE: the command; MODEL: a small Llama directory (examples/models/prose-3.7m)

Needs llama-cpp-python (exit status 77 without it).
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    import llama_cpp
    import numpy as np
except ImportError as error:
    print("SKIPPED:", error)
    sys.exit(77)

NIBBLE, MODEL = sys.argv[1], pathlib.Path(sys.argv[2])
WINDOW, WINDOWS = 512, 6


def nibble(*arguments):
    done = subprocess.run([NIBBLE, *map(str, arguments), "--quiet", "--json", "-"], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)


def text():
    folder = MODEL.parents[1] / "data"
    files = [f for f in folder.glob("*.txt") if "calib" not in f.name] or list(folder.glob("*.txt"))
    return max(files, key=lambda f: f.stat().st_size)


def smollm2():
    """The path of SmolLM2's GGUF file as llama.cpp's own tools made it; None when it cannot be had."""
    script = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "fetch-smollm2.sh"
    done = subprocess.run(["sh", script], capture_output=True, text=True)
    lines = done.stdout.split()
    return pathlib.Path(lines[-1]) if done.returncode == 0 and lines else None


def perplexity(path, ids, windows=WINDOWS):
    """Windows of 512 tokens that do not overlap, tokens 2 to 512 scored: nibble's protocol windows-512."""
    llama = llama_cpp.Llama(str(path), n_ctx=WINDOW, type_k=0, type_v=0, n_batch=WINDOW, logits_all=True, verbose=False, n_threads=2)
    total, count = 0.0, 0
    for w in range(windows):
        window = ids[w * WINDOW:(w + 1) * WINDOW]
        llama.reset()
        llama.eval(window)
        logits = np.array(llama.scores[:WINDOW], dtype=np.float64)
        logits -= logits.max(1, keepdims=True)
        logprobs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        total -= sum(logprobs[i, window[i + 1]] for i in range(WINDOW - 1))
        count += WINDOW - 1
    return math.exp(total / count)


class LlamaCpp(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def same_perplexity(self, path, tolerance, windows=WINDOWS):
        file = text()
        ids = nibble("tokenize", path, "--prompt-file", file)["ids"]
        llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
        sample = file.read_bytes()[:20000].decode("utf-8", "ignore")
        mine = self.dir / "sample.txt"
        mine.write_text(sample)
        self.assertEqual(llama.tokenize(sample.encode(), add_bos=False, special=False),
                         nibble("tokenize", path, "--prompt-file", mine)["ids"])
        ours = nibble("perplexity", path, "--text", file, "--protocol", "windows-512", "--windows", windows, "--compute", "exact")
        theirs = perplexity(path, ids, windows)
        print(f"\n{path.name}: nibble {ours['perplexity']:.4f}, llama.cpp {theirs:.4f}")
        self.assertLess(abs(theirs / ours["perplexity"] - 1), tolerance)

    def test_types(self):
        for name, method in (("f32", "fp32"), ("q4_0", "rtn:bits=4,group=32,sym=true"), ("q5_0", "rtn:bits=4,group=64,sym=false"),
                             ("q8_0", "rtn:bits=8,group=32,sym=true"),
                             ("q4_k", "kquant:type=Q4_K,feedback=false"), ("q6_k", "kquant:type=Q6_K,feedback=false"),
                             ("iq4_xs", "kquant:type=IQ4_XS,feedback=false")):
            with self.subTest(name):
                path = self.dir / f"{name}.gguf"
                nibble("quantize", MODEL, "-o", path, "--method", method, "--format", "gguf",
                       "--calib-tokens", 512)
                # llama.cpp rounds activations to 8 bits before it multiplies quantized weights.
                self.same_perplexity(path, 0.001 if name == "f32" else 0.01)

    def test_a_file_of_llama_cpp(self):
        path = smollm2()
        if path is None:
            self.skipTest("SmolLM2 cannot be fetched")
        self.same_perplexity(path, 0.003, windows=2)
        # Written again by nibble, it is the same to llama.cpp.
        again = self.dir / "again.gguf"
        self.assertTrue(nibble("convert", path, "-o", again, "--format", "gguf", "--verify")["lossless"])
        ids = nibble("tokenize", path, "--prompt-file", text())["ids"]
        self.assertEqual(perplexity(again, ids, 1), perplexity(path, ids, 1))

    def test_greedy_text(self):
        path = smollm2()
        if path is None:
            self.skipTest("SmolLM2 cannot be fetched")
        prompt = "The capital of France is"
        ours = nibble("run", path, "-p", prompt, "-n", 32, "--compute", "exact")["token_ids"]
        llama = llama_cpp.Llama(str(path), n_ctx=128, logits_all=True, verbose=False, n_threads=2, type_k=0, type_v=0)
        ids = llama.tokenize(prompt.encode(), add_bos=False, special=False)
        llama.eval(ids)
        for step, mine in enumerate(ours):
            logits = np.array(llama.scores[llama.n_tokens - 1])
            theirs = int(logits.argmax())
            if theirs != mine:
                self.assertLess(logits[theirs] - logits[mine], 1e-3 * np.abs(logits).max() + 1e-2, f"token {step}")
                break
            llama.eval([mine])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
