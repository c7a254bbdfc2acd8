"""Writes whimbrel/_abi.py from bindings/whimbrel.abi.json: constants, structs, callbacks, functions.

The description is made from the C header (WB_BLESS=1 cargo test --test header); a test runs this again and fails when
the committed file differs, and another compares the layout of every struct in C, Rust and ctypes.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
DESCRIPTION = HERE.parent / "whimbrel.abi.json"
TARGET = HERE / "whimbrel" / "_abi.py"

SCALARS = {
    "void": "None", "char": "c_char", "uint8_t": "c_uint8", "int8_t": "c_int8", "uint16_t": "c_uint16",
    "int16_t": "c_int16", "uint32_t": "c_uint32", "int32_t": "c_int32", "uint64_t": "c_uint64", "int64_t": "c_int64",
    "size_t": "c_size_t", "ptrdiff_t": "c_ssize_t",
}


class Generator:
    def __init__(self, description):
        self.description = description
        self.aliases = {a["name"]: a["type"] for a in description["aliases"]}

    def named(self, base):
        while base in self.aliases:
            base = self.aliases[base]
        return SCALARS.get(base, base)

    def type(self, text):
        """The ctypes name of a C type."""
        words = text.replace("*", " * ").split()
        stars = words.count("*")
        base = next(w for w in words if w not in ("const", "struct", "*"))
        if stars == 0:
            return self.named(base)
        if base == "sockaddr":
            return "c_void_p"
        if base == "void":
            return "c_void_p" if stars == 1 else "POINTER(c_void_p)"
        if base == "char":
            return "c_char_p" if stars == 1 else "POINTER(c_char_p)"
        if base == "uint8_t" and "const" in words:
            return "c_void_p"
        return "POINTER(" * stars + self.named(base) + ")" * stars

    def arguments(self, parameters):
        return ", ".join(self.type(p["type"]) for p in parameters)

    def struct(self, kind):
        lines = ["", "", f"class {kind['name']}(Structure):", "    _fields_ = ["]
        for field in kind["fields"]:
            count = f" * {field['count']}" if "count" in field else ""
            lines.append(f'        ("{field["name"]}", {self.type(field["type"])}{count}),')
        return [*lines, "    ]"]

    def callback(self, kind):
        # A callback's text has a length and no terminator: it arrives as an address.
        arguments = self.arguments(kind["parameters"]).replace("c_char_p", "c_void_p")
        return f"{kind['name']} = CFUNCTYPE({self.type(kind['result'])}, {arguments})"

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
        for constant in self.description["constants"]:
            if constant["value"] != "((size_t)-1)":  # texts from Python always have a length
                out.append(f"{constant['name']} = {int(constant['value'], 0)}")
        # Some callbacks get structs, and some structs have callbacks: those that stand for themselves come first.
        callbacks = [self.callback(kind) for kind in self.description["callbacks"]]
        out += ["", *(line for line in callbacks if "POINTER(wb_" not in line)]
        for kind in self.description["structs"]:
            out += self.struct(kind)
        out += ["", "", *(line for line in callbacks if "POINTER(wb_" in line)]
        out += ["", "#: name -> (result, arguments)", "FUNCTIONS = {"]
        for function in self.description["functions"]:
            arguments = self.arguments(function["parameters"])
            out.append(f'    "{function["name"]}": ({self.type(function["result"])}, [{arguments}]),')
        return "\n".join([*out, "}", ""])


def describe():
    return json.loads(DESCRIPTION.read_text())


def generate():
    return Generator(describe()).write()


if __name__ == "__main__":
    TARGET.write_text(generate())
    sys.stdout.write(f"wrote {TARGET.name}\n")
