"""Makes instructions.jsonl and math.jsonl: what lm-evaluation-harness's IFEval and MATH checkers say about generated answers.

Needs lm_eval, langdetect and nltk (without its data: sentences are not compared, words are split by NLTK's own word tokenizer).
Usage: python make_answers.py                           (writes beside itself)
       python make_answers.py --seed N --output DIR     (others, with odd characters among them)
"""
import argparse
import importlib.util
import json
import os
import pathlib
import random
import sys
import types

import nltk

HERE = pathlib.Path(__file__).resolve().parent
nltk.download = lambda *a, **k: True
nltk.data.find = lambda *a, **k: True
nltk.data.load = lambda *a, **k: None
from nltk.tokenize.destructive import NLTKWordTokenizer
nltk.word_tokenize = lambda text: NLTKWordTokenizer().tokenize(text)

import langdetect
import lm_eval

langdetect.DetectorFactory.seed = 0
TASKS = pathlib.Path(lm_eval.__file__).parent / "tasks"


def module(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


WORDS = "the quick brown fox jumps over lazy dogs and then it sleeps near old barns while rain falls softly on green hills".split()


ODD = ["naïve CAFÉ Œuvre", "東京 2024。次", "\u00a0\u2003wide\u3000spaces\t", "“curly” ‘quotes’ «guillemets»", "P.S.more P.S", "* * *\n*a*b*", "don’t DON’T",
       "[a [b] c] [] [ x ]", "\r\n\r\nnext", "İSTANBUL ẞ ǅ", "SECTION", "a*\n*b", "<<>> <<a\nb>>", "\u200bzero\ufeff width", "***\n***"]
EXTRAS = ["* one\n* two\n- three", "*bold* and **strong** and ** **", "[name] [address]", "<<A title>>", "P.S. more", "p. p. s. more",
          "***\nsecond\n***", "\n\nparagraph two\n\nHello there", "SECTION 1\nx\nSECTION 2\ny", "My answer is yes.", "******\nother",
          "Any other questions?", "NASA and USA-wide IT'S", "a, b, c", '```json\n{"a": [1, 2]}\n```', '"quoted"', "rain, Rain RAIN rainy"]


def sentence(rng):
    words = [rng.choice(WORDS) for _ in range(rng.randint(3, 9))]
    return " ".join(words).capitalize() + rng.choice([".", "!", "?", ""])


def text(rng):
    parts = [sentence(rng) for _ in range(rng.randint(1, 6))]
    for _ in range(rng.randint(0, 4)):
        parts.insert(rng.randint(0, len(parts)), rng.choice(EXTRAS))
    joined = rng.choice([" ", "\n", "\n\n"]).join(parts)
    how = rng.random()
    if how < 0.08:
        joined = joined.upper()
    elif how < 0.16:
        joined = joined.lower()
    elif how < 0.22:
        joined = '"' + joined + '"'
    elif how < 0.26:
        joined = rng.choice(['{"x": 1}', '```\n[1, 2]\n```', "{broken", "***", " ", "******", "a******b", "a******a"])
    return joined


def arguments(rng, name):
    relation = rng.choice(["less than", "at least"])
    return {
        "keywords:existence": lambda: {"keywords": rng.sample(WORDS, 2)},
        "keywords:frequency": lambda: {"keyword": rng.choice(["rain", "the", "fox"]), "frequency": rng.randint(1, 4), "relation": relation},
        "keywords:forbidden_words": lambda: {"forbidden_words": rng.sample(WORDS + ["RAIN"], 2)},
        "keywords:letter_frequency": lambda: {"letter": rng.choice("aeqz"), "let_frequency": rng.randint(1, 12), "let_relation": relation},
        "length_constraints:number_paragraphs": lambda: {"num_paragraphs": rng.randint(1, 3)},
        "length_constraints:number_words": lambda: {"num_words": rng.randint(3, 40), "relation": relation},
        "length_constraints:nth_paragraph_first_word": lambda: {"num_paragraphs": rng.randint(1, 4), "nth_paragraph": rng.randint(1, 2),
                                                               "first_word": rng.choice(["paragraph", "hello", "the"])},
        "detectable_content:number_placeholders": lambda: {"num_placeholders": rng.randint(1, 3)},
        "detectable_content:postscript": lambda: {"postscript_marker": rng.choice(["P.S.", "P.P.S"])},
        "detectable_format:number_bullet_lists": lambda: {"num_bullets": rng.randint(1, 4)},
        "detectable_format:number_highlighted_sections": lambda: {"num_highlights": rng.randint(1, 3)},
        "detectable_format:multiple_sections": lambda: {"section_spliter": rng.choice(["SECTION", "Section"]), "num_sections": rng.randint(1, 3)},
        "combination:repeat_prompt": lambda: {"prompt_to_repeat": rng.choice(["The ", "the quick", "{"])},
        "startend:end_checker": lambda: {"end_phrase": rng.choice(["Any other questions?", "hills.", "there"])},
        "change_case:capital_word_frequency": lambda: {"capital_frequency": rng.randint(1, 4), "capital_relation": relation},
    }.get(name, dict)()


def instructions(rng):
    package = types.ModuleType("ifeval")
    registry = module(TASKS / "ifeval" / "instructions_registry.py", "instructions_registry")
    names = [n for n in registry.INSTRUCTION_DICT if n not in ("language:response_language", "length_constraints:number_sentences")]
    for i in range(506):
        name = names[i % len(names)]
        response, given = text(rng), arguments(rng, name)
        checker = registry.INSTRUCTION_DICT[name](name)
        checker.build_description(**given)
        yield {"id": name, "arguments": given, "response": response, "follows": bool(response.strip() and checker.check_following(response))}


PIECES = ["\\frac{1}{2}", "\\frac12", "\\frac1{72}", "1/2", "0.5", ".5", "x=5", "5", " 5 ", "\\sqrt2", "\\sqrt{2}", "\\sqrt{3}", "90^\\circ", "90^{\\circ}",
          "\\$5", "5\\%", "\\text{ cm}", "\\left(1,2\\right)", "(1,2)", "\\dfrac{1}{2}", "\\tfrac{3}{4}", "3/4", "-3/4", "\\!1,000", "1,000", "k = 7", "7",
          "abc = d", "\\frac", "{.5}", "2 \\text{ meters}", "", "x^2+1", "x^{2} + 1", "12/34", "1/2/3"]


def mathematics(rng):
    utils = module(TASKS / "hendrycks_math" / "utils.py", "hendrycks_math_utils")
    for _ in range(500):
        a = "".join(rng.choice(PIECES) for _ in range(rng.choice([1, 1, 1, 2])))
        b = a if rng.random() < 0.15 else "".join(rng.choice(PIECES) for _ in range(rng.choice([1, 1, 1, 2])))
        solution = f"So we get $\\boxed{{{a}}}$ at last."
        boxed = utils.last_boxed_only_string(solution)
        yield {"a": a, "b": b, "same": bool(utils.is_equiv(a, b)), "solution": solution,
               "boxed": utils.remove_boxed(boxed) if boxed is not None else None}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    seeds = (7, 11) if args.seed is None else (2 * args.seed + 100, 2 * args.seed + 101)
    if args.seed is not None:
        EXTRAS.extend(ODD)
    for name, rows in (("instructions", instructions(random.Random(seeds[0]))), ("math", mathematics(random.Random(seeds[1])))):
        with open(args.output / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
