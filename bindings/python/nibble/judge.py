"""Has answers judged by a model behind an OpenAI-compatible endpoint: python -m nibble.judge RUNS --endpoint URL --model NAME -o FILE.

    nibble eval MODEL --tasks mt_bench,followbench --data DIR --log-samples runs --cache answers.sqlite
    python -m nibble.judge runs --endpoint http://127.0.0.1:8000/v1 --model judge -o verdicts.jsonl
    nibble eval MODEL --tasks mt_bench,followbench --data DIR --cache answers.sqlite --verdicts verdicts.jsonl

Reads the samples files that --log-samples wrote (files, or folders of them), asks POST URL/chat/completions once a turn, and appends one
line {"task", "doc_id", "model", "score", "judge", "said"} a document. Documents that the file has already are not asked about again, so
that a judging that was cut short goes on. Needs nothing but Python; the key, where the endpoint wants one, is read from the variable that
--key-variable names.
"""
import argparse
import json
import os
import pathlib
import re
import sys
import time
import urllib.error
import urllib.request

# The last bracketed number counts: a judge may think aloud before.
RATING = re.compile(r"\[\[\s*(-?\d+(?:\.\d+)?)\s*\]\]")
GRADE = ("You grade the answers of an assistant. Consider whether the last answer is helpful, relevant, correct, deep enough and as "
         "detailed as it should be. Explain yourself in a few sentences, then give a grade from 1 (worst) to 10 (best) in exactly this "
         "form: [[grade]].")
CHECK = ("You check whether an answer obeys an instruction. List each demand of the instruction and say whether the answer meets it. Then "
         "write [[1]] if it meets every one of them and [[0]] if not.")


class JudgeError(RuntimeError):
    """The endpoint did not answer, or not with a verdict."""


def conversations(sample):
    """What the judge is shown of a document: a list of (system message, user message), one a turn that is judged."""
    doc, answers = sample["doc"], sample["resps"][0]
    turns = doc.get("turns")
    if turns is None:
        question = sample["arguments"]["gen_args_0"]["arg_0"]
        return [(CHECK, f"Instruction:\n{question}\n\nAnswer:\n{answers[0]}")]
    references = doc.get("reference") or []
    result = []
    for last in range(min(len(turns), len(answers))):
        parts = [f"Question {i + 1}:\n{turns[i]}\n\nAnswer {i + 1}:\n{answers[i]}" for i in range(last + 1)]
        if last < len(references):
            parts.insert(0, f"A right answer to question {last + 1}, for you alone:\n{references[last]}")
        result.append((GRADE, "\n\n".join(parts)))
    return result


def ask(endpoint, model, system, user, key=None, temperature=0.0, timeout=120.0, attempts=4, wait=1.0):
    """The judge's text. Busy or failing endpoints (429, 5xx, no connection) are asked again, each time after a longer wait."""
    body = json.dumps({"model": model, "temperature": temperature,
                       "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]}).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    address = endpoint.rstrip("/") + "/chat/completions"
    for attempt in range(attempts):
        try:
            with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=timeout) as answer:
                said = json.loads(answer.read())
            return said["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            problem = f"{address} answers {error.code}: {error.read(500).decode(errors='replace')}"
            if error.code != 429 and error.code < 500:
                raise JudgeError(problem) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            problem = f"{address} cannot be reached: {error}"
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise JudgeError(f"{address} answers without choices[0].message.content: {error!r}") from None
        if attempt + 1 < attempts:
            time.sleep(wait * 2 ** attempt)
    raise JudgeError(problem)


def rating(text):
    """The judge's number; None where there is none."""
    found = RATING.findall(text or "")
    return float(found[-1]) if found else None


def samples_files(paths):
    """[(task, model, path)] of the newest samples file of each task below the paths."""
    newest = {}
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise JudgeError(f"{path} does not exist")
        for file in [path] if path.is_file() else sorted(path.rglob("samples_*.jsonl")):
            named = re.fullmatch(r"samples_(.+)_(\d{4}-\d\d-\d\dT.+)", file.stem)
            if named is None:
                raise JudgeError(f"{file} is not called samples_TASK_TIME.jsonl, so that its task is unknown")
            task, stamp = named.groups()
            beside = file.with_name(f"results_{stamp}.json")
            model = json.loads(beside.read_text(encoding="utf-8"))["model_name"] if beside.exists() else None
            key = (task, model or str(file.parent))
            if key not in newest or newest[key][0] < stamp:
                newest[key] = (stamp, task, model, file)
    return [entry[1:] for entry in newest.values()]


def judge(paths, output, endpoint, model, key=None, progress=None, **settings):
    """Asks about every document that has no verdict in `output` yet. Returns the number of documents judged now."""
    output, done, count = pathlib.Path(output), set(), 0
    if output.exists():
        written = output.read_bytes()
        whole = written[:written.rfind(b"\n") + 1]
        if whole != written:  # the last line was cut short
            output.write_bytes(whole)
        for line in output.read_text(encoding="utf-8").splitlines():
            verdict = json.loads(line)
            done.add((verdict["task"], verdict.get("model"), verdict["doc_id"]))
    with open(output, "a", encoding="utf-8") as file:
        for task, judged, path in samples_files(paths):
            for line in path.read_text(encoding="utf-8").splitlines():
                sample = json.loads(line)
                if (task, judged, sample["doc_id"]) in done:
                    continue
                said = [ask(endpoint, model, system, user, key, **settings) for system, user in conversations(sample)]
                scores = [rating(text) for text in said]
                if None in scores or not scores:
                    raise JudgeError(f"{task}, document {sample['doc_id']}: the judge gives no [[number]]: {(said[scores.index(None)] or '')[:200] if said else ''!r}")
                verdict = {"task": task, "doc_id": sample["doc_id"], "score": sum(scores) / len(scores), "judge": model, "said": said}
                file.write(json.dumps({**verdict, **({"model": judged} if judged else {})}, ensure_ascii=False) + "\n")
                file.flush()
                count += 1
                if progress:
                    progress(task, sample["doc_id"], verdict["score"])
    return count


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m nibble.judge", description="Has logged answers judged by a model behind an endpoint.")
    parser.add_argument("samples", nargs="+", help="samples files of nibble eval --log-samples, or folders of them")
    parser.add_argument("--endpoint", required=True, help="address of an OpenAI-compatible interface, as http://127.0.0.1:8000/v1")
    parser.add_argument("--model", required=True, help="the judge, as the endpoint names it")
    parser.add_argument("-o", "--output", required=True, help="verdicts, JSON lines; what is there already stays")
    parser.add_argument("--key-variable", default="OPENAI_API_KEY", help="environment variable with the endpoint's key, if it wants one")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait for an answer")
    args = parser.parse_args(arguments)
    try:
        count = judge(args.samples, args.output, args.endpoint, args.model, os.environ.get(args.key_variable), temperature=args.temperature,
                      timeout=args.timeout, progress=lambda task, doc, score: print(f"{task} {doc}: {score:g}", file=sys.stderr))
    except (JudgeError, OSError, ValueError) as error:
        print(f"nibble.judge: {error}", file=sys.stderr)
        return 3
    print(f"{count} documents judged, verdicts in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
