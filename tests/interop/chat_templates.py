#!/usr/bin/env python3
"""Chat templates against transformers: those of the shared data, and any that are named.

    chat_templates.py PYTHONPATH_OF_NIBBLE [FILE ...]

FILE: tokenizer_config.json with a chat_template, a .jinja, or a .gguf that carries one (needs the package gguf). Exit status 1
when a text differs, 77 when transformers is not installed. The conversations are those of tests/golden/chat/make_golden.py.
"""
import importlib.util
import json
import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("NIBBLE_SHARED", ROOT.parent / "shared")) / "data" / "tokenizers"
sys.path.insert(0, str(ROOT / "tests" / "golden" / "chat"))

SMALL = ROOT / "tests" / "golden" / "tokenizers" / "small" / "llama3-like.json"


def read(path):
    """(template, special tokens) of a file."""
    if path.suffix == ".gguf":
        import gguf
        fields = gguf.GGUFReader(path).fields

        def text(name):
            return bytes(fields[name].parts[fields[name].data[0]]).decode()

        def token(name):
            tokens = fields["tokenizer.ggml.tokens"]
            which = int(fields[name].parts[fields[name].data[0]][0])
            return bytes(tokens.parts[tokens.data[which]]).decode()
        return text("tokenizer.chat_template"), {k: token(f"tokenizer.ggml.{k[:3]}_token_id") for k in ("bos_token", "eos_token")}
    if path.suffix == ".jinja":
        return path.read_text(), {"bos_token": "<s>", "eos_token": "</s>"}
    config = json.loads(path.read_text())
    content = {k: v["content"] if isinstance(v, dict) else v for k, v in config.items() if k in ("bos_token", "eos_token", "pad_token")}
    return config["chat_template"], {k: v for k, v in content.items() if v}


def main(arguments):
    if not importlib.util.find_spec("transformers"):
        print("SKIPPED: the package transformers is not installed")
        return 77
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.path.insert(0, arguments[0])
    import nibble
    from make_golden import CONVERSATIONS, TOOLS, chats
    files = [pathlib.Path(a) for a in arguments[1:]] or sorted(SHARED.glob("chat-template-*/tokenizer_config.json"))
    if not files:
        print(f"SKIPPED: {SHARED} is not there; set NIBBLE_SHARED")
        return 77
    different = 0
    for path in files:
        template, specials = read(path)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "tokenizer.json").write_text(SMALL.read_text())
            (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template, **specials}))
            tokenizer = nibble.Tokenizer.open(folder)
            bad = count = refused = 0
            for name, with_tools, settings, want in chats(template, specials):
                try:
                    got = {"text": tokenizer.apply_chat_template(CONVERSATIONS[name], tools=TOOLS if with_tools else None, **settings)}
                except nibble.NibbleError as error:
                    got = {"error": True, "message": str(error)}
                count += 1
                refused += "error" in want
                if got.get("text") != want.get("text"):
                    bad += 1
                    if bad <= 3:
                        print(f"{path}: {name}, tools {with_tools}, {settings}\n  ours   {got}\n  theirs {want}")
        print(f"{path}: {count - bad} of {count} conversations equal ({refused} refused by both)")
        different += bad
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
