"""Requests, responses and their fields."""
from __future__ import annotations

import ctypes
from typing import Dict, Iterable, Iterator, List, Optional, Tuple, Union

from . import _abi
from ._errors import FatalError
from ._library import check, lib

Fields = Iterable[Tuple[str, str]]
Body = Union[bytes, bytearray, memoryview]


#: Received fields: text that has a zero byte behind each name and each value, and behind it anything; and its length.
Block = Tuple[bytes, int]


def lines(block: Block) -> List[Tuple[str, str]]:
    """The fields of a received block."""
    parts = block[0][: block[1]].decode("utf-8", "replace").split("\0")
    return list(zip(parts[0:-1:2], parts[1::2]))


class Headers:
    """Fields in their order. Looking up is by lower-case name and gives the first value."""

    __slots__ = ("_items", "_block")

    def __init__(self, items: Fields = ()) -> None:
        self._items: List[Tuple[str, str]] = [(name.lower(), value) for name, value in items]

    @classmethod
    def received(cls, block: Block) -> "Headers":
        """The fields of a received block but for the pseudo-fields; taken apart when they are first looked at."""
        headers = cls.__new__(cls)
        headers._block = block
        return headers

    def __getattr__(self, name: str):
        # A slot without a value: only `_items` of received fields that nobody has looked at yet.
        if name != "_items":
            raise AttributeError(name)
        self._items = [line for line in lines(self._block) if not line[0].startswith(":")]
        return self._items

    def __getstate__(self):
        return self._items

    def __setstate__(self, items) -> None:
        self._items = items

    def __getitem__(self, name: str) -> str:
        name = name.lower()
        for key, value in self._items:
            if key == name:
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


class Response:
    """A response: received by a client, or returned by a server's handler.

    ``interim`` are the responses (1xx) that came before. ``views`` is the body as read-only views of received memory, when
    the request asked for them (``views=True``); ``body`` is empty then. They stay valid after client and connection are gone.
    """

    # Fields are made into Headers, and lists made, when they are first looked at.
    __slots__ = ("status", "body", "_block", "_headers", "_trailers", "_interim", "_views")

    def __init__(
        self, status: int, headers: Fields = (), body: Body = b"", trailers: Fields = (),
        interim: Optional[List["Response"]] = None, views: Optional[List[memoryview]] = None,
    ) -> None:
        self.status = status
        self._headers: Optional[Fields] = headers
        self.body = body
        self._trailers = trailers
        self._interim = interim
        self._views = views

    @classmethod
    def received(cls, status: int, block: Block, body: bytes, views: Optional[List[memoryview]]) -> "Response":
        """A response whose fields are taken apart when they are first looked at."""
        response = cls.__new__(cls)
        response.status = status
        response._block = block
        response._headers = response._interim = None
        response.body = body
        response._trailers = ()
        response._views = views
        return response

    @property
    def headers(self) -> Headers:
        value = self._headers
        if value.__class__ is not Headers:
            value = self._headers = Headers.received(self._block) if value is None else Headers(value)
        return value

    @headers.setter
    def headers(self, value: Fields) -> None:
        self._headers = value

    @property
    def trailers(self) -> Headers:
        value = self._trailers
        if value.__class__ is not Headers:
            value = self._trailers = Headers(value)
        return value

    @trailers.setter
    def trailers(self, value: Fields) -> None:
        self._trailers = value

    @property
    def interim(self) -> List["Response"]:
        if self._interim is None:
            self._interim = []
        return self._interim

    @interim.setter
    def interim(self, value: List["Response"]) -> None:
        self._interim = value

    @property
    def views(self) -> List[memoryview]:
        if self._views is None:
            self._views = []
        return self._views

    @views.setter
    def views(self, value: List[memoryview]) -> None:
        self._views = value

    def text(self, encoding: str = "utf-8") -> str:
        """The body as text."""
        return bytes(self.body).decode(encoding)

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


class Request:
    """A request as a server's handler sees it, with its whole body.

    ``peer`` is the address of the client as "IP:port". ``early``: some of it came as early data (0-RTT). ``may_be_replay``:
    it came as early data, and the client has not completed its handshake yet. What must not happen twice is answered with
    ``Response(425)`` (RFC 8470 section 5.2); our client then asks again after the handshake.
    """

    __slots__ = ("body", "peer", "early", "may_be_replay", "_block", "_pseudo", "_headers", "_trailers")

    def __init__(
        self, method: str, path: str, authority: str, scheme: str, headers: Fields, body: bytes, peer: str,
        trailers: Fields = (), early: bool = False, may_be_replay: bool = False,
    ) -> None:
        self._pseudo: Optional[Dict[str, str]] = {
            ":method": method, ":path": path, ":authority": authority, ":scheme": scheme,
        }
        self._headers: Optional[Fields] = headers
        self.body = body
        self.peer = peer
        self._trailers = trailers
        self.early = early
        self.may_be_replay = may_be_replay

    @classmethod
    def received(cls, block: Block, body: bytes, peer: str) -> "Request":
        """A request whose fields are taken apart when they are first looked at."""
        request = cls.__new__(cls)
        request._block = block
        request._pseudo = request._headers = None
        request.body = body
        request.peer = peer
        request._trailers = ()
        request.early = request.may_be_replay = False
        return request

    def _look(self, name: str) -> str:
        if self._pseudo is None:
            parts = self._block[0][: self._block[1]].decode("utf-8", "replace").split("\0")
            self._pseudo = dict(zip(parts[0:-1:2], parts[1::2]))
        return self._pseudo.get(name, "")

    @property
    def method(self) -> str:
        return self._look(":method")

    @property
    def path(self) -> str:
        return self._look(":path")

    @property
    def scheme(self) -> str:
        return self._look(":scheme")

    @property
    def authority(self) -> str:
        return self._look(":authority") or self._look("host")

    @property
    def headers(self) -> Headers:
        value = self._headers
        if value.__class__ is not Headers:
            value = self._headers = Headers.received(self._block) if value is None else Headers(value)
        return value

    @property
    def trailers(self) -> Headers:
        value = self._trailers
        if value.__class__ is not Headers:
            value = self._trailers = Headers(value)
        return value

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}, {len(self.body)} bytes>"


def field_text(items: Iterable[Tuple[str, str]]) -> bytes:
    """Fields as one text with a zero byte behind each name and each value. A zero inside is refused: it would be another
    field to who reads it."""
    parts: List[str] = []
    for name, value in items:
        parts += (name, value)
    text = "\0".join(parts)
    if text.count("\0") != len(parts) - 1:
        raise FatalError("a field with a zero character", _abi.WB_E_H3)
    return text.encode() + b"\0"


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
