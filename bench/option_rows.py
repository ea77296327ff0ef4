#!/usr/bin/env python3
"""Measures what each option that is on by default is worth: every method as it comes, and with one option off at a time.

    bench/option_rows.py [--only REGEX] [--model prose-28m|smollm2] [--again] [--page]

As bench/method_rows.py, but for less calibration text (c4; 64 x 512 tokens for prose-28m, 32 x 512 for SmolLM2-135M), which costs less and
leaves the order. Rows are kept in docs/results/options.json; docs/results/options.md is written from them.
"""
import argparse
import json
import pathlib
import tempfile

import method_rows

ROWS = method_rows.ROOT / "docs" / "results" / "options.json"
PAGE = ROWS.with_suffix(".md")
MODELS = {"prose-28m": (64, 64), "smollm2": (16, 32)}  # windows compared, windows of calibration

# (recipe, text, what is put in place of a default): an option off, or as the method was published.
OPTIONS = [
    ("gptq:bits=4,group=128", "c4", ["act_group_aware=false", "mse=0", "refine=0", "alpha=0", "beta=0", "even_tokens=false",
                                        "true_sequential=false"]),
    ("trellis:bits=3", "c4", ["scale_bits=0", "refine=0", "alpha=0", "beta=0", "even_tokens=false"]),
    ("awq:bits=4,group=128", "c4", ["duo=true", "clip=false"]),
    ("hqq:bits=4,group=64", None, ["refine=0"]),
    ("kquant:type=Q4_K", "c4", ["feedback=false"]),
    ("spqr", "c4", ["act_order=true", "outliers=0"]),
    ("binary", "c4", ["feedback=false", "residual=0"]),
    ("smoothquant", "c4", ["alpha=0"]),
    ("autoround:bits=3,group=128", "c4", ["iters=0", "output_tokens=0"]),
]


def with_option(recipe, option):
    return recipe + ("," if ":" in recipe else ":") + option if option else recipe


def page(rows):
    lines = ["# What each default is worth", "",
             "Written by `bench/option_rows.py` from `options.json`; do not edit. Each option that is on by default, off (or as the method was",
             "published), the others as they come. Mean KL from the original over windows-512 of wikitext2.test.raw (the first 64 windows for",
             "prose-28m, 16 for SmolLM2-135M), exact compute; calibration on 64 and 32 windows of c4. Above 1: the default is better.", "",
             "Every default is worth its bits on both models, or changes nothing on one (`even_tokens` on prose-28m, which has no such tokens;",
             "autoround's `iters` there; trellis's `refine` on SmolLM2). trellis's coded scales (`scale_bits`) cost SmolLM2 6 % and save 0.15 bits a weight, which as bits of",
             "the codes are worth about 20 % there (3.1 and 4.1 bits in [methods measured](methods.md)); outliers of spqr take 0.53 bits for 7 to 9 %,",
             "which is what the method is. One thing moves SmolLM2's figures at 3 bits besides: other roundings of the same recipe (damp 0.0101 or",
             "0.0102 in place of 0.01) differ by up to 4 %.", "",
             "| recipe | option | prose-28m: bits per weight | mean KL | of the default's | SmolLM2: bits per weight | mean KL | of the default's |",
             "|---|---|--:|--:|--:|--:|--:|--:|"]
    for recipe, _, options in OPTIONS:
        for option in ["", *options]:
            cells = []
            for model in MODELS:
                row, base = rows.get(f"{model} {with_option(recipe, option)}"), rows.get(f"{model} {recipe}")
                share = f"{row['mean_kl'] / base['mean_kl']:.2f}" if row and base and option else ""
                cells += [f"{row['bits_per_weight']:.3f}", f"{row['mean_kl']:.5f}", share] if row else ["", "not measured", ""]
            lines.append(f"| `{recipe}` | {f'`{option}`' if option else 'as it comes'} | " + " | ".join(cells) + " |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name, of model and recipe, matches this regular expression")
    parser.add_argument("--model", default="prose-28m", choices=list(MODELS))
    parser.add_argument("--again", action="store_true", help="measure rows that are there already")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    args = parser.parse_args()
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    if not args.page:
        original = method_rows.SHARED / "models" / "prose-28m" if args.model == "prose-28m" else method_rows.smollm2()
        windows, calibration = MODELS[args.model]
        with tempfile.TemporaryDirectory() as work:
            rows = method_rows.fill(ROWS, [
                (f"{args.model} {recipe}",
                 lambda recipe=recipe, text=text: method_rows.measure(args.model, original, windows, recipe, text, [], work, calibration * 512))
                for base, text, options in OPTIONS for recipe in (with_option(base, option) for option in ["", *options])
            ], args.only, args.again)
    page(rows)


if __name__ == "__main__":
    main()
