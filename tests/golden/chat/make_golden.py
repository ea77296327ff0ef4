#!/usr/bin/env python3
"""Makes golden.json: what jinja2, in the environment that transformers renders chat templates in, gives for the templates of
cases.py, and what apply_chat_template gives for the conversations below with the templates beside this file.

    make_golden.py        needs transformers (made with 5.24, jinja2 3.1.6)
"""
import json
import pathlib

from cases import EXPRESSIONS, FAILURES, STATEMENTS, VALUES

HERE = pathlib.Path(__file__).resolve().parent

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather <of> a \"place\" & ünicode",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "enum": ["Oslo", "Köln"]}, "days": {"type": "integer", "default": 3},
            "at": {"type": "array", "items": {"type": ["number", "null"]}}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "1", "type": "function", "function": {
    "name": "get_weather", "arguments": {"city": "Köln", "days": 2, "x": None, "f": 1.5e-7}}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


SYSTEM = {"role": "system", "content": "You are terse.  "}
CONVERSATIONS = {
    "one": [user(" Hello \n")],
    "system": [SYSTEM, user("Hi"), assistant("Hey"), user("Bye")],
    "turns": [user("a"), assistant("b"), user("c"), assistant(" d\n"), user("e")],
    "tools": [SYSTEM, user("weather?"), assistant("", tool_calls=[CALL]),
              {"role": "tool", "name": "get_weather", "content": "{\"t\": 3}"}, {"role": "tool", "content": "more"},
              assistant("It is 3."), user("thanks")],
    "two_calls": [user("w"), assistant("x", tool_calls=[CALL, CALL]), {"role": "tool", "content": "r"}],
    "reasoning": [user("q"), assistant("answer", reasoning_content=" because "), user("q2"), assistant("final", reasoning="z")],
    "null_content": [user("q"), {"role": "assistant", "content": None, "tool_calls": [CALL]}],
    "continue": [user("Write"), assistant("Once upon a ")],
    "continue_spaces": [user("Write"), assistant("  Once upon a\n\n")],
    "unicode": [user("日本語 \u00a0 <|im_end|> 😀"), assistant("ok"), user("")],
    "wrong_order": [assistant("x"), user("y")],
    "blocks": [user([{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": "two"}])],
}
SETTINGS = [{}, {"add_generation_prompt": True}, {"continue_final_message": True},
            {"add_generation_prompt": True, "quiet": True, "date_string": "2 Feb"}]


def outcome(render):
    try:
        return {"text": render()}
    except Exception:  # noqa: BLE001: whatever it is, both must refuse
        return {"error": True}


def tokenizer_of(template, specials):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **specials)
    tokenizer.chat_template = template
    return tokenizer


def chats(template, specials):
    """(conversation, with tools, settings, outcome) of every combination."""
    tokenizer = tokenizer_of(template, specials)
    for name, conversation in CONVERSATIONS.items():
        for tools in (None, TOOLS):
            for settings in SETTINGS:
                yield name, tools is not None, settings, outcome(lambda: tokenizer.apply_chat_template(
                    json.loads(json.dumps(conversation)), tools=tools, tokenize=False, **settings))


def main():
    from transformers.utils.chat_template_utils import _compile_jinja_template as compiled
    templates = ["{{ " + e + " }}" for e in EXPRESSIONS] + STATEMENTS
    rendered = [{"template": t, **outcome(lambda t=t: compiled(t).render(**VALUES))} for t in templates]
    assert not [r for r in rendered if "error" in r], [r["template"] for r in rendered if "error" in r]
    for template, _ in FAILURES:
        assert "error" in outcome(lambda: compiled(template).render(**VALUES)), template
    specials = {"bos_token": "<s>", "eos_token": "</s>"}
    conversations = []
    for path in sorted((HERE / "templates").glob("*.jinja")):
        for name, with_tools, settings, out in chats(path.read_text(), specials):
            conversations.append({"template": path.name, "conversation": name, "tools": with_tools, "settings": settings, **out})
    golden = {"values": VALUES, "rendered": rendered, "failures": [{"template": t, "words": w} for t, w in FAILURES],
              "specials": specials, "tools": TOOLS, "conversations": CONVERSATIONS, "chats": conversations}
    (HERE / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
