#!/usr/bin/env python3
"""Writes smollm2.json: greedy continuations of SmolLM2-135M-Instruct's GGUF by transformers, on the file's dequantized weights in float32.

    make.py GGUF        (scripts/fetch-smollm2.sh prints the path); needs torch, transformers, gguf

For each prompt its ids and 32 new ones, and the smallest gap between the two largest logits on the way: where it is tiny, rounding
alone may decide.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a small village,", "Water boils at",
           "Q: What is 17 + 25?\nA:", "The three primary colors are", "import numpy as np\n\n", "Dear Sir or Madam,",
           "To be, or not to be:", "1, 2, 4, 8, 16,"]


def main():
    gguf = pathlib.Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
    cases = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        new, gap, cache = [], float("inf"), None
        step = torch.tensor([ids])
        with torch.no_grad():
            for _ in range(32):
                out = model(step, past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                top = out.logits[0, -1].topk(2)
                gap = min(gap, float(top.values[0] - top.values[1]))
                new.append(int(top.indices[0]))
                step = torch.tensor([[new[-1]]])
        cases.append({"prompt": prompt, "ids": ids, "new": new, "smallest_gap": round(gap, 5)})
    lines = ",\n".join(json.dumps(c) for c in cases)
    pathlib.Path(__file__).with_name("smollm2.json").write_text(f'{{"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
