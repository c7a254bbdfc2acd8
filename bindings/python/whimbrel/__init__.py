"""HTTP/3 over QUIC, on the whimbrel shared library.

``get`` and ``request`` for one exchange, ``Client`` and ``AsyncClient`` for many on one connection, ``Server`` for a
handler function. ``Session`` carries trust, tickets and early data from one connection to the next.
"""
from ._api import get, request
from ._client import AsyncClient, Client, ConnectionInfo, Session
from ._diagnostics import log_to
from ._errors import (
    CertificateError,
    ConnectionClosed,
    Error,
    FatalError,
    HandshakeError,
    LimitError,
    ResolveError,
    StreamReset,
    TimeoutError,
    UnreachableError,
)
from ._library import abi_version, version
from ._messages import Headers, Request, Response
from ._server import Server

__all__ = [
    "AsyncClient", "CertificateError", "Client", "ConnectionClosed", "ConnectionInfo", "Error", "FatalError",
    "HandshakeError", "Headers", "LimitError", "Request", "ResolveError", "Response", "Server", "Session", "StreamReset",
    "TimeoutError", "UnreachableError", "abi_version", "get", "log_to", "request", "version",
]
__version__ = "0.1.0"
