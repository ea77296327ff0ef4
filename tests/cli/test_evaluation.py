"""nibble eval: every task on records of the published schema, its files, its comparisons, what is wrong with input."""
import csv
import io
import json
import os
import pathlib
import pty
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

from support import DATA, MODEL, NIBBLE, ROOT, Case, nibble, read_safetensors

LETTERS = "ABCDEFGHIJ"


def jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def dozen(make):
    return [make(i) for i in range(12)]


def write_data(folder):
    """A dozen records of one's own for each task whose data is not at hand, in the schema that its publisher gave it."""
    jsonl(folder / "mmlu_pro/test.jsonl", dozen(lambda i: {
        "question_id": i, "question": f"What is {i} plus {i}?", "options": [str(2 * i + k) for k in range(10)], "answer": "A",
        "answer_index": 0, "cot_content": "", "category": "math", "src": "own"}))
    jsonl(folder / "mmlu_pro/validation.jsonl", dozen(lambda i: {
        "question_id": i, "question": f"What is {i} plus 1?", "options": [str(i + k) for k in range(10)], "answer": "B", "answer_index": 1,
        "cot_content": f"A: Let's think step by step. {i} plus 1 is {i + 1}. The answer is (B).", "category": "math", "src": "own"}))
    for split in ("val", "dev"):
        jsonl(folder / f"ceval/{split}/logic.jsonl", dozen(lambda i: {
            "id": i, "question": f"{i}加{i}等于____", "A": str(2 * i), "B": str(2 * i + 1), "C": "零", "D": "不知道", "answer": "A",
            "explanation": ""}))
    jsonl(folder / "gpqa/gpqa_main.jsonl", dozen(lambda i: {
        "Question": f"Which number follows {i}?", "Correct Answer": str(i + 1), "Incorrect Answer 1": str(i + 2),
        "Incorrect Answer 2": str(i + 3), "Incorrect Answer 3": f"{i} [title]"}))
    for split in ("murder_mysteries", "object_placements", "team_allocation"):
        jsonl(folder / f"musr/{split}.jsonl", dozen(lambda i: {
            "narrative": f"Ann has {i} apples. Bob's are more.", "question": "Who has more?", "choices": "['Ann', \"Bob's friend\", 'Bob']",
            "answer_index": 2, "answer_choice": "Bob"}))
    jsonl(folder / "hendrycks_math/algebra/test.jsonl", dozen(lambda i: {
        "problem": f"What is half of ${i}$?", "level": "Level 1", "type": "Algebra", "solution": f"It is $\\boxed{{\\frac{{{i}}}{{2}}}}$."}))
    jsonl(folder / "bbh/boolean_expressions.jsonl", dozen(lambda i: {"input": f"not ( {i % 2 == 0} ) is", "target": str(i % 2 != 0)}))
    jsonl(folder / "bbh/object_counting.jsonl", dozen(lambda i: {"input": f"I have {i} flutes. How many flutes do I have?", "target": str(i)}))
    jsonl(folder / "bbh/word_sorting.jsonl", dozen(lambda i: {"input": "Sort the following words: List: pear apple", "target": "apple pear"}))
    jsonl(folder / "cnn_dailymail/test.jsonl", dozen(lambda i: {
        "article": f"The town of X has {i} mills. They grind corn.", "highlights": f"X has {i} mills .\nThey grind corn .", "id": str(i)}))
    jsonl(folder / "xsum/test.jsonl", dozen(lambda i: {"document": f"It rained for {i} days.", "summary": "It rained.", "id": str(i)}))
    jsonl(folder / "bigbench/code_line_description.jsonl", dozen(lambda i: {
        "inputs": f"Python code:\nprint({i})\n\n  choice: prints {i}\n  choice: reads {i}\nEnglish language description:",
        "targets": [f"prints {i}"], "multiple_choice_targets": [f"prints {i}", f"reads {i}"], "multiple_choice_scores": [1, 0]}))
    jsonl(folder / "humaneval/test.jsonl", dozen(lambda i: {
        "task_id": f"Own/{i}", "prompt": f'def f{i}():\n    """ Return {i}. """\n', "canonical_solution": f"    return {i}\n",
        "test": f"def check(candidate):\n    assert candidate() == {i}\n", "entry_point": f"f{i}"}))
    jsonl(folder / "ifeval/train.jsonl", dozen(lambda i: {
        "key": i, "prompt": "Write without commas.", "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{"num_words": None}, {"relation": "less than", "num_words": 1000}]}))
    jsonl(folder / "gsm8k/test.jsonl", dozen(lambda i: {"question": f"What is {i} and {i}?", "answer": f"It is {2 * i}.\n#### {2 * i}"}))
    jsonl(folder / "gsm8k/train.jsonl", dozen(lambda i: {"question": f"What is {i} and 1?", "answer": f"It is {i + 1}.\n#### {i + 1}"}))
    jsonl(folder / "mt_bench/question.jsonl", dozen(lambda i: {
        "question_id": i, "category": "writing", "turns": [f"Write {i} words.", "Now shorter."]}))
    jsonl(folder / "followbench/style_constraints.json", dozen(lambda i: {
        "example_id": i, "category": "style", "source": "own", "instruction": f"Say {i} kindly.", "level": i % 3, "target": ""}))
    jsonl(folder / "followbench/example_constraints.json", dozen(lambda i: {
        "example_id": i, "category": "example", "source": "own", "instruction": f"{i} ->", "level": 1, "target": f"<{i}>"}))
    (folder / "flores").mkdir()
    for code, line in (("eng_Latn", "The cat sleeps."), ("deu_Latn", "Die Katze schläft."), ("zho_Hans", "猫在睡觉。")):
        (folder / f"flores/{code}.devtest").write_text((line + "\n") * 12, encoding="utf-8")


class Tasks(Case):
    def setUp(self):
        super().setUp()
        self.data = self.dir / "data"
        write_data(self.data)

    def evaluate(self, tasks, *options, model="builtin", **more):
        return self.result("eval", model, "--tasks", tasks, "--data", self.data, "--max-gen-toks", "8", "--threads", "1", *options, **more)

    def test_scored_tasks(self):
        tasks = ("ceval-valid_logic,gpqa_main_zeroshot,leaderboard_musr,bigbench_code_line_description_multiple_choice")
        j = self.evaluate(tasks, "--log-samples", self.dir / "samples")
        for task in ("ceval-valid_logic", "gpqa_main_zeroshot", "leaderboard_musr_team_allocation"):
            self.assertEqual(j["n-samples"][task]["effective"], 12)
            self.assertTrue(0 <= j["results"][task]["acc_norm,none"] <= 1)
        self.assertEqual(list(j["groups"]), ["leaderboard_musr"])
        mean = sum(j["results"][f"leaderboard_musr_{s}"]["acc_norm,none"] for s in ("murder_mysteries", "object_placements", "team_allocation")) / 3
        self.assertAlmostEqual(j["groups"]["leaderboard_musr"]["acc_norm,none"], mean)
        self.assertEqual(j["configs"]["ceval-valid_logic"]["description"], "以下是中国关于逻辑学的单项选择题，请选出其中的正确答案。\n\n")
        samples = list((self.dir / "samples").rglob("samples_leaderboard_musr_team_allocation_*.jsonl"))
        row = json.loads(samples[0].read_text().splitlines()[0])
        self.assertIn("1 - Ann\n2 - Bob's friend\n3 - Bob\n\nAnswer:", row["arguments"]["gen_args_0"]["arg_0"])
        self.assertEqual(row["target"], "2")
        self.assertEqual(len(row["resps"]), 3)
        rows = [json.loads(line) for line in next((self.dir / "samples").rglob("samples_gpqa*")).read_text().splitlines()]
        self.assertGreater(len({r["target"] for r in rows}), 1)  # choices are shuffled

    def test_generating_tasks(self):
        tasks = ("mmlu_pro_math,hendrycks_math_algebra,bbh_zeroshot_boolean_expressions,bbh_zeroshot_object_counting,bbh_zeroshot_word_sorting,"
                 "cnn_dailymail_abisee,xsum,bigbench_code_line_description_generate_until,ifeval,gsm8k,flores_en-de,flores_en-zh")
        j = self.evaluate(tasks, "--num-fewshot", "0", "--limit", "4")
        expected = {"mmlu_pro_math": "exact_match,custom-extract", "hendrycks_math_algebra": "exact_match,none",
                    "bbh_zeroshot_object_counting": "exact_match,flexible-extract", "cnn_dailymail_abisee": "rouge2,none",
                    "xsum": "rougeL,none", "ifeval": "inst_level_loose_acc,none", "gsm8k": "exact_match,strict-match",
                    "flores_en-zh": "chrf++,none", "bigbench_code_line_description_generate_until": "exact_match,none"}
        for task, metric in expected.items():
            self.assertIn(metric, j["results"][task])
            self.assertEqual(j["n-samples"][task]["effective"], 4)
        self.assertEqual(j["configs"]["mmlu_pro_math"]["generation_kwargs"]["until"], ["Question:"])
        j = self.evaluate("mmlu_pro_math", "--limit", "1", "--log-samples", self.dir / "s")
        self.assertEqual(j["n-shot"]["mmlu_pro_math"], 5)
        row = json.loads(next((self.dir / "s").rglob("samples_*")).read_text().splitlines()[0])
        context = row["arguments"]["gen_args_0"]["arg_0"]
        self.assertEqual(context.count("Answer: Let's think step by step."), 6)
        self.assertTrue(context.startswith("The following are multiple choice questions (with answers) about math."))

    def test_spbleu_wants_a_sentencepiece_model(self):
        j = self.evaluate("flores_en-de", "--num-fewshot", "0", "--limit", "3")
        self.assertEqual(j["results"]["flores_en-de"]["spbleu,none"], "N/A")
        shutil.copy(ROOT / "tests/golden/tokenizers/small/sp-unigram.model", self.data / "flores/flores200_sacrebleu_tokenizer_spm.model")
        j = self.evaluate("flores_en-de", "--num-fewshot", "0", "--limit", "3", "--log-samples", self.dir / "s")
        self.assertTrue(0 <= j["results"]["flores_en-de"]["spbleu,none"] <= 100)
        self.assertEqual(j["results"]["flores_en-de"]["spbleu_flores101,none"], "N/A")
        row = json.loads(next((self.dir / "s").rglob("samples_*")).read_text().splitlines()[0])
        self.assertIn("spbleu", row["metrics"])

    def test_judged_tasks(self):
        verdicts, cache = self.dir / "verdicts.jsonl", self.dir / "cache"
        tasks = "mt_bench,followbench_style,followbench_example"
        j = self.evaluate(tasks, "--log-samples", self.dir / "s", "--cache", cache)
        self.assertEqual(j["results"]["mt_bench"]["judge_score,none"], "N/A")
        self.assertIn("exact_match,none", j["results"]["followbench_example"])
        self.assertEqual(j["n-samples"]["followbench_style"]["effective"], 8)
        rows = [json.loads(r) for r in next((self.dir / "s").rglob("samples_mt_bench*")).read_text().splitlines()]
        self.assertEqual([len(r["resps"][0]) for r in rows], [2] * 12)
        jsonl(verdicts, [{"task": "mt_bench", "doc_id": i, "score": i} for i in range(12)])
        j = self.evaluate(tasks, "--verdicts", verdicts, "--cache", cache)
        self.assertEqual(j["results"]["mt_bench"]["judge_score,none"], 5.5)
        self.assertEqual(j["n-samples"]["mt_bench"]["cached"], 12)
        verdicts.write_text('{"task": "mt_bench", "doc_id": 1}\n')
        self.refuse(3, ["eval", "builtin", "--tasks", "mt_bench", "--data", self.data, "--max-gen-toks", "4", "--verdicts", verdicts], "verdict 1", "score")

    def test_answers_do_not_depend_on_the_batch(self):
        answers = []
        for batch in ("1", "5"):
            self.evaluate("gsm8k", "--num-fewshot", "1", "--batch", batch, "--compute", "exact", "--log-samples", self.dir / batch)
            rows = next((self.dir / batch).rglob("samples_*")).read_text().splitlines()
            answers.append([json.loads(r)["resps"] for r in rows])
        self.assertEqual(*answers)

    def test_programs_run_only_when_allowed(self):
        self.refuse(2, ["eval", "builtin", "--tasks", "humaneval", "--data", self.data], "humaneval", "--confirm-run-unsafe-code")
        j = self.evaluate("humaneval", "--limit", "2", "--confirm-run-unsafe-code")
        self.assertIn("pass@1,create_test", j["results"]["humaneval"])

    def test_a_missing_file_names_what_fetches_it(self):
        self.refuse(3, ["eval", "builtin", "--tasks", "hellaswag", "--data", self.data], "hellaswag/validation.jsonl", "python -m nibble.data hellaswag")
        self.refuse(3, ["eval", "builtin", "--tasks", "hellaswagg", "--data", self.data], "hellaswagg", "arc_easy")
        status, out, err = nibble("eval", "builtin", "--tasks", "hellaswag,ceval-valid_logic", "--data", self.data, "--skip-missing", "--json", "-")
        self.assertEqual(status, 0, err)
        j = json.loads(out)
        self.assertEqual(list(j["results"]), ["ceval-valid_logic"])
        self.assertEqual([s["task"] for s in j["skipped"]], ["hellaswag"])

    def test_tables_files_and_pairs(self):
        recipe = self.dir / "nf4.safetensors"
        self.accept("quantize", "builtin", "-o", recipe, "--method", "nf4", "--threads", "1")
        html, table, samples = self.dir / "r.html", self.dir / "r.csv", self.dir / "samples"
        out = self.accept("eval", "builtin", recipe, "--tasks", f"{DATA / 'choice.jsonl'},ceval-valid_logic", "--data", self.data, "--threads", "1", "--html", html,
                          "--csv", table, "--log-samples", samples, "--json", self.dir / "r.json")
        self.assertIn("|Version|Filter|n-shot|", out.replace(" ", ""))
        j = json.loads((self.dir / "r.json").read_text())
        self.assertNotIn("samples", j)
        self.assertEqual({(p["task"], p["metric"]) for p in j["paired"]},
                         {(t, m) for t in ("choice", "ceval-valid_logic") for m in ("acc,none", "acc_norm,none")})
        for p in j["paired"]:
            self.assertLessEqual(p["ci95"][0], p["delta"] + 1e-12)
            self.assertLessEqual(p["delta"], p["ci95"][1] + 1e-12)
            self.assertGreaterEqual(p["holm_p"], p["mcnemar_p"])
            self.assertEqual(p["flips"], p["flips_to_right"] + p["flips_to_wrong"])
            self.assertLessEqual({"non_inferior", "margin", "requests_for_delta", "requests_for_margin"}, p.keys())
        self.assertEqual(len(list(samples.rglob("samples_choice_*.jsonl"))), 2)
        self.assertEqual(len(list(samples.rglob("results_*.json"))), 2)
        rows = list(csv.DictReader(io.StringIO(table.read_text())))
        self.assertEqual(len(rows), 8)
        page = html.read_text()
        for heading in ("Summary", "Tasks", "Differences", "Answers that changed", "Protocol"):
            self.assertIn(heading, page)
        self.assertNotRegex(page, r"(src|href)=")
        for key in ("nibble_version", "machine", "model_sha256", "config", "configs"):
            self.assertIn(key, j)
        self.assertEqual(len(j["configs"]["choice"]["data_sha256"]), 64)

    def test_a_run_goes_on_from_its_cache(self):
        cache = self.dir / "answers.sqlite"
        first = self.evaluate("ceval-valid_logic", "--limit", "5", "--cache", cache)
        again = self.evaluate("ceval-valid_logic", "--cache", cache)
        self.assertEqual(first["n-samples"]["ceval-valid_logic"]["cached"], 0)
        self.assertEqual(again["n-samples"]["ceval-valid_logic"]["cached"], 5)
        whole = self.evaluate("ceval-valid_logic", "--cache", cache)
        self.assertEqual(whole["n-samples"]["ceval-valid_logic"]["cached"], 12)
        for key, value in self.evaluate("ceval-valid_logic")["results"]["ceval-valid_logic"].items():
            self.assertEqual(whole["results"]["ceval-valid_logic"][key], value)
        with sqlite3.connect(cache) as db:
            self.assertEqual(db.execute("select count(*) from answers").fetchone(), (12,))
        db.close()
        cache.write_bytes(b"no database" * 1000)
        self.refuse(3, ["eval", "builtin", "--tasks", "ceval-valid_logic", "--data", self.data, "--cache", cache], "answers.sqlite")


def questions(path, count):
    """Multiple choice of one's own, each question of another length."""
    jsonl(path, [{"context": f"The {i}th of the men " + "walked on and on " * (i % 7) + "to the", "choices": ["sea", f"hill {i}", "old king"],
                  "answer": i % 3} for i in range(count)])
    return path


class Interrupted(Case):
    """A run that is killed goes on where it was; those who watch it see how far it is and what has come out so far."""

    def stored(self, cache):
        try:
            with sqlite3.connect(f"file:{cache}?mode=ro", uri=True) as db:
                count = db.execute("select count(*) from answers").fetchone()[0]
            db.close()
            return count
        except sqlite3.Error:
            return 0

    def kill_after_first_answers(self, command, cache):
        run = subprocess.Popen([NIBBLE, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 120
            while self.stored(cache) == 0 and run.poll() is None and time.monotonic() < until:
                time.sleep(0.005)
            run.send_signal(signal.SIGKILL)
            return run.wait() == -signal.SIGKILL
        finally:
            run.kill()
            run.wait()

    def check(self, tasks, documents, *options):
        cache = self.dir / "answers.sqlite"
        command = ["eval", "builtin", "--tasks", tasks, "--threads", "1", "--compute", "exact", *options]
        killed = self.kill_after_first_answers([*command, "--cache", cache], cache)
        stored = self.stored(cache)
        self.assertTrue(killed, "the run ended before it was killed")
        self.assertTrue(0 < stored < documents, stored)
        resumed = self.result(*command, "--cache", cache)
        whole = self.result(*command)
        (task,) = whole["results"]
        self.assertEqual(resumed["n-samples"][task]["cached"], stored)
        self.assertEqual(resumed["results"], whole["results"])
        self.assertEqual(self.stored(cache), documents)

    def test_scores_survive_a_kill(self):
        self.check(questions(self.dir / "q.jsonl", 1500), 1500)

    def test_texts_survive_a_kill(self):
        task = {"task": "sums", "output_type": "generate_until", "documents": [{"q": f"There were {i}", "a": "of"} for i in range(60)],
                "doc_to_text": "{{q}}", "doc_to_target": "{{a}}", "generation_kwargs": {"until": ["~~"], "max_gen_toks": 100},
                "metric_list": [{"metric": "exact_match"}]}
        (self.dir / "sums.json").write_text(json.dumps(task))
        self.check(self.dir / "sums.json", 60)

    def test_progress_tells_the_time_left_and_the_score_so_far(self):
        master, slave = pty.openpty()
        run = subprocess.Popen([NIBBLE, "eval", "builtin", "--tasks", questions(self.dir / "q.jsonl", 600), "--threads", "1"],
                               stdout=subprocess.DEVNULL, stderr=slave, env={**os.environ, "COLUMNS": "200"})
        os.close(slave)
        seen = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
        os.close(master)
        self.assertEqual(run.wait(), 0)
        lines = seen.decode().split("\r")
        self.assertTrue(any(re.search(r"ETA \d", line) for line in lines), lines[-3:])
        self.assertTrue(any(re.search(r"acc 0\.\d{4}", line) for line in lines) or
                        any(re.search(r"\d+/600", line) for line in lines), lines[-3:])


class Batches(Case):
    """Exact arithmetic gives the same bits whatever requests lie beside a request."""

    def score(self, requests):
        file = self.dir / "requests.jsonl"
        jsonl(file, requests)
        return self.result("score", "builtin", "--requests", file, "--compute", "exact", "--threads", "2")["results"]

    def test_requests_together_equal_each_alone(self):
        shot = "It was a fine day and the men of the town went down to the river to see the ships come in. " * 3
        requests = []
        for i in range(7):
            for end in (" sea", " old king of the hill", " sea and sky"):  # contexts shared by several continuations
                requests.append({"context": shot + f"The {i}th man saw the", "continuation": end})
            requests.append({"context": f"{i} men", "continuation": " went home"})  # short ones between long ones
        requests.append({"context": shot, "continuation": " then"})  # a context that begins others
        requests.append({"context": "", "continuation": "Alone"})
        requests.append({"context": shot + "The 3th man saw the", "continuation": " sea"})  # twice the same
        requests += [{"context_ids": [5, 6, 7], "continuation_ids": [t]} for t in (8, 9)]  # the last token is only predicted
        requests += [{"context_ids": [5, 6, 7], "continuation_ids": list(range(10, 400))}]  # more than a step has rows
        together = self.score(requests)
        self.assertEqual(len(together), len(requests))
        for i in (0, 1, 2, 3, 9, 14, 22, 28, 29, 30, 31, 32, 33):
            self.assertEqual(self.score([requests[i]])[0], together[i], i)
        self.assertEqual(self.score(requests[::-1])[::-1], together)


class Divergence(Case):
    NOTHING = ("mean_kl", "kl_stderr", "median_kl", "p99_kl", "max_kl", "mean_reverse_kl", "mean_js", "output_error", "mean_delta_p",
               "rms_delta_p", "top1_stderr", "ppl_ratio_stderr")

    def test_a_model_against_itself_is_exactly_zero(self):
        for compute in ("fast", "exact"):
            j = self.result("compare", "builtin", "builtin", "--text", "builtin", "--windows", "3", "--layers", "--compute", compute)
            (c,) = j["candidates"]
            for key in self.NOTHING:
                self.assertEqual(c[key], 0, key)
            for key in ("top1_agreement", "top5_agreement", "ppl_ratio"):
                self.assertEqual(c[key], 1, key)
            self.assertEqual(c["ppl"], c["reference_ppl"])
            self.assertEqual({q["delta_p"] for q in c["delta_p"]}, {0})
            for part in c["by_position"] + c["by_class"]:
                self.assertEqual((part["mean_kl"], part["top1_agreement"], part["mean_delta_p"]), (0, 1, 0), part)
            self.assertGreater(len(c["layers"]), 1)
            for layer in c["layers"]:
                self.assertEqual((layer["mean_kl"], layer["kl_stderr"], layer["top1_agreement"], layer["output_error"]), (0, 0, 1, 0))
                self.assertIn(layer["layer_error"], (0, None) if layer["name"] == "other" else (0,))

    def test_tasks_of_a_model_against_itself(self):
        j = self.result("eval", "builtin", "builtin", "--tasks", questions(self.dir / "q.jsonl", 40))
        for p in j["paired"]:
            self.assertEqual((p["delta"], p["ci95"], p["flips"], p["mcnemar_p"]), (0, [0, 0], 0, 1), p)

    def damaged(self):
        """The built-in model with the low bytes of its weights gone, as tests/golden/eval/make_divergence.py makes it."""
        model = self.copy_model()
        for file in model.glob("*.safetensors"):
            header, data = read_safetensors(file)
            width = {"F32": 4, "F16": 2, "BF16": 2}[next(v for k, v in header.items() if k != "__metadata__")["dtype"]]
            for low in range(width // 2):
                data[low::width] = bytes(len(data[low::width]))
            raw = file.read_bytes()
            file.write_bytes(raw[:len(raw) - len(data)] + bytes(data))
        return model

    def test_equals_a_direct_computation(self):
        golden = json.loads((ROOT / "tests/golden/eval/divergence.json").read_text())
        j = self.result("compare", "builtin", self.damaged(), "--text", "builtin", "--windows", "3", "--layers", "--compute", "exact")
        (c,) = j["candidates"]
        for key, value in golden["candidate"].items():
            self.assertAlmostEqual(c[key], value, delta=2e-4 * abs(value) + 2e-6, msg=key)
        for key, values in golden["delta_p"].items():
            found = next(q["delta_p"] for q in c["delta_p"] if q["quantile"] == float(key))
            self.assertAlmostEqual(found, values, delta=1e-5, msg=key)
        for layer, error in zip(c["layers"], golden["layer_error"]):
            self.assertAlmostEqual(layer["layer_error"], error, delta=1e-3 * error, msg=layer["name"])


YAML = """# a comment
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: capitals.jsonl
test_split: test
output_type: {kind}
doc_to_text: "Q: {{{{country}}}}'s capital?\\nA:"
doc_to_target: answer
doc_to_choice: "{{{{[first, second]}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
metadata:
  version: 2.5
"""


class OwnTasks(Case):
    def setUp(self):
        super().setUp()
        jsonl(self.dir / "capitals.jsonl", [{"country": c, "first": a, "second": b, "answer": n} for c, a, b, n in (
            ("France", "Paris", "Rome", 0), ("Italy", "Paris", "Rome", 1), ("Spain", "Madrid", "Oslo", 0), ("Norway", "Madrid", "Oslo", 1))])
        self.file = self.dir / "task.yaml"

    def test_yaml(self):
        self.file.write_text(YAML.format(kind="multiple_choice"))
        j = self.result("eval", "builtin", "--tasks", self.file, "--log-samples", self.dir / "s", "--num-fewshot", "1")
        self.assertEqual(j["versions"]["capitals"], 2.5)
        rows = [json.loads(r) for r in next((self.dir / "s").rglob("samples_*")).read_text().splitlines()]
        self.assertEqual([r["target"] for r in rows], ["0", "1", "0", "1"])
        self.assertEqual(rows[0]["arguments"]["gen_args_1"]["arg_1"], " Rome")
        self.assertTrue(rows[0]["arguments"]["gen_args_0"]["arg_0"].endswith("Q: France's capital?\nA:"))
        self.assertEqual(rows[0]["arguments"]["gen_args_0"]["arg_0"].count("Q:"), 2)

    def test_texts_as_yaml_writes_them(self):
        """What PyYAML makes of these scalars."""
        for written, read in ((">\n  a\n    b\n  c\n\n\n  d\n", "a\n  b\nc\n\nd\n"), ('"\\U0001F642 \\u00e9 \\x41 \\ud83d\\ude42"', "🙂 é A 🙂"),
                              ("|+\n  x\n\n\n", "x\n\n\n\n"), ("'it''s\n  two\n\n  three'", "it's two\nthree"), ('"a \\\n  b"', "a b"),
                              ("x#y z # note", "x#y z")):
            self.file.write_text("task: t\ndocuments:\n  - {q: Q, a: 0}\noutput_type: multiple_choice\ndoc_to_text: q\ndoc_to_target: a\n"
                                 f"doc_to_choice: [b, c]\ndescription: {written}\n", encoding="utf-8")
            sample = self.result("eval", "builtin", "--tasks", self.file, "--log-tokens")["samples"]["t"][0]
            self.assertEqual(sample["arguments"]["gen_args_0"]["arg_0"], read + "Q")

    def test_examples_are_drawn_as_the_harness_draws_them(self):
        """Python's own generator says which: the harness draws one more where the split of examples is that of the tests, or neither is named."""
        rows = [{"q": f"Q{i}", "options": ["yes", "no"], "gold": i % 2} for i in range(30)]
        jsonl(self.dir / "train.jsonl", rows)
        jsonl(self.dir / "test.jsonl", rows[:8])
        files = {"data_files": {"train": str(self.dir / "train.jsonl"), "test": str(self.dir / "test.jsonl")}}
        common = {"output_type": "multiple_choice", "dataset_path": "json", "dataset_kwargs": files, "doc_to_text": "{{q}}", "doc_to_target": "gold",
                  "doc_to_choice": "options", "num_fewshot": 2, "target_delimiter": "=", "fewshot_delimiter": ";"}
        kinds = {"drawn": ({"test_split": "test", "training_split": "train"}, rows, False),
                 "excluded": ({"validation_split": "test", "training_split": "train"}, rows, True),
                 "own": ({"test_split": "test"}, rows[:8], False),
                 "own_excluded": ({"test_split": "test", "fewshot_split": "test"}, rows[:8], True)}
        for name, (body, pool, excludes) in kinds.items():
            path = self.dir / f"{name}.json"
            path.write_text(json.dumps({"task": name, **common, **body}))
            samples = self.result("eval", "builtin", "--tasks", path, "--log-tokens")["samples"][name]
            source = random.Random(1234)
            for sample in samples:
                document = sample["doc"]
                drawn = [pool[i] for i in source.sample(range(len(pool)), 3 if excludes else 2)]
                chosen = [d for d in drawn if not excludes or d != document][:2]
                expected = "".join(f"{d['q']}={d['options'][d['gold']]};" for d in chosen) + document["q"]
                self.assertEqual(sample["arguments"]["gen_args_0"]["arg_0"], expected, name)

    def test_several_right_answers_and_choices_of_texts(self):
        def run(name, document, **body):
            path = self.dir / f"{name}.json"
            path.write_text(json.dumps({"task": name, "documents": [document], "doc_to_text": "{{q}}", **body,
                                        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4}}))
            j = self.result("eval", "builtin", "--tasks", path, "--log-tokens")
            return j["results"][name], j["samples"][name][0]

        said = run("plain", {"q": "The old man"}, doc_to_target="x")[1]["resps"][0][0]
        document = {"q": "The old man", "answers": ["zzz", said], "options": [said, "zzz"], "gold": 0}
        for name, right, body in (("first", 0.0, {"doc_to_target": "{{answers[0]}}"}), ("any", 1.0, {"doc_to_target": "answers"}),
                                  ("template", 1.0, {"doc_to_target": "{{answers}}"}),
                                  ("choice", 1.0, {"doc_to_target": "gold", "doc_to_choice": "options"}),
                                  ("other", 0.0, {"doc_to_target": "{{1}}", "doc_to_choice": "{{options}}"})):
            self.assertEqual(run(name, document, **body)[0]["exact_match,none"], right, name)
        sample = run("voted", document, doc_to_target="q", repeats=3, filter_list=[
            {"name": "vote", "filter": [{"function": "take_first_k", "k": 2}, {"function": "majority_vote"}, {"function": "take_first"}]}])[1]
        self.assertEqual(len(sample["resps"][0]), 3)
        self.assertEqual(sample["filtered_resps"], sample["resps"][0][:1])

    def test_json_that_generates(self):
        task = {"task": "numbers", "output_type": "generate_until", "documents": [{"q": "1 2 3", "a": "4"}], "doc_to_text": "{{q}}",
                "doc_to_target": "{{a}}", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 5},
                "filter_list": [{"name": "digits", "filter": [{"function": "regex", "regex_pattern": "([0-9]+)"}, {"function": "take_first"}]}],
                "metric_list": [{"metric": "exact_match"}]}
        (self.dir / "numbers.json").write_text(json.dumps(task))
        j = self.result("eval", "builtin", "--tasks", self.dir / "numbers.json")
        self.assertIn("exact_match,digits", j["results"]["numbers"])

    def test_what_is_outside_the_subset_is_named(self):
        good = YAML.format(kind="multiple_choice")
        for change, word in ((("metadata:", "process_docs: !function utils.f\nmetadata:"), "!function"), (("- metric: acc_norm", "- metric: brier_score"), "brier_score"),
                             (("metadata:", "unsafe_code: true\nmetadata:"), "unsafe_code"), (("aggregation: mean", "aggregation: median"), "median"),
                             (("multiple_choice", "multiple_guess"), "multiple_guess"), (("{{country}}", "{% include 'x' %}"), "include"),
                             (("task: capitals", "task: &a capitals"), "anchor")):
            self.file.write_text(good.replace(*change))
            self.refuse(3, ["eval", "builtin", "--tasks", self.file], word)
        self.file.write_text(good.replace("{{country}}", "{{land}}"))
        self.refuse(3, ["eval", "builtin", "--tasks", self.file], "land")
        self.file.write_text("task: [a, b\n")
        self.refuse(3, ["eval", "builtin", "--tasks", self.file], "line 1")


class BadInput(Case):
    def evaluate(self, text, *words, status=3):
        file = self.dir / "questions.jsonl"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.refuse(status, ["eval", "builtin", "--tasks", file], *words)

    def test_lines_are_named(self):
        good = '{"context": "a", "choices": ["b", "c"], "answer": 0}\n'
        self.evaluate(good + '{"context": "a"\n', "line 2")
        self.evaluate(good + '{"context": "a", "choices": ["b", "c"]}\n', "line 2", "answer")
        self.evaluate(good + good + '{"context": "a", "choices": ["b", "c"], "answer": 2}\n', "line 3", "2 choices")
        self.evaluate(good + '{"context": "a", "choices": [], "answer": 0}\n', "line 2", "choices")
        self.evaluate(good + '{"context": "a", "choices": ["", "c"], "answer": 0}\n', "line 2", "empty")
        self.evaluate(good.encode() + b'{"context": "\xff\xfe", "choices": ["b", "c"], "answer": 0}\n', "line 2")
        self.evaluate('{"id": "x", "context": "a", "choices": ["b", "c"], "answer": 0}\n' * 2, "line 2", '"x"')
        self.evaluate("", "no")

    def test_task_files(self):
        data = self.dir / "data"
        for name, task, text, word in (("hellaswag/validation.jsonl", "hellaswag", b'{"activity_label": "x"\n', "line 1"),
                                       ("piqa/validation.jsonl", "piqa", b'{"goal": "\xff"}\n', "line 1"),
                                       ("piqa/validation.jsonl", "piqa", b'{"goal": "g", "sol1": "a", "sol2": "b"}\n', "label"),
                                       ("piqa/validation.jsonl", "piqa", b'{"goal": "g", "sol1": "a", "sol2": "b", "label": 2}\n', "choice 2"),
                                       ("gsm8k/test.jsonl", "gsm8k", b'{"question": "g"}\n', "answer")):
            path = data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
            self.refuse(3, ["eval", "builtin", "--tasks", task, "--data", data, "--num-fewshot", "0"], pathlib.Path(name).name, word)

    def test_programs_that_never_end_or_multiply(self):
        """What the model writes is the rest of a comment, so that the record's own code decides."""
        code = {"returns": "pass", "loops": "while True: pass", "multiplies": "import os\n    while True:\n        os.fork()",
                "threads": "import threading\n    while True:\n        threading.Thread(target=lambda: threading.Event().wait()).start()",
                "eats": "x = []\n    while True:\n        x.append(bytearray(1 << 24))",
                "calls": "import socket\n    socket.create_connection(('127.0.0.1', 9), 1)",
                "writes": f"open({str(self.dir / 'written')!r}, 'w').write('x')"}
        jsonl(self.dir / "humaneval/test.jsonl", [
            {"task_id": name, "prompt": "def f():\n    return 1\n#", "canonical_solution": "", "entry_point": "f",
             "test": f"def check(candidate):\n    {body}\n"} for name, body in code.items()])
        start = time.monotonic()
        j = self.result("eval", "builtin", "--tasks", "humaneval", "--data", self.dir, "--max-gen-toks", "1",
                        "--confirm-run-unsafe-code", "--log-samples", self.dir / "s")
        self.assertLess(time.monotonic() - start, 150)
        rows = [json.loads(r) for r in next((self.dir / "s").rglob("samples_humaneval*")).read_text().splitlines()]
        passed = {r["doc"]["task_id"]: r["pass@1"] for r in rows}
        self.assertEqual(passed, {name: float(name == "returns") for name in code})
        self.assertAlmostEqual(j["results"]["humaneval"]["pass@1,create_test"], 1 / len(code))
        self.assertFalse((self.dir / "written").exists())

    def test_long_documents_are_cut_and_counted(self):
        file = self.dir / "long.jsonl"
        file.write_text(json.dumps({"context": "word " * 3000, "choices": ["a", "b"], "answer": 0}) + "\n" +
                        json.dumps({"context": "short", "choices": ["a", "b"], "answer": 0}) + "\n")
        j = self.result("eval", "builtin", "--tasks", file)
        self.assertEqual(j["n-samples"]["long"]["truncated"], 1)
        self.assertIn("long: 1 of 2 documents do not fit the context", nibble("eval", "builtin", "--tasks", file)[2])


if __name__ == "__main__":
    unittest.main()
