"""Bad input: each is refused with the promised status and one sentence, and leaves nothing behind."""
import json
import os
import resource
import signal
import struct
import subprocess
import time
import unittest

from support import DATA, NIBBLE, Case, nibble

K_PROJ = "model.layers.1.self_attn.k_proj.weight"
Q_PROJ = "model.layers.2.self_attn.q_proj.weight"


class Files(Case):
    def test_missing_file(self):
        for command in (["run", "-p", "x"], ["inspect"], ["perplexity"], ["bench"], ["verify"]):
            self.refuse(3, [command[0], self.dir / "absent.safetensors", *command[1:]], "absent.safetensors")
        self.refuse(3, ["quantize", self.dir / "absent", "--method", "rtn", "-o", self.dir / "out"], "absent")

    def test_missing_text(self):
        self.refuse(3, ["perplexity", "builtin", "--text", self.dir / "absent.txt"], "absent.txt")
        self.refuse(3, ["quantize", "builtin", "--method", "gptq", "-o", self.dir / "out", "--calib", self.dir / "no.txt"], "no.txt")
        self.refuse(3, ["score", "builtin", "--requests", self.dir / "no.jsonl"], "no.jsonl")
        self.refuse(3, ["eval", "builtin", "--tasks", self.dir / "no.jsonl"], "no.jsonl")

    def test_empty_file(self):
        empty = self.dir / "empty.safetensors"
        empty.touch()
        self.refuse(3, ["inspect", empty], "empty.safetensors")
        self.refuse(3, ["run", empty, "-p", "x"], "empty.safetensors")

    def test_empty_texts(self):
        empty = self.dir / "empty.txt"
        empty.touch()
        self.refuse(3, ["quantize", "builtin", "--method", "gptq", "-o", self.dir / "out", "--calib", empty], "empty.txt", "empty")
        status, _, err = nibble("perplexity", "builtin", "--text", empty)
        self.assertNotEqual(status, 0)
        self.assertIn("empty", err)

    def test_text_file_is_no_model(self):
        text = self.dir / "notes.txt"
        text.write_text("this is not a model\n" * 100)
        self.refuse(3, ["inspect", text], "notes.txt")

    def test_truncated_shard(self):
        model = self.copy_model()
        shard = model / "model.safetensors"
        data = shard.read_bytes()
        for keep in (len(data) - 1, len(data) // 2, 100, 8, 3):
            shard.write_bytes(data[:keep])
            self.refuse(3, ["run", model, "-p", "x"], "model.safetensors")

    def test_native_file_truncated_or_altered(self):
        out = self.dir / "q.safetensors"
        self.accept("quantize", "builtin", "--method", "rtn", "-o", out)
        self.assertTrue(self.result("verify", out)["ok"])
        data = bytearray(out.read_bytes())
        data[-40000] ^= 1
        out.write_bytes(data)
        differences = self.result("verify", out, status=1)
        self.assertFalse(differences["ok"])
        self.assertEqual(len(differences["differences"]), 1)
        out.write_bytes(data[:len(data) // 2])
        self.refuse(3, ["run", out, "-p", "x"], "q.safetensors")

    def test_verify_needs_hashes(self):
        self.refuse(3, ["verify", "builtin"], "no hashes")


class Tensors(Case):
    def test_wrong_shape(self):
        def change(header, _):
            self.assertEqual(header[K_PROJ]["shape"], [128, 256])
            header[K_PROJ]["shape"] = [256, 128]

        self.refuse(3, ["run", self.change_tensors(change), "-p", "x"], K_PROJ, "[256, 128]", "[128, 256]")

    def test_missing_tensor(self):
        def change(header, data):
            begin, end = header.pop(Q_PROJ)["data_offsets"]
            del data[begin:end]
            for name, entry in header.items():
                if name != "__metadata__" and entry["data_offsets"][0] >= end:
                    entry["data_offsets"] = [at - (end - begin) for at in entry["data_offsets"]]

        model = self.change_tensors(change)
        self.refuse(3, ["run", model, "-p", "x"], Q_PROJ)
        self.refuse(3, ["quantize", model, "--method", "rtn", "-o", self.dir / "out"], Q_PROJ)
        self.assertFalse((self.dir / "out").exists())

    def test_nan_weight(self):
        def change(header, data):
            begin = header[Q_PROJ]["data_offsets"][0]
            at = begin + 2 * (7 * 256 + 5)  # row 7, column 5, bf16
            data[at:at + 2] = struct.pack("<H", 0x7fc0)

        model = self.change_tensors(change)
        for method in ("rtn", "nf4", "gptq"):
            self.refuse(3, ["quantize", model, "--method", method, "-o", self.dir / "out", "--calib-tokens", "1024"],
                        Q_PROJ, "7", "5")
            self.assertFalse((self.dir / "out").exists())

    def test_unknown_dtype(self):
        def change(header, _):
            header[Q_PROJ]["dtype"] = "Q9"

        self.refuse(3, ["run", self.change_tensors(change), "-p", "x"], "Q9")


class Configs(Case):
    def test_unknown_architecture(self):
        self.refuse(3, ["run", self.change_config(model_type="lama"), "-p", "x"], "lama", "llama")

    def test_unknown_tokenizer(self):
        model = self.copy_model()
        tokenizer = json.loads((model / "tokenizer.json").read_text())
        tokenizer["model"]["type"] = "Runes"
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        self.refuse(3, ["run", model, "-p", "x"], "Runes")
        self.refuse(3, ["tokenize", model, "-p", "x"], "Runes")

    def test_broken_config(self):
        model = self.copy_model()
        (model / "config.json").write_text("{\"model_type\": \"llama\",")
        self.refuse(3, ["run", model, "-p", "x"], "config.json")

    def test_senseless_config(self):
        for key, value in (("num_hidden_layers", -1), ("num_attention_heads", 0), ("hidden_size", 10**9), ("vocab_size", "many")):
            with self.subTest(key=key):
                self.refuse(3, ["run", self.change_config(**{key: value}), "-p", "x"])
                self.tearDown()
                self.setUp()


class Usage(Case):
    def test_wrong_usage(self):
        for arguments in ([], ["frobnicate"], ["run"], ["run", "builtin", "--no-such-option"], ["quantize", "builtin"],
                          ["run", "builtin", "-p", "x", "-n", "-5"], ["--threads", "zero", "info"],
                          ["perplexity", "builtin", "--protocol", "nonsense"], ["--compute", "slow", "info"],
                          ["--max-ram", "lots", "info"], ["run", "builtin", "-p", "x", "--top-p", "2"]):
            with self.subTest(arguments=arguments):
                self.refuse(2, arguments)

    def test_wrong_recipes(self):
        out = self.dir / "out"
        self.refuse(2, ["quantize", "builtin", "-o", out, "--method", "magic"], "magic", "gptq")
        self.refuse(2, ["quantize", "builtin", "-o", out, "--method", "rtn", "--bits", "11"], "bits", "11", "8")
        self.refuse(2, ["quantize", "builtin", "-o", out, "--method", "rtn:bits=four"], "four")
        self.refuse(2, ["quantize", "builtin", "-o", out, "--method", "rtn", "--set", "rtn.colour=red"], "colour")
        self.refuse(2, ["quantize", "builtin", "-o", out, "--method", "rtn", "--set", "gptq.damp=0.1"], "gptq.damp", "rtn")
        self.refuse(2, ["quantize", "builtin", "-o", out, "--method", "rtn", "--set", "nonsense"], "nonsense")
        self.refuse(2, ["quantize", "builtin", "-o", out, "--method", "rtn", "--format", "clay"], "clay", "native")
        self.refuse(2, ["sweep", "builtin", "--recipes", "rtn,magic"], "magic")
        self.assertFalse(out.exists())

    def test_bad_regex(self):
        self.refuse(2, ["quantize", "builtin", "-o", self.dir / "out", "--method", "rtn", "--overrides", "(=nf4"], "(")

    def test_bad_instruction_sets(self):
        self.refuse(2, ["--isa", "abacus", "info"], "abacus")
        import platform
        other = "neon_dotprod" if platform.machine() == "x86_64" else "avx2"
        self.refuse(4, ["--isa", other, "info"], other, "usable")
        self.refuse(4, ["info"], other, env={**os.environ, "NBL_FORCE_ISA": other})

    def test_bad_requests(self):
        requests = self.dir / "r.jsonl"
        requests.write_text('{"context":"a","continuation":" b"}\n{"context":"a"}\n')
        self.refuse(3, ["score", "builtin", "--requests", requests], "2", "continuation")
        requests.write_text('{"context_ids":[1],"continuation_ids":[999999]}\n')
        status, _, err = nibble("score", "builtin", "--requests", requests)
        self.assertIn(status, (2, 3))
        self.assertIn("999999", err)

    def test_bad_task(self):
        task = self.dir / "t.jsonl"
        task.write_text('{"context":"a","choices":["b","c"],"answer":2}\n')
        self.refuse(3, ["eval", "builtin", "--tasks", task], "1")


class Limits(Case):
    def test_memory_cap(self):
        self.refuse(4, ["quantize", "builtin", "--method", "gptq", "-o", self.dir / "out", "--max-ram", "2M"], "cap")
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_prompt_longer_than_the_context(self):
        status, _, err = nibble("run", "builtin", "-p", "word " * 50, "--context", "10")
        self.assertEqual(status, 4, err)

    def test_output_directory_absent(self):
        self.refuse(3, ["quantize", "builtin", "--method", "rtn", "-o", self.dir / "no" / "such" / "out"], "such")

    def test_output_directory_not_writable(self):
        closed = self.dir / "closed"
        closed.mkdir()
        closed.chmod(0o555)
        command = [NIBBLE, "quantize", "builtin", "--method", "rtn", "-o", str(closed / "out")]
        if os.geteuid() == 0:  # root writes everywhere unless it gives its capabilities up
            command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
        done = subprocess.run(command, capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn(b"closed", done.stderr)
        self.assertEqual(list(closed.iterdir()), [])

    def test_disk_full(self):
        out = self.dir / "out.safetensors"
        out.write_bytes(b"an older file")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        status, _, err = nibble("quantize", "builtin", "--method", "rtn", "-o", out, preexec_fn=limit)
        self.assertEqual(status, 4, err)
        self.assertIn("nibble: ", err)
        self.assertEqual([p.name for p in self.dir.iterdir()], ["out.safetensors"])
        self.assertEqual(out.read_bytes(), b"an older file")


class Interruption(Case):
    def interrupt(self, arguments, which=signal.SIGINT, after=0.4):
        process = subprocess.Popen([NIBBLE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(after)
        self.assertIsNone(process.poll(), "the job was over before it could be interrupted")
        process.send_signal(which)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, err)
        return out, err

    def long_text(self):
        text = self.dir / "long.txt"
        text.write_text((DATA / "calibration.txt").read_text() * 12)
        return text

    def test_quantize(self):
        out = self.dir / "out.safetensors"
        text = self.long_text()
        for which in (signal.SIGINT, signal.SIGTERM):
            _, err = self.interrupt(["quantize", "builtin", "--method", "gptq", "-o", out, "--calib", text, "--calib-tokens", 10**6], which)
            self.assertIn(b"cancelled", err)
            self.assertEqual([p.name for p in self.dir.iterdir()], ["long.txt"])

    def test_quantize_keeps_the_older_file(self):
        out = self.dir / "out.safetensors"
        self.accept("quantize", "builtin", "--method", "rtn", "-o", out)
        before = out.read_bytes()
        self.interrupt(["quantize", "builtin", "--method", "awq", "-o", out, "--calib", self.long_text(), "--calib-tokens", 10**6])
        self.assertEqual(out.read_bytes(), before)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["long.txt", "out.safetensors"])

    def test_perplexity(self):
        self.interrupt(["perplexity", "builtin", "--compute", "exact", "--isa", "scalar", "--threads", 1, "--text", self.long_text()])

    def test_run(self):
        out, _ = self.interrupt(["run", "builtin", "-p", "It was", "-n", 10**6, "--ignore-eos", "--context", 10**6], after=0.6)
        self.assertTrue(out.decode("utf-8").strip())

    def test_a_mapped_file_that_is_cut_short_is_bad_input(self):
        model = self.dir / "model\x1b[31m.safetensors"
        for more, wanted in (([], 3), (["--no-mmap"], 130)):
            self.accept("quantize", "builtin", "--method", "rtn", "-o", model)
            process = subprocess.Popen([NIBBLE, "run", str(model), "-p", "It was", "-n", str(10**6), "--ignore-eos", "--context", str(10**6), *more],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertTrue(process.stdout.read(1))
            os.truncate(model, 4096)
            if more:
                time.sleep(0.3)
                self.assertIsNone(process.poll(), "what was read whole is still there")
                process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, wanted, err)
            if not more:
                self.assertIn(b"/model?[31m.safetensors could not be read any more", err)
                self.assertIn(b"--no-mmap", err)
                self.assertEqual(err.count(b"nibble: "), 1)

    def test_sweep_removes_its_scratch(self):
        env = {**os.environ, "TMPDIR": str(self.dir)}
        process = subprocess.Popen([NIBBLE, "sweep", "builtin", "--recipes", "gptq,awq"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.4)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(list(self.dir.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
