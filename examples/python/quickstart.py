#!/usr/bin/env python3
"""Load, quantize, generate, compare: nibble from Python.

    quickstart.py MODEL CALIBRATION.txt EVALUATION.txt OUTPUT

In the source tree set PYTHONPATH=bindings/python.
"""
import sys
from pathlib import Path

import nibble


def main(model_path, calibration, evaluation, output):
    original = nibble.Checkpoint(model_path)
    report = nibble.quantize(original, output, "gptq:bits=4,group=64", calibration=Path(calibration),
                             settings={"calibration.windows": 16})
    print(f"{report['bits_per_weight']:.3f} bits per weight, {report['file_bytes'] / 1e6:.2f} MB\n")

    model = nibble.load(output)
    prompt = "It was a bright morning, and"
    print(prompt, end="")
    for piece in model.stream(prompt, max_new_tokens=40):
        print(piece, end="", flush=True)
    print("\n")

    for row in nibble.compare(nibble.load(original), model, text=Path(evaluation), windows=4):
        print(f"mean KL {row['mean_kl']:.5f} ± {row['kl_stderr']:.5f}, top-1 agreement {row['top1_agreement']:.3f}, "
              f"perplexity {row['reference_ppl']:.2f} -> {row['ppl']:.2f}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
