#!/usr/bin/env python3
"""Makes beams.json: what transformers' generate() finds by beam search with the built-in model (examples/models/prose-3.7m), float32.

    make_beams.py        needs torch, transformers (made with 5.24)
"""
import json
import pathlib
import random

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parents[2] / "examples" / "models" / "prose-3.7m"
PROMPTS = ["Once upon a time", "She said that", "The sea", "When the king", "There was no", "At last", "My dear", "They walked"]


def main():
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    ends = [[tokenizer(" the", add_special_tokens=False).input_ids[-1]], [tokenizer(".", add_special_tokens=False).input_ids[-1], 5]]
    rng, cases = random.Random(4), []
    for i in range(24):
        ids = tokenizer(PROMPTS[i % len(PROMPTS)], add_special_tokens=False).input_ids
        beams = rng.choice([2, 4, 10])
        case = {"ids": ids, "beams": beams, "returned": rng.randint(1, min(3, beams)), "length_penalty": rng.choice([0.0, 0.6, 1.0, 2.0, -0.5]),
                "early_stopping": rng.choice([False, True, "never"]), "max_new_tokens": rng.choice([5, 12, 20]), "ends": rng.choice(ends)}
        with torch.no_grad():
            out = model.generate(torch.tensor([ids]), num_beams=beams, num_return_sequences=case["returned"], do_sample=False, pad_token_id=0,
                                 length_penalty=case["length_penalty"], early_stopping=case["early_stopping"], eos_token_id=case["ends"],
                                 max_new_tokens=case["max_new_tokens"], return_dict_in_generate=True, output_scores=True)
        found = []
        for sequence, score in zip(out.sequences[:, len(ids):].tolist(), out.sequences_scores.tolist(), strict=True):
            stop = next((j + 1 for j, t in enumerate(sequence) if t in case["ends"]), len(sequence))
            found.append({"tokens": sequence[:stop], "score": round(score, 5)})
        cases.append({**case, "found": found})
    (HERE / "beams.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
