"""A server: a handler function gets each request with its whole body and returns the response."""
from __future__ import annotations

import concurrent.futures
import ctypes
import logging
import os
import queue
import threading
import time
from typing import Callable, Dict, List, Optional, Sequence, Tuple, Union

from . import _abi, _diagnostics
from ._buffers import WORTH_LENDING
from ._client import WHOLE_MESSAGE, address_text
from ._engine import Engine, Event
from ._errors import Error
from ._exchange import Receiver, Sender
from ._library import check, lib, new_handle, sized
from ._messages import Block, Body, Headers, Request, Response, field_array, field_text, received_fields, split
from ._outbox import Fate

log = logging.getLogger("whimbrel")
Handler = Callable[[Request], Union[Response, Body]]
#: Tells whether no server of a fleet has seen a key of 32 bytes before, and remembers it for so many seconds.
EarlyStore = Callable[[bytes, float], bool]

#: Fields that the transport itself takes care of (RFC 9114 section 4.2).
FORBIDDEN = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}


#: Time in seconds that an answer waits for others to leave with it while handlers run.
PATIENCE = 0.001


class _Exchange:
    """A request that did not come whole, or an answer that does not leave at once."""

    def __init__(self, conn: int, stream: int, block: Block, limit: int) -> None:
        self.conn, self.stream, self.block = conn, stream, block
        self.receiver = Receiver(limit)
        self.sender: Optional[Sender] = None
        self.answered = False

    @classmethod
    def begun(cls, ev: Event, limit: int) -> "_Exchange":
        text = field_text(received_fields(ev.stream, _abi.WB_SECTION_HEADERS))
        exchange = cls(ev.conn, ev.stream, (text, len(text)), limit)
        receiver = exchange.receiver
        receiver.expect(Headers.received(exchange.block).get("content-length"))
        if receiver.whole is not None and len(receiver.whole) > limit:
            receiver.whole = None
        receiver.fin = bool(ev.flags & _abi.WB_EVF_FIN)
        return exchange


class _Peer:
    """What is known about a connection."""

    __slots__ = ("address", "early")

    def __init__(self) -> None:
        #: As "IP:port"; None: to be asked for.
        self.address: Optional[str] = None
        #: Some of its streams may have come as early data.
        self.early = False


def _is_head(request: Request) -> bool:
    """Whether a request's method is HEAD, without taking its fields apart: no field name has a capital letter."""
    text, length = request._block
    return text.find(b":method\0HEAD\0", 0, length) >= 0


class Server:
    """Serves HTTP/3 on one address until closed.

    ``handler(request)`` returns a ``Response`` or just a body. With ``threads=0`` it runs on the thread that serves;
    with more, on a pool. ``max_body`` bounds what a client may upload. ``early_data`` lets replayable requests in.

    Servers with the same ``ticket_keys`` (32 bytes each: the first seals, all open) resume each other's sessions. They take
    early data only with an ``early_store``, which all of them share: ``early_store(key, seconds)`` is called once for each
    offer, on the thread that serves or on the pool, and says whether the key is new. When it raises, says no, or takes
    longer than the option ``transport.early_decision_ms``, early data are refused and the handshake goes on.
    """

    def __init__(
        self, handler: Handler, *, host: str = "127.0.0.1", port: int = 0, cert: str, key: str, retry: bool = False,
        early_data: bool = False, workers: int = 1, threads: int = 0, max_body: int = 256 << 20,
        ticket_keys: Sequence[bytes] = (), early_store: Optional[EarlyStore] = None,
        options: Optional[Dict[str, object]] = None,
    ) -> None:
        self.handler = handler
        self.max_body = max_body
        self.early_store = early_store
        self._exchanges: Dict[int, _Exchange] = {}
        self._peers: Dict[int, _Peer] = {}
        self._texts: Dict[Tuple[int, int], bytes] = {}
        #: Connection, stream, answer, whether the request was HEAD.
        self._answers: "queue.SimpleQueue[Tuple[int, int, Response, bool]]" = queue.SimpleQueue()
        self._pool = concurrent.futures.ThreadPoolExecutor(threads) if threads else None
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._engine = Engine(workers)
        self._engine.default = self._on_event
        self._engine.default_taker = self._on_message
        self._outbox = self._engine.outbox
        #: When the first handler of a batch began, or the last answers left.
        self._since = 0.0
        handles = []
        try:
            tls = new_handle(lib.wb_tls_new, _abi.WB_ROLE_SERVER)
            handles.append(tls)
            check(lib.wb_tls_identity_files(tls, os.fsencode(cert), os.fsencode(key)))
            check(lib.wb_tls_early_data(tls, 1 if early_data else 0))
            if any(len(key) != 32 for key in ticket_keys):
                raise ValueError("a ticket key has 32 bytes")
            keys = b"".join(ticket_keys)
            check(lib.wb_tls_ticket_keys(tls, keys, len(ticket_keys)))
            if early_store is not None:
                check(lib.wb_tls_decisions(tls, _abi.WB_DECIDE_EARLY))
            config = new_handle(lib.wb_config_new, _abi.WB_CONFIG_CONN)
            handles.append(config)
            check(lib.wb_config_set_u64(config, _abi.WB_KEY_RETRY, 1 if retry else 0))
            check(lib.wb_config_set_u64(config, _abi.WB_KEY_WHOLE_MESSAGES, WHOLE_MESSAGE))
            for name, value in (options or {}).items():
                line = f"{name}={value}".encode()
                check(lib.wb_config_parse(config, line, len(line)))
            at = host.encode()
            self._endpoint = new_handle(lib.wb_server_listen, self._engine.runtime, config, tls, at, len(at), port)
        except BaseException:
            self._engine.close(0.1)
            raise
        finally:
            for handle in handles:
                lib.wb_handle_release(handle)
        bound = _abi.wb_addr()
        check(lib.wb_endpoint_address(self._endpoint, ctypes.byref(bound)))
        #: Host as given and the port really bound.
        self.address: Tuple[str, int] = (host, bound.port)

    def _judge_early(self, decision: int, key: bytes, seconds: float) -> None:
        """Asks the store about an offer of early data; an answer that comes too late counts as no."""
        try:
            fresh = self.early_store is not None and self.early_store(key, seconds)
        except Exception:
            log.exception("the store of early data failed")
            fresh = False
        status = lib.wb_decision_accept(decision) if fresh else lib.wb_decision_refuse(decision, 0)
        if status != _abi.WB_OK:
            log.info("the answer about early data came too late: %d", status)

    def _on_event(self, ev: Event) -> None:
        if ev.kind == _abi.WB_EV_DECIDE_EARLY:
            if self._pool is None:
                self._judge_early(ev.a, ev.data, ev.b / 1000)
            else:
                self._pool.submit(self._judge_early, ev.a, ev.data, ev.b / 1000)
            return
        if ev.kind == _abi.WB_EV_H3_HEADERS:
            self._exchanges[ev.stream] = _Exchange.begun(ev, self.max_body)
        elif not ev.stream:
            self._on_conn_event(ev)
            return
        exchange = self._exchanges.get(ev.stream)
        if exchange is None:
            return
        try:
            if ev.kind in (_abi.WB_EV_STREAM_READABLE, _abi.WB_EV_H3_TRAILERS):  # trailers end the body
                exchange.receiver.resume(ev.stream)
            elif ev.kind == _abi.WB_EV_STREAM_WRITABLE and exchange.sender is not None:
                exchange.sender.resume()
            elif ev.kind in (_abi.WB_EV_STREAM_RESET, _abi.WB_EV_STREAM_CLOSED):
                self._forget(ev.stream)
                return
            if exchange.receiver.fin and not exchange.answered:
                exchange.answered = True
                request = self._request(ev.conn, ev.stream, exchange.block, exchange.receiver.body())
                request._trailers = split(received_fields(ev.stream, _abi.WB_SECTION_TRAILERS))[1]
                self._dispatch(ev.conn, ev.stream, request)
        except Error as e:
            log.info("request on stream %#x ended: %s", ev.stream, e)
            if e.status == _abi.WB_E_LIMIT and not exchange.answered:
                exchange.answered = True
                self._respond(ev.conn, ev.stream, Response(413, body=b"the body is too large\n"), False)
            else:
                self._forget(ev.stream)

    def _on_conn_event(self, ev: Event) -> None:
        if ev.kind == _abi.WB_EV_CONN_CLOSED:
            self._peers.pop(ev.conn, None)
        elif ev.kind == _abi.WB_EV_KEYS_INSTALLED and ev.a == _abi.WB_LEVEL_EARLY:
            self._peers.setdefault(ev.conn, _Peer()).early = True
        elif ev.kind == _abi.WB_EV_PATH_MIGRATED and ev.conn in self._peers:
            self._peers[ev.conn].address = None

    def _forget(self, stream: int) -> None:
        """Ends an exchange; a body that was lent is the handler's alone again."""
        exchange = self._exchanges.pop(stream, None)
        if exchange is not None and exchange.sender is not None:
            exchange.sender.close()

    def _on_message(self, conn: int, stream: int, _flags: int, _status: int, payload: bytes, fields: int) -> None:
        """A request has come whole."""
        if len(payload) - fields > self.max_body:
            self._respond(conn, stream, Response(413, body=b"the body is too large\n"), False)
            return
        self._dispatch(conn, stream, self._request(conn, stream, (payload, fields), payload[fields:]))

    def _request(self, conn: int, stream: int, block: Block, body: bytes) -> Request:
        peer = self._peers.get(conn)
        if peer is None:
            peer = self._peers[conn] = _Peer()
        if peer.address is None:
            d = sized(_abi.wb_conn_desc)
            known = lib.wb_conn_info(conn, ctypes.byref(d)) == _abi.WB_OK
            peer.address = address_text(d.remote) if known and d.remote.family else ""
        request = Request.received(block, body, peer.address)
        if peer.early:
            s = sized(_abi.wb_stream_desc)
            if lib.wb_stream_info(stream, ctypes.byref(s)) == _abi.WB_OK:
                request.early = s.early != _abi.WB_EARLY_NO
                request.may_be_replay = s.early == _abi.WB_EARLY_UNPROVEN
        return request

    def _dispatch(self, conn: int, stream: int, request: Request) -> None:
        if self._pool is None:
            if not self._since:
                self._since = time.monotonic()
            self._respond(conn, stream, self._call(request), _is_head(request))
            now = time.monotonic()
            if now - self._since > PATIENCE:
                self._since = now
                self._outbox.flush()
        else:
            def run() -> None:
                self._answers.put((conn, stream, self._call(request), _is_head(request)))
                self._engine.wake()

            self._pool.submit(run)

    def _call(self, request: Request) -> Response:
        try:
            answer = self.handler(request)
            return answer if isinstance(answer, Response) else Response(200, body=answer)
        except Exception:
            log.exception("the handler failed on %r", request)
            return Response(500, body=b"internal error\n")

    def _respond(self, conn: int, stream: int, response: Response, head: bool) -> None:
        body = response.body
        try:
            size = len(body) if body.__class__ is bytes else memoryview(body).nbytes
            if body.__class__ is not bytes and size < WORTH_LENDING:
                body = bytes(body)
            if not response._trailers and (head or size < WORTH_LENDING):
                if head:
                    fields = self._fields(response, size)
                    self._outbox.add(conn, stream, fields, b"", 0, None, self._sent)
                elif not response._headers:
                    key = (response.status, size)
                    fields = self._texts.get(key) or self._text(key)
                    self._outbox.add(conn, stream, fields, body, size, None, self._sent)
                else:
                    self._outbox.add(conn, stream, self._fields(response, size), body, size, None, self._sent)
            else:
                self._respond_slowly(conn, stream, response, size, head)
        except Error as e:
            log.info("response on stream %#x ended: %s", stream, e)

    def _text(self, key: Tuple[int, int]) -> bytes:
        """The fields of a response that has none of its own."""
        if len(self._texts) >= 1024:
            self._texts.clear()
        status, size = key
        text = self._texts[key] = field_text([(":status", str(status)), ("content-length", str(size))])
        return text

    def _items(self, response: Response, size: int) -> List[Tuple[str, str]]:
        headers = response.headers
        items = [(":status", str(response.status))]
        items += [(k, v) for k, v in headers if k not in FORBIDDEN]
        if not response._trailers and "content-length" not in headers:
            items.append(("content-length", str(size)))
        return items

    def _fields(self, response: Response, size: int) -> bytes:
        return field_text(self._items(response, size))

    def _respond_slowly(self, conn: int, stream: int, response: Response, size: int, head: bool) -> None:
        """A response that is lent, or has trailers."""
        array, keep = field_array(self._items(response, size))
        empty = head or (not size and not response._trailers)
        exchange = self._exchanges.get(stream)
        if exchange is None:
            exchange = self._exchanges[stream] = _Exchange(conn, stream, (b"", 0), 0)
            exchange.answered = True
        try:
            check(lib.wb_h3_headers(stream, array, len(keep), _abi.WB_FIN if empty else 0))
            if not empty:
                exchange.sender = Sender(stream, response.body, response.trailers)
                exchange.sender.resume()
        except Error:
            self._forget(stream)  # the client has gone meanwhile
            raise

    def _sent(self, fates: List[Fate], _alone: bool) -> None:
        """Responses that were not taken whole."""
        for _, status, stream, taken, _fields, body in fates:
            if status == _abi.WB_PARTIAL:
                exchange = self._exchanges.get(stream)
                if exchange is None:
                    exchange = self._exchanges[stream] = _Exchange(0, stream, (b"", 0), 0)
                    exchange.answered = True
                exchange.sender = Sender(stream, body[taken:])
            else:
                log.info("response on stream %#x ended: status %d", stream, status)

    def serve(self, seconds: float) -> None:
        """Serves for a while on the calling thread."""
        end = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < end:
            self._turn(min(0.2, max(0.0, end - time.monotonic())))

    def _turn(self, timeout: float) -> None:
        try:
            self._since = 0.0
            self._engine.pump(timeout)
        except Error:
            if not self._engine.closed:
                raise
            self._stop.set()  # the interpreter ends while this thread serves
            return
        while not self._answers.empty():
            self._respond(*self._answers.get())
        self._outbox.flush()

    def serve_forever(self) -> None:
        """Serves on the calling thread until ``shutdown`` is called, or an interrupt."""
        while not self._stop.is_set():
            self._turn(0.2)

    def start(self) -> "Server":
        """Serves on a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.serve_forever, name="whimbrel-server", daemon=True)
            self._thread.start()
        return self

    def pause(self, on: bool = True) -> None:
        """Refuses new connections while it is on; those that are there go on. Any thread."""
        check(lib.wb_endpoint_pause(self._endpoint, 1 if on else 0))

    def limit(self, *, connections: int = 0, handshakes: int = 0, retry_handshakes: int = 0) -> None:
        """Bounds what clients begin, from now on, in place of all limits before; 0 is no limit. Any thread.

        ``connections`` at a time, ``handshakes`` that are not complete; with ``retry_handshakes`` of these a client proves its
        address first.
        """
        limits = sized(_abi.wb_limits)
        limits.max_connections, limits.max_handshakes = connections, handshakes
        limits.retry_handshakes = retry_handshakes
        check(lib.wb_endpoint_limits(self._endpoint, ctypes.byref(limits)))

    def counters(self) -> Dict[str, int]:
        """What was sent, received, accepted, refused and dropped so far, by name (``WB_COUNTER_*`` of the C header in small
        letters, without that prefix): ``counters()["handshakes_failed"]``. Any thread, until ``close``."""
        return _diagnostics.counters(self._endpoint)

    def qlog(self, function: Optional[_diagnostics.QlogFunction]) -> None:
        """Hands the qlogs of connections that begin from now on to a function; ``None`` ends that. Any thread.

        ``function(connection, data, end)`` is called on the library's threads, for one connection at a time in order: its
        number, whole records of JSON-SEQ (RFC 7464), and whether these were the last. It must not close a client or server.
        """
        _diagnostics.qlog(self._engine.runtime, self._endpoint, function, False)

    def shutdown(self) -> None:
        """Ends ``serve_forever``. Any thread."""
        self._stop.set()
        self._engine.wake()

    def close(self) -> None:
        """Ends serving and gives everything back. Idempotent."""
        if self._engine.closed:
            return
        self.shutdown()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        lib.wb_handle_release(self._endpoint)
        self._engine.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server {self.address[0]}:{self.address[1]}>"
