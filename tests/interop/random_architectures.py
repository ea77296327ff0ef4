#!/usr/bin/env python3
"""Random configurations of every architecture against transformers.

    random_architectures.py [--draws 10] [--seed S] [--only ID[:DRAW]] [--keep DIR]

Each draw is a small model of random weights (architecture_draws.py says of what shape), saved as transformers 5 writes it or with
config.json rewritten as transformers 4 wrote it, and loaded by both programs from the same files. Logits of all positions must agree
within 1e-3 of their range; token by token must give the bytes of the prefill (or, where a rope scaling looks at the length so far,
transformers' own logits with its cache), and so must a batch of two. The seed is printed; without --seed it is a fresh one.
Needs torch and transformers, and NIBBLE_LIBRARY when the library is not found by itself. Exit status 1 when a draw fails, 77
when the packages are not there.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    import numpy
    import safetensors.torch
    import torch
    import transformers
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(77)
import nibble  # noqa: E402
from architecture_draws import DRAWS, Draw  # noqa: E402

LENGTH = 40
LIMIT = 1e-3      # of the logits' range: what is promised
NOTED = 1e-4      # already worth a look


def randomise(path, generator):
    """Every tensor of a checkpoint anew: norms about 1, biases about 0 and far from it, matrices that keep the size of what they multiply."""
    tensors = safetensors.torch.load_file(path)
    for name in sorted(tensors):
        t = tensors[name]
        unit = torch.rand(t.shape, generator=generator) * 2 - 1
        if t.ndim == 1 or "norm" in name:
            t = 0.5 * unit + (1.0 if name.endswith("weight") else 0.0)
        else:
            t = unit * (2.0 / t.shape[-1] ** 0.5)
        tensors[name] = t.float().contiguous()
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def as_transformers_4(config, rng):
    """config.json with the keys that transformers 4 wrote."""
    config["torch_dtype"] = config.pop("dtype", "float32")
    config["transformers_version"] = "4.44.0"
    rope = config.pop("rope_parameters", None)
    if not rope:
        return
    if "full_attention" in rope:  # Gemma 3: the local layers are never scaled
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
        if "layer_types" in config and rng.random() < 0.5:
            kinds, pattern = config["layer_types"], config.get("_sliding_window_pattern", 6)
            if kinds == ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(len(kinds))]:
                del config["layer_types"]
                config["sliding_window_pattern"] = pattern
        config.pop("_sliding_window_pattern", None)
    neox = config["model_type"] == "gpt_neox"
    config["rotary_emb_base" if neox else "rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["rotary_pct" if neox else "partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    kind = rope.pop("rope_type")
    if kind == "default":
        config["rope_scaling"] = None
        return
    if config["model_type"] in ("phi3",):
        config["original_max_position_embeddings"] = rope.pop("original_max_position_embeddings", config.get("original_max_position_embeddings"))
    # transformers does not see a "type" for Gemma 3, which has a "rope_type" already.
    key = "rope_type" if config["model_type"].startswith("gemma3") else rng.choice(["rope_type", "type"])
    config["rope_scaling"] = {key: kind, **rope}


def load_reference(directory, name):
    # Falcon's eager attention adds ALiBi twice.
    attention = "sdpa" if name == "falcon" else "eager"
    # torch's grouped products of experts want rows of 16 bytes; one expert after the other takes any size.
    experts = {"experts_implementation": "eager"} if name in ("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3") else {}
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation=attention, output_loading_info=True, **experts)
    if report["missing_keys"] or report["mismatched_keys"]:
        raise AssertionError(f"transformers did not find {sorted(report['missing_keys'])}")
    return model.eval()


def looks_at_length(config):
    def kinds(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("rope_type", "type"):
                    yield inner
                yield from kinds(inner)
    return any(kind in ("dynamic", "longrope") for kind in kinds(config))


def compare(what, got, want):
    """The largest difference over the range of the logits; raises when it is beyond the limit."""
    spread = float(numpy.abs(want).max())
    worst = float(numpy.abs(got - want).max()) / spread if spread > 0 else float("inf")
    if not worst < LIMIT:  # also when it is no number
        at = numpy.unravel_index(numpy.argmax(numpy.abs(got - want)), want.shape)
        raise AssertionError(f"{what}: differs by {worst:.2e} of the range {spread:.3g}, most at position {at[0]}")
    return worst


def incremental(reference, ids):
    """Logits with transformers' cache, a token at a time."""
    cache, rows = None, []
    for i in range(len(ids)):
        out = reference(torch.tensor([[ids[i]]]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        rows.append(out.logits[0, -1].float().numpy())
    return numpy.stack(rows)


def save_draw(name, rng, directory, seed=0):
    """A random model of an architecture, saved as transformers saves it; returns the settings of its configuration."""
    for _ in range(100):
        kind, settings = DRAWS[name](Draw(rng, LENGTH))
        torch.manual_seed(seed)
        try:
            drawn = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**settings), dtype=torch.float32)
            break
        except Exception as error:  # what transformers itself does not take is drawn again
            refusal = error
    else:
        raise AssertionError(f"transformers takes none of 100 configurations: {refusal}")
    drawn.save_pretrained(directory)
    randomise(pathlib.Path(directory) / "model.safetensors", torch.Generator().manual_seed(seed))
    return settings


def check(name, seed, keep=None):
    """One draw; returns the worst difference and a few words about it."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        settings = save_draw(name, rng, directory, seed % 2**31)
        style = rng.choice([4, 5])
        path = directory / "config.json"
        config = json.loads(path.read_text())
        if style == 4:
            as_transformers_4(config, rng)
            path.write_text(json.dumps(config))
        if keep:
            shutil.copytree(directory, keep, dirs_exist_ok=True)
        ids = [rng.randrange(settings["vocab_size"]) for _ in range(LENGTH)]
        try:
            reference = load_reference(directory, name)
            with torch.no_grad():
                want = reference(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
            model = nibble.load(str(directory), compute="exact")
            with model.session(LENGTH) as session:
                whole = numpy.array(session.append(ids, want="all"))
            worst = compare("prefill", whole, want)
            with model.session(LENGTH) as a, model.session(LENGTH) as b, nibble.Batch(model, 2) as batch:
                first = [numpy.array(a.append([t]))[0] for t in ids[:3]]
                second = []
                for t in range(3, LENGTH):
                    both = numpy.array(batch.step([a, b], [ids[t], ids[t - 3]]))
                    first.append(both[0])
                    second.append(both[1])
            first, second = numpy.stack(first), numpy.stack(second)
            if looks_at_length(config):
                with torch.no_grad():
                    worst = max(worst, compare("token by token", first, incremental(reference, ids)))
            else:
                differing = numpy.flatnonzero((first != whole).any(axis=1))
                if differing.size:
                    raise AssertionError(f"token by token differs from the prefill at position {differing[0]}")
            if not numpy.array_equal(second, first[:LENGTH - 3]):
                raise AssertionError("the second sequence of a batch differs from the first")
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n    transformers {style} keys, {json.dumps(config)}") from None
    return worst, style


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--only", action="append", default=[], help="an architecture, or one draw of it: llama:3")
    parser.add_argument("--keep", help="copies the draw's files there (with --only ID:DRAW)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    seed = args.seed if args.seed is not None else time.time_ns() % 10**9
    print(f"seed {seed}, transformers {transformers.__version__}", flush=True)
    chosen = dict((o.partition(":")[0], o.partition(":")[2]) for o in args.only)
    failed = total = 0
    for name in DRAWS:
        if chosen and name not in chosen:
            continue
        worst, styles, before = 0.0, set(), failed
        for i in range(args.draws) if not chosen.get(name) else [int(chosen[name])]:
            total += 1
            try:
                difference, style = check(name, random.Random(f"{seed} {name} {i}").randrange(2**40), args.keep)
            except AssertionError as error:
                print(f"{name}:{i} FAILED {error}", flush=True)
                failed += 1
                continue
            if difference > NOTED:
                print(f"{name}:{i} differs by {difference:.1e} of the range", flush=True)
            worst, styles = max(worst, difference), styles | {style}
        print(f"{name}: worst {worst:.1e}, config styles {sorted(styles)}, {failed - before} failed", flush=True)
    print(f"{total} draws, {failed} failed (seed {seed})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
