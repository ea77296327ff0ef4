"""What each command prints: the JSON keys that docs/cli.md promises, and numbers that agree with each other."""
import json
import os
import shutil
import subprocess
import unittest

from support import DATA, MODEL, NIBBLE, ROOT, Case, nibble

MACHINE = {"cpu", "isa", "threads", "processors", "memory_bytes"}


class Basics(Case):
    def test_version_and_help(self):
        self.assertRegex(self.accept("--version"), r"^nibble \d+\.\d+\.\d+\n$")
        text = self.accept("--help")
        for command in ("info", "inspect", "quantize", "convert", "run", "tokenize", "detokenize", "score", "perplexity", "compare", "eval",
                        "bench", "sweep", "verify", "chat", "doctor", "help"):
            self.assertIn(command, text)
            self.accept(command, "--help")

    def test_help_names_commands_and_methods(self):
        self.assertIn("Subcommands:", self.accept("help"))
        self.assertIn("nibble quantize", self.accept("help", "quantize"))
        self.assertIn("bits", self.accept("help", "gptq"))
        self.refuse(2, ["help", "nonsense"], "nonsense")

    def test_global_options_before_and_after(self):
        before = self.result("--threads", "1", "info")
        after = self.result("info", "--threads", "1")
        self.assertEqual(before["threads"], 1)
        self.assertEqual(after["threads"], 1)

    def test_json_to_a_file_and_tables_in_markdown(self):
        file = self.dir / "info.json"
        text = self.accept("info", "--json", file, "--markdown")
        self.assertIn("| gptq", text)
        self.assertEqual(json.loads(file.read_text())["nibble_version"], self.accept("--version").split()[1])
        self.assertEqual([p.name for p in self.dir.iterdir()], ["info.json"])

    def test_json_that_cannot_be_written(self):
        self.refuse(3, ["info", "--json", self.dir / "no" / "info.json"], "info.json")

    def test_full_stdout(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([NIBBLE, "info"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 4)

    def test_info(self):
        j = self.result("info")
        self.assertLessEqual({"nibble_version", "machine", "isa", "isa_available", "threads", "methods", "dialects",
                              "architectures", "tasks", "limits"}, j.keys())
        self.assertLessEqual(MACHINE, j["machine"].keys())
        self.assertIn(j["isa"], j["isa_available"])
        self.assertLessEqual({"rtn", "gptq", "awq", "nf4", "int8"}, {m["id"] for m in j["methods"]})

    def test_info_of_a_method(self):
        options = {o["name"]: o for o in self.result("info", "gptq")["options"]}
        self.assertEqual(options["bits"]["default"], "4")
        self.assertIn("damp", self.accept("info", "gptq"))
        self.refuse(2, ["info", "magic"], "magic")

    def test_isa(self):
        self.assertEqual(self.result("info", "--isa", "scalar")["isa"], "scalar")
        self.assertEqual(self.result("info", env={**os.environ, "NBL_FORCE_ISA": "scalar"})["isa"], "scalar")


    def test_tune(self):
        self.assertEqual(self.result("info")["tune"], "off")
        self.assertEqual(self.result("info", "--tune", "on")["tune"], "on")
        self.refuse(2, ["info", "--tune", "maybe"], "maybe")
        out = self.dir / "rtn.safetensors"
        self.result("quantize", "builtin", "-o", out, "--method", "rtn:bits=4,group=64")
        runs = [self.accept("run", out, "-p", "It was", "-n", "12", "--tune", tune) for tune in ("off", "on")]
        self.assertEqual(*runs)


    def test_no_mmap(self):
        self.assertEqual(self.result("info")["mmap"], "on")
        self.assertEqual(self.result("info", "--no-mmap")["mmap"], "off")
        runs = [self.accept("run", "builtin", "-p", "It was", "-n", "12", "--compute", "exact", *flag) for flag in ((), ("--no-mmap",))]
        self.assertEqual(*runs)
        outs = [self.dir / "mapped" / "model.gguf", self.dir / "read" / "model.gguf"]
        for out, flag in zip(outs, ((), ("--no-mmap",))):
            out.parent.mkdir()
            self.accept("convert", "builtin", "-o", out, "--format", "gguf", *flag)
        self.assertEqual(*(out.read_bytes() for out in outs))


class Installed(Case):
    def test_builtin_is_found_beside_the_binary_and_in_NIBBLE_SHARE(self):
        prefix = self.dir / "prefix"
        (prefix / "bin").mkdir(parents=True)
        shutil.copy(NIBBLE, prefix / "bin" / "nibble")
        command = [str(prefix / "bin" / "nibble"), "inspect", "builtin"]
        self.assertEqual(subprocess.run(command, capture_output=True).returncode, 3)
        shutil.copytree(MODEL, prefix / "share" / "nibble" / "models" / "prose-3.7m")
        self.assertEqual(subprocess.run(command, capture_output=True).returncode, 0)
        shutil.move(prefix / "share" / "nibble", self.dir / "elsewhere")
        self.assertEqual(subprocess.run(command, capture_output=True).returncode, 3)
        env = {**os.environ, "NIBBLE_SHARE": str(self.dir / "elsewhere")}
        self.assertEqual(subprocess.run(command, capture_output=True, env=env).returncode, 0)


class Conversions(Case):
    """nibble convert: lossless where both formats hold the numbers, else refused by name."""

    def quantized(self, name, method, form):
        out = self.dir / name
        self.result("quantize", "builtin", "-o", out, "--method", method, "--format", form)
        return out

    def lossless(self, source, form):
        out = self.dir / f"to-{form}-{len(list(self.dir.iterdir()))}"
        j = self.result("convert", source, "-o", out, "--format", form, "--verify")
        self.assertIs(j["lossless"], True, j)
        self.assertEqual(j["tensors_checked"], j["tensors"])
        self.assertEqual(j["max_abs_difference"], 0)
        self.assertEqual(j["refused"], [])
        return out, j

    def test_a_name_says_the_format(self):
        for command in (("quantize", "builtin", "--method", "kquant:type=q4_0"), ("convert", "builtin")):
            out = self.dir / f"{command[0]}.GGUF"
            self.result(*command, "-o", out)
            self.assertEqual(out.read_bytes()[:4], b"GGUF")
        out = self.dir / "model.gguf"
        self.result("convert", "builtin", "-o", out, "--format", "native")
        self.assertNotEqual(out.read_bytes()[:4], b"GGUF")

    def test_a_mixture_of_block_types(self):
        out = self.dir / "mixture.gguf"
        self.result("quantize", "builtin", "-o", out, "--method", "kquant:type=q4_k_m,feedback=false,search=2", "--lm-head",
                    "--calib", "builtin", "--calib-tokens", "512")
        types = {t["name"]: t["encoding"] for t in self.result("inspect", out)["tensors"]}
        wide = {layer for layer in range(4) if "(Q6_K)" in types[f"model.layers.{layer}.self_attn.v_proj.weight"]}
        self.assertEqual(wide, {2, 3}, types)

    def test_there_and_back_again(self):
        gptq = self.quantized("gptq", "rtn:bits=4,group=32,sym=true", "gptq")
        hashes = {t["name"]: t["sha256"] for t in self.result("inspect", gptq, "--hash")["tensors"]}
        for form in ("native", "awq", "gptq_v2", "gguf", "compressed-tensors"):
            with self.subTest(form):
                other, j = self.lossless(gptq, form)
                self.assertGreater(j["codes_checked"], 0)
                back, _ = self.lossless(other, "gptq")
                again = {t["name"]: t["sha256"] for t in self.result("inspect", back, "--hash")["tensors"]}
                packed = [n for n in hashes if "layers" in n and n.endswith("_proj.weight")]
                self.assertTrue(packed)
                self.assertEqual({n: again[n] for n in packed}, {n: hashes[n] for n in packed})

    def test_model_cards_carry_what_was_measured(self):
        source = self.quantized("ct", "rtn:bits=4,group=64,sym=true", "compressed-tensors")
        self.assertIn("Not measured.", (source / "README.md").read_text())
        perplexity, compared = self.dir / "perplexity.json", self.dir / "compared.json"
        self.accept("compare", "builtin", source, "--windows", "1", "--quiet", "--json", compared)
        self.accept("perplexity", source, "--windows", "1", "--quiet", "--json", perplexity)
        value = json.loads(perplexity.read_text())["perplexity"]
        kl = json.loads(compared.read_text())["candidates"][0]["mean_kl"]
        out = self.dir / "measured"
        self.accept("convert", source, "-o", out, "--format", "gptq", "--measured", perplexity)
        card = (out / "README.md").read_text()
        self.assertIn(f"Perplexity {value:.5g}, protocol windows-512", card)
        self.assertNotIn("Not measured", card)
        # A lossless copy of it has the same figures.
        again = self.dir / "again"
        self.accept("convert", out, "-o", again, "--format", "compressed-tensors")
        self.assertIn(f"Perplexity {value:.5g}", (again / "README.md").read_text())
        quantized = self.dir / "quantized"
        self.accept("quantize", "builtin", "-o", quantized, "--method", "rtn:bits=4,group=64,sym=true", "--format", "gptq", "--measured", compared)
        self.assertIn(f"{kl:.5g}", (quantized / "README.md").read_text())
        (self.dir / "broken.json").write_text("[1,")
        self.refuse(3, ["convert", source, "-o", self.dir / "none", "--measured", self.dir / "broken.json"], "measured")

    def test_types_of_gguf(self):
        for method, kind in (("rtn:bits=4,group=32,sym=true", "Q4_0"), ("rtn:bits=4,group=64,sym=false", "Q5_0"),
                             ("rtn:bits=8,group=128,sym=true", "Q8_0")):
            with self.subTest(method):
                source = self.quantized(kind, method, "native")
                out, _ = self.lossless(source, "gguf")
                encodings = [t["encoding"] for t in self.result("inspect", out)["tensors"] if "_proj" in t["name"]]
                self.assertTrue(encodings and all(kind in e for e in encodings), encodings)

    def test_codebooks_become_values(self):
        nf4 = self.quantized("nf4", "nf4", "bitsandbytes")
        self.lossless(nf4, "huggingface")
        self.lossless(nf4, "native")

    def test_refusals_name_the_tensor_and_say_what_would_do(self):
        nf4 = self.quantized("nf4", "nf4", "native")
        out = self.dir / "out"
        json_file = self.dir / "report.json"
        status, _, err = nibble("convert", nf4, "-o", out, "--format", "gptq", "--json", json_file)
        self.assertEqual(status, 1)
        self.assertFalse(out.exists())
        j = json.loads(json_file.read_text())
        self.assertIs(j["lossless"], False)
        self.assertIs(j["written"], False)
        self.assertEqual(len(j["refused"]), 28)
        for sentence in j["refused"]:
            self.assertRegex(sentence, r"^tensor model\.layers\.\d\.\w+\.\w+\.weight: gptq cannot hold a codebook")
            self.assertIn("native, bitsandbytes, huggingface", sentence)
        self.assertIn("model.layers.0", err)

    def test_allow_lossy_reports_the_error(self):
        nf4 = self.quantized("nf4", "nf4", "native")
        out = self.dir / "out"
        j = self.result("convert", nf4, "-o", out, "--format", "gptq", "--allow-lossy", "--verify")
        self.assertIs(j["lossless"], False)
        self.assertEqual(len(j["requantized"]), 28)
        self.assertEqual(j["differences"], [])
        most = max(r["max_abs_difference"] for r in j["requantized"])
        self.assertAlmostEqual(j["max_abs_difference"], most)
        self.assertGreater(most, 0)
        for r in j["requantized"]:
            self.assertLess(r["relative_error"], 0.02, r)
        self.assertEqual(self.result("inspect", out)["format"], "gptq")

    def test_a_dense_model_is_no_quantized_one(self):
        j = self.result("convert", "builtin", "-o", self.dir / "x", "--format", "gptq", status=1)
        self.assertIn("no weight of this model is quantized", j["refused"][0])
        self.assertFalse((self.dir / "x").exists())

    def test_wrong_usage(self):
        self.refuse(2, ["convert", "builtin", "-o", self.dir / "x", "--format", "nonsense"], "nonsense")
        self.refuse(2, ["convert", "builtin", "-o", self.dir / "x", "--format", "llama2c"], "llama2c")
        self.refuse(3, ["convert", self.dir / "missing", "-o", self.dir / "x"], "missing")
        self.refuse(3, ["convert", "builtin", "-o", self.dir / "no" / "x"], "no")

    def test_the_converted_model_computes_the_same(self):
        original = self.result("perplexity", "builtin", "--text", "builtin", "--windows", "2", "--compute", "exact")
        for form in ("gguf", "native", "huggingface"):
            out, _ = self.lossless("builtin", form)
            same = self.result("perplexity", out, "--text", "builtin", "--windows", "2", "--compute", "exact")
            self.assertEqual(same["perplexity"], original["perplexity"], form)


class Models(Case):
    def quantized(self, recipe="rtn:bits=4,group=64"):
        out = self.dir / (recipe.split(":")[0] + ".safetensors")
        return out, self.result("quantize", "builtin", "-o", out, "--method", recipe)

    def test_inspect(self):
        j = self.result("inspect", "builtin", "--tensors", "--hash")
        self.assertEqual((j["format"], j["architecture"]), ("huggingface", "llama"))
        self.assertEqual(j["file_bytes"], (MODEL / "model.safetensors").stat().st_size)
        tensors = {t["name"]: t for t in j["tensors"]}
        self.assertEqual(sum(t["shape"][0] * (t["shape"] + [1])[1] for t in tensors.values()), j["parameters"])
        embed = tensors["model.embed_tokens.weight"]
        self.assertEqual((embed["shape"], embed["encoding"], embed["bits"]), ([2048, 256], "bf16", 16))
        # The hash is of the bytes in the file.
        import hashlib
        from support import read_safetensors
        header, data = read_safetensors(MODEL / "model.safetensors")
        begin, end = header["model.embed_tokens.weight"]["data_offsets"]
        self.assertEqual(embed["sha256"], hashlib.sha256(data[begin:end]).hexdigest())

    def test_quantize_and_inspect(self):
        out, j = self.quantized()
        self.assertLessEqual({"nibble_version", "machine", "method", "options", "bits_per_weight", "file_bytes", "seconds",
                              "peak_rss_bytes", "layers", "output_sha256"}, j.keys())
        self.assertEqual(j["file_bytes"], out.stat().st_size)
        self.assertEqual(len(j["layers"]), 28)
        self.assertAlmostEqual(j["bits_per_weight"], 4 + 16 / 64 + 4 / 64, places=6)
        layer = j["layers"][0]
        self.assertLessEqual({"name", "encoding", "bits", "error", "seconds", "notes"}, layer.keys())
        tensors = {t["name"]: t for t in self.result("inspect", out)["tensors"]}
        self.assertEqual(tensors[layer["name"]]["encoding"], layer["encoding"])
        self.assertEqual(tensors[layer["name"]]["group_size"], 64)

    def test_options_by_name_equal_a_recipe(self):
        first, second = self.dir / "a.safetensors", self.dir / "b.safetensors"
        self.accept("quantize", "builtin", "-o", first, "--method", "rtn", "--bits", "3", "--group-size", "32", "--set", "rtn.sym=true")
        self.accept("quantize", "builtin", "-o", second, "--method", "rtn:bits=3,group=32,sym=true")
        self.assertEqual(first.read_bytes(), second.read_bytes())

    def test_overrides(self):
        out = self.dir / "mixed.safetensors"
        j = self.result("quantize", "builtin", "-o", out, "--method", "rtn:bits=3,group=64", "--overrides",
                        r"model\.layers\.0\..*=rtn:bits=8,group=64", r".*k_proj.*=nf4", r".*down_proj.*=")
        found = {layer["name"]: layer["encoding"] for layer in j["layers"]}
        self.assertIn("8 bit", found["model.layers.0.self_attn.k_proj.weight"])  # the first match wins
        self.assertIn("codebook", found["model.layers.1.self_attn.k_proj.weight"])
        self.assertIn("3 bit", found["model.layers.1.self_attn.v_proj.weight"])
        tensors = {t["name"]: t["encoding"] for t in self.result("inspect", out)["tensors"]}
        self.assertIn("bf16", tensors["model.layers.1.mlp.down_proj.weight"])

    def test_same_bytes_again_and_with_other_threads(self):
        hashes = set()
        for threads in (1, 2, 3):
            out = self.dir / f"{threads}.safetensors"
            j = self.result("quantize", "builtin", "-o", out, "--method", "gptq:bits=4,group=64", "--calib-tokens", 2048, "--threads", threads)
            hashes.add(j["output_sha256"])
        self.assertEqual(len(hashes), 1)

    def test_run(self):
        j = self.result("run", "builtin", "-p", "It was a dark", "-n", "12")
        self.assertLessEqual({"prompt_tokens", "text", "token_ids", "finish_reason", "prefill_tok_s", "decode_tok_s"}, j.keys())
        self.assertEqual((len(j["token_ids"]), j["finish_reason"]), (12, "length"))
        ids = self.result("tokenize", "builtin", "-p", "It was a dark")["ids"]
        self.assertEqual(j["prompt_tokens"], len(ids))
        back = self.accept("detokenize", "builtin", "--ids", ",".join(map(str, j["token_ids"])))
        self.assertEqual(back, j["text"] + "\n")
        status, out, err = nibble("run", "builtin", "-p", "It was a dark", "-n", "12")
        self.assertEqual((status, out), (0, j["text"] + "\n"))
        self.assertIn("tok/s", err)
        self.assertEqual(nibble("run", "builtin", "-p", "It was a dark", "-n", "12", "--quiet")[2], "")

    def test_run_with_samplers_and_constraints(self):
        def run(*arguments):
            status, out, err = nibble("run", MODEL, "-p", "It was", "-n", "24", "--compute", "exact", "--json", "-", *arguments)
            self.assertEqual(status, 0, err)
            return json.loads(out)
        plain = run()
        stopped = run("--stop", plain["text"][8:11])
        self.assertEqual(stopped["finish_reason"], "stop")
        self.assertEqual(stopped["text"], plain["text"][:plain["text"].index(plain["text"][8:11])])
        self.assertEqual(run("--prompt-lookup", "5")["token_ids"], plain["token_ids"])
        self.assertEqual(run("--draft", MODEL)["token_ids"], plain["token_ids"])
        out = run("--temperature", "1", "--top-k", "30", "--top-p", "0.9", "--min-p", "0.01", "--typical", "0.95", "--n", "2",
                  "--repetition-penalty", "1.1", "--frequency-penalty", "0.1", "--presence-penalty", "0.1", "--dry-multiplier", "0.8",
                  "--logprobs", "2", "--prompt-logprobs", "0", "--ban", "5", "--logit-bias", "6:-1.5", "--kv-type", "q8", "--seed", "4")
        self.assertEqual(len(out["samples"]), 2)
        self.assertEqual(len(out["logprobs"]), len(out["token_ids"]))
        self.assertNotIn(5, out["token_ids"])
        schema = self.dir / "schema.json"
        schema.write_text('{"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 5}}, "required": ["n"]}')
        self.assertIn(json.loads(run("--json-schema", schema)["text"])["n"], (3, 4, 5))
        grammar = self.dir / "grammar.gbnf"
        grammar.write_text('root ::= "a" [0-9]{3}')
        self.assertRegex(run("--grammar", grammar)["text"], r"^a[0-9]{3}$")
        self.assertEqual(len(run("--beams", "3", "--length-penalty", "0.5")["samples"]), 1)
        self.assertEqual(run("--context", "10", "--ignore-eos")["finish_reason"], "context")
        saved = self.dir / "session"
        first = run("--session-save", saved, "--ignore-eos")
        second = run("--session-load", saved, "--context", "100")
        self.assertEqual(second["prompt_tokens"], first["prompt_tokens"])
        adapter = ROOT / "tests" / "golden" / "lora" / "plain"
        self.assertNotEqual(run("--lora", adapter)["token_ids"], plain["token_ids"])
        self.assertEqual(run("--lora", f"{adapter}:0")["token_ids"], plain["token_ids"])
        for bad, code in ((("--temperature", "-1"), 2), (("--stop",), 2), (("--logit-bias", "x"), 2), (("--json-schema", "/nonexistent"), 3),
                          (("--ban", "two whole words"), 2), (("--session-load", str(schema)), 3), (("--lora", "/nonexistent"), 3)):
            status, _, err = nibble("run", MODEL, "-p", "It was", *bad)
            self.assertEqual(status, code, f"{bad}: {err}")

    def test_quantize_merges_an_adapter(self):
        adapter = ROOT / "tests" / "golden" / "lora" / "plain"
        merged, plain = self.dir / "merged.safetensors", self.dir / "plain.safetensors"
        for out, more in ((merged, ("--lora", adapter)), (plain, ())):
            status, _, err = nibble("quantize", MODEL, "-o", out, "--method", "fp32", *more)
            self.assertEqual(status, 0, err)
        texts = [json.loads(nibble("run", m, "-p", "It was", "-n", "12", "--compute", "exact", "--json", "-", *more)[1])["token_ids"]
                 for m, more in ((merged, ()), (MODEL, ("--lora", adapter)), (plain, ()))]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_prompt_file_and_sampling(self):
        prompt = self.dir / "prompt.txt"
        prompt.write_text("It was a dark")
        options = ["--prompt-file", prompt, "-n", "20", "--temperature", "1.0", "--top-k", "50", "--top-p", "0.95"]
        first = self.result("run", "builtin", *options, "--seed", "1")["token_ids"]
        self.assertEqual(self.result("run", "builtin", *options, "--seed", "1")["token_ids"], first)
        self.assertNotEqual(self.result("run", "builtin", *options, "--seed", "2")["token_ids"], first)

    def test_exact_is_the_same_for_any_number_of_threads(self):
        out, _ = self.quantized()
        texts = {self.result("run", out, "-p", "The ship", "-n", "60", "--compute", "exact", "--threads", t)["text"] for t in (1, 2, 3)}
        self.assertEqual(len(texts), 1)

    def test_tokenize(self):
        j = self.result("tokenize", "builtin", "-p", "Hello there<|endoftext|>")
        self.assertEqual(j["pieces"][-1], "<|endoftext|>")
        self.assertEqual(len(j["ids"]), len(j["pieces"]))
        self.assertGreater(len(self.result("tokenize", "builtin", "-p", "Hello there<|endoftext|>", "--literal")["ids"]), len(j["ids"]))
        lines = self.dir / "texts.jsonl"
        lines.write_text('{"text": "Hello there<|endoftext|>"}\n\n{"text": ""}\n')
        self.assertEqual(self.result("tokenize", "builtin", "--jsonl", lines)["results"], [{"ids": j["ids"]}, {"ids": []}])
        lines.write_text('{"txt": "Hello"}\n')
        self.refuse(3, ["tokenize", "builtin", "--jsonl", lines], "line 1")

    def test_score(self):
        requests = self.dir / "requests.jsonl"
        first = {"context": "It was a", "continuation": " dark night"}
        requests.write_text(json.dumps(first) + "\n")
        a = self.result("score", "builtin", "--requests", requests, "--compute", "exact")["results"][0]
        self.assertLessEqual({"logprob", "is_greedy", "tokens", "token_logprobs", "context_ids", "continuation_ids"}, a.keys())
        self.assertAlmostEqual(sum(a["token_logprobs"]), a["logprob"], places=6)
        by_ids = {"context_ids": a["context_ids"], "continuation_ids": a["continuation_ids"]}
        other = {"context": "She said", "continuation": " nothing"}
        requests.write_text("\n".join(map(json.dumps, (other, by_ids, first))))
        results = self.result("score", "builtin", "--requests", requests, "--compute", "exact")["results"]
        self.assertEqual(results[1], results[2])
        self.assertAlmostEqual(results[1]["logprob"], a["logprob"], places=5)

    def test_perplexity_and_compare(self):
        out, _ = self.quantized()
        p = self.result("perplexity", out, "--windows", "2")
        self.assertLessEqual({"protocol", "perplexity", "nll", "stderr", "tokens", "word_perplexity", "byte_perplexity",
                              "bits_per_byte"}, p.keys())
        self.assertEqual((p["protocol"], p["tokens"]), ("windows-512", 1022))
        j = self.result("compare", "builtin", "builtin", out, "--windows", "2")
        itself, candidate = j["candidates"]
        self.assertLessEqual({"name", "mean_kl", "kl_stderr", "median_kl", "p99_kl", "max_kl", "top1_agreement", "ppl", "ppl_ratio",
                              "ppl_ratio_stderr"}, candidate.keys())
        self.assertEqual((itself["mean_kl"], itself["top1_agreement"], itself["ppl_ratio"]), (0, 1, 1))
        self.assertAlmostEqual(candidate["ppl"], p["perplexity"], delta=1e-6 * p["perplexity"])
        self.assertGreater(candidate["mean_kl"], 0.001)
        self.assertIn("mean KL", self.accept("compare", "builtin", out, "--windows", "1", "--markdown"))

    def test_eval(self):
        out, _ = self.quantized()
        j = self.result("eval", "builtin", out, "--tasks", DATA / "choice.jsonl", "--limit", "20")
        self.assertLessEqual({"results", "groups", "versions", "n-shot", "n-samples", "paired"}, j.keys())
        self.assertLessEqual({"acc,none", "acc_stderr,none"}, j["results"]["choice"].keys())
        self.assertEqual(j["n-samples"]["choice"]["effective"], 20)
        pair = j["paired"][0]
        self.assertLessEqual({"task", "a", "b", "delta", "ci95", "mcnemar_p", "flips"}, pair.keys())
        accuracies = [m["results"]["choice"]["acc,none"] for m in j["models"]]
        self.assertAlmostEqual(accuracies[1] - accuracies[0], pair["delta"], places=12)

    def test_run_with_its_profile(self):
        j = self.result("run", "builtin", "-p", "The river was", "-n", "5", "--profile")
        for step in ("prefill", "decode"):
            rows = {r["operation"]: r for r in j["profile"][step]}
            self.assertLessEqual({"qkv", "attention out", "mlp in", "mlp out", "logits"}, rows.keys())
            self.assertAlmostEqual(sum(r["share"] for r in rows.values()), 1, places=6)
            self.assertGreater(rows["mlp in"]["gb_s"], 0)
            self.assertGreater(rows["mlp in"]["gop_s"], 0)
        self.assertNotIn("profile", self.result("run", "builtin", "-p", "The river was", "-n", "5"))
        status, _, shown = nibble("run", "builtin", "-p", "The river was", "-n", "5", "--profile")
        self.assertEqual(status, 0, shown)
        self.assertRegex(shown, r"decode +mlp in ")

    def test_bench(self):
        j = self.result("bench", "builtin", "--prompt", "16", "--gen", "4", "--reps", "2")
        self.assertLessEqual({"prefill_tok_s", "decode_tok_s", "first_token_ms", "load_ms", "peak_rss_bytes", "bytes_per_token"}, j.keys())
        for key in ("prefill_tok_s", "decode_tok_s", "first_token_ms", "load_ms", "peak_rss_bytes", "bytes_per_token"):
            self.assertGreater(j[key], 0, key)
        self.assertNotIn("profile", j)

    def test_bench_shows_its_profile(self):
        status, shown, err = nibble("bench", "builtin", "--prompt", "16", "--gen", "4", "--reps", "1", "--profile")
        self.assertEqual(status, 0, err)
        self.assertRegex(shown, r"prefill +qkv ")
        self.assertRegex(shown, r"decode +mlp in ")
        self.assertNotRegex(shown, r"batch +qkv ")

    def test_bench_of_a_batch_with_its_profile(self):
        j = self.result("bench", "builtin", "--prompt", "16", "--gen", "4", "--reps", "1", "--batch", "3", "--profile")
        self.assertEqual(j["batch"], 3)
        self.assertGreater(j["batch_decode_tok_s"], 0)
        for step in ("prefill", "decode", "batch"):
            rows = {r["operation"]: r for r in j["profile"][step]}
            self.assertLessEqual({"qkv", "attention", "attention out", "mlp in", "mlp out", "logits"}, rows.keys())
            self.assertAlmostEqual(sum(r["share"] for r in rows.values()), 1, places=6)
            for name in ("qkv", "attention", "mlp in", "mlp out", "logits"):
                self.assertGreater(rows[name]["microseconds"], 0, (step, name))
                self.assertGreater(rows[name]["gb_s"], 0, (step, name))
                self.assertGreater(rows[name]["gop_s"], 0, (step, name))

    def test_sweep(self):
        folder = self.dir / "sweep"
        j = self.result("sweep", "builtin", "--recipes", "rtn:bits=8,group=-1,nf4:block=64", "-o", folder, "--windows", "2",
                        "--tasks", "builtin", "--limit", "5", "-p", "It was", "-n", "5", "--reps", "1")
        self.assertEqual([r["recipe"] for r in j["rows"]], ["original", "rtn:bits=8,group=-1", "nf4:block=64"])
        for row in j["rows"]:
            self.assertLessEqual({"recipe", "bits_per_weight", "file_bytes", "peak_rss_bytes", "quantize_seconds", "load_ms",
                                  "prefill_tok_s", "decode_tok_s", "perplexity", "mean_kl", "top1_agreement", "tasks"}, row.keys())
            self.assertIn("choice", row["tasks"])
            self.assertTrue(row["continuation"])
            self.assertGreater(row["decode_tok_s"], 0)
        original, int8, nf4 = j["rows"]
        self.assertEqual(original["bits_per_weight"], 16)
        self.assertLess(int8["mean_kl"], nf4["mean_kl"])
        self.assertLess(nf4["bits_per_weight"], int8["bits_per_weight"])
        self.assertEqual(j["pareto"], ["original", "rtn:bits=8,group=-1", "nf4:block=64"])
        html = (folder / "report.html").read_text()
        self.assertEqual(html.count("<svg"), 6)  # three scatter plots, two and the bars of one task
        self.assertIn("Error layer by layer", html)
        self.assertNotRegex(html, r"(src|href)=")  # nothing outside itself
        self.assertEqual(len(list(folder.glob("*.safetensors"))), 2)

    def test_sweep_keeps_a_model_until_a_default_changes(self):
        folder = self.dir / "sweep"
        again = ["sweep", "builtin", "--recipes", "rtn:bits=8", "-o", folder, "--windows", "1", "--reps", "1", "--json", "-"]
        said = []
        for _ in range(2):
            status, _, err = nibble(*again)
            self.assertEqual(status, 0, err)
            said.append(err)
            (beside,) = folder.glob("*.report.json")
            known = json.loads(beside.read_text())
        self.assertIn("quantize rtn:bits=8", said[0])
        self.assertIn("keep ", said[1])
        self.assertIn('group_size="128"', known["origin"])
        beside.write_text(json.dumps(dict(known, origin=known["origin"].replace('group_size="128"', 'group_size="64"'))))
        status, _, err = nibble(*again)
        self.assertEqual(status, 0, err)
        self.assertIn("quantize rtn:bits=8", err)

    def test_sweep_against_a_smaller_model_at_equal_bytes(self):
        small = self.change_config(num_hidden_layers=1)
        html = self.dir / "report.html"
        j = self.result("sweep", "builtin", "--recipes", "rtn:bits=8,group=128,rtn:bits=4,group=128", "--baselines", small, "--windows", "2",
                        "--tasks", DATA / "choice.jsonl", "--limit", "8", "--reps", "1", "--html", html)
        (rival,) = j["equal_bytes"]
        sizes = {r["recipe"]: r["file_bytes"] for r in j["rows"][1:]}
        fits = [r for r, size in sizes.items() if size <= rival["file_bytes"]]
        self.assertEqual(rival["recipe"], max(fits, key=sizes.get) if fits else min(sizes, key=lambda r: abs(sizes[r] - rival["file_bytes"])))
        self.assertAlmostEqual(rival["bytes_ratio"], sizes[rival["recipe"]] / rival["file_bytes"])
        self.assertGreater(rival["bits_per_byte"], rival["recipe_bits_per_byte"])  # layers cut off cost more than bits
        self.assertEqual({p["a"] for p in rival["paired"]}, {str(small)})
        for p in rival["paired"]:
            self.assertAlmostEqual(p["value_b"] - p["value_a"], p["delta"])
        self.assertIn("smaller full precision", html.read_text())

    def test_bench_at_several_contexts_and_batches(self):
        j = self.result("bench", "builtin", "--gen", "4", "--reps", "1", "--prompt", "16", "--contexts", "0,64", "--batches", "1,3")
        self.assertEqual([(g["context"], g["batch"]) for g in j["grid"]], [(0, 1), (0, 3), (64, 1), (64, 3)])
        for g in j["grid"]:
            self.assertGreater(g["decode_tok_s"], 0)
            self.assertEqual(g["prefill_tok_s"] is None, g["context"] == 0)
        self.refuse(2, ["bench", "builtin", "--contexts", "1,x"], "speed.contexts", '"x"')
        self.refuse(2, ["bench", "builtin", "--batches", "0"], "speed.batches")

    def test_sweep_recipes_from_a_file(self):
        recipes = self.dir / "recipes.txt"
        recipes.write_text("# two\nrtn:bits=8,group=64\nnf4\n")
        j = self.result("sweep", "builtin", "--recipes", recipes, "--windows", "1", "--reps", "1")
        self.assertEqual([r["recipe"] for r in j["rows"][1:]], ["rtn:bits=8,group=64", "nf4"])


class Reference(Case):
    def test_the_reference_is_what_help_says(self):
        done = subprocess.run(["python3", "-B", str(ROOT / "tests" / "cli" / "reference.py"), "--check", NIBBLE], capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
