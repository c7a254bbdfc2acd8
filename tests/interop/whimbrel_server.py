"""Whimbrel's server under the interop tests, through the Python package: the same verbs as the other peers' servers."""
import argparse
import hashlib
import pathlib

import pattern
import whimbrel


def handler(request):
    if request.path.startswith("/bytes/"):
        return whimbrel.Response(200, body=pattern.body(int(request.path.rsplit("/", 1)[1])))
    if request.path == "/hash":
        return whimbrel.Response(200, body=hashlib.sha256(request.body).hexdigest().encode())
    if request.path == "/echo":
        return whimbrel.Response(200, body=request.body)
    return whimbrel.Response(404, body=b"not here\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--cert", required=True)
    ap.add_argument("--key", required=True)
    ap.add_argument("--port", type=int, required=True)
    ap.add_argument("--ready", required=True, help="file to create once the socket is open")
    ap.add_argument("--retry", action="store_true")
    args = ap.parse_args()
    server = whimbrel.Server(
        handler, host="127.0.0.1", port=args.port, cert=args.cert, key=args.key, retry=args.retry, early_data=True
    )
    with server:
        pathlib.Path(args.ready).write_text("ready")
        server.serve_forever()


main()
