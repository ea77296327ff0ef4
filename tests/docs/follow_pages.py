#!/usr/bin/env python3
"""Follows adding-a-method.md and adding-an-architecture.md to the letter in a copy of the sources: takes their files and lines, builds,
runs the new method, and runs the new architecture on the built-in model under the names and in the order that it gives tensors.

usage: follow_pages.py CMAKE SOURCE [JOBS]
"""

import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

from blocks import all_blocks

LISTS = {"NBL_METHOD": "src/quant/methods/methods.inc", "NBL_ARCHITECTURE": "src/model/arch.inc"}
PAGES = ("docs/adding-a-method.md", "docs/adding-an-architecture.md")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def follow(page, top):
    """The page's first file goes where its first line says, its line into the list."""
    code = next(code for language, code in all_blocks(top / page) if language == "cpp")
    line = next(code for language, code in all_blocks(top / page) if language == "text").strip()
    (top / re.match(r"// (\S+)\n", code)[1]).write_text(code)
    with open(top / LISTS[line.split("(")[0]], "a", encoding="utf-8") as f:
        f.write(line + "\n")


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]) for name, t in header.items()}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def as_internlm2(source, target):
    """A Llama checkpoint under InternLM2's names: the rows of each key-value head's queries, its key and its value behind one another."""
    config = json.loads((source / "config.json").read_text())
    heads, pairs = config["num_attention_heads"], config["num_key_value_heads"]
    names = {"model.embed_tokens": "model.tok_embeddings", "lm_head": "output", "input_layernorm": "attention_norm",
             "post_attention_layernorm": "ffn_norm", "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1",
             "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2"}
    tensors, old = {}, read_safetensors(source / "model.safetensors")
    for name, (dtype, shape, data) in old.items():
        if re.search(r"self_attn\.[kv]_proj", name):
            continue
        if "self_attn.q_proj" in name:
            parts = [old[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            rows = sum(part[1][0] for part in parts)
            head = [len(part[2]) // pairs for part in parts]
            data = b"".join(part[2][pair * size:(pair + 1) * size] for pair in range(pairs) for part, size in zip(parts, head))
            name, shape = name.replace("self_attn.q_proj", "attention.wqkv"), [rows, shape[1]]
        for before, after in names.items():
            name = name.replace(before, after)
        tensors[name] = (dtype, shape, data)
    assert heads % pairs == 0
    target.mkdir()
    write_safetensors(target / "model.safetensors", tensors)
    (target / "config.json").write_text(json.dumps({**config, "model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"]}))
    shutil.copy(source / "tokenizer.json", target)


def main(cmake, source, jobs):
    with tempfile.TemporaryDirectory(prefix="nibble-follow-") as folder:
        top = pathlib.Path(folder) / "nibble"
        top.mkdir()
        files = run("git", "-C", source, "ls-files", "-z").split("\0")
        for name in filter(None, files):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(os.path.join(source, name), top / name, follow_symlinks=False)
        for page in PAGES:
            follow(page, top)
        # A compiler cache knows all but the new files when it is told where the copy lies.
        env = {**os.environ, "CCACHE_BASEDIR": str(top), "CCACHE_NOHASHDIR": "1"}
        build = top / "build" / "release"
        run(cmake, "--preset", "release", cwd=top, env=env)
        run(cmake, "--build", build, "--parallel", jobs, "--target", "nibble_command", "test_quant", cwd=top, env=env)
        nibble = build / "bin" / "nibble"

        print(run(build / "bin" / "test_quant", "--gtest_brief=1", cwd=top).strip().splitlines()[-1])
        if "group_size" not in run(nibble, "info", "threes", cwd=top):
            sys.exit("nibble info threes: its option is not shown")
        rows = json.loads(run(nibble, "sweep", "builtin", "--recipes", "rtn:bits=2,group=64,threes", "--json", "-", "--quiet", cwd=top))
        print(json.dumps(rows)[:300])
        if "threes" not in json.dumps(rows):
            sys.exit("the sweep has no row of threes")

        if "internlm2" not in run(nibble, "info", cwd=top):
            sys.exit("nibble info: the new architecture is not listed")
        renamed = pathlib.Path(folder) / "renamed"
        as_internlm2(top / "examples" / "models" / "prose-3.7m", renamed)
        print(run(nibble, "run", renamed, "-p", "It was", "-n", 8, "--quiet", cwd=top).strip())
        compared = json.loads(run(nibble, "compare", "builtin", renamed, "--compute", "exact", "--windows", 2, "--json", "-", "--quiet", cwd=top))
        if compared["candidates"][0]["max_kl"] != 0:
            sys.exit(f"the renamed model differs from its original:\n{json.dumps(compared)[:600]}")
        print("both pages lead to a build that works")


if __name__ == "__main__":
    main(sys.argv[1], os.path.abspath(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else str(os.cpu_count()))
