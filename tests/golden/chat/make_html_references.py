#!/usr/bin/env python3
"""Writes src/text/html_references.inc: the named character references of HTML, as Python's html.entities lists them.

    make_html_references.py        made with Python 3.11
"""
import html.entities
import pathlib

OUT = pathlib.Path(__file__).resolve().parents[3] / "src" / "text" / "html_references.inc"


def escaped(text):
    return "".join(f"\\U{ord(c):08X}" if ord(c) > 0xFFFF else f"\\u{ord(c):04X}" if ord(c) > 0x7E else
                   {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}.get(c, c) for c in text)


def main():
    table = html.entities.html5
    entries = [f'NBL_REF("{name[:-1]}", "{escaped(text)}", {int(name[:-1] in table)})'
               for name, text in sorted(table.items(), key=lambda item: item[0][:-1].encode()) if name.endswith(";")]
    lines = ["// name, text, whether it is known without a semicolon. Made by tests/golden/chat/make_html_references.py."]
    line = ""
    for entry in entries:
        if line and len(line) + len(entry) > 236:
            lines.append(line)
            line = ""
        line += (" " if line else "") + entry
    OUT.write_text("\n".join(lines + [line]) + "\n")


if __name__ == "__main__":
    main()
