"""The Python package: the whole of it on the built-in model, with nothing but Python's standard library."""
import array
import gc
import math
import json
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
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


class Declarations(unittest.TestCase):
    def test_abi_module_is_what_the_header_says(self):
        done = subprocess.run([sys.executable, "-B", str(ROOT / "bindings" / "python" / "generate_abi.py"), "--check"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_exported_symbol_is_declared(self):
        from nibble import _abi
        symbols = (ROOT / "tests" / "abi" / "symbols.txt").read_text().split()
        self.assertEqual(sorted(_abi.FUNCTIONS), sorted(symbols))

    def test_struct_sizes_are_those_of_c(self):
        import ctypes
        from nibble import _abi
        sizes = {"nbl_progress": 48, "nbl_runtime_options": 64, "nbl_file": 64, "nbl_array": 40, "nbl_model_options": 24, "nbl_session_options": 16,
                 "nbl_generate_options": 56, "nbl_qtensor_options": 40}
        for name, size in sizes.items():
            self.assertEqual(ctypes.sizeof(getattr(_abi, name)), size, name)

    def test_library_that_is_absent(self):
        env = {**os.environ, "NIBBLE_LIBRARY": "/no/such/libnibble.so", "PYTHONPATH": str(ROOT / "bindings" / "python")}
        done = subprocess.run([sys.executable, "-B", "-c", "import nibble"], env=env, capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/no/such/libnibble.so", done.stderr)


class Catalogs(unittest.TestCase):
    def test_they_name_what_exists(self):
        self.assertLessEqual({"rtn", "gptq", "awq", "nf4", "int8"}, {m["id"] for m in nibble.methods()})
        self.assertIn("native", {d["id"] for d in nibble.dialects()})
        self.assertIn("llama", {a["id"] for a in nibble.architectures()})
        self.assertIn("windows-512", {p["id"] for p in nibble.protocols()})
        self.assertTrue(any(i["best"] for i in nibble.isas()))
        self.assertTrue(nibble.task_kinds() and nibble.quantizer_settings() and nibble.evaluation_settings())
        self.assertRegex(nibble.__version__, r"^\d+\.\d+\.\d+$")

    def test_all_is_there(self):
        for name in nibble.__all__:
            self.assertTrue(hasattr(nibble, name), name)


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.runtime = nibble.Runtime(threads=2)
        cls.model = nibble.Model(MODEL, cls.runtime, compute="exact")

    def test_info(self):
        info = self.model.info()
        self.assertEqual((info["architecture"], info["vocab_size"], info["compute"]), ("llama", 2048, "exact"))
        self.assertEqual(self.runtime.info()["threads"], 2)
        self.assertEqual(self.model.vocab_size, 2048)

    def test_tokenizer(self):
        tokenizer = self.model.tokenizer
        for text in ("Hello there", "", "naïve — 日本語 🙂", "a\0b"):
            self.assertEqual(tokenizer.decode(tokenizer.encode(text)), text)
        self.assertEqual(tokenizer.find(tokenizer.piece(300)), 300)
        with self.assertRaises(nibble.NotFoundError):
            tokenizer.find("no such piece at all")
        with self.assertRaises(nibble.NibbleError):
            tokenizer.piece(10**6)

    def test_tokenizer_alone(self):
        tokenizer = nibble.Tokenizer.open(MODEL / "tokenizer.json")
        self.assertEqual(tokenizer.encode("It was"), self.model.tokenizer.encode("It was"))
        with self.assertRaises(nibble.NotFoundError):
            nibble.Tokenizer.open(MODEL / "nothing")

    def test_named_chat_templates_are_carried(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copytree(MODEL, folder / "model")
            (folder / "model" / "chat_template.jinja").write_text("plain")
            (folder / "model" / "additional_chat_templates").mkdir()
            for name, source in (("tool_use", "with tools"), ("brief", "briefly")):
                (folder / "model" / "additional_chat_templates" / f"{name}.jinja").write_text(source)
            made = [folder / "model"]
            for name, form in (("native.safetensors", "native"), ("hf", "huggingface"), ("x.gguf", "gguf"), ("again", "huggingface")):
                nibble.Checkpoint(made[-1]).convert(folder / name, form)
                made.append(folder / name)
            self.assertTrue((folder / "hf" / "additional_chat_templates" / "brief.jinja").is_file())
            messages = [{"role": "user", "content": "x"}]
            for path in made:
                with self.subTest(path=path.name):
                    tokenizer = nibble.Tokenizer.open(path) if path.is_dir() or path.suffix == ".gguf" else nibble.load(path).tokenizer
                    self.assertEqual(tokenizer.info()["chat_templates"], ["brief", "default", "tool_use"])
                    self.assertEqual(tokenizer.apply_chat_template(messages), "plain")
                    self.assertEqual(tokenizer.apply_chat_template(messages, tools=[{}]), "with tools")
                    self.assertEqual(tokenizer.apply_chat_template(messages, chat_template="brief"), "briefly")

    def test_chat_template(self):
        tokenizer = nibble.Tokenizer.open(MODEL)
        messages = [{"role": "user", "content": "ü"}]
        with self.assertRaises(nibble.NotFoundError):
            tokenizer.apply_chat_template(messages)
        template = ("{{ mood }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ tools|length if tools }}"
                    "{{ '<assistant>' if add_generation_prompt }}")
        given = {"chat_template": template, "mood": [1, None]}
        self.assertEqual(tokenizer.apply_chat_template(messages, **given), "[1, None]<user>ü")
        self.assertEqual(tokenizer.apply_chat_template(messages, tools=[{}, {}], add_generation_prompt=True, **given),
                         "[1, None]<user>ü2<assistant>")
        self.assertEqual(tokenizer.apply_chat_template(messages, tokenize=True, **given), tokenizer.encode("[1, None]<user>ü"))
        open_end = [*messages, {"role": "assistant", "content": "half "}]
        self.assertEqual(tokenizer.apply_chat_template(open_end, continue_final_message=True, **given),
                         "[1, None]<user>ü<assistant>half ")
        with self.assertRaisesRegex(nibble.NibbleError, "line 2: .*'x' is undefined"):
            tokenizer.apply_chat_template(messages, chat_template="\n{{ x.y }}")
        with self.assertRaises(nibble.InvalidArgumentError):
            tokenizer.apply_chat_template([], **given)

    def test_examine(self):
        checks = nibble.Checkpoint(MODEL).examine("It was a bright day. " * 50)["checks"]
        self.assertEqual({c["status"] for c in checks} - {"ok", "warning", "skipped"}, set())
        self.assertIn("calibration", {c["name"] for c in checks})

    def test_session(self):
        ids = self.model.tokenizer.encode("The ship lay in the harbour.")
        with self.model.session(32) as whole, self.model.session(32) as steps:
            rows = whole.append(ids, want="all")
            self.assertEqual(rows.shape, (len(ids), 2048))
            for index, token in enumerate(ids):
                last = steps.append([token])
                self.assertEqual(last.tolist()[0], rows.tolist()[index])
            self.assertIsNone(steps.append([1], want="none"))
            self.assertEqual(steps.position, len(ids) + 1)
            steps.truncate(1)
            self.assertEqual(steps.position, 1)
            self.assertEqual(steps.capacity, 32)
            with self.assertRaises(nibble.LimitError):
                steps.append([1] * 40)
            with self.assertRaises(nibble.InvalidArgumentError):
                steps.append([10**6])

    def test_generate_and_stream(self):
        result = self.model.generate("It was a dark", 20)
        self.assertEqual((len(result["token_ids"]), result["finish_reason"]), (20, "length"))
        self.assertEqual("".join(self.model.stream("It was a dark", 20)), result["text"])
        sampled = [self.model.generate("It was", 20, temperature=1.0, seed=s)["text"] for s in (1, 1, 2)]
        self.assertEqual(sampled[0], sampled[1])
        self.assertNotEqual(sampled[0], sampled[2])

    def test_sampler(self):
        prompt = self.model.tokenizer.encode("The ship lay")
        settings = {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.2, "seed": 5}
        with self.model.session(64) as session:
            expected = session.generate(prompt, 20, ignore_eos=True, **settings)["token_ids"]
        sampler = nibble.Sampler(self.model.vocab_size, self.model.tokenizer, **settings)
        sampler.reset(prompt)
        found = []
        with self.model.session(64) as session:
            logits = session.append(prompt)
            for _ in range(20):
                self.assertEqual(sampler.choose(logits), sampler.clone().sample(logits))
                found.append(sampler.sample(logits))
                logits = session.append(found[-1:])
        self.assertEqual(found, expected)
        self.assertFalse(sampler.ended)
        plain = nibble.Sampler(4, end_tokens="2")
        self.assertEqual(plain.sample([0.0, 1.0, 3.0, 2.0]), 2)
        self.assertTrue(plain.ended)
        with self.assertRaises(nibble.InvalidArgumentError):
            plain.sample([0.0, 1.0])
        with self.assertRaises(nibble.InvalidArgumentError):
            plain.set("beams", 2)
        plain.set(banned_tokens=[2], temperature=0)
        plain.reset()
        self.assertEqual(plain.choose([0.0, 1.0, 3.0, 2.0]), 3)
        with self.model.session(8) as session:
            session.set("kv_type", "q8")
            session.set(kv_type="f16", top_k=3)
        self.assertIn("end_tokens", [s["name"] for s in nibble.sampler_settings()])

    def test_leaving_a_stream_stops_it(self):
        start = time.monotonic()
        for piece in self.model.stream("It was a dark", 1000, ignore_eos=True):
            self.assertTrue(piece)
            break
        self.assertLess(time.monotonic() - start, 30)

    def test_exception_of_a_callback_comes_back(self):
        def on_token(_token, _text):
            raise ZeroDivisionError("mine")

        with self.model.session(64) as session, self.assertRaisesRegex(ZeroDivisionError, "mine"):
            session.generate(self.model.tokenizer.encode("It was"), 10, on_token=on_token)

    def test_threads(self):
        prompts = ["It was", "The captain", "She said"]
        alone = [self.model.generate(p, 16)["text"] for p in prompts]
        together = [None] * len(prompts)

        def work(index):
            together[index] = self.model.generate(prompts[index], 16)["text"]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)

    def test_scores(self):
        with nibble.Evaluation(self.runtime) as evaluation:
            evaluation.add_model(self.model, "m")
            rows = evaluation.score([{"context": "It was a", "continuation": " dark night"}, {"context": "x", "continuation": " y"}])
        self.assertEqual(len(rows), 2)
        # The same number out of logits.
        ids = rows[0]["context_ids"] + rows[0]["continuation_ids"]
        with self.model.session(64) as session:
            logits = session.append(ids[:-1], want="all").tolist()
        total = 0.0
        for position in range(len(rows[0]["context_ids"]) - 1, len(ids) - 1):
            row = logits[position]
            top = max(row)
            total += row[ids[position + 1]] - top - math.log(sum(math.exp(v - top) for v in row))
        self.assertAlmostEqual(total, rows[0]["logprob"], places=3)


class RuntimeSettings(unittest.TestCase):
    def test_tune(self):
        self.assertEqual([s["name"] for s in nibble.runtime_settings()], ["tune", "mmap"])
        runtime = nibble.Runtime(threads=1)
        self.assertEqual(runtime.info()["tune"], "off")
        runtime.set("tune", "on")
        self.assertEqual(runtime.info()["tune"], "on")
        runtime.set("mmap", "off")
        self.assertEqual([runtime.info()[name] for name in ("tune", "mmap")], ["on", "off"])
        with self.assertRaises(nibble.InvalidArgumentError):
            runtime.set("tune", "perhaps")

    def test_without_mmap_a_file_may_change(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.gguf")
            nibble.convert(MODEL, path, "gguf")
            runtime = nibble.Runtime(threads=1, mmap=False)
            self.assertEqual(runtime.info()["mmap"], "off")
            with nibble.Model(path, runtime=runtime) as model:
                os.truncate(path, 100)
                ids = model.tokenizer.encode("It was a long way")
                with model.session(32) as session:
                    self.assertTrue(all(math.isfinite(v) for v in session.append(ids).tolist()[0]))


class Generation(unittest.TestCase):
    """Settings, constraints, drafts, saved sessions, batches and adapters, as Python users meet them."""

    @classmethod
    def setUpClass(cls):
        cls.model = nibble.load(MODEL, compute="exact")
        cls.prompt = cls.model.tokenizer.encode("It was")

    def generate(self, tokens=30, **settings):
        with self.model.session(len(self.prompt) + tokens + 40) as session:
            return session.generate(self.prompt, tokens, **settings)

    def test_settings_are_listed_and_checked(self):
        names = {s["name"] for s in nibble.generation_settings()}
        self.assertLessEqual({"temperature", "min_p", "typical", "dry_multiplier", "logit_bias", "stop", "n", "beams", "grammar",
                              "json_schema", "prompt_lookup"}, names)
        for settings, words in (({"temperature": -1}, "temperature"), ({"nonsense": 1}, "nonsense"), ({"top_p": 0}, "top_p"),
                                ({"logit_bias": "x"}, "logit_bias"), ({"banned_tokens": [10**6]}, "vocabulary"),
                                ({"json_schema": {"not": {}}}, "not"), ({"grammar": "root ::= ("}, "line 1"), ({"kv_type": "q5"}, "q4"),
                                ({"beams": 2, "temperature": 1}, "beam search")):
            with self.assertRaises(nibble.NibbleError) as caught:
                self.generate(**settings)
            self.assertIn(words, str(caught.exception))

    def test_stop_strings_never_appear(self):
        plain = self.generate(40)["text"]
        for stop in (plain[10:13], plain[5:6], plain[20:31]):
            pieces = []
            with self.model.session(100) as session:
                out = session.generate(self.prompt, 40, stop=[stop, "never there"], on_token=lambda _i, t: pieces.append(t) is None)
            self.assertEqual(out["finish_reason"], "stop")
            self.assertEqual(out["stop"], stop)
            self.assertEqual(out["text"], plain[:plain.index(stop)])
            self.assertEqual("".join(pieces), out["text"])

    def test_seeds_penalties_and_bans(self):
        hot = {"temperature": 1.0, "top_k": 40}
        self.assertEqual(self.generate(seed=5, **hot)["token_ids"], self.generate(seed=5, **hot)["token_ids"])
        self.assertNotEqual(self.generate(seed=5, **hot)["token_ids"], self.generate(seed=6, **hot)["token_ids"])
        first = self.generate()["token_ids"][0]
        self.assertNotEqual(self.generate(banned_tokens=[first])["token_ids"][0], first)
        self.assertNotEqual(self.generate(logit_bias={str(first): -100})["token_ids"][0], first)
        self.assertEqual(self.generate(5, logit_bias={"7": 1000})["token_ids"], [7] * 5)
        once = self.generate(20, frequency_penalty=1000)["token_ids"]
        self.assertEqual(len(set(once)), len(once))

    def test_samples_beams_and_logprobs(self):
        out = self.generate(12, temperature=1, n=3, seed=2)
        self.assertEqual(len(out["samples"]), 3)
        self.assertEqual(out["samples"][0]["text"], out["text"])
        self.assertEqual(out["token_ids"], self.generate(12, temperature=1, seed=2)["token_ids"])
        beams = self.generate(8, beams=4, n=4, ignore_eos=True)["samples"]
        scores = [b["score"] for b in beams]
        self.assertEqual(scores, sorted(scores, reverse=True))
        greedy = self.generate(8, logprobs=3, prompt_logprobs=0, ignore_eos=True)
        self.assertEqual([len(p["top"]) for p in greedy["logprobs"]], [3] * 8)
        self.assertTrue(all(p["id"] == p["top"][0]["id"] for p in greedy["logprobs"]))
        self.assertEqual(len(greedy["prompt_logprobs"]), len(self.prompt) - 1)
        # The best of four beams is at least as likely a text as the greedy one, a token.
        self.assertGreaterEqual(scores[0], sum(p["logprob"] for p in greedy["logprobs"]) / 8 - 1e-4)

    def test_constraints(self):
        import json
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 18,
                  "maximum": 99}}, "required": ["name", "age"]}
        for seed in range(5):
            out = self.generate(40, json_schema=schema, temperature=1.5, seed=seed)
            self.assertEqual(out["finish_reason"], "grammar")
            value = json.loads(out["text"])
            self.assertEqual(list(value), ["name", "age"])
            self.assertTrue(18 <= value["age"] <= 99 and len(value["name"]) <= 8)
            self.assertRegex(self.generate(20, grammar='root ::= "yes" | "no" [a-c]{2,4}', temperature=1, seed=seed)["text"],
                             r"^(yes|no[a-c]{2,4})$")
        # Never longer than there is room for: a text without bounds is closed in time.
        self.assertEqual(json.loads(self.generate(12, json_schema={"type": "array", "items": {"type": "string"}}, temperature=1)["text"]).__class__, list)

    def test_drafts_change_nothing(self):
        for settings in ({}, {"temperature": 1.0, "seed": 3}):
            plain = self.generate(40, **settings)
            self.assertEqual(self.generate(40, prompt_lookup=6, **settings)["token_ids"], plain["token_ids"])
            drafted = self.generate(40, draft=self.model, **settings)
            self.assertEqual(drafted["token_ids"], plain["token_ids"])
            self.assertEqual(drafted["accepted_tokens"], drafted["drafted_tokens"])

    def test_context_ends_clearly(self):
        with self.model.session(len(self.prompt) + 5) as session:
            out = session.generate(self.prompt, 50, ignore_eos=True)
            self.assertEqual((out["finish_reason"], len(out["token_ids"])), ("context", 6))
        with self.model.session(4) as session, self.assertRaisesRegex(nibble.LimitError, "context is full"):
            session.generate([5] * 9, 3)
        self.assertEqual(self.model.generate([5] * 1000, 100, ignore_eos=True)["finish_reason"], "context")

    def test_save_load_batch_and_cache_types(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "state")
            with self.model.session(64) as session:
                session.append(self.prompt + [40, 50])
                session.save(path)
                want = bytes(session.append([60]))
            with self.model.session(80) as session:
                session.load(path)
                self.assertEqual(session.tokens, self.prompt + [40, 50])
                self.assertEqual(bytes(session.append([60])), want)
            with self.model.session(80, kv_type="q8") as session, self.assertRaises(nibble.MismatchError):
                session.load(path)
            with self.assertRaises(nibble.CorruptError), self.model.session(80) as session:
                session.load(str(MODEL / "config.json"))
        sessions = [self.model.session(32) for _ in range(3)]
        for i, session in enumerate(sessions):
            session.append(self.prompt + [30 + i])
        with nibble.Batch(self.model, 3) as batch:
            rows = batch.step(sessions, [7, 8, 9])
            self.assertEqual(rows.shape, (3, self.model.vocab_size))
            with self.model.session(32) as alone:
                alone.append(self.prompt + [31])
                self.assertEqual(bytes(alone.append([8])), bytes(rows)[rows.shape[1] * 4:rows.shape[1] * 8])
            with self.assertRaisesRegex(nibble.InvalidArgumentError, "twice"):
                batch.step([sessions[0], sessions[0]], [1, 2])
        texts = {kv: self.generate(10, kv_type=kv)["token_ids"] for kv in ("f32", "f16", "bf16", "q8", "q4")}
        self.assertEqual(texts["f32"], texts["f16"])
        self.assertEqual(texts["f32"], texts["q8"])

    def test_adapters(self):
        folder = ROOT / "tests" / "golden" / "lora" / "plain"
        adapted = self.model.with_adapter(folder)
        ids = [5, 17, 99]
        with adapted.session(8) as one, self.model.session(8) as other, self.model.with_adapter(folder, 0.0).session(8) as none:
            changed, plain, off = one.append(ids), other.append(ids), none.append(ids)
        self.assertNotEqual(bytes(changed), bytes(plain))
        self.assertEqual(bytes(off), bytes(plain))
        merged = nibble.Model(nibble.Checkpoint(MODEL).with_adapter(folder), compute="exact")
        with merged.session(8) as session:
            for a, b in zip(session.append(ids).tolist()[0], changed.tolist()[0]):
                self.assertAlmostEqual(a, b, delta=2e-3)
        with self.assertRaises(nibble.NotFoundError):
            self.model.with_adapter("/nonexistent")

    def test_adapters_know_weights_that_were_rotated(self):
        # Whatever format they went through: the adapter was trained on inputs that these weights no longer see.
        adapter = ROOT / "tests" / "golden" / "lora" / "plain"
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            recipe = "rtn:bits=4,group=32,sym=true"
            for format in ("compressed-tensors", "gptq", "gguf", "native"):
                nibble.quantize(MODEL, folder / format, recipe, settings={"rotation": "hadamard"}, format=format)
            self.assertEqual(json.loads((folder / "compressed-tensors" / "config.json").read_text())["nibble"], {"folded": "a rotation"})
            for source, format in (("compressed-tensors", "native"), ("gguf", "gptq"), ("native", "gguf"), ("gptq", "compressed-tensors")):
                self.assertTrue(nibble.convert(folder / source, folder / f"{source}-{format}", format)["written"])
            nibble.quantize(folder / "gptq", folder / "dense", "fp32")
            self.assertTrue(nibble.convert(folder / "dense", folder / "hf", "huggingface")["written"])
            paths = sorted(folder.iterdir())
            self.assertEqual(len(paths), 10)
            for path in paths:
                with self.subTest(path.name), self.assertRaisesRegex(nibble.UnsupportedError, "rotation"):
                    nibble.load(path).with_adapter(adapter)
            nibble.quantize(MODEL, folder / "plain", recipe, format="compressed-tensors")
            self.assertNotIn("nibble", json.loads((folder / "plain" / "config.json").read_text()))
            nibble.load(folder / "plain").with_adapter(adapter)


class Jobs(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="nibble-python-")
        self.addCleanup(self.scratch.cleanup)
        self.dir = pathlib.Path(self.scratch.name)

    def test_quantize_compare_perplexity_evaluate(self):
        seen = []
        report = nibble.quantize(MODEL, self.dir / "q.safetensors", "gptq:bits=4,group=64", calibration=CALIBRATION,
                                 settings={"calibration.windows": 4, "gptq.damp": 0.02}, overrides=[(r".*k_proj.*", "nf4")],
                                 progress=lambda p: seen.append(p.stage))
        self.assertEqual(report["options"]["damp"], "0.02")
        self.assertIn("quantize", seen)
        model = nibble.load(self.dir / "q.safetensors")
        row, = nibble.compare(MODEL, model, text=EVALUATION, windows=2)
        self.assertLess(0.005, row["mean_kl"])
        self.assertLess(row["mean_kl"], 0.3)
        self.assertAlmostEqual(nibble.perplexity(model, EVALUATION, windows=2)["perplexity"], row["ppl"], places=6)
        question = {"context": "It was a", "choices": ["dark night", "qqq zzz"], "answer": 0}
        result = nibble.evaluate([model, MODEL], {"mine": [question]})
        self.assertEqual(result["results"]["mine"]["acc,none"], 1.0)
        with nibble.Checkpoint(self.dir / "q.safetensors") as checkpoint:
            self.assertTrue(checkpoint.verify()["ok"])
            self.assertEqual(checkpoint.inspect()["format"], "native")
            self.assertTrue(checkpoint.tokenizer.encode("x"))

    def test_progress_cancels(self):
        with self.assertRaises(nibble.CancelledError):
            nibble.quantize(MODEL, self.dir / "q", "rtn", progress=lambda p: p.stage != "quantize")
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_keyboard_interrupt_ends_a_long_call(self):
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            with self.assertRaises(KeyboardInterrupt):
                nibble.quantize(MODEL, self.dir / "q", "gptq", calibration=CALIBRATION.read_text() * 12, settings={"calibration.windows": 2000})
        finally:
            timer.cancel()
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_errors(self):
        with self.assertRaises(nibble.NotFoundError) as caught:
            nibble.load(self.dir / "absent")
        self.assertIn("absent", str(caught.exception))
        self.assertEqual(caught.exception.status, 2)
        with self.assertRaises(ValueError):
            nibble.quantize(MODEL, self.dir / "q", "magic")
        (self.dir / "empty").touch()
        with self.assertRaises(nibble.NibbleError):
            nibble.load(self.dir / "empty")
        with self.assertRaises(nibble.InvalidArgumentError):
            nibble.Model(MODEL, compute="slow")


class Conversions(unittest.TestCase):
    def test_to_gguf_and_back(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            nibble.quantize(MODEL, folder / "gptq", "rtn:bits=4,group=32,sym=true", format="gptq")
            report = nibble.convert(folder / "gptq", folder / "m.gguf", verify=True)
            self.assertTrue(report["lossless"])
            self.assertEqual(report["tensors_checked"], report["tensors"])
            self.assertTrue(nibble.Checkpoint(folder / "m.gguf").convert(folder / "again", "gptq", verify=True)["lossless"])
            with nibble.Export("gguf", verify=True) as job:
                self.assertTrue(job.run(nibble.Checkpoint(folder / "gptq"), folder / "m2.gguf")["ok"])
                with self.assertRaises(nibble.InvalidArgumentError):
                    job.set("no_such_setting", 1)
            self.assertIn("verify", [s["name"] for s in nibble.export_settings()])
            refused = nibble.convert(folder / "gptq", folder / "bnb", "bitsandbytes")
            self.assertFalse(refused["written"])
            self.assertIn("model.layers.0", refused["refused"][0])
            self.assertFalse((folder / "bnb").exists())
            with self.assertRaises(nibble.InvalidArgumentError):
                nibble.convert(folder / "gptq", folder / "x", "nonsense")


class Handles(unittest.TestCase):
    def test_use_after_close(self):
        with nibble.Runtime(threads=1) as runtime:
            checkpoint = nibble.Checkpoint(MODEL, runtime)
        checkpoint.inspect()  # holds what it needs
        checkpoint.close()
        checkpoint.close()
        with self.assertRaisesRegex(nibble.InvalidArgumentError, "closed"):
            checkpoint.inspect()

    def test_pickling_is_refused(self):
        with self.assertRaisesRegex(TypeError, "pickle"):
            pickle.dumps(nibble.Runtime(threads=1))

    def test_wrong_types(self):
        tokenizer = nibble.Checkpoint(MODEL).tokenizer
        with self.assertRaises(TypeError):
            tokenizer.encode(7)
        with self.assertRaises(ValueError):
            tokenizer.decode(["a"])
        with self.assertRaises(ValueError):
            tokenizer.decode([2**40])

    def test_nothing_leaks(self):
        def resident():
            gc.collect()
            return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        runtime = nibble.Runtime(threads=1)
        model = nibble.Model(MODEL, runtime)
        weight = array.array("f", [0.5] * 64 * 64)

        def cycle(count):
            for _ in range(count):
                nibble.QTensor.quantize(weight, (64, 64), "rtn:bits=4,group=64", runtime).close()
                with model.session(64) as session:
                    session.append([1])
                nibble.Quantizer("rtn", runtime).close()
                nibble.Evaluation(runtime).close()

        cycle(200)
        before = resident()
        cycle(2000)
        self.assertLess(resident() - before, 4 << 20)


class Matrices(unittest.TestCase):
    def test_quantize_dequantize_matmul(self):
        n, k, m = 20, 128, 3
        weight = array.array("f", [math.sin(i * 0.37) for i in range(n * k)])
        x = array.array("f", [math.cos(i * 0.11) for i in range(m * k)])
        with nibble.QTensor.quantize(weight, (n, k), "rtn:bits=8,group=64") as q:
            self.assertEqual(q.shape, (n, k))
            self.assertIn("8 bit", q.info()["encoding"])
            w = q.dequantize().tolist()
            self.assertLess(max(abs(a - b) for row, start in zip(w, range(0, n * k, k)) for a, b in zip(row, weight[start:start + k])), 0.01)
            y = q.matmul(x, compute="exact").tolist()
            for i in range(m):
                for r in range(n):
                    self.assertAlmostEqual(y[i][r], sum(a * b for a, b in zip(w[r], x[i * k:(i + 1) * k])), places=3)
        with self.assertRaises(nibble.InvalidArgumentError):
            nibble.QTensor.quantize(weight, (n, k + 1), "rtn")
        with self.assertRaises(nibble.InvalidArgumentError):
            nibble.QTensor.quantize(array.array("d", weight), (n, k), "rtn")

    def test_numpy(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("SKIPPED: numpy is not installed")
        weight = numpy.random.default_rng(0).standard_normal((16, 64)).astype("float32")
        with nibble.QTensor.quantize(weight, weight.shape, "fp32") as q:
            numpy.testing.assert_array_equal(numpy.asarray(q.dequantize()), weight)


if __name__ == "__main__":
    unittest.main()
