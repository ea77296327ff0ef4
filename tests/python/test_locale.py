"""Numbers are read and written with a point whatever the locale says: the library in a process whose C library writes commas."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = """
import ctypes, json, locale, pathlib, sys
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
buffer = ctypes.create_string_buffer(32)
ctypes.CDLL(None).snprintf(buffer, 32, b"%.1f", ctypes.c_double(0.5))
assert buffer.value == b"0,5", buffer.value      # the locale is in force
import nibble
root, output = pathlib.Path(sys.argv[1]), sys.argv[2]
quantizer = nibble.Quantizer("gptq:bits=4,group=64,damp=0.02")
quantizer.set("calibration.windows", "2")
quantizer.set_calibration_text((root / "examples/data/calibration.txt").read_text(), "text")
original = nibble.Checkpoint(root / "examples/models/prose-3.7m")
report = quantizer.run(original, output)
row = nibble.compare(str(root / "examples/models/prose-3.7m"), output, text=root / "examples/data/evaluation.txt", windows=1)[0]
assert locale.setlocale(locale.LC_ALL) == "de_DE.UTF-8"
print(json.dumps({"kl": row["mean_kl"], "bits": report["bits_per_weight"], "damp": report["options"]["damp"]}))
"""


class Locale(unittest.TestCase):
    def run_program(self, folder, **environment):
        done = subprocess.run([sys.executable, "-B", "-c", PROGRAM, str(ROOT),
                               os.path.join(folder, "out.safetensors")], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python"), **environment})
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_decimal_commas(self):
        if not shutil.which("localedef") or not os.path.exists("/usr/share/i18n/locales/de_DE"):
            self.skipTest("no localedef with its sources (Debian's package locales)")
        with tempfile.TemporaryDirectory() as folder:
            made = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", os.path.join(folder, "de_DE.UTF-8")],
                                  capture_output=True, text=True, check=False)
            self.assertTrue(os.path.isdir(os.path.join(folder, "de_DE.UTF-8")), made.stderr)
            result = self.run_program(folder, LOCPATH=folder)
        self.assertTrue(0.001 < result["kl"] < 1, result)
        self.assertTrue(4 < result["bits"] < 5, result)
        self.assertEqual(float(result["damp"]), 0.02)


if __name__ == "__main__":
    unittest.main()
