"""nibble eval against lm-evaluation-harness with the same weights in transformers float32: token ids of every request, log-likelihoods,
metrics and standard errors; and the prompts of chat models. Needs NIBBLE_LM_EVAL_PYTHON, a Python with lm_eval, transformers and
torch, and the shared data and models. NIBBLE_LM_EVAL_KEEP names a folder that keeps what lm_eval answered, for the next run."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NIBBLE = os.environ.get("NIBBLE_COMMAND", str(ROOT / "build" / "release" / "bin" / "nibble"))
PYTHON = os.environ.get("NIBBLE_LM_EVAL_PYTHON")
SHARED = pathlib.Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared"))
SCORED = ("hellaswag,arc_easy,arc_challenge,piqa,winogrande,lambada_openai,mmlu_abstract_algebra,mmlu_astronomy,mmlu_world_religions,"
          "truthfulqa_mc1,truthfulqa_mc2,bbq")


def smollm2():
    found = subprocess.run([str(ROOT / "scripts" / "fetch-smollm2.sh")], capture_output=True, text=True)
    return found.stdout.strip().splitlines()[-1] if found.returncode == 0 and found.stdout.strip() else None


@unittest.skipUnless(PYTHON, "NIBBLE_LM_EVAL_PYTHON names no Python with lm_eval")
@unittest.skipUnless((SHARED / "data").is_dir(), "the shared data is not there")
class AgainstLmEval(unittest.TestCase):
    def reference(self, model, arguments, output):
        """What lm_eval answered, kept for the next run where a folder is named."""
        keep = os.environ.get("NIBBLE_LM_EVAL_KEEP")
        key = hashlib.sha256(json.dumps([pathlib.Path(model).name, *arguments]).encode()).hexdigest()[:24]
        kept = pathlib.Path(keep) / f"{key}.json" if keep else None
        if kept is not None and kept.exists():
            shutil.copyfile(kept, output)
            return
        done = subprocess.run([PYTHON, str(ROOT / "tests/evaluation/lm_eval_reference.py"), str(model), *arguments, "--output", str(output)],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(output, kept)

    def run_both(self, model, tasks, limit, shots=None, extra=(), prompts_only=False, data=SHARED / "data"):
        """`data`: the folder that nibble reads."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            common = ["--tasks", tasks, "--limit", str(limit)]
            common += ["--num-fewshot", str(shots)] if shots is not None else []
            common += list(extra)
            reference = folder / "reference.json"
            theirs = common[:4] + ["--data", str(SHARED / "data")] + common[4:]
            self.reference(model, theirs + ["--prompts-only", "--bootstrap", "0"] * prompts_only, reference)
            ours = folder / "ours.json"
            done = subprocess.run([NIBBLE, "eval", str(model), *common, "--data", str(data), "--compute", "fast" if prompts_only else "exact", "--log-tokens",
                                   "--json", str(ours), "--quiet"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            return json.loads(reference.read_text()), json.loads(ours.read_text())

    def check_metrics(self, reference, ours):
        for task, row in reference["results"].items():
            for key, value in row.items():
                if "," not in key:
                    continue
                with self.subTest(task=task, metric=key):
                    found = ours["results"][task][key]
                    if isinstance(value, str) or value != value:
                        self.assertIn(found, ("N/A", None))
                    else:
                        self.assertAlmostEqual(found, value, delta=5e-5 * max(1.0, abs(value)))
            self.assertEqual(ours["n-shot"][task], reference["n-shot"][task])
            self.assertEqual(float(ours["versions"][task]), float(reference["versions"][task]))
            self.assertEqual(ours["higher_is_better"][task], reference["higher_is_better"][task])

    def check_scored(self, model, shots=None, tasks=SCORED, limit=100, extra=(), data=SHARED / "data"):
        reference, ours = self.run_both(model, tasks, limit, shots, extra, data=data)
        for task, rows in reference["samples"].items():
            with self.subTest(task=task):
                self.assertEqual(len(rows), len(ours["samples"][task]))
                for a, b in zip(rows, ours["samples"][task]):
                    self.assertEqual([list(p.values()) for p in b["arguments"].values()], a["arguments"])
                    self.assertEqual([[t["context_ids"], t["continuation_ids"]] for t in b["token_ids"]], a["ids"])
                    for x, y, ids in zip(a["resps"], b["resps"], a["ids"]):
                        self.assertAlmostEqual(x[0][0], float(y[0][0]), delta=1e-3 * max(1, len(ids[1])))
        self.check_metrics(reference, ours)

    def check_generated(self, model, tasks, limit, shots=0, extra=(), data=SHARED / "data"):
        """Texts equal but where two tokens were as good as equally likely: nearly all of them."""
        reference, ours = self.run_both(model, tasks, limit, shots, ["--max-gen-toks", "64", *extra], data=data)
        for task, rows in reference["samples"].items():
            for a, b in zip(rows, ours["samples"][task]):
                self.assertEqual(next(iter(b["arguments"].values()))["arg_0"], a["arguments"][0][0])
            theirs = {(r["doc_id"], r["filter"]): r["resps"][0][0] for r in rows}
            found = {(r["doc_id"], r["filter"]): r["resps"][0][0] for r in ours["samples"][task]}
            self.assertEqual(theirs.keys(), found.keys())
            same = sum(theirs[k] == found[k] for k in theirs)
            self.assertGreaterEqual(same, 0.95 * len(theirs), task)
            if same == len(theirs):
                self.check_metrics({**reference, "results": {task: reference["results"][task]}}, ours)

    def test_generated(self):
        self.check_generated(SHARED / "models" / "prose-28m", "gsm8k", 20)
        self.check_generated(SHARED / "models" / "code-11m", "code2text_ruby", 10)

    def test_prose_28m(self):
        self.check_scored(SHARED / "models" / "prose-28m")

    def test_smollm2(self):
        """A subset: transformers takes a second a request."""
        model = smollm2()
        if model is None:
            self.skipTest("SmolLM2 cannot be fetched")
        self.check_scored(model, tasks="hellaswag,arc_easy,winogrande,lambada_openai,mmlu_astronomy,truthfulqa_mc1", limit=10)

    def test_smollm2_in_chats(self):
        """Its chat template, with a system message, examples, and examples as turns: requests, answers, metrics, written texts."""
        model = smollm2()
        if model is None:
            self.skipTest("SmolLM2 cannot be fetched")
        chat, system, turns = ["--apply-chat-template"], ["--system-instruction", "Answer in one word."], ["--fewshot-as-multiturn"]
        scored = "arc_easy,piqa,winogrande,mmlu_astronomy,hellaswag"
        with tempfile.TemporaryDirectory() as files:
            done = subprocess.run([PYTHON, str(ROOT / "tests/evaluation/lm_eval_data.py"), "--data", str(SHARED / "data"), "--tasks",
                                   scored + ",gsm8k", "--write", files], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            for shots, options in ((0, chat), (2, [*chat, *system]), (2, [*chat, *system, *turns]), (2, system)):
                with self.subTest(shots=shots, options=options):
                    self.check_scored(model, shots, scored, 6, options, files)
            for shots, options in ((0, [*chat, *system]), (2, [*chat, *turns])):
                with self.subTest(written=shots):
                    self.check_generated(model, "gsm8k", 6, shots, options, files)

    def check_prompts(self, tasks, shots, *options):
        model = smollm2()
        if model is None:
            self.skipTest("SmolLM2 cannot be fetched")
        reference, ours = self.run_both(model, tasks, 4, shots, [*options, "--max-gen-toks", "1"], prompts_only=True)
        for task, rows in reference["samples"].items():
            found = ours["samples"][task]
            self.assertEqual(len(found), len(rows))
            for a, b in zip(rows, found):
                with self.subTest(task=task, document=a["doc_id"]):
                    theirs = [[text for text in pair if text is not None] for pair in a["arguments"]]
                    self.assertEqual([list(p.values()) for p in b["arguments"].values()], theirs)

    def test_prompts_of_chat_models(self):
        tasks = "hellaswag,arc_easy,piqa,lambada_openai,mmlu_astronomy,truthfulqa_mc1,gsm8k"
        chat, system, turns = ["--apply-chat-template"], ["--system-instruction", "Answer in one word."], ["--fewshot-as-multiturn"]
        self.check_prompts(tasks, 0, *chat)
        self.check_prompts(tasks, 0, *chat, *system)
        examples = "mmlu_astronomy,mmlu_abstract_algebra"  # of the other tasks there are no examples at hand
        self.check_prompts(examples, 3, *chat, *system)
        self.check_prompts(examples, 3, *chat, *system, *turns)
        self.check_prompts(examples, 2, *system)

    def test_prompts_with_examples(self):
        """Every task of the harness that can show examples or whose data is made up here: prompts of several seeds and numbers of examples."""
        shown = ("hellaswag,arc_easy,arc_challenge,piqa,winogrande,openbookqa,boolq,copa,commonsense_qa,lambada_openai,gsm8k,mmlu_astronomy,"
                 "mmlu_management,mmlu_formal_logic,code2text_go,code2text_java,code2text_javascript,code2text_php,code2text_python,mmlu_pro_law,"
                 "mmlu_pro_computer_science,ceval-valid_law,ceval-valid_physician,hendrycks_math_algebra,hendrycks_math_precalc,"
                 "leaderboard_musr_team_allocation,leaderboard_musr_murder_mysteries,bigbench_code_line_description_multiple_choice,"
                 "bigbench_code_line_description_generate_until")
        never = "truthfulqa_mc1,truthfulqa_mc2,truthfulqa_gen,ifeval,bbh_zeroshot_snarks,bbh_zeroshot_dyck_languages"
        model = SHARED / "models" / "prose-3.7m"
        with tempfile.TemporaryDirectory() as files:
            done = subprocess.run([PYTHON, str(ROOT / "tests/evaluation/lm_eval_data.py"), "--data", str(SHARED / "data"), "--tasks",
                                   f"{shown},{never}", "--write", files], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            for shots, seed in ((None, 1234), (1, 1234), (3, 42), (5, 7)):
                with tempfile.TemporaryDirectory() as folder:
                    folder = pathlib.Path(folder)
                    common = ["--tasks", f"{shown},{never}", "--limit", "6", "--max-gen-toks", "1"] + (["--num-fewshot", str(shots)] if shots else [])
                    self.reference(model, [*common, "--data", str(SHARED / "data"), "--fewshot-seed", str(seed), "--prompts-only", "--bootstrap", "0"],
                                   folder / "reference.json")
                    done = subprocess.run([NIBBLE, "eval", str(model), *common, "--data", files, "--set", f"fewshot_seed={seed}", "--set", "bootstrap=0",
                                           "--log-tokens", "--json", str(folder / "ours.json"), "--quiet"], capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                    reference, ours = (json.loads((folder / f"{who}.json").read_text()) for who in ("reference", "ours"))
                    for task, rows in reference["samples"].items():
                        found = {row["doc_id"]: row for row in ours["samples"][task]}
                        for row in rows:
                            with self.subTest(task=task, shots=shots, document=row["doc_id"]):
                                theirs = [[text for text in pair if text is not None] for pair in row["arguments"]]
                                self.assertEqual([list(p.values()) for p in found[row["doc_id"]]["arguments"].values()], theirs)
                        self.assertEqual(ours["n-shot"][task], reference["n-shot"][task])

    def test_mmlu_five_shot(self):
        self.check_scored(SHARED / "models" / "prose-28m", shots=5, tasks="mmlu_astronomy,mmlu_abstract_algebra", limit=20)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + [a for a in sys.argv[1:]])
