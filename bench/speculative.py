#!/usr/bin/env python3
"""Decoding speed with and without drafts looked up in the text, on repetitive code; runs taking turns.

    speculative.py MODEL [--tokens 200] [--reps 5] [--lookup 10] [--temperature T] [--python PATH_OF_NIBBLE]

Prints the medians of both and their ratio, for each prompt, after checking that the texts are the same. Needs NIBBLE_LIBRARY when the
library is not found by itself.
"""
import argparse
import pathlib
import platform
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIELDS = ["host", "port", "user", "password", "database", "timeout", "retries", "charset"]
PROMPTS = {
    "accessors": "class Settings:\n" + "".join(
        f"    @property\n    def {f}(self):\n        return self._values[\"{f}\"]\n\n    @{f}.setter\n    def {f}(self, value):\n"
        f"        self._values[\"{f}\"] = value\n\n" for f in FIELDS[:5]),
    "tests": "import unittest\n\nclass TestShapes(unittest.TestCase):\n" + "".join(
        f"    def test_{name}_area(self):\n        shape = make_shape(\"{name}\", size=3)\n        self.assertEqual(shape.name, \"{name}\")\n"
        f"        self.assertGreater(shape.area(), 0)\n        self.assertGreater(shape.perimeter(), 0)\n\n"
        for name in ["circle", "square", "triangle", "hexagon"]),
    "table": "const COLORS = {\n" + "".join(
        f"  {name}: {{ hex: \"#{code}\", name: \"{name}\", visible: true, weight: 1.0 }},\n" for name, code in
        [("red", "ff0000"), ("green", "00ff00"), ("blue", "0000ff"), ("white", "ffffff"), ("black", "000000"), ("yellow", "ffff00")]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--lookup", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0)
    parser.add_argument("--compute", default="default")
    parser.add_argument("--python", default=str(ROOT / "bindings" / "python"))
    args = parser.parse_args()
    sys.path.insert(0, args.python)
    import nibble
    model = nibble.load(args.model, compute=args.compute)
    machine = next((line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"{machine}, {model.runtime.threads} threads, {pathlib.Path(args.model).name}, {args.tokens} tokens, {args.reps} runs, medians")
    ratios = []
    for name, prompt in PROMPTS.items():
        ids = model.tokenizer.encode(prompt, special=True)
        speeds, texts, counts = {0: [], args.lookup: []}, {}, {}
        for rep in range(args.reps + 1):
            for lookup in speeds:
                with model.session(len(ids) + args.tokens + 1) as session:
                    out = session.generate(ids, args.tokens, prompt_lookup=lookup, temperature=args.temperature, seed=1, ignore_eos=True)
                texts.setdefault(lookup, out["token_ids"])
                counts[lookup] = (out.get("drafted_tokens", 0), out.get("accepted_tokens", 0))
                if rep > 0:  # the first warms up
                    speeds[lookup].append(out["decode_tok_s"])
        plain, drafted = (statistics.median(speeds[k]) for k in (0, args.lookup))
        ratios.append(drafted / plain)
        same = "the same text" if texts[0] == texts[args.lookup] else "ANOTHER TEXT"
        print(f"{name:10} {len(ids):4} tokens of prompt: plain {plain:6.1f} tok/s, drafted {drafted:6.1f} tok/s, ratio {ratios[-1]:.2f}; "
              f"{counts[args.lookup][1]} of {counts[args.lookup][0]} drafted tokens right; {same}")
    print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
