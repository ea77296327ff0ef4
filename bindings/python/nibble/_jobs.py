"""Quantizing and measuring."""
from __future__ import annotations

import ctypes
import json
import os
from typing import Any, Iterable, Sequence, Union

from . import _abi
from ._lib import Callbacks, Handle, InvalidArgumentError, Path, check, encode, lib, take_json
from ._model import Model
from ._progress import ProgressLike
from ._results import Result, Rows
from ._runtime import Checkpoint, Runtime, default_runtime, id_array, output_format, setting_text

#: A model as functions take it: loaded, opened, or a path.
AnyModel = Union[Model, Checkpoint, Path]


class Quantizer(Handle):
    """One job: a recipe, a calibration, settings. See nibble.methods() and nibble.quantizer_settings()."""

    _destroy = "nbl_quantizer_destroy"

    def __init__(self, recipe: str, runtime: Runtime | None = None):
        self.runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_quantizer)()
        check(lib.nbl_quantizer_create(self.runtime.handle, encode(recipe), ctypes.byref(out)))
        super().__init__(out)

    def set(self, name: str, value: Any) -> None:
        check(lib.nbl_quantizer_set(self.handle, encode(name), encode(setting_text(value))))

    def add_override(self, regex: str, recipe: str) -> None:
        """Tensors whose whole name matches get another recipe; "" keeps them as they are. The first match wins."""
        check(lib.nbl_quantizer_add_override(self.handle, encode(regex), encode(recipe)))

    def set_calibration_text(self, text: str, source: str = "memory") -> None:
        data = encode(text, sized=True)
        check(lib.nbl_quantizer_set_calibration_text(self.handle, data, len(data), encode(source)))

    def set_calibration_ids(self, windows: Iterable[Iterable[int]], source: str = "memory") -> None:
        """windows: lists of ids, all of one length."""
        windows = [list(w) for w in windows]
        if not windows or any(len(w) != len(windows[0]) for w in windows):
            raise InvalidArgumentError("calibration windows must be non-empty and of one length")
        pointer, _ = id_array([token for w in windows for token in w])
        check(lib.nbl_quantizer_set_calibration_ids(self.handle, pointer, len(windows), len(windows[0]), encode(source)))

    def run(self, checkpoint: Checkpoint, output: Path, progress: ProgressLike = None) -> Result:
        """Writes the quantized model and returns the report."""
        callbacks = Callbacks(progress)
        check(lib.nbl_quantizer_set_progress(self.handle, callbacks.progress, None))
        out = ctypes.POINTER(_abi.nbl_buffer)()
        try:
            with callbacks:
                status = lib.nbl_quantizer_run(self.handle, checkpoint.handle, encode(output), ctypes.byref(out))
            report = take_json(out) if out else None
            callbacks.check(status)
        finally:
            lib.nbl_quantizer_set_progress(self.handle, _abi.nbl_progress_fn(), None)
        return report


class Export(Handle):
    """Writes checkpoints in another format. settings: allow_lossy, verify, measured; see nibble.export_settings()."""

    _destroy = "nbl_export_destroy"

    def __init__(self, format: str = "native", runtime: Runtime | None = None, **settings: Any):
        self.runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_export)()
        check(lib.nbl_export_create(self.runtime.handle, encode(format), ctypes.byref(out)))
        super().__init__(out)
        for name, value in settings.items():
            self.set(name, value)

    def set(self, name: str, value: Any) -> None:
        check(lib.nbl_export_set(self.handle, encode(name), encode(setting_text(value))))

    def run(self, checkpoint: Checkpoint, output: Path, progress: ProgressLike = None) -> Result:
        """Writes the checkpoint and returns the report; "ok" is False, and nothing is there, when "refused" names tensors."""
        callbacks = Callbacks(progress)
        check(lib.nbl_export_set_progress(self.handle, callbacks.progress, None))
        ok, out = ctypes.c_int32(), ctypes.POINTER(_abi.nbl_buffer)()
        try:
            with callbacks:
                status = lib.nbl_export_run(self.handle, checkpoint.handle, encode(output), ctypes.byref(ok), ctypes.byref(out))
            report = take_json(out) if out else None
            callbacks.check(status)
        finally:
            lib.nbl_export_set_progress(self.handle, _abi.nbl_progress_fn(), None)
        report["ok"] = bool(ok.value)
        return report


class Evaluation(Handle):
    """Models, a text, tasks and settings; the first model is the reference. See nibble.evaluation_settings()."""

    _destroy = "nbl_evaluation_destroy"

    def __init__(self, runtime: Runtime | None = None):
        self.runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_evaluation)()
        check(lib.nbl_evaluation_create(self.runtime.handle, ctypes.byref(out)))
        super().__init__(out)

    def set(self, name: str, value: Any) -> None:
        check(lib.nbl_evaluation_set(self.handle, encode(name), encode(setting_text(value))))

    def add_model(self, model: Model, name: str | None = None) -> None:
        check(lib.nbl_evaluation_add_model(self.handle, model.handle, encode(name) if name else None))

    def set_text(self, text: str, source: str = "memory") -> None:
        data = encode(text, sized=True)
        check(lib.nbl_evaluation_set_text(self.handle, data, len(data), encode(source)))

    def add_task(self, name: str, questions: str | Iterable[dict]) -> None:
        """questions: dicts {"context", "choices", "answer"}, or the JSON lines themselves."""
        if not isinstance(questions, str):
            questions = "\n".join(json.dumps(q) for q in questions)
        data = encode(questions, sized=True)
        check(lib.nbl_evaluation_add_task(self.handle, encode(name), data, len(data)))

    def add_task_definition(self, definition: Any, source: str = "the task definition") -> None:
        """definition: a dict, or YAML or JSON, in lm-evaluation-harness's task format; or a pathlib.Path of one."""
        if isinstance(definition, os.PathLike):
            definition, source = read_text(definition)
        if not isinstance(definition, str):
            definition = json.dumps(definition)
        data = encode(definition, sized=True)
        check(lib.nbl_evaluation_add_task_definition(self.handle, data, len(data), encode(source)))

    def _measure(self, function, *arguments, progress: ProgressLike = None) -> Result:
        callbacks = Callbacks(progress)
        check(lib.nbl_evaluation_set_progress(self.handle, callbacks.progress, None))
        out = ctypes.POINTER(_abi.nbl_buffer)()
        try:
            with callbacks:
                status = function(self.handle, *arguments, ctypes.byref(out))
            result = take_json(out) if out else None
            callbacks.check(status)
        finally:
            lib.nbl_evaluation_set_progress(self.handle, _abi.nbl_progress_fn(), None)
        return result

    def perplexity(self, progress: ProgressLike = None) -> Result:
        return self._measure(lib.nbl_evaluation_perplexity, progress=progress)

    def compare(self, progress: ProgressLike = None) -> Result:
        return self._measure(lib.nbl_evaluation_compare, progress=progress)

    def tasks(self, progress: ProgressLike = None) -> Result:
        return self._measure(lib.nbl_evaluation_tasks, progress=progress)

    def speed(self, progress: ProgressLike = None) -> Result:
        return self._measure(lib.nbl_evaluation_speed, progress=progress)

    def score(self, requests: Iterable[dict], progress: ProgressLike = None) -> Rows:
        """requests: dicts {"context", "continuation"} or {"context_ids", "continuation_ids"}."""
        data = encode("\n".join(json.dumps(r) for r in requests), sized=True)
        return Rows(self._measure(lib.nbl_evaluation_score, data, len(data), progress=progress)["results"])


def read_text(text: str | os.PathLike) -> tuple[str, str]:
    """A path's content and name, or the text itself."""
    if isinstance(text, os.PathLike):
        with open(text, encoding="utf-8") as file:
            return file.read(), os.fspath(text)
    return text, "memory"


def as_checkpoint(source: Path | Checkpoint, runtime: Runtime | None) -> Checkpoint:
    return source if isinstance(source, Checkpoint) else Checkpoint(source, runtime)


def as_model(source: AnyModel, runtime: Runtime | None, compute: str) -> Model:
    return source if isinstance(source, Model) else Model(source, runtime, compute)


def name_of(source: AnyModel, index: int) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"model {index + 1}"


def load(source: Path | Checkpoint, runtime: Runtime | None = None, compute: str = "default",
         progress: ProgressLike = None) -> Model:
    """A Model of a path or a Checkpoint."""
    return Model(source, runtime, compute, progress)


def quantize(source: Path | Checkpoint, output: Path, recipe: str, calibration: str | os.PathLike | None = None,
             settings: dict | None = None, overrides: Sequence[tuple[str, str]] | None = None, runtime: Runtime | None = None,
             progress: ProgressLike = None, format: str | None = None) -> Result:
    """Quantizes a model (path or Checkpoint) into the file `output` and returns the report.

    recipe: "gptq:bits=4,group=64"; calibration: a text, or a pathlib.Path of one; settings: {"gptq.damp": 0.01, "seed": 1};
    overrides: [(regex, recipe)]; format: of the output, as nibble.dialects() lists them (None: "gguf" for a
    name that ends so, else "native"); progress: True for a bar, or a function of a Progress."""
    checkpoint = as_checkpoint(source, runtime)
    with Quantizer(recipe, checkpoint.runtime) as quantizer:
        for name, value in (settings or {}).items():
            quantizer.set(name, value)
        if format is not None or "format" not in (settings or {}):
            quantizer.set("format", output_format(format, output))
        for regex, other in overrides or []:
            quantizer.add_override(regex, other)
        if calibration is not None:
            quantizer.set_calibration_text(*read_text(calibration))
        return quantizer.run(checkpoint, output, progress)


def convert(source: Path | Checkpoint, output: Path, format: str | None = None, allow_lossy: bool = False, verify: bool = False,
            runtime: Runtime | None = None, progress: ProgressLike = None) -> Result:
    """Writes a model (path or Checkpoint) in another format and returns the report; see Checkpoint.convert."""
    return as_checkpoint(source, runtime).convert(output, format, allow_lossy, verify, progress)


def _evaluation(models, names, text, protocol, windows, runtime, compute) -> Evaluation:
    models = [as_model(m, runtime, compute) for m in models]
    evaluation = Evaluation(models[0].runtime)
    for model, name in zip(models, names):
        evaluation.add_model(model, name)
    evaluation.set_text(*read_text(text))
    evaluation.set("protocol", protocol)
    evaluation.set("windows", windows)
    return evaluation


def perplexity(model: AnyModel, text: str | os.PathLike, protocol: str = "windows-512", windows: int = 0,
               runtime: Runtime | None = None, compute: str = "default", progress: ProgressLike = None) -> Result:
    """Perplexity of a model (Model or path) on a text (or a pathlib.Path of one); a dict."""
    with _evaluation([model], [name_of(model, 0)], text, protocol, windows, runtime, compute) as evaluation:
        return evaluation.perplexity(progress)


def compare(reference: AnyModel, *candidates: AnyModel, text: str | os.PathLike, protocol: str = "windows-512", windows: int = 0,
            runtime: Runtime | None = None, compute: str = "default", progress: ProgressLike = None) -> Rows:
    """KL divergence, top-1 agreement and perplexity of candidates against a reference; a list of dicts."""
    models = [reference, *candidates]
    runtime = runtime or next((m.runtime for m in models if isinstance(m, Model)), None)
    names = [name_of(m, i) for i, m in enumerate(models)]
    with _evaluation(models, names, text, protocol, windows, runtime, compute) as evaluation:
        return Rows(evaluation.compare(progress)["candidates"])


def add_tasks(evaluation: Evaluation, tasks: Any, data: Path | None = None) -> None:
    """Tasks as evaluate() takes them."""
    if data is not None:
        evaluation.set("data", os.fspath(data))
    if isinstance(tasks, dict):
        for name, questions in tasks.items():
            evaluation.add_task(name, read_text(questions)[0] if isinstance(questions, os.PathLike) else questions)
        return
    tasks = [tasks] if isinstance(tasks, (str, os.PathLike)) else list(tasks)
    for path in (t for t in tasks if isinstance(t, os.PathLike)):
        evaluation.add_task_definition(path)
    named = ",".join(t for t in tasks if isinstance(t, str))
    if named:
        evaluation.set("tasks", named)


def evaluate(models: AnyModel | Sequence[AnyModel], tasks: Any, limit: int = 0, runtime: Runtime | None = None,
             compute: str = "default", progress: ProgressLike = None, data: Path | None = None, **settings: Any) -> Result:
    """One model or several on benchmark tasks; a dict in lm-evaluation-harness's layout, with "models" and "paired".

    tasks: names ("hellaswag,arc_easy" or a list; their files lie in the folder `data`), pathlib.Paths of task definitions (.yaml, .json),
    or {"name": questions or pathlib.Path of JSON lines}. settings: any of nibble.evaluation_settings(), as num_fewshot=5,
    samples=True."""
    if not isinstance(models, (list, tuple)):
        models = [models]
    names = [name_of(m, i) for i, m in enumerate(models)]
    runtime = runtime or next((m.runtime for m in models if isinstance(m, Model)), None)
    loaded = [as_model(m, runtime, compute) for m in models]
    with Evaluation(loaded[0].runtime) as evaluation:
        for model, name in zip(loaded, names):
            evaluation.add_model(model, name)
        evaluation.set("limit", limit)
        for name, value in settings.items():
            evaluation.set(name, value)
        add_tasks(evaluation, tasks, data)
        return evaluation.tasks(progress)
