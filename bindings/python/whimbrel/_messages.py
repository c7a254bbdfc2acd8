"""Requests, responses and their fields."""
from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Iterable, Iterator, List, Optional, Tuple, Union

from . import _abi
from ._library import check, lib

Fields = Iterable[Tuple[str, str]]
Body = Union[bytes, bytearray, memoryview]


class Headers:
    """Fields in their order. Looking up is by lower-case name and gives the first value."""

    def __init__(self, items: Fields = ()) -> None:
        self._items: List[Tuple[str, str]] = [(name.lower(), value) for name, value in items]

    def __getitem__(self, name: str) -> str:
        for key, value in self._items:
            if key == name.lower():
                return value
        raise KeyError(name)

    def get(self, name: str, default: Optional[str] = None) -> Optional[str]:
        """First value of a field, or ``default``."""
        try:
            return self[name]
        except KeyError:
            return default

    def get_all(self, name: str) -> List[str]:
        """Every value of a field."""
        return [value for key, value in self._items if key == name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[Tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Headers({self._items!r})"


@dataclass
class Response:
    """A response: received by a client, or returned by a server's handler."""

    status: int
    headers: Headers = field(default_factory=Headers)
    body: Body = b""
    trailers: Headers = field(default_factory=Headers)
    #: Interim responses (1xx) that came before.
    interim: List["Response"] = field(default_factory=list)
    #: The body as read-only views of received memory, when the request asked for them (``views=True``); ``body`` is
    #: empty then. They stay valid after client and connection are gone.
    views: List[memoryview] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.headers, Headers):
            self.headers = Headers(self.headers)
        if not isinstance(self.trailers, Headers):
            self.trailers = Headers(self.trailers)

    def text(self, encoding: str = "utf-8") -> str:
        """The body as text."""
        return bytes(self.body).decode(encoding)

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


@dataclass
class Request:
    """A request as a server's handler sees it, with its whole body."""

    method: str
    path: str
    authority: str
    scheme: str
    headers: Headers
    body: bytes
    #: Address of the client as "IP:port".
    peer: str
    trailers: Headers = field(default_factory=Headers)
    #: Some of it came as early data (0-RTT).
    early: bool = False
    #: It came as early data, and the client has not completed its handshake yet: it may be a replay. What must not happen
    #: twice is answered with ``Response(425)`` (RFC 8470 section 5.2); our client then asks again after the handshake.
    may_be_replay: bool = False

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}, {len(self.body)} bytes>"


def field_array(items: Iterable[Tuple[str, str]]):
    """A C array of fields, and what must stay alive while it is used."""
    encoded = [(name.encode("ascii"), value.encode("utf-8")) for name, value in items]
    array = (_abi.wb_field * len(encoded))()
    for slot, (name, value) in zip(array, encoded):
        slot.name, slot.name_len, slot.value, slot.value_len = name, len(name), value, len(value)
    return array, encoded


def received_fields(stream: int, section: int) -> List[Tuple[str, str]]:
    """Fields of a received section; empty when there is none."""
    room, count = 64, ctypes.c_size_t()
    while True:
        array = (_abi.wb_field * room)()
        status = lib.wb_h3_fields(stream, section, array, room, ctypes.byref(count))
        if status == _abi.WB_E_WOULD_BLOCK:
            return []
        check(status)
        if count.value <= room:
            break
        room = count.value
    return [(f.name.decode("utf-8", "replace"), f.value.decode("utf-8", "replace")) for f in array[: count.value]]


def split(items: List[Tuple[str, str]]) -> Tuple[dict, Headers]:
    """Pseudo-fields and the others."""
    return {k: v for k, v in items if k.startswith(":")}, Headers((k, v) for k, v in items if not k.startswith(":"))
