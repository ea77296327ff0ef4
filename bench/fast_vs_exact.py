"""What `fast` compute costs: mean KL of the same quantized model computed fast, from itself computed exactly, for every
instruction set that this processor has. Prints a Markdown table.

    PYTHONPATH=bindings/python bench/fast_vs_exact.py --text FILE [--windows N] MODEL...
"""

import argparse
import json
import pathlib

import nibble

PROMISED = 0.002


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--isa", default="", help="comma separated; default: all that can run here")
    args = parser.parse_args()
    wanted = [i for i in args.isa.split(",") if i] or list(nibble.Runtime().info()["isa_available"])
    print("| model | instruction set | mean KL, nats a token | 99 % | same first choice |")
    print("|---|---|--:|--:|--:|")
    worst = 0.0
    for path in args.models:
        for isa in wanted:
            runtime = nibble.Runtime(isa=isa)
            exact = nibble.Model(path, runtime, "exact")
            fast = nibble.Model(path, runtime, "fast")
            c = nibble.compare(exact, fast, text=args.text.read_text(encoding="utf-8", errors="replace"),
                               windows=args.windows, runtime=runtime)[0]
            worst = max(worst, c["mean_kl"])
            print(f"| {pathlib.Path(path).name} | {isa} | {c['mean_kl']:.6f} ± {c['kl_stderr']:.6f} | {c['p99_kl']:.5f} |"
                  f" {100 * c['top1_agreement']:.2f} % |", flush=True)
    print(json.dumps({"worst_mean_kl": worst, "promised": PROMISED}))
    return 0 if worst <= PROMISED else 1


if __name__ == "__main__":
    raise SystemExit(main())
