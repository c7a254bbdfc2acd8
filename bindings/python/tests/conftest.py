"""The tests run on the library and certificates that `make` puts under build/."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
BUILD = ROOT / "build"
CERTS = BUILD / "certs"

os.environ.setdefault(
    "WHIMBREL_LIBRARY", str(BUILD / ("libwhimbrel.dylib" if sys.platform == "darwin" else "libwhimbrel.so"))
)
sys.path.insert(0, str(ROOT / "bindings" / "python"))


def echo(request):
    """The handler of most tests."""
    import whimbrel

    if request.path == "/echo":
        return whimbrel.Response(200, body=request.body, headers=[("x-method", request.method)])
    if request.path.startswith("/bytes/"):
        return bytes(int(request.path.rsplit("/", 1)[1]))
    if request.path == "/fields":
        return "\n".join(f"{k}: {v}" for k, v in request.headers).encode()
    if request.path == "/peer":
        return request.peer.encode()
    if request.path == "/fail":
        raise RuntimeError("the handler's own fault")
    if request.path == "/trailers":
        return whimbrel.Response(200, body=b"body", trailers=[("x-sum", "42"), ("x-got", request.trailers.get("x-up", ""))])
    return whimbrel.Response(404, body=b"not here\n")


@pytest.fixture(scope="session")
def ca():
    path = CERTS / "ca.pem"
    assert path.exists(), "no certificates: run `make certs`"
    return str(path)


@pytest.fixture
def server():
    import whimbrel

    with whimbrel.Server(
        echo, cert=str(CERTS / "cert.pem"), key=str(CERTS / "key.pem"), early_data=True, max_body=64 << 20
    ) as s:
        yield s.start()
