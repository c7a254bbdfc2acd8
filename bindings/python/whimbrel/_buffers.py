"""Memory that Python and the library share without a copy, in both directions.

Lent: bytes of a Python object that the library reads while it sends them. The object stays exported (so a bytearray
cannot be resized under the library) until the loan ends, and the loan is revoked before the export ends, so no thread of
the library reads the memory afterwards: not when the object is collected, not when the interpreter exits.
Received: a read-only memoryview of the library's memory, which lives as long as any view of it, whatever happens to
connection, client and engine.
"""
from __future__ import annotations

import ctypes
import sys
import weakref
from typing import List, Optional

from . import _abi
from ._library import check, lib, new_handle

#: Below this a copy is cheaper than a loan.
WORTH_LENDING = 32 * 1024
#: Received pieces taken with one call.
BATCH = 16


class _Export(ctypes.Structure):
    """CPython's Py_buffer (part of its stable ABI)."""

    _fields_ = [
        ("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", ctypes.c_ssize_t), ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int), ("ndim", ctypes.c_int), ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p), ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p),
    ]


if sys.implementation.name == "cpython":
    _get = ctypes.pythonapi.PyObject_GetBuffer
    _get.restype, _get.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.POINTER(_Export), ctypes.c_int]
    _release = ctypes.pythonapi.PyBuffer_Release
    _release.restype, _release.argtypes = None, [ctypes.POINTER(_Export)]
else:
    _get = _release = None


def _end_loan(handle: int, export: _Export) -> None:
    # What is still to be sent is copied; without memory for that its streams are reset. After either, nobody reads.
    if lib.wb_buf_revoke(handle, _abi.WB_REVOKE_COPY) != _abi.WB_OK:
        lib.wb_buf_revoke(handle, _abi.WB_REVOKE_RESET)
    lib.wb_handle_release(handle)
    _release(ctypes.byref(export))


class Lent:
    """A loan of an object's bytes. ``close`` ends it; so do collection and the end of the interpreter."""

    def __init__(self, data) -> None:
        export = _Export()
        _get(data, ctypes.byref(export), 0)  # PyBUF_SIMPLE; raises BufferError for memory in pieces
        try:
            handle = new_handle(lib.wb_buf_wrap, export.buf, export.len, _abi.wb_release_fn(), None)
        except BaseException:
            _release(ctypes.byref(export))
            raise
        self.handle = handle
        self.len = export.len
        self.close = weakref.finalize(self, _end_loan, handle, export)

    @staticmethod
    def worth(data) -> bool:
        """Whether lending beats copying, and can be done here."""
        return _get is not None and len(data) >= WORTH_LENDING

    def rest(self, start: int) -> int:
        """A handle of the bytes from ``start`` on; the caller releases it."""
        return new_handle(lib.wb_buf_slice, self.handle, start, self.len - start)


def received(handle: int) -> memoryview:
    """A read-only view of a received buffer; takes over the handle, which goes when the last view goes."""
    data, size = ctypes.c_void_p(), ctypes.c_size_t()
    try:
        check(lib.wb_buf_view(handle, ctypes.byref(data), ctypes.byref(size)))
    except BaseException:
        lib.wb_handle_release(handle)
        raise
    if not size.value:
        lib.wb_handle_release(handle)
        return memoryview(b"")
    memory = (ctypes.c_ubyte * size.value).from_address(data.value)
    # Not at exit: views may be used by what runs after our finalisers. The process ends anyway.
    weakref.finalize(memory, lib.wb_handle_release, handle).atexit = False
    return memoryview(memory).toreadonly().cast("B")


def next_received(stream: int, fin: "ctypes.c_uint8") -> Optional[List[memoryview]]:
    """The next received pieces of a stream without a copy; None when there are none now. ``fin`` is set at the end."""
    handles, count = (ctypes.c_uint64 * BATCH)(), ctypes.c_size_t()
    status = lib.wb_stream_recv(stream, handles, BATCH, ctypes.byref(count), ctypes.byref(fin))
    if status == _abi.WB_E_WOULD_BLOCK:
        return None
    if status == _abi.WB_E_FINISHED:
        fin.value = 1
        return None
    check(status)
    return [received(handle) for handle in handles[: count.value]]
