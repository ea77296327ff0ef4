"""Makes the golden logits of this folder: what transformers computes, in float32, for 24 tokens of each model.

    python make.py MODELS_DIR [OUT_DIR]

needs torch, transformers and safetensors. For each model it writes NAME.json (ids, the positions kept, the argmax at every
position, the versions that computed it) and NAME.f32 (logits of the kept positions, [positions, vocab], little-endian float32).
Half of the positions are kept where all of them would be more than the repository should carry.
"""

import json
import pathlib
import sys

import numpy
import torch
import transformers

INPUTS = {
    "prose-3.7m": "The lamp had burned low before the captain spoke again, and when he did his voice was quiet and tired. He asked whether",
    "prose-28m": "The lamp had burned low before the captain spoke again, and when he did his voice was quiet and very tired. He asked at "
    "last whether anybody had seen the letter.",
    "code-11m": "def read_rows(path, limit=None):\n    with open(path) as handle:\n        for index, line in enumerate(handle):\n"
    "            if limit is not None and index",
}
MAX_BYTES = 400 * 1024
TOKENS = 24


def main():
    models = pathlib.Path(sys.argv[1])
    out = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
    torch.manual_seed(0)
    for name, text in INPUTS.items():
        tokenizer = transformers.AutoTokenizer.from_pretrained(models / name)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:TOKENS]
        assert len(ids) == TOKENS, (name, len(ids))
        model = transformers.AutoModelForCausalLM.from_pretrained(
            models / name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].float().numpy()
        step = 1 if logits.nbytes <= MAX_BYTES else 2
        positions = list(range(TOKENS - 1, -1, -step))[::-1]
        logits.astype("<f4")[positions].tofile(out / f"{name}.f32")
        record = {
            "model": name,
            "ids": ids,
            "positions": positions,
            "vocab": int(logits.shape[1]),
            "argmax": [int(i) for i in logits.argmax(axis=1)],
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": numpy.__version__,
        }
        (out / f"{name}.json").write_text(json.dumps(record) + "\n")
        top2 = numpy.sort(logits, axis=1)[:, -2:]
        print(name, logits.shape, "smallest gap between the first two:", float((top2[:, 1] - top2[:, 0]).min()))


main()
