#!/usr/bin/env python3
"""Gives the comments of nibble.h the marks that Doxygen looks for: the header itself is written for people.

A comment before a declaration becomes /** */, one that follows a field or constant on its line /**< */, a section's heading a group.
What the header's rules say once for all - destroy functions, INIT macros, struct_size, user pointers - is repeated where it stands.
"""
import re
import sys

CONVENTIONS = (
    (r"^(NBL_API void nbl_\w+_destroy\()", "/** Ends the handle; NULL is accepted. The order in which handles end is free. */"),
    (r"^(#define NBL_\w+_INIT\b)", "/** Every field at its default, struct_size filled in. */"),
    (r"^(  uint32_t struct_size;)$", "/** sizeof the struct; the INIT macro fills it in. */"),
    (r"^(  u?int32_t reserved;)$", "/** Must be 0. */"),
    (r"^(  void\* (?:\w+_)?user;)$", "/** Passed to the functions. */"),
    (r"^(  nbl_deallocate_fn deallocate;)$", "/** Takes what allocate gave. */"),
)


def conventions(text):
    lines = text.split("\n")
    out = []
    for index, line in enumerate(lines):
        documented = index > 0 and lines[index - 1].rstrip().endswith("*/") and not lines[index - 1].startswith("/** @")
        for pattern, sentence in CONVENTIONS:
            if re.match(pattern, line) and not (documented and "/**<" not in lines[index - 1]):
                out.append(sentence)
        out.append(line)
    return "\n".join(out)


def marked(text):
    out, section = [], False
    for piece in re.split(r"(/\*.*?\*/)", text, flags=re.S):
        if not piece.startswith("/*"):
            out.append(piece)
            continue
        before = "".join(out).rsplit("\n", 1)[-1]
        heading = re.match(r"/\* =+\s*\* (\d+)\. ([^\n]*)\n(.*?)=+ \*/", piece, flags=re.S)
        if heading:
            number, title, rest = heading.groups()
            prose = re.sub(r"\n \* ?", "\n", "\n" + rest).strip(" *\n")
            out.append(("/** @} */\n" if section else "") + f"/** @defgroup section{number} {number}. {title}\n{prose}\n@{{ */")
            section = True
        elif before.strip():
            out.append("/**< " + piece[3:])
        elif not out or "NIBBLE_H" in piece:
            out.append("/** @file\n@verbatim\n" + re.sub(r"\n \* ?", "\n", piece[3:-2]) + "\n@endverbatim */")
        else:
            out.append("/** " + piece[3:])
    result = "".join(out)
    if section:  # the last group ends before what ends the header
        at = result.rindex("#ifdef __cplusplus")
        result = result[:at] + "/** @} */\n" + result[at:]
    return conventions(result)


if __name__ == "__main__":
    sys.stdout.write(marked(open(sys.argv[1], encoding="utf-8").read()))
