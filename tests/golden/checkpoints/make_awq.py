"""AWQ checkpoints packed by AutoAWQ, decoded by AutoAWQ where it can on a CPU and by its formula otherwise.

Needs: autoawq (0.2.9 was used) and torch. Run in this folder.
"""
import torch
from awq.modules.linear.gemm import WQLinear_GEMM
from awq.modules.linear.gemv import WQLinear_GEMV
from awq.modules.linear.gemv_fast import WQLinear_GEMVFast
from awq.utils.packing_utils import dequantize_gemm
from common import weights, write

P = "model.layers.0.mlp.down_proj."


def quantize(n, k, group, seed):
    w = weights(n, k, seed).reshape(n, k // group, group)
    high, low = w.amax(-1), w.amin(-1)
    scales = ((high - low).clamp(min=1e-5) / 15).half()
    zeros = (-torch.round(low / scales.float())).clamp(0, 15)
    codes = torch.clamp(torch.round(w / scales.float()[..., None]) + zeros[..., None], 0, 15)
    exact = (codes - zeros[..., None]) * scales.float()[..., None]
    layer = torch.nn.Linear(k, n, bias=False)
    layer.weight.data = exact.reshape(n, k)
    return layer, scales, zeros, codes


def one(name, kind, version, n, k, group, seed, extra=None):
    layer, scales, zeros, codes = quantize(n, k, group, seed)
    rows_first = version != "gemm"
    module = kind.from_linear(layer, 4, group, scales=scales.float() if rows_first else scales.float().T.contiguous(),
                              zeros=zeros if rows_first else zeros.T.contiguous())
    if version == "gemm":
        expected = dequantize_gemm(module.qweight, module.qzeros, module.scales, 4, group).T
    elif version == "gemv":
        expected = layer.weight.data.half()
    else:  # w = q * s + z with the f16 z = -(s * zero) that it stores
        groups = k // group
        s, z = module.scales.float()[:groups].T, module.qzeros.float()[:groups].T
        expected = (codes * s[..., None] + z[..., None]).reshape(n, k)
    tensors = {P + key: getattr(module, key).clone() for key in ("qweight", "qzeros", "scales")}
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": version}
    if extra:
        tensors.update(extra)
    write(name, config, tensors, {P + "weight": expected}, "autoawq 0.2.9")


one("awq_gemm_g32", WQLinear_GEMM, "gemm", 64, 96, 32, 1)
one("awq_gemv_g64", WQLinear_GEMV, "gemv", 40, 192, 64, 2)
one("awq_gemv_fast_g32", WQLinear_GEMVFast, "gemv_fast", 40, 192, 32, 3)
