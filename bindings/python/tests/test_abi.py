"""The declarations match the header, and their layout matches what the C compiler makes of it."""
import ctypes
import pathlib
import subprocess
import sys

from conftest import ROOT

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import generate  # noqa: E402
from whimbrel import _abi, _library  # noqa: E402


def test_declarations_are_those_of_the_description():
    assert generate.TARGET.read_text() == generate.generate(), "run bindings/python/generate.py"


def test_every_function_of_the_description_is_declared_and_exported():
    functions = generate.describe()["functions"]
    assert len(functions) >= 70
    for function in functions:
        assert len(getattr(_library.lib, function["name"]).argtypes) == len(function["parameters"])


def structs():
    return [
        kind for kind in vars(_abi).values()
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure) and kind is not ctypes.Structure
    ]


def test_layout_is_that_of_rust():
    described = {kind["name"]: kind for kind in generate.describe()["structs"]}
    assert {kind.__name__ for kind in structs()} == set(described)
    for kind in structs():
        rust = described[kind.__name__]
        assert (ctypes.sizeof(kind), ctypes.alignment(kind)) == (rust["size"], rust["align"])
        for field in rust["fields"]:
            ours = getattr(kind, field["name"])
            assert (ours.offset, ours.size) == (field["offset"], field["size"]), field["name"]


def test_layout_is_that_of_the_c_compiler(tmp_path):
    lines = ["#include <stddef.h>", "#include <stdio.h>", '#include "whimbrel.h"', "int main(void) {"]
    expected = []
    for kind in structs():
        name = kind.__name__
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        expected.append(f"{name} {ctypes.sizeof(kind)}")
        for field, _ in kind._fields_:
            lines.append(f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
            expected.append(f"{name}.{field} {getattr(kind, field).offset}")
    source = tmp_path / "layout.c"
    source.write_text("\n".join([*lines, "return 0; }"]))
    # The program only prints sizes; -Wl,--unresolved-symbols is not needed because nothing is called.
    subprocess.run(
        ["cc", "-std=c11", "-I", ROOT / "include", "-c", source, "-o", tmp_path / "layout.o"], check=True
    )
    subprocess.run(
        ["cc", tmp_path / "layout.o", "-o", tmp_path / "layout", "-L", ROOT / "build", "-lwhimbrel",
         f"-Wl,-rpath,{ROOT / 'build'}"], check=True,
    )
    got = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout.split("\n")
    assert got[:-1] == expected


def test_version_and_abi():
    import whimbrel

    assert whimbrel.version().startswith("whimbrel ")
    assert whimbrel.abi_version() >> 16 == _abi.WB_ABI_VERSION >> 16


def test_a_wrong_library_is_named_in_the_error():
    done = subprocess.run(
        [sys.executable, "-c", "import whimbrel"], capture_output=True, text=True,
        env={"WHIMBREL_LIBRARY": "/nowhere/lib.so", "PYTHONPATH": str(ROOT / "bindings" / "python")},
    )
    assert done.returncode != 0 and "/nowhere/lib.so" in done.stderr and "WHIMBREL_LIBRARY" in done.stderr
