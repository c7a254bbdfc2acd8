"""A server: a handler function gets each request with its whole body and returns the response."""
from __future__ import annotations

import concurrent.futures
import ctypes
import logging
import os
import queue
import threading
import time
from typing import Callable, Dict, Optional, Sequence, Tuple, Union

from . import _abi
from ._client import address_text
from ._engine import Engine, Event
from ._errors import Error
from ._exchange import Receiver, Sender
from ._library import check, lib, new_handle, sized
from ._messages import Body, Headers, Request, Response, field_array, received_fields, split

log = logging.getLogger("whimbrel")
Handler = Callable[[Request], Union[Response, Body]]
#: Tells whether no server of a fleet has seen a key of 32 bytes before, and remembers it for so many seconds.
EarlyStore = Callable[[bytes, float], bool]

#: Fields that the transport itself takes care of (RFC 9114 section 4.2).
FORBIDDEN = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}


class _Exchange:
    def __init__(self, ev: Event, limit: int) -> None:
        self.conn, self.stream = ev.conn, ev.stream
        self.receiver = Receiver(limit)
        self.sender: Optional[Sender] = None
        pseudo, self.headers = split(received_fields(ev.stream, _abi.WB_SECTION_HEADERS))
        self.pseudo: Dict[str, str] = pseudo
        self.receiver.expect(self.headers.get("content-length"))
        if self.receiver.whole is not None and len(self.receiver.whole) > limit:
            self.receiver.whole = None
        if ev.flags & _abi.WB_EVF_FIN:
            self.receiver.fin = True
        self.answered = False

    def request(self) -> Request:
        d = sized(_abi.wb_conn_desc)
        known = lib.wb_conn_info(self.conn, ctypes.byref(d)) == _abi.WB_OK
        s = sized(_abi.wb_stream_desc)
        early = s.early if lib.wb_stream_info(self.stream, ctypes.byref(s)) == _abi.WB_OK else _abi.WB_EARLY_NO
        return Request(
            method=self.pseudo.get(":method", ""), path=self.pseudo.get(":path", ""),
            authority=self.pseudo.get(":authority", self.headers.get("host") or ""),
            scheme=self.pseudo.get(":scheme", ""), headers=self.headers, body=self.receiver.body(),
            peer=address_text(d.remote) if known else "",
            trailers=split(received_fields(self.stream, _abi.WB_SECTION_TRAILERS))[1],
            early=early != _abi.WB_EARLY_NO, may_be_replay=early == _abi.WB_EARLY_UNPROVEN,
        )


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
        self._answers: "queue.SimpleQueue[Tuple[int, Response]]" = queue.SimpleQueue()
        self._pool = concurrent.futures.ThreadPoolExecutor(threads) if threads else None
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._engine = Engine(workers)
        self._engine.default = self._on_event
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
            self._exchanges[ev.stream] = _Exchange(ev, self.max_body)
        exchange = self._exchanges.get(ev.stream) if ev.stream else None
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
                self._dispatch(exchange)
        except Error as e:
            log.info("request on stream %#x ended: %s", ev.stream, e)
            if e.status == _abi.WB_E_LIMIT and not exchange.answered:
                exchange.answered = True
                self._respond(ev.stream, Response(413, body=b"the body is too large\n"))
            else:
                self._forget(ev.stream)

    def _forget(self, stream: int) -> None:
        """Ends an exchange; a body that was lent is the handler's alone again."""
        exchange = self._exchanges.pop(stream, None)
        if exchange is not None and exchange.sender is not None:
            exchange.sender.close()

    def _dispatch(self, exchange: _Exchange) -> None:
        request = exchange.request()
        if self._pool is None:
            self._respond(exchange.stream, self._call(request))
        else:
            def run() -> None:
                self._answers.put((exchange.stream, self._call(request)))
                self._engine.wake()

            self._pool.submit(run)

    def _call(self, request: Request) -> Response:
        try:
            answer = self.handler(request)
            return answer if isinstance(answer, Response) else Response(200, body=answer)
        except Exception:
            log.exception("the handler failed on %r", request)
            return Response(500, body=b"internal error\n")

    def _respond(self, stream: int, response: Response) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is None:
            return  # the client has gone meanwhile
        items = [(":status", str(response.status))]
        items += [(k, v) for k, v in response.headers if k not in FORBIDDEN]
        if "content-length" not in response.headers and not len(response.trailers):
            items.append(("content-length", str(memoryview(response.body).nbytes)))
        head = exchange.pseudo.get(":method") == "HEAD"
        empty = head or (not len(response.body) and not len(response.trailers))
        array, keep = field_array(items)
        try:
            check(lib.wb_h3_headers(stream, array, len(keep), _abi.WB_FIN if empty else 0))
            if not empty:
                exchange.sender = Sender(stream, response.body, response.trailers)
                exchange.sender.resume()
        except Error as e:
            log.info("response on stream %#x ended: %s", stream, e)

    def serve(self, seconds: float) -> None:
        """Serves for a while on the calling thread."""
        end = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < end:
            self._turn(min(0.2, max(0.0, end - time.monotonic())))

    def _turn(self, timeout: float) -> None:
        try:
            self._engine.pump(timeout)
        except Error:
            if not self._engine.closed:
                raise
            self._stop.set()  # the interpreter ends while this thread serves
            return
        while not self._answers.empty():
            self._respond(*self._answers.get())

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
