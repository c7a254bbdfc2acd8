"""Writes whimbrel/_abi.py from include/whimbrel.h: constants, structs, callbacks, functions.

The header is the only truth; a test runs this again and fails when the committed file differs.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
HEADER = HERE.parent.parent / "include" / "whimbrel.h"
TARGET = HERE / "whimbrel" / "_abi.py"

SCALARS = {
    "void": "None", "char": "c_char", "uint8_t": "c_uint8", "int8_t": "c_int8", "uint16_t": "c_uint16",
    "int16_t": "c_int16", "uint32_t": "c_uint32", "int32_t": "c_int32", "uint64_t": "c_uint64", "int64_t": "c_int64",
    "size_t": "c_size_t", "ptrdiff_t": "c_ssize_t",
}


def strip(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S)


class Reader:
    def __init__(self, text):
        self.raw = text
        inline = text.index("#ifndef WHIMBREL_H_INLINE")
        self.code = strip(text[:inline])
        self.aliases = {}
        self.structs = {}
        self.callbacks = {}
        self.functions = []
        self.constants = []
        self.read()

    def read(self):
        for name, value in re.findall(r"^#define (WB_\w+) (.+)$", self.code, re.M):
            value = value.strip()
            if value == "((size_t)-1)":
                continue  # texts from Python always have a length
            if re.fullmatch(r"-?(0x[0-9A-Fa-f]+|\d+)", value):
                self.constants.append((name, value))
            else:
                raise SystemExit(f"cannot read the constant {name} = {value}")
        for target, name in re.findall(r"^typedef (\w+) (wb_\w+);", self.code, re.M):
            self.aliases[name] = target
        for result, name, args in re.findall(r"^typedef (\w+) \(\*(wb_\w+)\)\((.*?)\);", self.code, re.M | re.S):
            self.callbacks[name] = (result, args)
        for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (wb_\w+);", self.code, re.S):
            self.structs[name] = [self.field(f) for f in body.split(";") if f.strip()]
        block = self.code[self.code.index('extern "C"'):]
        for result, name, args in re.findall(r"^([\w ]+?[ *]+)(wb_\w+)\((.*?)\);", block, re.M | re.S):
            self.functions.append((name, result.strip(), self.args(args)))

    def field(self, text):
        m = re.fullmatch(r"(.+?)(\w+)(?:\[(\d+)\])?", text.strip(), re.S)
        return m.group(2), self.type(m.group(1)) + (f" * {m.group(3)}" if m.group(3) else "")

    def args(self, text):
        text = " ".join(text.split())
        if text == "void":
            return []
        return [self.type(re.fullmatch(r"(.+?)\w+", a.strip()).group(1)) for a in text.split(",")]

    def type(self, text):
        stars = text.count("*")
        base = re.sub(r"\bconst\b|\bstruct\b|\*", " ", text).split()
        base = base[0]
        if base == "sockaddr":
            return "c_void_p"
        if stars:
            inner = self.named(base)
            if base == "void":
                return "c_void_p" if stars == 1 else "POINTER(c_void_p)"
            if base == "char":
                return "c_char_p" if stars == 1 else "POINTER(c_char_p)"
            if base == "uint8_t" and "const" in text:
                return "c_void_p"
            for _ in range(stars):
                inner = f"POINTER({inner})"
            return inner
        return self.named(base)

    def named(self, base):
        while base in self.aliases:
            base = self.aliases[base]
        if base in SCALARS:
            return SCALARS[base]
        return base

    def write(self):
        out = [
            '"""Constants, structs and functions of include/whimbrel.h. Made by generate.py: do not edit."""',
            "# ruff: noqa",
            "from ctypes import (",
            "    CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int8, c_int16, c_int32, c_int64, c_size_t, c_ssize_t,",
            "    c_uint8, c_uint16, c_uint32, c_uint64, c_void_p,",
            ")",
            "",
        ]
        out += [f"{name} = {value}" for name, value in self.constants]
        for name, fields in self.structs.items():
            out += ["", "", f"class {name}(Structure):", "    _fields_ = ["]
            out += [f'        ("{field}", {kind}),' for field, kind in fields]
            out += ["    ]"]
        out += ["", ""]
        for name, (result, args) in self.callbacks.items():
            kinds = ", ".join([self.named(result), *self.args(args)])
            # A callback's text has a length and no terminator: it arrives as an address.
            out.append(f"{name} = CFUNCTYPE({kinds.replace('c_char_p', 'c_void_p')})")
        out += ["", "#: name -> (result, arguments)", "FUNCTIONS = {"]
        for name, result, args in self.functions:
            out.append(f'    "{name}": ({self.type(result)}, [{", ".join(args)}]),')
        out += ["}", ""]
        return "\n".join(out)


def generate():
    return Reader(HEADER.read_text()).write()


if __name__ == "__main__":
    TARGET.write_text(generate())
    sys.stdout.write(f"wrote {TARGET.name}\n")
