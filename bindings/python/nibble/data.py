"""Fetches what benchmark tasks read: python -m nibble.data TASK... [--data DIR].

Needs the package `datasets` and the network. Writes the records of the hub's data sets, as they are, as JSON lines under the names
that `nibble eval --data DIR` looks for; for FLORES also the sentencepiece models that spBLEU counts with, which come from where
sacreBLEU fetches them.
"""
import argparse
import json
import os
import sys
import urllib.request

MMLU_PRO = ("biology", "business", "chemistry", "computer_science", "economics", "engineering", "health", "history", "law", "math", "other",
            "philosophy", "physics", "psychology")
MATH = {"algebra": "algebra", "counting_and_prob": "counting_and_probability", "geometry": "geometry",
        "intermediate_algebra": "intermediate_algebra", "num_theory": "number_theory", "prealgebra": "prealgebra",
        "precalc": "precalculus"}
FLORES = {"en": "eng_Latn", "de": "deu_Latn", "zh": "zho_Hans"}

PIECE_MODELS = {
    "flores/flores200_sacrebleu_tokenizer_spm.model": "https://tinyurl.com/flores200sacrebleuspm",
    "flores/sacrebleu_tokenizer_spm.model": "https://dl.fbaipublicfiles.com/fairseq/models/flores/sacrebleu_tokenizer_spm.model",
}

# task: [(data set, configuration, split, file)]
SIMPLE = {
    "hellaswag": [("Rowan/hellaswag", None, s, f"hellaswag/{s}.jsonl") for s in ("validation", "train")],
    "arc_easy": [("allenai/ai2_arc", "ARC-Easy", s, f"arc_easy/{s}.jsonl") for s in ("test", "train")],
    "arc_challenge": [("allenai/ai2_arc", "ARC-Challenge", s, f"arc_challenge/{s}.jsonl") for s in ("test", "train")],
    "piqa": [("baber/piqa", None, s, f"piqa/{s}.jsonl") for s in ("validation", "train")],
    "winogrande": [("allenai/winogrande", "winogrande_xl", s, f"winogrande/{s}.jsonl") for s in ("validation", "train")],
    "openbookqa": [("allenai/openbookqa", "main", s, f"openbookqa/{s}.jsonl") for s in ("test", "train")],
    "boolq": [("aps/super_glue", "boolq", s, f"boolq/{s}.jsonl") for s in ("validation", "train")],
    "copa": [("aps/super_glue", "copa", s, f"copa/{s}.jsonl") for s in ("validation", "train")],
    "lambada_openai": [("EleutherAI/lambada_openai", "default", "test", "lambada_openai/test.jsonl")],
    "commonsense_qa": [("tau/commonsense_qa", None, s, f"commonsense_qa/{s}.jsonl") for s in ("validation", "train")],
    "snli": [("stanfordnlp/snli", None, s, f"snli/{s}.jsonl") for s in ("validation", "train")],
    "truthfulqa_mc1": [("truthfulqa/truthful_qa", "multiple_choice", "validation", "truthfulqa/multiple_choice.jsonl")],
    "truthfulqa_gen": [("truthfulqa/truthful_qa", "generation", "validation", "truthfulqa/generation.jsonl")],
    "bbq": [("oskarvanderwal/bbq", c, "test", f"bbq/{c}.jsonl") for c in (
        "Age", "Disability_status", "Gender_identity", "Nationality", "Physical_appearance", "Race_ethnicity", "Race_x_SES",
        "Race_x_gender", "Religion", "SES", "Sexual_orientation")],
    "gsm8k": [("openai/gsm8k", "main", s, f"gsm8k/{s}.jsonl") for s in ("test", "train")],
    "ifeval": [("google/IFEval", None, "train", "ifeval/train.jsonl")],
    "humaneval": [("openai/openai_humaneval", None, "test", "humaneval/test.jsonl")],
    "bigbench_code_line_description_generate_until": [
        ("hails/bigbench", "code_line_description_zero_shot", "default", "bigbench/code_line_description.jsonl")],
    "cnn_dailymail_abisee": [("abisee/cnn_dailymail", "3.0.0", "test", "cnn_dailymail/test.jsonl")],
    "xsum": [("EdinburghNLP/xsum", None, "test", "xsum/test.jsonl")],
    "mmlu_pro": [("TIGER-Lab/MMLU-Pro", None, s, f"mmlu_pro/{s}.jsonl") for s in ("test", "validation")],
}
SIMPLE["bbq_ambig"] = SIMPLE["bbq_disambig"] = SIMPLE["bbq"]
SIMPLE["truthfulqa_mc2"] = SIMPLE["truthfulqa_mc1"]
SIMPLE["humaneval_64"] = SIMPLE["humaneval"]
SIMPLE["bigbench_code_line_description_multiple_choice"] = SIMPLE["bigbench_code_line_description_generate_until"]


def files(task):
    """[(data set, configuration, split, file)] of a task; None when it is not known."""
    if task in SIMPLE:
        return SIMPLE[task]
    if task.startswith("mmlu_pro_") and task[9:] in MMLU_PRO:
        return SIMPLE["mmlu_pro"]
    if task.startswith("mmlu_"):
        return [("cais/mmlu", task[5:], s, f"mmlu/{s}/{task[5:]}.jsonl") for s in ("test", "dev")]
    if task.startswith("ceval-valid_"):
        return [("ceval/ceval-exam", task[12:], s, f"ceval/{s}/{task[12:]}.jsonl") for s in ("val", "dev")]
    if task.startswith("code2text_"):
        language = task[10:]
        return [(f"CM/codexglue_code2text_{language}", None, s, f"codexglue/{language}_{s}.jsonl") for s in ("test", "train")]
    if task.startswith("gpqa_") and task.endswith("_zeroshot"):
        name = task[:-len("_zeroshot")]
        return [("Idavidrein/gpqa", name, "train", f"gpqa/{name}.jsonl")]
    if task.startswith("leaderboard_musr_"):
        return [("TAUR-Lab/MuSR", None, task[17:], f"musr/{task[17:]}.jsonl")]
    if task.startswith("hendrycks_math_") and task[15:] in MATH:
        name = MATH[task[15:]]
        return [("EleutherAI/hendrycks_math", name, s, f"hendrycks_math/{name}/{s}.jsonl") for s in ("test", "train")]
    if task.startswith("bbh_zeroshot_"):
        return [("SaylorTwift/bbh", task[13:], "test", f"bbh/{task[13:]}.jsonl")]
    if task.startswith("flores_") and "-" in task:
        codes = task[7:].split("-")
        if all(c in FLORES for c in codes):
            return [("facebook/flores", "all", s, f"flores/{FLORES[c]}.{s}") for c in codes for s in ("devtest", "dev")]
    return None


def expanded(names):
    """Groups become their tasks, as the library lists them."""
    import nibble
    groups = {t["id"]: t["members"] for t in nibble.task_kinds() if "members" in t}
    result = []
    for name in names:
        result += expanded(groups[name]) if name in groups else [name]
    return result


def write(path, chunks):
    """All or nothing of these bytes under `path`."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.writelines(chunks)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def lines(rows, column=None):
    """A JSON object a row, or a column's texts, as lines."""
    for row in rows:
        yield ((row[column].replace("\n", " ") if column else json.dumps(row, ensure_ascii=False)) + "\n").encode()


def download(url):
    """The bytes behind a URL."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def fetch(task, folder="data", load=None, download=download):
    """Writes the files of one task below `folder`; files that are there stay. Returns their paths."""
    wanted = files(task)
    if wanted is None:
        raise KeyError(f"there is no task {task!r} whose data could be fetched")
    if load is None:
        try:
            from datasets import load_dataset as load
        except ImportError:
            raise SystemExit("nibble.data needs the package datasets: pip install datasets") from None
    paths = []
    for name, configuration, split, file in wanted:
        path = os.path.join(folder, file)
        paths.append(path)
        if os.path.exists(path):
            continue
        rows = load(name, configuration, split=split)
        flores = file.startswith("flores/")
        write(path, lines(rows, "sentence_" + os.path.basename(file).split(".")[0] if flores else None))
    for file, url in PIECE_MODELS.items() if task.startswith("flores_") else ():
        path = os.path.join(folder, file)
        paths.append(path)
        if not os.path.exists(path):
            write(path, [download(url)])
    return paths


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m nibble.data", description="Fetches what benchmark tasks read.")
    parser.add_argument("task", nargs="+", help="tasks or groups, as nibble eval names them")
    parser.add_argument("--data", default="data", help="folder to write to (data)")
    args = parser.parse_args(arguments)
    for task in expanded(args.task):
        try:
            for path in fetch(task, args.data):
                print(path)
        except KeyError as error:
            print(error.args[0], file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
