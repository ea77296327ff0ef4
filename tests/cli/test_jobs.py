"""Long quantizations: killed and resumed, within a memory cap, with a log."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import unittest

from support import DATA, MODEL, NIBBLE, Case, nibble

CALIBRATION = DATA / "calibration.txt"


class Jobs(Case):
    def command(self, output, *extra, text=CALIBRATION, tokens=32768, method="gptq:bits=3,group=64"):
        return ["quantize", MODEL, "-o", output, "--method", method, "--calib", text,
                "--calib-tokens", tokens, "--quiet", *extra]

    def leftovers(self):
        return sorted(p.name for p in self.dir.iterdir())


class Resume(Jobs):
    def kill_and_resume(self, times, seed):
        reference = self.dir / "reference.safetensors"
        start = time.monotonic()
        self.accept(*self.command(reference, "--threads", 2))
        whole = time.monotonic() - start
        want = reference.read_bytes()
        output = self.dir / "out.safetensors"
        chance = random.Random(seed)
        killed = resumed = 0
        for run in range(times):
            moment = chance.uniform(0.02, 1.0) * whole
            if killed == 0 and run + 1 == times:
                moment = 0.02  # the machine was slower when the whole was measured
            threads = chance.choice([1, 2, 3])
            begun = time.monotonic()
            job = subprocess.Popen([NIBBLE, *map(str, self.command(output, "--threads", threads, "--resume"))],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                job.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                job.send_signal(signal.SIGKILL)
                killed += 1
            else:
                whole = min(whole, time.monotonic() - begun)
            job.wait()
            if chance.random() < 0.3 and not output.exists():
                continue  # killed again before it is finished
            out = self.result(*self.command(output, "--threads", chance.choice([1, 2, 3]), "--resume"), timeout=600)
            resumed += out["resumed_layers"] > 0
            self.assertEqual(output.read_bytes(), want, f"killed after {moment:.3f} s")
            self.assertEqual(self.leftovers(), ["out.safetensors", "reference.safetensors"])
            output.unlink()
        print(f"{times} runs, {killed} killed, {resumed} resumed from a layer", file=sys.stderr)
        self.assertGreater(killed, 0)

    def test_a_few_random_moments(self):
        self.kill_and_resume(4, 1)

    @unittest.skipUnless(os.environ.get("NIBBLE_LONG"), "SKIPPED: minutes; set NIBBLE_LONG=1")
    def test_fifty_random_moments(self):
        self.kill_and_resume(50, 2)

    def test_interrupted_keeps_its_journal_only_when_it_may_be_resumed(self):
        output = self.dir / "out.safetensors"
        for extra, left in ((["--resume"], ["out.safetensors.journal"]), ([], [])):
            job = subprocess.Popen([NIBBLE, *map(str, self.command(output, *extra, tokens=131072))],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            job.send_signal(signal.SIGINT)
            self.assertEqual(job.wait(), 130)
            self.assertEqual(self.leftovers(), left)

    def test_another_job(self):
        output = self.dir / "out.safetensors"
        job = subprocess.Popen([NIBBLE, *map(str, self.command(output, "--resume"))],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal = self.dir / "out.safetensors.journal"
        for _ in range(600):
            if journal.exists() and journal.stat().st_size > 8:
                break
            time.sleep(0.05)
        job.kill()
        job.wait()
        self.refuse(3, self.command(output, "--resume", tokens=8192), journal, "another job")
        journal.write_bytes(b"something else")
        self.refuse(3, self.command(output, "--resume"), journal, "records")
        self.assertFalse(output.exists())


class Memory(Jobs):
    def peak(self, *extra, tokens=32768, **more):
        text = self.dir / "long.txt"
        text.write_bytes(CALIBRATION.read_bytes() * 4)  # activations are to be what the memory goes to
        output = self.dir / "out.safetensors"
        code = ("import resource, subprocess, sys\n"
                "done = subprocess.run(sys.argv[1:], capture_output=True)\n"
                "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n"
                "print(done.stderr.decode())")
        done = subprocess.run([sys.executable, "-c", code, NIBBLE, *map(str, self.command(output, *extra, text=text, tokens=tokens, **more))],
                              capture_output=True, text=True, timeout=600)
        first, *rest = done.stdout.splitlines()
        status, peak = map(int, first.split())
        return status, peak, "\n".join(rest), output.read_bytes() if output.exists() else None

    def test_caps_are_kept_and_the_bytes_are_the_same(self):
        status, free, text, want = self.peak()
        self.assertEqual(status, 0, text)
        # Too small is refused with the smallest that works, before any work; that one works.
        status, _, text, _ = self.peak("--max-ram", "16M")
        self.assertEqual(status, 4, text)
        self.assertIn("smallest cap that works", text)
        smallest = int(text.split("the smallest cap that works is ")[1].split(" MB")[0]) * 1000000
        for cap in (smallest, (smallest + free) // 2, free + 200000000):
            (self.dir / "out.safetensors").unlink(missing_ok=True)
            status, peak, text, got = self.peak("--max-ram", cap)
            self.assertEqual(status, 0, text)
            self.assertLessEqual(peak, cap)
            self.assertEqual(got, want)
        print(f"uncapped {free / 1e6:.0f} MB, smallest cap {smallest / 1e6:.0f} MB", file=sys.stderr)

    def test_gradients_stay_within_the_cap_too(self):
        job = {"tokens": 8192, "method": "trellis:bits=2,output_tokens=8192"}
        _, _, text, want = self.peak(**job)
        self.assertIsNotNone(want, text)
        _, _, text, _ = self.peak("--max-ram", "16M", **job)
        smallest = int(text.split("the smallest cap that works is ")[1].split(" MB")[0]) * 1000000
        (self.dir / "out.safetensors").unlink()
        status, peak, text, got = self.peak("--max-ram", smallest, **job)
        self.assertEqual(status, 0, text)
        self.assertLessEqual(peak, smallest)
        self.assertEqual(got, want)


class Reproduce(Jobs):
    def test_the_same_bytes_again(self):
        output = self.dir / "out.safetensors"
        self.accept(*self.command(output, tokens=4096))
        out = self.result("verify", output, "--reproduce", "--original", MODEL)
        self.assertEqual(out, {"ok": True, "differences": []})
        self.assertEqual(self.leftovers(), ["out.safetensors"])

    def test_another_seed_or_text_is_found_out(self):
        output = self.dir / "out.safetensors"
        self.accept(*self.command(output, tokens=4096))
        text = self.dir / "other.txt"
        text.write_text(CALIBRATION.read_text(encoding="utf-8")[5000:], encoding="utf-8")
        status, out, _ = nibble("verify", output, "--reproduce", "--original", MODEL, "--calib", text, "--quiet", "--json", "-")
        self.assertEqual(status, 1)
        self.assertFalse(json.loads(out)["ok"])
        self.assertTrue(json.loads(out)["differences"])

    def test_uncalibrated_and_in_a_directory(self):
        output = self.dir / "out"
        self.accept("quantize", MODEL, "-o", output, "--method", "rtn:bits=4,group=64", "--format", "gptq",
                    "--overrides", r".*down_proj\.weight=", "--quiet")
        self.assertTrue(self.result("verify", output, "--reproduce", "--original", MODEL)["ok"])
        self.assertTrue(self.result("verify", f"{output}/", "--reproduce", "--original", MODEL)["ok"])

    def test_what_is_missing_is_named(self):
        output = self.dir / "out.safetensors"
        self.accept(*self.command(output, tokens=4096))
        status, _, error = nibble("verify", output, "--reproduce")
        self.assertEqual(status, 3)
        self.assertIn("--original", error)


class Log(Jobs):
    def test_events_are_json_lines(self):
        log, output = self.dir / "events.jsonl", self.dir / "out.safetensors"
        report = self.result(*self.command(output, "--log", log))
        events = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual(events[0]["event"], "begin")
        self.assertEqual(events[-1]["event"], "done")
        self.assertEqual(events[-1]["output_sha256"], report["output_sha256"])
        layers = [e["name"] for e in events if e["event"] == "layer"]
        self.assertEqual(layers, [layer["name"] for layer in report["layers"]])
        stages = {e["stage"] for e in events if e["event"] == "progress"}
        self.assertLessEqual({"calibrate", "quantize", "write"}, stages)

    def test_a_failure_is_logged(self):
        log = self.dir / "events.jsonl"
        status, _, _ = nibble(*self.command(self.dir / "no" / "where.safetensors", "--log", log))
        self.assertNotEqual(status, 0)
        self.assertEqual(json.loads(log.read_text().splitlines()[-1])["event"], "failed")


class Calibration(Jobs):
    def test_the_model_writes_its_own_text(self):
        hashes = set()
        for threads in (1, 2):
            output = self.dir / f"{threads}.safetensors"
            out = self.result("quantize", MODEL, "-o", output, "--method", "gptq:bits=4,group=64", "--calib", "self",
                              "--calib-tokens", 2048, "--threads", threads, "--quiet")
            hashes.add(out["output_sha256"])
        self.assertEqual(len(hashes), 1)
        inspected = output.read_bytes()
        self.assertIn(b"nibble", inspected)

    def test_one_token_is_too_few_and_two_are_enough(self):
        text = self.dir / "short.txt"
        text.write_text("a")
        self.refuse(3, ["quantize", MODEL, "-o", self.dir / "o", "--method", "gptq", "--calib", text], "at least 2")
        text.write_text("It was")
        self.accept("quantize", MODEL, "-o", self.dir / "o", "--method", "gptq", "--calib", text, "--quiet")

    def tokens_used(self, *extra, model=MODEL):
        out = self.result("quantize", model, "-o", self.dir / "o", "--method", "gptq:bits=4,group=64,damp=auto", "--calib", "builtin",
                          "--quiet", *extra)
        notes = {note for layer in out["layers"] for note in layer["notes"]}
        return {int(note.split(" for ")[1].split()[0]) for note in notes if note.startswith("damping")}

    def test_as_many_tokens_as_asked_for(self):
        self.assertEqual(self.tokens_used("--calib-tokens", 96), {96})
        self.assertEqual(self.tokens_used("--calib-tokens", 1024), {1024})
        self.assertEqual(self.tokens_used("--calib-tokens", 256, "--set", "calibration.length=64"), {256})
        self.assertEqual(self.tokens_used("--set", "calibration.length=32", "--set", "calibration.windows=5"), {160})

    def test_windows_are_no_longer_than_the_model_has_positions(self):
        model = self.dir / "short"
        shutil.copytree(MODEL, model)
        config = json.loads((model / "config.json").read_text())
        config["max_position_embeddings"] = 100
        (model / "config.json").write_text(json.dumps(config))
        self.assertEqual(self.tokens_used("--calib-tokens", 1024, model=model), {1000})


class Targets(Jobs):
    def test_what_a_method_keeps_beside_its_codes_is_part_of_the_size(self):
        # One measurement, made with rtn's scales, serves all methods.
        for recipe, target, slack in (("rtn", 3.5, 0), ("rtn:sym=true", 3.5, 0), ("hqq", 3.5, 0), ("spqr", 4.0, 0.05),
                                      ("gptq:scale_bits=5,alpha=0,beta=0,mse=0", 3.5, 0.01)):
            with self.subTest(recipe):
                out = self.result("quantize", MODEL, "-o", self.dir / "o", "--method", recipe, "--target-bpw", target, "--calib", "builtin",
                                  "--calib-tokens", 512, "--measurement", self.dir / "measured.json", "--quiet")
                self.assertLessEqual(out["bits_per_weight"], target * (1 + slack))
                self.assertGreater(out["bits_per_weight"], target * 0.97)


if __name__ == "__main__":
    unittest.main()
