#!/usr/bin/env python3
"""Draws quality.svg from quality.csv: divergence against size, of prose-28m under the protocol of README.md beside this file.

usage: figure.py          needs matplotlib (pip install matplotlib)
"""

import csv
import pathlib

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "nibble"  # the same file from the same numbers
from matplotlib import pyplot  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
#: (colour, marker, the line beside it)
STYLES = {"nibble, trellis": ("#c1121f", "o", "-"), "nibble, trellis, two-sided": ("#7b0d16", "p", ":"), "nibble, gptq": ("#0b6e4f", "o", "-"), "nibble, kquant": ("#2a9d8f", "s", "-"), "llama.cpp": ("#8a8a8a", "s", "--"),
          "AutoRound": ("#b5651d", "^", "--"), "GPTQModel": ("#5b5ea6", "v", "--"), "HQQ": ("#a23b72", "D", "--"),
          "bitsandbytes": ("#444444", "x", ""), "AutoAWQ (repaired)": ("#444444", "+", "")}


def main():
    with open(HERE / "quality.csv", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    _, ax = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    for tool in dict.fromkeys(row["tool"] for row in rows):
        points = sorted((float(r["bits_per_weight"]), float(r["mean_kl"])) for r in rows if r["tool"] == tool)
        colour, marker, line = STYLES[tool]
        ax.plot(*zip(*points), color=colour, marker=marker, linestyle=line, label=tool, markersize=6,
                linewidth=2 if tool.startswith("nibble") else 1)
    ax.set(yscale="log", xlabel="bits per weight", ylabel="mean KL divergence from the original (nats)")
    ax.grid(alpha=0.3, which="both")
    ax.legend(frameon=False, ncols=2)
    pyplot.savefig(HERE / "quality.svg", metadata={"Date": None, "Creator": None}, facecolor="white")


if __name__ == "__main__":
    main()
