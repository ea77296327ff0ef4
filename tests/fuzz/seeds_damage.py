"""Definitions that say much, whole, and with each of their values in turn missing or of another kind."""
import json

WRONG = (None, True, -1, 3.5, 10**18, "", "x", [], [3], {}, {"x": 1})
SPACE = "\u2581"


def damaged(value, skip=()):
    """(path, the value with what lies there replaced or taken out), for each place but those below the keys of `skip`."""
    if isinstance(value, dict):
        for key in value:
            rest = {k: v for k, v in value.items() if k != key}
            yield key, rest
            yield from ((key, {**value, key: wrong}) for wrong in WRONG)
            if key not in skip:
                yield from ((f"{key}.{path}", {**value, key: each}) for path, each in damaged(value[key], skip))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield str(i), value[:i] + value[i + 1:]
            yield from ((str(i), [*value[:i], wrong, *value[i + 1:]]) for wrong in WRONG)
            yield from ((f"{i}.{path}", [*value[:i], each, *value[i + 1:]]) for path, each in damaged(item, skip))


def files(name, value, skip=(), around=lambda text: text):
    yield name, around(json.dumps(value))
    for i, (path, each) in enumerate(damaged(value, skip)):
        yield f"{name}-{i}-{path}", around(json.dumps(each))


def tokenizers():
    letters = {c: i for i, c in enumerate("abcdeinorstw .,!1")}
    models = {
        "bpe": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                "vocab": {"<unk>": 20, **letters, "at": 21, "it": 23, SPACE: 27}, "merges": ["a t", ["i", "t"]]},
        "unigram": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [["<unk>", 0.0], [SPACE, -2.0], ["a", -1.5]]},
        "wordpiece": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 4, "vocab": {"[UNK]": 0, "it": 1}},
        "level": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "It": 1}},
    }
    for name, model in models.items():
        yield from files(f"damaged-{name}", {"model": model}, skip=("vocab",) if name != "unigram" else ())
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}
    parts = {
        "normalizer": {"type": "Sequence", "normalizers": [
            replace, {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}, {"type": "Prepend", "prepend": SPACE}, {"type": "Strip", "strip_left": True, "strip_right": False},
            {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}, {"type": "Precompiled", "precompiled_charsmap": ""}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "[0-9]"}, "behavior": "Isolated", "invert": False}, {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True},
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}, {"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "Isolated"},
            {"type": "CharDelimiterSplit", "delimiter": "-"}, {"type": "FixedLength", "length": 3}]},
        "decoder": {"type": "Sequence", "decoders": [
            replace, {"type": "Strip", "content": " ", "start": 1, "stop": 0}, {"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "BPEDecoder", "suffix": "</w>"},
            {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}, {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}, {"type": "ByteFallback"}]},
        "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel", "trim_offsets": True},
            {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}}]},
    }
    for name, part in parts.items():
        yield from files(f"damaged-{name}", {name: part, "model": models["bpe"]}, skip=("model",))
    for kind in ("BertProcessing", "RobertaProcessing"):
        yield from files(f"damaged-{kind}", {"post_processor": {"type": kind, "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True}, "model": models["bpe"]}, skip=("model",))
    token = {"id": 40, "content": "<s>", "special": True, "lstrip": True, "rstrip": True, "single_word": False, "normalized": True}
    yield from files("damaged-added", {"added_tokens": [token], "model": models["bpe"]}, skip=("model",))
    whole = json.dumps({"model": models["bpe"], "added_tokens": [token]})
    config = {"bos_token": "<s>", "eos_token": {"content": "<s>"}, "unk_token": None, "add_bos_token": True, "add_eos_token": True, "tokenizer_class": "LlamaTokenizer",
              "added_tokens_decoder": {"40": token, "41": {**token, "content": "</s>"}}, "chat_template": [{"name": "default", "template": "a"}]}
    yield from files("damaged-config", config, around=lambda text: whole + "\x1e" + text)


def own_tasks():
    files_of = {"data_files": {"test": "a.jsonl", "train": ["b.jsonl", "c.csv"]}}
    both = {"task": "own", "task_alias": "o", "tag": ["t"], "dataset_path": "json", "dataset_name": "n", "dataset_kwargs": files_of, "test_split": "test", "fewshot_split": "train", "description": "About {{text}}.",
            "doc_to_text": "{{question}}", "target_delimiter": " ", "fewshot_delimiter": "\n", "num_fewshot": 1, "metadata": {"version": 1}, "should_decontaminate": False,
            "fewshot_config": {"sampler": "first_n", "samples": [{"question": "q", "answer": 0, "target": "4"}], "doc_to_text": "{{question}}", "doc_to_target": "answer", "target_delimiter": ": "}}
    yield from files("damaged-choice", {**both, "output_type": "multiple_choice", "doc_to_choice": ["a", "b"], "doc_to_target": "answer", "gen_prefix": "So",
                                        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}, {"metric": "f1", "aggregation": "f1"}]})
    yield from files("damaged-generate", {
        **both, "output_type": "generate_until", "doc_to_target": "{{target}}", "repeats": 2,
        "generation_kwargs": {"until": ["\n", "Q:"], "max_gen_toks": 8, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "do_sample": True},
        "filter_list": [{"name": "x", "filter": [
            {"function": "regex", "regex_pattern": "(-?[0-9.,]+)", "group_select": -1, "fallback": "none"}, {"function": "multi_choice_regex", "regex_pattern": "\\(([A-Z])\\)", "group_select": 0, "ignore_case": True,
             "ignore_punctuation": True, "regexes_to_ignore": ["x"]}, {"function": "map", "mapping_dict": {"a": "b"}, "default_value": "c"}, {"function": "take_first_k", "k": 2}, {"function": "majority_vote"},
            {"function": "take_first"}]}],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True, "ignore_punctuation": False, "ignore_numbers": False, "regexes_to_ignore": [",", "\\$"]},
                        {"metric": "bleu", "aggregation": "bleu"}]})
    yield from files("damaged-rolling", {"task": "r", "output_type": "loglikelihood_rolling", "doc_to_target": "{{text}}", "dataset_path": "json", "dataset_kwargs": files_of, "metric_list": [{"metric": "word_perplexity"}]})
