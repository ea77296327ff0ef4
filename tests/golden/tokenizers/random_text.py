"""Random strings that the C++ tests make alike (tests/unit/text/random_text.h), so that golden files need hold only hashes."""

MASK = (1 << 64) - 1


class SplitMix:
    """Steele, Lea and Flood's splitmix64."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n


# Ranges of characters, drawn from in turn: (first, last).
RANGES = [
    (0x20, 0x7E), (0x61, 0x7A), (0x61, 0x7A), (0x41, 0x5A), (0x30, 0x39), (0x21, 0x2F), (0x00, 0x1F), (0xA0, 0xFF), (0x100, 0x24F),
    (0x2B0, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF),
    (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xE000, 0xE0FF), (0xFB00, 0xFDFF), (0xFE00, 0xFFFD), (0x10000, 0x107FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF),
    (0x20000, 0x2A6DF), (0xE0000, 0xE01EF),
]
BITS = [
    " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n", "\u00a0", "\u3000", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL",
    "'Re", "\u2019s", "the", " the", "and ", " of", "ing", "Hello", " world", "123", "1999", " 42", "3.14", "0x1F", "def ", "return ",
    "():", "{", "}", "==", "!=", "...", "--", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<unk>", "<0x0A>", "\u2581", "\u2581\u2581",
    "e\u0301", "\u212b", "\ufb01", "\u00df", "\u0130", "\u017f", "'\u017f", "\U0001f469\u200d\U0001f680", "\u4f60\u597d", "\u0417\u0434",
    "\ufffd", "\ufeff", "\x00", "\u0085", "\u180e", "\u200b", "http://", "@", "#", "a_b", "CamelCase", "naïve", "İ",
]


def random_text(rng):
    parts = []
    for _ in range(1 + rng.below(24)):
        kind = rng.below(4)
        if kind == 0:
            parts.append(BITS[rng.below(len(BITS))])
        elif kind == 1 and rng.below(8) == 0:
            c = rng.below(0x110000)
            if 0xD800 <= c < 0xE000:
                c = 0xFFFD
            parts.append(chr(c))
        elif kind <= 2:
            first, last = RANGES[rng.below(len(RANGES))]
            for _ in range(1 + rng.below(4)):
                parts.append(chr(first + rng.below(last - first + 1)))
        else:
            n = 1 + rng.below(9)
            parts.append("".join(chr(0x61 + rng.below(26)) for _ in range(n)))
            if rng.below(2):
                parts.append(" ")
    return "".join(parts)
