"""One exchange in one call."""
from __future__ import annotations

from typing import Optional
from urllib.parse import urlsplit

from ._client import Client, Session
from ._errors import FatalError
from ._messages import Body, Fields, Response


def request(
    method: str, url: str, *, body: Optional[Body] = None, headers: Fields = (), ca: Optional[str] = None,
    verify: bool = True, session: Optional[Session] = None, timeout: float = 30.0, views: bool = False,
) -> Response:
    """Opens a connection, sends one request, returns the response, closes the connection."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise FatalError(f"not an https URL: {url!r}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with Client(
        parts.hostname, parts.port or 443, ca=ca, verify=verify, session=session, timeout=timeout
    ) as client:
        return client.request(method, target, body=body, headers=headers, views=views)


def get(url: str, **more) -> Response:
    """``request("GET", url, ...)``: the page at a URL."""
    return request("GET", url, **more)
