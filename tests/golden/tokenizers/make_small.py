#!/usr/bin/env python3
"""Trains small tokenizers of the kinds that the shared models do not have, on this project's own texts, into small/, and writes
small.json: what the `tokenizers` package (0.23.3) and the `sentencepiece` package (0.2.3) make of random texts with them.

    python3 make_small.py > small.json
    python3 make_small.py --show NAME CHUNK
"""
import hashlib
import json
import os
import struct
import sys
import tempfile

import sentencepiece
from random_text import SplitMix, random_text
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = [os.path.join(HERE, "../../../examples/data", name) for name in ("calibration.txt", "evaluation.txt")]
SMALL = os.path.join(HERE, "small")
TEXTS, CHUNK, SEED = 20_000, 1000, 4711
OTHER = "caf\u00e9 na\u00efve \u041f\u0440\u0438\u0432\u0435\u0442 \u4f60\u597d \u4f60\u597d \u3053\u3093\u306b\u3061\u306f \u0645\u0631\u062d\u0628\u0627 123 456 x = y + 1 {\"a\": [1, 2]}\n"


def corpus():
    for name in DATA:
        with open(name, encoding="utf-8") as file:
            yield from file
    yield OTHER


def train_hf():
    made = {}
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(corpus(), trainers.UnigramTrainer(vocab_size=500, unk_token="<unk>", special_tokens=["<s>", "</s>", "<unk>"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    made["unigram"] = t

    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=600, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made["wordpiece"] = t

    # As Gemma has it: spaces replaced, no prefix, unknown characters in bytes.
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Replace(" ", "\u2581")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.train_from_iterator([s.replace(" ", " \u2581") for s in corpus()],
                          trainers.BpeTrainer(vocab_size=700, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"] + ["<0x%02X>" % b for b in range(256)], show_progress=False))
    raw = json.loads(t.to_str())
    raw["added_tokens"] = [a for a in raw["added_tokens"] if not a["content"].startswith("<0x")]
    raw["added_tokens"].append({"id": len(raw["model"]["vocab"]), "content": "\n\n\n", "single_word": False, "lstrip": False, "rstrip": False,
                                "normalized": False, "special": False})
    t = Tokenizer.from_str(json.dumps(raw))
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    made["gemma-like"] = t

    # As CLIP has it: an end-of-word suffix.
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.decoder = decoders.BPEDecoder()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False))
    made["end-suffix"] = t

    # A continuing prefix, added tokens of every kind, and no byte fallback.
    t = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="@@", fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], continuing_subword_prefix="@@", show_progress=False))
    t.add_special_tokens([AddedToken("<s>", lstrip=True), AddedToken("</s>", rstrip=True), AddedToken("<|im_start|>", single_word=True)])
    t.add_tokens([AddedToken("the", single_word=True), AddedToken("ing", normalized=False), AddedToken("123", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("  ", normalized=True), AddedToken("   ", normalized=True)])
    made["added-tokens"] = t

    # Llama 3's arrangement: split, then bytes; whole words first.
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=600, special_tokens=["<|begin_of_text|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    raw = json.loads(t.to_str())
    n = len(raw["model"]["vocab"])
    for i, word in enumerate(("\u0120Hello", "world", "Hello", "return\u0120")):  # words that no merges make
        raw["model"]["vocab"][word] = n + i
    t = Tokenizer.from_str(json.dumps(raw))
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                            processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
    made["llama3-like"] = t
    return made


def train_sp():
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "text")
        rules = os.path.join(folder, "rules.tsv")
        with open(text, "w", encoding="utf-8") as file:
            file.writelines(corpus())
        with open(rules, "w", encoding="utf-8") as file:
            for a, b in (("\ufb01", "fi"), ("\u00a0", " "), ("\u3000", " "), ("\n", " "), ("\t", " "), ("e\u0301", "\u00e9"), ("A\u030a", "\u00c5"), ("\u00df", "ss"), ("\u200b", "")):
                file.write("%s\t%s\n" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b)))
        common = dict(input=text, hard_vocab_limit=False, minloglevel=2, num_threads=1)
        for name, options in {
            "sp-unigram": dict(model_type="unigram", vocab_size=500, normalization_rule_tsv=rules, user_defined_symbols=["<sep>", "Hello"]),
            "sp-unigram-bytes": dict(model_type="unigram", vocab_size=700, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False),
            "sp-bpe": dict(model_type="bpe", vocab_size=700, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True),
            "sp-bpe-unk": dict(model_type="bpe", vocab_size=500, normalization_rule_tsv=rules, add_dummy_prefix=False, user_defined_symbols=["<sep>", "\u2581\u2581"]),
        }.items():
            sentencepiece.SentencePieceTrainer.train(model_prefix=os.path.join(folder, name), **common, **options)
            with open(os.path.join(folder, name + ".model"), "rb") as file, open(os.path.join(SMALL, name + ".model"), "wb") as out:
                out.write(file.read())


def load_all():
    made = {}
    for file in sorted(os.listdir(SMALL)):
        path = os.path.join(SMALL, file)
        if file.endswith(".json"):
            t = Tokenizer.from_file(path)
            made[file] = (lambda s, t=t: t.encode(s, add_special_tokens=False).ids, lambda i, t=t: t.decode(i, skip_special_tokens=True),
                          t.encode("Hello world", add_special_tokens=True).ids)
        else:
            sp = sentencepiece.SentencePieceProcessor(model_file=path)
            made[file] = (lambda s, sp=sp: sp.encode(s), None, [1] + sp.encode("Hello world"))
    return made


def main():
    rng = SplitMix(SEED)
    texts = [random_text(rng) for _ in range(TEXTS)]
    if sys.argv[1:2] == ["--show"]:
        encode = load_all()[sys.argv[2]][0]
        for text in texts[int(sys.argv[3]) * CHUNK:][:CHUNK]:
            print(ascii(text), encode(text))
        return
    os.makedirs(SMALL, exist_ok=True)
    for name, t in train_hf().items():
        with open(os.path.join(SMALL, name + ".json"), "w", encoding="utf-8") as file:
            file.write(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    train_sp()
    print('{"seed": %d, "chunk": %d, "tokenizers": {' % (SEED, CHUNK))
    everything = load_all()
    for name, (encode, decode, special) in everything.items():
        hashes, decoded = [], []
        for start in range(0, TEXTS, CHUNK):
            h, d = hashlib.sha256(), hashlib.sha256()
            for text in texts[start:start + CHUNK]:
                ids = encode(text)
                h.update(struct.pack("<%di" % (len(ids) + 1), *ids, -1))
                if decode:
                    d.update(decode(ids).encode() + b"\x1e")
            hashes.append(h.hexdigest()[:16])
            decoded.append(d.hexdigest()[:16])
        out = {"special": special, "random": hashes}
        if decode:
            out["decoded"] = decoded
        print('"%s": %s%s' % (name, json.dumps(out), "" if name == list(everything)[-1] else ","))
    print("}}")


main()
