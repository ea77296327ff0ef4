"""What strangers may hand to the command: each input of these is refused with the promised status and one sentence that names the
place, or read, in seconds; nothing that a file holds moves the terminal's cursor or ends a message early."""
import copy
import json
import os
import pathlib
import struct
import subprocess
import unittest

from support import MODEL, NIBBLE, ROOT, Case, nibble

TINY = ROOT / "tests" / "golden" / "logits" / "tiny" / "llama"
ESCAPES = "\x1b]0;title\x07\x1b[31m\x00\x7f\x85"  # sets a terminal's title and colour, and ends C strings


def controls(text):
    """Control characters, C1's included, other than line breaks and tabs."""
    return [c for c in text if (ord(c) < 0x20 and c not in "\n\t") or 0x7f <= ord(c) < 0xa0]


class Hostile(Case):
    def model(self, name="model", **files):
        """A tiny model without a tokenizer, some of its files replaced: NAME__EXT=text, bytes, or None for no such file."""
        folder = self.dir / name
        folder.mkdir()
        for file in ("config.json", "model.safetensors"):
            (folder / file).write_bytes((TINY / file).read_bytes())
        for file, content in files.items():
            path = folder / file.replace("__", ".")
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    def config(self, name="model", **values):
        config = json.loads((TINY / "config.json").read_text())
        config.update(values)
        return self.model(name, config__json=json.dumps(config))

    def requests(self):
        path = self.dir / "requests.jsonl"
        path.write_text('{"context_ids":[1,2,3],"continuation_ids":[4,5]}\n')
        return path

    def refuse_config(self, words, **values):
        """A configuration with these values is refused by what would run it; the sentence has all the words."""
        name = f"model{len(list(self.dir.iterdir()))}"
        self.refuse(3, ["score", self.config(name, **values), "--requests", self.requests()], name, *words)

    def tensors(self, entries, data=b""):
        text = json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + data


class Display(Hostile):
    ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}

    def test_names_of_tensors(self):
        model = self.model(model__safetensors=self.tensors({"w" + ESCAPES: self.ENTRY}, bytes(16)))
        shown = self.accept("inspect", model, "--tensors")
        self.assertEqual(controls(shown), [])
        self.assertIn("\\x1b[31m\\x00\\x7f", shown)
        name = json.loads(self.accept("inspect", model, "--json", "-"))["tensors"][0]["name"]
        self.assertEqual(name, "w" + ESCAPES)

    def test_messages(self):
        model = self.model(model__safetensors=self.tensors({"w" + ESCAPES: {**self.ENTRY, "dtype": "Q9"}}, bytes(16)))
        err = self.refuse(3, ["inspect", model], "\\x1b[31m\\x00\\x7f\\xc2\\x85", "unknown dtype Q9")
        self.assertEqual(controls(err), [])

    def test_model_type(self):
        model = self.config(model_type="llama" + ESCAPES)
        self.assertEqual(controls(self.refuse(3, ["run", model, "-p", "x"], "\\x00", "nearest")), [])
        self.assertEqual(controls(self.accept("inspect", model)), [])

    def test_template_errors(self):
        model = self.copy_model()
        settings = json.loads((model / "tokenizer_config.json").read_text())
        settings["chat_template"] = "{{ raise_exception('" + ESCAPES + "no') }}"
        (model / "tokenizer_config.json").write_text(json.dumps(settings))
        err = self.refuse(3, ["run", model, "--chat", "-p", "x"], "\\x1b[31m\\x00", "no")
        self.assertEqual(controls(err), [])

    def test_paths(self):
        name = os.fsdecode(b"absent\xff\x1b[31m\n.gguf")
        done = subprocess.run([NIBBLE, "inspect", str(self.dir / name)], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(len(done.stderr.decode().splitlines()), 1)  # UTF-8, and one line
        self.assertIn(b"absent\\xff\\x1b[31m\\x0a.gguf", done.stderr)


class Places(Hostile):
    """Directories, pipes and devices where a file is expected."""

    def test_models(self):
        os.mkfifo(self.dir / "pipe")
        (self.dir / "folder").mkdir()
        (self.dir / "loop").symlink_to(self.dir / "loop")
        for path in (self.dir / "pipe", self.dir / "folder", self.dir / "loop", "/dev/null", "/dev/zero", "/dev/full", "", "n" * 5000):
            with self.subTest(path=path):
                self.refuse(3, ["inspect", path], timeout=30)

    def test_parts_of_a_model(self):
        for file in ("config.json", "model.safetensors"):
            for kind in ("pipe", "folder", "endless"):
                with self.subTest(file=file, kind=kind):
                    model = self.model(f"{kind}-{file}", **{file.replace(".", "__"): None})
                    if kind == "pipe":
                        os.mkfifo(model / file)
                    elif kind == "folder":
                        (model / file).mkdir()
                    else:
                        (model / file).symlink_to("/dev/zero")
                    self.refuse(3, ["score", model, "--requests", self.requests()], model, timeout=30)

    def test_texts(self):
        (self.dir / "folder").mkdir()
        for arguments in (["perplexity", "builtin", "--text"], ["run", "builtin", "--prompt-file"], ["tokenize", "builtin", "--jsonl"],
                          ["score", "builtin", "--requests"], ["run", "builtin", "-p", "x", "--grammar"],
                          ["run", "builtin", "-p", "x", "--json-schema"]):
            with self.subTest(arguments=arguments):
                self.refuse(3, [*arguments, self.dir / "folder"], "folder", "directory")

    def test_endless_texts(self):
        def little_memory():
            import resource
            resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

        err = self.refuse(4, ["tokenize", "builtin", "--prompt-file", "/dev/zero"], "/dev/zero", "did not end within", timeout=120,
                          preexec_fn=None if "asan" in NIBBLE else little_memory)
        self.assertIn("1073741824", err)

    def test_pipes_are_read(self):
        os.mkfifo(self.dir / "pipe")
        writer = subprocess.Popen(["sh", "-c", f"printf 'It was' >'{self.dir / 'pipe'}'"])
        self.assertEqual(self.result("tokenize", "builtin", "--prompt-file", self.dir / "pipe")["ids"],
                         self.result("tokenize", "builtin", "-p", "It was")["ids"])
        writer.wait()

    def test_outputs(self):
        os.mkfifo(self.dir / "pipe")
        (self.dir / "folder").mkdir()
        quantize = ["quantize", TINY, "--method", "rtn:group=32", "-o"]
        for out in ("/dev/full", self.dir / "pipe", self.dir / "folder"):
            self.refuse(2, [*quantize, out], out)
        self.refuse(3, [*quantize, self.requests() / "below"], "requests.jsonl")
        self.refuse(2, ["run", "builtin", "-p", "x", "-n", "1", "--session-save", self.dir / "folder"], "folder")
        for json_file, status in (("/dev/full", 4), (self.dir / "folder", 3), (self.dir / "no" / "result.json", 3)):
            self.refuse(status, ["inspect", TINY, "--json", json_file], json_file)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["folder", "pipe", "requests.jsonl"])

    def test_no_output_destroys_its_input(self):
        model = self.model()
        before = (model / "model.safetensors").read_bytes()
        for arguments in (["convert", model, "--format", "gguf", "-o"], ["quantize", model, "--method", "rtn:group=32", "-o"]):
            self.refuse(2, [*arguments, model / "model.safetensors"], "model.safetensors", "destroy")
        self.assertEqual((model / "model.safetensors").read_bytes(), before)
        file = self.dir / "q.safetensors"
        self.accept("quantize", model, "--method", "rtn:group=32", "-o", file)
        before = file.read_bytes()
        (self.dir / "link").symlink_to(file)
        self.refuse(2, ["convert", file, "--format", "gguf", "--allow-lossy", "-o", file], "q.safetensors", "destroy")
        self.refuse(2, ["convert", self.dir / "link", "--format", "gguf", "--allow-lossy", "-o", file], "q.safetensors", "destroy")
        self.assertEqual(file.read_bytes(), before)
        self.accept("convert", file, "--format", "gguf", "--allow-lossy", "-o", self.dir / "q.gguf")

    def test_no_folder_for_temporary_files(self):
        self.refuse(3, ["sweep", "builtin", "--recipes", "rtn"], "TMPDIR", env={**os.environ, "TMPDIR": "/nonexistent"})

    def test_results_that_cannot_be_written(self):
        for arguments in (["inspect", TINY], ["run", "builtin", "-p", "x", "-n", "2"], ["tokenize", "builtin", "-p", "x"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([NIBBLE, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertIn(b"stdout", done.stderr)


class Configurations(Hostile):
    def test_numbers_out_of_range(self):
        for words, values in ((["rms_norm_eps", "-1"], {"rms_norm_eps": -1}), (["rms_norm_eps", "float32"], {"rms_norm_eps": 1e300}),
                              (["rms_norm_eps", "below 1"], {"rms_norm_eps": 3}), (["num_hidden_layers"], {"num_hidden_layers": 2**63}),
                              (["head_dim", "7"], {"head_dim": 7}), (["vocab_size"], {"vocab_size": 2**40}),
                              (["max_position_embeddings"], {"max_position_embeddings": -1}), (["eos_token_id"], {"eos_token_id": [1, "a"]}),
                              (["bos_token_id", "-7"], {"bos_token_id": -7}), (["layer_types"], {"layer_types": ["full_attention"]}),
                              (["tie_word_embeddings"], {"tie_word_embeddings": "yes"}), (["hidden_act"], {"hidden_act": 3})):
            with self.subTest(values=values):
                self.refuse_config(words, **values)

    def test_positions(self):
        base = {"rope_type": "default", "rope_theta": 1e4}
        for words, values in ((["rope_theta", "1e+300"], {"rope_theta": 1e300}), (["rope_theta", "-5"], {"rope_theta": -5}),
                              (["nope"], {"rope_type": "nope"}), (["factor", "missing"], {"rope_type": "linear"}),
                              (["factor", "float32"], {"rope_type": "yarn", "factor": 1e300}),
                              (["attention_factor", "float32"], {"rope_type": "yarn", "factor": 4, "attention_factor": 1e39}),
                              (["high_freq_factor"], {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1,
                                                      "original_max_position_embeddings": 8}),
                              (["short_factor"], {"rope_type": "longrope", "factor": 8, "short_factor": [1], "long_factor": []}),
                              (["partial_rotary_factor"], {"partial_rotary_factor": 3.0})):
            with self.subTest(values=values):
                self.refuse_config(words, rope_parameters={**base, **values})

    def test_what_is_no_json(self):
        whole = (TINY / "config.json").read_text().rstrip()
        for words, text in ((["NaN is no JSON number"], whole[:-1] + ',"x":NaN}'), (["Infinity is no JSON number"], whole[:-1] + ',"x":-Infinity}'),
                            (["byte order mark"], "\ufeff" + whole), (["UTF-8"], whole.encode().replace(b"llama", b"ll\xffma")),
                            (["twice"], whole[:-1] + ',"hidden_size":64}'), (["line"], whole + "x"), (["0 bytes"], ""), (["object"], "[]"),
                            (["too large"], whole[:-1] + ',"x":' + "9" * 100000 + "}"), (["column"], whole.encode("utf-16"))):
            with self.subTest(words=words):
                name = f"model{len(list(self.dir.iterdir()))}"
                model = self.model(name, config__json=text)
                self.refuse(3, ["score", model, "--requests", self.requests()], f"{name}/config.json", *words)
        self.refuse(4, ["score", self.model("deep", config__json='{"a":' * 200 + "1" + "}" * 200), "--requests", self.requests()], "128")


class Numbers(Hostile):
    def test_options(self):
        for words, arguments in ((["target-bpw", "nan"], ["quantize", TINY, "-o", self.dir / "out", "--method", "rtn", "--target-bpw", "nan"]),
                                 (["context"], ["run", "builtin", "-p", "x", "--context", "0"]), (["temperature"], ["run", "builtin", "-p", "x", "--temperature", "nan"]),
                                 (["logit_bias"], ["run", "builtin", "-p", "x", "--logit-bias", "1:nan"]), (["max-ram", "size"], ["info", "--max-ram", "1e400G"]),
                                 (["group_size"], ["quantize", TINY, "-o", self.dir / "out", "--method", "rtn", "--group-size", "99999999999"]),
                                 (["damp"], ["quantize", TINY, "-o", self.dir / "out", "--method", "gptq", "--set", "gptq.damp=nan"])):
            with self.subTest(arguments=arguments):
                err = self.refuse(2, arguments, *[w for w in words if w != "max-ram"])
                self.assertLess(len(err), 400)

    def test_descriptors_and_memory_run_out(self):
        import resource
        limit = lambda kind, value: lambda: resource.setrlimit(kind, (value, value))
        self.refuse(4, ["quantize", "builtin", "--method", "rtn", "-o", self.dir / "out"], "open", preexec_fn=limit(resource.RLIMIT_NOFILE, 4))
        self.refuse(4, ["inspect", "builtin", "--json", self.dir / "x.json"], "x.json", preexec_fn=limit(resource.RLIMIT_FSIZE, 100))
        if "asan" not in NIBBLE:
            self.refuse(4, ["run", "builtin", "-p", "x", "--context", "100000000"], "memory", preexec_fn=limit(resource.RLIMIT_AS, 1 << 30))
        self.assertEqual(list(self.dir.iterdir()), [])


class Texts(Hostile):
    """Schemas, grammars, vocabularies, tasks and adapters that say what cannot be."""

    def test_schemas(self):
        schema = self.dir / "schema.json"
        for words, text in ((["empty"], ""), (["required", "list of names"], '{"type":"object","required":[5]}'),
                            (["properties", "object"], '{"type":"object","properties":[]}'), (["type"], '{"type":5}'),
                            (["pattern", "string"], '{"type":"string","pattern":5}'), (["$ref", "string"], '{"$ref":5}'),
                            (["minLength"], '{"type":"string","minLength":-1}'), (["http"], '{"$ref":"http://example.com/x"}'),
                            (["themselves"], '{"$ref":"#"}'), (["((", "not supported"], '{"type":"string","pattern":"(("}'),
                            (["no text matches"], '{"type":"integer","minimum":10,"maximum":1}'), (["line 1"], "{")):
            with self.subTest(text=text):
                schema.write_text(text)
                self.refuse(3, ["run", "builtin", "-p", "x", "-n", "1", "--json-schema", schema], "schema.json", *words)
        schema.write_text('{"type":"array","minItems":1000000000000}')
        self.refuse(4, ["run", "builtin", "-p", "x", "-n", "1", "--json-schema", schema], "schema.json", "minItems")

    def test_normalizers_that_double_the_text(self):
        model = self.copy_model()
        tokenizer = json.loads((model / "tokenizer.json").read_text())
        tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 60}
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        self.refuse(4, ["tokenize", model, "-p", "a"], "67108880 bytes", "a text of 1")

    def test_vocabularies(self):
        model = self.copy_model()
        good = json.loads((model / "tokenizer.json").read_text())
        for words, change in ((["zzz"], {"merges": ["zzz qqq"]}), (["merge"], {"merges": [["a", "b", "c"]]}), (["integer"], {"vocab": {"a": 0.5}}),
                              (["vocab"], {"vocab": []}), (["type"], {"type": 5})):
            with self.subTest(change=change):
                tokenizer = copy.deepcopy(good)
                tokenizer["model"].update(change)
                (model / "tokenizer.json").write_text(json.dumps(tokenizer))
                self.refuse(3, ["tokenize", model, "-p", "x"], "tokenizer.json", *words)

    def test_an_unknown_token_beyond_the_vocabulary(self):
        model = self.copy_model()  # as GGUF its type was written behind the list of types
        for unknown in (10**9, -1, 5):
            (model / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram", "unk_id": unknown, "vocab": [["<unk>", 0.0], ["a", -1.0]]}}))
            self.accept("convert", model, "-o", self.dir / "out.gguf", "--format", "gguf")

    def test_files_are_named(self):
        bad = self.dir / "bad.jsonl"
        for words, text, command in ((["request 1", "context_ids"], '{"context_ids":[-1],"continuation_ids":[1]}\n', ["score", "builtin", "--requests"]),
                                     (["request 1", "token"], '{"context_ids":[1],"continuation_ids":[99999999999999999999]}\n', ["score", "builtin", "--requests"]),
                                     (["line 1", "index of a choice"], '{"context":"a","choices":["b","c"],"answer":0.5}\n', ["eval", "builtin", "--tasks"]),
                                     (["line 1", "context"], "\ufeff{}\n", ["eval", "builtin", "--tasks"]),
                                     (["not valid JSON"], "{\n", ["convert", TINY, "-o", self.dir / "out", "--measured"])):
            with self.subTest(command=command, text=text):
                bad.write_text(text)
                self.refuse(3, [*command, bad], "bad.jsonl", *words)
        tabs = self.dir / "tabs.yaml"
        tabs.write_text("task: x\nmetric_list:\n\t- metric: acc\n")
        self.refuse(3, ["eval", "builtin", "--tasks", tabs], "tabs.yaml, line 3", "tab")

    def test_templates(self):
        model = self.copy_model()
        path = model / "tokenizer_config.json"
        good = json.loads(path.read_text())
        for status, words, template in ((3, ["template"], [{"name": 5}]), (4, [], "{% for i in range(1000000000) %}x{% endfor %}"),
                                        (4, [], "{{ 'x' * 10000000000 }}"), (3, ["line 1"], "{% if messages %}"),
                                        (3, ["frob"], "{{ messages|frob }}"), (4, [], "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
                                        (4, [], "{{ '%1000000000d' % 5 }}")):
            with self.subTest(template=template):
                path.write_text(json.dumps({**good, "chat_template": template}))
                self.refuse(status, ["run", model, "--chat", "-p", "x", "-n", "1"], *words, timeout=60)

    def test_adapters(self):
        source = ROOT / "tests" / "golden" / "lora" / "plain"
        good = json.loads((source / "adapter_config.json").read_text())
        adapter = self.dir / "adapter"
        adapter.mkdir()
        weights = (source / "adapter_model.safetensors").read_bytes()
        head = 8 + struct.unpack("<Q", weights[:8])[0]
        for words, change, data in ((["'r'", "number"], {"r": "8"}, weights), (["rank", "0"], {"r": 0}, weights), (["fan_in_fan_out"], {"fan_in_fan_out": "x"}, weights),
                                    (["lora_alpha"], {"lora_alpha": []}, weights), (["IA3"], {"peft_type": "IA3"}, weights),
                                    (["regular expression"], {"rank_pattern": {"((": 4}}, weights), (["ends at byte"], {}, weights[:-5]),
                                    (["not finite"], {}, weights[:head] + b"\xff" * (len(weights) - head)), (["truncated"], {}, weights[:20])):
            with self.subTest(words=words):
                (adapter / "adapter_config.json").write_text(json.dumps({**good, **change}))
                (adapter / "adapter_model.safetensors").write_bytes(data)
                self.refuse(3, ["run", "builtin", "-p", "x", "-n", "1", "--lora", adapter], adapter, *words)
        self.refuse(3, ["run", "builtin", "-p", "x", "-n", "1", "--lora", f"{source}:nan"], "scale")

    def test_grammars(self):
        grammar = self.dir / "g.gbnf"
        for words, text in ((["empty"], ""), (["root"], 'a ::= "x"\n'), (["left-recursive"], 'root ::= a\na ::= b\nb ::= a | "x"\n'),
                            (["line 1", "does not end"], 'root ::= "abc\n'), (["zz"], "root ::= zz\n"), (["nest deeper"], "root ::= " + "(" * 5000),
                            (["repetitions"], 'root ::= "a"{1000000000}\n'), (["UTF-8"], b'root ::= "\xff"\n'), (["line 1"], b'root ::= "a\0b"\n')):
            with self.subTest(text=text):
                grammar.write_bytes(text if isinstance(text, bytes) else text.encode())
                self.refuse(3, ["run", "builtin", "-p", "x", "-n", "1", "--grammar", grammar], "g.gbnf", *words)


if __name__ == "__main__":
    unittest.main()
