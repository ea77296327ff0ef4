"""What the ecosystem's own tools make of the checkpoints that nibble writes: transformers loads them where its CPU path can,
and the weights' own packages unpack them; values and logits agree with ours.

    exports.py NIBBLE MODEL    NIBBLE: the command; MODEL: a small Llama directory (examples/models/prose-3.7m)

Needs torch, transformers, safetensors, and for their formats bitsandbytes, compressed-tensors, gptqmodel, autoawq, gguf. A format
whose package is missing is reported as skipped.
"""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
from safetensors.torch import load_file

NIBBLE, MODEL = sys.argv[1], sys.argv[2]
IDS = [5, 17, 300, 42, 999, 1200, 7, 88, 1024, 3, 250, 611]


def nibble(*arguments):
    done = subprocess.run([NIBBLE, *map(str, arguments), "--quiet", "--json", "-"], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)


def have(*packages):
    return all(importlib.util.find_spec(p) is not None for p in packages)


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].float().numpy()


class Exports(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        cls.models = {}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def export(self, name, method, form):
        """The model quantized in a format, and its values as a dense directory that transformers loads."""
        path, dense = self.dir / name, self.dir / (name + "-values")
        nibble("quantize", MODEL, "-o", path, "--method", method, "--format", form)
        j = nibble("convert", path, "-o", dense, "--format", "huggingface", "--verify")
        self.assertTrue(j["lossless"], j)
        return path, dense

    def dense_logits(self, path):
        from transformers import AutoModelForCausalLM
        return logits_of(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32))

    def values(self, dense):
        return {k: v for k, v in load_file(dense / "model.safetensors").items() if k.endswith("_proj.weight")}

    def same_logits(self, found, dense, tolerance=1e-5):
        """Logits against transformers' own of the values that nibble says the weights have."""
        expected = self.dense_logits(dense)
        worst = np.abs(found - expected).max() / np.abs(expected).max()
        print(f" logits within {worst:.1e} of their range", end="", flush=True)
        self.assertLess(worst, tolerance)
        np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))

    def loads_with_the_same_logits(self, path, dense, tolerance=1e-5, **options):
        from transformers import AutoModelForCausalLM
        self.same_logits(logits_of(AutoModelForCausalLM.from_pretrained(path, **options)), dense, tolerance)

    def unpacked_logits(self, values):
        """transformers' logits with the projections that a peer's own unpacker made of our file."""
        from transformers import AutoModelForCausalLM
        model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
        state = model.state_dict()
        self.assertEqual(len(values), 28)
        for name, value in values.items():
            self.assertEqual(state[name].shape, value.shape, name)
            state[name] = value.float()
        model.load_state_dict(state)
        return logits_of(model)

    def runs_here(self, path, dense, tolerance=2e-4):
        """What nibble makes of the file, against transformers on the values."""
        expected = torch.log_softmax(torch.tensor(self.dense_logits(dense)).double(), -1)
        requests = self.dir / "requests.jsonl"
        requests.write_text(json.dumps({"context_ids": IDS[:1], "continuation_ids": IDS[1:]}) + "\n")
        result = nibble("score", path, "--requests", requests, "--compute", "exact")["results"][0]
        want = [expected[i, token].item() for i, token in enumerate(IDS[1:])]
        np.testing.assert_allclose(result["token_logprobs"], want, rtol=0, atol=tolerance)

    def test_dense(self):
        path = self.dir / "dense"
        nibble("convert", MODEL, "-o", path, "--format", "huggingface", "--verify")
        np.testing.assert_array_equal(self.dense_logits(path), self.dense_logits(MODEL))
        from transformers import AutoTokenizer
        text = "It was the best of times, it was the worst of times."
        self.assertEqual(AutoTokenizer.from_pretrained(path)(text).input_ids, AutoTokenizer.from_pretrained(MODEL)(text).input_ids)

    @unittest.skipUnless(have("bitsandbytes"), "bitsandbytes is not installed")
    def test_bitsandbytes_nf4(self):
        import bitsandbytes as bnb
        from bitsandbytes.functional import dequantize_4bit
        from transformers import AutoModelForCausalLM
        for name, recipe, nested in (("nf4", "nf4:block=64", False), ("nf4-nested", "nf4:block=64,nested=true", True)):
            with self.subTest(name):
                path, dense = self.export(name, recipe, "bitsandbytes")
                self.assertEqual(json.loads((path / "config.json").read_text())["quantization_config"]["bnb_4bit_use_double_quant"], nested)
                model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
                packed = {n + ".weight": m.weight for n, m in model.named_modules() if isinstance(m, bnb.nn.Linear4bit)}
                self.assertTrue(all(weight.quant_state.nested == nested for weight in packed.values()))
                values = {n: dequantize_4bit(weight.data, weight.quant_state) for n, weight in packed.items()}
                want = self.values(dense)
                for weight, value in values.items():
                    torch.testing.assert_close(value.float(), want[weight].float(), rtol=0, atol=0, msg=weight)
                self.same_logits(self.unpacked_logits(values), dense)
                # Its own product is one of bfloat16 on a processor, activations and scales included.
                self.same_logits(logits_of(model), dense, 2e-2)
                self.runs_here(path, dense)

    @unittest.skipUnless(have("bitsandbytes"), "bitsandbytes is not installed")
    def test_bitsandbytes_int8(self):
        from bitsandbytes.functional import int8_vectorwise_dequant
        from transformers import AutoModelForCausalLM
        path, dense = self.export("int8", "int8", "bitsandbytes")
        stored = load_file(path / "model.safetensors")
        self.same_logits(self.unpacked_logits({n: int8_vectorwise_dequant(stored[n], stored[n.replace(".weight", ".SCB")])
                                               for n in self.values(dense)}), dense)
        # Its own product rounds activations to 8 bits, as the format means it, from bfloat16; exact compute multiplies the values
        # themselves, and must be the nearer to their product.
        theirs = torch.log_softmax(torch.tensor(logits_of(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32))).double(), -1)
        exact = torch.log_softmax(torch.tensor(self.dense_logits(dense)).double(), -1)
        requests = self.dir / "int8.jsonl"
        requests.write_text(json.dumps({"context_ids": IDS[:1], "continuation_ids": IDS[1:]}) + "\n")
        ours = nibble("score", path, "--requests", requests, "--compute", "exact")["results"][0]["token_logprobs"]
        at = [exact[i, token].item() for i, token in enumerate(IDS[1:])]
        off = np.abs(np.subtract([theirs[i, token].item() for i, token in enumerate(IDS[1:])], at)).mean()
        print(f" log-probabilities of int8 products off by {np.abs(np.subtract(ours, at)).mean():.2f}, its own by {off:.2f}", end="", flush=True)
        self.assertLess(np.abs(np.subtract(ours, at)).mean(), off)
        for name, want in self.values(dense).items():
            got = int8_vectorwise_dequant(stored[name], stored[name.replace(".weight", ".SCB")])
            self.assertLess((got - want.float()).abs().max(), 1e-6 * want.float().abs().max(), name)

    @unittest.skipUnless(have("compressed_tensors", "loguru"), "compressed-tensors is not installed")
    def test_compressed_tensors(self):
        from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
        from compressed_tensors.quantization import QuantizationScheme
        for name, method in (("ct-sym", "rtn:bits=4,group=128,sym=true"), ("ct-asym", "rtn:bits=4,group=64,sym=false"),
                             ("ct-8", "rtn:bits=8,group=-1,sym=true")):
            with self.subTest(name):
                path, dense = self.export(name, method, "compressed-tensors")
                config = json.loads((path / "config.json").read_text())["quantization_config"]
                scheme = QuantizationScheme(**config["config_groups"]["group_0"])
                stored, values = load_file(path / "model.safetensors"), {}
                for weight, want in self.values(dense).items():
                    module = weight.removesuffix("weight")
                    state = {k.removeprefix(module): v for k, v in stored.items() if k.startswith(module)}
                    values[weight] = got = PackedQuantizationCompressor.decompress(state, scheme)["weight"]
                    torch.testing.assert_close(got, want.to(got.dtype), rtol=0, atol=0, msg=weight)
                # It decompresses to the scales' type, float16.
                self.same_logits(self.unpacked_logits(values), dense, 2e-3)
                self.runs_here(path, dense)
                if "asym" not in name:  # transformers 5.24 expects unpacked zero points where compressed-tensors packs them
                    self.loads_with_the_same_logits(path, dense, 2e-3, dtype=torch.float32)

    @unittest.skipUnless(have("compressed_tensors", "loguru"), "compressed-tensors is not installed")
    def test_compressed_tensors_of_bytes(self):
        from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
        from compressed_tensors.quantization import QuantizationScheme
        for name, method, form, stored_as in (
                ("fp8-channel", "fp8:scales=channel", "compressed-tensors", "float-quantized"),
                ("fp8-block", "fp8:scales=block", "compressed-tensors", "float-quantized"),
                ("fp8-naive", "fp8:scales=channel", "compressed-tensors-naive", "naive-quantized"),
                ("int-sym", "rtn:bits=8,group=-1,sym=true", "compressed-tensors-int", "int-quantized"),
                ("int-asym", "rtn:bits=8,group=64,sym=false", "compressed-tensors-int", "int-quantized"),
                ("naive-4", "rtn:bits=4,group=64,sym=true", "compressed-tensors-naive", "naive-quantized")):
            with self.subTest(name):
                path, dense = self.export(name, method, form)
                config = json.loads((path / "config.json").read_text())["quantization_config"]
                self.assertEqual(config["format"], stored_as)
                scheme = QuantizationScheme(**config["config_groups"]["group_0"])
                stored, values = load_file(path / "model.safetensors"), {}
                for weight, want in self.values(dense).items():
                    module = weight.removesuffix("weight")
                    state = {k.removeprefix(module): v for k, v in stored.items() if k.startswith(module)}
                    values[weight] = got = NaiveQuantizationCompressor.decompress(state, scheme)["weight"]
                    torch.testing.assert_close(got.float(), want.to(got.dtype).float(), rtol=0, atol=0, msg=weight)
                self.same_logits(self.unpacked_logits(values), dense, 2e-3 if got.dtype == torch.float16 else 1e-5)
                self.runs_here(path, dense)

    @unittest.skipUnless(have("compressed_tensors", "loguru"), "compressed-tensors is not installed")
    def test_compressed_tensors_of_several_schemes(self):
        from transformers import AutoModelForCausalLM
        path, dense = self.dir / "ct-mixed", self.dir / "ct-mixed-values"
        nibble("quantize", MODEL, "-o", path, "--method", "rtn:bits=4,group=64,sym=true", "--format", "compressed-tensors",
               "--overrides", r".*down_proj\.weight=rtn:bits=8,group=-1,sym=true")
        config = json.loads((path / "config.json").read_text())["quantization_config"]
        self.assertEqual(len(config["config_groups"]), 2)
        self.assertTrue(nibble("convert", path, "-o", dense, "--format", "huggingface", "--verify")["lossless"])
        self.loads_with_the_same_logits(path, dense, 2e-3, dtype=torch.float32)
        self.runs_here(path, dense)

    @unittest.skipUnless(have("gptqmodel"), "gptqmodel is not installed")
    def test_gptq(self):
        os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
        from gptqmodel.utils.model_dequant import dequantize_model
        for form in ("gptq", "gptq_v2"):
            for name, method in (("sym", "rtn:bits=4,group=64,sym=true"), ("asym3", "rtn:bits=3,group=32,sym=true"),
                                 ("eight", "rtn:bits=8,group=128,sym=true")):
                with self.subTest(f"{form} {name}"):
                    path, dense = self.export(f"{form}-{name}", method, form)
                    out = self.dir / f"{form}-{name}-theirs"
                    dequantize_model(path, out, target_dtype=torch.float32, device="cpu")
                    theirs = {}
                    for file in out.glob("*.safetensors"):
                        theirs.update(load_file(file))
                    for weight, want in self.values(dense).items():
                        torch.testing.assert_close(theirs[weight].float(), want.float(), rtol=0, atol=0, msg=weight)
                    self.same_logits(self.unpacked_logits({w: theirs[w] for w in self.values(dense)}), dense)
                    self.runs_here(path, dense)

    @unittest.skipUnless(have("awq"), "autoawq is not installed")
    def test_awq(self):
        # The package as a whole imports what unpacking does not need.
        file = pathlib.Path(importlib.util.find_spec("awq").origin).parent / "utils" / "packing_utils.py"
        spec = importlib.util.spec_from_file_location("awq_packing_utils", file)
        packing = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(packing)
        dequantize_gemm = packing.dequantize_gemm
        path, dense = self.export("awq", "rtn:bits=4,group=64,sym=false", "awq")
        stored, values = load_file(path / "model.safetensors"), {}
        for name, want in self.values(dense).items():
            module = name.removesuffix("weight")
            values[name] = got = dequantize_gemm(stored[module + "qweight"], stored[module + "qzeros"], stored[module + "scales"], 4, 64).T
            torch.testing.assert_close(got, want.half(), rtol=0, atol=0, msg=name)
        # It unpacks to float16, nibble to float32.
        self.same_logits(self.unpacked_logits(values), dense, 2e-3)
        self.runs_here(path, dense)

    @unittest.skipUnless(have("gguf"), "gguf is not installed")
    def test_gguf_values(self):
        from gguf import GGUFReader
        from gguf.quants import dequantize
        for method in ("rtn:bits=4,group=32,sym=true", "rtn:bits=4,group=64,sym=false", "rtn:bits=8,group=32,sym=true", "bf16"):
            with self.subTest(method):
                path, dense = self.dir / "m.gguf", self.dir / f"gguf-{method.replace(':', '-')}"
                nibble("quantize", MODEL, "-o", path, "--method", method, "--format", "gguf")
                nibble("convert", path, "-o", dense, "--format", "huggingface")
                ours = load_file(dense / "model.safetensors")
                seen = 0
                for tensor in GGUFReader(path).tensors:
                    if not tensor.name.startswith("blk.") or len(tensor.shape) != 2:
                        continue
                    _, layer, kind, _ = tensor.name.split(".")
                    hf = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
                          "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
                          "ffn_down": "mlp.down_proj"}[kind]
                    want = ours[f"model.layers.{layer}.{hf}.weight"].float().numpy()
                    got = dequantize(tensor.data, tensor.tensor_type).reshape(want.shape)
                    if kind in ("attn_q", "attn_k"):  # rows of a head are interleaved in the file
                        heads = 8 if kind == "attn_q" else 4
                        got = got.reshape(heads, -1, 2, want.shape[1]).swapaxes(1, 2).reshape(want.shape)
                    np.testing.assert_array_equal(got, want, err_msg=tensor.name)
                    seen += 1
                self.assertEqual(seen, 28)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
