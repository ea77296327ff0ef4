#!/usr/bin/env python3
"""Random JSON schemas against the jsonschema package: whatever a model says under a schema must be valid under it.

    random_schemas.py [--count N] [--seed S] [--model MODEL] [--temperature T]

Needs the Python package jsonschema (with the extra format-nongpl, to check every format), and NIBBLE_LIBRARY when the library is
not found by itself. The model babbles (it is small and the temperature high), so that every branch of the grammars is taken; outputs
end in time because generation keeps room to complete them. Prints each schema whose output is not valid, and exits with 1 when there
is one, with 77 without the package.
"""
import argparse
import json
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))

PATTERNS = [r"^[a-z]{2,5}$", r"^\d{3}-\d{4}$", r"^(foo|bar)+$", r"^[A-Z][a-z]*( [A-Z][a-z]*)?$", r"^\w+@\w+\.com$", r"^[^\"\\]{1,4}$",
            r"[0-9]", r"^\S+$", r"^a.c$", r"^(?:x|y(?:z|w){1,2})?$", r"^\$[0-9]+\.[0-9]{2}$"]
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "duration"]
NAMES = ["a", "b", "name", "id", "value", "x-1", "käse", "a b", "quote\"d", "items"]


class Maker:
    def __init__(self, rng):
        self.rng = rng

    def text(self):
        return "".join(self.rng.choice("abcXYZ 012äß\"\\\n😀") for _ in range(self.rng.randrange(6)))

    def scalar(self):
        r = self.rng
        return r.choice([None, True, False, r.randrange(-50, 50), r.randrange(-500, 500) / 8, self.text()])

    def string(self):
        r, s = self.rng, {"type": "string"}
        kind = r.randrange(5)
        if kind == 0:
            s["pattern"] = r.choice(PATTERNS)
        elif kind == 1:
            s["format"] = r.choice(FORMATS)
        elif kind in (2, 3):
            low = r.randrange(4)
            if r.random() < 0.7:
                s["minLength"] = low
            if r.random() < 0.7:
                s["maxLength"] = low + r.randrange(8)
            if r.random() < 0.2:
                s["pattern"] = "^[a-c]*$"
        return s

    def number(self):
        r = self.rng
        s = {"type": r.choice(["integer", "number"])}
        low = r.choice([r.randrange(-1000, 1000), r.randrange(-10000, 10000) / 100, 0])
        if r.random() < 0.5:
            s[r.choice(["minimum", "exclusiveMinimum"])] = low
        if r.random() < 0.5:
            s[r.choice(["maximum", "exclusiveMaximum"])] = low + r.choice([2, 3.75, 100, 5000.5])
        elif r.random() < 0.3:
            s["multipleOf"] = r.choice([2, 3, 5, 7, 10, 25, 64, 100, 360, 0.5, 0.25, 2.5, 0.01])
        return s

    def array(self, depth):
        r, s = self.rng, {"type": "array"}
        if r.random() < 0.25:
            s["prefixItems"] = [self.schema(depth - 1) for _ in range(r.randrange(1, 4))]
            s["items"] = r.choice([False, self.schema(depth - 1)])
        elif r.random() < 0.85:
            s["items"] = self.schema(depth - 1)
        if "prefixItems" not in s and r.random() < 0.15:
            return {"type": "array", "items": {"enum": ["a", "b", 1, 2.5, None, "\u00e9"][:r.randrange(1, 7)]}, "uniqueItems": True, "minItems": r.randrange(2)}
        low = r.randrange(3)
        if r.random() < 0.5 and s.get("items", True) is not False:
            s["minItems"] = low
        if r.random() < 0.6:
            s["maxItems"] = max(low, s.get("minItems", 0)) + r.randrange(3)
        return s

    def object(self, depth):
        r, s = self.rng, {"type": "object"}
        names = r.sample(NAMES, r.randrange(0, 5))
        if names or r.random() < 0.5:
            s["properties"] = {n: self.schema(depth - 1) for n in names}
            s["required"] = [n for n in names if r.random() < 0.5]
        if r.random() < 0.6:
            s["additionalProperties"] = r.choice([False, True, self.schema(depth - 1)])
        return s

    def schema(self, depth):
        r = self.rng
        kind = r.random()
        if depth <= 0 or kind < 0.35:
            return r.choice([self.string, self.number, lambda: {"type": "boolean"}, lambda: {"type": "null"},
                             lambda: {"enum": [self.scalar() for _ in range(r.randrange(1, 4))]},
                             lambda: {"const": r.choice([self.scalar(), {"k": [1, self.text()]}])}])()
        if kind < 0.6:
            return self.object(depth)
        if kind < 0.75:
            return self.array(depth)
        if kind < 0.83:
            return {"anyOf": [self.schema(depth - 1) for _ in range(r.randrange(1, 4))]}
        if kind < 0.88:
            return {"oneOf": [dict(self.string(), title="s"), self.number(), {"type": "null"}, self.array(depth - 1)][:r.randrange(1, 5)]}
        if kind < 0.93:
            low = r.randrange(-20, 20)
            return {"allOf": [{"type": "object", "properties": {"p": {"type": "integer", "minimum": low}}, "required": ["p"]},
                              {"properties": {"p": {"maximum": low + 30}, "q": self.schema(depth - 1)}}]}
        if kind < 0.97:
            return {"$ref": r.choice(["#/$defs/leaf", "#/$defs/tree"])}
        return {"type": r.sample(["string", "integer", "null", "boolean", "array", "object"], 2), "maxLength": 5, "maximum": 9}

    def document(self):
        s = self.schema(3)
        if "$ref" in s:
            s = {"allOf": [s]}
        s["$defs"] = {"leaf": self.string(),
                      "tree": {"type": "object", "properties": {"v": self.number(), "kids": {"type": "array", "maxItems": 2,
                               "items": {"$ref": "#/$defs/tree"}}}, "required": ["v"], "additionalProperties": False}}
        return s


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default=str(ROOT / "examples" / "models" / "prose-3.7m"))
    parser.add_argument("--temperature", type=float, default=1.5)
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    try:
        import jsonschema
    except ImportError:
        print("SKIPPED: the Python package jsonschema is not installed")
        return 77
    import nibble
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    if unchecked := sorted(set(FORMATS) - set(checker.checkers)):
        print(f"formats that this jsonschema does not check: {', '.join(unchecked)} (jsonschema[format-nongpl] checks more)")
    model = nibble.load(args.model)
    rng = random.Random(args.seed)
    wrong = refused = unfinished = 0
    for i in range(args.count):
        if i % 50 == 0:
            print(f"{i} of {args.count}, {wrong} wrong", file=sys.stderr, flush=True)
        schema = Maker(rng).document()
        session = model.session(args.tokens + 8)
        try:
            result = session.generate(model.tokenizer.encode("It was"), args.tokens, temperature=args.temperature, seed=i,
                                      json_schema=json.dumps(schema))
        except nibble.InvalidArgumentError as error:  # nothing is valid under it
            if "no text matches" not in str(error):
                raise
            refused += 1
            continue
        except nibble.UnsupportedError as error:
            print(f"schema {i} is not supported: {error}\n{json.dumps(schema)}")
            wrong += 1
            continue
        if result["finish_reason"] == "length":
            unfinished += 1
        try:
            jsonschema.Draft202012Validator(schema, format_checker=checker).validate(json.loads(result["text"]))
        except Exception as error:
            print(f"schema {i}: {json.dumps(schema)}\n  output: {result['text']!r} ({result['finish_reason']})\n"
                  f"  {type(error).__name__}: {str(error).splitlines()[0]}")
            wrong += 1
    print(f"{args.count} schemas, seed {args.seed}: {wrong} wrong, {refused} that nothing satisfies, "
          f"{unfinished} ended by the number of tokens")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
