"""Many recipes, each quantized, run and measured: one table."""
from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from typing import Any, Sequence

from . import _command as command
from ._jobs import Evaluation, add_tasks, as_checkpoint, name_of, quantize, read_text
from ._lib import Path
from ._model import Model
from ._progress import ProgressLike
from ._results import Result
from ._runtime import Checkpoint, Runtime, default_runtime


class Sweep(Result):
    """What sweep() measured: rows (the original first) and pareto, the recipes that no other beats in bits and divergence."""

    def plot(self, path: Path | None = None) -> Any:
        """Divergence against size, and speed against size; see nibble.plot.sweep."""
        from . import plot
        return plot.sweep(self, path)


def _speed(path: str, runtime: Runtime, compute: str, prompt: int, tokens: int, reps: int) -> dict:
    """Speed and memory, by the command in a process of its own where there is one: its memory is then the model's alone."""
    program = command.program()
    if program is not None:
        info = runtime.info()
        done = subprocess.run([program, "bench", path, "--json", "-", "--quiet", "--threads", str(runtime.threads), "--isa", info["isa"],
                               "--compute", "fast" if compute == "default" else compute, "--prompt", str(prompt), "--gen", str(tokens),
                               "--reps", str(reps)], capture_output=True, text=True)
        if done.returncode == 0:
            return json.loads(done.stdout)
    model = Model(path, runtime, compute)
    with Evaluation(runtime) as evaluation:
        evaluation.add_model(model)
        for name, value in (("prompt", prompt), ("gen", tokens), ("reps", reps)):
            evaluation.set(f"speed.{name}", value)
        return {**evaluation.speed(), "load_ms": model.info()["load_ms"], "peak_rss_bytes": None}


def _original_bits(inspected: dict, layers: set) -> float:
    """Bits a weight of the original in the layers that were quantized."""
    bits = weights = 0
    for t in inspected["tensors"]:
        if len(t["shape"]) == 2 and (not layers or t["name"] in layers):
            bits += 8 * t["bytes"]
            weights += t["shape"][0] * t["shape"][1]
    return bits / weights if weights else 0.0


def sweep(source: Path | Checkpoint, recipes: Sequence[str], text: str | os.PathLike,
          calibration: str | os.PathLike | None = None, output: Path | None = None, protocol: str = "windows-512", windows: int = 0,
          tasks: Any = None, limit: int = 0, data: Path | None = None, settings: dict | None = None, speed: bool = True,
          bench_prompt: int = 128, bench_gen: int = 32, reps: int = 3, prompt: str | None = None, tokens: int = 40,
          runtime: Runtime | None = None, compute: str = "default", progress: ProgressLike = None) -> Sweep:
    """Quantizes a model by each recipe, measures each against the original, and returns what `nibble sweep --json` says: rows of
    recipe, bits_per_weight, file_bytes, quantize_seconds, decode_tok_s, perplexity, mean_kl, tasks, ...; pareto.

    text: what to measure on, calibration: for the methods that need one; each a text or a pathlib.Path. output: a directory that keeps
    the models. tasks, data, limit: as in evaluate(). settings: of each quantizer. speed=False leaves the timing out. prompt: also show
    how each model continues this text, by `tokens` tokens."""
    recipes = [recipes] if isinstance(recipes, str) else list(recipes)
    checkpoint = as_checkpoint(source, runtime or (source.runtime if isinstance(source, Checkpoint) else default_runtime()))
    runtime = checkpoint.runtime
    content, text_name = read_text(text)
    inspected = checkpoint.inspect()
    path = os.fspath(source) if not isinstance(source, Checkpoint) else None
    rows = [{"recipe": "original", "path": path, "bits_per_weight": 0.0, "file_bytes": inspected["file_bytes"], "quantize_seconds": 0.0}]
    with tempfile.TemporaryDirectory(prefix="nibble-sweep-") as scratch:
        folder = os.fspath(output) if output is not None else scratch
        os.makedirs(folder, exist_ok=True)
        layers = set()
        for recipe in recipes:
            file = os.path.join(folder, re.sub(r"[^A-Za-z0-9._]", "-", recipe) + ".safetensors")
            report = quantize(checkpoint, file, recipe, calibration, settings, progress=progress)
            layers.update(layer["name"] for layer in report["layers"])
            rows.append({"recipe": recipe, "path": file, "bits_per_weight": report["bits_per_weight"], "file_bytes": report["file_bytes"],
                         "quantize_seconds": report["seconds"]})
        rows[0]["bits_per_weight"] = _original_bits(inspected, layers)
        for row in rows:
            measured = _speed(row["path"], runtime, compute, bench_prompt, bench_gen, reps) if speed and row["path"] else {}
            for key in ("peak_rss_bytes", "load_ms", "prefill_tok_s", "decode_tok_s"):
                row[key] = measured.get(key)
        with Evaluation(runtime) as evaluation:
            for row in rows:
                model = Model(row["path"] or checkpoint, runtime, compute)
                evaluation.add_model(model, row["recipe"])
                row["continuation"] = model.generate(prompt, tokens)["text"] if prompt else ""
            evaluation.set_text(content, text_name)
            for name, value in (("protocol", protocol), ("windows", windows), ("limit", limit)):
                evaluation.set(name, value)
            if tasks is not None:
                add_tasks(evaluation, tasks, data)
            compared = evaluation.compare(progress)
            answered = evaluation.tasks(progress) if tasks is not None else {}
    first = compared["candidates"][0] if compared["candidates"] else {}
    rows[0].update(perplexity=first.get("reference_ppl"), perplexity_stderr=first.get("reference_ppl_stderr"), mean_kl=0.0,
                   kl_stderr=0.0, top1_agreement=1.0)
    for row, candidate in zip(rows[1:], compared["candidates"]):
        row.update(perplexity=candidate["ppl"], perplexity_stderr=candidate["ppl_stderr"])
        row.update({key: candidate[key] for key in ("mean_kl", "kl_stderr", "top1_agreement")})
    results = answered.get("models") or ([{"results": answered["results"]}] if answered else [])
    for row, result in zip(rows, results):
        row["tasks"] = {task: {k: v for k, v in numbers.items() if "," in k} for task, numbers in result["results"].items()}
    if output is None:
        for row in rows[1:]:
            row["path"] = None
    pareto = [r["recipe"] for r in rows if not any(
        o["bits_per_weight"] <= r["bits_per_weight"] and o["mean_kl"] <= r["mean_kl"]
        and (o["bits_per_weight"] < r["bits_per_weight"] or o["mean_kl"] < r["mean_kl"]) for o in rows)]
    return Sweep(nibble_version=inspected["nibble_version"], machine=inspected["machine"], model=name_of(source, 0), text=text_name,
                 protocol=protocol, tokens=first.get("tokens", 0), rows=rows, pareto=pareto)
