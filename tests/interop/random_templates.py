#!/usr/bin/env python3
"""Random Jinja templates against jinja2 in the environment that transformers renders chat templates in.

    random_templates.py [--count 3000] [--seed S]

Expressions (operators, filters, tests, methods, slices) and statements (loops, macros, sets, filters, calls, whitespace control) are
drawn over a few variables. Both must give the same text, or both refuse. Left out: what differs by design (docs/chat-templates.md: the
type of an escaped text, addresses of objects, numbers beyond 64 bits) and by Python's version (names for arguments of str.replace,
automatic numbers before an index in str.format). Needs transformers, and NIBBLE_LIBRARY when the library is not found by itself. Exit
status 1 when a text differs, 77 without the packages.
"""
import argparse
import os
import pathlib
import random
import re
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))
sys.path.insert(0, str(ROOT / "tests" / "golden" / "chat"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
try:
    from transformers.utils.chat_template_utils import _compile_jinja_template as compiled
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(77)
import nibble  # noqa: E402
from cases import VALUES  # noqa: E402

VALUES = {**VALUES, "lm": [1, "x", None, 2.5, True], "ll": [[1, 2], [3], []], "pre": "  pad ", "comma": "a,b,,c",
          "url": "see http://a.org/x?y=1, www.b.com. mail me@c.org (https://d.net) <e@f.io>"}
MESSAGES = [{"role": "user", "content": "x"}]
TESTS = ("defined undefined none string number integer float boolean mapping iterable sequence callable true false odd even upper lower "
         "divisibleby(2) eq(1) ne(2) gt(1) lt(3) ge(2) le(1) filter test sameas(none)").split() + ["in [1, 'x']", "not none", "not defined"]
TEXT_FILTERS = ["upper", "lower", "title", "capitalize", "trim", "string", "reverse", "striptags", "urlencode", "wordwrap", "wordwrap(7, true, '|')",
                "wordwrap(4, break_on_hyphens=false)", "first", "last", "pprint", "truncate(9)", "truncate(12, true, '#', 0)", "indent", "indent(2, true)",
                "indent('> ', blank=true)", "center(15)", "urlize", "urlize(10, true)", "replace('a', 'Q')", "replace('l', '', 1)", "default('z', true)"]
METHODS = ["upper()", "lower()", "strip()", "lstrip('ab')", "rstrip()", "title()", "capitalize()", "swapcase()", "casefold()", "zfill(9)",
           "ljust(9, '*')", "rjust(12)", "center(8, '-')", "expandtabs(4)", "removeprefix('He')", "replace('o', '0', 1)", "translate({97: 'Q'})"]
LIST_FILTERS = ["sort", "sort(reverse=true)", "unique|list", "reverse|list", "batch(2)|list", "batch(3, 0)|list", "slice(2)|list", "select|list",
                "reject|list", "map('string')|list", "map('length')|list", "select('odd')|list", "reject('none')|list", "list", "map('default', 1)|list"]
FORMATS = ["'%s'", "'%d'", "'%5.2f|'", "'%05d'", "'%-6s|'", "'%x'", "'%+d'", "'%r'", "'%e'", "'%g'", "'%c'"]
BRACES = ["'{}'", "'{0:>5}'", "'{:<4}|'", "'{:^7}'", "'{:05}'", "'{:.2f}'", "'{:,}'", "'{:x}'", "'{!r}'", "'{:+}'", "'{:%}'", "'{:*^9}'", "'{:b}'"]


class Drawing:
    def __init__(self, rng):
        self.rng = rng
        self.pick = rng.choice

    def leaf(self, depth, share=0.3):
        return depth <= 0 or self.rng.random() < share

    def text(self, d):
        pick = self.pick
        if self.leaf(d):
            return pick(["s", "u", "q", "text", "num", "fl", "e", "html", "pre", "comma", "long", "url", "'a-b c'", "'\\n'", "'É'", "\"y'z\""])
        d -= 1
        return pick([lambda: f"({self.text(d)}|{pick(TEXT_FILTERS)})", lambda: f"({self.text(d)}).{pick(METHODS)}",
                     lambda: f"({self.text(d)})[{self.slice()}]", lambda: f"{self.text(d)} ~ {self.any(d)}", lambda: f"({self.text(d)} + {self.text(d)})",
                     lambda: f"({self.text(d)} * {self.rng.randint(-1, 3)})", lambda: f"({self.list(d)}|join({pick(['', self.text(0)])}))",
                     lambda: f"({self.any(d)}|{pick(['tojson', 'tojson(indent=2)', 'string', 'pprint', 'tojson(sort_keys=true)'])})",
                     lambda: f"({pick(FORMATS)} % {self.any(d)})", lambda: f"{pick(BRACES)}.format({self.any(d)})",
                     lambda: f"({self.text(d)} if {self.truth(d)} else {self.text(d)})", lambda: f"({self.text(d)} or {self.text(d)})",
                     lambda: f"({self.number(d)}|{pick(['filesizeformat', 'filesizeformat(true)'])})", lambda: f"({self.mapping(d)}|xmlattr)",
                     lambda: f"({self.text(d)}).join({self.list(d)})"])()

    def slice(self):
        bound = lambda: self.pick(["", "", "1", "-1", "2", "-2", "0", "5", "n", "neg", "nil", "100"])  # noqa: E731
        return f"{bound()}:{bound()}{self.pick(['', ':', ':1', ':-1', ':2', ':-2', ':nil', ':0'])}"

    def number(self, d):
        pick = self.pick
        if self.leaf(d):
            return pick("n neg f z t third 1 2 3 0 1.5 10 1e3 2500000 1e-5 12345.678 false 1e16 1_000 0x1F".split())
        d -= 1
        return pick([lambda: f"({self.number(d)} {pick(['+', '-', '*', '/', '//', '%'])} {self.number(d)})", lambda: f"(-{self.number(d)})",
                     lambda: f"({self.number(d)} ** {pick(['0', '1', '2', '-1'])})", lambda: f"({self.any(d)}|{pick(['length', 'int', 'float', 'abs'])})",
                     lambda: f"({self.text(d)}|{pick(['int', 'float', 'wordcount', 'int(3, 16)'])})",
                     lambda: f"({self.number(d)}|{pick(['abs', 'int', 'round', 'round(1)', 'round(-1)', 'round(1, chr)'])})".replace("chr", "'ceil'"),
                     lambda: f"({self.list(d)}|{pick(['sum', 'length', 'max', 'min', 'first', 'last'])})",
                     lambda: f"({self.text(d)}).{pick(['find', 'rfind', 'index', 'count'])}({self.text(0)}{pick(['', ', 1', ', -3'])})"])()

    def list(self, d):
        pick = self.pick
        if self.leaf(d):
            return pick(["l", "ls", "el", "lm", "ll", "people", "range(4)", "range(5, 0, -2)", "(1, 2)", "('a', 'b')", "[1, [2, 'x']]", "()", "s", "d"])
        d -= 1
        return pick([lambda: f"[{self.any(d)}, {self.any(d)}]", lambda: f"({self.any(d)},)", lambda: f"({self.list(d)} + {self.list(d)})",
                     lambda: f"({self.list(d)})[{self.slice()}]", lambda: f"({self.list(d)}|{pick(LIST_FILTERS)})",
                     lambda: f"({self.text(d)}).{pick(['split()', 'split(none, 1)', 'rsplit(chr, 1)', 'splitlines(true)', 'partition(chr)'])}".replace("chr", "' '"),
                     lambda: f"({self.mapping(d)}.{pick(['items', 'keys', 'values'])}(){pick(['', '|list'])})",
                     lambda: f"({self.mapping(d)}|{pick(['items|list', 'dictsort', 'dictsort(reverse=true)'])})",
                     lambda: "(people|%s|list)" % pick(["map(attribute='name')", "selectattr('city')", "rejectattr('tags')", "groupby('age')",
                                                       "sort(attribute='age,name')", "map(attribute='tags.0')", "unique(attribute='age')"])])()

    def mapping(self, d):
        if self.leaf(d, 0.5):
            return self.pick(["d", "ed", "people[0]", "{'a': 1}", "{'x': nil, 'y': 'a<b'}", "dict(a=1, b='x')", "{1: 2, 'k': (1, 2)}", "{none: 1}"])
        return "{%s: %s, 'z': %s}" % (self.pick(["'k'", "1", "s", "(1, 2)", "nil"]), self.any(d - 1), self.any(d - 1))

    def truth(self, d):
        pick = self.pick
        if self.leaf(d, 0.15):
            return pick(["t", "true", "false", "n", "z", "e", "el", "nil", "missing", "s"])
        d -= 1
        return pick([lambda: f"({self.any(d)} {pick(['==', '!=', '<', '>', '<=', '>=', 'in', 'not in'])} {self.any(d)})",
                     lambda: f"({self.any(d)} is {pick(TESTS)})", lambda: f"(not {self.truth(d)})", lambda: f"({self.truth(d)} and {self.truth(d)})",
                     lambda: f"({self.number(d)} <= {self.number(d)} < {self.number(d)})", lambda: f"({self.text(d)}).startswith({self.text(0)})",
                     lambda: f"({self.text(d)}).{pick(['isdigit', 'isalpha', 'isalnum', 'isspace', 'isupper', 'istitle', 'isascii'])}()"])()

    def any(self, d):
        return self.pick([self.text, self.text, self.number, self.list, self.mapping, self.truth,
                          lambda d: self.pick(["nil", "missing", "d.nope", "people[0].city", "l[9]", "d['zz']"]),
                          lambda d: f"{self.mapping(d)}.get({self.text(0)})"])(d)

    def tag(self, content):
        return "{%" + self.pick(["", "", "-", "+"]) + f" {content} " + self.pick(["", "", "-", "+"]) + "%}"

    def gap(self):
        return self.pick(["", "\n", " ", "\n  ", "x ", " \n\n"])

    def body(self, d):
        return "".join(self.statement(d - 1) for _ in range(self.rng.randint(1, 3)))

    def statement(self, d):
        pick, tag = self.pick, self.tag
        if d <= 0:
            return self.gap() + "{{" + pick(["", "-"]) + f" {self.any(1)} " + pick(["", "-"]) + "}}" + self.gap()
        tail = pick(["", "{{ loop.index }}/{{ loop.length }}", "{{ loop.previtem }}|{{ loop.nextitem }}", "{{ loop.cycle('o', 'e') }}", "{{ a }}{{ b }}",
                     "{{ loop.changed(a) }}", "{% if loop.index > 1 %}{% break %}{% endif %}", "{% if loop.first %}{% continue %}{% endif %}y"])
        return self.gap() + pick([
            lambda: tag(f"for {pick(['a', 'a, b', '(a,)', 'a, (b, x)', '(a)', 'a,'])} in {self.list(1)}{pick(['', '', ' if a', ' recursive'])}") +
            self.body(d) + tail + pick(["", tag("else") + self.body(d)]) + tag("endfor"),
            lambda: tag(f"if {self.truth(2)}") + self.body(d) + pick(["", tag(f"elif {self.truth(1)}") + self.body(d)]) +
            pick(["", tag("else") + self.body(d)]) + tag("endif"),
            lambda: tag(f"set a = {self.any(2)}") + "{{ a }}", lambda: tag(f"set a{pick(['', ' | upper', ' | trim | length'])}") + self.body(d) + tag("endset") + "{{ a }}",
            lambda: tag(f"set a, b = {self.list(1)}") + "{{ a }}{{ b }}",
            lambda: tag(f"set ns = namespace({pick(['', 'q=1', 'd'])})") + tag(f"set ns.q = {self.any(1)}") + "{{ ns.q }}{{ ns.x }}",
            lambda: tag(f"macro m({pick(['', 'a', 'a, b=2', 'a=l'])})") + self.body(d) + pick(["", "{{ a }}{{ b }}", "{{ varargs }}{{ kwargs }}"]) + tag("endmacro") +
            "{{ m(" + pick(["", "1", "1, 2", "s, b=3", "z=9", "*l", "**d"]) + ") }}",
            lambda: tag(f"with {pick(['a = 1', 'a = 1, b = ' + self.any(1), '', 'a, b = (1, 2)'])}") + self.body(d) + "{{ a }}" + tag("endwith"),
            lambda: tag(f"filter {pick(['upper', 'trim', 'indent(2)', 'upper|trim', 'length', 'title'])}") + self.body(d) + tag("endfilter"),
            lambda: tag("macro w(k=1)") + "[{{ caller(" + pick(["", "1"]) + ") }}]" + tag("endmacro") + tag(f"call{pick(['', '(a)'])} w()") + self.body(d) + tag("endcall"),
            lambda: "{#" + pick(["", "-"]) + " c " + pick(["", "-"]) + "#}", lambda: tag("raw") + " {{ x }} " + tag("endraw"), lambda: "{{ " + self.any(3) + " }}",
            lambda: tag("for x in [1, [2, [3]]] recursive") + "{{ loop(x) if x is sequence else x }}@{{ loop.depth }}" + tag("endfor")])() + self.gap()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    args = parser.parse_args()
    drawing = Drawing(random.Random(args.seed))
    values = {k: v for k, v in VALUES.items() if k != "messages"}
    different = rendered = refused = left_out = 0
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "tokenizer.json").write_text((ROOT / "tests/golden/tokenizers/small/llama3-like.json").read_text())
        tokenizer = nibble.Tokenizer.open(folder)
        for _ in range(args.count):
            template = "{{ " + drawing.any(3) + " }}" if drawing.rng.random() < 0.6 else drawing.body(3)
            try:
                want, reason = compiled(template).render(messages=MESSAGES, **values), ""
            except Exception as error:  # noqa: BLE001: whatever it is, both must refuse
                want, reason = None, str(error)
            try:
                got, words = tokenizer.apply_chat_template(MESSAGES, chat_template=template, **values), ""
            except nibble.NibbleError as error:
                got, words = None, str(error)
            if (want and re.search(r" at 0x[0-9a-f]{6}", want)) or "64 bits" in words or "complex" in words:
                left_out += 1
                continue
            rendered += want is not None
            refused += want is None
            if got != want:
                different += 1
                print(f"{template!r}\n  theirs {want!r} {reason}\n  ours   {got!r} {words}")
    print(f"{rendered} texts and {refused} refusals compared, {left_out} left out, {different} differ (seed {args.seed})")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
