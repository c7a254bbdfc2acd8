"""Whole messages on their way to the library: gathered in one piece of memory, given with one call.

A call costs a lock of the connection and a wake-up of its worker, however many messages it carries; and Python's side of a
call costs more than the library's. Bodies are copied here: large ones are lent instead (``Sender``).
"""
from __future__ import annotations

import ctypes
import os
import struct
from typing import Any, Callable, List, Tuple

from . import _abi
from ._library import lib

_RECORD = struct.Struct("=QQQQQIiQ")
assert _RECORD.size == ctypes.sizeof(_abi.wb_h3_message)
_SIZE = _RECORD.size
_pack = _RECORD.pack_into
#: The stream of each.
_streams = struct.Struct("=Q48x").iter_unpack
#: Messages of one call at most: the other end should have something to do while the rest is made.
MOST = 32
#: Fields and bodies of one call at most, in bytes.
ROOM = 128 * 1024

_submit = lib.wb_h3_submit
#: Where the system has none, the worker does without.
_give_way = getattr(os, "sched_yield", lambda: None)
#: What became of a message: its owner as given to ``add``, status, stream, bytes of the body that were taken, fields, body.
Fate = Tuple[Any, int, int, int, bytes, bytes]
#: Gets messages that were not taken whole; when there was but one in the call, its error's words are at hand.
Told = Callable[[List[Fate], bool], None]


class Outbox:
    """Messages of one connection at a time."""

    def __init__(self) -> None:
        self._room: Any = None
        self.conn = 0
        self.told: Told = lambda _fates, _alone: None
        self.owners: List[Any] = []
        self._asks = False
        self._at = 0

    def _open(self) -> None:
        # Made when first needed; never resized, so that its address stays.
        self._room = bytearray(ROOM)
        self._base = ctypes.addressof((ctypes.c_char * ROOM).from_buffer(self._room))
        self._records = (_abi.wb_h3_message * MOST)()
        self._view = memoryview(self._records).cast("B")

    def add(self, conn: int, stream: int, fields: bytes, body, size: int, owner: Any, told: Told) -> None:
        """A request, with its owner, or a response, without; ``size`` is the body's. ``owner.begun(stream)`` is called for a
        request that was taken whole; ``told`` hears of what was not."""
        if self._room is None:
            self._open()
        at, count = self._at, len(self.owners)
        middle = at + len(fields)
        end = middle + size
        if count and (conn != self.conn or count == MOST or end > ROOM):
            self.flush()
            at = count = 0
            middle = len(fields)
            end = middle + size
        if end > ROOM:
            # Fields beyond any sense: the library says so.
            told([(owner, _abi.WB_E_H3, stream, 0, fields, body)], True)
            return
        self._room[at:middle] = fields
        if size:
            self._room[middle:end] = body
        base = self._base
        _pack(self._view, count * _SIZE, stream, base + at, middle - at, base + middle, size, _abi.WB_H3_DONE, 0, 0)
        self.conn, self.told, self._at = conn, told, end
        self.owners.append(owner)
        if owner is not None:
            self._asks = True

    def flush(self) -> None:
        """Gives all of them to the library."""
        owners = self.owners
        count = len(owners)
        if not count:
            return
        told = self.told
        self.owners, self._at = [], 0
        status = _submit(self.conn, self._records, count, _SIZE)
        if count == MOST:
            # More is being made. A worker on the same core should send this now, so that the other end works meanwhile.
            _give_way()
        if status == 0 and not self._asks:
            return  # responses, taken whole
        records = self._view[: count * _SIZE]
        if status == 0:
            self._asks = False
            for owner, (stream,) in zip(owners, _streams(records)):
                if owner is not None:
                    owner.begun(stream)
            return
        self._asks = False
        # Copied first: who is told may put new messages into the same memory.
        fates: List[Fate] = []
        base, room = self._base, self._room
        for owner, (stream, fields, fields_len, body, body_len, _flags, state, taken) in zip(
            owners, _RECORD.iter_unpack(records)
        ):
            if status < 0:
                state = status  # one message, or a connection that takes none: the elements were not filled in
            if state:
                fields, body = fields - base, body - base
                whole = (bytes(room[fields : fields + fields_len]), bytes(room[body : body + body_len]))
                fates.append((owner, state, stream, taken, *whole))
            elif owner is not None:
                owner.begun(stream)
        told(fates, count == 1)
