"""One tree of exceptions. What came over the wire carries its code."""
from __future__ import annotations

import builtins
import ctypes
from typing import Optional

from . import _abi


class Error(Exception):
    """Anything that the library reports.

    ``status`` is the library's number, ``code`` the wire code (or None), ``by_peer`` tells who began.
    """

    def __init__(self, text: str, status: int = 0, code: Optional[int] = None, by_peer: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.by_peer = by_peer


class FatalError(Error):
    """The library was used wrongly, or the system refused something: trying again will not help."""


class ConnectionClosed(Error, ConnectionError):
    """The connection ended before the exchange did."""


class HandshakeError(ConnectionClosed):
    """The connection could not be set up."""


class CertificateError(HandshakeError):
    """The server's certificate was refused."""


class ResolveError(HandshakeError):
    """The host name has no address."""


class UnreachableError(HandshakeError):
    """Nobody listens at the address."""


class TimeoutError(Error, builtins.TimeoutError):  # noqa: A001 - the library's own is also the built-in one
    """No answer in time."""


class StreamReset(Error):
    """The peer gave up this exchange; the connection may go on."""


class LimitError(Error):
    """A bound was reached that passes: paths or connection IDs in use, handles, sizes. Try again later."""


_BY_STATUS = {
    _abi.WB_E_LIMIT: LimitError,
    _abi.WB_E_VERIFY: CertificateError,
    _abi.WB_E_RESOLVE: ResolveError,
    _abi.WB_E_UNREACHABLE: UnreachableError,
    _abi.WB_E_TIMEOUT: TimeoutError,
    _abi.WB_E_TLS: HandshakeError,
    _abi.WB_E_VERSION: HandshakeError,
    _abi.WB_E_RESET: StreamReset,
    _abi.WB_E_STOPPED: StreamReset,
    _abi.WB_E_CLOSED_LOCAL: ConnectionClosed,
    _abi.WB_E_CLOSED_PEER: ConnectionClosed,
    _abi.WB_E_TRANSPORT: ConnectionClosed,
    _abi.WB_E_APPLICATION: ConnectionClosed,
    _abi.WB_E_IDLE: ConnectionClosed,
    _abi.WB_E_H3: ConnectionClosed,
    _abi.WB_E_QPACK: ConnectionClosed,
}


def new_info() -> _abi.wb_error_info:
    info = _abi.wb_error_info()
    info.struct_size = ctypes.sizeof(info)
    return info


def from_info(info: _abi.wb_error_info, status: Optional[int] = None, default: type = FatalError) -> Error:
    """The exception for a filled ``wb_error_info``."""
    number = info.status if status is None else status
    kind = _BY_STATUS.get(number, default)
    code = info.wire_code if info.origin in (_abi.WB_ORIGIN_LOCAL, _abi.WB_ORIGIN_PEER) else None
    text = info.text.decode("utf-8", "replace") or f"status {number}"
    return kind(text, number, code, info.origin == _abi.WB_ORIGIN_PEER)
