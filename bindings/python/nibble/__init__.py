"""nibble: quantize language models, run them on CPUs, measure what it cost.

    import nibble
    from pathlib import Path

    nibble.quantize("models/prose", "prose-4bit.safetensors", "gptq:bits=4,group=64", calibration=Path("text.txt"))
    model = nibble.load("prose-4bit.safetensors")
    for piece in model.stream("It was"):
        print(piece, end="", flush=True)
    print(nibble.compare("models/prose", model, text=Path("other.txt")))

Results are dicts with the keys that docs/cli.md lists; in a notebook they show themselves as tables, and to_pandas() makes data frames
of them. Needs no package beside Python; numpy arrays and torch tensors are taken where floats are. progress=True shows a bar.
"""
from __future__ import annotations

import importlib as _importlib
import json as _json
from typing import Any as _Any

from ._jobs import Evaluation, Export, Quantizer, compare, convert, evaluate, load, perplexity, quantize
from ._lib import (BusyError, CancelledError, CorruptError, InputOutputError, InvalidArgumentError, LimitError,
                   MismatchError, NibbleError, NotFoundError, OutOfMemoryError, UnsupportedError, lib as _library)
from ._model import Batch, Model, Session, generation_settings
from ._progress import Progress
from ._qtensor import QTensor
from ._results import Generated, Result, Rows
from ._runtime import Checkpoint, Runtime, Tokenizer, default_runtime, limits, runtime_settings, set_limit
from ._sampler import Sampler, sampler_settings
from ._sweep import Sweep, sweep

__version__: str = _library.nbl_version().decode()


def methods() -> list[dict]:
    """Quantization methods with their options."""
    return _json.loads(_library.nbl_methods_json())


def dialects() -> list[dict]:
    """Checkpoint formats."""
    return _json.loads(_library.nbl_dialects_json())


def architectures() -> list[dict]:
    """Model families."""
    return _json.loads(_library.nbl_architectures_json())


def isas() -> list[dict]:
    """Instruction sets that kernels exist for."""
    return _json.loads(_library.nbl_isas_json())


def protocols() -> list[dict]:
    """Perplexity protocols."""
    return _json.loads(_library.nbl_protocols_json())


def task_kinds() -> list[dict]:
    """Kinds of evaluation task."""
    return _json.loads(_library.nbl_tasks_json())


def quantizer_settings() -> list[dict]:
    """Settings that every Quantizer takes."""
    return _json.loads(_library.nbl_quantizer_settings_json())


def export_settings() -> list[dict]:
    """Settings that an Export takes."""
    return _json.loads(_library.nbl_export_settings_json())


def evaluation_settings() -> list[dict]:
    """Settings that an Evaluation takes."""
    return _json.loads(_library.nbl_evaluation_settings_json())


def __getattr__(name: str) -> _Any:
    # What needs a further package is imported when it is asked for.
    if name in ("plot", "hub"):
        return _importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Batch", "BusyError", "CancelledError", "Checkpoint", "CorruptError", "Evaluation", "Export", "Generated", "InputOutputError",
    "InvalidArgumentError", "LimitError", "MismatchError", "Model", "NibbleError", "NotFoundError", "OutOfMemoryError", "Progress", "QTensor",
    "Quantizer", "Result", "Rows", "Runtime", "Sampler", "Session", "Sweep", "Tokenizer", "UnsupportedError", "architectures", "compare", "convert",
    "default_runtime", "dialects", "evaluate", "evaluation_settings", "export_settings", "generation_settings", "hub", "isas", "limits", "load", "methods",
    "perplexity", "plot", "protocols", "quantize", "quantizer_settings", "runtime_settings", "sampler_settings", "set_limit", "sweep", "task_kinds",
]
