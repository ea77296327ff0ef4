#!/usr/bin/env python3
"""Measures every method under the protocol of docs/results; writes docs/results/methods.md and each method's rows into its own page.

    bench/method_rows.py [--only REGEX] [--model prose-28m|smollm2] [--again]

Each row is quantized with 128 x 512 calibration tokens and compared with its original over windows-512 of wikitext2.test.raw (the
first 64 windows of it for prose-28m, 16 for SmolLM2-135M), exact compute. Rows are kept in docs/results/methods.json, so that the work
can be done in parts; the page is written from all rows that are there. Seconds are those of the whole job on this machine.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = pathlib.Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared"))
NIBBLE = os.environ.get("NIBBLE_COMMAND", str(ROOT / "build" / "release" / "bin" / "nibble"))
ROWS = ROOT / "docs" / "results" / "methods.json"
PAGE = ROOT / "docs" / "results" / "methods.md"
CALIBRATION = SHARED / "data" / "calibration"

# (recipe, text, more arguments): what is measured. "mix": the three calibration texts one after the other.
RECIPES = [
    ("int8", None, []), ("llm_int8", None, []), ("smoothquant", "c4", []), ("fp8", None, []), ("fp8:scales=block", None, []),
    ("rtn:bits=4,group=128", None, []), ("rtn:bits=3,group=128", None, []), ("rtn:bits=2,group=128", None, []),
    ("nf4:block=64", None, []), ("nf4:block=64,nested=true", None, []), ("fp4:block=64", None, []),
    ("hqq:bits=4,group=64", None, []), ("hqq:bits=3,group=64", None, []), ("hqq:bits=2,group=32", None, []),
    ("kquant:type=Q2_K", "c4", []), ("kquant:type=Q3_K", "c4", []), ("kquant:type=Q4_K", "c4", []), ("kquant:type=Q5_K", "c4", []),
    ("kquant:type=Q6_K", "c4", []), ("kquant:type=Q4_0", "c4", []), ("kquant:type=Q8_0", "c4", []), ("kquant:type=IQ4_NL", "c4", []),
    ("kquant:type=IQ4_XS", "c4", []),
    ("binary", "c4", []), ("ternary", "c4", []),
    ("spqr", "c4", []),
    ("awq:bits=4,group=128", "c4", []), ("awq:bits=3,group=128", "c4", []),
    ("awq+gptq:bits=4,group=128", "c4", []), ("awq+gptq:bits=3,group=128", "c4", []),
] + [
    (f"gptq:bits={bits},group=128{more}", text, []) for bits in (4, 3, 2)
    for more, text in ((",desc_act=true,act_group_aware=false,mse=0,refine=0,alpha=0,beta=0", "c4"), (",sym=true", "c4"), (",alpha=0,beta=0", "c4"),
                       ("", "c4"), ("", "mix"))
] + [
    ("gptq:bits=4,group=128,damp=auto", "c4", []), ("gptq:bits=4,group=64,scale_bits=5", "c4", []),
    ("gptq:bits=3,group=64,scale_bits=6", "c4", []), ("gptq:bits=2,group=64,scale_bits=6", "c4", []),
    ("trellis:bits=4", "c4", []), ("trellis:bits=3", "c4", []), ("trellis:bits=2", "c4", []), ("trellis:bits=1", "c4", []),
    ("trellis:bits=4,refine=2", "c4", []), ("trellis:bits=3,refine=2", "c4", []), ("trellis:bits=2,refine=2", "c4", []), ("trellis:bits=1,refine=2", "c4", []),
    ("trellis:bits=3,group=128,refine=2", "c4", []), ("trellis:bits=2,refine=2", "mix", []),
    ("gptq:bits=3,group=128,refine=6,beta=0.75", "mix", []), ("gptq:bits=2,group=128,refine=6,beta=0.75", "mix", []),
    ("autoround:bits=4,group=128", "c4", []), ("autoround:bits=3,group=128", "c4", []), ("autoround:bits=2,group=128", "c4", []),
    ("autoround:bits=3,group=128,output_tokens=0", "c4", []), ("autoround:bits=2,group=128,output_tokens=0", "c4", []),
    ("gptq:bits=3,group=128,output_tokens=8192", "c4", []), ("trellis:bits=4,output_tokens=8192", "c4", []),
    ("trellis:bits=3,output_tokens=8192", "c4", []), ("trellis:bits=2,output_tokens=8192", "c4", []),
    ("autoround:bits=3,group=128,iters=0,epochs=1", "mix", []),
    ("gptq:bits=4,group=128", "c4", ["--set", "rotation=hadamard"]), ("gptq:bits=3,group=128", "c4", ["--set", "rotation=hadamard"]),
    ("trellis", "c4", ["--target-bpw", "3.0"]), ("trellis:refine=2", "c4", ["--target-bpw", "3.0"]), ("trellis:refine=2", "c4", ["--target-bpw", "2.5"]),
    ("gptq", "c4", ["--target-bpw", "3.0"]), ("gptq", "c4", ["--target-bpw", "3.148"]), ("gptq", "c4", ["--target-bpw", "4.156"]),
]


def smollm2():
    if "NIBBLE_SMOLLM2" in os.environ:
        return os.environ["NIBBLE_SMOLLM2"]
    return subprocess.run([ROOT / "scripts" / "fetch-smollm2.sh"], check=True, capture_output=True, text=True).stdout.strip()


def run(*arguments):
    done = subprocess.run([NIBBLE, *map(str, arguments), "--quiet", "--json", "-"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1])
    return json.loads(done.stdout)


def key(model, recipe, text, more):
    return " ".join([model, recipe, text or "-", *more])


def measure(model, original, windows, recipe, text, more, work, tokens=128 * 512):
    file = pathlib.Path(work) / "row.safetensors"
    arguments = ["quantize", original, "-o", file, "--method", recipe, *more]
    if text:
        calibration = pathlib.Path(work) / "mix.txt" if text == "mix" else CALIBRATION / f"{text}.utf8"
        arguments += ["--calib", calibration, "--calib-tokens", tokens]
    job = run(*arguments)
    out = run("compare", original, file, "--text", SHARED / "data" / "text" / "wikitext2.test.raw", "--windows", windows, "--compute", "exact")
    row = out["candidates"][0]
    return {"model": model, "recipe": recipe, "text": text or "", "more": " ".join(more), "bits_per_weight": job["bits_per_weight"],
            "seconds": job["seconds"], "peak_rss_bytes": job["peak_rss_bytes"], "mean_kl": row["mean_kl"], "p99_kl": row["p99_kl"],
            "top1_agreement": row["top1_agreement"], "ppl": row["ppl"]}


def fill(file, jobs, only, again):
    """The rows of `file`, after those of `jobs` (names, and what measures them) that match and are not there yet were added to it."""
    def stored():
        return json.loads(file.read_text()) if file.exists() else {}

    rows = stored()
    for name, job in jobs:
        if (name in rows and not again) or not re.search(only, name):
            continue
        try:
            row = job()
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        rows = {**stored(), name: row}  # another part may have added to it
        print(f"{name}: KL {row['mean_kl']:.5f} at {row['bits_per_weight']:.3f} bits, {row['seconds']:.1f} s", flush=True)
        file.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    return rows


HEAD = ["| recipe | text | bits per weight | mean KL | p99 KL | top-1 % | seconds |", "|---|---|--:|--:|--:|--:|--:|"]
BEGIN, END = "<!-- rows written by bench/method_rows.py -->", "<!-- end of rows -->"


def table(rows):
    lines = list(HEAD)
    for r in sorted(rows, key=lambda r: (-r["bits_per_weight"], r["mean_kl"])):
        recipe = "`" + r["recipe"] + (" " + r["more"] if r["more"] else "") + "`"
        lines.append(f"| {recipe} | {r['text']} | {r['bits_per_weight']:.3f} | {r['mean_kl']:.5f} | {r['p99_kl']:.3f} | "
                     f"{100 * r['top1_agreement']:.1f} | {r['seconds']:.1f} |")
    return lines


def page_of(row):
    """The method's page that shows a row."""
    if "--target" in row["more"]:
        return "mixed"
    return row["recipe"].split(":")[0]


def page(rows):
    lines = ["# Every method, measured", "",
             "Written by `bench/method_rows.py` from `methods.json`; do not edit. Protocol: decoder linears only, 128 x 512 calibration",
             "tokens (c4, or c4, technical and code texts together: mix), windows-512 of wikitext2.test.raw (first 64 windows for prose-28m,",
             "16 for SmolLM2-135M), exact compute. Seconds are of the whole job; the machine did other work too, and some jobs were stopped for",
             "minutes meanwhile, so they are upper bounds.", ""]
    for model in ("prose-28m", "smollm2"):
        own = [r for r in rows.values() if r["model"] == model]
        if own:
            lines += [f"## {model}", "", *table(own), ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")
    for file in sorted((ROOT / "docs" / "methods").glob("*.md")):
        own = [r for r in rows.values() if page_of(r) == file.stem]
        if not own:
            continue
        shown = [BEGIN, "", "**Rows** (protocol and all methods: [methods measured](../results/methods.md)).", ""]
        for model in ("prose-28m", "smollm2"):
            of_model = [r for r in own if r["model"] == model]
            if of_model:
                shown += [f"{model}:", "", *table(of_model), ""]
        shown.append(END)
        text = file.read_text(encoding="utf-8")
        before, found, rest = text.partition(BEGIN)
        after = rest.partition(END)[2] if found else "\n"
        file.write_text((before if found else before.rstrip("\n") + "\n\n") + "\n".join(shown) + after, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose key matches this regular expression")
    parser.add_argument("--model", default="prose-28m", choices=["prose-28m", "smollm2"])
    parser.add_argument("--again", action="store_true", help="measure rows that are there already")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    args = parser.parse_args()
    rows = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    if not args.page:
        original = SHARED / "models" / "prose-28m" if args.model == "prose-28m" else smollm2()
        with tempfile.TemporaryDirectory() as work:
            (pathlib.Path(work) / "mix.txt").write_bytes(b"".join((CALIBRATION / f"{n}.utf8").read_bytes() for n in ("c4", "technical", "code")))
            windows = 64 if args.model == "prose-28m" else 16
            rows = fill(ROWS, [(key(args.model, *recipe), lambda recipe=recipe: measure(args.model, original, windows, *recipe, work))
                               for recipe in RECIPES], args.only, args.again)
    page(rows)


if __name__ == "__main__":
    main()
