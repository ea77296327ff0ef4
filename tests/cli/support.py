"""What the tests of the command share: running it, and models damaged in one way each."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NIBBLE = os.environ.get("NIBBLE_COMMAND", str(ROOT / "build" / "release" / "bin" / "nibble"))
MODEL = ROOT / "examples" / "models" / "prose-3.7m"
DATA = ROOT / "examples" / "data"


def nibble(*arguments, timeout=300, **options):
    """Runs the command; returns (status, stdout, stderr)."""
    done = subprocess.run([NIBBLE, *map(str, arguments)], capture_output=True, timeout=timeout, **options)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + size]), bytearray(data[8 + size:])


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Case(unittest.TestCase):
    """A test with a directory of its own."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="nibble-test-"))

    def tearDown(self):
        subprocess.run(["chmod", "-R", "u+w", str(self.dir)], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def copy_model(self):
        model = self.dir / "model"
        shutil.copytree(MODEL, model)
        subprocess.run(["chmod", "-R", "u+w", str(model)], check=True)
        return model

    def change_config(self, **values):
        model = self.copy_model()
        config = json.loads((model / "config.json").read_text())
        config.update(values)
        (model / "config.json").write_text(json.dumps(config))
        return model

    def change_tensors(self, change):
        """A copy of the model after change(header, data)."""
        model = self.copy_model()
        header, data = read_safetensors(model / "model.safetensors")
        change(header, data)
        write_safetensors(model / "model.safetensors", header, data)
        return model

    def refuse(self, status, arguments, *words, **options):
        """The command ends with `status` and one sentence that has all the words; returns what it wrote to stderr."""
        found, out, err = nibble(*arguments, **options)
        self.assertEqual(found, status, f"{arguments}\n{out}\n{err}")
        lines = [line for line in err.splitlines() if line.startswith("nibble: ")]
        self.assertEqual(len(lines), 1, err)
        for word in words:
            self.assertIn(str(word), lines[0])
        return err

    def accept(self, *arguments, **options):
        """The command succeeds; returns what it wrote to stdout."""
        found, out, err = nibble(*arguments, **options)
        self.assertEqual(found, 0, f"{arguments}\n{out}\n{err}")
        return out

    def result(self, *arguments, status=0, **options):
        """The JSON that the command prints."""
        found, out, err = nibble(*arguments, "--json", "-", **options)
        self.assertEqual(found, status, f"{arguments}\n{out}\n{err}")
        return json.loads(out)
