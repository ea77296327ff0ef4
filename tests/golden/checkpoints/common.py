"""What the scripts here share: writing a tiny checkpoint directory and what its own tools decode it to."""
import json
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent


def write(name, config, tensors, expected, method):
    """config: quantization_config (or None). expected: weight name -> values as the format's own code gives them; a 16-bit type
    means that it rounded to that type."""
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    body = {"model_type": "llama", "hidden_size": 64, "torch_dtype": "float16"}
    if config is not None:
        body["quantization_config"] = config
    (folder / "config.json").write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors", metadata={"made_by": method})
    print(name, sum(f.stat().st_size for f in folder.iterdir()), "bytes")


def weights(n, k, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, generator=generator)
