#!/usr/bin/env python3
"""Random GBNF grammars against a recognizer written here: whatever a model says under a grammar must match it.

    random_grammars.py [--count N] [--first I] [--seed S] [--model MODEL] [--temperature T]

A grammar is drawn as a tree, written as GBNF for the library and recognized as a tree here: the positions where a node that begins at
one position may end. Grammar I of a seed is the same whatever is drawn before it, so --first and --count cut a long run into pieces. Needs NIBBLE_LIBRARY when the library is not found by itself. Exit status 1 when an output does not match, or
when a grammar is refused that has a text.
"""
import argparse
import pathlib
import random
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))
sys.setrecursionlimit(20000)

CHARACTERS = "abcxyzAZ019 -_.,\"\\]^[\n\täß中😀"


def quoted(text):
    return '"' + "".join({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}.get(c, c) for c in text) + '"'


def in_class(c):
    return {"\\": "\\\\", "]": "\\]", "[": "\\[", "^": "\\^", "-": "\\-", "\n": "\\n", "\t": "\\t"}.get(c, c)


class Text:
    def __init__(self, text):
        self.text = text

    def gbnf(self):
        return quoted(self.text)

    def ends(self, g, text, at):
        return {at + len(self.text)} if text.startswith(self.text, at) else set()

    def shortest(self, g):
        return len(self.text)


class Class:
    def __init__(self, ranges, negated):
        self.ranges, self.negated = ranges, negated

    def gbnf(self):
        if not self.ranges:
            return "."
        return "[" + ("^" if self.negated else "") + "".join(
            in_class(a) if a == b else f"{in_class(a)}-{in_class(b)}" for a, b in self.ranges) + "]"

    def ends(self, g, text, at):
        if at >= len(text):
            return set()
        inside = any(a <= text[at] <= b for a, b in self.ranges)
        return {at + 1} if not self.ranges or inside != self.negated else set()

    def shortest(self, g):
        return 1


class Sequence:
    def __init__(self, parts):
        self.parts = parts

    def gbnf(self):
        return " ".join(p.gbnf() for p in self.parts)

    def ends(self, g, text, at):
        here = {at}
        for part in self.parts:
            here = {e for b in here for e in g.ends(part, text, b)}
        return here

    def shortest(self, g):
        return sum(g.shortest(p) for p in self.parts)


class Choice:
    def __init__(self, parts):
        self.parts = parts

    def gbnf(self):
        return "(" + " | ".join(p.gbnf() for p in self.parts) + ")"

    def ends(self, g, text, at):
        return {e for p in self.parts for e in g.ends(p, text, at)}

    def shortest(self, g):
        return min(g.shortest(p) for p in self.parts)


class Repeat:
    def __init__(self, body, low, high):
        self.body, self.low, self.high = body, low, high

    def gbnf(self):
        mark = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((self.low, self.high))
        if mark is None:
            mark = f"{{{self.low}}}" if self.low == self.high else f"{{{self.low},{'' if self.high is None else self.high}}}"
        return f"({self.body.gbnf()}){mark}"

    def ends(self, g, text, at):
        here, out, seen = {at}, set(), set()
        for n in range(self.high + 1 if self.high is not None else self.low + len(text) + 2):
            if n >= self.low:
                out |= here
            new = {e for b in here for e in g.ends(self.body, text, b)}
            if not new or (n > self.low and new <= seen):
                break
            seen |= new
            here = new
        return out

    def shortest(self, g):
        return self.low * g.shortest(self.body) if self.low else 0


class Rule:
    def __init__(self, name):
        self.name = name

    def gbnf(self):
        return self.name

    def ends(self, g, text, at):
        return g.ends(g.rules[self.name], text, at)

    def shortest(self, g):
        return g.cost.get(self.name, 10 ** 6)


class Grammar:
    def __init__(self, rng):
        self.rng, self.rules, self.cost = rng, {}, {}
        self.names = ["root"] + [f"rule-{i}" for i in range(rng.randrange(4))]
        for i, name in enumerate(self.names):
            self.rules[name] = self.body(i)
        for _ in range(len(self.names) + 2):
            self.cost = {name: min(10 ** 6, self.shortest(node)) for name, node in self.rules.items()}

    def shortest(self, node):
        return node.shortest(self)

    def body(self, i):
        node = self.node(3, i)
        if self.rng.random() < 0.3:  # recursion that begins with a character, and need not happen
            name = self.rng.choice(self.names)
            node = Choice([node, Sequence([Text(self.rng.choice("(<{")), Rule(name), Text(self.rng.choice(")>}"))])])
        return node

    def text(self, least=1):
        return "".join(self.rng.choice(CHARACTERS) for _ in range(self.rng.randrange(least, 5)))

    def char_class(self):
        r = self.rng
        if r.random() < 0.1:
            return Class([], False)
        ranges = []
        for _ in range(r.randrange(1, 4)):
            a = r.choice(CHARACTERS)
            b = chr(ord(a) + r.randrange(8)) if r.random() < 0.5 and a not in "\n\t\\" else a
            ranges.append((a, b) if b not in "\\]^[-" else (a, a))
        return Class(ranges, r.random() < 0.25)

    def node(self, depth, i):
        r = self.rng
        kind = r.random()
        if depth == 0 or kind < 0.25:
            return Text(self.text(0 if kind < 0.03 else 1)) if r.random() < 0.6 else self.char_class()
        if kind < 0.5:
            return Sequence([self.node(depth - 1, i) for _ in range(r.randrange(1, 4))])
        if kind < 0.7:
            return Choice([self.node(depth - 1, i) for _ in range(r.randrange(2, 4))])
        if kind < 0.88 or i + 1 >= len(self.names):
            low = r.choice([0, 0, 1, 2, 3])
            return Repeat(self.node(depth - 1, i), low, r.choice([None, max(low, 1), low + 1, low + 4]))
        return Rule(r.choice(self.names[i + 1:]))  # later ones only: nothing recurs at its own left

    def gbnf(self):
        return "\n".join(f"{name} ::= {node.gbnf()}" for name, node in self.rules.items()) + "\n"

    def ends(self, node, text, at):
        key = (id(node), at)
        if key not in self.memo:
            self.memo[key] = node.ends(self, text, at)
        return self.memo[key]

    def matches(self, text):
        self.memo = {}
        return len(text) in self.ends(self.rules["root"], text, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first grammar")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default=str(ROOT / "examples" / "models" / "prose-3.7m"))
    parser.add_argument("--temperature", type=float, default=1.5)
    parser.add_argument("--tokens", type=int, default=150)
    args = parser.parse_args()
    import nibble
    model = nibble.load(args.model, nibble.Runtime(threads=1))  # so small that a second thread would only wait
    wrong = unfinished = drawn_again = 0
    slowest = (0.0, -1)
    for i in range(args.first, args.first + args.count):
        rng = random.Random(f"{args.seed} {i}")
        grammar = Grammar(rng)
        while grammar.cost["root"] > args.tokens - 10:
            drawn_again += 1
            grammar = Grammar(rng)
        begun = time.monotonic()
        with model.session(args.tokens + 8) as session:
            try:
                result = session.generate(model.tokenizer.encode("It was"), args.tokens, temperature=args.temperature, seed=i,
                                          grammar=grammar.gbnf())
            except nibble.NibbleError as error:
                print(f"grammar {i} was refused: {error}\n{grammar.gbnf()}")
                wrong += 1
                continue
        slowest = max(slowest, (time.monotonic() - begun, i))
        unfinished += result["finish_reason"] == "length"
        if not grammar.matches(result["text"]):
            print(f"grammar {i}:\n{grammar.gbnf()}  output: {result['text']!r} ({result['finish_reason']})")
            wrong += 1
        if (i + 1) % 100 == 0:
            print(f"  {i + 1}: {wrong} wrong so far", flush=True)
    print(f"{args.count} grammars from {args.first} of seed {args.seed}: {wrong} wrong, {unfinished} ended by the number of tokens, "
          f"{drawn_again} drawn again for their length; the slowest, {slowest[1]}, took {slowest[0]:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
