"""Task definitions in the harness's YAML that lean on every key of the subset, run by nibble and by lm-evaluation-harness on the same
small model in float32: prompts, token ids, answers, metrics and standard errors. Needs NIBBLE_LM_EVAL_PYTHON, a Python with lm_eval,
transformers and torch, and the shared models. NIBBLE_LM_EVAL_KEEP names a folder that keeps what lm_eval answered."""
import csv
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NIBBLE = os.environ.get("NIBBLE_COMMAND", str(ROOT / "build" / "release" / "bin" / "nibble"))
PYTHON = os.environ.get("NIBBLE_LM_EVAL_PYTHON")
SHARED = pathlib.Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared"))
WORDS = "river stone lamp window quiet orange seven carry house again mountain clock paper ünder 東京 garden".split()
COMMON = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"train": "train.jsonl", "test": "test.jsonl", "dev": "dev.jsonl"}}}
CSV = {"dataset_path": "csv", "dataset_kwargs": {"data_files": {"test": "test.csv", "train": "test.csv"}}}


def task(output, text, target, **rest):
    return {**COMMON, "test_split": "test", "output_type": output, "doc_to_text": text, "doc_to_target": target, **rest}


CHOICE, WRITE = "multiple_choice", "generate_until"
SHORT = {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False}}
EXACT = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
TASKS = {
    "index_field": task(CHOICE, "Question: {{question}}\nAnswer:", "gold", doc_to_choice="options"),
    "index_template": task(CHOICE, "question", "{{gold}}", doc_to_choice="{{options}}",
                           metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}, {"metric": "acc_bytes"}, {"metric": "exact_match"}]),
    "text_target": task(CHOICE, "{{question}} =>", "{{options[gold]}}", doc_to_choice="{{options|list}}", target_delimiter=""),
    "letters": task(CHOICE, "{{question}}\n{% for o in options %}{{'ABCD'[loop.index0]}}. {{o}}\n{% endfor %}Answer:", "letter",
                    doc_to_choice=["A", "B", "C", "D"], training_split="train", num_fewshot=2),
    "mapping": task(CHOICE, "{{question|upper}}", "{{gold % 2}}", doc_to_choice={"no": "not so", "yes": "quite so"}, target_delimiter="\n"),
    "built_list": task(CHOICE, "{{question}}", "{{gold}}", doc_to_choice="{{[options[0], options[1] ~ '!', \"it's\", options[3]]}}"),
    "many_right": task(CHOICE, "{{question}}", "golds", doc_to_choice="options", metric_list=[{"metric": "acc"}, {"metric": "exact_match"}]),
    "many_right_template": task(CHOICE, "{{question}}", "{{golds}}", doc_to_choice="options"),
    "described": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", description="Topic {{topic}}.\n\n", training_split="train",
                      fewshot_split="dev", num_fewshot=3, fewshot_delimiter="\n---\n", target_delimiter=" -> "),
    "validation_only": {**task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=2), "test_split": None,
                        "training_split": "train", "validation_split": "test"},
    "own_examples": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=2),
    "test_as_examples": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=3, fewshot_split="test"),
    "first_two": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=2, fewshot_split="dev",
                      fewshot_config={"sampler": "first_n"}),
    "first_of_test": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=2, fewshot_split="test",
                          fewshot_config={"sampler": "first_n"}),
    "samples": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=2, fewshot_config={
        "samples": [{"question": f"Sample {i}?", "options": ["a", "b"], "gold": i % 2} for i in range(4)]}),
    "written_otherwise": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=2, fewshot_split="dev", fewshot_config={
        "doc_to_text": "Example: {{question}}", "doc_to_target": "{{letter}}", "target_delimiter": ": ", "fewshot_delimiter": "\n\n\n"}),
    "config_split": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=1, training_split="train",
                         fewshot_config={"split": "dev"}),
    "never_shown": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", num_fewshot=0, training_split="train"),
    "from_csv": {**task(CHOICE, "{{question}}", "{{label}}", doc_to_choice="{{[first, second]}}"), **CSV},
    "csv_examples": {**task(CHOICE, "{{question}}", "label", doc_to_choice="{{[first, second]}}", training_split="train", num_fewshot=2), **CSV},
    "one_target": task("loglikelihood", "{{question.split(' ')[:-1]|join(' ')}}", "{{' ' + question.split(' ')[-1]}}"),
    "one_target_shown": task("loglikelihood", "{{question}}", " {{options[gold]}}", training_split="train", num_fewshot=2, target_delimiter=""),
    "whole_text": task("loglikelihood_rolling", "", "{{passage}}"),
    "whole_field": task("loglikelihood_rolling", "", "passage", metric_list=[{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}]),
    "write": task(WRITE, "{{question}}\nAnswer:", "{{options[gold]}}", **SHORT),
    "write_number": task(WRITE, "{{question}}", "gold", **SHORT, metric_list=[{**EXACT, "ignore_case": True, "ignore_punctuation": True}]),
    "write_choice": task(WRITE, "{{question}}", "gold", doc_to_choice="options", **SHORT),
    "write_many": task(WRITE, "{{question}}", "options", **SHORT,
                       metric_list=[{**EXACT, "regexes_to_ignore": [".*"], "ignore_numbers": True}]),
    "write_bleu": task(WRITE, "{{passage}}", "{{question}}", **SHORT,
                       metric_list=[{"metric": m, "aggregation": m, "higher_is_better": True} for m in ("bleu", "chrf", "chrf++")]),
    "write_stops": task(WRITE, "{{question}}", "x", generation_kwargs={"until": [".", " the", ","], "max_gen_toks": 12}),
    "write_default_stop": task(WRITE, "{{question}}", "x", generation_kwargs={"max_gen_toks": 6}, fewshot_delimiter=" of"),
    "filters": task(WRITE, "{{question}} 3 4 5", "{{gold}}", **SHORT, filter_list=[
        {"name": "digits", "filter": [{"function": "regex", "regex_pattern": "([0-9]+)"}, {"function": "take_first"}]},
        {"name": "last", "filter": [{"function": "regex", "regex_pattern": "(\\w+)|(\\d)", "group_select": -1, "fallback": "none"},
                                    {"function": "lowercase"}, {"function": "take_first"}]},
        {"name": "bare", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}]),
    "begun": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", training_split="train", num_fewshot=2, gen_prefix="The best answer is"),
    "begun_field": task(CHOICE, "{{question}} ", "gold", doc_to_choice="options", num_fewshot=1, training_split="train", gen_prefix="topic",
                        target_delimiter=" => "),
    "begun_apart": task(CHOICE, "{{question}}", "{{letter}}", doc_to_choice=["A", "B", "C", "D"], num_fewshot=2, training_split="train",
                        gen_prefix="\n{{topic|upper}} is ", target_delimiter=": "),
    "begun_examples": task(WRITE, "{{question}}", "{{options[gold]}}", num_fewshot=2, training_split="train", gen_prefix="So: {{topic}}",
                           fewshot_config={"gen_prefix": "Thus {{topic}}"}, **SHORT),
    "begun_examples_only": task(WRITE, "{{question}}", "{{options[gold]}}", num_fewshot=2, training_split="train",
                                fewshot_config={"gen_prefix": "Thus"}, **SHORT),
    "begun_target": task("loglikelihood", "{{question}}", " {{options[gold]}}", gen_prefix="It is"),
    "begun_empty": task(WRITE, "{{question}}", "x", gen_prefix="{% if gold > 1 %}Here:{% endif %}", **SHORT),
    "included": {"include": "shared_rules", "test_split": "test", "doc_to_target": "gold", "doc_to_choice": "options", "num_fewshot": 1},
    "pairs": task(CHOICE, "{{question}}", "{{gold % 2}}", doc_to_choice="{{options[:2]}}",
                  metric_list=[{"metric": "f1"}, {"metric": "mcc"}, {"metric": "acc"}]),
    "fours": task(CHOICE, "{{question}}", "gold", doc_to_choice="options", metric_list=[{"metric": "mcc", "aggregation": "matthews_corrcoef"}]),
    "mapped": task(WRITE, "{{question}} 3 4 5", "{{gold}}", **SHORT, filter_list=[
        {"name": "number", "filter": [{"function": "uppercase"}, {"function": "regex", "regex_pattern": "[A-Z]"},
                                      {"function": "map", "mapping_dict": {"T": 0, "A": 1, "W": 2}, "default_value": -1}, {"function": "take_first"}]},
        {"name": "text", "filter": [{"function": "regex", "regex_pattern": "[a-z]"},
                                    {"function": "map", "mapping_dict": {"t": "0", "a": "1"}, "default_value": "3"}, {"function": "take_first"}]},
        {"name": "loud", "filter": [{"function": "uppercase"}, {"function": "take_first"}]}]),
    "voted": task(WRITE, "{{question}}", "{{options[gold]}}", repeats=3, **SHORT, filter_list=[
        {"name": "vote", "filter": [{"function": "take_first_k", "k": 2}, {"function": "majority_vote"}, {"function": "take_first"}]},
        {"name": "first", "filter": [{"function": "take_first"}]}]),
}
# What the definition "included" includes: its own keys win, of those included the later ones.
SHARED_RULES = {"base_rules": {**COMMON, "output_type": CHOICE, "doc_to_text": "{{question}}", "doc_to_choice": ["overridden"], "training_split": "dev"},
                "shared_rules": {"include": ["base_rules"], "doc_to_text": "Q: {{question}}", "training_split": "train", "gen_prefix": "A:"}}
REFUSED = {
    "process_docs": ({"process_docs": "!function utils.f"}, "process_docs"),
    "process_results": ({"process_results": "x"}, "process_results"),
    "processed": ({"custom_dataset": "x"}, "custom_dataset"),
    "metric": ({"metric_list": [{"metric": "brier_score"}]}, "brier_score"),
    "metric_of_another_kind": ({"metric_list": [{"metric": "perplexity"}]}, "perplexity"),
    "aggregation": ({"metric_list": [{"metric": "acc", "aggregation": "median"}]}, "median"),
    "sampler": ({"fewshot_config": {"sampler": "balanced"}}, "balanced"),
    "indices": ({"fewshot_config": {"fewshot_indices": [1]}}, "fewshot_indices"),
    "data_dir": ({"dataset_kwargs": {"data_dir": "x"}}, "data_dir"),
    "parquet": ({"dataset_path": "parquet"}, "parquet"),
    "function": ({"filter_list": [{"name": "a", "filter": [{"function": "format_span"}]}]}, "format_span"),
    "two_contexts": ({"doc_to_text": "{{gold}}"}, "contexts"),
}


def documents(random_source, count):
    def words(n):
        return " ".join(random_source.choice(WORDS) for _ in range(n))

    for _ in range(count):
        options = [words(random_source.randint(1, 4)) for _ in range(4)]
        while len(set(options)) < 4:
            options = [words(random_source.randint(1, 5)) for _ in range(4)]
        gold = random_source.randrange(4)
        yield {"question": f"{words(5).capitalize()}?", "options": options, "gold": gold, "letter": "ABCD"[gold], "topic": words(1),
               "golds": sorted(random_source.sample(range(4), 2)), "passage": f"{words(12)}.\n\n {words(5)} \"{words(3)}\"  "}


@unittest.skipUnless(PYTHON, "NIBBLE_LM_EVAL_PYTHON names no Python with lm_eval")
@unittest.skipUnless((SHARED / "models").is_dir(), "the shared models are not there")
class OwnTasks(unittest.TestCase):
    MODEL = str(SHARED / "models" / "prose-3.7m")

    @classmethod
    def setUpClass(cls):
        cls.held = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.held.name)
        source = random.Random(7)
        for split, count in (("train", 40), ("test", 12), ("dev", 5)):
            with open(cls.folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
                for row in documents(source, count):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        with open(cls.folder / "test.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "first", "second", "label"])
            for row in documents(source, 10):
                writer.writerow([row["question"] + ', "quoted"', row["options"][0], row["options"][1], row["gold"] % 2])

    @classmethod
    def tearDownClass(cls):
        cls.held.cleanup()

    def absolute(self, body):
        files = body.get("dataset_kwargs", {}).get("data_files", {})
        if files:
            body = {**body, "dataset_kwargs": {**body["dataset_kwargs"], "data_files": {k: str(self.folder / v) for k, v in files.items()}}}
        return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in body.items())

    def definition(self, name, body, folder):
        """A YAML file: JSON is YAML. The harness wants absolute paths, nibble takes them too."""
        body = json.loads(json.dumps({**body, "task": name, "metadata": {"version": 1.0}}))
        path = folder / f"{name}.yaml"
        path.write_text(self.absolute(body), encoding="utf-8")
        return path

    def compare(self, extra_theirs=(), extra_ours=(), names=None):
        with tempfile.TemporaryDirectory() as made:
            made = pathlib.Path(made)
            chosen = {name: body for name, body in TASKS.items() if names is None or name in names}
            paths = [self.definition(f"own_{name}", body, made) for name, body in chosen.items()]
            for name, body in SHARED_RULES.items():
                (made / name).write_text(self.absolute(body), encoding="utf-8")
            names = [path.stem for path in paths]
            keep = os.environ.get("NIBBLE_LM_EVAL_KEEP")
            key = hashlib.sha256(json.dumps([chosen, SHARED_RULES, list(extra_theirs)]).encode()).hexdigest()[:24]
            kept = pathlib.Path(keep) / f"own_{key}.json" if keep else None
            if kept is not None and kept.exists():
                shutil.copyfile(kept, made / "theirs.json")
            else:
                done = subprocess.run([PYTHON, str(ROOT / "tests/evaluation/lm_eval_reference.py"), self.MODEL, "--tasks", ",".join(names), "--data",
                                       str(SHARED / "data"), "--include-path", str(made), "--bootstrap", "1000", *extra_theirs, "--output",
                                       str(made / "theirs.json")], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr[-3000:])
                if kept is not None:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(made / "theirs.json", kept)
            done = subprocess.run([NIBBLE, "eval", self.MODEL, "--tasks", ",".join(map(str, paths)), "--compute", "exact", "--log-tokens", "--set",
                                   "bootstrap=1000", *extra_ours, "--json", str(made / "ours.json"), "--quiet"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr[-3000:])
            theirs, ours = (json.loads((made / f"{who}.json").read_text()) for who in ("theirs", "ours"))
        for name in names:
            with self.subTest(task=name):
                self.check(theirs["samples"][name], ours["samples"][name])
                for key, value in theirs["results"][name].items():
                    if "," not in key or isinstance(value, str):
                        continue
                    found = ours["results"][name][key]
                    if value != value:
                        self.assertIn(found, ("N/A", None), key)
                    else:
                        self.assertAlmostEqual(found, value, delta=5e-5 * max(1.0, abs(value)), msg=key)
                self.assertEqual(ours["n-shot"][name], theirs["n-shot"][name])
                self.assertEqual(ours["higher_is_better"][name], theirs["higher_is_better"][name])

    def check(self, theirs, ours):
        rows = {(row["doc_id"], row["filter"]): row for row in ours}
        self.assertEqual(len(rows), len({(row["doc_id"], row["filter"]) for row in theirs}))
        for a in theirs:
            b = rows[a["doc_id"], a["filter"]]
            self.assertEqual([list(p.values()) for p in b["arguments"].values()], [[t for t in pair if t is not None] for pair in a["arguments"]])
            if all(ids is not None for ids in a["ids"]) and "token_ids" in b:
                self.assertEqual([[t["context_ids"], t["continuation_ids"]] for t in b["token_ids"]], a["ids"])
            for x, y in zip(a["resps"], b["resps"]):
                if isinstance(x[0], str):
                    self.assertEqual(y, x)
                elif isinstance(x[0], list):
                    self.assertAlmostEqual(float(y[0][0]), x[0][0], delta=1e-3 * max(1.0, abs(x[0][0]) / 10))
                    self.assertEqual(y[0][1] == "True", x[0][1])
                else:
                    self.assertAlmostEqual(float(y[0][0]), x[0], delta=1e-2)
            if isinstance(a["filtered_resps"][0], str):
                self.assertEqual(b["filtered_resps"], a["filtered_resps"])

    def test_every_key(self):
        self.compare()

    def test_examples_by_other_seeds(self):
        shown = [name for name, body in TASKS.items() if body.get("num_fewshot")]
        for seed, shots in ((5, 1), (99, 3), (7, 4)):
            shots_of = ["--num-fewshot", str(shots)]
            small = [name for name in shown if shots < 4 or name not in ("samples", "first_two", "described")]
            self.compare([*shots_of, "--fewshot-seed", str(seed)], [*shots_of, "--set", f"fewshot_seed={seed}"], small)

    def test_prompts_in_chats(self):
        """The beginnings of answers in SmolLM2's chat template, examples as turns and in one message."""
        found = subprocess.run([str(ROOT / "scripts" / "fetch-smollm2.sh")], capture_output=True, text=True)
        model = found.stdout.strip().splitlines()[-1] if found.returncode == 0 and found.stdout.strip() else None
        if model is None:
            self.skipTest("SmolLM2 cannot be fetched")
        chosen = [name for name in TASKS if name.startswith("begun") or name in ("included", "described", "one_target_shown")]
        for options in (["--fewshot-as-multiturn", "--system-instruction", "Be brief."], []):
            with tempfile.TemporaryDirectory() as made:
                made = pathlib.Path(made)
                paths = [self.definition(f"own_{name}", TASKS[name], made) for name in chosen]
                for name, body in SHARED_RULES.items():
                    (made / name).write_text(self.absolute(body), encoding="utf-8")
                common = ["--limit", "4", "--apply-chat-template", *options]
                theirs, ours = made / "theirs.json", made / "ours.json"
                done = subprocess.run([PYTHON, str(ROOT / "tests/evaluation/lm_eval_reference.py"), model, "--tasks", ",".join(p.stem for p in paths), "--data",
                                       str(SHARED / "data"), "--include-path", str(made), "--prompts-only", "--bootstrap", "0", *common, "--output",
                                       str(theirs)], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr[-3000:])
                done = subprocess.run([NIBBLE, "eval", model, "--tasks", ",".join(map(str, paths)), "--max-gen-toks", "1", "--log-tokens", "--set",
                                       "bootstrap=0", *common, "--json", str(ours), "--quiet"], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr[-3000:])
                theirs, ours = json.loads(theirs.read_text()), json.loads(ours.read_text())
                for path in paths:
                    rows = {(row["doc_id"], row["filter"]): row for row in ours["samples"][path.stem]}
                    for row in theirs["samples"][path.stem]:
                        with self.subTest(task=path.stem, options=options, document=row["doc_id"]):
                            found = rows[row["doc_id"], row["filter"]]["arguments"].values()
                            self.assertEqual([list(p.values()) for p in found], [[t for t in pair if t is not None] for pair in row["arguments"]])

    def test_what_is_outside_the_subset_is_named(self):
        with tempfile.TemporaryDirectory() as made:
            made = pathlib.Path(made)
            for name, (body, named) in REFUSED.items():
                with self.subTest(refused=name):
                    whole = {**TASKS["index_field"], **body}
                    if "filter_list" in body:
                        whole = {**TASKS["write"], **body}
                    path = self.definition(name, whole, made)
                    done = subprocess.run([NIBBLE, "eval", "builtin", "--tasks", str(path), "--quiet"], capture_output=True, text=True)
                    self.assertIn(done.returncode, (3, 4), done.stderr)
                    self.assertIn(named, done.stderr)
                    self.assertIn("outside the subset", done.stderr)


if __name__ == "__main__":
    unittest.main()
