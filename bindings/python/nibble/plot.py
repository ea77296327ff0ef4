"""Figures of what was measured. Needs the package matplotlib (pip install matplotlib).

    result = nibble.sweep("models/prose", ["rtn:bits=4,group=64", "nf4:block=64"], text=Path("text.txt"))
    nibble.plot.sweep(result, "sweep.png")
"""
from __future__ import annotations

from typing import Any, Sequence

from ._lib import Path


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("nibble.plot needs the package matplotlib: pip install matplotlib") from None
    return pyplot


def _axes(ax: Any) -> Any:
    return _pyplot().subplots(layout="constrained")[1] if ax is None else ax


def _rows(result: Any) -> Sequence[dict]:
    return result["rows"] if isinstance(result, dict) else result


def _points(ax: Any, rows: Sequence[dict], x, y, error=None, front=None) -> None:
    for row in rows:
        marked = front is not None and row["recipe"] in front
        ax.errorbar([x(row)], [y(row)], yerr=[error(row)] if error else None, fmt="o" if marked else ".", capsize=2)
        ax.annotate(row["recipe"], (x(row), y(row)), textcoords="offset points", xytext=(5, 4), fontsize=8)
    ax.grid(alpha=0.3)


def quality(result: Any, ax: Any = None) -> Any:
    """Mean KL divergence from the original against bits a weight, with its standard error; large dots are recipes that none beats in
    both. result: of nibble.sweep, or of `nibble sweep --json`. Returns the axes."""
    ax = _axes(ax)
    rows = [r for r in _rows(result) if r["recipe"] != "original"]
    front = set(result["pareto"]) if isinstance(result, dict) and "pareto" in result else None
    _points(ax, rows, lambda r: r["bits_per_weight"], lambda r: r["mean_kl"], lambda r: r["kl_stderr"], front)
    if rows and all(r["mean_kl"] > 0 for r in rows):
        ax.set_yscale("log")
    ax.set(xlabel="bits per weight", ylabel="mean KL divergence (nats)", title="quality against size")
    return ax


def speed(result: Any, ax: Any = None) -> Any:
    """Tokens decoded a second against the size of the file. Rows without a measured speed are left out. Returns the axes."""
    ax = _axes(ax)
    rows = [r for r in _rows(result) if r.get("decode_tok_s") is not None]
    _points(ax, rows, lambda r: r["file_bytes"] / 1e6, lambda r: r["decode_tok_s"])
    ax.set(xlabel="file (MB)", ylabel="decode (tokens/s)", title="speed against size")
    return ax


def layers(report: Any, ax: Any = None) -> Any:
    """The relative error of each matrix of a quantization, in the order of the report of nibble.quantize. Returns the axes."""
    ax = _axes(ax)
    errors = [layer["error"] for layer in report["layers"]]
    ax.bar(range(len(errors)), errors)
    ax.set(xlabel="matrix", ylabel="relative error", title=report.get("method", ""))
    return ax


def sweep(result: Any, path: Path | None = None) -> Any:
    """quality() and speed() side by side; written to `path` when one is given. Returns the figure."""
    figure, (left, right) = _pyplot().subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    quality(result, left)
    speed(result, right)
    if path is not None:
        figure.savefig(path)
    return figure
