#!/usr/bin/env python3
"""What quantization costs: every recipe on every model, in one command.

    assess.py MODEL... [--data DIR] [--tasks A,B] [--limit N] [--windows N] [--recipes FILE] [--baselines M,...] --output DIR
    assess.py --check FILE...

Needs the command `nibble` (NIBBLE_COMMAND, else build/release/bin/nibble). README.md beside this file says what is written.
"""
import argparse
import html
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
NIBBLE = os.environ.get("NIBBLE_COMMAND", str(HERE.parents[1] / "build" / "release" / "bin" / "nibble"))
KINDS = {"object": dict, "array": list, "string": str, "boolean": bool}


def problems(value, schema, where="result"):
    """What of the value the schema forbids; the part of JSON Schema that result.schema.json uses."""
    kind = schema.get("type")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {"number": number, "integer": number and float(value).is_integer()}.get(kind, isinstance(value, KINDS.get(kind, object)))
    if not fits:
        return [f"{where} is no {kind}"]
    found = []
    if number and value < schema.get("minimum", value):
        found.append(f"{where} is {value}, expected at least {schema['minimum']}")
    if number and value > schema.get("maximum", value):
        found.append(f"{where} is {value}, expected at most {schema['maximum']}")
    if kind == "object":
        found += [f"{where} has no \"{key}\"" for key in schema.get("required", []) if key not in value]
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                found += problems(value[key], inner, f"{where}.{key}")
    if kind == "array":
        if len(value) < schema.get("minItems", 0):
            found.append(f"{where} has {len(value)} entries, expected {schema['minItems']} or more")
        for index, item in enumerate(value):
            found += problems(item, schema.get("items", {}), f"{where}[{index}]")
    return found


def check(path):
    schema = json.loads((HERE / "result.schema.json").read_text())
    try:
        return problems(json.loads(pathlib.Path(path).read_text()), schema)
    except (OSError, ValueError) as error:
        return [str(error)]


def table(result):
    tasks = sorted({t for row in result["rows"] for t in row["tasks"]})
    lines = ["| recipe | bits/weight | MB | peak MB | prefill tok/s | decode tok/s | perplexity | mean KL | top-1 % |" +
             "".join(f" {t} |" for t in tasks), "|---|" + "---:|" * (8 + len(tasks))]
    for row in result["rows"]:
        mark = "**" if row["recipe"] in result["pareto"] else ""
        cells = [f"{mark}{row['recipe']}{mark}", f"{row['bits_per_weight']:.3f}", f"{row['file_bytes'] / 1e6:.1f}",
                 f"{row['peak_rss_bytes'] / 1e6:.0f}", f"{row['prefill_tok_s']:.0f}", f"{row['decode_tok_s']:.0f}",
                 f"{row['perplexity']:.3f} ± {row['perplexity_stderr']:.3f}", f"{row['mean_kl']:.5f} ± {row['kl_stderr']:.5f}",
                 f"{100 * row['top1_agreement']:.2f}"]
        for task in tasks:
            metrics = row["tasks"].get(task, {})
            key = next((k for k in metrics if "_stderr" not in k), None)
            error = metrics.get(key.replace(",", "_stderr,", 1), 0) if key else 0
            cells.append(f"{metrics[key]:.4f} ± {error:.4f}" if key else "-")
        lines.append("| " + " | ".join(cells) + " |")
    rivals = result.get("equal_bytes", [])
    if rivals:
        lines += ["", "Smaller models in full precision beside the recipe of about as many bytes:", "",
                  "| smaller model | MB | bits a byte | recipe | MB | bits a byte | tasks, recipe less smaller model (95 %) |", "|---|--:|--:|---|--:|--:|---|"]
    for r in rivals:
        differences = "; ".join(f"{p['task']} {p['metric'].split(',')[0]} {p['delta']:+.3f} ({p['ci95'][0]:+.3f} to {p['ci95'][1]:+.3f})"
                                for p in r["paired"])
        lines.append(f"| {pathlib.Path(r['baseline']).name} | {r['file_bytes'] / 1e6:.1f} | {r['bits_per_byte']:.4f} | {r['recipe']} | "
                     f"{r['recipe_file_bytes'] / 1e6:.1f} | {r['recipe_bits_per_byte']:.4f} | {differences} |")
    return "\n".join(lines)


def without_folders(path, inputs, page):
    """Results are shared: of the files that were measured they keep the names, not where they lay."""
    result = json.loads(path.read_text())
    for key in ("model", "text"):
        result[key] = pathlib.PurePath(result[key]).name
    for row in result["rows"]:
        row["path"] = pathlib.PurePath(row["path"]).name
    for rival in result.get("equal_bytes", []):
        rival["baseline"] = pathlib.PurePath(rival["baseline"]).name
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    text = page.read_text()
    for name in inputs:
        text = text.replace(html.escape(str(name)), pathlib.PurePath(name).name)
    page.write_text(text)


def write_table(folder):
    parts = ["# The assessment\n\nMade by `examples/assessment/assess.py`; errors are standard errors. Rows in bold are beaten by no other in "
             "both bits per weight and mean KL.\n"]
    for path in sorted(folder.glob("*.json")):
        wrong = check(path)
        if wrong:
            print(f"{path}: left out: {wrong[0]}", file=sys.stderr)
            continue
        result = json.loads(path.read_text())
        machine = result["machine"]
        parts.append(f"## {path.stem}\n\nnibble {result['nibble_version']}, {machine['cpu']}, {machine['isa']}, {machine['threads']} threads; "
                     f"text {pathlib.Path(result['text']).name}, protocol {result['protocol']}, {result['tokens']} tokens scored.\n\n{table(result)}\n")
    (folder / "README.md").write_text("\n".join(parts))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--tasks", default="builtin")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--text", default="builtin")
    parser.add_argument("--calib", default="builtin")
    parser.add_argument("--calib-tokens", type=int, default=16384)
    parser.add_argument("--baselines", help="smaller models in full precision, compared at equal bytes")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--keep", help="keep models and answers in this folder: a run that ended early, or is repeated for its speeds, goes on")
    parser.add_argument("--missing", action="store_true", help="leave out models whose result is in the folder already")
    parser.add_argument("--recipes", default=str(HERE / "recipes.txt"))
    parser.add_argument("--output")
    args = parser.parse_args()
    if args.check:
        wrong = {path: check(path) for path in args.models}
        for path, sentences in wrong.items():
            for sentence in sentences:
                print(f"{path}: {sentence}", file=sys.stderr)
        return 1 if any(wrong.values()) else 0
    if not args.output:
        parser.error("--output names the folder of the results")
    folder = pathlib.Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    for model in args.models:
        name = pathlib.Path(model).name.removesuffix(".gguf").removesuffix(".safetensors")
        if args.missing and (folder / f"{name}.json").exists():
            continue
        command = [NIBBLE, "sweep", model, "--recipes", args.recipes, "--text", args.text, "--windows", str(args.windows), "--tasks", args.tasks,
                   "--limit", str(args.limit), "--json", str(folder / f"{name}.json"), "--html", str(folder / f"{name}.html")]
        command += ["--calib", args.calib, "--calib-tokens", str(args.calib_tokens)]
        for option, value in (("--data", args.data), ("--baselines", args.baselines), ("--threads", args.threads)):
            command += [option, str(value)] if value else []
        command += ["-o", str(pathlib.Path(args.keep) / name)] if args.keep else []
        subprocess.run(command, check=True)
        inputs = [model, args.text, *(args.baselines.split(",") if args.baselines else [])]
        without_folders(folder / f"{name}.json", inputs, folder / f"{name}.html")
    write_table(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
