"""Makes text_metrics.jsonl: scores of generated sentence pairs by the packages that papers cite.

Needs sacrebleu, rouge-score, nltk and lm_eval; the tests that read the file need none of them.
Usage: python make_text_metrics.py > text_metrics.jsonl
       python make_text_metrics.py --cases 500 --seed N > FILE     (fresh cases; NIBBLE_TEXT_METRICS=FILE test_eval reads them)
"""

import argparse
import importlib.util
import json
import os
import random
import sys

import lm_eval
import sacrebleu
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

WORDS = (
    "the a of river mountains running quickly cats' isn't 3.5 1,000 (see) [7] state-of-the-art hello, world! e.g. U.S. "
    "caresses ponies flies dying happily relational conditional operators formalize electrical adjustment "
    "x=y+1; foo_bar(a,b) &amp; &lt;b&gt; \"quoted\" 50% $5 naïve façade Straße ΣΊΣΥΦΟΣ İstanbul москва "
    "漢字 仮名 中文，测试。 🙂 — … ½ co-operate well-known 10-year -5 .5 a.b.c end. End"
).split()


def sentence(rng, low=0, high=14):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def altered(rng, text):
    words = text.split(" ")
    for _ in range(rng.randint(0, 4)):
        i = rng.randrange(len(words)) if words else 0
        kind = rng.randrange(4)
        if kind == 0 and words:
            words[i] = rng.choice(WORDS)
        elif kind == 1:
            words.insert(i, rng.choice(WORDS))
        elif kind == 2 and len(words) > 1:
            del words[i]
        elif words:
            words[i] = words[i].upper()
    return rng.choice([" ", " ", "\n"]).join(words) if rng.random() < 0.2 else " ".join(words)


def code2text_bleu():
    path = os.path.join(os.path.dirname(lm_eval.__file__), "tasks", "code_x_glue", "code-text", "bleu.py")
    spec = importlib.util.spec_from_file_location("codexglue_bleu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.smoothed_bleu_4


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=20240607)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    smoothed = code2text_bleu()
    rouge = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    stemmed = rouge_scorer.RougeScorer(["rouge1", "rougeL", "rougeLsum"], use_stemmer=True)
    for _ in range(args.cases):
        reference = sentence(rng)
        if rng.random() < 0.4:
            reference = "\n".join(sentence(rng, 1, 6) for _ in range(rng.randint(1, 3)))
        prediction = altered(rng, reference) if rng.random() < 0.8 else sentence(rng)
        second = altered(rng, reference)
        r, s = rouge.score(reference, prediction), stemmed.score(reference, prediction)
        intl = sacrebleu.corpus_bleu([prediction], [[reference]], smooth_method="exp", smooth_value=0.0, force=False,
                                     lowercase=False, tokenize="intl", use_effective_order=False).score
        record = {
            "reference": reference,
            "second": second,
            "prediction": prediction,
            "smoothed_bleu_4": smoothed([reference], [prediction]),
            "bleu_13a": BLEU().corpus_score([prediction], [[reference], [second]]).score,
            "bleu_intl": intl,
            "bleu_zh": BLEU(tokenize="zh").corpus_score([prediction], [[reference]]).score,
            "bleu_char": BLEU(tokenize="char").corpus_score([prediction], [[reference]]).score,
            "chrf": CHRF().corpus_score([prediction], [[reference], [second]]).score,
            "chrf++": CHRF(word_order=2).corpus_score([prediction], [[reference]]).score,
            "rouge": [[v.precision, v.recall, v.fmeasure] for v in (r["rouge1"], r["rouge2"], r["rougeL"], r["rougeLsum"])],
            "rouge_stemmed": [[v.precision, v.recall, v.fmeasure] for v in (s["rouge1"], s["rougeL"], s["rougeLsum"])],
            "lower": prediction.lower(),
        }
        json.dump(record, sys.stdout, ensure_ascii=False)
        print()
    # One corpus of all of it, and stems of many words, in a last record each.
    rng = random.Random(args.seed + 1)
    references = [sentence(rng, 3, 20) for _ in range(200)]
    predictions = [altered(rng, r) for r in references]
    json.dump({"corpus": {"references": references, "predictions": predictions,
                          "bleu": BLEU().corpus_score(predictions, [references]).score,
                          "chrf": CHRF().corpus_score(predictions, [references]).score,
                          "chrf++": CHRF(word_order=2).corpus_score(predictions, [references]).score}}, sys.stdout, ensure_ascii=False)
    print()
    stems = ["caress", "pony", "tie", "agree", "plaster", "motor", "conflat", "troubl", "siz", "hop", "tann", "fall", "hiss", "fizz", "fail",
             "fil", "happy", "sky", "relation", "condition", "ration", "valen", "hesitan", "digit", "conform", "radic", "differ", "vil",
             "analog", "vietnam", "predic", "oper", "feud", "decis", "hope", "call", "form", "sensit", "electr", "triplic", "reviv", "allow",
             "infer", "airlin", "gyroscop", "adjust", "defens", "irrit", "replac", "depend", "adopt", "commun", "activ", "angular", "effect",
             "bowdler", "prob", "rat", "ceas", "controll", "roll", "geolog", "enjoy", "die", "lie", "spy", "yyyy", "psych", "ow", "ab"]
    endings = ["", "s", "es", "ies", "ied", "ed", "eed", "ing", "y", "ational", "tional", "enci", "anci", "izer", "bli", "alli", "entli", "eli", "ousli",
               "ization", "ation", "ator", "alism", "iveness", "fulness", "ousness", "aliti", "iviti", "biliti", "fulli", "logi", "icate", "ative",
               "alize", "iciti", "ical", "ful", "ness", "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
               "ism", "ate", "iti", "ous", "ive", "ize", "e", "ll", "sses", "ss"]
    stemmer = PorterStemmer()
    words = sorted({a + b for a in stems for b in endings})
    if args.cases < 500:
        words = words[::4]  # the shipped file is small; whoever asks for many cases gets all
    json.dump({"stems": {w: stemmer.stem(w) for w in words}}, sys.stdout)
    print()


main()
