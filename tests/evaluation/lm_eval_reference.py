"""Runs lm-evaluation-harness on local data and weights in float32 and writes what it asked, what the model answered and what it made
of that. Needs lm_eval, transformers and torch.

Usage: lm_eval_reference.py MODEL --tasks A,B --data DIR --limit N [--num-fewshot K] --output FILE
MODEL: a Hugging Face directory or a .gguf file (dequantized by transformers). With --prompts-only no model runs: the prompts are
built with the model's tokenizer and chat template, every answer is nothing. With --serve the model stays: each line read is a JSON object
{"data": DIR, "output": FILE}, each evaluation is followed by a line of its own."""
import argparse
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import lm_eval_data
import torch
import transformers


def source_of(path):
    path = pathlib.Path(path)
    return (str(path), {}) if path.is_dir() else (str(path.parent), {"gguf_file": path.name})


def load(path, dtype):
    source, options = source_of(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
    return model.eval(), tokenizer


def prompter(path):
    """A model of lm_eval's that only knows its chat template."""
    import lm_eval.api.model

    source, options = source_of(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)

    class Prompter(lm_eval.api.model.LM):
        tokenizer_name = "prompts"

        def loglikelihood(self, requests):
            return [(0.0, False)] * len(requests)

        def loglikelihood_rolling(self, requests):
            return [0.0] * len(requests)

        def generate_until(self, requests):
            return [""] * len(requests)

        def chat_template(self, chat_template=False):
            return tokenizer.chat_template

        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            return tokenizer.apply_chat_template(chat_history, tokenize=False, add_generation_prompt=add_generation_prompt,
                                                 continue_final_message=not add_generation_prompt)

    return Prompter()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--data")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--num-fewshot", type=int)
    parser.add_argument("--bootstrap", type=int, default=100000)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-gen-toks", type=int)
    parser.add_argument("--apply-chat-template", action="store_true")
    parser.add_argument("--fewshot-as-multiturn", action="store_true")
    parser.add_argument("--system-instruction")
    parser.add_argument("--prompts-only", action="store_true")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--include-path", help="a folder of task definitions")
    parser.add_argument("--fewshot-seed", type=int, default=1234)
    parser.add_argument("--output")
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    if not args.serve and not (args.data and args.output):
        parser.error("--data and --output, or --serve")
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    asked = {}
    if args.prompts_only:
        lm = prompter(args.model)
    else:
        model, tokenizer = load(args.model, getattr(torch, args.dtype))
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=args.batch)
        scored = lm._loglikelihood_tokens

    def remember(requests, *rest, **options):
        requests = list(requests)
        for pair, context_ids, continuation_ids in requests:
            if pair is not None:  # a window of a whole text
                asked[tuple(pair)] = (list(context_ids), list(continuation_ids))
        return scored(requests, *rest, **options)

    if not args.prompts_only:
        lm._loglikelihood_tokens = remember
    tasks = TaskManager(include_path=args.include_path)
    if not args.serve:
        evaluate(lm_eval, lm, tasks, args, asked, args.data, args.output)
        return
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        asked.clear()
        evaluate(lm_eval, lm, tasks, args, asked, order["data"], order["output"])
        print("done", flush=True)


def evaluate(lm_eval, lm, tasks, args, asked, data, output):
    """One evaluation, written to `output`; its seconds are those from the request to the answers, without loading and indexing."""
    lm_eval_data.install(data)
    start = time.monotonic()
    done = lm_eval.simple_evaluate(
        model=lm, tasks=args.tasks.split(","), task_manager=tasks, limit=args.limit,
        fewshot_random_seed=args.fewshot_seed, num_fewshot=args.num_fewshot, log_samples=True,
        bootstrap_iters=args.bootstrap, apply_chat_template=args.apply_chat_template, system_instruction=args.system_instruction,
        fewshot_as_multiturn=args.fewshot_as_multiturn,
        gen_kwargs={"max_gen_toks": args.max_gen_toks} if args.max_gen_toks else None, confirm_run_unsafe_code=True)
    seconds = time.monotonic() - start
    samples = {}
    for task, rows in done["samples"].items():
        samples[task] = []
        for row in rows:
            arguments = [list(a) for a in row["arguments"]]
            samples[task].append({
                "doc_id": row["doc_id"], "filter": row["filter"],
                "arguments": [[a if isinstance(a, str) else None for a in pair] for pair in arguments],
                "ids": [asked.get(tuple(a[:2])) if all(isinstance(x, str) for x in a[:2]) else None for a in arguments],
                "resps": row["resps"], "filtered_resps": row["filtered_resps"],
                "metrics": {m: row[m] for m in row["metrics"] if isinstance(row.get(m), (int, float))}})
    result = {key: done[key] for key in ("results", "groups", "versions", "n-shot", "n-samples", "higher_is_better") if key in done}
    result.update(samples=samples, seconds=seconds)
    with open(output, "w", encoding="utf-8") as file:
        json.dump(result, file, default=float)


if __name__ == "__main__":
    main()
