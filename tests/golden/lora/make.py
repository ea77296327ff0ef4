#!/usr/bin/env python3
"""Makes the adapters of tests/golden/lora: what PEFT would write for the built-in model (examples/models/prose-3.7m), with random
values, and the logits of the adapted model, computed by torch and transformers in float32.

    make.py        needs torch, transformers, safetensors

plain/: r 4, alpha 8, all linears of layers 0 and 1.  rslora/: r 2 with use_rslora, rank and alpha patterns.
logits.json: for each adapter the first 12 logits of the last position of the ids, the largest logit's index and the norm.
"""
import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE.parents[2] / "examples" / "models" / "prose-3.7m"
IDS = [5, 17, 99, 260, 301, 42, 7, 512]
MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def make(name, config, rank, scale):
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    rng = np.random.default_rng(len(name))
    tensors = {}
    for layer in (0, 1):
        for module in config["target_modules"]:
            path = f"model.layers.{layer}.{module}"
            weight = model.get_submodule(path).weight
            n, k = weight.shape
            r = rank(path)
            a = rng.normal(0, 1 / np.sqrt(k), (r, k)).astype(np.float16)
            b = rng.normal(0, 0.3, (n, r)).astype(np.float16)
            tensors[f"base_model.model.{path}.lora_A.weight"] = a
            tensors[f"base_model.model.{path}.lora_B.weight"] = b
            with torch.no_grad():
                weight += scale(path) * (torch.from_numpy(b.astype(np.float32)) @ torch.from_numpy(a.astype(np.float32)))
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    with torch.no_grad():
        logits = model(torch.tensor([IDS])).logits[0, -1].numpy().astype(np.float64)
    return {"first": [round(float(x), 5) for x in logits[:12]], "largest": int(logits.argmax()), "norm": float(np.linalg.norm(logits))}


def main():
    base = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "fan_in_fan_out": False, "modules_to_save": None,
            "lora_dropout": 0.05, "inference_mode": True, "init_lora_weights": True}
    out = {"ids": IDS}
    out["plain"] = make("plain", {**base, "r": 4, "lora_alpha": 8, "target_modules": MODULES}, lambda p: 4, lambda p: 2.0)
    special = {**base, "r": 2, "lora_alpha": 3, "use_rslora": True, "target_modules": ["self_attn.q_proj", "mlp.down_proj"],
               "rank_pattern": {"mlp.down_proj": 3}, "alpha_pattern": {"mlp.down_proj": 6}}
    out["rslora"] = make("rslora", special, lambda p: 3 if p.endswith("down_proj") else 2,
                         lambda p: (6 / np.sqrt(3)) if p.endswith("down_proj") else (3 / np.sqrt(2)))
    (HERE / "logits.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
