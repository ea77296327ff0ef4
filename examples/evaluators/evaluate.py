#!/usr/bin/env python3
"""Two models on a task, and the answers that changed: nibble's evaluation from Python.

    evaluate.py MODEL OTHER TASK.yaml

In the source tree set PYTHONPATH=bindings/python.
"""
import sys
from pathlib import Path

import nibble


def main(model, other, task):
    result = nibble.evaluate([model, other], [Path(task)], samples=True)
    for row in result["models"]:
        for name, metrics in row["results"].items():
            print(f"{row['name']}: {name} acc {metrics['acc,none']:.4f} ± {metrics['acc_stderr,none']:.4f}")
    for pair in result["paired"]:
        low, high = pair["ci95"]
        print(f"{pair['metric']}: {pair['delta']:+.4f} ({low:+.4f} to {high:+.4f}), exact McNemar p = {pair['mcnemar_p']:.3f}, "
              f"{pair['flips']} flips")
    first, second = (row["samples"] for row in result["models"])
    for name in first:
        for a, b in zip(first[name], second[name]):
            if a["acc"] != b["acc"]:
                print("changed:", a["arguments"]["gen_args_0"]["arg_0"])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
