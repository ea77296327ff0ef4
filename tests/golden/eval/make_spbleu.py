"""Makes spbleu.jsonl: the pieces and the BLEU that sacreBLEU's tokenizers flores101 and flores200 give with the small sentencepiece
models of tests/golden/tokenizers/small in place of the published ones.

Needs sacrebleu and sentencepiece; the test that reads the file needs neither.
Usage: python make_spbleu.py > spbleu.jsonl
       python make_spbleu.py --cases 500 --seed N > FILE     (fresh cases; NIBBLE_SPBLEU=FILE test_eval reads them)
"""
import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile

from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers import tokenizer_spm

MODELS = pathlib.Path(__file__).resolve().parent.parent / "tokenizers/small"
WORDS = (
    "the a of river mountain running quickly isn't 3.5 1,000 (see) hello, world! U.S. lantern grandfather chronometer opinion "
    "naïve façade Straße ΣΊΣΥΦΟΣ москва 漢字 你好 你你好 中文，测试。 🙂 👩‍👩‍👧 — … ½ ﬁne <s> </s> <unk> <0x41> ▁ ▁the a\u0301 \u3000 \u00a0 "
    "x=y+1; foo_bar \"quoted\" 50% $5 10-year End"
).split(" ")


def sentence(rng, low, high):
    return rng.choice(["", "", " ", "  "]) + rng.choice([" ", " ", " ", "  "]).join(
        rng.choice(WORDS) for _ in range(rng.randint(low, high))) + rng.choice(["", "", "", " ", "\t"])


def altered(rng, text):
    words = text.split(" ")
    for _ in range(rng.randint(0, 4)):
        i = rng.randrange(len(words))
        kind = rng.randrange(3)
        if kind == 0:
            words[i] = rng.choice(WORDS)
        elif kind == 1:
            words.insert(i, rng.choice(WORDS))
        elif len(words) > 1:
            del words[i]
    return " ".join(words)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20261126)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    for model in sorted(MODELS.glob("*.model")):
        with tempfile.TemporaryDirectory() as folder:
            # sacreBLEU looks for the published file's name in a folder of its own before it asks the network.
            tokenizer_spm.SACREBLEU_DIR = folder
            (pathlib.Path(folder) / "models").mkdir()
            for entry in tokenizer_spm.SPM_MODELS.values():
                shutil.copy(model, pathlib.Path(folder) / "models" / entry["url"].rsplit("/", 1)[1])
            score = BLEU(tokenize="flores200")
            pairs = []
            for _ in range(args.cases):
                reference = sentence(rng, 0, 14)
                prediction = altered(rng, reference) if rng.random() < 0.8 else sentence(rng, 0, 14)
                pairs.append((reference, prediction))
                json.dump({"model": model.name, "reference": reference, "prediction": prediction,
                           "pieces": score.tokenizer.sp.EncodeAsPieces(reference),
                           "spbleu": score.corpus_score([prediction], [[reference]]).score}, sys.stdout, ensure_ascii=False)
                print()
            references, predictions = [r for r, _ in pairs], [p for _, p in pairs]
            json.dump({"model": model.name, "references": references, "predictions": predictions,
                       "spbleu": score.corpus_score(predictions, [references]).score}, sys.stdout, ensure_ascii=False)
            print()


main()
