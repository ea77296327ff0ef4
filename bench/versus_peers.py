"""Interleaved decode and prefill timings of nibble, llama.cpp and ik_llama.cpp; called by versus_peers.sh, which builds
the engines. Prints one Markdown table with medians, ratios and the share of the machine's measured limits."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
NIBBLE = ROOT / "build/release/bin/nibble"

# TinyLlama's shapes.
HIDDEN, FFN, HEADS, KV_HEADS, VOCAB = 2048, 5632, 32, 4, 32000

# (row label, nibble recipe, the peers' type of about the same size)
PAIRS = [
    ("4 bit", "rtn:bits=4,group=128", "Q4_0"),
    ("4 bit, K", "rtn:bits=4,group=32", "Q4_K_M"),
    ("8 bit", "rtn:bits=8,group=128", "Q8_0"),
    ("3 bit", "rtn:bits=3,group=128", "Q3_K_S"),
    ("2 bit", "rtn:bits=2,group=128", "Q2_K"),
    ("bf16", "bf16", "BF16"),
]


def make_random_model(path, layers):
    """A random bf16 Llama in GGUF with a made-up vocabulary: speed does not depend on what the weights say."""
    import gguf

    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("llama")
    tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)]
    tokens += [b"t%d" % i for i in range(VOCAB - len(tokens))]
    types = [2, 3, 3] + [6] * 256 + [1] * (VOCAB - 259)
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * VOCAB)
    writer.add_token_types(types)

    def add(name, n, k):
        w = (rng.standard_normal((n, k), dtype=np.float32) * (0.7 / np.sqrt(k))).astype(np.float32)
        bits = w.view(np.uint32)
        half = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        writer.add_tensor(name, half.view(np.uint8).reshape(n, k * 2), raw_dtype=gguf.GGMLQuantizationType.BF16)

    def norm(name):
        writer.add_tensor(name, np.ones(HIDDEN, dtype=np.float32))

    kv = HIDDEN // HEADS * KV_HEADS
    add("token_embd.weight", VOCAB, HIDDEN)
    for i in range(layers):
        norm(f"blk.{i}.attn_norm.weight")
        add(f"blk.{i}.attn_q.weight", HIDDEN, HIDDEN)
        add(f"blk.{i}.attn_k.weight", kv, HIDDEN)
        add(f"blk.{i}.attn_v.weight", kv, HIDDEN)
        add(f"blk.{i}.attn_output.weight", HIDDEN, HIDDEN)
        norm(f"blk.{i}.ffn_norm.weight")
        add(f"blk.{i}.ffn_gate.weight", FFN, HIDDEN)
        add(f"blk.{i}.ffn_up.weight", FFN, HIDDEN)
        add(f"blk.{i}.ffn_down.weight", HIDDEN, FFN)
    norm("output_norm.weight")
    add("output.weight", VOCAB, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def operations(layers):
    """Multiplications of one prefilled token: every layer's matrices (the head's are asked for the last token only)."""
    kv = HIDDEN // HEADS * KV_HEADS
    return layers * (2 * HIDDEN * HIDDEN + 2 * kv * HIDDEN + 3 * FFN * HIDDEN)


def run(command, **kwargs):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, **kwargs).stdout


# The engines' numbers of their file types.
FILE_TYPES = {"Q4_0": 2, "Q8_0": 7, "Q2_K": 10, "Q3_K_S": 11, "Q4_K_M": 15}


def peer(engine, cache, model, threads, prompt, gen, depth):
    out = json.loads(run([cache / engine / "engine_bench", "speed", model, threads, prompt, gen, depth]))
    return out["prefill_tok_s"], out["decode_tok_s"]


def quality(engines, cache, model, text, windows, threads):
    """The same trained model and text in every engine: mean nats a token, windows of 512. They must agree within noise."""
    ours = json.loads(run([NIBBLE, "perplexity", model, "--text", text, "--protocol", "windows-512", "--windows", windows,
                           "--threads", threads, "--quiet", "--json", "-"]))
    rows = [("nibble", ours["nll"], ours["tokens"])]
    for engine in engines:
        out = json.loads(run([cache / engine / "engine_bench", "nll", model, threads, text, windows]))
        rows.append((engine, out["nll"], out["tokens"]))
    lines = [f"The same trained model ({pathlib.Path(model).name}) in each engine, {windows} windows of 512 tokens:", "",
             "| engine | nats a token | tokens |", "|---|---|---|"]
    lines += [f"| {name} | {nll:.5f} | {tokens} |" for name, nll, tokens in rows]
    return lines + [""]


def same_file(engines, cache, model, args):
    """The trained model's own file in every engine: decode and prefill, interleaved."""
    runners = {"nibble": lambda: nibble(model, args)[:2]}
    for engine in engines:
        runners[engine] = lambda e=engine: peer(e, cache, model, args.threads, args.prompt, args.gen, args.depth)
    samples = {name: [] for name in runners}
    for _ in range(args.rounds):
        for name, measure in runners.items():
            samples[name].append(measure())
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in samples.items()}
    lines = [f"Speed of the same file ({pathlib.Path(model).name}), medians of {args.rounds} interleaved rounds:", "",
             "| engine | decode tok/s | prefill tok/s | nibble's decode over it | nibble's prefill over it |", "|---|---|---|---|---|"]
    ours = medians["nibble"]
    for name, (prefill, decode) in medians.items():
        ratio = " | " if name == "nibble" else f"{ours[1] / decode:.2f}× | {ours[0] / prefill:.2f}×"
        lines.append(f"| {name} | {decode:.1f} | {prefill:.0f} | {ratio} |")
    return lines + [""]


def nibble(model, args, *options):
    out = json.loads(run([NIBBLE, "bench", model, "--prompt", args.prompt, "--gen", args.gen, "--depth", args.depth, "--reps", 1,
                          "--threads", args.threads, "--quiet", "--json", "-", *options] + (["--isa", args.isa] if args.isa else [])))
    return out["prefill_tok_s"], out["decode_tok_s"], out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--engines", default="llama.cpp,ik_llama.cpp")
    parser.add_argument("--trained", type=pathlib.Path, help="a trained model in GGUF: check that all engines say the same, and how fast")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "examples/data/evaluation.txt")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=32)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--isa", default="", help="the instruction set that nibble is held to; the engines are built for it")
    parser.add_argument("--only", default="", help="row labels, comma separated")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    engines = [e for e in args.engines.split(",") if e]

    info = json.loads(run([NIBBLE, "info", "--measure", "--json", "-"]))
    source = args.cache / f"random-{args.layers}.gguf"
    if not source.exists():
        print("making the random model", file=sys.stderr)
        make_random_model(source.with_suffix(".part"), args.layers)
        source.with_suffix(".part").rename(source)

    lines, shares = [], {}
    limits = info.get("limits", {})
    lines.append(f"Machine: {info['machine']}; {args.threads} threads; limits measured in the same run: {json.dumps(limits)}")
    lines.append(f"Shapes: {args.layers} layers, hidden {HIDDEN}, ffn {FFN}, heads {HEADS}/{KV_HEADS}, vocabulary {VOCAB};"
                 f" prefill {args.prompt}, decode {args.gen} at depth {args.depth}; medians of {args.rounds} interleaved rounds.")
    lines.append("")
    lines.append("| size | engine | type | file MB | decode tok/s: median (best) |"
                 " prefill tok/s: median (best) | nibble's decode over it | nibble's prefill over it |")
    lines.append("|---|---|---|---|---|---|---|---|")
    wanted = [w for w in args.only.split(",") if w]
    for label, recipe, kind in PAIRS:
        if wanted and label not in wanted:
            continue
        ours = args.cache / f"random-{args.layers}-{recipe.replace(':', '-').replace(',', '-').replace('=', '')}.safetensors"
        if not ours.exists():
            run([NIBBLE, "quantize", source, "-o", ours, "--method", recipe, "--lm-head", "--quiet"])
        runners = {"nibble": (recipe, ours, lambda o=ours: nibble(o, args)[:2])}
        for engine in engines:
            theirs = source if kind == "BF16" else args.cache / f"random-{args.layers}-{kind}.gguf"
            if not theirs.exists():
                run([args.cache / engines[0] / "engine_bench", "quantize", source, theirs, FILE_TYPES[kind]])
            runners[engine] = (kind, theirs,
                               lambda e=engine, t=theirs: peer(e, args.cache, t, args.threads, args.prompt, args.gen, args.depth))
        samples = {name: [] for name in runners}
        for _ in range(args.rounds):
            for name, (_, _, measure) in runners.items():
                try:
                    samples[name].append(measure())
                except (subprocess.CalledProcessError, json.JSONDecodeError) as error:
                    print(f"{name} {label}: {error}", file=sys.stderr)
        medians = {}
        for name, rows in samples.items():
            if rows:
                medians[name] = [statistics.median(x for x in column) for column in zip(*rows)]
        base = medians.get("nibble")
        best = {name: [max(column) for column in zip(*rows)] for name, rows in samples.items() if rows}
        for name, (kind_text, path, _) in runners.items():
            if name not in medians:
                lines.append(f"| {label} | {name} | {kind_text} | | failed | | | |")
                continue
            prefill, decode = medians[name]
            ratio = "" if name == "nibble" else f"{base[1] / decode:.2f}× | {base[0] / prefill:.2f}×"
            lines.append(f"| {label} | {name} | {kind_text} | {path.stat().st_size / 1e6:.0f} | {decode:.1f} ({best[name][1]:.1f}) |"
                         f" {prefill:.0f} ({best[name][0]:.0f}) |"
                         f" {ratio if ratio else ' | '} |")
        # Memory is read in turns with decoding: where a machine is shared, its bandwidth differs from second to second.
        out = nibble(ours, args, "--bandwidth")[2]
        shares[label] = (out["bandwidth_share"], out["memory_bandwidth"],
                         2 * operations(args.layers) * base[0] / limits["int8_dot"]["team"])
        print("\n".join(lines[-1 - len(engines):]), file=sys.stderr)
    lines += ["", "| size | decode: share of the memory's bandwidth | that bandwidth, read in turns with it | prefill: share of the int8"
              " dot products' peak |", "|---|---|---|---|"]
    lines += [f"| {label} | {100 * d:.0f} % | {b / 1e9:.1f} GB/s | {100 * p:.0f} % |" for label, (d, b, p) in shares.items()]
    if args.trained:
        lines += [""] + quality(engines, args.cache, args.trained, args.text, args.windows, args.threads)
        lines += same_file(engines, args.cache, args.trained, args)
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text("# nibble and its peers: speed\n\n`bench/versus_peers.sh "
                            + " ".join(f"--{k} {v}" for k, v in vars(args).items() if k in ("rounds", "layers", "depth", "isa") and v != "")
                            + "`\n\n" + text)


if __name__ == "__main__":
    main()
