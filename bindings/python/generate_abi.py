#!/usr/bin/env python3
"""Writes nibble/_abi.py, the ctypes declarations, from include/nibble/nibble.h.

    generate_abi.py            write the file
    generate_abi.py --check    exit with 1 when the file is not what the header says
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
HEADER = HERE.parent.parent / "include" / "nibble" / "nibble.h"
OUTPUT = HERE / "nibble" / "_abi.py"

SCALARS = {
    "void": "None", "char": "ctypes.c_char", "int32_t": "ctypes.c_int32", "uint32_t": "ctypes.c_uint32",
    "int64_t": "ctypes.c_int64", "uint64_t": "ctypes.c_uint64", "size_t": "ctypes.c_size_t", "float": "ctypes.c_float",
    "double": "ctypes.c_double", "nbl_status": "ctypes.c_int32",
}

# ctypes cuts integers that are too large to their low bits; a caller's mistake must not become another number.
CHECKED = {"ctypes.c_int32": "_Int32", "ctypes.c_uint32": "_UInt32", "ctypes.c_int64": "_Int64", "ctypes.c_size_t": "_Size"}
CHECKS = '''
class _Struct(ctypes.Structure):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if isinstance(value, int) and getattr(self, name) != value:
            raise OverflowError(f"{name}: {value} does not fit")


def _checked(kind):
    class Checked(kind):
        @classmethod
        def from_param(cls, value):
            number = value.__index__() if hasattr(value, "__index__") else value
            converted = kind(number)
            if converted.value != number:
                raise OverflowError(f"{number} does not fit into {kind.__name__[2:]}")
            return converted

    return Checked


_Int32, _UInt32, _Int64, _Size = map(_checked, (ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_size_t))
'''


class Header:
    def __init__(self, text):
        text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        text = re.sub(r"//[^\n]*", " ", text)
        self.macros = [(n, int(v)) for n, v in re.findall(r"#define (NBL_\w+) (\d+)\s*$", text, flags=re.M)]
        text = re.sub(r"\\\n", " ", text)
        text = re.sub(r"^\s*#.*$", " ", text, flags=re.M)
        self.constants, self.handles, self.structs, self.callbacks, self.functions = [], [], [], [], []
        for body in re.findall(r"\benum\s*\{(.*?)\}\s*;", text, flags=re.S):
            for item in filter(None, (part.strip() for part in body.split(","))):
                name, value = (part.strip() for part in item.split("="))
                self.constants.append((name, int(value)))
        for name in re.findall(r"typedef struct (nbl_\w+) \1\s*;", text):
            self.handles.append(name)
        for ret, name, args in re.findall(r"typedef ([\w\s\*]+?)\(\*(nbl_\w+)\)\((.*?)\)\s*;", text, flags=re.S):
            self.callbacks.append((name, ret.strip(), self.parameters(args)))
        for name, body in re.findall(r"typedef struct (nbl_\w+)\s*\{(.*?)\}\s*\1\s*;", text, flags=re.S):
            fields = [self.parameter(f) for f in body.split(";") if f.strip()]
            self.structs.append((name, fields))
        for ret, name, args in re.findall(r"NBL_API ([\w\s\*]+?)\b(nbl_\w+)\((.*?)\)\s*;", text, flags=re.S):
            self.functions.append((name, ret.strip(), self.parameters(args)))

    @staticmethod
    def parameter(text):
        match = re.fullmatch(r"\s*(.*?[\s\*])(\w+)\s*", text, flags=re.S)
        if not match:
            raise SystemExit(f"nibble.h: cannot read the parameter {text!r}")
        return match.group(2), " ".join(match.group(1).split()).replace(" *", "*")

    def parameters(self, text):
        return [] if text.strip() == "void" else [self.parameter(p) for p in text.split(",")]

    def ctype(self, c, raw_text=False):
        base = re.sub(r"\bconst\b", "", c).strip()
        stars = base.count("*")
        base = base.replace("*", "").strip()
        if base == "char" and stars:
            kind = "ctypes.POINTER(ctypes.c_char)" if raw_text else "ctypes.c_char_p"
            stars -= 1
        elif base == "void" and stars:
            kind = "ctypes.c_void_p"
            stars -= 1
        elif base in SCALARS:
            kind = SCALARS[base]
        elif base in self.handles or base in (n for n, _ in self.structs) or base in (n for n, _, _ in self.callbacks):
            kind = base
        else:
            raise SystemExit(f"nibble.h: the type {c!r} is not known to generate_abi.py")
        for _ in range(stars):
            kind = f"ctypes.POINTER({kind})"
        return kind

    def callback_types(self, parameters):
        # Text that comes with its size may hold NUL and is not ended by one: it is passed as a pointer, not as bytes.
        kinds = []
        for index, (_, c) in enumerate(parameters):
            sized = index + 1 < len(parameters) and parameters[index + 1][1] == "size_t"
            kinds.append(self.ctype(c, raw_text=sized))
        return kinds


def generate():
    h = Header(HEADER.read_text())
    out = ['"""The C interface, as include/nibble/nibble.h declares it. Written by generate_abi.py; do not edit."""',
           "import ctypes", ""]
    out += [f"{name} = {value}" for name, value in h.macros]
    out.append("")
    out += [f"{name} = {value}" for name, value in h.constants]
    for name in h.handles:
        out += ["", "", f"class {name}(ctypes.Structure):", "    pass"]
    # A struct may be named in a callback's type, and hold callbacks: declare first, give fields after.
    out += ["", "", *CHECKS.strip("\n").split("\n")]
    for name, _ in h.structs:
        out += ["", "", f"class {name}(_Struct):", "    pass"]
    out += ["", ""]
    for name, ret, parameters in h.callbacks:
        out.append(f"{name} = ctypes.CFUNCTYPE({', '.join([h.ctype(ret)] + h.callback_types(parameters))})")
    for name, fields in h.structs:
        out.append(f"{name}._fields_ = [")
        out += [f'    ("{field}", {h.ctype(c)}),' for field, c in fields]
        out.append("]")
    out += ["", "FUNCTIONS = {"]
    for name, ret, parameters in h.functions:
        kinds = ", ".join(CHECKED.get(h.ctype(c), h.ctype(c)) for _, c in parameters)
        out.append(f'    "{name}": ({h.ctype(ret)}, [{kinds}]),')
    out += ["}", "", "", "def declare(library):", '    """Gives every function of the loaded library its types."""',
            "    for name, (result, arguments) in FUNCTIONS.items():", "        function = getattr(library, name)",
            "        function.restype = result", "        function.argtypes = arguments", "    return library", ""]
    return "\n".join(out)


def main():
    text = generate()
    if "--check" in sys.argv[1:]:
        if not OUTPUT.exists() or OUTPUT.read_text() != text:
            print("bindings/python/nibble/_abi.py does not match nibble.h; run bindings/python/generate_abi.py")
            return 1
        return 0
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
