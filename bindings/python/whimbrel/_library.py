"""Finds and loads the shared library, declares every function, and checks that both sides mean the same ABI."""
from __future__ import annotations

import ctypes
import ctypes.util
import os
import pathlib
import sys

from . import _abi
from ._errors import Error, FatalError, from_info, new_info


def _candidates():
    name = {"darwin": "libwhimbrel.dylib"}.get(sys.platform, "libwhimbrel.so")
    chosen = os.environ.get("WHIMBREL_LIBRARY")
    if chosen:
        yield chosen
        return  # who names a file wants that file and no other
    yield str(pathlib.Path(__file__).resolve().parent / name)
    found = ctypes.util.find_library("whimbrel")
    if found:
        yield found
    yield name if sys.platform == "darwin" else f"{name}.0"


def _load() -> ctypes.CDLL:
    tried = []
    for path in _candidates():
        try:
            return ctypes.CDLL(path)
        except OSError as e:
            tried.append(f"{path}: {e}")
    raise ImportError(
        "cannot load the whimbrel library; set WHIMBREL_LIBRARY to its file. Tried:\n  " + "\n  ".join(tried)
    )


lib = _load()
for _name, (_result, _arguments) in _abi.FUNCTIONS.items():
    try:
        _function = getattr(lib, _name)
    except AttributeError:
        raise ImportError(f"the whimbrel library is older than this package: it has no {_name}") from None
    _function.restype, _function.argtypes = _result, _arguments

_have, _want = lib.wb_abi_version(), _abi.WB_ABI_VERSION
if _have >> 16 != _want >> 16 or _have & 0xFFFF < _want & 0xFFFF:
    raise ImportError(f"the whimbrel library has ABI {_have:#x}, this package needs {_want:#x}")


def version() -> str:
    """Name and version of the loaded library."""
    return lib.wb_version_text().decode()


def abi_version() -> int:
    """ABI of the loaded library: major << 16 | minor."""
    return _have


def error_of(status: int) -> Error:
    """The detail of this thread's last call, which failed with ``status``."""
    info = new_info()
    lib.wb_last_error(ctypes.byref(info))
    if info.status != status:
        return FatalError(lib.wb_status_name(status).decode(), status)
    return from_info(info, status)


def check(status: int) -> int:
    """Raises the detail of the failed call that returned ``status``."""
    if status >= 0:
        return status
    raise error_of(status)


def new_handle(function, *arguments) -> int:
    """Calls a function whose last argument gets a handle."""
    out = ctypes.c_uint64()
    check(function(*arguments, ctypes.byref(out)))
    return out.value


def sized(kind):
    """An output struct that tells its size."""
    value = kind()
    value.struct_size = ctypes.sizeof(value)
    return value
