"""Tasks from Python, and fetching their data."""
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))

import nibble  # noqa: E402
import nibble.data  # noqa: E402

MODEL = ROOT / "examples" / "models" / "prose-3.7m"


class Tasks(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.data = pathlib.Path(self.folder.name)

    def tearDown(self):
        self.folder.cleanup()

    def test_named_tasks(self):
        (self.data / "piqa").mkdir()
        rows = [{"goal": f"Count to {i}.", "sol1": "One, two.", "sol2": "Zebra.", "label": 0} for i in range(6)]
        (self.data / "piqa/validation.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        model = nibble.load(MODEL)
        result = nibble.evaluate([model, model], "piqa", data=self.data, samples=True)
        self.assertEqual(result["n-samples"]["piqa"]["effective"], 6)
        self.assertEqual(result["paired"][0]["delta"], 0)
        self.assertEqual(result["paired"][0]["mcnemar_p"], 1)
        self.assertEqual(len(result["models"][1]["samples"]["piqa"]), 6)
        with self.assertRaises(nibble.NotFoundError) as caught:
            nibble.evaluate(model, "arc_easy", data=self.data)
        self.assertIn("python -m nibble.data arc_easy", str(caught.exception))

    def test_definitions(self):
        result = nibble.evaluate(str(MODEL), pathlib.Path(ROOT / "examples/evaluators/capitals.yaml"), num_fewshot=1)
        self.assertIn("acc_norm,none", result["results"]["capitals"])
        self.assertEqual(result["n-shot"]["capitals"], 1)
        with nibble.Evaluation() as evaluation:
            with self.assertRaises(nibble.UnsupportedError):
                evaluation.add_task_definition({"task": "x", "process_docs": "f"})

    def test_every_task_is_listed_and_its_data_can_be_fetched(self):
        tasks = nibble.task_kinds()
        ids = {t["id"] for t in tasks}
        self.assertLessEqual({"hellaswag", "mmlu", "mmlu_astronomy", "code2text", "ifeval", "humaneval", "bbq", "flores_en-de", "mmlu_pro",
                              "ceval-valid", "hendrycks_math", "bbh_zeroshot", "gpqa_main_zeroshot", "leaderboard_musr", "xsum"}, ids)
        for task in tasks:
            if task["output_type"] == "group" or "files" not in task or task["id"].startswith(("mt_bench", "followbench")):
                continue
            wanted = nibble.data.files(task["id"])
            self.assertIsNotNone(wanted, task["id"])
            # What is fetched is what is read.
            self.assertTrue({w[3] for w in wanted} & set(task["files"]), task["id"])

    def test_fetching_writes_what_is_missing(self):
        asked = []

        def load(path, name, split):
            asked.append((path, name, split))
            return [{"goal": "Größe", "sol1": "a", "sol2": "b", "label": 1}]

        for _ in range(2):
            paths = nibble.data.fetch("piqa", self.data, load)
        self.assertEqual(asked, [("baber/piqa", None, "validation"), ("baber/piqa", None, "train")])
        self.assertEqual(json.loads(pathlib.Path(paths[0]).read_text(encoding="utf-8"))["goal"], "Größe")
        with self.assertRaises(KeyError):
            nibble.data.fetch("nothing", self.data, load)


if __name__ == "__main__":
    unittest.main()
