"""Tasks from Python, and fetching their data."""
import contextlib
import http.server
import json
import pathlib
import sys
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))

import nibble  # noqa: E402
import nibble.data  # noqa: E402
import nibble.judge  # noqa: E402

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

    def test_fetching_flores_gets_the_models_of_spbleu_too(self):
        urls = []

        def download(url):
            urls.append(url)
            return b"pieces"

        def load(path, name, split):
            return [{"sentence_eng_Latn": "One\ntwo.", "sentence_deu_Latn": "Eins."}]

        for _ in range(2):
            paths = [pathlib.Path(p) for p in nibble.data.fetch("flores_en-de", self.data, load, download)]
        self.assertEqual({p.name: p.read_text() for p in paths},
                         {"eng_Latn.devtest": "One two.\n", "eng_Latn.dev": "One two.\n", "deu_Latn.devtest": "Eins.\n",
                          "deu_Latn.dev": "Eins.\n", "flores200_sacrebleu_tokenizer_spm.model": "pieces",
                          "sacrebleu_tokenizer_spm.model": "pieces"})
        self.assertEqual(len(urls), 2)


@contextlib.contextmanager
def endpoint(answers):
    """An OpenAI-compatible judge on this machine that gives these answers in turn; yields its address and the requests it gets."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            code, text = answers[min(len(asked), len(answers)) - 1]
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": text}}]} if code == 200 else {"error": text}).encode())

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Judge(unittest.TestCase):
    def setUp(self):
        self.held = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.held.name)
        runs = self.folder / "runs" / "model"
        runs.mkdir(parents=True)
        stamp = "2026-01-02T03-04-05.000001"
        rows = [{"doc_id": i, "doc": {"turns": [f"Question {i}?", "And then?"], "reference": ["42"]}, "resps": [[f"first {i}", f"second {i}"]],
                 "arguments": {"gen_args_0": {"arg_0": f"Question {i}?"}}} for i in range(2)]
        (runs / f"samples_mt_bench_{stamp}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        rows = [{"doc_id": 0, "doc": {"instruction": "Write one word."}, "resps": [["one word"]], "arguments": {"gen_args_0": {"arg_0": "Write one word."}}}]
        (runs / f"samples_followbench_content_{stamp}.jsonl").write_text(json.dumps(rows[0]) + "\n")
        (runs / f"results_{stamp}.json").write_text(json.dumps({"model_name": "a/model"}))
        self.output = self.folder / "verdicts.jsonl"

    def tearDown(self):
        self.held.cleanup()

    def test_asks_for_what_is_missing(self):
        with endpoint([(200, "No. [[0]]"), (503, "busy"), (200, "Good: [[8]]"), (200, "[[3]] was my first idea, [[6.5]]")]) as (address, asked):
            count = nibble.judge.judge([self.folder / "runs"], self.output, address, "judge-1", "secret", wait=0.01)
        self.assertEqual(count, 3)
        verdicts = {(v["task"], v["doc_id"]): v for v in map(json.loads, self.output.read_text().splitlines())}
        self.assertEqual(verdicts["followbench_content", 0]["score"], 0)
        self.assertEqual(verdicts["mt_bench", 0]["score"], (8 + 6.5) / 2)
        self.assertEqual({v["model"] for v in verdicts.values()}, {"a/model"})
        self.assertEqual((asked[0]["path"], asked[0]["key"], asked[0]["model"]), ("/v1/chat/completions", "Bearer secret", "judge-1"))
        self.assertIn("Write one word.", asked[0]["messages"][1]["content"])
        second = asked[3]["messages"][1]["content"]  # after a failure that was asked again
        self.assertTrue("first 0" in second and "And then?" in second and "second 0" in second)
        self.assertIn("42", asked[2]["messages"][1]["content"])
        with endpoint([(200, "[[1]]")]) as (address, asked):
            self.assertEqual(nibble.judge.judge([self.folder / "runs"], self.output, address, "judge-1"), 0)
            self.assertEqual(asked, [])

    def test_says_what_is_wrong(self):
        with endpoint([(200, "I cannot tell")]) as (address, _):
            with self.assertRaisesRegex(nibble.judge.JudgeError, "no .*number"):
                nibble.judge.judge([self.folder / "runs"], self.output, address, "j")
        with endpoint([(401, "who are you?")]) as (address, _):
            with self.assertRaisesRegex(nibble.judge.JudgeError, "401.*who are you"):
                nibble.judge.judge([self.folder / "runs"], self.output, address, "j")
        with self.assertRaisesRegex(nibble.judge.JudgeError, "cannot be reached"):
            nibble.judge.judge([self.folder / "runs"], self.output, "http://127.0.0.1:9", "j", attempts=1)

    def test_verdicts_of_one_model_are_not_anothers(self):
        data = self.folder / "data" / "mt_bench"
        data.mkdir(parents=True)
        (data / "question.jsonl").write_text("".join(json.dumps({"question_id": i, "category": "x", "turns": [f"Say {i}."]}) + "\n" for i in range(2)))
        lines = [{"task": "mt_bench", "doc_id": i, "score": 4 + i, "model": "one"} for i in range(2)] + [{"task": "mt_bench", "doc_id": 0, "score": 9, "model": "two"}]
        with nibble.Evaluation() as evaluation:
            for name in ("one", "two"):
                evaluation.add_model(nibble.load(MODEL), name)
            for key, value in (("tasks", "mt_bench"), ("data", str(data.parent)), ("max_gen_toks", "2"), ("verdicts", "".join(json.dumps(v) + "\n" for v in lines))):
                evaluation.set(key, value)
            models = evaluation.tasks()["models"]
        self.assertEqual([m["results"]["mt_bench"]["judge_score,none"] for m in models], [4.5, 9])


if __name__ == "__main__":
    unittest.main()
