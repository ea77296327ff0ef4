"""Jobs whose outputs must never be seen half-written: what kill.py kills and power.py cuts the power of."""
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
NIBBLE = os.environ.get("NIBBLE_COMMAND", str(ROOT / "build" / "release" / "bin" / "nibble"))
MODEL = ROOT / "examples" / "models" / "prose-3.7m"
DATA = ROOT / "examples" / "data"
QUANTIZED = "quantized.safetensors"  # made once, beside the folders of the jobs


def tree(path):
    """What lies under a name: its bytes, or a dictionary of what lies below; None when there is nothing."""
    if path.is_dir():
        return {p.name: tree(p) for p in sorted(path.iterdir())}
    return path.read_bytes() if path.exists() else None


class Scenario:
    """arguments(folder, inputs) -> the command; outputs: names below folder that it writes; settled(name, content): the part of
    an output that does not depend on when it was made."""

    def __init__(self, name, arguments, outputs, calibrated=False, settled=None):
        self.name, self.arguments, self.outputs, self.calibrated = name, arguments, outputs, calibrated
        self.settled = settled or (lambda output, content: content)

    def command(self, folder, inputs):
        return [NIBBLE, *map(str, self.arguments(folder, inputs)), "--quiet"]

    def run(self, folder, inputs):
        done = subprocess.run(self.command(folder, inputs), capture_output=True, timeout=600)
        if done.returncode != 0:
            raise AssertionError(f"{self.name}: status {done.returncode}: {done.stderr.decode()}")

    def found(self, folder):
        """What can be seen under the final names."""
        return {name: tree(folder / name) for name in self.outputs}

    def same(self, found, wanted):
        return all(self.settled(name, found[name]) == self.settled(name, wanted[name]) for name in self.outputs)

    def left_over(self, folder):
        """What lies in the folder and is no output: hidden temporary files, a journal."""
        return sorted(p.name for p in folder.iterdir() if p.name not in self.outputs and p.name != "cache.sqlite")


def evaluation(output, content):
    """An evaluation's JSON without what it says of time and machine, and of how many answers it knew already."""
    if content is None:
        return None

    def lasting(value):
        if not isinstance(value, dict):
            return value
        return {key: lasting(each) for key, each in value.items() if key not in ("seconds", "cached")}

    return {key: lasting(value) for key, value in json.loads(content).items()
            if key in ("results", "groups", "versions", "n-samples", "configs")}


SCENARIOS = [
    Scenario("quantize", lambda folder, _: ["quantize", MODEL, "-o", folder / "out.safetensors", "--method", "gptq:bits=3,group=64",
                                            "--calib-tokens", 4096, "--resume"], ["out.safetensors"], calibrated=True),
    Scenario("quantize-plain", lambda folder, _: ["quantize", MODEL, "-o", folder / "out.safetensors", "--method", "rtn:bits=4,group=64"],
             ["out.safetensors"]),
    Scenario("convert", lambda folder, inputs: ["convert", inputs / QUANTIZED, "-o", folder / "out.gguf", "--format", "gguf", "--allow-lossy"],
             ["out.gguf"]),
    Scenario("export", lambda folder, _: ["quantize", MODEL, "-o", folder / "out", "--method", "rtn:bits=4,group=64", "--format", "gptq"],
             ["out"]),
    Scenario("eval", lambda folder, _: ["eval", MODEL, "--tasks", "builtin", "--limit", 40, "--cache", folder / "cache.sqlite",
                                        "--json", folder / "results.json"], ["results.json"], settled=evaluation),
]


def prepare(inputs):
    subprocess.run([NIBBLE, "quantize", str(MODEL), "-o", str(inputs / QUANTIZED), "--method", "rtn:bits=4,group=64", "--quiet"], check=True)
