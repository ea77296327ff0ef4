"""What `nibble convert` needs in memory: a few times its largest tensor, however large the model."""
import json
import os
import struct
import subprocess
import sys
import unittest

from support import NIBBLE, Case

ROWS, COLUMNS, LAYERS = 4096, 4096, 7  # 32 MiB a tensor as bf16, 224 MiB in all


class Peak(Case):
    def model(self):
        """A checkpoint of zeros that takes no room on the disk."""
        folder = self.dir / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": COLUMNS, "intermediate_size": ROWS,
            "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 8,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 128, "tie_word_embeddings": True, "torch_dtype": "bfloat16"}))
        size = ROWS * COLUMNS * 2
        header = {f"model.layers.{i}.mlp.up_proj.weight":
                  {"dtype": "BF16", "shape": [ROWS, COLUMNS], "data_offsets": [i * size, (i + 1) * size]} for i in range(LAYERS)}
        end = LAYERS * size
        header["model.embed_tokens.weight"] = {"dtype": "BF16", "shape": [8, COLUMNS], "data_offsets": [end, end + 16 * COLUMNS]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / "model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + end + 16 * COLUMNS)
        return folder, size

    def test_is_bounded_by_the_largest_tensor(self):
        folder, size = self.model()
        code = ("import resource, subprocess, sys\n"
                "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
                "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, done.stderr)\n")
        for form, extra in (("native", ["--verify"]), ("huggingface", []), ("gguf", ["--verify"])):
            with self.subTest(form):
                out = self.dir / "out"
                done = subprocess.run([sys.executable, "-c", code, NIBBLE, "convert", folder, "-o", out, "--format", form, *extra],
                                      capture_output=True, text=True, timeout=300)
                status, peak, *rest = done.stdout.split(maxsplit=2)
                self.assertEqual(int(status), 0, done.stdout)
                self.assertLessEqual(int(peak), 3 * size + (64 << 20), form)
                self.assertGreater(int(peak), size // 4)
                if out.is_dir():
                    for path in out.iterdir():
                        os.remove(path)
                    out.rmdir()
                else:
                    out.unlink()


if __name__ == "__main__":
    unittest.main()
