"""nibble: quantize language models, run them on CPUs, measure what it cost.

    import nibble
    from pathlib import Path

    nibble.quantize("models/prose", "prose-4bit.safetensors", "gptq:bits=4,group=64", calibration=Path("text.txt"))
    model = nibble.load("prose-4bit.safetensors")
    for piece in model.stream("It was"):
        print(piece, end="", flush=True)
    print(nibble.compare("models/prose", model, text=Path("other.txt")))

Results are dicts with the keys that docs/cli.md lists. Needs no package beside Python; numpy arrays are taken where floats are.
"""
import json as _json

from ._jobs import (Evaluation, QTensor, Quantizer, compare, convert, evaluate, load, perplexity, quantize)
from ._lib import (BusyError, CancelledError, CorruptError, InputOutputError, InvalidArgumentError, LimitError,
                   MismatchError, NibbleError, NotFoundError, OutOfMemoryError, Progress, UnsupportedError, lib as _lib)
from ._runtime import (Batch, Checkpoint, Model, Runtime, Session, Tokenizer, default_runtime,
                       generation_settings, limits, set_limit)

__version__ = _lib.nbl_version().decode()


def methods():
    """Quantization methods with their options."""
    return _json.loads(_lib.nbl_methods_json())


def dialects():
    """Checkpoint formats."""
    return _json.loads(_lib.nbl_dialects_json())


def architectures():
    """Model families."""
    return _json.loads(_lib.nbl_architectures_json())


def isas():
    """Instruction sets that kernels exist for."""
    return _json.loads(_lib.nbl_isas_json())


def protocols():
    """Perplexity protocols."""
    return _json.loads(_lib.nbl_protocols_json())


def task_kinds():
    """Kinds of evaluation task."""
    return _json.loads(_lib.nbl_tasks_json())


def quantizer_settings():
    """Settings that every Quantizer takes."""
    return _json.loads(_lib.nbl_quantizer_settings_json())


def evaluation_settings():
    """Settings that an Evaluation takes."""
    return _json.loads(_lib.nbl_evaluation_settings_json())


__all__ = [
    "Batch", "BusyError", "CancelledError", "Checkpoint", "CorruptError", "Evaluation", "InputOutputError", "InvalidArgumentError",
    "LimitError", "MismatchError", "Model", "NibbleError", "NotFoundError", "OutOfMemoryError", "Progress", "QTensor",
    "Quantizer", "Runtime", "Session", "Tokenizer", "UnsupportedError", "architectures", "compare", "convert", "default_runtime",
    "dialects", "evaluate", "evaluation_settings", "generation_settings", "isas", "limits", "load", "methods", "perplexity",
    "protocols", "quantize", "quantizer_settings", "set_limit", "task_kinds",
]
