"""nibble as a model of lm-evaluation-harness, so that all its tasks run on this engine.

    python -m nibble.lm_eval --model nibble --model_args pretrained=model.safetensors,compute=exact --tasks hellaswag --limit 100

takes the harness's own options. In a program: import nibble.lm_eval, then lm_eval.simple_evaluate(model="nibble", ...).
Needs the package lm_eval.
"""
import sys

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError as error:
    raise ImportError(f"nibble.lm_eval needs the package lm_eval: pip install lm_eval ({error})") from None

from ._jobs import Evaluation
from ._model import Model
from ._runtime import Runtime


@register_model("nibble")
class NibbleLM(LM):
    """pretrained: a model as nibble opens it; compute: "exact" or "fast"; threads: 0 for all; batch: texts written side by side."""

    def __init__(self, pretrained, compute="fast", threads=0, batch=8, max_gen_toks=256, batch_size=None, device=None, **_):
        super().__init__()
        self.path = str(pretrained)
        self.model = Model(self.path, Runtime(threads=int(threads)), compute)
        self.tokenizer_name_or_path = self.path
        self.batch, self.max_gen_toks = int(batch), int(max_gen_toks)

    @property
    def tokenizer_name(self):
        return self.path

    @property
    def max_length(self):
        return self.model.max_positions

    def _scored(self, pairs):
        if not pairs:
            return []
        with Evaluation(self.model.runtime) as evaluation:
            evaluation.add_model(self.model)
            results = evaluation.score({"context": c, "continuation": t} for c, t in pairs)
        return [(r["logprob"], r["is_greedy"]) for r in results]

    def loglikelihood(self, requests, disable_tqdm=False):
        return self._scored([r.args for r in requests])

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        totals = []
        for request in requests:
            with Evaluation(self.model.runtime) as evaluation:
                evaluation.add_model(self.model)
                evaluation.set_text(request.args[0])
                evaluation.set("protocol", "rolling")
                result = evaluation.perplexity()
            totals.append(-result["nll"] * result["tokens"])
        return totals

    def generate_until(self, requests, disable_tqdm=False):
        # Requests that are asked alike are generated together, as one task of our own.
        groups = {}
        for index, request in enumerate(requests):
            context, kwargs = request.args
            until = kwargs.get("until") or []
            key = (tuple([until] if isinstance(until, str) else until), int(kwargs.get("max_gen_toks", self.max_gen_toks)),
                   int(kwargs.get("num_beams", 1)), float(kwargs.get("temperature", 0.0)) if kwargs.get("do_sample") else 0.0)
            groups.setdefault(key, []).append((index, context))
        texts = [None] * len(requests)
        for (until, limit, beams, temperature), members in groups.items():
            definition = {"task": "requests", "output_type": "generate_until", "doc_to_text": "{{text}}", "doc_to_target": "",
                          "documents": [{"text": context} for _, context in members],
                          "generation_kwargs": {"until": list(until), "max_gen_toks": limit, "num_beams": beams,
                                                "do_sample": temperature > 0, "temperature": temperature}}
            with Evaluation(self.model.runtime) as evaluation:
                evaluation.add_model(self.model)
                evaluation.add_task_definition(definition)
                evaluation.set("samples", True)
                evaluation.set("batch", self.batch)
                result = evaluation.tasks()
            for (index, _), sample in zip(members, result["samples"]["requests"]):
                texts[index] = sample["resps"][0][0]
        return texts


def main():
    from lm_eval.__main__ import cli_evaluate
    cli_evaluate()


if __name__ == "__main__":
    sys.exit(main())
