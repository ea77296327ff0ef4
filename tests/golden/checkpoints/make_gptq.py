"""GPTQ checkpoints packed and decoded by GPTQModel.

Needs: GPTQModel (7.7.0 was used; its torch kernel and packer run on a CPU) and torch. Run in this folder.
"""
import gptqmodel
import torch
from common import weights, write
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.quantization import FORMAT
from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

N, K = 64, 96


class Config:
    def __init__(self, bits):
        self.bits, self.pack_dtype = bits, torch.int32


def one(name, bits, group, sym, act_order, fmt, seed, zero_at_zero=False):
    size = K if group == -1 else group
    w = weights(N, K, seed)
    order = torch.randperm(K, generator=torch.Generator().manual_seed(seed)) if act_order else torch.arange(K)
    g_idx = torch.empty(K, dtype=torch.int32)
    g_idx[order] = (torch.arange(K) // size).to(torch.int32)
    groups = int(g_idx.max()) + 1
    maxq = 2 ** bits - 1
    scales, zeros = torch.zeros(N, groups), torch.zeros(N, groups)
    for g in range(groups):
        part = w[:, g_idx == g]
        low, high = part.min(1).values.clamp(max=0), part.max(1).values.clamp(min=0)
        if sym:
            high = torch.maximum(low.abs(), high)
            low = -high
        scales[:, g] = ((high - low) / maxq).half().float()
        zeros[:, g] = float(2 ** (bits - 1)) if sym else torch.round(-low / scales[:, g]).clamp(0 if zero_at_zero else 1, maxq)
    if zero_at_zero:
        zeros[1::3] = 0
    layer = torch.nn.Linear(K, N, bias=True)
    layer.weight.data = w
    layer.bias.data = torch.arange(N).float()
    module = TorchLinear(bits=bits, group_size=group, sym=sym, desc_act=act_order, in_features=K, out_features=N, bias=True,
                         format=fmt)
    module.pack_original(layer, scales, zeros, g_idx)
    module.post_init()
    module.eval()
    expected = module.dequantize_weight().T.to(torch.float16)
    if fmt == FORMAT.GPTQ:
        convert_gptq_v2_to_v1_format_module(module, Config(bits))
    p = "model.layers.0.mlp.up_proj."
    tensors = {p + key: getattr(module, key).clone() for key in ("qweight", "qzeros", "scales", "g_idx", "bias")}
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": sym, "desc_act": act_order,
              "checkpoint_format": fmt.value, "lm_head": False,
              "meta": {"quantizer": ["gptqmodel:" + gptqmodel.__version__]}}
    write(name, config, tensors, {p + "weight": expected}, "gptqmodel " + gptqmodel.__version__)


one("gptq_v1_4bit_g32_sym", 4, 32, True, False, FORMAT.GPTQ, 1)
one("gptq_v1_4bit_g32_act_order", 4, 32, False, True, FORMAT.GPTQ, 2)
one("gptq_v1_3bit_g32", 3, 32, False, False, FORMAT.GPTQ, 3)
one("gptq_v1_4bit_zero_zero", 4, 32, False, False, FORMAT.GPTQ, 4, zero_at_zero=True)
one("gptq_v1_2bit_zero_zero", 2, 32, False, False, FORMAT.GPTQ, 5, zero_at_zero=True)
one("gptq_v2_2bit_row", 2, -1, False, False, FORMAT.GPTQ_V2, 6)
one("gptq_v2_8bit_g16", 8, 16, False, True, FORMAT.GPTQ_V2, 7)
one("gptq_v2_4bit_sym", 4, 32, True, False, FORMAT.GPTQ_V2, 8)
for b in (3, 5, 6, 7):
    one(f"gptq_p_{b}bit_g32", b, 32, b == 6, False, FORMAT.GPTQ_P, 10 + b)
