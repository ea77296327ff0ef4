"""bitsandbytes checkpoints quantized and decoded by bitsandbytes on a CPU.

Needs: bitsandbytes (0.50.2 was used) and torch. Run in this folder.
"""
import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from common import weights, write

P = "model.layers.0.self_attn.q_proj."
VERSION = "bitsandbytes " + bnb.__version__


def four_bit(name, kind, n, k, block, nested, dtype, seed):
    w = weights(n, k, seed).to(dtype)
    codes, state = F.quantize_4bit(w, blocksize=block, compress_statistics=nested, quant_type=kind)
    expected = F.dequantize_4bit(codes, state)
    if k % block != 0:
        # 0.50.2's CPU kernel takes the wrong scale where a block begins inside a row (errors three times those of its own
        # portable implementation, which is used here).
        expected = _dequantize_4bit_compute(codes.reshape(-1), state.absmax, state.code, block, w.shape, dtype)
        assert (expected - w).abs().max() < 0.5
    tensors = {P + "weight": codes}
    for key, value in state.as_dict(packed=True).items():
        tensors[P + "weight." + key] = value
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": kind,
              "bnb_4bit_use_double_quant": nested, "bnb_4bit_quant_storage": "uint8"}
    write(name, config, tensors, {P + "weight": expected}, VERSION)


def int8(name, n, k, seed):
    layer = bnb.nn.Linear8bitLt(k, n, bias=False, has_fp16_weights=False)
    w = weights(n, k, seed).half()
    codes, scb, _ = F.int8_vectorwise_quant(w)
    tensors = {P + "weight": codes, P + "SCB": scb, P + "weight_format": torch.tensor(0, dtype=torch.uint8)}
    expected = F.int8_vectorwise_dequant(codes, scb)
    config = {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True, "llm_int8_threshold": 6.0}
    # Its product has the other order of roundings; in 16 bits, which it is used in, both are the same.
    write(name, config, tensors, {P + "weight": expected.half()}, VERSION)


four_bit("bnb_nf4_b64", "nf4", 48, 128, 64, False, torch.float32, 1)
four_bit("bnb_nf4_b64_nested", "nf4", 160, 128, 64, True, torch.float32, 2)
four_bit("bnb_fp4_b128_f16", "fp4", 48, 128, 128, False, torch.float16, 3)
four_bit("bnb_nf4_blocks_across_rows", "nf4", 24, 96, 64, False, torch.bfloat16, 4)
four_bit("bnb_nf4_odd_rows", "nf4", 15, 50, 64, False, torch.float32, 5)
int8("bnb_int8", 40, 96, 6)
