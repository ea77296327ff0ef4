"""Local files as the data sets that lm-evaluation-harness loads from the hub: the same records in the hub's schema. Examples to show come
from the end of the same files, and what there is no file of is made up in its schema.

Usage: lm_eval_data.py --data DIR --tasks A,B --write FOLDER     (the same records as the files that nibble reads)
"""
import argparse
import csv
import importlib.util
import json
import pathlib
import random
import sys

import datasets

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = 60
WORDS = "river stone lamp window quiet orange seven carry house again mountain clock paper garden bridge winter".split()


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def hellaswag(data):
    rows = (data / "hellaswag/val_first3348.txt").read_text(encoding="utf-8").split("\n")
    rows = rows[: len(rows) // 6 * 6]
    for i in range(0, len(rows), 6):
        label, context = rows[i].split(": ", 1)
        yield {"ind": i // 6, "activity_label": label, "ctx_a": context, "ctx_b": "", "ctx": context, "endings": rows[i + 2 : i + 6],
               "source_id": "", "split": "val", "split_type": "", "label": rows[i + 1]}


def arc(data, name):
    for i, row in enumerate(lines(data / f"choice/{name}.jsonl")):
        labels = [chr(65 + c) for c in range(len(row["choices"]))]
        yield {"id": str(i), "question": row["query"].removeprefix("Question: "), "choices": {"text": row["choices"], "label": labels},
               "answerKey": labels[row["gold"]]}


def piqa(data):
    for row in lines(data / "choice/piqa.jsonl"):
        goal = row["query"].removeprefix("Question: ").removesuffix("\n")
        yield {"goal": goal, "sol1": row["choices"][0], "sol2": row["choices"][1], "label": row["gold"]}


def winogrande(data):
    for row in lines(data / "choice/winogrande.jsonl"):
        a, b = (option.split(" ") for option in row["context_options"])
        same = next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)
        start = " ".join(a[:same]) + (" " if same else "")
        yield {"sentence": start + "_ " + row["continuation"], "option1": " ".join(a[same:]), "option2": " ".join(b[same:]),
               "answer": str(row["gold"] + 1)}


def lambada(data):
    for row in lines(data / "choice/lambada_openai.jsonl"):
        yield {"text": row["context"] + " " + row["continuation"]}


def mmlu(data, subject, split):
    with open(data / f"mmlu/{split}/{subject}_{split}.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {"question": row["question"], "subject": subject, "choices": [row[f"choice{i}"] for i in range(4)],
                   "answer": int(row["answer"])}


def truthfulqa(data):
    for row in json.loads((data / "truthfulqa/mc_task.json").read_text(encoding="utf-8")):
        doc = {"question": row["question"]}
        for key in ("mc1_targets", "mc2_targets"):
            doc[key] = {"choices": list(row[key]), "labels": list(row[key].values())}
        yield doc


def truthfulqa_generation(data):
    with open(data / "truthfulqa/TruthfulQA.csv", encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            row = {key.lower().replace(" ", "_"): value for key, value in row.items()}
            yield {"type": row.get("type", ""), "category": row.get("category", ""), "question": row["question"], "best_answer": row["best_answer"],
                   "correct_answers": [a.strip() for a in row["correct_answers"].split(";")],
                   "incorrect_answers": [a.strip() for a in row["incorrect_answers"].split(";")], "source": row.get("source", "")}


def bbq(data):
    for name in ("Age", "Religion"):
        yield from lines(data / f"bbq/{name}.jsonl")


def code2text(data, language):
    yield from lines(data / f"codexglue/{language}_test.jsonl")


def boolq(data):
    for row in lines(data / "choice/boolq.jsonl"):
        passage, question = row["query"].removeprefix("Passage: ").rsplit("\nQuestion: ", 1)
        yield {"question": question.removesuffix("?"), "passage": passage, "label": row["gold"]}


def copa(data):
    for row in lines(data / "choice/copa.jsonl"):
        premise, word = row["query"].rsplit(", ", 1)
        yield {"premise": premise + ".", "choice1": row["choices"][0], "choice2": row["choices"][1],
               "question": {"because": "cause", "therefore": "effect"}[word], "label": row["gold"]}


def openbookqa(data):
    for row in lines(data / "choice/openbook_qa.jsonl"):
        labels = [chr(65 + c) for c in range(len(row["choices"]))]
        yield {"question_stem": row["query"], "choices": {"text": row["choices"], "label": labels}, "answerKey": labels[row["gold"]]}


def humaneval(data):
    yield from lines(next(p for p in sorted((data / "generate").glob("*uman*val*.jsonl")) if "canonical_solution" in p.read_text()[:5000]))


def made_up(path, name, split):
    """A dozen records of each kind in a data set's published schema, the same ones each time."""
    source = random.Random(f"{path} {name} {split}")

    def words(n):
        return " ".join(source.choice(WORDS) for _ in range(n))

    for i in range(36 if path == "TIGER-Lab/MMLU-Pro" else 12):
        letter = source.randrange(4)
        if path == "ceval/ceval-exam":
            yield {"id": i, "question": f" {words(5)}____。", **{c: words(2) for c in "ABCD"}, "answer": "ABCD"[letter], "explanation": ""}
        elif path == "TIGER-Lab/MMLU-Pro":
            category = ("biology", "computer science", "law")[i % 3]
            yield {"question_id": i, "question": words(7) + "?", "options": [words(3) + " " * (k % 2) for k in range(source.choice([4, 10]))],
                   "answer": "ABCD"[letter], "answer_index": letter, "category": category, "src": "",
                   "cot_content": f"A: Let's think step by step. {words(9)}. The answer is ({'ABCD'[letter]})." if split == "validation" else ""}
        elif path == "TAUR-Lab/MuSR":
            choices = [words(1) + "'s", words(2), words(1) + ' "x"']
            yield {"narrative": words(30) + "\n\n" + words(20), "question": words(6) + "?", "choices": repr(choices), "answer_index": letter % 3,
                   "answer_choice": choices[letter % 3]}
        elif path == "EleutherAI/hendrycks_math":
            yield {"problem": f"{words(5)} $x^{i}$?", "level": "Level 1", "type": name,
                   "solution": f"{words(4)} $\\boxed{{\\frac{{{i}}}{{{letter + 2}}}}}$ {words(2)}."}
        elif path == "SaylorTwift/bbh":
            yield {"input": f"{words(8)}\nOptions:\n(A) {words(1)}\n(B) {words(1)}", "target": f"({'AB'[letter % 2]})"}
        elif path == "hails/bigbench":
            choices = [words(4) for _ in range(4)]
            yield {"idx": i, "inputs": f"Python code:\n{words(6)}\n\nEnglish language description:", "targets": [choices[letter]],
                   "multiple_choice_targets": choices, "multiple_choice_scores": [int(k == letter) for k in range(4)]}
        else:
            raise KeyError(f"no local data for {path} {name}")


def with_examples(rows, tested="validation"):
    """The last records are for examples, and the rest is tested."""
    rows = list(rows)
    return {"train": rows[-EXAMPLES:], "validation": rows[:10], tested: rows[:-EXAMPLES] if len(rows) > 2 * EXAMPLES else rows}


def records(data, path, name):
    """{split: records} of the data set that a task calls path, name."""
    data = pathlib.Path(data)
    if path == "Rowan/hellaswag":
        return with_examples(hellaswag(data))
    if path == "allenai/ai2_arc":
        return with_examples(arc(data, {"ARC-Easy": "arc_easy", "ARC-Challenge": "arc_challenge"}[name]), "test")
    if path == "baber/piqa":
        return with_examples(piqa(data))
    if path == "allenai/winogrande":
        return with_examples(winogrande(data))
    if path == "allenai/openbookqa":
        return with_examples(openbookqa(data), "test")
    if path == "tau/commonsense_qa":
        return with_examples(lines(data / "choice/commonsense_qa.jsonl"))
    if path == "aps/super_glue":
        return with_examples({"boolq": boolq, "copa": copa}[name](data))
    if path == "EleutherAI/lambada_openai":
        return {"test": lambada(data)}
    if path == "cais/mmlu":
        return {"test": mmlu(data, name, "test"), "dev": mmlu(data, name, "dev")}
    if path == "truthfulqa/truthful_qa":
        return {"validation": truthfulqa(data) if name == "multiple_choice" else truthfulqa_generation(data)}
    if path == "oskarvanderwal/bbq":
        return {"test": bbq(data)}
    if path == "openai/gsm8k":
        return with_examples(lines(data / "generate/test.jsonl"), "test")
    if path == "google/IFEval":
        return {"train": lines(data / "generate/input_data.jsonl")}
    if path == "openai/openai_humaneval":
        return {"test": humaneval(data)}
    if path.startswith("CM/codexglue_code2text_"):
        return with_examples(code2text(data, "ruby"), "test")  # of the other languages there are no files: Ruby stands for them
    if path == "TAUR-Lab/MuSR":
        return {split: made_up(path, name, split) for split in ("murder_mysteries", "object_placements", "team_allocation")}
    return {split: made_up(path, name, split) for split in ("train", "validation", "test", "val", "dev", "default")}


def write_for_nibble(data, tasks, folder):
    """The records of these tasks as the files that nibble reads, as python -m nibble.data would have fetched them."""
    spec = importlib.util.spec_from_file_location("nibble_data", ROOT / "bindings/python/nibble/data.py")
    fetched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetched)
    for task in tasks:
        for path, name, split, file in fetched.files(task):
            if file.startswith("bbq/"):
                rows = lines(pathlib.Path(data) / file) if (pathlib.Path(data) / file).exists() else None
            else:
                rows = list(records(data, path, name)[split])
            if rows is not None:
                fetched.write(str(pathlib.Path(folder) / file), rows)


def install(data):
    """Makes datasets.load_dataset read local files."""
    original = datasets.load_dataset

    def load_dataset(path, name=None, **kwargs):
        if path in ("json", "csv"):
            return original(path, name, **kwargs)
        return datasets.DatasetDict({split: datasets.Dataset.from_list(list(rows)) for split, rows in records(data, path, name).items()})

    datasets.load_dataset = load_dataset


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--write", required=True)
    args = parser.parse_args()
    write_for_nibble(args.data, args.tasks.split(","), args.write)
    sys.exit(0)
