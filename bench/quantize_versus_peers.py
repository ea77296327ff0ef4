#!/usr/bin/env python3
"""Quantizes one model with nibble and with the Python packages that are installed, and measures all results alike.

    bench/quantize_versus_peers.py [MODEL] [--only REGEX] [--windows N] [--samples N] [-o FILE.md]

MODEL is a Hugging Face directory (default: prose-28m of the shared models). Peers: gptqmodel, autoawq, llmcompressor, bitsandbytes, hqq,
auto-round; run it with the Python that has them. One that is not installed, or fails, is named in the table with the reason. Each side
runs in a process of its own, one after the other: seconds are those of quantizing (for nibble of the whole job, file written; for a
package without imports and loading), memory is the process's peak. Results are compared with the original by `nibble compare` (decoder linears alone are
quantized; windows-512 of wikitext2.test.raw, exact compute), packages' through the checkpoint they write or, where they only
keep weights in memory, through their own dequantized weights.
"""
import argparse
import importlib.metadata
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = pathlib.Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared"))
NIBBLE = os.environ.get("NIBBLE_COMMAND", str(ROOT / "build" / "release" / "bin" / "nibble"))
CALIBRATION = SHARED / "data" / "calibration" / "c4.utf8"
TEXT = SHARED / "data" / "text" / "wikitext2.test.raw"
LENGTH = 512

# What is compared with what: (label, nibble recipe, package, its settings, bits a weight where its file does not say). Without a package:
# another recipe beside the rows before it.
ROWS = [
    ("int8 rows", "int8", "bitsandbytes", {"kind": "int8"}, None),
    ("nf4 b64", "nf4:block=64", "bitsandbytes", {"kind": "nf4", "nested": False}, 4.5),
    ("nf4 b64 nested", "nf4:block=64,nested=true", "bitsandbytes", {"kind": "nf4", "nested": True}, 4.127),
    ("hqq 4 bit g64", "hqq:bits=4,group=64", "hqq", {"bits": 4, "group": 64}, 4.5),
    ("hqq 2 bit g32", "hqq:bits=2,group=32", "hqq", {"bits": 2, "group": 32}, 3.0),
    ("gptq 4 bit g128", "gptq:bits=4,group=128", "gptqmodel", {"bits": 4, "group": 128}, 4.156),
    ("gptq 4 bit g128, uncorrected", "gptq:bits=4,group=128,alpha=0,beta=0", None, {}, None),
    ("gptq 4 bit g128, the paper's", "gptq:bits=4,group=128,desc_act=true,act_group_aware=false,mse=0,refine=0,alpha=0,beta=0", None, {}, None),
    ("gptq 3 bit g128", "gptq:bits=3,group=128", "gptqmodel", {"bits": 3, "group": 128}, 3.148),
    ("awq 4 bit g128", "awq:bits=4,group=128", "autoawq", {"bits": 4, "group": 128}, 4.156),
    ("awq 4 bit g128", "awq:bits=4,group=128", "llmcompressor", {"bits": 4, "group": 128}, 4.156),
    ("awq 4 bit g64", "awq:bits=4,group=64", "autoawq", {"bits": 4, "group": 64}, 4.313),  # AutoAWQ: rows of whole groups only
    ("learned 4 bit g128", "autoround:bits=4,group=128", "auto-round", {"bits": 4, "group": 128}, 4.156),
    ("learned 4 bit g128, 50 steps", "autoround:bits=4,group=128", "auto-round", {"bits": 4, "group": 128, "iters": 50}, 4.156),
    ("learned 3 bit g128", "autoround:bits=3,group=128", "auto-round", {"bits": 3, "group": 128}, 3.148),
    ("learned 3 bit g128, 50 steps", "autoround:bits=3,group=128", "auto-round", {"bits": 3, "group": 128, "iters": 50}, 3.148),
]


def samples_of(model, count):
    """The calibration text in windows, as nibble cuts it: from its beginning, no special tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer(CALIBRATION.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    return tokenizer, [ids[i * LENGTH : (i + 1) * LENGTH] for i in range(count)]


def rewrite(model, out, change):
    """A copy of the checkpoint whose decoder linears went through `change`, in float32; the seconds that `change` took."""
    import torch
    from safetensors.torch import load_file, save_file

    out.mkdir()
    tensors = {}
    for file in sorted(pathlib.Path(model).glob("*.safetensors")):
        tensors.update(load_file(file))
    for file in pathlib.Path(model).glob("*.json"):
        if not file.name.endswith("index.json"):
            shutil.copy(file, out)
    linears = [n for n, t in tensors.items() if re.search(r"\.layers\.\d+\..*\.weight$", n) and t.dim() == 2]
    floats = {n: tensors[n].float() for n in linears}
    start = time.perf_counter()
    packed = {n: change(w) for n, w in floats.items()}
    seconds = time.perf_counter() - start
    for n, restore in packed.items():
        tensors[n] = restore().to(torch.float32).reshape(floats[n].shape).contiguous()
    save_file({n: t.contiguous() for n, t in tensors.items()}, str(out / "model.safetensors"), metadata={"format": "pt"})
    rows, weights = sum(w.shape[0] for w in floats.values()), sum(w.numel() for w in floats.values())
    return seconds, rows / weights


def run_bitsandbytes(model, out, settings, samples):
    import bitsandbytes.functional as bnb

    def nf4(w):
        codes, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=settings["nested"])
        return lambda: bnb.dequantize_4bit(codes, state)

    def int8(w):
        codes, maxima, _ = bnb.int8_vectorwise_quant(w)
        return lambda: codes.float() * maxima.float()[:, None] / 127

    seconds, rows_a_weight = rewrite(model, out, nf4 if settings["kind"] == "nf4" else int8)
    return seconds if settings["kind"] == "nf4" else (seconds, 8 + 32 * rows_a_weight)


def run_hqq(model, out, settings, samples):
    import torch
    from hqq.core.quantize import Quantizer

    def change(w):
        codes, meta = Quantizer.quantize(w, nbits=settings["bits"], group_size=settings["group"], axis=1, device="cpu",
                                         compute_dtype=torch.float32)
        return lambda: Quantizer.dequantize(codes, meta)

    return rewrite(model, out, change)[0]


def run_gptqmodel(model, out, settings, samples):
    from gptqmodel import GPTQModel, QuantizeConfig

    _, windows = samples_of(model, samples)
    job = GPTQModel.load(str(model), QuantizeConfig(bits=settings["bits"], group_size=settings["group"], sym=False), device="cpu")
    start = time.perf_counter()
    job.quantize([{"input_ids": w, "attention_mask": [1] * len(w)} for w in windows], batch_size=1)
    seconds = time.perf_counter() - start
    job.save(str(out))
    return seconds


def run_autoawq(model, out, settings, samples):
    from awq import AutoAWQForCausalLM

    tokenizer, windows = samples_of(model, samples)
    job = AutoAWQForCausalLM.from_pretrained(str(model), device_map="cpu")
    start = time.perf_counter()
    job.quantize(tokenizer, quant_config={"w_bit": settings["bits"], "q_group_size": settings["group"], "zero_point": True, "version": "GEMM"},
                 calib_data=[tokenizer.decode(w) for w in windows], max_calib_samples=samples, max_calib_seq_len=LENGTH)
    seconds = time.perf_counter() - start
    job.save_quantized(str(out))
    return seconds


def run_llmcompressor(model, out, settings, samples):
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.awq import AWQModifier

    _, windows = samples_of(model, samples)
    data = Dataset.from_list([{"input_ids": w, "attention_mask": [1] * len(w)} for w in windows])
    start = time.perf_counter()
    oneshot(model=str(model), dataset=data, max_seq_length=LENGTH, num_calibration_samples=samples, output_dir=str(out),
            recipe=[AWQModifier(targets=["Linear"], ignore=["lm_head"], scheme="W4A16_ASYM")])
    return time.perf_counter() - start


def run_auto_round(model, out, settings, samples):
    from auto_round import AutoRound
    from transformers import AutoModelForCausalLM

    tokenizer, windows = samples_of(model, samples)
    loaded = AutoModelForCausalLM.from_pretrained(str(model))
    start = time.perf_counter()
    job = AutoRound(loaded, tokenizer, bits=settings["bits"], group_size=settings["group"], sym=False, nsamples=samples, seqlen=LENGTH,
                    dataset=[tokenizer.decode(w) for w in windows], **({"iters": settings["iters"]} if "iters" in settings else {}))
    job.quantize()
    seconds = time.perf_counter() - start
    job.save_quantized(str(out), format="auto_gptq")
    return seconds


def child(package, settings, model, out, samples):
    """Prints what one package took; `bits` where it was counted and not known beforehand."""
    seconds = globals()["run_" + package.replace("-", "_")](pathlib.Path(model), pathlib.Path(out), settings, samples)
    seconds, bits = seconds if isinstance(seconds, tuple) else (seconds, None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print("\n" + json.dumps({"seconds": seconds, "peak_rss_bytes": peak, "bits": bits}))


def nibble(*arguments):
    done = subprocess.run([NIBBLE, *map(str, arguments), "--quiet", "--json", "-"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return json.loads(done.stdout)


def peer(package, settings, model, out, samples):
    command = [sys.executable, "-B", os.path.abspath(__file__), os.path.abspath(model), "--child", package, "--settings", json.dumps(settings), "--out", str(out),
               "--samples", str(samples)]
    # gptqmodel refuses to start on fewer than three processors unless it is told how many workers it may have.
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="", GPTQMODEL_CPU_WORKERS=str(max(2, len(os.sched_getaffinity(0)))))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out.parent)  # some leave logs where they run
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1][:120])
    return json.loads(done.stdout.strip().splitlines()[-1])


def compared(original, file, windows):
    row = nibble("compare", original, file, "--text", TEXT, "--windows", windows, "--compute", "exact")["candidates"][0]
    return {k: row[k] for k in ("mean_kl", "p99_kl", "top1_agreement", "ppl")}


def line(label, who, bits, r):
    return (f"| {label} | {who} | {bits:.3f} | {r['seconds']:.1f} | {r['peak_rss_bytes'] / 1e6:.0f} | {r['ppl']:.2f} | {r['mean_kl']:.5f} | "
            f"{r['p99_kl']:.3f} | {100 * r['top1_agreement']:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(SHARED / "models" / "prose-28m"))
    parser.add_argument("--only", default="", help="rows whose label or package matches this regular expression")
    parser.add_argument("--windows", type=int, default=64, help="windows of the text that are compared")
    parser.add_argument("--samples", type=int, default=128, help="calibration windows of 512 tokens")
    parser.add_argument("-o", dest="file", help="write the table there too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child, json.loads(args.settings), args.model, args.out, args.samples)
    table = []

    def say(text):
        table.append(text)
        print(text, flush=True)

    say(f"{pathlib.Path(args.model).name}, {args.samples} x {LENGTH} calibration tokens, {len(os.sched_getaffinity(0))} processors")
    say("")
    say("| row | by | bits per weight | seconds | peak MB | perplexity | mean KL | p99 KL | top-1 % |")
    say("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    done = set()
    for label, recipe, package, settings, bits in ROWS:
        if not re.search(args.only, f"{label} {package or 'nibble'}"):
            continue
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            if recipe not in done:
                done.add(recipe)
                try:
                    job = nibble("quantize", args.model, "-o", work / "ours.safetensors", "--method", recipe, "--calib", CALIBRATION,
                                 "--calib-tokens", args.samples * LENGTH)
                    say(line(label, "nibble", job["bits_per_weight"], {**job, **compared(args.model, work / "ours.safetensors", args.windows)}))
                except RuntimeError as error:
                    say(f"| {label} | nibble | {error} | | | | | | |")
            if package is None:
                continue
            try:
                version = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                say(f"| {label} | {package} | not installed | | | | | | |")
                continue
            try:
                result = peer(package, settings, args.model, work / "theirs", args.samples)
                result.update(compared(args.model, work / "theirs", args.windows))
                say(line(label, f"{package} {version}", bits or result["bits"], result))
            except RuntimeError as error:
                say(f"| {label} | {package} {version} | failed: {error} | | | | | | |")
    if args.file:
        pathlib.Path(args.file).write_text("\n".join(table) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
