"""Local files as the data sets that lm-evaluation-harness loads from the hub: the same records in the hub's schema."""
import csv
import json
import pathlib

import datasets


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
    with open(data / "truthfulqa/TruthfulQA.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {"type": row["Type"], "category": row["Category"], "question": row["Question"], "best_answer": row["Best Answer"],
                   "correct_answers": [a.strip() for a in row["Correct Answers"].split(";")],
                   "incorrect_answers": [a.strip() for a in row["Incorrect Answers"].split(";")], "source": row["Source"]}


def bbq(data):
    for name in ("Age", "Religion"):
        yield from lines(data / f"bbq/{name}.jsonl")


def code2text(data, language):
    yield from lines(data / f"codexglue/{language}_test.jsonl")


def records(data, path, name):
    """{split: records} of the data set that a task calls path, name."""
    data = pathlib.Path(data)
    if path == "Rowan/hellaswag":
        return {"train": list(hellaswag(data))[:10], "validation": hellaswag(data)}
    if path == "allenai/ai2_arc":
        task = {"ARC-Easy": "arc_easy", "ARC-Challenge": "arc_challenge"}[name]
        return {"train": list(arc(data, task))[:10], "validation": list(arc(data, task))[:10], "test": arc(data, task)}
    if path == "baber/piqa":
        return {"train": list(piqa(data))[:10], "validation": piqa(data)}
    if path == "allenai/winogrande":
        return {"train": list(winogrande(data))[:10], "validation": winogrande(data)}
    if path == "EleutherAI/lambada_openai":
        return {"test": lambada(data)}
    if path == "cais/mmlu":
        return {"test": mmlu(data, name, "test"), "dev": mmlu(data, name, "dev")}
    if path == "truthfulqa/truthful_qa":
        return {"validation": truthfulqa(data) if name == "multiple_choice" else truthfulqa_generation(data)}
    if path == "oskarvanderwal/bbq":
        return {"test": bbq(data)}
    if path == "openai/gsm8k":
        rows = lines(data / "generate/test.jsonl")
        return {"train": rows[-10:], "test": rows}
    if path == "google/IFEval":
        rows = lines(data / "generate/input_data.jsonl")
        return {"train": rows}
    if path.startswith("CM/codexglue_code2text_"):
        rows = list(code2text(data, path.rsplit("_", 1)[1]))
        return {"train": rows[:10], "validation": rows[:10], "test": rows}
    raise KeyError(f"no local data for {path} {name}")


def install(data):
    """Makes datasets.load_dataset read local files."""

    def load_dataset(path, name=None, **kwargs):
        return datasets.DatasetDict({split: datasets.Dataset.from_list(list(rows)) for split, rows in records(data, path, name).items()})

    datasets.load_dataset = load_dataset
