"""BLEU, chrF and ROUGE of 500 fresh pairs of sentences against sacrebleu, rouge-score, nltk and lm_eval, and 500 fresh answers each for
IFEval's and MATH's checkers against lm_eval's: another seed each day, which is printed. Needs NIBBLE_LM_EVAL_PYTHON, a Python with these packages; NIBBLE_TEXT_METRICS_SEED repeats a seed."""
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEST_EVAL = os.environ.get("NIBBLE_TEST_EVAL", str(ROOT / "build" / "release" / "bin" / "test_eval"))
PYTHON = os.environ.get("NIBBLE_LM_EVAL_PYTHON")


@unittest.skipUnless(PYTHON, "NIBBLE_LM_EVAL_PYTHON names no Python with lm_eval")
class TextMetrics(unittest.TestCase):
    def test_fresh_cases(self):
        seed = os.environ.get("NIBBLE_TEXT_METRICS_SEED", str(int(time.time()) // 86400))
        print("seed", seed, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            cases = pathlib.Path(folder) / "cases.jsonl"
            with open(cases, "w", encoding="utf-8") as file:
                subprocess.run([PYTHON, str(ROOT / "tests/golden/eval/make_text_metrics.py"), "--cases", "500", "--seed", seed], stdout=file, check=True)
            self.assertEqual(sum(1 for _ in open(cases, encoding="utf-8")), 502)
            done = subprocess.run([TEST_EVAL, "--gtest_filter=TextMetrics.Sentences*:TextMetrics.ACorpus*"], capture_output=True, text=True,
                                  env={**os.environ, "NIBBLE_TEXT_METRICS": str(cases)})
            self.assertEqual(done.returncode, 0, done.stdout[-3000:])
            self.assertIn("2 tests", done.stdout)

    def test_fresh_pieces(self):
        seed = os.environ.get("NIBBLE_TEXT_METRICS_SEED", str(int(time.time()) // 86400))
        print("seed", seed, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            cases = pathlib.Path(folder) / "spbleu.jsonl"
            with open(cases, "w", encoding="utf-8") as file:
                subprocess.run([PYTHON, str(ROOT / "tests/golden/eval/make_spbleu.py"), "--cases", "500", "--seed", seed], stdout=file, check=True)
            self.assertEqual(sum(1 for _ in open(cases, encoding="utf-8")), 2004)
            done = subprocess.run([TEST_EVAL, "--gtest_filter=SpBleu.Pieces*"], capture_output=True, text=True,
                                  env={**os.environ, "NIBBLE_SPBLEU": str(cases)})
            self.assertEqual(done.returncode, 0, done.stdout[-3000:])
            self.assertIn("1 test", done.stdout)

    def test_fresh_answers(self):
        seed = os.environ.get("NIBBLE_TEXT_METRICS_SEED", str(int(time.time()) // 86400))
        print("seed", seed, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([PYTHON, str(ROOT / "tests/golden/eval/make_answers.py"), "--seed", seed, "--output", folder], check=True)
            done = subprocess.run([TEST_EVAL, "--gtest_filter=Instructions.FollowedWhere*:MathAnswers.EquivalentWhere*"], capture_output=True, text=True,
                                  env={**os.environ, "NIBBLE_TEST_ANSWERS": folder})
            self.assertEqual(done.returncode, 0, done.stdout[-3000:])
            self.assertIn("2 tests", done.stdout)


if __name__ == "__main__":
    unittest.main()
