"""HQQ checkpoints quantized and dequantized by the hqq package, in float32.

Needs: hqq (0.2.8 was used) and torch. Run in this folder.
"""
import torch
from common import weights, write
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer

P = "model.layers.0.mlp.down_proj."


def one(name, bits, group, axis, n, k, seed, view_as_float=False):
    w, meta = Quantizer.quantize(weights(n, k, seed), nbits=bits, group_size=group, axis=axis, optimize=False,
                                 device="cpu", compute_dtype=torch.float32, view_as_float=view_as_float)
    expected = Quantizer.dequantize(w, meta)
    text = lambda value: torch.tensor(list(str(value).encode()), dtype=torch.uint8)
    number = lambda value: torch.tensor(value, dtype=torch.int32)
    tensors = {
        "W_q": w, "scale": meta["scale"], "zero": meta["zero"], "nbits": number(bits), "axis": number(axis),
        "group_size": number(group if group else 0), "shape": torch.tensor(list(meta["shape"]), dtype=torch.int64),
        "packing": text(meta["packing"]), "compute_dtype": text("float32"), "unpack_view_dtype": text(meta["unpack_view_dtype"]),
        "view_as_float": torch.tensor(int(view_as_float), dtype=torch.uint8), "quant_scale": torch.tensor(0, dtype=torch.uint8),
        "quant_zero": torch.tensor(0, dtype=torch.uint8), "encoded_state_dict": torch.tensor(1, dtype=torch.uint8),
    }
    config = {"quant_method": "hqq", "quant_config": BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis),
              "skip_modules": ["lm_head"]}
    write(name, config, {P + key: value for key, value in tensors.items()}, {P + "weight": expected}, "hqq 0.2.8")


one("hqq_4bit_g64", 4, 64, 1, 24, 128, 1)
one("hqq_3bit_g32", 3, 32, 1, 24, 96, 2)
one("hqq_2bit_g16", 2, 16, 1, 24, 64, 3)
one("hqq_1bit_g32", 1, 32, 1, 16, 64, 4)
one("hqq_8bit_row", 8, None, 1, 16, 48, 5)
one("hqq_4bit_axis0", 4, 64, 0, 32, 64, 6)
one("hqq_4bit_across_rows", 4, 64, 1, 24, 96, 7)
