"""llama.cpp as the peer: its perplexity and its greedy text, beside the command's own."""
import json
import math
import pathlib
import subprocess
import sys

try:
    import llama_cpp
    import numpy as np
except ImportError as error:
    print("SKIPPED:", error)
    sys.exit(77)

WINDOW = 512
SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


def command(program, *arguments):
    """The JSON that `program ARGUMENTS --json -` prints."""
    done = subprocess.run([program, *map(str, arguments), "--quiet", "--json", "-"], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout)


def multiplies_in_float32():
    """This llama.cpp hands products of many rows to a BLAS, with the weights as float32 and activations as they are. Weights that it
    repacks for its own kernels would stay there: it has to be built without (run.sh does)."""
    return any(pathlib.Path(llama_cpp.llama_cpp._lib._name).parent.glob("libggml-blas.*"))


def fetched(name):
    """The path of a published GGUF file that scripts/fetch-NAME.sh gets; None when it cannot be had."""
    done = subprocess.run(["sh", SCRIPTS / f"fetch-{name}.sh"], capture_output=True, text=True)
    lines = done.stdout.split()
    return pathlib.Path(lines[-1]) if done.returncode == 0 and lines else None


def open_model(path, context=WINDOW):
    return llama_cpp.Llama(str(path), n_ctx=context, n_batch=context, type_k=0, type_v=0, logits_all=True, verbose=False, n_threads=2)


def perplexity(path, ids, windows, protocol="windows-512"):
    """Windows of 512 tokens that do not overlap. Protocol windows-512 scores tokens 2 to 512; llama.cpp-512 scores the second half,
    with BOS in the first one's place where the tokenizer adds one."""
    llama = open_model(path)
    half = protocol == "llama.cpp-512"
    bos = half and llama_cpp.llama_vocab_get_add_bos(llama_cpp.llama_model_get_vocab(llama.model))
    first = WINDOW // 2 if half else 0
    total, count = 0.0, 0
    for w in range(windows):
        window = list(ids[w * WINDOW:(w + 1) * WINDOW])
        if bos:
            window[0] = llama.token_bos()
        llama.reset()
        llama.eval(window)
        for i in range(first, WINDOW - 1):
            logits = llama.scores[i].astype(np.float64)
            most = logits.max()
            total -= logits[window[i + 1]] - most - math.log(np.exp(logits - most).sum())
            count += 1
    return math.exp(total / count)


def prompt_ids(path, prompt):
    """The prompt as both programs run it: with BOS where the vocabulary asks for one."""
    llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    bos = llama_cpp.llama_vocab_get_add_bos(llama_cpp.llama_model_get_vocab(llama.model))
    return llama.tokenize(prompt.encode(), add_bos=bos, special=False)


def followed(path, ids, continuation):
    """Runs the ids and then the continuation token by token; yields llama.cpp's logits before each of its tokens."""
    llama = open_model(path, context=len(ids) + len(continuation) + 1)
    llama.eval(ids)
    for token in continuation:
        yield llama.scores[llama.n_tokens - 1].copy()
        llama.eval([token])
