#!/usr/bin/env python3
"""LoRA adapters that PEFT wrote, beside the weights and merged into them, against PEFT's own models.

    peft_adapters.py COMMAND [--draws 2] [--seed S] [--only ID]

Each draw is a small random model (architecture_draws.py) with an adapter on some of its linear layers: ranks and alphas by pattern,
rank-stabilized or not, on some layers or all. Logits of all positions must agree with PEFT's within 1e-3 of their range: with the
adapter beside the weights, beside rounded weights (8 bits, no further from PEFT than the rounded model without it is from its own), and merged. The
built-in model takes part, too. What an adapter of PEFT may be and is not supported must be refused by name. Needs torch, transformers
and peft, and NIBBLE_LIBRARY when the library is not found by itself. Exit status 1 when a draw fails, 77 without the packages.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import random_architectures as base  # says SKIPPED and ends when torch or transformers is not there
sys.modules.setdefault("gptqmodel", None)  # where it is installed, PEFT wants a further package beside it
try:
    import peft
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(77)
import nibble
import numpy
import torch
import transformers
from architecture_draws import DRAWS

LENGTH = 24
PROSE = base.ROOT / "examples" / "models" / "prose-3.7m"
REFUSED = {"use_dora": dict(use_dora=True), "bias": dict(bias="all"), "modules_to_save": dict(modules_to_save=["lm_head"]),
           "lora_bias": dict(lora_bias=True)}


EXPERTS = {"gate_proj", "up_proj", "down_proj"}


def mixture(model):
    return any(hasattr(model.config, key) for key in ("num_local_experts", "num_experts", "n_routed_experts"))


def linears(model):
    """Names of the layers that an adapter may change, without the output matrix."""
    head = model.get_output_embeddings()
    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    return [name for name, module in model.named_modules() if isinstance(module, kinds) and module is not head]


def draw_adapter(model, rng):
    names = linears(model)
    # Of experts PEFT takes all matrices as one, which is another kind of adapter ("target_parameters", refused by name).
    leaves = sorted({n.rpartition(".")[2] for n in names} - (EXPERTS if mixture(model) else set()))
    targets = rng.sample(leaves, rng.randint(1, len(leaves)))
    settings = dict(r=rng.choice([1, 2, 5, 8]), lora_alpha=rng.choice([1, 4, 16]), use_rslora=rng.random() < 0.4, target_modules=targets,
                    init_lora_weights=False)
    if rng.random() < 0.5:
        settings["rank_pattern"] = {rng.choice(targets): rng.choice([3, 4])}
    if rng.random() < 0.5:
        settings["alpha_pattern"] = {rng.choice([rng.choice(targets), rf".*\.0\..*{rng.choice(targets)}"]): 7}
    chosen = [n for n in names if n.rpartition(".")[2] in targets]
    numbers = sorted({int(p) for n in chosen for p in n.split(".") if p.isdigit()})
    if len(numbers) > 1 and rng.random() < 0.3:
        settings["layers_to_transform"] = rng.sample(numbers, len(numbers) // 2)
    if any(isinstance(model.get_submodule(n), transformers.pytorch_utils.Conv1D) for n in chosen):
        settings["fan_in_fan_out"] = rng.random() < 0.8  # PEFT puts it right itself
    return settings


def quantize(source, output, recipe, *options):
    subprocess.run([COMMAND, "quantize", source, "-o", output, "--method", recipe, "--quiet", *options], check=True, capture_output=True, text=True)


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def ours(model, ids):
    with model.session(len(ids)) as session:
        return numpy.array(session.append(ids, want="all"))


def check(directory, name, rng):
    """One adapter; returns the worst difference over the range of the logits."""
    reference = base.load_reference(directory, name)
    ids = [rng.randrange(reference.config.vocab_size) for _ in range(LENGTH)]
    plain = logits(reference, ids)
    settings = draw_adapter(reference, rng)
    torch.manual_seed(rng.randrange(2**31))
    adapted = peft.get_peft_model(reference, peft.LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        adapted.save_pretrained(scratch / "adapter")
        want = logits(adapted, ids)
        if numpy.abs(want - plain).max() < 1e-2 * numpy.abs(plain).max():
            raise AssertionError("the adapter changes nothing worth the name")
        try:
            model = nibble.load(str(directory), compute="exact")
            worst = base.compare("beside the weights", ours(model.with_adapter(scratch / "adapter"), ids), want)
            half = logits_scaled(adapted, ids, 0.5)
            worst = max(worst, base.compare("at half its strength", ours(model.with_adapter(scratch / "adapter", 0.5), ids), half))
            merged = scratch / "merged.nibble"
            quantize(directory, merged, "fp32", "--lora", scratch / "adapter")
            worst = max(worst, base.compare("merged", ours(nibble.load(str(merged), compute="exact"), ids), want))
            if mixture(reference):  # a rounded router may choose other experts
                return worst
            quantize(directory, scratch / "rounded.nibble", "rtn:bits=8")
            rounded = nibble.load(str(scratch / "rounded.nibble"), compute="exact")
            # Beside them is as if merged into the values that they were rounded to.
            subprocess.run([COMMAND, "convert", scratch / "rounded.nibble", "-o", scratch / "values", "--format", "huggingface", "--allow-lossy",
                            "--quiet"], check=True, capture_output=True, text=True)
            quantize(scratch / "values", scratch / "both.nibble", "fp32", "--lora", scratch / "adapter")
            both = ours(nibble.load(str(scratch / "both.nibble"), compute="exact"), ids)
            worst = max(worst, base.compare("beside rounded weights", ours(rounded.with_adapter(scratch / "adapter"), ids), both))
        except Exception as error:
            error = getattr(error, "stderr", None) or error
            raise AssertionError(f"{type(error).__name__}: {error}\n    {json.dumps(settings)}") from None
    return worst


def logits_scaled(adapted, ids, factor):
    layers = [m for m in adapted.modules() if isinstance(m, peft.tuners.lora.LoraLayer)]
    for layer in layers:
        layer.scaling = {k: v * factor for k, v in layer.scaling.items()}
    out = logits(adapted, ids)
    for layer in layers:
        layer.scaling = {k: v / factor for k, v in layer.scaling.items()}
    return out


def refusals():
    """What is not supported says so by name."""
    wrong = 0
    for word, settings in REFUSED.items():
        model = transformers.AutoModelForCausalLM.from_pretrained(PROSE, dtype=torch.float32)
        adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], **settings))
        with tempfile.TemporaryDirectory() as scratch:
            adapted.save_pretrained(scratch)
            try:
                nibble.load(str(PROSE)).with_adapter(scratch)
                message = "nothing"
            except nibble.NibbleError as error:
                message = str(error)
        if word not in message:
            print(f"an adapter with {settings}: {message}")
            wrong += 1
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--only")
    args = parser.parse_args()
    global COMMAND
    COMMAND = args.command
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"seed {args.seed}, transformers {transformers.__version__}, peft {peft.__version__}", flush=True)
    failed = refusals() if not args.only else 0
    for name in ["prose-3.7m", *DRAWS]:
        if args.only and name != args.only:
            continue
        worst = 0.0
        for i in range(args.draws):
            rng = random.Random(f"{args.seed} {name} {i}")
            try:
                if name == "prose-3.7m":
                    worst = max(worst, check(PROSE, name, rng))
                    continue
                with tempfile.TemporaryDirectory() as directory:
                    base.save_draw(name, rng, directory)
                    worst = max(worst, check(directory, name, rng))
            except AssertionError as error:
                print(f"{name}:{i} FAILED {error}", flush=True)
                failed += 1
        print(f"{name}: worst {worst:.1e} of the range", flush=True)
    print(f"{failed} failed (seed {args.seed})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
