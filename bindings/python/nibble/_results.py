"""What jobs return: dicts and lists as docs/cli.md describes them, that can also show themselves as tables."""
from __future__ import annotations

import html
from typing import Any

# The keys under which results keep their rows, the most telling first.
_TABLES = ("rows", "candidates", "layers", "checks", "tensors")


def _flat(row: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} as {"a.b": 1}; lists of plain values as text."""
    out = {}
    for key, value in row.items():
        if isinstance(value, dict):
            out.update(_flat(value, f"{prefix}{key}."))
        elif not isinstance(value, list):
            out[prefix + key] = value
        elif all(not isinstance(v, (dict, list)) for v in value):
            out[prefix + key] = ", ".join(map(str, value))
    return out


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.5g}" if value == value else "-"
    return str(value)


def _frame(rows: list[dict]) -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError("to_pandas() needs the package pandas: pip install pandas") from None
    return pandas.DataFrame(rows)


def _html(rows: list[dict], caption: str) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = ["<table><caption>", html.escape(caption), "</caption><thead><tr>"]
    out += [f"<th>{html.escape(c)}</th>" for c in columns]
    out.append("</tr></thead><tbody>")
    for row in rows:
        cells = (row.get(c) for c in columns)
        out.append("<tr>" + "".join(
            f'<td style="text-align:{"right" if isinstance(v, (int, float)) else "left"}">{html.escape(_shown(v))}</td>'
            for v in cells) + "</tr>")
    out.append("</tbody></table>")
    return "".join(out)


def task_rows(result: dict) -> list[dict]:
    """lm-evaluation-harness's layout as one row a model, task and metric."""
    rows = []
    models = result.get("models") or [{"name": result.get("model_name", ""), "results": result.get("results", {})}]
    for model in models:
        for task, numbers in model["results"].items():
            for key, value in numbers.items():
                metric, comma, chosen = key.partition(",")
                if not comma or metric.endswith("_stderr"):
                    continue
                error = numbers.get(f"{metric}_stderr,{chosen}")
                rows.append({"model": model["name"], "task": task, "metric": metric, "filter": chosen, "value": value,
                             "stderr": error if isinstance(error, (int, float)) else None,
                             "documents": result.get("n-samples", {}).get(task, {}).get("effective")})
    return rows


class Rows(list):
    """A list of dicts, one a row."""

    def to_pandas(self) -> Any:
        """A pandas.DataFrame, nested values under "outer.inner". Needs pandas."""
        return _frame([_flat(row) for row in self])

    def _repr_html_(self) -> str:
        return _html([_flat(row) for row in self], f"{len(self)} rows")


class Result(dict):
    """A dict with the keys that docs/cli.md lists for the command of the same name."""

    def rows(self) -> Rows:
        """The result as a table: layers of a quantization, candidates of a comparison, tasks of an evaluation, recipes of a sweep,
        tensors of a checkpoint; where there is none of these, one row of its plain values."""
        if isinstance(self.get("results"), dict):
            return Rows(task_rows(self))
        for key in _TABLES:
            if isinstance(self.get(key), list) and self[key]:
                return Rows(self[key])
        return Rows([self.summary()])

    def summary(self) -> dict:
        """The plain values at the top."""
        return {k: v for k, v in self.items() if not isinstance(v, (dict, list))}

    def to_pandas(self) -> Any:
        """rows() as a pandas.DataFrame. Needs pandas."""
        return self.rows().to_pandas()

    def _repr_html_(self) -> str:
        rows = [_flat(row) for row in self.rows()]
        summary = self.summary()
        if rows == [summary]:
            return _html(rows, "")
        return (_html([summary], "") if summary else "") + _html(rows, f"{len(rows)} rows")


class Generated(Result):
    """What was generated: a dict with text, token_ids, finish_reason and more; str() gives the text."""

    @property
    def text(self) -> str:
        return self["text"]

    def rows(self) -> Rows:
        samples = self.get("samples")
        return Rows(samples) if samples else Rows([self.summary()])

    def __str__(self) -> str:
        return self["text"]
