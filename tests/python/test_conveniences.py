"""What Python users expect around the core: from_pretrained and chat, sweeps, progress bars, tables, data frames, figures, arrays."""
import array
import ast
import contextlib
import ctypes
import gc
import inspect
import io
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))

import nibble  # noqa: E402
from nibble import _progress  # noqa: E402

MODEL = ROOT / "examples" / "models" / "prose-3.7m"
EVALUATION = ROOT / "examples" / "data" / "evaluation.txt"
TEMPLATE = {"chat_template": "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ 'It was' if add_generation_prompt }}"}


def needs(*packages):
    """Skips, saying so, where a package that users may or may not have is not installed."""
    missing = []
    for name in packages:
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    return unittest.skipIf(missing, f"SKIPPED: {', '.join(missing)} not installed")


class FromPretrained(unittest.TestCase):
    def test_directory_and_options(self):
        model = nibble.Model.from_pretrained(MODEL, compute="exact", threads=1)
        self.assertEqual((model.info()["compute"], model.runtime.threads), ("exact", 1))
        self.assertEqual(model.generate("It was", 5)["token_ids"], nibble.load(MODEL, compute="exact").generate("It was", 5)["token_ids"])

    def test_quantized_on_the_way_in(self):
        model = nibble.Model.from_pretrained(MODEL, quantize="rtn:bits=4,group=64", compute="exact")
        self.assertLess(model.info()["weight_bytes"], 0.5 * nibble.load(MODEL).info()["weight_bytes"])
        with tempfile.TemporaryDirectory() as folder:  # the same weights as the long way gives
            nibble.quantize(MODEL, pathlib.Path(folder) / "q", "rtn:bits=4,group=64")
            other = nibble.load(pathlib.Path(folder) / "q", compute="exact")
            self.assertEqual(model.generate("It was", 8)["token_ids"], other.generate("It was", 8)["token_ids"])

    def test_adapter(self):
        folder = ROOT / "tests" / "golden" / "lora" / "plain"
        adapted = nibble.Model.from_pretrained(MODEL, adapter=folder, compute="exact")
        with adapted.session(4) as a, nibble.load(MODEL, compute="exact").session(4) as b:
            self.assertNotEqual(bytes(a.append([5])), bytes(b.append([5])))

    def test_hub_names_are_fetched(self):
        fetched = types.ModuleType("huggingface_hub")
        fetched.snapshot_download = mock.Mock(return_value=str(MODEL))
        with mock.patch.dict(sys.modules, huggingface_hub=fetched):
            model = nibble.Model.from_pretrained("someone/prose", revision="main")
        self.assertEqual(model.vocab_size, 2048)
        self.assertEqual(fetched.snapshot_download.call_args.args, ("someone/prose",))
        self.assertEqual(fetched.snapshot_download.call_args.kwargs["revision"], "main")

    def test_errors(self):
        with self.assertRaisesRegex(nibble.NotFoundError, "absent"):
            nibble.Model.from_pretrained("/no/such/absent")
        with self.assertRaises(TypeError):
            nibble.Model.from_pretrained(MODEL, device_map="auto")
        with self.assertRaises(nibble.InvalidArgumentError):
            nibble.Model.from_pretrained(MODEL, threads=1, runtime=nibble.default_runtime())


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = nibble.load(MODEL, compute="exact")

    def test_answers(self):
        answer = self.model.chat("Once", 12, template=TEMPLATE)
        self.assertEqual(answer["text"], self.model.generate(self.model.tokenizer.encode("Once\nIt was"), 12)["text"])
        self.assertEqual(answer["message"], {"role": "assistant", "content": answer["text"]})
        self.assertEqual(str(answer), answer.text)
        self.assertEqual("".join(self.model.chat_stream("Once", 12, template=TEMPLATE)), answer["text"])
        turns = [{"role": "user", "content": "Once"}, answer["message"], {"role": "user", "content": "More"}]
        self.assertEqual(self.model.chat(turns, 4, template=TEMPLATE)["prompt_tokens"],
                         len(self.model.tokenizer.encode(f"Once\n{answer['text']}\nMore\nIt was")))

    def test_ends_at_the_end_of_a_turn(self):
        end = self.model.tokenizer.info()["turn_ends"][0]
        answer = self.model.chat("Once", 12, template=TEMPLATE, logit_bias={str(end): 1000}, ignore_eos=True)
        self.assertEqual((answer["finish_reason"], answer["text"]), ("eos", ""))
        self.assertLessEqual(len(answer["token_ids"]), 1)

    def test_without_a_template(self):
        with self.assertRaisesRegex(nibble.NotFoundError, "template"):
            self.model.chat("Once")


class Sweeps(unittest.TestCase):
    def test_rows_are_what_the_parts_say(self):
        seen = []
        question = {"context": "It was a", "choices": ["dark night", "qqq zzz"], "answer": 0}
        with tempfile.TemporaryDirectory() as folder:
            result = nibble.sweep(MODEL, ["rtn:bits=8,group=-1", "rtn:bits=3,group=64"], EVALUATION, output=folder, windows=2,
                                  tasks={"mine": [question]}, bench_prompt=16, bench_gen=4, reps=1, prompt="It was", tokens=5,
                                  progress=lambda p: seen.append(p.stage))
            original, eight, three = result["rows"]
            self.assertTrue(all(pathlib.Path(r["path"]).exists() for r in result["rows"]))
            alone, = nibble.compare(MODEL, three["path"], text=EVALUATION, windows=2)
        self.assertEqual(three["mean_kl"], alone["mean_kl"])
        self.assertEqual(original["perplexity"], alone["reference_ppl"])
        self.assertEqual(original["bits_per_weight"], 16)
        self.assertLess(eight["mean_kl"], three["mean_kl"])
        self.assertGreater(eight["bits_per_weight"], three["bits_per_weight"])
        self.assertTrue(all(r["decode_tok_s"] > 0 and r["continuation"] for r in result["rows"]))
        self.assertEqual(three["tasks"]["mine"]["acc,none"], 1.0)
        self.assertIn("rtn:bits=3,group=64", result["pareto"])
        self.assertLessEqual({"quantize", "compare"}, set(seen) | {"compare"})
        self.assertTrue(seen)
        json.dumps(result)
        # The promised keys of `nibble sweep --json`.
        self.assertLessEqual({"recipe", "path", "bits_per_weight", "file_bytes", "peak_rss_bytes", "quantize_seconds", "load_ms",
                              "prefill_tok_s", "decode_tok_s", "perplexity", "perplexity_stderr", "mean_kl", "kl_stderr", "top1_agreement",
                              "tasks", "continuation"}, set(three))

    def test_checkpoint_and_no_timing(self):
        result = nibble.sweep(nibble.Checkpoint(MODEL), "nf4:block=64", EVALUATION, windows=1, speed=False)
        self.assertEqual([r["decode_tok_s"] for r in result["rows"]], [None, None])
        self.assertGreater(result["rows"][1]["mean_kl"], 0)


class ProgressBars(unittest.TestCase):
    def quantize(self, progress):
        with tempfile.TemporaryDirectory() as folder:
            nibble.quantize(MODEL, pathlib.Path(folder) / "q", "rtn", progress=progress)

    def test_lines_without_tqdm(self):
        with mock.patch.dict(sys.modules, {"tqdm": None, "tqdm.auto": None}), mock.patch("sys.stderr", io.StringIO()) as text:
            self.quantize(True)
        self.assertRegex(text.getvalue(), r"^\w+ .*\d+ MB")

    def test_a_terminal_is_left_clean(self):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        with mock.patch.dict(sys.modules, {"tqdm": None, "tqdm.auto": None}), mock.patch("sys.stderr", terminal):
            self.quantize(True)
        self.assertTrue(terminal.getvalue().endswith("\r" + " " * 79 + "\r"))

    def test_tqdm_is_used(self):
        bars = []

        class Bar:
            def __init__(self, total):
                self.total, self.n, self.closed = total, 0, False
                bars.append(self)

            def set_description_str(self, text, refresh): self.text = text
            def set_postfix_str(self, text, refresh): pass
            def update(self, by): self.n += by
            def close(self): self.closed = True

        auto = types.ModuleType("tqdm.auto")
        auto.tqdm = Bar
        with mock.patch.dict(sys.modules, {"tqdm": types.ModuleType("tqdm"), "tqdm.auto": auto}):
            self.quantize(True)
        self.assertTrue(bars)
        self.assertTrue(all(b.closed and 0 <= b.n <= (b.total or b.n) for b in bars))

    @needs("tqdm")
    def test_with_the_real_tqdm(self):
        with mock.patch("sys.stderr", io.StringIO()):
            self.quantize(True)

    def test_counts_that_start_anew(self):
        lines = io.StringIO()
        bar = _progress._Lines(lines)
        bar(nibble.Progress("a", "x", 1, 0, 5_000_000))
        self.assertEqual(lines.getvalue(), "a  5 MB  x\n")

    def test_what_is_no_progress_function(self):
        with self.assertRaises(TypeError):
            self.quantize("yes")


class Tables(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.compared = nibble.compare(MODEL, MODEL, text=EVALUATION, windows=1)
        cls.inspected = nibble.Checkpoint(MODEL).inspect()

    def test_html(self):
        page = self.compared._repr_html_()
        self.assertIn("<th>mean_kl</th>", page)
        self.assertIn("38 rows", self.inspected._repr_html_())
        self.assertIn("<th>architecture</th>", self.inspected._repr_html_())
        self.assertIn("&lt;b&gt;", nibble.Rows([{"a": "<b>"}])._repr_html_())
        self.assertIn("<td", nibble.perplexity(MODEL, EVALUATION, windows=1)._repr_html_())

    def test_rows(self):
        self.assertEqual(len(self.inspected.rows()), 38)
        question = {"context": "It was a", "choices": ["dark night", "qqq zzz"], "answer": 0}
        rows = nibble.evaluate([MODEL, MODEL], {"mine": [question] * 4}).rows()
        self.assertEqual([(r["task"], r["metric"], r["filter"], r["value"], r["documents"]) for r in rows],
                         [("mine", m, "none", 1.0, 4) for m in ("acc", "acc_norm")] * 2)
        self.assertEqual({r["stderr"] for r in rows}, {0.0})

    def test_results_are_plain_data(self):
        again = pickle.loads(pickle.dumps(self.inspected))
        self.assertEqual(again, self.inspected)
        self.assertEqual(json.loads(json.dumps(self.compared)), self.compared)

    def test_frame_with_a_stand_in(self):
        pandas = types.ModuleType("pandas")
        pandas.DataFrame = list
        with mock.patch.dict(sys.modules, pandas=pandas):
            self.assertEqual(self.inspected.to_pandas()[0]["shape"], "2048, 256")
            self.assertEqual(nibble.Rows([{"a": {"b": 1}}]).to_pandas(), [{"a.b": 1}])
        with mock.patch.dict(sys.modules, pandas=None), self.assertRaisesRegex(ImportError, "pip install pandas"):
            self.compared.to_pandas()

    @needs("pandas")
    def test_frame(self):
        frame = self.inspected.to_pandas()
        self.assertEqual(frame["bytes"].sum(), sum(t["bytes"] for t in self.inspected["tensors"]))
        self.assertEqual(list(self.compared.to_pandas()["mean_kl"]), [0.0])


class Figures(unittest.TestCase):
    RESULT = {"rows": [{"recipe": "original", "bits_per_weight": 16, "mean_kl": 0.0, "kl_stderr": 0.0, "file_bytes": 4e6, "decode_tok_s": 10},
                       {"recipe": "rtn", "bits_per_weight": 4, "mean_kl": 0.1, "kl_stderr": 0.01, "file_bytes": 1e6, "decode_tok_s": 30},
                       {"recipe": "nf4", "bits_per_weight": 4.5, "mean_kl": 0.2, "kl_stderr": 0.01, "file_bytes": 2e6, "decode_tok_s": None}],
              "pareto": ["original", "rtn"]}

    def test_matplotlib_is_asked_for(self):
        with mock.patch.dict(sys.modules, matplotlib=None), self.assertRaisesRegex(ImportError, "pip install matplotlib"):
            nibble.plot.sweep(self.RESULT)

    def test_what_is_drawn(self):
        axes = mock.Mock()
        self.assertIs(nibble.plot.quality(self.RESULT, axes), axes)
        drawn = [(c.args[0], c.args[1], c.kwargs["fmt"]) for c in axes.errorbar.call_args_list]
        self.assertEqual(drawn, [([4], [0.1], "o"), ([4.5], [0.2], ".")])
        axes.set_yscale.assert_called_with("log")
        axes = mock.Mock()
        nibble.plot.speed(self.RESULT, axes)
        self.assertEqual([c.args[:2] for c in axes.errorbar.call_args_list], [([4.0], [10]), ([1.0], [30])])

    @needs("matplotlib")
    def test_files(self):
        import matplotlib
        matplotlib.use("Agg")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "sweep.png"
            figure = nibble.Sweep(self.RESULT).plot(path)
            self.assertEqual(len(figure.axes), 2)
            self.assertEqual(path.read_bytes()[:4], b"\x89PNG")
            report = nibble.quantize(MODEL, pathlib.Path(folder) / "q", "rtn")
            self.assertEqual(len(nibble.plot.layers(report).patches), len(report["layers"]))


class Arrays(unittest.TestCase):
    def test_logits_without_a_copy(self):
        model = nibble.load(MODEL, compute="exact")
        with model.session(8) as session:
            mine = session.append([5, 6], want="all")
            session.truncate(0)
            view = session.append([5, 6], want="all", copy=False)
            self.assertTrue(view.readonly and not mine.readonly)
            self.assertEqual(view.tolist(), mine.tolist())
            session.truncate(0)
            session.append([7, 8], want="all")
            self.assertNotEqual(view.tolist(), mine.tolist(), "the library's memory, which the next call overwrites")

    def test_into_memory_of_ones_own(self):
        weight = array.array("f", [i % 7 - 3 for i in range(4 * 32)])
        with nibble.QTensor.quantize(weight, (4, 32), "fp32") as q:
            out = (ctypes.c_float * 64)()
            view = memoryview(out).cast("B").cast("f", (2, 32))
            self.assertIs(q.dequantize(view, begin=1, end=3), view)
            self.assertEqual(list(out), list(weight[32:96]))
            for begin, end in ((-1, 2), (3, 3), (2, 9)):
                with self.assertRaises(nibble.InvalidArgumentError):
                    q.dequantize(begin=begin, end=end)
            with self.assertRaises(nibble.InvalidArgumentError):
                q.dequantize(view)
            with self.assertRaises(nibble.InvalidArgumentError):
                q.dequantize(memoryview(bytes(4 * 128)).cast("f", (4, 32)))
            with self.assertRaises(nibble.InvalidArgumentError):
                q.matmul([1.0] * 31)

    @needs("numpy")
    def test_numpy(self):
        import numpy
        random = numpy.random.default_rng(0)
        big = random.standard_normal((16, 128)).astype("float32")
        part = big[:, 32:96]  # rows apart
        with nibble.QTensor.from_array(part, "fp32") as q:
            numpy.testing.assert_array_equal(numpy.asarray(q), part)
            numpy.testing.assert_array_equal(q.numpy(), part)
            x = random.standard_normal((3, 200)).astype("float32")[:, :64]
            out = numpy.zeros((3, 40), "float32")
            self.assertIs(q.matmul(x, compute="exact", out=out[:, 8:24]).base, out)
            numpy.testing.assert_allclose(out[:, 8:24], x @ part.T, rtol=1e-4, atol=1e-4)
            self.assertEqual(numpy.count_nonzero(out), 48)
            fixed = x.copy()
            fixed.flags.writeable = False
            numpy.testing.assert_array_equal(numpy.asarray(q.matmul(fixed, compute="exact")), out[:, 8:24])
            with self.assertRaises(nibble.InvalidArgumentError):
                q.matmul(x.astype("float64"))
            with self.assertRaises(nibble.InvalidArgumentError):
                q.matmul(x[:, ::2])
            with self.assertRaises(nibble.InvalidArgumentError):
                nibble.QTensor.from_array(big.T, "fp32")
            view = numpy.asarray(q.dequantize())
            self.assertFalse(view.flags.owndata)
        gram = (big.T @ big).astype("float32")
        with nibble.QTensor.from_array(big, "gptq:bits=4,group=64", hessian=gram, tokens=16) as q:
            self.assertLess(q.info()["error"], 0.2)

    @needs("torch")
    def test_torch(self):
        import torch
        weight = torch.randn(16, 96, generator=torch.Generator().manual_seed(1))[:, :64]
        with nibble.QTensor.from_array(weight, "fp32") as q:
            self.assertTrue(torch.equal(q.torch(), weight))
            x = torch.randn(3, 64)
            out = torch.empty(3, 16)
            self.assertIs(q.matmul(x, compute="exact", out=out), out)
            self.assertTrue(torch.allclose(out, x @ weight.T, atol=1e-4))
            with self.assertRaises(nibble.InvalidArgumentError):
                q.matmul(x.double())


class OutOfMemory(unittest.TestCase):
    """Models and matrices that lie in no file."""

    @classmethod
    def setUpClass(cls):
        cls.files = {name: (MODEL / name).read_bytes() for name in ("config.json", "model.safetensors", "tokenizer.json")}
        cls.want = nibble.load(MODEL, compute="exact").generate("It was", 6)["token_ids"]

    def generates(self, checkpoint):
        return nibble.load(checkpoint, compute="exact").generate("It was", 6)["token_ids"]

    def test_bytes_buffers_and_file_objects(self):
        self.assertEqual(self.generates(nibble.Checkpoint.from_files(self.files)), self.want)
        buffers = {name: bytearray(data) for name, data in self.files.items()}
        self.assertEqual(self.generates(nibble.Checkpoint.from_files(buffers)), self.want)
        self.assertEqual(self.generates(nibble.Checkpoint.from_files({n: memoryview(d) for n, d in self.files.items()})), self.want)
        with open(MODEL / "model.safetensors", "rb") as file:
            checkpoint = nibble.Checkpoint.from_files({**self.files, "model.safetensors": file})
        self.assertEqual(self.generates(checkpoint), self.want)  # read at once: the file may be closed
        checkpoint.close()
        with open(MODEL / "model.safetensors", "rb") as file:
            checkpoint = nibble.Checkpoint.from_files({**self.files, "model.safetensors": file}, on_demand=True)
            self.assertEqual(self.generates(checkpoint), self.want)
            checkpoint.close()
            gc.collect()
        gc.collect()
        from nibble import _memory
        self.assertEqual(_memory._held, {})

    def test_one_buffer(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "q"
            nibble.quantize(MODEL, path, "rtn:bits=8,group=64")
            data, want = path.read_bytes(), nibble.load(path, compute="exact").generate("It was", 6)["token_ids"]
        checkpoint = nibble.Checkpoint.from_bytes(data)
        self.assertTrue(checkpoint.verify()["ok"])
        self.assertEqual(self.generates(checkpoint), want)

    def test_errors(self):
        class Broken(io.BytesIO):
            def read(self, size=-1):
                raise ZeroDivisionError("mine")

        with self.assertRaisesRegex(ZeroDivisionError, "mine"):
            nibble.Checkpoint.from_files({**self.files, "model.safetensors": Broken(b"x" * 100)})

        class Late(io.BytesIO):
            broken = False

            def read(self, size=-1):
                if self.broken:
                    raise ZeroDivisionError("mine")
                return super().read(size)

        late = Late(self.files["model.safetensors"])
        checkpoint = nibble.Checkpoint.from_files({**self.files, "model.safetensors": late}, on_demand=True)
        late.broken = True
        with self.assertRaisesRegex(nibble.InputOutputError, "tensor .* 'model.safetensors' failed") as caught:
            nibble.load(checkpoint)
        self.assertIsInstance(caught.exception.__cause__, ZeroDivisionError)
        late.broken = False
        self.assertEqual(self.generates(checkpoint), self.want)
        checkpoint.close()
        gc.collect()
        for wrong in ({}, None, {"config.json": 5}, {"config.json": None}):
            with self.assertRaises((nibble.InvalidArgumentError, TypeError)):
                nibble.Checkpoint.from_files(wrong)
        with self.assertRaises(nibble.NibbleError):
            nibble.Checkpoint.from_bytes(b"")
        with self.assertRaises(nibble.InvalidArgumentError):
            nibble.Checkpoint.from_files({"a/b": b"x"})
        from nibble import _memory
        self.assertEqual(_memory._held, {})

    def test_packed_arrays(self):
        # GPTQ, one group: w = scale * (code - zero), zeros stored less one.
        n, k = 8, 32
        code = [[(3 * c + 5 * r) % 16 for c in range(k)] for r in range(n)]
        words = array.array("i", [0]) * (k // 8 * n)
        for row in range(k // 8):
            for r in range(n):
                word = sum(code[r][row * 8 + j] << (4 * j) for j in range(8))
                words[row * n + r] = word - (1 << 32) if word >> 31 else word
        packed = {"qweight": memoryview(words).cast("B").cast("i", (k // 8, n)), "qzeros": memoryview(array.array("i", [0x76543210])).cast("B").cast("i", (1, 1)),
                  "scales": memoryview(array.array("f", [0.5] * n)).cast("B").cast("f", (1, n))}
        with nibble.QTensor.from_packed("gptq", packed, {"bits": 4, "group_size": k}) as q:
            self.assertEqual(q.dequantize().tolist(), [[0.5 * (code[r][c] - (r + 1)) for c in range(k)] for r in range(n)])
        with self.assertRaises(nibble.InvalidArgumentError):
            nibble.QTensor.from_packed("gptq", {"qweight": array.array("d", [1.0])})
        with self.assertRaises(nibble.NibbleError):
            nibble.QTensor.from_packed("gptq", {"qweight": packed["qweight"]}, {"bits": 4})
        # A block of Q8_0: the scale 0.5 as float16, then 32 codes.
        block = bytes([0x00, 0x38]) + bytes(range(32))
        with nibble.QTensor.from_packed("gguf", {"weight": ("Q8_0", (2, 32), block + block)}) as q:
            self.assertEqual(q.dequantize().tolist(), [[0.5 * c for c in range(32)]] * 2)
        for wrong in (("Q8_0", (2, 32), block), ("Q8_0", (2, 33), block + block), ("Q9", (1, 32), block)):
            with self.assertRaises(nibble.InvalidArgumentError):
                nibble.QTensor.from_packed("gguf", {"weight": wrong})


ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numpy", "torch", "pandas", "matplotlib", "tqdm", "huggingface_hub", "datasets", "lm_eval"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
import pathlib, tempfile
import nibble
folder = pathlib.Path(tempfile.mkdtemp())
nibble.quantize(sys.argv[1], folder / "q", "rtn:bits=4,group=64", progress=True)
model = nibble.Model.from_pretrained(folder / "q")
print("".join(model.stream("It was", 5)), model.tokenizer.decode(model.tokenizer.encode("x")))
assert nibble.compare(sys.argv[1], model, text=pathlib.Path(sys.argv[2]), windows=1)[0]["mean_kl"] > 0
with model.session(4) as session:
    assert len(session.append([1]).tolist()[0]) == 2048
assert nibble.QTensor.quantize([0.5] * 64, (1, 64), "rtn").dequantize().shape == (1, 64)
assert "numpy" not in sys.modules
(folder / "q").unlink()
folder.rmdir()
"""


class Link(unittest.TestCase):
    """python -m nibble.link, for compilers."""

    @unittest.skipUnless(shutil.which("cc"), "SKIPPED: no C compiler")
    def test_a_program_is_built_and_runs(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}
        words = subprocess.run([sys.executable, "-B", "-m", "nibble.link"], env=environment, capture_output=True, text=True, check=True).stdout.split()
        with tempfile.TemporaryDirectory() as folder:
            source, program = pathlib.Path(folder) / "p.c", pathlib.Path(folder) / "p"
            source.write_text("#include <nibble/nibble.h>\n#include <stdio.h>\nint main(void) { puts(nbl_version()); return 0; }\n")
            subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", source, *words, "-o", program], check=True)
            self.assertEqual(subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip(), nibble.__version__)

    def test_parts(self):
        from nibble import link
        self.assertTrue((pathlib.Path(link.include()) / "nibble" / "nibble.h").exists())
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.assertEqual(link.main(["--cflags"]), 0)
        self.assertEqual(printed.getvalue().split(), link.cflags())
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(link.main(["--what"]), 2)


class Command(unittest.TestCase):
    """python -m nibble, without a warning that it prints beside the answer."""

    def test_version(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}
        if "NIBBLE_LIBRARY" in os.environ:
            environment.setdefault("NIBBLE_COMMAND", str(pathlib.Path(os.environ["NIBBLE_LIBRARY"]).parents[1] / "bin" / "nibble"))
        done = subprocess.run([sys.executable, "-B", "-W", "error", "-m", "nibble", "--version"], env=environment, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(nibble.__version__, done.stdout)


class Alone(unittest.TestCase):
    def test_nothing_but_python_is_needed(self):
        done = subprocess.run([sys.executable, "-B", "-c", ALONE, str(MODEL), str(EVALUATION)], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("x", done.stdout)

    def test_syntax_of_the_oldest_python_that_is_promised(self):
        for path in sorted((ROOT / "bindings" / "python").rglob("*.py")):
            ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))

    def test_everything_public_has_type_hints(self):
        functions = {}
        for name in nibble.__all__:
            thing = getattr(nibble, name)
            members = {name: thing} if not inspect.isclass(thing) else {f"{name}.{n}": m for n, m in vars(thing).items() if n[0] != "_"}
            functions.update((place, getattr(m, "__func__", m)) for place, m in members.items())
        functions = {place: f for place, f in functions.items() if inspect.isfunction(f)}
        self.assertGreater(len(functions), 70)
        for place, function in functions.items():
            self.assertIn("return", function.__annotations__, place)
            for parameter in inspect.signature(function).parameters.values():
                if parameter.name not in ("self", "cls"):
                    self.assertIsNot(parameter.annotation, inspect.Parameter.empty, f"{place}({parameter.name})")
        self.assertTrue((ROOT / "bindings/python/nibble/py.typed").exists())


if __name__ == "__main__":
    unittest.main()
