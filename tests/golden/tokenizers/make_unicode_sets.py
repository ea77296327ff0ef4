#!/usr/bin/env python3
"""Writes src/text/unicode_sets.inc: the characters that the `tokenizers` package (0.23.3) treats in a way that follows an older
(Unicode 8) or newer (Unicode 17) edition of the character database than libutf8proc's (15.0).

    python3 make_unicode_sets.py > ../../../src/text/unicode_sets.inc
"""
import ctypes

from tokenizers import normalizers, pre_tokenizers

lib = ctypes.CDLL("libutf8proc.so.2")
lib.utf8proc_tolower.argtypes = [ctypes.c_int32]
lib.utf8proc_tolower.restype = ctypes.c_int32
lib.utf8proc_map.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]
lib.utf8proc_map.restype = ctypes.c_ssize_t
libc = ctypes.CDLL(None)
points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def utf8proc(text, options):
    out = ctypes.c_void_p()
    raw = text.encode()
    n = lib.utf8proc_map(raw, len(raw), ctypes.byref(out), options)
    made = ctypes.string_at(out.value, n).decode()
    libc.free(out)
    return made


def print_set(name, comment, members):
    ranges = []
    for c in sorted(members):
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    print("// %s" % comment)
    print("constexpr CodeRange %s[] = {" % name)
    line = "   "
    for first, last in ranges:
        item = " {0x%X, 0x%X}," % (first, last)
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line + "};\n")


print("// Made by tests/golden/tokenizers/make_unicode_sets.py.\n")
punctuation = set()
split = pre_tokenizers.Punctuation("removed")
for i in range(0, len(points), 4096):
    chunk = points[i:i + 4096]
    kept = set()
    for piece, _ in split.pre_tokenize_str("".join(map(chr, chunk))):
        kept.update(map(ord, piece))
    punctuation.update(c for c in chunk if c not in kept)
print_set("kPunctuationSet", "What the pre-tokenizers Punctuation and BertPreTokenizer split at.", punctuation)
accents = normalizers.StripAccents()
print_set("kStrippedMarks", "What the normalizer StripAccents takes away.",
          [c for c in points if accents.normalize_str("a%sb" % chr(c)) == "ab"])
bert = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
print_set("kBertMarks", "What BertNormalizer takes away as accents.", [c for c in points if bert.normalize_str("a%sb" % chr(c)) == "ab"])
nfkd = normalizers.NFKD()
print_set("kUndecomposed", "What NFKC and NFKD leave as it is.",
          [c for c in points if nfkd.normalize_str("a%sb" % chr(c)) == "a%sb" % chr(c) != utf8proc("a%sb" % chr(c), 2 | 16 | 4)])
lower = normalizers.Lowercase()
print("// Characters with a lower case that the library does not know: first, last, difference.")
print("constexpr LowerRange kLowerAdditions[] = {")
ranges = []
for c in points:
    made = lower.normalize_str(chr(c))
    if made == chr(lib.utf8proc_tolower(c)) or len(made) != 1:
        continue
    d = ord(made) - c
    if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == d:
        ranges[-1][1] = c
    else:
        ranges.append([c, c, d])
for first, last, d in ranges:
    print("    {0x%X, 0x%X, %d}," % (first, last, d))
print("};")
