"""What must not hurt: ten thousand objects, many threads, Ctrl-C anywhere, arguments of any type, objects that were closed."""
import array
import ctypes
import gc
import os
import pathlib
import pickle
import signal
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))

import nibble  # noqa: E402

MODEL = ROOT / "examples" / "models" / "prose-3.7m"
CALIBRATION = ROOT / "examples" / "data" / "calibration.txt"
EVALUATION = ROOT / "examples" / "data" / "evaluation.txt"
REFUSALS = (nibble.NibbleError, TypeError, ValueError, AttributeError, OverflowError, ctypes.ArgumentError)


def resident():
    gc.collect()
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


class Leaks(unittest.TestCase):
    """Ten thousand of each kind, made and destroyed: memory and file descriptors stay where they were after the first thousand."""

    @classmethod
    def setUpClass(cls):
        cls.runtime = nibble.Runtime(threads=1)
        cls.model = nibble.Model(MODEL, cls.runtime)
        cls.weight = array.array("f", [0.5] * 64 * 32)

    def flat(self, make, cycles=10_000, growth=512 << 10):
        for _ in range(cycles // 10):
            make()
        before, open_files = resident(), descriptors()
        for _ in range(cycles):
            make()
        self.assertLess(resident() - before, growth)
        self.assertEqual(descriptors(), open_files)

    def test_runtimes(self):
        self.flat(lambda: nibble.Runtime(threads=1).close())

    def test_runtimes_that_nobody_closes(self):
        self.flat(lambda: nibble.Runtime(threads=1, log=print))

    def test_tokenizers(self):
        def cycle():
            with self.model.tokenizer as tokenizer:
                tokenizer.decode(tokenizer.encode("It was"))
        self.flat(cycle)

    def test_sessions_and_samplers(self):
        def cycle():
            with self.model.session(4, temperature=0.7, top_k=5, stop=["x"], kv_type="q8"):
                pass
        self.flat(cycle)

    def test_generations(self):
        with self.model.session(8) as session:
            def cycle():
                session.truncate(0)
                session.generate([5], 1, temperature=1.0, seed=1, on_token=lambda token, text: True)
            self.flat(cycle, 2_000)

    def test_quantized_matrices(self):
        def cycle():
            with nibble.QTensor.quantize(self.weight, (32, 64), "rtn:bits=4,group=64", self.runtime) as q:
                q.matmul(self.weight)
        self.flat(cycle)

    def test_jobs(self):
        def cycle():
            nibble.Quantizer("gptq:bits=3", self.runtime).close()
            with nibble.Evaluation(self.runtime) as evaluation:
                evaluation.add_model(self.model)
                evaluation.set_text("It was")
        self.flat(cycle)

    def test_errors(self):
        def cycle():
            for wrong in (lambda: nibble.Quantizer("magic", self.runtime), lambda: nibble.load("/no/such/file", self.runtime)):
                try:
                    wrong()
                except nibble.NibbleError:
                    pass
        self.flat(cycle)

    def test_models(self):
        def cycle():
            with nibble.Checkpoint(MODEL, self.runtime) as checkpoint, nibble.Model(checkpoint) as model:
                model.info()
        self.flat(cycle, 100, 8 << 20)


class Threads(unittest.TestCase):
    def test_one_model_in_many_threads(self):
        model = nibble.load(MODEL, compute="exact")
        want = {p: model.generate(p, 8)["text"] for p in ("It was", "The captain", "She")}
        wrong = []

        def work(index):
            for prompt, text in want.items():
                with model.tokenizer as tokenizer, model.session(32) as session:
                    if session.generate(tokenizer.encode(prompt, special=True), 8)["text"] != text:
                        wrong.append(index)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])

    def test_a_session_belongs_to_one_thread_at_a_time(self):
        model = nibble.load(MODEL)
        with model.session(600) as session:
            inside, goes_on = threading.Event(), threading.Event()

            def on_token(token, text):
                inside.set()
                goes_on.wait(60)

            thread = threading.Thread(target=lambda: session.generate([5], 3, on_token=on_token, ignore_eos=True))
            thread.start()
            self.assertTrue(inside.wait(60))
            with self.assertRaises(nibble.BusyError):
                session.append([1])
            goes_on.set()
            thread.join()
            session.append([1])

    def test_made_here_used_and_closed_there(self):
        model = nibble.load(MODEL)
        session, out = model.session(16), []
        thread = threading.Thread(target=lambda: (out.append(session.append([5]).shape), session.close(), model.close()))
        thread.start()
        thread.join()
        self.assertEqual(out, [(1, 2048)])
        self.assertTrue(session.closed and model.closed)

    def test_closing_what_another_thread_uses(self):
        model = nibble.load(MODEL)
        session = model.session(600)
        inside, done = threading.Event(), []

        def work():
            done.append(session._generate([5], lambda token, text: inside.set(), None))

        session.set(max_new_tokens=200, ignore_eos=True)
        thread = threading.Thread(target=work)
        thread.start()
        self.assertTrue(inside.wait(60))
        session.close()
        model.close()
        thread.join()
        self.assertEqual(len(done[0]["token_ids"]), 200)

    def test_errors_belong_to_their_thread(self):
        messages = {}

        def work(index):
            for _ in range(200):
                try:
                    nibble.Quantizer(f"magic{index}")
                except nibble.NibbleError as error:
                    messages.setdefault(index, set()).add(f"magic{index}" in str(error))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(messages, {i: {True} for i in range(4)})


class Interrupts(unittest.TestCase):
    """Ctrl-C in a long call is a KeyboardInterrupt soon after, and what was being made can be used on."""

    def interrupted(self, call, after=0.3):
        timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        start = time.monotonic()
        try:
            with self.assertRaises(KeyboardInterrupt):
                call()
        finally:
            timer.cancel()
        self.assertLess(time.monotonic() - start, 30)

    def test_generate(self):
        model = nibble.load(MODEL)
        with model.session(1000) as session:
            def call():
                while True:
                    session.truncate(0)
                    session.generate([5], 900, ignore_eos=True)
            self.interrupted(call)
            session.truncate(0)
            self.assertEqual(len(session.generate([5], 3, ignore_eos=True)["token_ids"]), 3)

    def test_stream(self):
        model = nibble.load(MODEL)

        def call():
            while True:
                for _ in model.stream("It was", 900, ignore_eos=True):
                    pass
        before = threading.active_count()
        self.interrupted(call)
        self.assertLessEqual(threading.active_count(), before + 1)  # the timer

    def test_compare_and_evaluate(self):
        model = nibble.load(MODEL, compute="exact")
        text = EVALUATION.read_text(encoding="utf-8") * 20
        self.interrupted(lambda: nibble.compare(model, model, text=text))
        questions = [{"context": "It was a " * 50, "choices": ["dark night", "qqq zzz"], "answer": 0}] * 20000
        self.interrupted(lambda: nibble.evaluate(model, {"mine": questions}))
        self.assertGreater(nibble.perplexity(model, EVALUATION, windows=1)["perplexity"], 1)

    def test_own_handlers_are_kept(self):
        came = []
        before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
        try:
            timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with self.assertRaises(nibble.CancelledError):
                text = EVALUATION.read_text(encoding="utf-8") * 20
                nibble.perplexity(MODEL, text, compute="exact")
        finally:
            timer.cancel()
            signal.signal(signal.SIGINT, before)
        self.assertEqual(came, [signal.SIGINT])


class Refusals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = nibble.load(MODEL)
        cls.weight = array.array("f", [0.5] * 64)

    def test_wrong_types(self):
        model, session = self.model, self.model.session(8)
        q = nibble.QTensor.quantize(self.weight, (1, 64), "rtn")
        with tempfile.TemporaryDirectory() as folder:
            calls = [
                lambda x: nibble.Runtime(threads=x), lambda x: nibble.Runtime(isa=x), lambda x: nibble.Checkpoint(x),
                lambda x: nibble.load(x), lambda x: nibble.load(MODEL, compute=x), lambda x: nibble.load(MODEL, progress=x),
                lambda x: model.session(x), lambda x: session.append(x), lambda x: session.append([x]), lambda x: session.append([1], want=x),
                lambda x: session.truncate(x), lambda x: session.generate(x), lambda x: session.generate([1], max_new_tokens=x),
                lambda x: session.set(nonsense=x), lambda x: session.load(x), lambda x: model.generate(x), lambda x: list(model.stream(x)),
                lambda x: model.chat(x), lambda x: model.tokenizer.encode(x), lambda x: model.tokenizer.decode(x),
                lambda x: model.tokenizer.piece(x), lambda x: model.tokenizer.find(x), lambda x: nibble.Quantizer(x),
                lambda x: nibble.quantize(MODEL, x, "rtn"), lambda x: nibble.quantize(MODEL, f"{folder}/q", x),
                lambda x: nibble.quantize(MODEL, f"{folder}/q", "gptq", calibration=x), lambda x: nibble.compare(MODEL, MODEL, text=x),
                lambda x: nibble.evaluate(x, {"t": []}), lambda x: nibble.Batch(model, 2).step([x], [1]),
                lambda x: nibble.QTensor.quantize(x, (1, 64), "rtn"), lambda x: nibble.QTensor.quantize(self.weight, x, "rtn"),
                lambda x: nibble.QTensor.quantize(self.weight, (1, 64), x), lambda x: q.matmul(x), lambda x: q.dequantize(out=x),
            ]
            # None, 0 and "" have a meaning in some places, and are refused or taken there; nothing else is, and nothing crashes.
            for index, call in enumerate(calls):
                for wrong in (object(), 2**70, -(2**70), b"bytes", 1.5j, [object()], {"a": object()}, lambda: 0, "\ud800"):
                    if callable(wrong) and index == 5:
                        continue
                    with self.assertRaises(REFUSALS, msg=f"call {index} of {wrong!r}"):
                        call(wrong)
            self.assertEqual(os.listdir(folder), [])

    def test_texts_are_never_cut(self):
        for call in (nibble.load, nibble.Checkpoint, lambda x: self.model.session(4).set(temperature=x), nibble.Tokenizer.open,
                     lambda x: nibble.quantize(MODEL, x, "rtn"), self.model.tokenizer.find):
            with self.assertRaisesRegex(ValueError, "null character"):
                call(f"{MODEL}\0.gguf")
        tokenizer = self.model.tokenizer  # is told how long the text is
        self.assertEqual(tokenizer.decode(tokenizer.encode("a\0b")), "a\0b")

    def test_integers_are_never_cut(self):
        session = self.model.session(8)
        session.append([1, 2, 3])
        for wrong in (2**64, 2**63, -(2**63) - 1):
            with self.assertRaises((OverflowError, ctypes.ArgumentError)):
                session.truncate(wrong)
            with self.assertRaises((OverflowError, ctypes.ArgumentError)):
                self.model.session(wrong)
        with self.assertRaises((OverflowError, ctypes.ArgumentError)):
            nibble.Runtime(threads=2**32 + 1)
        self.assertEqual(session.position, 3)

    def test_use_after_close(self):
        handles = [nibble.Runtime(threads=1), nibble.Checkpoint(MODEL), self.model.tokenizer, self.model.session(4), nibble.Batch(self.model, 1),
                   nibble.Quantizer("rtn"), nibble.Evaluation(), nibble.QTensor.quantize(self.weight, (1, 64), "rtn"), nibble.load(MODEL)]
        calls = [lambda h: h.info(), lambda h: h.inspect(), lambda h: h.encode("x"), lambda h: h.append([1]),
                 lambda h: h.step([self.model.session(4)], [1]), lambda h: h.set("bits", 4), lambda h: h.perplexity(), lambda h: h.dequantize(),
                 lambda h: h.generate("x")]
        for handle, call in zip(handles, calls):
            handle.close()
            handle.close()
            self.assertTrue(handle.closed)
            with self.assertRaisesRegex(nibble.InvalidArgumentError, f"{type(handle).__name__} has been closed"):
                call(handle)
            with self.assertRaisesRegex(TypeError, "cannot be pickled"):
                pickle.dumps(handle)

    def test_children_outlive_their_parents(self):
        runtime = nibble.Runtime(threads=1)
        model = nibble.Model(MODEL, runtime)
        session, tokenizer = model.session(8), model.tokenizer
        model.close()
        runtime.close()
        self.assertEqual(session.append(tokenizer.encode("It")).shape[0], 1)

    def test_after_a_fork(self):
        # The child of a process that used threads works on, with one.
        want = self.model.generate("It was", 6)["token_ids"]
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if self.model.generate("It was", 6)["token_ids"] == want else 1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)


if __name__ == "__main__":
    unittest.main()
