"""Seeds written for what the readers of texts tell apart: JSON schemas, grammars, task files, tables, templates, tokenizers. Each function
yields (name, content)."""
import base64
import itertools
import json
import struct

SPACE = "\u2581"


def schemas():
    number = [{"type": "integer", "minimum": -12, "maximum": 340}, {"type": "number", "minimum": 0.25, "exclusiveMaximum": 7.125},
              {"type": "number", "exclusiveMinimum": -1.5, "maximum": -0.001}, {"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 10},
              {"type": "number", "minimum": 1e15}, {"type": "number", "maximum": 1e16}, {"type": "integer", "maximum": -100},
              {"type": "number", "minimum": 0.12345678901234567}, {"minimum": 3, "maximum": 2}, {"type": "number", "minimum": 1e-300},
              {"type": "integer", "multipleOf": 1}, {"type": "number", "multipleOf": 2}, {"minimum": "a"}, {"type": "integer", "minimum": 0, "exclusiveMinimum": 0},
              {"type": "number", "minimum": -0.0, "maximum": 0}, {"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.3}]
    yield from ((f"number{i}", json.dumps(s)) for i, s in enumerate(number))
    patterns = [r"^[a-z]{2,4}\d+$", r"a|b|^c$", r"^(?:ab|c[^d-f])*?x\.$", r"(?<name>\w+)\s(?P<n>\W)\S\D", r"^\x41\u00e9\n\t\r\f\v[\b\]\-x]{0}$", r"^.{3,}$",
                r"[^\d\n]", r"^(a{2}){3}b?c+$", "^\u00e9[\u00e0-\u00ff]$", r"(", r"[a", r"a**", r"(?=x)", r"(?<=x)", r"a{3,2}", r"\q", "a$b", r"[z-a]", r"a{99999}",
                r"\x4", "a\\", "^^", r"{2}", r"[\d-x]", r"(?<!x)", r"(a", r")", r"a{,3}", r"[\w-]", "^$", r"^\"\\$"]
    yield from ((f"pattern{i}", json.dumps({"type": "string", "pattern": p})) for i, p in enumerate(patterns))
    yield from ((f"counted{i}", json.dumps({"type": "string", "pattern": p, "minLength": low, **high})) for i, (p, low, high) in enumerate([
        (r"^(ab|c)*d?$", 2, {"maxLength": 5}), (r"x{2,4}y", 3, {}), (r"^[0-9]+$", 0, {"maxLength": 3}), (r".", 90000, {}), (r"^(a{50}){50}$", 1, {"maxLength": 9000}),
        (r"^a?b{0,2}$", 3, {"maxLength": 2})]))
    formats = "date time date-time duration uuid ipv4 ipv6 hostname email uri regex".split()
    yield from ((f"format-{f}", json.dumps({"type": "string", "format": f})) for f in formats)
    yield "format-and-length", json.dumps({"format": "ipv4", "minLength": 8, "maxLength": 9})
    integer, text = {"type": "integer"}, {"type": "string"}
    arrays = [{"items": integer, "minItems": 2, "maxItems": 3}, {"prefixItems": [integer, text], "items": False}, {"prefixItems": [integer, text], "minItems": 3},
              {"items": [integer, text], "additionalItems": {"type": "null"}, "maxItems": 4}, {"prefixItems": [integer], "items": text, "minItems": 0},
              {"type": "array", "maxItems": 0}, {"type": "array", "items": False}, {"items": integer, "uniqueItems": True, "maxItems": 1}, {"items": integer, "uniqueItems": True},
              {"type": "array", "minItems": -1}, {"type": "array", "minItems": 1e9}, {"type": "array", "minItems": 2.5}, {"prefixItems": [integer, text], "maxItems": 1},
              {"prefixItems": [integer], "items": False, "minItems": 3}]
    yield from ((f"array{i}", json.dumps(s)) for i, s in enumerate(arrays))
    two = {"a": integer, "ab": text, "\u00e9\"": {"type": "null"}}
    objects = [{"properties": two, "required": ["a"]}, {"properties": two, "required": ["a", "z"], "additionalProperties": integer},
               {"properties": two, "additionalProperties": False}, {"additionalProperties": text, "minProperties": 1, "maxProperties": 2},
               {"patternProperties": {"^x": integer}, "additionalProperties": False}, {"propertyNames": {"pattern": "^[a-c]$"}, "additionalProperties": integer},
               {"propertyNames": {"enum": ["p", "q"]}}, {"propertyNames": True, "type": "object"}, {"propertyNames": False, "type": "object"},
               {"properties": two, "minProperties": 2}, {"properties": two, "maxProperties": 1}, {"properties": {"a": False}, "required": ["a"]},
               {"properties": {"a": False, "b": True}}, {"required": ["q"], "additionalProperties": False}, {"type": "object", "maxProperties": 0},
               {"patternProperties": {"a": {}, "b": {}}}, {"properties": two, "patternProperties": {"^y": {}}}, {"propertyNames": {"type": "string"}, "properties": two},
               {"propertyNames": {"minLength": 2}, "required": ["ab"]}, {"properties": {"k" * 150: integer, "k" * 90 + "z": text}, "additionalProperties": True},
               {"type": "object"}, {"properties": 3}, {"required": "a"}, {"required": [1]}, {"patternProperties": {"(": {}}}]
    yield from ((f"object{i}", json.dumps(s)) for i, s in enumerate(objects))
    values = [{"enum": [1, 2.5, "a\n\"", None, True, [1], {"b": 2}]}, {"const": "x", "type": "string"}, {"enum": [1, 5, 9], "minimum": 3}, {"enum": ["a", "abc"], "maxLength": 2},
              {"enum": []}, {"enum": 1}, {"enum": ["a"], "pattern": "b"}, {"enum": [{}], "properties": {}}, {"enum": [[1]], "items": {}}, {"const": [1, 2], "minItems": 3},
              {"enum": [4, 5], "multipleOf": 2}, {"enum": [1, "a"], "type": ["string", "null"]}, {"const": 1, "enum": [1, 2]}, {"enum": [4.0, 5.5], "type": "integer"}]
    yield from ((f"value{i}", json.dumps(s)) for i, s in enumerate(values))
    combined = [{"anyOf": [integer, text, {"type": "null"}]}, {"oneOf": [integer, text]}, {"oneOf": [{"type": "integer"}, {"type": "number"}]},
                {"oneOf": [{"properties": {"t": {"const": c}, "v": integer}, "required": ["t"]} for c in "ab"]}, {"allOf": [integer, {"minimum": 3}, {"maximum": 9}]},
                {"oneOf": [{"maximum": 3, "type": "integer"}, {"exclusiveMinimum": 3, "type": "integer"}]}, {"oneOf": [{"enum": ["a"]}, {"enum": ["b", "c"]}]},
                {"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}]}, {"allOf": [integer, text]}, {"allOf": [{"properties": {"a": integer}}, {"properties": {"a": {"minimum": 1}, "b": text}, "required": ["b"]}]},
                {"allOf": [{"additionalProperties": integer, "properties": {"a": {}}}, {"additionalProperties": {"minimum": 2}, "properties": {"b": {}}}]},
                {"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, {"allOf": [{"items": integer}, {"items": {"minimum": 0}}]}, {"anyOf": []}, {"oneOf": 3}, {"anyOf": [{"anyOf": [integer, text]}, False]},
                {"oneOf": [{"type": "object", "properties": {"a": integer}, "required": ["a"], "additionalProperties": False}, {"type": "object", "properties": {"b": integer}, "required": ["b"], "additionalProperties": False}]},
                {"anyOf": [{"type": t} for t in ("null", "boolean", "integer", "number", "string", "array", "object")]}, {"type": ["integer", "number", "string"]}, {"type": "thing"},
                {"allOf": [{"required": ["a"]}, {"required": ["a", "b"]}], "type": "object"}, {"oneOf": [{"type": "array"}, {"type": "array"}]}, {"oneOf": [True, False]}, {"oneOf": [{"type": "boolean"}, {"const": True}]},
                {"allOf": [{"minimum": 1}, {"minimum": 4}, {"maxLength": 3}, {"maxLength": 2}]}, {"not": {}}, {"title": "t", "description": "d", "default": 1, "$schema": "x", "type": "null"},
                {"anyOf": [{"allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]} for _ in range(9)]}, {"type": "null"}]}, {"allOf": [{"anyOf": [{"minimum": i} for i in range(6)]} for _ in range(4)]}]
    yield from ((f"combined{i}", json.dumps(s)) for i, s in enumerate(combined))
    references = [{"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#"}}}}, {"$ref": "#/definitions/x~1y~0%20z", "definitions": {"x/y~ z": integer}},
                  {"$ref": "#/anyOf/1", "anyOf": [integer, text]}, {"$ref": "#"}, {"$ref": "other.json"}, {"$ref": "#/none"}, {"$ref": 3}, {"$ref": "#/$defs/a/$defs/b", "$defs": {"a": {"$defs": {"b": text}}}},
                  {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "v": integer}, "required": ["v"]}, {"$ref": "#/$defs/a", "minimum": 2, "$defs": {"a": integer}}]
    yield from ((f"reference{i}", json.dumps(s)) for i, s in enumerate(references))
    deep = integer
    for _ in range(120):
        deep = {"items": deep}
    yield "deep", json.dumps(deep)
    yield from ((f"other{i}", text) for i, text in enumerate(["", "3", "[]", "{", "true", "false", '"a"', "null", "{}"]))


def grammars():
    texts = ['root ::= [^a-c\\n\\]\\^\\-\\\\] "\\x41\\u00e9\\U0001F642\\t\\r\\"\\[" . | ( "a" | b )* c+ d? e{2} f{1,} g{0,3}\nb ::= "b"\nc::="c"\nd ::= ""\n'
             'e ::= "e"\n\nf ::=\n  "f"\ng ::= ("g" "h")\n', "root ::= root \"a\"", "root ::= a\na ::= b\nb ::= a", "root ::= x", "root = \"a\"", "a ::= \"b\"", "root ::= \"a", "root ::= [a", "root ::= [b-a]",
             "root ::= (\"a\"", "root ::= \"a\"{", "root ::= \"a\"{3,1}", "root ::= \"a\"{99999999}", "root ::= \"\\q\"", "root ::= \"\\u00g0\"", "root ::= \"\\U99999999\"", 
             "root ::= \"a\"\nroot ::= \"b\"", "root ::= (\"a\"?){3,200}", "root ::= (\"\")*", "root ::= ]", "# only a comment\n", "root ::= a b\na ::= [0-9]+ # digits\nb ::= ([ ] a)*",
             "root ::= (\"a\" | \"ab\") (\"b\" | \"\") # ambiguous", "root ::= \"a\" \"\n", "root ::= [\u00e0-\u00ff\u4e00-\u9fff]{2,3}\r\n", "root ::= ((((\"a\"))))*", "root ::= [a-]", "root ::= [-a]",
             "root ::= a | b |\n  c\na ::= \"1\"\nb ::= \"2\"\nc ::= \"3\" | \"\"\n", "root ::= \"x\"{0}", "root ::= \"a\"{ 2 , 4 } \"b\"{,2}", "-a ::= \"x\"\nroot ::= -a", "root ::= []", "root ::= .*"]
    yield from ((f"more{i}", text) for i, text in enumerate(texts))
    yield "no-utf8", b'root ::= "\xff"'
    yield "deep", "root ::= " + "(" * 210 + "\"a\"" + ")" * 210


YAML = [
    "---\n# comment\na: 1\nb: -2.5e3\nc: ~\nd: null\ne: True\nf: false\ng: .5\nh: 'it''s'\ni: \"\\n\\t\\u00e9\\ud83d\\ude42\\x41\\U0001F642\\q\\\n  joined\"\nj: plain text # c\n",
    "a:\n  - 1\n  - - 2\n    - 3\n  -\n    b: c\n    d: e\n  - f: g\n    h:\n    - i\n-: x\n", "a: |\n  one\n    two\n\n  three\nb: >\n  one\n  two\n\n  three\n    four\nc: |-\n  x\n\nd: >+\n  y\n\n",
    "a: [1, 'b', \"c\", [d, {e: f}], {g: [h]}, ]\nb: {a: 1, 'b c': 2, \"d\": {}}\nc: [\n  1,\n  2 # two\n ]\nd: {a: b,\n  c: d}\n", "a: one\n  two\n\n  three\nb: \"open\n  and closed\"\nc: 'x\n\n  y'\n",
    "a: !tag x\n", "a: &x 1\nb: *x\n", "a: %x\n", "a: @x\n", "a: |2\n   x\n", "<<: {a: b}\n", "a: 1\na: 2\n", "a: [1\n", "a: {1\n", "a: {1 2}\n", "a: [1 2]\n", "a: \"open\n", "a: 'x' y\n", "a: [1] y\n", "a: [\"x]\n",
    "- 1\n- 2\n", "plain\n", "\ta: 1\n", "a:\n\tb: 1\n", "a: 1\n  b: 2\n c: 3\n", "a:\n  b\nc\n", "\"key\": v\n'k2' : w\n? x\n", "a: |\n    x\n  y\n", "", "# nothing\n", "---\n---\n", "a: 99999999999999999999\nb: 0x1f\nc: 1_000\nd: 1e999\n",
    "a:\r\n  - b\r\n", "{a: {b: [c, {d: e}]}}\n", "[1, 2]\n", "a: \"\\\"q\\\" \\/ \\0\\a\\b\\e\\f\\v\\\\\"\n", "a: {x: 'y', z: [1, 2, 3], w: \"}\"}\n", "a: >-\n  \n  x\n\n\n  y\n", "a: " + "[" * 80 + "]" * 80 + "\n",
    "".join(" " * i + f"k{i}:\n" for i in range(80)),
]


def own_tasks():
    base = {"task": "own", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "a.jsonl", "train": ["b.jsonl", "c.csv"]}}, "test_split": "test", "output_type": "multiple_choice",
            "doc_to_text": "{{question}}", "doc_to_choice": ["a", "b"], "doc_to_target": "answer"}
    generate = {**base, "output_type": "generate_until", "doc_to_choice": None, "doc_to_target": "{{target}}"}
    del generate["doc_to_choice"]
    variants = [
        {}, {"doc_to_choice": "{{choices}}"}, {"doc_to_choice": "{{[question, 'x']}}", "doc_to_target": "{{answer}}"}, {"doc_to_choice": {"A": "x", "B": "y"}}, {"doc_to_choice": "options", "doc_to_target": "{{label}}"},
        {"doc_to_choice": "{{options.values()|list}}"}, {"doc_to_text": 3}, {"doc_to_text": "nothing"}, {"doc_to_text": "question"}, {"doc_to_target": 1}, {"doc_to_target": "{{'b'}}"}, {"doc_to_target": "b"}, {"doc_to_target": ["a", "b"]},
        {"doc_to_text": ["a"]}, {"doc_to_choice": "{{missing}}"}, {"doc_to_text": "!function utils.f"}, {"doc_to_target": "{{[0, 1]}}"},
        {"description": "About {{label}}.", "target_delimiter": "\n", "fewshot_delimiter": "##", "num_fewshot": 2, "repeats": 2, "metadata": {"version": "1"}, "task_alias": "x", "tag": ["t"]},
        {"fewshot_split": "train", "fewshot_config": {"sampler": "first_n", "split": "train"}}, {"fewshot_config": {"samples": [{"question": "q", "answer": 0}], "doc_to_text": "{{question}}!", "target_delimiter": ": "}},
        {"fewshot_config": {"sampler": "other"}}, {"documents": [{"question": "q", "answer": 1}]}, {"documents": 3}, {"dataset_kwargs": {"data_files": "a.csv"}, "dataset_path": "csv"}, {"dataset_kwargs": {"data_files": ["a", "b"]}},
        {"dataset_kwargs": {"trust_remote_code": True}, "dataset_path": "hub/set"}, {"dataset_kwargs": {"data_files": "a"}, "dataset_path": "hub"}, {"dataset_kwargs": {"x": 1}}, {"test_split": "", "validation_split": "v"}, {"test_split": "none"},
        {"output_type": "loglikelihood", "doc_to_target": " {{target}}"}, {"output_type": "loglikelihood_rolling"}, {"output_type": "other"}, {"group": "g"}, {"unknown_key": 1}, {"task": "a,b"}, {"task": 3}, {"num_fewshot": -1}, {"repeats": 0},
        {"metric_list": [{"metric": m, "aggregation": a, "higher_is_better": True} for m, a in (("acc", "mean"), ("acc_norm", "mean"), ("acc_bytes", "mean"), ("f1", "f1"), ("mcc", "matthews_corrcoef"), ("brier_score", "brier_score"))]},
        {"metric_list": [{"metric": "nothing"}]}, {"metric_list": 3}, {"metric_list": [{"aggregation": "mean"}]}, {"metric_list": [{"metric": "!function x"}]}, {"metric_list": [{"metric": "acc", "aggregation": "other"}]},
        *({"doc_to_choice": text} for text in ("['a', \"b\\n\\x41\\u00e9\\U0001F642\\q\\\n\", 1.5, -2, True, None, (1, 2), [], ()]", "['a', 'b'", "['a' 'b']", "['a\\x4']", "[nope]", "['a\n']", "['a'] x", "(" * 70, "['\u00e9', '\\u4e00']", "{{ ['x', 'y'] }}", "")),
        {"doc_to_target": "{{ answer == 1 }}"}, {"doc_to_target": "{{ choices[1] }}", "doc_to_choice": "choices"}, {"doc_to_target": "7"}, {"doc_to_target": 9}, {"doc_to_choice": "question"}, {"doc_to_choice": 3},
        {"doc_to_target": "{{answer}}", "metric_list": [{"metric": "acc_mutual_info"}]}, {"should_decontaminate": True, "doc_to_decontamination_query": "question"},
    ]
    yield from ((f"own{i}", json.dumps({**base, **v})) for i, v in enumerate(variants))
    regex = lambda **more: {"function": "regex", **more}
    generated = [
        {"generation_kwargs": {"until": ["\n", "Q:"], "max_gen_toks": 8, "temperature": 0.5, "top_p": 0.9, "do_sample": True, "num_beams": 2}}, {"generation_kwargs": {"until": "\n", "temperature": 0}},
        {"generation_kwargs": {"other": 1}}, {"generation_kwargs": {"max_gen_toks": 0}}, {"generation_kwargs": {"do_sample": True}},
        {"filter_list": [{"name": "x", "filter": [regex(regex_pattern="(-?[0-9.,]+)", group_select=-1, fallback="none"), {"function": "take_first"}]}]},
        {"filter_list": [{"name": "y", "filter": [{"function": "majority_vote"}, {"function": "take_first_k", "k": 3}, {"function": "lowercase"}, {"function": "uppercase"}, {"function": "remove_whitespace"}]}], "repeats": 4},
        {"filter_list": [{"name": "z", "filter": [{"function": "map", "mapping_dict": {"a": "b"}, "default_value": "c"}, {"function": "take_first"}]}]},
        {"filter_list": [{"name": "m", "filter": [{"function": "multi_choice_regex", "regex_pattern": "\\(([A-Z])\\)", "ignore_case": True, "ignore_punctuation": True, "regexes_to_ignore": ["x"]}, {"function": "take_first"}]}]},
        {"filter_list": [{"name": "w", "filter": [{"function": "unknown"}]}]}, {"filter_list": 3}, {"filter_list": [{"filter": [regex()]}]}, {"filter_list": [{"name": "b", "filter": [regex(regex_pattern="(")]}]},
        {"metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True, "ignore_punctuation": True, "ignore_numbers": True, "regexes_to_ignore": [",", "\\$"], "multi_target": True}]},
        {"metric_list": [{"metric": m} for m in ("bleu", "chrf", "ter", "acc", "perplexity", "anls", "exact_match_hf_evaluate")]}, {"metric_list": [{"metric": "exact_match", "regexes_to_ignore": ["("]}]}, {"doc_to_target": "{{choices}}"},
        {"doc_to_target": "choices", "metric_list": [{"metric": "exact_match"}]}, {"doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}"}, {"metric_list": [{"metric": "bypass"}]},
    ]
    yield from ((f"generated{i}", json.dumps({**generate, **v})) for i, v in enumerate(generated))
    rolling = {"task": "r", "output_type": "loglikelihood_rolling", "doc_to_target": "{{text}}", "dataset_kwargs": {"data_files": "a"}}
    yield from ((f"rolling{i}", json.dumps({**rolling, "metric_list": [{"metric": m} for m in metrics]})) for i, metrics in enumerate([["word_perplexity", "byte_perplexity", "bits_per_byte"], ["acc"]]))
    yield from ((f"yaml{i}", text) for i, text in enumerate(YAML))


def documents():
    texts = ['a,b\r\n1,2.5\r\n"x ""y""","line\nbreak"\r\n,\r\n', "a;b\n1;2\n", "a,b\n1\n", "a,b\n1,2,3\n", 'a\n"open', 'a\n"x"y\n', "a,a\n1,2\n", "\ufeffa,b\n1,2\n", "a,b,c\nTrue,None,-7\n1e5,0x1,007\nnan,inf,\n", "a\n\n\n1\n",
             '{"a":1}\n{"a":\n', '{"a":1}{"b":2}', "[1,2]", '[{"a":1},2]', '[{"a":[{"b":null}]}]\n', "[]", "", "\n\n", '{"a":"\\ud800"}', '{"a":1}\r\n{"b":2}\r\n', '  [\n {"a": 1} ] x', "a,b\n" + "1,2\n" * 50]
    yield from ((f"more{i}", text.encode("utf-8", "surrogatepass")) for i, text in enumerate(texts))


def charsmap():
    """A double-array trie that maps "a" to "bc" and e-acute (two bytes) to "e"."""
    # A node's children lie at node ^ offset ^ byte; units hold the byte, a flag for a leaf below and the offset. Written out by hand:
    # the root's children at 256 + byte; each leaf's value beside it.
    units = [0] * 1024
    leaf = lambda at, byte, offset: units.__setitem__(at, byte | 1 << 8 | offset << 10)
    units[0] = 256 << 10
    leaf(256 ^ ord("a"), ord("a"), 512)
    units[256 ^ ord("a") ^ 512] = 1 << 31 | 0
    units[256 ^ 0xC3] = 0xC3 | 640 << 10
    at = 256 ^ 0xC3 ^ 640 ^ 0xA9
    leaf(at, 0xA9, 128)
    units[at ^ 128] = 1 << 31 | 3
    table = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(table)) + table + b"bc\0e\0"


def tokenizers():
    letters = {c: i for i, c in enumerate("abcdeinorstw .,!1")}
    bpe = {"type": "BPE", "unk_token": "<unk>", "vocab": {"<unk>": 20, **letters, "at": 21, "\u0120": 22, "it": 23, "<0x0A>": 24, "##a": 25, "a</w>": 26, SPACE: 27, SPACE + "a": 28},
           "merges": ["a t", ["i", "t"], [SPACE, "a"]]}
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], [SPACE, -2.0], ["a", -1.5], ["at", -1.25], ["t", -3], ["<0x0A>", -9], ["wa", -2.25]]}
    wordpiece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 4, "vocab": {"[UNK]": 0, "it": 1, "was": 2, "##s": 3, "wa": 4, "n": 5, "##i": 6, "1": 7}}
    level = {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "It": 1, "was": 2}}
    old = {"vocab": {"a": 0, "t": 1, "at": 2}, "merges": ["#version: 0.2", "a t"]}
    models = {"bpe": bpe, "fused": {**bpe, "fuse_unk": True, "byte_fallback": True, "ignore_merges": True}, "prefixed": {**bpe, "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>", "merges": []},
              "unigram": unigram, "unigram-bytes": {**unigram, "byte_fallback": True}, "wordpiece": wordpiece, "level": level, "old": old, "old-words": {"vocab": wordpiece["vocab"], "unk_token": "[UNK]"},
              "dropout": {**bpe, "dropout": 0.5}, "bad-merge": {**bpe, "merges": ["a b c"]}, "bad-unk": {**unigram, "unk_id": 99}, "bad-row": {**unigram, "vocab": [["a"]]}, "no-vocab": {"type": "BPE", "merges": []},
              "bad-id": {**bpe, "vocab": {"a": "b"}}, "other": {"type": "Other"}, "merge-unknown": {**bpe, "merges": ["x y"]}, "no-unk": {**wordpiece, "unk_token": "gone"}, "list": {**unigram, "vocab": {}}}
    yield from ((f"model-{name}", json.dumps({"model": model})) for name, model in models.items())
    pattern = [{"String": "a"}, {"Regex": r"\s+"}, {"Regex": r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}, {"Regex": "("}, {}]
    replace = lambda p, content="_": {"type": "Replace", "pattern": p, "content": content}
    encoded = base64.b64encode(charsmap()).decode()
    normalizers = [{"type": t} for t in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel", "Other")] + [
        {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Strip", "strip_left": False}, {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        {"type": "BertNormalizer", "lowercase": False, "strip_accents": True}, {"type": "Prepend", "prepend": SPACE}, replace(pattern[0]), replace(pattern[1]), replace(pattern[3]), replace({}),
        {"type": "Precompiled", "precompiled_charsmap": encoded}, {"type": "Precompiled", "precompiled_charsmap": "!"}, {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, {"type": "Precompiled", "precompiled_charsmap": ""},
        {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}, replace(pattern[0], "aaaaaaaa"), replace(pattern[0], "aaaaaaaa")]}, {"type": "Sequence"}, 3]
    for i, (normalizer, model) in enumerate(zip(normalizers, itertools.cycle([bpe, unigram, wordpiece]))):
        yield f"normalizer{i}", json.dumps({"normalizer": normalizer, "model": model})
    behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous", "Other"]
    splits = [{"type": "Split", "pattern": p, "behavior": b, "invert": invert} for p, b, invert in itertools.product(pattern[:2], behaviors, (False, True))]
    splits += [{"type": "Split", "pattern": p, "behavior": "Isolated"} for p in pattern[2:]] + [{"type": "Punctuation", "behavior": b} for b in behaviors]
    splits += [{"type": "ByteLevel", "add_prefix_space": a, "use_regex": r} for a, r in itertools.product((False, True), repeat=2)]
    splits += [{"type": "Metaspace", "replacement": SPACE, "prepend_scheme": s, "split": split} for s, split in itertools.product(("always", "first", "never", "x"), (False, True))]
    splits += [{"type": "Digits", "individual_digits": True}, {"type": "Digits"}, {"type": "WhitespaceSplit"}, {"type": "Whitespace"}, {"type": "BertPreTokenizer"}, {"type": "FixedLength", "length": 3}, {"type": "FixedLength", "length": 0},
               {"type": "CharDelimiterSplit", "delimiter": "a"}, {"type": "Metaspace", "replacement": ""}, {"type": "Split", "behavior": "Isolated"}, {"type": "Other"}, {"type": "UnicodeScripts"}, {"type": "Sequence"},
               {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation"}, {"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}]}]
    expressions = [r"\h+|\H", r"[\h\w]+", r"[\H]", r"[\W]", r"\w+|\W", r"\bIt\b|\Bt", r"[\b]", r"\p", r"\pL+", r"\p{L", r"\p{^L}+", r"\P{Alpha}", r"[\P{L}\p{N}]", r"[\P{Alnum}]", r"[\P{Word}]", r"\p{Hiragana}|\p{Script_Extensions}", r"\p{White Space}",
                   r"\p{any}\p{l&}", r"\p{Emoji}", "a\\", r"[]a]", r"[^]a]", "[a", "[a-[b]]", "[[^a]]", "[[^a]b]", "[^[^a]]", "[a&&[^b]]", "[^a-z&&[^b]]", "[[:alpha:][:punct:][:word:]]", "[[:alpha", "[a[b[c]]]", "[" * 20 + "a" + "]" * 20, "[a&&b&&c]",
                   "[[a]&&b]", "[a[b&&c]]", "[a&b]", "(*UTF)a", "(?~a)", "(?i)it", r"(?<!a)t(?=w)", r"\R|\X|\N", "x*", "(a|b)*?c{2,3}+", r"\u0041\x{41}", "(?#c)a", "(?x) a b", r"(?<n>a)\k<n>", r"\g<1>(a)", r"\1(a)", "(?(1)a|b)", "[\U0001F642]", "(?>a+)b"]
    splits += [{"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated"} for each in expressions]
    for i, split in enumerate(splits):
        yield f"pre-tokenizer{i}", json.dumps({"pre_tokenizer": split, "model": bpe if i % 2 == 0 else wordpiece})
    decoders = [{"type": t} for t in ("ByteLevel", "ByteFallback", "Fuse", "WordPiece", "BPEDecoder", "Metaspace", "Other", "Sequence")] + [
        {"type": "Strip", "content": " ", "start": 1, "stop": 1}, {"type": "Strip", "content": ""}, replace(pattern[0]), {"type": "WordPiece", "prefix": "##", "cleanup": False}, {"type": "Metaspace", "prepend_scheme": "never"},
        {"type": "Metaspace", "replacement": ""}, {"type": "CTC"}, {"type": "Replace", "content": "x"},
        {"type": "Sequence", "decoders": [replace({"String": SPACE}, " "), {"type": "ByteFallback"}, {"type": "Sequence", "decoders": [{"type": "Fuse"}]}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}]
    for i, (decoder, model) in enumerate(zip(decoders, itertools.cycle([bpe, wordpiece, {**unigram, "byte_fallback": True}]))):
        yield f"decoder{i}", json.dumps({"decoder": decoder, "model": model})
    special = {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}
    template = lambda *single: {"type": "TemplateProcessing", "single": [*single], "pair": [], "special_tokens": special}
    text, start = {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<s>", "type_id": 0}}
    processors = [template(start, text, start), template(text, text), template({"SpecialToken": {"id": "x"}}), template({}), {"type": "TemplateProcessing"}, {"type": "ByteLevel"}, {"type": "Other"},
                  {"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0]}, {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0]}, {"type": "BertProcessing", "sep": ["</s>", -1], "cls": ["<s>", 0]},
                  {"type": "BertProcessing"}, {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template(start, text)]}, {"type": "Sequence"}]
    yield from ((f"processor{i}", json.dumps({"post_processor": p, "model": bpe})) for i, p in enumerate(processors))
    token = lambda content, id, **more: {"id": id, "content": content, "special": True, **more}
    added = [[token("<s>", 40), token("night", 41, special=False, single_word=True, normalized=True)], [token("was", 42, lstrip=True, rstrip=True), token("a", 0)], [token("", 40)], [token("x", -1)], 3, [{"id": 1}], [token("x", 10**9)],
             [token("<s>", 40), token("<s>", 41)], [token("caf\u00e9", 40, special=False, normalized=True)], [token("1", 40), token("1 n", 41)]]
    for i, tokens in enumerate(added):
        yield f"added{i}", json.dumps({"added_tokens": tokens, "normalizer": {"type": "Lowercase"}, "model": bpe, "pre_tokenizer": {"type": "Whitespace"}})
    configurations = [
        {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": None, "add_bos_token": True, "add_eos_token": True, "tokenizer_class": "LlamaTokenizerFast",
         "added_tokens_decoder": {"40": token("<s>", 0), "41": token("</s>", 0, lstrip=True)}, "chat_template": "{{ messages }}"},
        {"added_tokens_decoder": {"x": {}}}, {"added_tokens_decoder": {"9": {"content": 3}}}, {"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}, {}, 3]}, {"chat_template": 3},
        {"chat_template": [{"name": 3, "template": "a"}]}, [], 3, {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "bos_token": "it"}]
    for i, config in enumerate(configurations):
        yield f"configuration{i}", json.dumps({"model": bpe, "added_tokens": [token("</s>", 41)]}) + "\x1e" + json.dumps(config)
    yield from ((f"file{i}", text) for i, text in enumerate(["", "[]", "{", "{}", '{"model":3}', json.dumps({"model": bpe, "added_tokens": []}) + "\x1e{"]))


def configurations():
    """What a config.json of Llama may say besides, or wrongly."""
    yield from ({"rope_scaling": {"rope_type": kind, "factor": 4.0, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8, "long_factor": [2.0] * 4, "short_factor": [1.0] * 4}}
                for kind in ("linear", "dynamic", "yarn", "llama3", "longrope", "su", "default", "other"))
    yield from ({"rope_scaling": {"type": "yarn", "factor": 2, **more}} for more in ({"mscale": 1, "mscale_all_dim": 1}, {"beta_fast": 16}, {"truncate": False}, {"attention_factor": 1.5}, {"factor": -1}, {"factor": "x"}))
    yield from ({"partial_rotary_factor": value} for value in (0.5, 0, -1, 1e12, 1e300))
    yield from ({key: value} for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "intermediate_size", "vocab_size", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta",
                                         "tie_word_embeddings", "hidden_act", "bos_token_id", "eos_token_id", "model_type", "architectures", "sliding_window", "attention_bias", "mlp_bias")
                for value in (0, -1, 10**15, 1e300, "x"))
    yield from ({"model_type": kind} for kind in ("mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "gpt2", "gpt_neox", "falcon", "bloom", "mpt", "opt", "olmo", "stablelm", "cohere", "granite", "mixtral", "deepseek_v2", "starcoder2"))
    yield {"text_config": {"hidden_size": 8}}
    yield {"model_type": "deepseek_v2", "kv_lora_rank": 8, "qk_rope_head_dim": 2**62, "qk_nope_head_dim": 2**62}
    yield {"rope_parameters": {"full_attention": {"rope_theta": 5e5, "rope_type": "default"}}}


# Every place where an expression may stand (E), which fails there.
PLACES = [
    "{{ E }}", "{{ [1, E] }}", "{{ (1, E) }}", "{{ {E: 1} }}", "{{ {'a': E} }}", "{{ E.a }}", "{{ E[0] }}", "{{ l[E] }}", "{{ l[E:] }}", "{{ l[:E] }}", "{{ l[::E] }}", "{{ E() }}", "{{ range(E) }}", "{{ dict(a=E) }}", "{{ range(*E) }}", "{{ dict(**E) }}",
    "{{ E is odd }}", "{{ 2 is divisibleby(E) }}", "{{ not E }}", "{{ -E }}", "{{ E and 1 }}", "{{ 1 and E }}", "{{ E or 1 }}", "{{ 0 or E }}", "{{ E + 1 }}", "{{ 1 + E }}", "{{ 'a' ~ E }}", "{{ E ~ 'a' }}", "{{ 1 if E else 2 }}", "{{ E if 1 }}", "{{ 1 if 0 else E }}",
    "{{ E < 1 }}", "{{ 1 < E }}", "{{ 1 < 2 < E }}", "{{ E in l }}", "{{ 1 in E }}", "{{ E|upper }}", "{{ s|center(E) }}", "{{ l|join(d=E) }}", "{% if E %}{% endif %}", "{% if 0 %}{% elif E %}{% endif %}", "{% for x in E %}{% endfor %}", "{% for x in l if E %}{% endfor %}",
    "{% for x in l %}{{ E }}{% endfor %}", "{% for x in [] %}{% else %}{{ E }}{% endfor %}", "{% set x = E %}", "{% set ns = namespace(a=E) %}", "{% set ns = namespace() %}{% set ns.a = E %}", "{% set x %}{{ E }}{% endset %}", "{% set x | center(E) %}a{% endset %}", "{% with a = E %}{% endwith %}",
    "{% with a = 1 %}{{ E }}{% endwith %}", "{% filter center(E) %}a{% endfilter %}", "{% filter upper %}{{ E }}{% endfilter %}", "{% macro m(a=E) %}{{ a }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ E }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ E }}{% endcall %}",
    "{% call E() %}{% endcall %}", "{% macro m(a) %}{% endmacro %}{% call m(E) %}{% endcall %}", "{% print E %}", "{% do E %}", "{% generation %}{{ E }}{% endgeneration %}", "{% block a %}{{ E }}{% endblock %}", "{% autoescape E %}{% endautoescape %}", "{{ [1, 2]|map('center', E)|list }}", "{{ l|select('gt', E)|list }}",
    "{{ '%d' % E }}", "{{ '%s %s' % (1, E) }}", "{{ '{}'.format(E) }}", "{{ l|sort(attribute=E) }}", "{{ namespace(E) }}", "{{ cycler(E).next() }}", "{{ joiner(E)() }}", "{{ l|groupby(E) }}", "{{ l|batch(E) }}", "{{ s.replace(E, 'a') }}", "{{ l|map(attribute=E)|list }}", "{{ raise_exception(E) }}",
    "{{ loop.cycle(E) }}", "{% for x in l recursive %}{{ loop(E) }}{% endfor %}", "{% for x in l %}{{ loop.cycle(E) }}{% endfor %}", "{% for x in l %}{{ loop.changed(E) }}{% endfor %}",
]
# What values are to each other, and what cannot be said of them.
VALUES = [
    "{{ l|map('upper')|list == l|map('upper')|list }}{{ l|map('upper') == l|map('upper') }}{{ (1, 2) == (1, 2) }}{{ (1, 2) == [1, 2] }}{{ [1, [2]] == [1, [2]] }}{{ [1] == [1, 2] }}", "{{ {'a': 1} == {'a': 1} }}{{ {'a': 1} == {'a': 2} }}{{ {'a': 1} == {'b': 1} }}{{ {'a': 1} == {'a': 1, 'b': 2} }}{{ {} == [] }}",
    "{{ {1: 'a', 1.0: 'b', true: 'c', none: 'd', 2.5: 'e', (1, (2, 'x')): 'f'} }}{{ {(1, 2): 3}[(1, 2)] }}{{ {none: 1}[none] }}{{ {1: 2}[1.0] }}{{ {2.5: 1}[2.5] }}", "{{ {[1]: 2} }}", "{{ {({},): 2} }}", "{{ {namespace(): 1} }}", "{{ [1, 2] < [1, 3] }}{{ [1] < [1, 2] }}{{ (1,) <= (1,) }}{{ ('a', 2) > ('a', 1) }}",
    "{{ [1] < (1,) }}", "{{ {} < {} }}", "{{ 1 < 'a' }}", "{{ none < 1 }}", "{{ u < 1 }}", "{{ 1 < u }}", "{{ true < 2 }}{{ 1.5 > true }}{{ 'b' > 'a' }}{{ 'a' >= 'a' }}", "{{ namespace() }}{{ range }}{{ cycler('a') }}{{ joiner() }}{{ s.upper }}", "{{ 'yes' if namespace() else 'no' }}{{ 'yes' if range else 'no' }}{{ 'yes' if l|map('upper') else 'no' }}{{ 'yes' if 0.0 else 'no' }}",
    "{{ 1 is sameas(1) }}{{ s is sameas(s) }}{{ l is sameas(l) }}{{ d is sameas(d) }}{{ none is sameas(none) }}{{ true is sameas(true) }}{{ 1.5 is sameas(1.5) }}{{ range is sameas(range) }}{{ 1 is sameas(1.0) }}{{ u is sameas(u) }}{{ [1] is sameas([1]) }}", "{{ 1 in {1: 2} }}{{ [1] in {1: 2} }}", "{{ 1 in 'a' }}", "{{ 1 in 2 }}", "{{ 1 in u }}", "{{ none in [none] }}",
    "{{ {1: 'a', 'b': 2.5, none: [], true: {}}|tojson }}{{ {(1,): 2}|tojson }}", "{{ l|map('upper')|tojson }}", "{{ namespace()|tojson }}", "{{ u|tojson }}", "{{ \"\\r\\b\\f\\n\\t\\x01\\x7f\u00e9\U0001F642\"|tojson }}{{ \"\\r\\x01\\U0001F642\\u2028\"|pprint }}{{ [\"a'b\", 'a\"b']|string }}", "{{ [1e300 * 1e300, -1e300 * 1e300, 1e300 * 1e300 * 0]|tojson }}{{ [1e300 * 1e300, -(1e300 * 1e300)] }}",
    "{{ [1e16, 1e15, 1.5e-7, 0.0001, 123456789.125, 1e22, 100000.0] }}", "{{ 0 ** -1 }}", "{{ 0 ** 0 }}{{ 1 ** 99999999999 }}{{ (-1) ** 3 }}{{ (-1) ** 2 }}{{ 2 ** -1 }}{{ 0.0 ** 0 }}", "{{ 0.0 ** -1 }}", "{{ 3 ** 99 }}", "{{ -9223372036854775807 - 9 }}", "{{ 9223372036854775807 * 2 }}", "{{ (-9223372036854775807 - 1) // -1 }}{{ 5 // -1 }}{{ 5 % -1 }}", "{{ -7 // 2 }}{{ -7 % 2 }}{{ 7 % -2 }}{{ 7.5 // -2 }}{{ 7.5 % -2 }}{{ -7.5 % 2 }}",
    "{{ 1 // 0 }}", "{{ 1.5 % 0 }}", "{{ 1 / 0.0 }}", "{{ -'a' }}", "{{ +[] }}", "{{ +true }}{{ -true }}", "{{ [1] + (2,) }}", "{{ [1] + l|map('upper') }}", "{{ [1] * 'a' }}", "{{ 'a' * 2.5 }}", "{{ [] * 9223372036854775807 }}{{ '' * 9223372036854775807 }}", "{{ [1] * 9223372036854775807 }}", "{{ 'ab' * 9223372036854775807 }}", "{{ (1, 2) * 2 }}{{ 2 * [1] }}{{ -1 * 'a' }}", "{{ 'a' - 'b' }}",
    "{{ l['a':] }}", "{{ l[::-9223372036854775808] }}", "{{ u[1:] }}", "{{ 5[1:] }}", "{{ (1, 2, 3)[::-1] }}{{ 'abc'[::-2] }}{{ l[5:1:-1] }}{{ l[-99:99] }}{{ l[99::-1] }}", "{{ u[0] }}", "{{ u.a }}", "{{ l[1.5] }}", "{{ (l|map('upper'))[0] }}", "{{ 'abc'[99] }}{{ 'abc'[-1] }}{{ 'abc'['upper'] }}", "{{ d[[1]] }}",
    "{% for a in 'abc' %}{{ loop.previtem }}{{ loop.depth0 }}{{ loop.nothing }}{{ loop.cycle() }}{% endfor %}", "{% for a in l %}{{ loop.changed(namespace()) }}{% endfor %}", "{% for a in 5 %}{% endfor %}", "{% for a in none %}{% endfor %}", "{% for a, b, c in [(1, 2)] %}{% endfor %}", "{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{{ m.name }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}{{ m() }}{{ m(z=1) }}{{ m }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{% macro m(a, a) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}", "{% call 1 %}{% endcall %}", "{% print 1 %}{% do l.append(3) %}{{ l }}",
    "{% break %}", "{% for true in l %}{% endfor %}", "{% for a.b in l %}{% endfor %}", "{% set a, b = 1 %}", "{% set a.b = 1 %}", "{% set a, b %}{% endset %}", "{% set x | upper | center(7) %}a{% endset %}{{ x }}", "{% block a scoped %}x{% endblock %}{% block b required %}{% endblock %}", "{% include 'a' %}", "{% extends 'a' %}", "{% from 'a' import b %}", "{% autoescape true %}{{ s }}{% endautoescape %}",
    "{{ 5() }}", "{{ s() }}", "{{ loop }}", "{% for a in l recursive %}{{ loop }}{{ loop(1, 2) }}{% endfor %}", "{{ s.format }}{{ s.upper(1, 2, 3) }}{{ s|nofilter }}", "{{ s is notest }}", "{{ s is divisibleby }}", "{{ s|center(1, 2, 3, 4) }}", "{{ s|center(width=3, width=4) }}", "{{ s|center(nothing=1) }}", "{{ range(10 ** 9) }}{{ range(0) }}", "{{ dict([1]) }}", "{{ dict(l) }}", "{{ range() }}{{ range('a') }}",
    "{{ strftime_now() }}", "{{ strftime_now(1) }}", "{{ strftime_now('%Q%') }}", "{{ messages|map(attribute='role')|join(', ') }}{{ messages|map(attribute='a.b.c')|list }}{{ messages|sum(attribute='content') }}", "{{ people|sort(attribute='name,age', reverse=true)|map(attribute='name')|list }}{{ people|groupby('age') }}", "{{ ls|sort }}", "{{ [1, 'a']|sort }}", "{{ [1, 'a']|max }}{{ []|min }}", "{{ []|first }}{{ ''|last }}{{ 5|first }}",
]
FORMATS = [f"'{form}' % ({value},)" for form in ("%d", "%5d", "%-5d|", "%+d", "% d", "%05d", "%x", "%#x", "%X", "%o", "%#o", "%e", "%.2E", "%g", "%G", "%.0f", "%F", "%10.3f|", "%s", "%.2s", "%r", "%c", "%i", "%u", "%a", "%q", "%", "%%", "%5", "%.", "%9999999d", "%.99999f", "%*d")
           for value in ("5", "-5", "2.5", "'a'", "true", "1e300 * 1e300", "none")] + ["'%s %s' % (1,)", "'%s' % (1, 2)", "'%(a)s' % {'a': 1}", "'%(b)s' % {'a': 1}", "'%(a' % {'a': 1}", "'%(a)s' % 5", "'%s' % {'a': 1}", "'%d' % 1e30", "'a' % 5", "'a' % {}", "'%s%s' % (1, [2])"] + [
           f"'{{:{form}}}'.format({value})" for form in ("", "d", "5", "<5", ">5", "^5", "*^7", "=+5", "05", "+", "-", " ", ",", "_d", "x", "#x", "#X", "#o", "#b", "b", "n", "c", "e", ".2E", "f", "F", ".3f", "g", "G", "%", ".1%", ".2", "10.4", "s", ".1s", "5s", "é<5", "z", "99999999", "5d5")
           for value in ("5", "-5", "2.5", "'ab'", "true", "none", "-1e300 * 1e300")] + ["'{{}}'.format()", "'}'.format()", "'{'.format()", "'{'.format(1)", "'{1}'.format(1)", "'{a}'.format()", "'{a[b]}{a.b}{0!r}{0!s}'.format('é', a={'b': 1})", "'{:{}}'.format(1, 2)", "'{0}{}'.format(1)", "'{} {1}'.format(1, 2)", "'{0.nothing}'.format(1)", "'{0[9]}'.format([1])",
           "'{99999999999}'.format(1)", "'{!x}'.format(1)", "'{!'.format(1)", "'{0!r:>5}'.format(1)"]


def templates():
    """What the golden templates leave out: errors and rare forms of each filter, method, test and statement."""
    values = ["n", "f", "nil", "l", "ls", "d", "people", "el", "missing", "text", "(1, 2)"]
    filters = ("abs attr('x') batch(2) batch(2,'-') capitalize center(9) count default('d') default('d',true) dictsort dictsort(true,'value',true) e escape first float(1.5) forceescape format(1,'a') groupby('age') indent "
               "indent(2,true,true) int(7,16) items join(',') join(',','name') last length list lower map('upper') map(attribute='name') map(attribute='nope',default=0) max max(attribute='age') min pprint random reject('odd') "
               "rejectattr('city') rejectattr('age','gt',26) replace('l','L',1) reverse round(1) round(0,'ceil') round(0,'floor') safe select select('even') selectattr('age') selectattr('age','==',30) slice(2) slice(2,'x') sort "
               "sort(true) sort(attribute='name') sort(case_sensitive=true) string striptags sum sum(attribute='age') sum(start=5) title tojson tojson(indent=2) trim trim('H') truncate(5) truncate(5,true) truncate(5,false,'!',0) unique "
               "unique(attribute='age') upper urlencode wordcount xmlattr").split()
    for name in filters:
        yield f"filter-{name}", f"{{{{ s|{name} }}}}"
        for i, value in enumerate(values):
            yield f"filter-{name}-{i}", f"{{{{ ({value})|{name} }}}}"
    methods = ("capitalize() casefold() center(9,'*') count('l') count('l',1,4) endswith('d') endswith(('d','x')) find('l') find('z',2,3) format(1,a=2) index('l') index('z') isalnum() isalpha() isdecimal() isdigit() islower() isnumeric() "
               "isspace() isupper() join(ls) ljust(9) lower() lstrip() lstrip('H') partition(' ') removeprefix('He') removesuffix('ld') replace('l','r') replace('','-') rfind('l') rindex('l') rjust(9) rpartition('o') rsplit('o',1) "
               "rsplit() rstrip('d') split() split('l',1) split('') splitlines() splitlines(true) startswith('H',1) strip('Hd') swapcase() title() upper() zfill(12) items() keys() values() get('a') get('zz',1) copy() append(1) "
               "pop() update(d) nothing() __class__").split()
    for method in methods:
        yield f"method-{method}", f"{{{{ s.{method} }}}}"
        for value in ("l", "d", "u", "n"):
            yield f"method-{method}-{value}", f"{{{{ {value}.{method} }}}}"
    tests = ("boolean callable defined divisibleby(2) eq(7) even false filter float ge(1) gt(1) in(l) integer iterable le(1) lower lt(1) mapping ne(1) none number odd sameas(nil) sequence string test true undefined upper").split()
    for test in tests:
        for i, value in enumerate(["s", *values[:8]]):
            yield f"test-{test}-{i}", f"{{{{ ({value}) is {test} }}}}{{{{ ({value}) is not {test} }}}}"
    operators = "+ - * / // % ** ~ == != < > <= >= and or in".split() + ["not in"]
    for i, (operator, (left, right)) in enumerate(itertools.product(operators, itertools.product(("n", "f", "s", "l", "nil"), ("z", "u", "ls", "2.0")))):
        yield f"operator{i}", f"{{{{ {left} {operator} {right} }}}}"
    others = ["{% for k, v in d.items() recursive %}{{ loop.index }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.changed(v) }}{{ loop.depth }}{% else %}e{% endfor %}",
              "{% for p in people if p.age > 26 %}{% if loop.first %}{% continue %}{% endif %}{{ p.name }}{% break %}{% endfor %}", "{% for x in nested recursive %}{{ loop([]) }}{% endfor %}", "{% macro m(a, b=2, *c, **d) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller() }}{% endmacro %}{% call m(1, 3, 4, z=5) %}in{% endcall %}",
              "{% set x %}block{% endset %}{{ x }}{% set a, b = 1, 2 %}{{ a + b }}{% set ns = namespace(c=0) %}{% for i in l %}{% set ns.c = ns.c + i %}{% endfor %}{{ ns.c }}", "{% filter upper %}abc{% endfilter %}{% with a = 1 %}{{ a }}{% endwith %}{% raw %}{{ x }}{% endraw %}",
              "{% generation %}x{% endgeneration %}{{- s -}}  {%- if t -%} y {%- elif n -%} z {%- else -%} w {%- endif -%}", "{{ l[0] }}{{ l[-1] }}{{ l[1:] }}{{ l[::-1] }}{{ s[1:4:2] }}{{ d['a'] }}{{ d.k }}{{ l[9] }}{{ s['x'] }}{{ u[-3:] }}{{ l[::0] }}",
              "{{ 'a' 'b' }}{{ \"\\n\\x41\\u00e9\\'\" }}{{ 1_000 }}{{ 1.5e-3 }}{{ 0x1F }}{{ 0b1 }}{{ 0o7 }}{{ true }}{{ None }}{{ (1,) }}{{ () }}{{ {'a': [1, {'b': 2}]} }}", "{{ s if t else u }}{{ s if z }}{{ not t }}{{ -n }}{{ +n }}{{ 1 < 2 < 3 }}{{ 2 ** 3 ** 2 }}",
              "{{ '%5.2f|%-4d|%x|%s|%r|%%|%c|%e|%g|%o|%+d|%05d' % (f, n, n, s, s, 65, f, f, n, n, n) }}", "{{ '{} {0} {a!r:>5}'.format(1, a=2) }}{{ '%(a)s' % d }}{{ '%s' % l }}{{ '%d' % f }}", "{{ dict(a=1, **d) }}{{ lipsum() }}{{ cycler('a', 'b').next() }}{{ joiner(',')() }}",
              "{{ strftime_now('%Y-%m-%d %H:%M:%S %b %B %a %A %j %y %p %I %%') }}", "{{ raise_exception() }}", "{{ range(5, 0, -2)|list }}{{ range(1, 2, 0) }}", "{{ messages[0]['content'] | trim }}{{ messages|length }}{% for m in messages %}{{ m.role }}{{ m['tool_calls']|tojson }}{% endfor %}",
              "{{ people|selectattr('name', 'in', ['Ann'])|map(attribute='age')|list }}", "{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}", "{% for a, b in l %}{% endfor %}", "{{ a.b.c }}", "{{ s|map('x') }}", "{{ l|map('nofilter')|list }}", "{% set x = 1 %}{% if x is eq 1 and x is not none %}y{% endif %}",
              "{{ x y }}", "{{", "{%", "{#", "{% endif %}", "{% for %}", "{% set 1 = 2 %}", "{% macro %}", "{{ 'a }}", "{{ [1, }}", "{{ {1: } }}", "{{ f(a=1, 2) }}", "{{ f(*l, **d) }}", "{% if t %}", "{% else %}", "{{ 1..2 }}", "{{ 1 if }}", "{{ a. }}", "{{ a[ }}", "{% unknown %}", "{% block a %}{% endblock %}", "{% import 'x' as y %}",
              "{{ " + "(" * 300 + "1" + ")" * 300 + " }}", "{{ " + "-" * 600 + "1 }}", "{% if t %}" * 120 + "{% endif %}" * 120, "{{ 9223372036854775807 + 1 }}{{ -9223372036854775807 - 2 }}{{ 10 ** 30 }}{{ 'a' * 1000000000 }}", "{{ [l] * 3 }}{{ 'ab' * 3 }}{{ l + ls }}", "# line\n{{ s }}\n## comment\n", "{%+ if t %}x{%+ endif +%}\n"]
    yield from ((f"other{i}", text) for i, text in enumerate(others))
    yield from ((f"place{i}", text.replace("E", "(1 // 0)")) for i, text in enumerate(PLACES))
    yield from ((f"value{i}", text) for i, text in enumerate(VALUES))
    yield from ((f"format{i}", "{{ %s }}" % text) for i, text in enumerate(FORMATS))
