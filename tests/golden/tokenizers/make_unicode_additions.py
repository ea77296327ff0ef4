#!/usr/bin/env python3
"""Writes src/text/unicode_additions.inc: characters whose general category differs between Unicode 14.0 (Python 3.11's, and PCRE2's
in Debian 12; libutf8proc there has 15.0) and the regular expression engine inside the `tokenizers` package (0.23.3: Unicode 16.0).

    python3 make_unicode_additions.py > ../../../src/text/unicode_additions.inc
"""
import unicodedata

from tokenizers import Regex, pre_tokenizers

NAMES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co".split()
assert unicodedata.unidata_version == "14.0.0"
points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]

category = {}
for name in NAMES:
    if name in ("Cs", "Cn"):
        continue
    split = pre_tokenizers.Split(Regex(r"\p{%s}" % name), "removed")
    for i in range(0, len(points), 4096):
        chunk = points[i:i + 4096]
        kept = set()
        for piece, _ in split.pre_tokenize_str("".join(map(chr, chunk))):
            kept.update(map(ord, piece))
        for c in chunk:
            if c not in kept:
                assert c not in category
                category[c] = name

ranges = []
for c in points:
    name = category.get(c, "Cn")
    if unicodedata.category(chr(c)) == name:
        continue
    if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == name:
        ranges[-1][1] = c
    else:
        ranges.append([c, c, name])
print("// first, last, general category: where newer Unicode data than the libraries' says something else.")
print("// Made by tests/golden/tokenizers/make_unicode_additions.py.")
for first, last, name in ranges:
    print("NBL_UNICODE(0x%X, 0x%X, UTF8PROC_CATEGORY_%s)" % (first, last, name.upper()))
