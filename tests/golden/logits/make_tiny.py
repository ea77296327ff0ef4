"""Makes tests/golden/logits/tiny: small random checkpoints of every architecture and awkward variant, with transformers' logits.

    python make_tiny.py [OUT_DIR]

needs torch, transformers and safetensors. Each variant is a directory as transformers saves it (bfloat16, norms and biases
randomised, because their initial ones and zeros would hide mistakes) plus golden.json: ids and logits of one sequence,
computed in float32 with eager attention. The weights are random numbers from a fixed seed, nobody's data.
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers

LLAMA = dict(
    vocab_size=67, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
)
BIGCODE = dict(vocab_size=67, n_embd=32, n_inner=44, n_layer=2, n_head=4, n_positions=48, bos_token_id=1, eos_token_id=2)
LENGTH = 40

VARIANTS = {
    "llama": ("LlamaConfig", LLAMA),
    "llama-biases-odd-heads": ("LlamaConfig", dict(LLAMA, attention_bias=True, mlp_bias=True, head_dim=10, tie_word_embeddings=True)),
    "llama-rope-linear": ("LlamaConfig", dict(LLAMA, rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=5000.0))),
    "llama-rope-llama3": (
        "LlamaConfig",
        dict(LLAMA, rope_parameters=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                         original_max_position_embeddings=16, rope_theta=500.0)),
    ),
    "llama-gelu": ("LlamaConfig", dict(LLAMA, hidden_act="gelu", num_key_value_heads=1)),
    "mistral-window": ("MistralConfig", dict(LLAMA, sliding_window=9, head_dim=12)),
    "mistral-full": ("MistralConfig", dict(LLAMA, sliding_window=None)),
    "qwen2": ("Qwen2Config", dict(LLAMA, tie_word_embeddings=True)),
    "qwen2-window": ("Qwen2Config", dict(LLAMA, use_sliding_window=True, sliding_window=7, max_window_layers=1)),
    "gpt-bigcode-multi-query": ("GPTBigCodeConfig", dict(BIGCODE, multi_query=True)),
    "gpt-bigcode-multi-head": ("GPTBigCodeConfig", dict(BIGCODE, multi_query=False, activation_function="gelu")),
    "gpt-bigcode-unscaled": ("GPTBigCodeConfig", dict(BIGCODE, scale_attn_weights=False, activation_function="relu")),
}


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "tiny")
    shutil.rmtree(out, ignore_errors=True)
    for index, (name, (kind, settings)) in enumerate(VARIANTS.items()):
        torch.manual_seed(1000 + index)
        config = getattr(transformers, kind)(**settings)
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    base = 1.0 if key.endswith("weight") else 0.0
                    parameter.copy_(base + 0.3 * torch.randn_like(parameter))
                else:
                    parameter.copy_(torch.randn_like(parameter) * (1.4 / parameter.shape[1] ** 0.5))
                # Saved as bfloat16 without loss.
                parameter.copy_(parameter.to(torch.bfloat16).float())
        ids = torch.randint(0, config.vocab_size, (LENGTH,))
        with torch.no_grad():
            logits = model(ids[None]).logits[0].float()
        model.to(torch.bfloat16).save_pretrained(out / name)
        (out / name / "model.safetensors").chmod(0o644)
        (out / name / "generation_config.json").unlink(missing_ok=True)
        rows = [[round(float(x), 6) for x in row] for row in logits[[0, 1, 8, 9, 17, LENGTH - 1]]]
        golden = {
            "ids": ids.tolist(), "positions": [0, 1, 8, 9, 17, LENGTH - 1], "logits": rows,
            "argmax": logits.argmax(dim=1).tolist(), "torch": torch.__version__, "transformers": transformers.__version__,
        }
        (out / name / "golden.json").write_text(json.dumps(golden) + "\n")
        print(name, float(logits.abs().max()))


main()
