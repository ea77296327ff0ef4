"""BLEU, spBLEU, chrF and ROUGE of 500 fresh pairs of sentences against sacrebleu, rouge-score, nltk and lm_eval, and 500 fresh answers each for
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
    def check_fresh(self, script, variable, lines, tests, count):
        """500 fresh cases of a golden script, which make `lines` lines, read by the `count` tests that read the shipped ones."""
        seed = os.environ.get("NIBBLE_TEXT_METRICS_SEED", str(int(time.time()) // 86400))
        print("seed", seed, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            cases = pathlib.Path(folder) / "cases.jsonl"
            with open(cases, "w", encoding="utf-8") as file:
                subprocess.run([PYTHON, str(ROOT / "tests/golden/eval" / script), "--cases", "500", "--seed", seed], stdout=file, check=True)
            self.assertEqual(len(cases.read_text(encoding="utf-8").split("\n")), lines + 1)
            done = subprocess.run([TEST_EVAL, f"--gtest_filter={tests}"], capture_output=True, text=True, env={**os.environ, variable: str(cases)})
            self.assertEqual(done.returncode, 0, done.stdout[-3000:])
            self.assertIn(f"{count} test", done.stdout)

    def test_fresh_cases(self):
        self.check_fresh("make_text_metrics.py", "NIBBLE_TEXT_METRICS", 502, "TextMetrics.Sentences*:TextMetrics.ACorpus*", 2)

    def test_fresh_pieces(self):
        self.check_fresh("make_spbleu.py", "NIBBLE_SPBLEU", 2004, "SpBleu.Pieces*", 1)

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
