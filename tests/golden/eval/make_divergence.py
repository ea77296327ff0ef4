"""Writes divergence.json: the built-in model against itself with the low bytes of its weights gone, computed with torch in float64
from the models' float32 logits, and the layers' own relative errors. Needs torch and transformers.

Usage: make_divergence.py > divergence.json
"""
import json
import pathlib
import tempfile
import shutil
import struct

import numpy
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODEL = ROOT / "examples/models/prose-3.7m"
WINDOWS, LENGTH = 3, 512


def damage(folder):
    for file in folder.glob("*.safetensors"):
        raw = bytearray(file.read_bytes())
        size = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8:8 + size])
        width = {"F32": 4, "F16": 2, "BF16": 2}[next(v for k, v in header.items() if k != "__metadata__")["dtype"]]
        for low in range(width // 2):
            raw[8 + size + low::width] = bytes(len(raw[8 + size + low::width]))
        file.write_bytes(raw)


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def main():
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    text = (ROOT / "examples/data/evaluation.txt").read_text(encoding="utf-8")
    ids = torch.tensor(tokenizer(text, add_special_tokens=False).input_ids[: WINDOWS * LENGTH]).reshape(WINDOWS, LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        other_folder = pathlib.Path(folder) / "model"
        shutil.copytree(MODEL, other_folder)
        damage(other_folder)
        reference, candidate = load(MODEL), load(other_folder)
    with torch.no_grad():
        a = torch.log_softmax(reference(ids).logits[:, :-1].double(), -1)
        b = torch.log_softmax(candidate(ids).logits[:, :-1].double(), -1)
        hidden = []

        def remember(module, inputs, output):
            hidden.append((inputs[0].double(), (output[0] if isinstance(output, tuple) else output).double()))

        # Windows as nibble runs them here: a token less, since the last is only predicted.
        layers = list(zip(reference.model.layers, candidate.model.layers))
        hooks = [layer.register_forward_hook(remember) for layer, _ in layers]
        captured = []
        arguments = [layer.register_forward_pre_hook(lambda m, args, kwargs: captured.append((args, kwargs)), with_kwargs=True)
                     for layer, _ in layers]
        reference(ids[:, :-1], use_cache=False)
        for hook in hooks + arguments:
            hook.remove()
        errors = []
        for (_, other), (before, after), (args, kwargs) in zip(layers, hidden, captured):
            found = other(*args, **kwargs)
            found = (found[0] if isinstance(found, tuple) else found).double()
            errors.append(((found - after).norm() / (after - before).norm()).item())
    targets = ids[:, 1:, None]
    kl = (a.exp() * (a - b)).sum(-1).flatten()
    reverse = (b.exp() * (b - a)).sum(-1)
    mean = torch.log(0.5 * (a.exp() + b.exp()))
    js = 0.5 * ((a.exp() * (a - mean)).sum(-1) + (b.exp() * (b - mean)).sum(-1))
    own_a, own_b = a.gather(-1, targets)[..., 0], b.gather(-1, targets)[..., 0]
    delta = (own_b.exp() - own_a.exp()).flatten()
    top_a, top_b = a.topk(5, -1).indices, b.topk(5, -1).indices
    common = (top_a[..., :, None] == top_b[..., None, :]).any(-1).double()
    print(json.dumps({
        "made_with": f"torch {torch.__version__}, transformers {transformers.__version__}, numpy {numpy.__version__}",
        "candidate": {
            "mean_kl": kl.mean().item(), "median_kl": kl.quantile(0.5).item(), "p99_kl": kl.quantile(0.99).item(), "max_kl": kl.max().item(),
            "mean_reverse_kl": reverse.mean().item(), "mean_js": js.mean().item(),
            "top1_agreement": (top_a[..., 0] == top_b[..., 0]).double().mean().item(), "top5_agreement": common.mean().item(),
            "mean_delta_p": delta.mean().item(), "rms_delta_p": delta.square().mean().sqrt().item(),
            "ppl": (-own_b.mean()).exp().item(), "reference_ppl": (-own_a.mean()).exp().item(), "ppl_ratio": (own_a - own_b).mean().exp().item()},
        "delta_p": {str(q): delta.quantile(q).item() for q in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)},
        "layer_error": errors}, indent=1))


if __name__ == "__main__":
    main()
