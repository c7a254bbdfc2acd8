"""One request and its response on a stream: sending as the stream takes it, receiving as it comes."""
from __future__ import annotations

import ctypes
from typing import Callable, Dict, List, Optional

from . import _abi
from ._buffers import Lent, next_received
from ._engine import Event
from ._errors import Error, StreamReset, from_info, new_info
from ._library import check, lib
from ._messages import Body, Headers, Response, received_fields, split


class Sender:
    """Sends a body; ``resume`` continues after WRITABLE. A large body is lent, not copied, until ``close``."""

    def __init__(self, stream: int, body: Body, trailers: Optional[Headers] = None) -> None:
        self.stream = stream
        self.trailers = trailers if trailers is not None and len(trailers) else None
        self.end = memoryview(body).nbytes
        self.lent: Optional[Lent] = None
        self.copy = b""
        self.at = 0
        self.done = False
        if Lent.worth(body):
            try:
                self.lent = Lent(body)
                return
            except BufferError:
                pass  # memory in pieces
        self.copy = bytes(body)

    def _offer(self, flags: int, taken: ctypes.c_size_t) -> int:
        """One send call for what is left."""
        if self.lent is None:
            # The reference in `self.copy` keeps the address valid.
            address = ctypes.cast(ctypes.c_char_p(self.copy), ctypes.c_void_p).value or 0
            return lib.wb_stream_send_copy(
                self.stream, address + self.at, self.end - self.at, flags, ctypes.byref(taken)
            )
        part = ctypes.c_uint64(self.lent.rest(self.at))
        try:
            return lib.wb_stream_send(self.stream, ctypes.byref(part), 1, flags, ctypes.byref(taken))
        finally:
            lib.wb_handle_release(part)

    def resume(self) -> None:
        taken = ctypes.c_size_t()
        while not self.done:
            status = self._offer(_abi.WB_FIN if self.trailers is None else 0, taken)
            if status == _abi.WB_E_WOULD_BLOCK:
                return
            if status == _abi.WB_E_STOPPED:
                self.done = True  # the peer has heard enough; its answer may still come (RFC 9114 section 4.1)
                return
            check(status)
            self.at += taken.value
            if status == _abi.WB_PARTIAL:
                return
            if self.at == self.end:
                self.done = True
                if self.trailers is not None:
                    from ._messages import field_array

                    array, keep = field_array(self.trailers)
                    check(lib.wb_h3_headers(self.stream, array, len(keep), _abi.WB_H3_TRAILERS | _abi.WB_FIN))

    def close(self) -> None:
        """Ends the loan: the body is the application's alone again."""
        if self.lent is not None:
            self.lent.close()


class Receiver:
    """Collects a body: straight into place when its length is known, else in pieces; or as views of received memory."""

    def __init__(self, limit: Optional[int] = None, views: bool = False) -> None:
        self.limit = limit
        self.views: Optional[List[memoryview]] = [] if views else None
        self.whole: Optional[bytearray] = None
        self.at = 0
        self.pieces: List[bytes] = []
        self.fin = False

    def expect(self, length: Optional[str]) -> None:
        """The content-length field. A peer's promise reserves at most 64 MiB at once."""
        if self.views is None and length is not None and length.isdigit() and 0 < int(length) <= 64 << 20:
            self.whole = bytearray(int(length))

    def resume(self, stream: int) -> None:
        got, fin = ctypes.c_size_t(), ctypes.c_uint8()
        if self.views is not None:
            while not self.fin:
                pieces = next_received(stream, fin)
                self.fin = bool(fin.value)
                if pieces is None:
                    return
                for piece in pieces:
                    self.at += len(piece)
                    if len(piece):
                        self.views.append(piece)
            return
        spare = None
        while not self.fin:
            if self.whole is not None and self.at < len(self.whole):
                target = (ctypes.c_char * (len(self.whole) - self.at)).from_buffer(self.whole, self.at)
            else:
                spare = spare or ctypes.create_string_buffer(256 * 1024)
                target = spare
            status = lib.wb_stream_recv_copy(stream, target, len(target), ctypes.byref(got), ctypes.byref(fin))
            if status == _abi.WB_E_WOULD_BLOCK:
                return
            if status == _abi.WB_E_FINISHED:
                self.fin = True
                return
            check(status)
            if target is spare:
                self.pieces.append(ctypes.string_at(spare, got.value))
            self.at += got.value
            if self.limit is not None and self.at > self.limit:
                lib.wb_stream_stop(stream, 0x107)  # H3_EXCESSIVE_LOAD
                raise StreamReset(f"the body is over the limit of {self.limit} bytes", _abi.WB_E_LIMIT, 0x107)
            self.fin = bool(fin.value)

    def body(self) -> bytes:
        if self.whole is None:
            return b"".join(self.pieces)
        return b"".join([memoryview(self.whole)[: min(self.at, len(self.whole))], *self.pieces])


def drop(stream: int) -> None:
    """Gives a request up: H3_REQUEST_CANCELLED in both directions."""
    lib.wb_stream_reset(stream, 0x10C)
    lib.wb_stream_stop(stream, 0x10C)
    lib.wb_handle_release(stream)


class Exchange:
    """A client's request. ``finished(exchange)`` is called once, with ``response`` or ``error`` set."""

    # Class attributes: most exchanges are over before they need one of their own.
    stream = 0
    sender: Optional[Sender] = None
    _receiver: Optional[Receiver] = None
    interim: Optional[List[Response]] = None
    head: Optional[Response] = None
    response: Optional[Response] = None
    error: Optional[BaseException] = None
    over = False
    #: Sends the request once more; set while it may have come to the server as early data.
    again: Optional[Callable[[], None]] = None
    #: The request as it was asked for, while it waits for its turn.
    message: Optional[tuple] = None
    #: When whoever waits for it gives up, in the time of the event loop.
    deadline = 0.0

    #: Where its stream is looked up.
    table: Dict[int, "Exchange"]

    def __init__(self, finished: Callable[["Exchange"], None], views: bool = False) -> None:
        self.finished = finished
        self.views = views

    def begun(self, stream: int) -> None:
        """The request was sent."""
        self.stream = stream
        if self.over:
            drop(stream)  # given up meanwhile
        else:
            self.table[stream] = self

    @property
    def receiver(self) -> Receiver:
        if self._receiver is None:
            self._receiver = Receiver(views=self.views)
        return self._receiver

    def on_message(self, status: int, payload: bytes, fields: int) -> None:
        """The response, whole."""
        if status == 425 and self.again is not None:
            self.once_more()
            return
        body = payload[fields:]
        if self.views:
            response = Response.received(status, (payload, fields), b"", [memoryview(body)] if body else None)
        else:
            response = Response.received(status, (payload, fields), body, None)
        response._interim = self.interim
        self.response = response
        self.over = True
        if self.sender is not None:
            self.end_sending()
        self.finished(self)

    def once_more(self) -> None:
        again, self.again = self.again, None
        self.head = self.interim = self._receiver = None
        assert again is not None
        again()

    def on_event(self, ev: Event) -> None:
        if self.over:
            return
        try:
            if ev.kind == _abi.WB_EV_H3_HEADERS:
                pseudo, headers = split(received_fields(self.stream, _abi.WB_SECTION_HEADERS))
                self.head = Response(int(pseudo.get(":status", ev.a)), headers, interim=self.interim)
                self.receiver.expect(headers.get("content-length"))
                if ev.flags & _abi.WB_EVF_FIN:
                    self.receiver.fin = True
            elif ev.kind == _abi.WB_EV_H3_INFO:
                pseudo, headers = split(received_fields(self.stream, _abi.WB_SECTION_INFO))
                self.interim = self.interim or []
                self.interim.append(Response(int(pseudo.get(":status", ev.a)), headers))
            elif ev.kind in (_abi.WB_EV_STREAM_READABLE, _abi.WB_EV_H3_TRAILERS):
                self.receiver.resume(self.stream)  # trailers end the body
            elif ev.kind == _abi.WB_EV_STREAM_WRITABLE:
                if self.sender is not None:
                    self.sender.resume()
            elif ev.kind == _abi.WB_EV_STREAM_RESET:
                raise StreamReset(f"the peer reset the stream (code {ev.a:#x})", _abi.WB_E_RESET, ev.a, True)
            elif ev.kind == _abi.WB_EV_STREAM_STOPPED:
                self.end_sending()  # the peer has heard enough; its response may still come
            if self.head is not None and self.receiver.fin:
                if self.head.status == 425 and self.again is not None:
                    self.once_more()
                    return
                if self.receiver.views is None:
                    self.head.body = self.receiver.body()
                else:
                    self.head.views = self.receiver.views
                self.head.trailers = split(received_fields(self.stream, _abi.WB_SECTION_TRAILERS))[1]
                self.response = self.head
                self.finish()
        except Error as e:
            self.fail(e)

    def fail(self, error: BaseException) -> None:
        if not self.over:
            self.error = error
            self.finish()

    def end_sending(self) -> None:
        """The body is the application's alone again."""
        if self.sender is not None:
            self.sender.close()
            self.sender = None

    def finish(self) -> None:
        self.over = True
        self.end_sending()
        lib.wb_handle_release(self.stream)
        self.finished(self)

    def cancel(self) -> None:
        """Gives the exchange up: H3_REQUEST_CANCELLED in both directions."""
        if not self.over:
            self.over = True
            self.end_sending()
            if self.stream:
                drop(self.stream)


def closed_error(conn: int) -> Error:
    """Why a connection ended."""
    info = new_info()
    lib.wb_conn_error(conn, ctypes.byref(info))
    from ._errors import ConnectionClosed

    return from_info(info, default=ConnectionClosed)
