"""Quantizing and measuring."""
import ctypes
import json
import os

from . import _abi
from ._lib import Callbacks, Handle, InvalidArgumentError, buffer_result, check, encode, lib, take_json
from ._runtime import Checkpoint, Model, compute_mode, default_runtime, id_array


class Quantizer(Handle):
    """One job: a recipe, a calibration, settings. See nibble.methods() and nibble.quantizer_settings()."""

    _destroy = "nbl_quantizer_destroy"

    def __init__(self, recipe, runtime=None):
        self.runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_quantizer)()
        check(lib.nbl_quantizer_create(self.runtime.handle, encode(recipe), ctypes.byref(out)))
        super().__init__(out)

    def set(self, name, value):
        if isinstance(value, bool):
            value = "true" if value else "false"
        check(lib.nbl_quantizer_set(self.handle, encode(name), encode(str(value))))

    def add_override(self, regex, recipe):
        check(lib.nbl_quantizer_add_override(self.handle, encode(regex), encode(recipe)))

    def set_calibration_text(self, text, source="memory"):
        data = encode(text)
        check(lib.nbl_quantizer_set_calibration_text(self.handle, data, len(data), encode(source)))

    def set_calibration_ids(self, windows, source="memory"):
        """windows: lists of ids, all of one length."""
        windows = [list(w) for w in windows]
        if not windows or any(len(w) != len(windows[0]) for w in windows):
            raise InvalidArgumentError("calibration windows must be non-empty and of one length")
        pointer, _ = id_array([token for w in windows for token in w])
        check(lib.nbl_quantizer_set_calibration_ids(self.handle, pointer, len(windows), len(windows[0]), encode(source)))

    def run(self, checkpoint, output, progress=None):
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


class Evaluation(Handle):
    """Models, a text, tasks and settings; the first model is the reference. See nibble.evaluation_settings()."""

    _destroy = "nbl_evaluation_destroy"

    def __init__(self, runtime=None):
        self.runtime = runtime or default_runtime()
        out = ctypes.POINTER(_abi.nbl_evaluation)()
        check(lib.nbl_evaluation_create(self.runtime.handle, ctypes.byref(out)))
        super().__init__(out)

    def set(self, name, value):
        if isinstance(value, bool):
            value = "true" if value else "false"
        check(lib.nbl_evaluation_set(self.handle, encode(name), encode(str(value))))

    def add_model(self, model, name=None):
        check(lib.nbl_evaluation_add_model(self.handle, model.handle, encode(name) if name else None))

    def set_text(self, text, source="memory"):
        data = encode(text)
        check(lib.nbl_evaluation_set_text(self.handle, data, len(data), encode(source)))

    def add_task(self, name, questions):
        """questions: dicts {"context", "choices", "answer"}, or the JSON lines themselves."""
        if not isinstance(questions, str):
            questions = "\n".join(json.dumps(q) for q in questions)
        data = encode(questions)
        check(lib.nbl_evaluation_add_task(self.handle, encode(name), data, len(data)))

    def add_task_definition(self, definition, source="the task definition"):
        """definition: a dict, or YAML or JSON, in lm-evaluation-harness's task format; or a pathlib.Path of one."""
        if isinstance(definition, os.PathLike):
            definition, source = _read_text(definition)
        if not isinstance(definition, str):
            definition = json.dumps(definition)
        data = encode(definition)
        check(lib.nbl_evaluation_add_task_definition(self.handle, data, len(data), encode(source)))

    def _measure(self, function, *arguments, progress=None):
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

    def perplexity(self, progress=None):
        return self._measure(lib.nbl_evaluation_perplexity, progress=progress)

    def compare(self, progress=None):
        return self._measure(lib.nbl_evaluation_compare, progress=progress)

    def tasks(self, progress=None):
        return self._measure(lib.nbl_evaluation_tasks, progress=progress)

    def speed(self, progress=None):
        return self._measure(lib.nbl_evaluation_speed, progress=progress)

    def score(self, requests, progress=None):
        """requests: dicts {"context", "continuation"} or {"context_ids", "continuation_ids"}."""
        data = encode("\n".join(json.dumps(r) for r in requests))
        return self._measure(lib.nbl_evaluation_score, data, len(data), progress=progress)["results"]


class QTensor(Handle):
    """A quantized matrix on its own: the methods and the kernels without a model."""

    _destroy = "nbl_qtensor_destroy"

    def __init__(self, pointer):
        super().__init__(pointer)

    @classmethod
    def quantize(cls, weight, shape, recipe, runtime=None, seed=0, hessian=None, abs_mean=None, tokens=0):
        """weight: float32 [n, k] row-major in anything that has the buffer protocol (array.array("f"), numpy), or a sequence
        of floats; shape: (n, k)."""
        runtime = runtime or default_runtime()
        n, k = shape
        options = _abi.nbl_qtensor_options()
        options.struct_size = ctypes.sizeof(options)
        options.seed, options.tokens = seed, tokens
        keep = [floats(weight, n * k, "weight")]
        if hessian is not None:
            keep.append(floats(hessian, k * k, "hessian"))
            options.hessian = ctypes.cast(keep[-1], ctypes.POINTER(ctypes.c_float))
        if abs_mean is not None:
            keep.append(floats(abs_mean, k, "abs_mean"))
            options.abs_mean = ctypes.cast(keep[-1], ctypes.POINTER(ctypes.c_float))
        out = ctypes.POINTER(_abi.nbl_qtensor)()
        check(lib.nbl_qtensor_quantize(runtime.handle, keep[0], n, k, k, encode(recipe), ctypes.byref(options),
                                       ctypes.byref(out)))
        return cls(out)

    @classmethod
    def from_checkpoint(cls, checkpoint, name):
        out = ctypes.POINTER(_abi.nbl_qtensor)()
        check(lib.nbl_qtensor_from_checkpoint(checkpoint.handle, encode(name), ctypes.byref(out)))
        return cls(out)

    @property
    def shape(self):
        return lib.nbl_qtensor_rows(self.handle), lib.nbl_qtensor_columns(self.handle)

    def info(self):
        return take_json(buffer_result(lib.nbl_qtensor_info, self.handle))

    def dequantize(self):
        """A memoryview of floats [n, k]; numpy.asarray takes it without a copy."""
        n, k = self.shape
        out = (ctypes.c_float * (n * k))()
        check(lib.nbl_qtensor_dequantize(self.handle, 0, n, out, k))
        return memoryview(out).cast("B").cast("f", (n, k))

    def matmul(self, x, compute="default"):
        """x: float32 [m, k] row-major. Returns x times the transposed matrix, a memoryview [m, n]."""
        n, k = self.shape
        data = floats(x, None, "x")
        m = len(data) // k
        if m * k != len(data) or m == 0:
            raise InvalidArgumentError(f"x holds {len(data)} floats; a multiple of {k} was expected")
        y = (ctypes.c_float * (m * n))()
        check(lib.nbl_qtensor_matmul(self.handle, compute_mode(compute), data, k, m, y, n))
        return memoryview(y).cast("B").cast("f", (m, n))


def floats(values, count, name):
    """A C array of floats; shares memory with a writable contiguous float32 buffer, copies anything else."""
    try:
        view = memoryview(values)
    except TypeError:
        flat = list(values)
        data = (ctypes.c_float * len(flat))(*flat)
    else:
        if view.format != "f" or not view.contiguous:
            raise InvalidArgumentError(f"{name} must be contiguous float32, not format {view.format!r}")
        length = view.nbytes // 4
        kind = ctypes.c_float * length
        data = kind.from_buffer_copy(view) if view.readonly else kind.from_buffer(view)
    if count is not None and len(data) != count:
        raise InvalidArgumentError(f"{name} holds {len(data)} floats; {count} were expected")
    return data


def _read_text(text):
    """A path's content and name, or the text itself."""
    if isinstance(text, os.PathLike):
        with open(text, encoding="utf-8") as file:
            return file.read(), os.fspath(text)
    return text, "memory"


def _as_checkpoint(source, runtime):
    return source if isinstance(source, Checkpoint) else Checkpoint(source, runtime)


def _as_model(source, runtime, compute):
    return source if isinstance(source, Model) else Model(source, runtime, compute)


def load(source, runtime=None, compute="default", progress=None):
    """A Model of a path or a Checkpoint."""
    return Model(source, runtime, compute, progress)


def quantize(source, output, recipe, calibration=None, settings=None, overrides=None, runtime=None, progress=None,
             format=None):
    """Quantizes a model (path or Checkpoint) into the file `output` and returns the report.

    recipe: "gptq:bits=4,group=64"; calibration: a text, or a pathlib.Path of one; settings: {"gptq.damp": 0.01, "seed": 1};
    overrides: [(regex, recipe)]; format: of the output, as nibble.dialects() lists them."""
    checkpoint = _as_checkpoint(source, runtime)
    with Quantizer(recipe, checkpoint.runtime) as quantizer:
        for name, value in (settings or {}).items():
            quantizer.set(name, value)
        if format is not None:
            quantizer.set("format", format)
        for regex, other in overrides or []:
            quantizer.add_override(regex, other)
        if calibration is not None:
            quantizer.set_calibration_text(*_read_text(calibration))
        return quantizer.run(checkpoint, output, progress)


def convert(source, output, format="native", allow_lossy=False, verify=False, runtime=None, progress=None):
    """Writes a model (path or Checkpoint) in another format and returns the report; see Checkpoint.convert."""
    return _as_checkpoint(source, runtime).convert(output, format, allow_lossy, verify, progress)


def _evaluation(models, names, text, protocol, windows, runtime, compute):
    models = [_as_model(m, runtime, compute) for m in models]
    evaluation = Evaluation(models[0].runtime)
    for model, name in zip(models, names):
        evaluation.add_model(model, name)
    evaluation.set_text(*_read_text(text))
    evaluation.set("protocol", protocol)
    evaluation.set("windows", windows)
    return evaluation


def _name(source, index):
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"model {index + 1}"


def perplexity(model, text, protocol="windows-512", windows=0, runtime=None, compute="default", progress=None):
    """Perplexity of a model (Model or path) on a text (or a pathlib.Path of one); a dict."""
    with _evaluation([model], [_name(model, 0)], text, protocol, windows, runtime, compute) as evaluation:
        return evaluation.perplexity(progress)


def compare(reference, *candidates, text, protocol="windows-512", windows=0, runtime=None, compute="default",
            progress=None):
    """KL divergence, top-1 agreement and perplexity of candidates against a reference; a list of dicts."""
    models = [reference, *candidates]
    runtime = runtime or next((m.runtime for m in models if isinstance(m, Model)), None)
    names = [_name(m, i) for i, m in enumerate(models)]
    with _evaluation(models, names, text, protocol, windows, runtime, compute) as evaluation:
        return evaluation.compare(progress)["candidates"]


def evaluate(models, tasks, limit=0, runtime=None, compute="default", progress=None, data=None, **settings):
    """One model or several on benchmark tasks; a dict in lm-evaluation-harness's layout, with "models" and "paired".

    tasks: names ("hellaswag,arc_easy" or a list; their files lie in the folder `data`), pathlib.Paths of task definitions (.yaml, .json),
    or {"name": questions or pathlib.Path of JSON lines}. settings: any of nibble.evaluation_settings(), as num_fewshot=5,
    samples=True."""
    if not isinstance(models, (list, tuple)):
        models = [models]
    names = [_name(m, i) for i, m in enumerate(models)]
    runtime = runtime or next((m.runtime for m in models if isinstance(m, Model)), None)
    loaded = [_as_model(m, runtime, compute) for m in models]
    with Evaluation(loaded[0].runtime) as evaluation:
        for model, name in zip(loaded, names):
            evaluation.add_model(model, name)
        evaluation.set("limit", limit)
        if data is not None:
            evaluation.set("data", os.fspath(data))
        for name, value in settings.items():
            evaluation.set(name, value)
        if isinstance(tasks, dict):
            for name, questions in tasks.items():
                evaluation.add_task(name, _read_text(questions)[0] if isinstance(questions, os.PathLike) else questions)
        else:
            tasks = [tasks] if isinstance(tasks, (str, os.PathLike)) else list(tasks)
            for path in (t for t in tasks if isinstance(t, os.PathLike)):
                evaluation.add_task_definition(path)
            named = ",".join(t for t in tasks if isinstance(t, str))
            if named:
                evaluation.set("tasks", named)
        return evaluation.tasks(progress)
