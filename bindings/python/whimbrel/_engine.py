"""A runtime with a queue, and the dispatch of its events to Python objects by connection.

Events are decoded from the batch's memory at once; no address leaves this file. An engine is used from one thread at a
time, except for ``wake``, which any thread may call.
"""
from __future__ import annotations

import atexit
import ctypes
import functools
import os
import struct
import weakref
from typing import Callable, Dict, List, NamedTuple, Optional

from . import _abi, _diagnostics
from ._library import check, lib, new_handle, sized
from ._outbox import Outbox

#: kind, flags, conn, stream, path, a, b, data, data_len of a wb_event.
_EVENT = struct.Struct("=4xHHQQQ8xQQ24xQQ")
assert _EVENT.size == ctypes.sizeof(_abi.wb_event)

_live: "weakref.WeakSet[Engine]" = weakref.WeakSet()


class Event(NamedTuple):
    kind: int
    flags: int
    conn: int
    stream: int
    path: int
    a: int
    b: int
    data: bytes


Listener = Callable[[Event], None]
#: Connection, stream, flags, status, payload (fields and body) and the length of the fields in it.
Taker = Callable[[int, int, int, int, bytes, int], None]

_take, _return = lib.wb_queue_take, lib.wb_queue_return
_string_at = ctypes.string_at
_MESSAGE = _abi.WB_EV_H3_MESSAGE
#: Events of one batch at most: then others may run, and answer what it has brought.
BATCH = 64


@functools.lru_cache
def _layout(stride: int) -> struct.Struct:
    """Events of a library that may know more fields."""
    return struct.Struct(f"{_EVENT.format}{stride - _EVENT.size}x")


class Engine:
    """Owns a runtime and its queue."""

    def __init__(self, workers: int = 1) -> None:
        config = new_handle(lib.wb_config_new, _abi.WB_CONFIG_RUNTIME)
        try:
            check(lib.wb_config_set_u64(config, _abi.WB_KEY_WORKERS, workers))
            self.runtime = new_handle(lib.wb_runtime_open, config)
        finally:
            lib.wb_handle_release(config)
        self.queue = new_handle(lib.wb_queue_open, self.runtime)
        self.listeners: Dict[int, Listener] = {}
        #: Gets events of connections that nobody listens to yet: a server's new ones.
        self.default: Optional[Listener] = None
        #: Get whole messages, by connection (for configurations with ``http3.whole_messages``).
        self.messages: Dict[int, Taker] = {}
        self.default_taker: Optional[Taker] = None
        #: More than one when a listener pumps.
        self._batches: List[tuple] = []
        #: Whole messages on their way out.
        self.outbox = Outbox()
        self.closed = False
        self._pid = os.getpid()
        _live.add(self)

    def fd(self) -> int:
        """A descriptor that is readable while events wait."""
        out = ctypes.c_ssize_t()
        check(lib.wb_queue_fd(self.queue, ctypes.byref(out)))
        return out.value

    def wake(self) -> None:
        """Makes a waiting ``pump`` return. Any thread."""
        lib.wb_queue_wake(self.queue)

    def pump(self, timeout: float = 0.0) -> bool:
        """Takes one batch and hands its events out; waits up to ``timeout`` seconds for it. True when there was one."""
        batch, reference = self._batches.pop() if self._batches else self._new_batch()
        nanos = -1 if timeout < 0 else int(timeout * 1e9)
        status = _take(self.queue, reference, BATCH, nanos)
        if status:
            self._batches.append((batch, reference))
            if status in (_abi.WB_E_WOULD_BLOCK, _abi.WB_E_TIMEOUT):
                return False
            check(status)
        messages, listeners = self.messages, self.listeners
        try:
            stride = batch.stride
            raw = _string_at(batch.events, batch.count * stride)
            layout = _EVENT if stride == _EVENT.size else _layout(stride)
            for kind, flags, conn, stream, path, a, b, data, size in layout.iter_unpack(raw):
                if kind == _MESSAGE:
                    taker = messages.get(conn, self.default_taker)
                    if taker is not None:
                        taker(conn, stream, flags, a, _string_at(data, size), b)
                    continue
                listener = listeners.get(conn, self.default)
                if listener is not None:
                    payload = _string_at(data, size) if size else b""
                    listener(Event(kind, flags, conn, stream, path, a, b, payload))
        finally:
            _return(self.queue, reference)
            self._batches.append((batch, reference))
        return True

    @staticmethod
    def _new_batch():
        batch = sized(_abi.wb_batch)
        return batch, ctypes.byref(batch)

    def close(self, patience: float = 2.0) -> None:
        """Ends the runtime and gives its handles back. Idempotent."""
        if self.closed:
            return
        self.closed = True
        _live.discard(self)
        if os.getpid() != self._pid:
            return  # a forked child: the threads are the parent's
        lib.wb_runtime_close(self.runtime, _abi.WB_CLOSE_NOW)
        lib.wb_runtime_wait(self.runtime, int(patience * 1e9))
        lib.wb_handle_release(self.queue)
        lib.wb_handle_release(self.runtime)
        _diagnostics.forget(self.runtime)

    def __del__(self) -> None:
        if not getattr(self, "closed", True):
            self.close(0.0)


@atexit.register
def _end_all() -> None:
    """Before the interpreter goes: no library thread may run Python code afterwards."""
    for engine in list(_live):
        if os.getpid() == engine._pid:
            lib.wb_runtime_mute(engine.runtime, int(1e9))
        engine.close(0.5)
