"""Clients: one connection, many requests. The synchronous one pumps its queue itself, the asyncio one is woken by it."""
from __future__ import annotations

import asyncio
import collections
import ctypes
import math
import os
import time
import weakref
from dataclasses import dataclass
from typing import Any, Callable, Coroutine, Deque, Dict, List, Optional, Tuple

from . import _abi, _diagnostics
from ._engine import Engine, Event
from ._buffers import WORTH_LENDING
from ._errors import ConnectionClosed, Error, FatalError, TimeoutError
from ._exchange import Exchange, Sender, closed_error
from ._library import check, error_of, lib, new_handle, sized
from ._messages import Body, Fields, Headers, Response, field_array, field_text
from ._outbox import Fate

#: Bodies up to this length come with their message's event, in bytes.
WHOLE_MESSAGE = 16 * 1024
#: Methods that may happen twice, so that early data may carry them (RFC 9110 section 9.2.2).
IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}


_new_response = Response.__new__


class Session:
    """Trust, client identity and tickets. Connections of one session resume each other.

    ``ca``: PEM file of trusted roots (default: the system's); ``verify=False`` trusts anybody, for tests only;
    ``early_data`` lets idempotent requests travel with the first packet of a resumed connection: they can be replayed.
    """

    def __init__(
        self, *, ca: Optional[str] = None, verify: bool = True, early_data: bool = False, key_log: Optional[str] = None,
        cert: Optional[str] = None, key: Optional[str] = None,
    ) -> None:
        self.early_data = early_data
        self.handle = new_handle(lib.wb_tls_new, _abi.WB_ROLE_CLIENT)
        self._finalizer = weakref.finalize(self, lib.wb_handle_release, self.handle)
        if ca is not None:
            check(lib.wb_tls_trust_file(self.handle, os.fsencode(ca)))
        if not verify:
            check(lib.wb_tls_verify_mode(self.handle, _abi.WB_VERIFY_NONE))
        if cert is not None and key is not None:
            check(lib.wb_tls_identity_files(self.handle, os.fsencode(cert), os.fsencode(key)))
        check(lib.wb_tls_early_data(self.handle, 1 if early_data else 0))
        key_log = key_log or os.environ.get("SSLKEYLOGFILE")
        if key_log:
            check(lib.wb_tls_keylog_file(self.handle, os.fsencode(key_log)))


@dataclass
class ConnectionInfo:
    """What a connection is, and its counters so far."""

    version: int
    cipher: int
    alpn: str
    resumed: bool
    #: None when no early data was tried.
    early_data_accepted: Optional[bool]
    retry: bool
    local: str
    remote: str
    handshake_seconds: float
    rtt_seconds: float
    bytes_sent: int
    bytes_received: int
    packets_lost: int
    migrations: int
    key_updates: int


def address_text(address: _abi.wb_addr) -> str:
    text = ctypes.create_string_buffer(80)
    check(lib.wb_addr_text(ctypes.byref(address), text, len(text), None))
    return text.value.decode()


class Connection:
    """What both clients share: the connection, its exchanges, and requests that wait for their turn.

    ``later``: runs a function when the event loop has done what is due now; requests that are made meanwhile leave with one
    call. Without it they leave at once.
    """

    def __init__(
        self, engine: Engine, session: Session, host: str, port: int, options: Dict[str, object],
        later: Optional[Callable[[Callable[[], None]], object]] = None,
        qlog: Optional[_diagnostics.QlogFunction] = None,
    ) -> None:
        self.engine = engine
        self.session = session
        self.later = later
        self.authority = (f"[{host}]" if ":" in host else host) + ("" if port == 443 else f":{port}")
        self.exchanges: Dict[int, Exchange] = {}
        self.waiting: Deque[Exchange] = collections.deque()
        #: What requests of a method begin with.
        self.prefixes: Dict[str, bytes] = {}
        self.flushing = False
        #: The peer allows no more requests for now.
        self.blocked = False
        self.connected = False
        self.confirmed = False
        self.error: Optional[Error] = None
        self.events: List[Event] = []
        config = new_handle(lib.wb_config_new, _abi.WB_CONFIG_CONN)
        try:
            check(lib.wb_config_set_u64(config, _abi.WB_KEY_WHOLE_MESSAGES, WHOLE_MESSAGE))
            for name, value in options.items():
                line = f"{name}={value}".encode()
                check(lib.wb_config_parse(config, line, len(line)))
            name = host.encode("idna") if not host.isascii() else host.encode()
            self.endpoint = new_handle(lib.wb_endpoint_open, engine.runtime, 0)
            self.handle = new_handle(lib.wb_conn_open, self.endpoint, config, session.handle)
            engine.listeners[self.handle] = self.on_event
            engine.messages[self.handle] = self.on_message
            if qlog is not None:
                _diagnostics.qlog(engine.runtime, self.handle, qlog, True)
            check(lib.wb_conn_start(self.handle, name, len(name), port))
        finally:
            lib.wb_handle_release(config)

    def on_message(self, _conn: int, stream: int, _flags: int, status: int, payload: bytes, fields: int) -> None:
        exchange = self.exchanges.pop(stream, None)
        if exchange is not None and not exchange.over:
            exchange.on_message(status, payload, fields)

    def on_event(self, ev: Event) -> None:
        if ev.stream:
            exchange = self.exchanges.get(ev.stream)
            if exchange is not None:
                exchange.on_event(ev)
        elif ev.kind == _abi.WB_EV_CONN_CLOSED:
            self.end(closed_error(self.handle))
        elif ev.kind == _abi.WB_EV_CONNECTED:
            self.connected = True
            self.blocked = False
            self.send_waiting()
        elif ev.kind == _abi.WB_EV_CONFIRMED:
            self.confirmed = True
        elif ev.kind == _abi.WB_EV_STREAMS_AVAILABLE or (ev.kind == _abi.WB_EV_KEYS_INSTALLED and ev.a == _abi.WB_LEVEL_EARLY):
            self.blocked = False
            self.send_waiting()  # with the keys for early data requests may go before the handshake is done
        elif ev.kind >> 8 == _abi.WB_GROUP_PATH:
            self.events.append(ev)

    def end(self, error: Error) -> None:
        """Nothing more will be answered."""
        self.error = error
        for exchange in list(self.exchanges.values()):
            exchange.fail(error)
        while self.waiting:
            self.waiting.popleft().fail(error)

    def begin(self, method, path, headers, body, trailers, exchange: Exchange) -> None:
        if self.error is not None:
            exchange.fail(self.error)
            return
        exchange.message = (method, path, headers, body, trailers)
        exchange.table = self.exchanges
        if self.connected and not self.blocked and not self.waiting and trailers is None and self.offer(exchange):
            self.leave()
            return
        self.waiting.append(exchange)
        self.send_waiting()

    def offer(self, exchange: Exchange) -> bool:
        """Puts a request without trailers and with a body worth copying into the outbox."""
        assert exchange.message is not None
        method, path, headers, body, _ = exchange.message
        size = 0 if body is None else len(body) if body.__class__ is bytes else memoryview(body).nbytes
        if size >= WORTH_LENDING:
            return False
        if body is not None and body.__class__ is not bytes:
            body = bytes(body)
        try:
            fields = self.fields(method, path, headers, body, size)
            self.engine.outbox.add(self.handle, 0, fields, body, size, exchange, self.sent)
        except Exception as e:
            exchange.fail(e)
        return True

    def leave(self) -> None:
        """Requests are in the outbox."""
        if self.later is None:
            self.engine.outbox.flush()
        elif not self.flushing:
            self.flushing = True
            self.later(self.flush)

    def flush(self) -> None:
        self.flushing = False
        self.engine.outbox.flush()

    def fields(self, method: str, path: str, headers: Fields, body: Optional[Body], size: int) -> bytes:
        """The text of a request's fields."""
        prefix = self.prefixes.get(method)
        if prefix is None:
            prefix = field_text([(":method", method), (":scheme", "https"), (":authority", self.authority)]) + b":path\0"
            self.prefixes[method] = prefix
        if "\0" in path:
            raise FatalError("a path with a zero character", _abi.WB_E_H3)
        text = prefix + path.encode() + b"\0"
        items = [(name.lower(), value) for name, value in headers] if headers else []
        if body is not None and not any(name == "content-length" for name, _ in items):
            items.append(("content-length", str(size)))
        return text + field_text(items) if items else text

    def sent(self, fates: List[Fate], alone: bool) -> None:
        """What became of requests that the library did not take whole."""
        for exchange, status, stream, taken, fields, body in fates:
            if status >= 0:  # WB_PARTIAL: the rest of the body follows when there is room
                exchange.begun(stream)
                if not exchange.over:
                    exchange.sender = Sender(stream, body[taken:])
            elif exchange.over:
                continue
            elif self.error is not None:
                exchange.fail(self.error)
            elif status == _abi.WB_E_WOULD_BLOCK:
                self.blocked = True
                self.waiting.append(exchange)  # STREAMS_AVAILABLE follows
            elif alone:
                exchange.fail(error_of(status))
            else:
                # Again by itself, for the words that go with the status.
                self.engine.outbox.add(self.handle, 0, fields, body, len(body), exchange, self.sent)
                self.engine.outbox.flush()

    def send_waiting(self) -> None:
        offered = False
        while self.waiting and not self.blocked:
            exchange = self.waiting[0]
            assert exchange.message is not None
            method, path, headers, body, trailers = exchange.message
            early = self.session.early_data and method in IDEMPOTENT and body is None
            if not exchange.over and not self.connected and not early:
                break
            self.waiting.popleft()
            if exchange.over:
                continue
            if self.connected and trailers is None and self.offer(exchange):
                offered = True
                continue
            try:
                if not self.send(method, path, headers, body, trailers, exchange):
                    self.waiting.appendleft(exchange)
                    break
            except Exception as e:
                exchange.fail(e)
        if offered:
            self.leave()

    def send(self, method, path, headers, body, trailers, exchange: Exchange) -> bool:
        items = [(":method", method), (":scheme", "https"), (":authority", self.authority), (":path", path)]
        items += [(name.lower(), value) for name, value in headers]
        if body is not None and not any(name == "content-length" for name, _ in items):
            items.append(("content-length", str(memoryview(body).nbytes)))
        array, keep = field_array(items)
        out = ctypes.c_uint64()
        flags = _abi.WB_FIN if body is None and trailers is None else 0
        status = lib.wb_h3_request(self.handle, array, len(keep), flags, ctypes.byref(out))
        if status == _abi.WB_E_WOULD_BLOCK or (status == _abi.WB_E_STATE and not self.connected):
            self.blocked = self.connected
            return False
        check(status)
        if not self.connected:
            def again() -> None:
                # RFC 8470 section 5.2: once more, and not as early data; an answer shows that the handshake is complete.
                self.exchanges.pop(exchange.stream, None)
                self.begin(method, path, headers, body, trailers, exchange)

            exchange.again = again
        exchange.stream = out.value
        self.exchanges[out.value] = exchange
        if not flags:
            exchange.sender = Sender(out.value, body or b"", trailers)
            exchange.sender.resume()
        return True

    def info(self) -> ConnectionInfo:
        d, c = sized(_abi.wb_conn_desc), sized(_abi.wb_conn_counters)
        check(lib.wb_conn_info(self.handle, ctypes.byref(d)))
        check(lib.wb_conn_stats(self.handle, ctypes.byref(c)))
        return ConnectionInfo(
            version=d.version, cipher=d.cipher, alpn=d.alpn.decode(), resumed=bool(d.resumed),
            early_data_accepted={1: True, 2: False}.get(d.early_data), retry=bool(d.retried),
            local=address_text(d.local), remote=address_text(d.remote), handshake_seconds=c.handshake_ns / 1e9,
            rtt_seconds=c.rtt_ns / 1e9, bytes_sent=c.bytes_sent, bytes_received=c.bytes_received,
            packets_lost=c.packets_lost, migrations=c.migrations, key_updates=c.key_updates,
        )

    def close(self) -> None:
        self.engine.listeners.pop(self.handle, None)
        self.engine.messages.pop(self.handle, None)
        self.engine.outbox.flush()
        self.end(ConnectionClosed("the client was closed", _abi.WB_E_CLOSED_LOCAL))
        lib.wb_conn_close(self.handle, 0, None, 0)
        lib.wb_handle_release(self.handle)
        lib.wb_handle_release(self.endpoint)


class _Verbs:
    """What does not depend on the way of waiting."""

    _connection: Optional[Connection] = None

    def __init__(
        self, host: str, port: int = 443, *, ca: Optional[str] = None, verify: bool = True,
        session: Optional[Session] = None, timeout: float = 30.0, options: Optional[Dict[str, object]] = None,
        qlog: Optional[_diagnostics.QlogFunction] = None,
    ) -> None:
        self._qlog = qlog
        self.host, self.port, self.timeout = host, port, timeout
        self.session = session or Session(ca=ca, verify=verify)
        self.options = options or {}

    def _live(self) -> Connection:
        if self._connection is None:
            raise Error("the client is not open: use it as a context manager, or call open()")
        return self._connection

    def info(self) -> ConnectionInfo:
        """Version, cipher, addresses, counters."""
        return self._live().info()

    def counters(self) -> Dict[str, int]:
        """What its endpoint has sent, received and dropped so far, failed attempts at other addresses included, by name
        (``WB_COUNTER_*`` of the C header in small letters, without that prefix)."""
        return _diagnostics.counters(self._live().endpoint)

    def qlog(self, function: _diagnostics.QlogFunction) -> None:
        """Hands the connection's qlog to a function from now on. The argument ``qlog`` of the constructor does so from the
        connection's beginning; a connection has one function.

        ``function(connection, data, end)`` is called on the library's threads: the connection's number, whole records of
        JSON-SEQ (RFC 7464) beginning with the head of a log, and whether these were the last. It must not close a client or
        server.
        """
        conn = self._live()
        _diagnostics.qlog(conn.engine.runtime, conn.handle, function, True)

    @property
    def confirmed(self) -> bool:
        """The handshake is confirmed (RFC 9001 section 4.1.2): keys may be updated and the connection may move."""
        return self._live().confirmed

    def migrate(self) -> None:
        """Moves the connection to a new socket; requests under way go on. Needs a confirmed handshake.

        ``LimitError``: the peer has given no spare connection ID yet, or too many moves are under way; try later.
        """
        check(lib.wb_conn_migrate(self._live().handle, None, 0))

    def key_update(self) -> None:
        """Asks for a key update, which starts as soon as RFC 9001 section 6.1 allows it."""
        check(lib.wb_conn_key_update(self._live().handle))

    def path_events(self) -> List[Tuple[str, str]]:
        """Path events since the last call: (name, "local -> remote")."""
        events, self._live().events = self._live().events, []
        return [(lib.wb_event_name(e.kind).decode(), e.data.decode("utf-8", "replace")) for e in events]


class Client(_Verbs):
    """A connection to one server, for synchronous programs. Used from one thread at a time.

    ``timeout`` is in seconds and for each request; ``options`` are configuration lines by name, such as
    ``{"transport.max_idle_ms": 10000}``.
    """

    _engine: Optional[Engine] = None

    def open(self) -> "Client":
        """Connects; returns when the handshake is done (with early data: at once)."""
        self._engine = Engine()
        self._connection = Connection(self._engine, self.session, self.host, self.port, self.options, qlog=self._qlog)
        conn = self._connection
        if not self.session.early_data:
            try:
                self._wait(lambda: conn.connected or conn.error is not None, self.timeout)
                if conn.error is not None and not conn.connected:
                    raise conn.error
            except BaseException:
                self.close()
                raise
        return self

    def _wait(self, over, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not over():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer from {self.host}:{self.port} in {timeout:g} s", _abi.WB_E_TIMEOUT)
            assert self._engine is not None
            self._engine.pump(left)

    def request(
        self, method: str, path: str, *, body: Optional[Body] = None, headers: Fields = (),
        trailers: Optional[Fields] = None, timeout: Optional[float] = None, views: bool = False,
    ) -> Response:
        """Sends a request and returns the whole response. A large ``body`` is read in place: leave it unchanged until
        the call returns. ``views`` gives the response's body without a copy, as ``response.views``."""
        conn = self._live()
        exchange = Exchange(lambda ex: conn.exchanges.pop(ex.stream, None), views)
        conn.begin(method, path, headers, body, Headers(trailers) if trailers else None, exchange)
        try:
            self._wait(lambda: exchange.over, self.timeout if timeout is None else timeout)
        except BaseException:
            conn.exchanges.pop(exchange.stream, None)
            exchange.cancel()
            raise
        if exchange.error is not None:
            raise exchange.error
        assert exchange.response is not None
        return exchange.response

    def get(self, path: str, **more) -> Response:
        """``request("GET", ...)``."""
        return self.request("GET", path, **more)

    def post(self, path: str, body: Body = b"", **more) -> Response:
        """``request("POST", ...)``."""
        return self.request("POST", path, body=body, **more)

    def close(self) -> None:
        """Ends the connection. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def __enter__(self) -> "Client":
        return self if self._connection is not None else self.open()

    def __exit__(self, *_exc) -> None:
        self.close()


class _LoopEngine:
    """The engine of an event loop, shared by its clients, woken by the queue's descriptor."""

    _by_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopEngine]" = weakref.WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = Engine()
        self.users = 0
        self.loop = loop
        self.fd = self.engine.fd()
        loop.add_reader(self.fd, self._readable)

    def _readable(self) -> None:
        # One batch: what it has set free runs next, and the descriptor stays readable while there is more.
        self.engine.pump(0)

    @classmethod
    def acquire(cls) -> "_LoopEngine":
        loop = asyncio.get_running_loop()
        shared = cls._by_loop.get(loop)
        if shared is None:
            shared = cls._by_loop[loop] = cls(loop)
        shared.users += 1
        return shared

    async def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            self._by_loop.pop(self.loop, None)
            self.loop.remove_reader(self.fd)
            # Saying goodbye takes a moment in which other tasks may run.
            await self.loop.run_in_executor(None, self.engine.close)


class _Awaited(Exchange):
    """An exchange that a coroutine waits for: its future gets the response, straight from the batch of events."""

    def __init__(self, conn: "_LoopConnection", views: bool) -> None:
        self.conn = conn
        self.table = conn.exchanges
        self.views = views
        self.future: "asyncio.Future[Response]" = conn.loop.create_future()

    def on_message(self, status: int, payload: bytes, fields: int) -> None:
        if self.interim is not None or self.sender is not None or self.again is not None:
            Exchange.on_message(self, status, payload, fields)
            return
        # As there, without what this one never had.
        self.over = True
        response = _new_response(Response)
        response.status = status
        response._block = (payload, fields)
        response._headers = response._interim = response._views = None
        response._trailers = ()
        if self.views:
            response.body = b""
            response._views = [memoryview(payload)[fields:]]
        else:
            response.body = payload[fields:]
        if not self.future.done():
            self.future.set_result(response)

    def finished(self, _exchange: Exchange) -> None:
        self.conn.exchanges.pop(self.stream, None)
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.response)


class _LoopConnection(Connection):
    """A connection of an event loop. One alarm serves all requests that somebody waits for."""

    def __init__(
        self, shared: _LoopEngine, session: Session, host: str, port: int, options: Dict[str, object],
        qlog: Optional[_diagnostics.QlogFunction] = None,
    ) -> None:
        self.loop = shared.loop
        self.outbox = shared.engine.outbox
        self.alarm: Optional[asyncio.TimerHandle] = None
        self.alarm_at = math.inf
        super().__init__(shared.engine, session, host, port, options, shared.loop.call_soon, qlog)

    def set_alarm(self, at: float) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
        self.alarm, self.alarm_at = (None, math.inf) if at == math.inf else (self.loop.call_at(at, self.ring), at)

    def ring(self) -> None:
        """Ends what has waited too long."""
        self.engine.outbox.flush()
        now, at = self.loop.time(), math.inf
        for exchange in [*self.exchanges.values(), *self.waiting]:
            if not exchange.deadline or exchange.over:
                continue
            if exchange.deadline <= now:
                self.exchanges.pop(exchange.stream, None)
                exchange.cancel()
                exchange.error = TimeoutError(f"no answer from {self.authority} in time", _abi.WB_E_TIMEOUT)
                exchange.finished(exchange)
            else:
                at = min(at, exchange.deadline)
        self.alarm = None
        self.set_alarm(at)

    def close(self) -> None:
        self.set_alarm(math.inf)
        super().close()


class AsyncClient(_Verbs):
    """A connection to one server, for asyncio. Requests may run concurrently."""

    _shared: Optional[_LoopEngine] = None
    _connection: Optional["_LoopConnection"] = None

    async def open(self) -> "AsyncClient":
        """Connects; returns when the handshake is done (with early data: at once)."""
        self._shared = _LoopEngine.acquire()
        try:
            conn = _LoopConnection(self._shared, self.session, self.host, self.port, self.options, self._qlog)
            self._connection = conn
            if not self.session.early_data:
                ready = asyncio.get_running_loop().create_future()
                inner = conn.on_event

                def until_connected(ev: Event) -> None:
                    inner(ev)
                    if not ready.done() and (conn.connected or conn.error is not None):
                        ready.set_result(None)

                conn.engine.listeners[conn.handle] = until_connected
                try:
                    await asyncio.wait_for(ready, self.timeout)
                except asyncio.TimeoutError:
                    raise TimeoutError(
                        f"no answer from {self.host}:{self.port} in {self.timeout:g} s", _abi.WB_E_TIMEOUT
                    ) from None
                conn.engine.listeners[conn.handle] = inner
                if conn.error is not None:
                    raise conn.error
        except BaseException:
            await self.close()
            raise
        return self

    async def request(
        self, method: str, path: str, *, body: Optional[Body] = None, headers: Fields = (),
        trailers: Optional[Fields] = None, timeout: Optional[float] = None, views: bool = False,
    ) -> Response:
        """Sends a request and returns the whole response. A large ``body`` is read in place: leave it unchanged until
        the call returns. ``views`` gives the response's body without a copy, as ``response.views``."""
        conn = self._connection or self._live()
        exchange = _Awaited(conn, views)
        prefix = conn.prefixes.get(method)
        if (
            prefix is None or body is not None or headers or trailers is not None or not conn.connected or conn.blocked
            or conn.waiting or conn.error is not None or "\0" in path
        ):
            conn.begin(method, path, headers, body, Headers(trailers) if trailers else None, exchange)
        else:
            # What `begin` comes to for a request without body and fields of its own.
            exchange.message = (method, path, (), None, None)
            conn.outbox.add(conn.handle, 0, prefix + path.encode() + b"\0", b"", 0, exchange, conn.sent)
            if not conn.flushing:
                conn.flushing = True
                conn.loop.call_soon(conn.flush)
        limit = self.timeout if timeout is None else timeout
        if limit is not None:
            deadline = exchange.deadline = conn.loop.time() + limit
            if conn.alarm_at > deadline:
                conn.set_alarm(deadline)
        try:
            return await exchange.future
        except BaseException:
            if not exchange.over:
                conn.exchanges.pop(exchange.stream, None)
                exchange.cancel()
            raise

    def get(self, path: str, **more) -> Coroutine[Any, Any, Response]:
        """``request("GET", ...)``."""
        return self.request("GET", path, **more)

    def post(self, path: str, body: Body = b"", **more) -> Coroutine[Any, Any, Response]:
        """``request("POST", ...)``."""
        return self.request("POST", path, body=body, **more)

    async def close(self) -> None:
        """Ends the connection. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._shared is not None:
            shared, self._shared = self._shared, None
            await shared.release()

    async def __aenter__(self) -> "AsyncClient":
        return self if self._connection is not None else await self.open()

    async def __aexit__(self, *_exc) -> None:
        await self.close()
