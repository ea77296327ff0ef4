"""compressed-tensors checkpoints compressed and decompressed by its own compressors.

Needs: compressed-tensors (0.20.0 was used) and torch. Run in this folder.
"""
import compressed_tensors
import torch
from common import weights, write
from compressed_tensors.compressors.naive_quantized.base import FloatQuantizationCompressor, IntQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

P = "model.layers.0.mlp.gate_proj."
N, K = 48, 96


def one(name, kind, fmt, seed, dtype=torch.float16, **args):
    w = weights(N, K, seed).to(dtype)
    a = QuantizationArgs(**args)
    scheme = QuantizationScheme(targets=["Linear"], weights=a)
    size = a.group_size or K
    parts = w.float().reshape(N, K // size, size)
    state = {"weight": w}
    if a.type == "float":
        state["weight_scale"] = (parts.abs().amax(-1) / 448).to(dtype)
    elif a.symmetric:
        state["weight_scale"] = (parts.abs().amax(-1) / ((2 ** a.num_bits - 1) / 2)).to(dtype)
    else:
        low, high = parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)
        state["weight_scale"] = ((high - low) / (2 ** a.num_bits - 1)).to(dtype)
        zero = torch.round(-low / state["weight_scale"].float()) - 2 ** (a.num_bits - 1)
        state["weight_zero_point"] = zero.clamp(-2 ** (a.num_bits - 1), 2 ** (a.num_bits - 1) - 1).to(torch.int8)
    packed = kind.compress(dict(state), scheme)
    expected = kind.decompress(dict(packed), scheme)["weight"]
    config = {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed",
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": {k: v for k, v in args.items()}}}, "ignore": ["lm_head"]}
    write(name, config, {P + k: v for k, v in packed.items()}, {P + "weight": expected}, "compressed-tensors 0.20.0")


pack = PackedQuantizationCompressor
one("ct_pack_4bit_g32", pack, "pack-quantized", 1, num_bits=4, type="int", symmetric=True, strategy="group", group_size=32)
one("ct_pack_4bit_asym", pack, "pack-quantized", 2, num_bits=4, type="int", symmetric=False, strategy="group", group_size=32)
one("ct_pack_3bit_asym", pack, "pack-quantized", 3, num_bits=3, type="int", symmetric=False, strategy="group", group_size=32)
one("ct_pack_8bit_channel_bf16", pack, "pack-quantized", 4, torch.bfloat16, num_bits=8, type="int", symmetric=True, strategy="channel")
one("ct_int8_channel", IntQuantizationCompressor, "int-quantized", 5, num_bits=8, type="int", symmetric=True, strategy="channel")
one("ct_fp8_channel", FloatQuantizationCompressor, "float-quantized", 6, torch.bfloat16, num_bits=8, type="float", symmetric=True, strategy="channel")
