#!/bin/sh
# `make demo`: the C server, a 256 MiB download by the C client whose socket is replaced under way, one fetch by Python.
set -eu
out=$(cd "$1" && pwd)
work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT INT TERM

mkdir "$work/docs"
printf '<!doctype html><title>Whimbrel</title><h1>The whimbrel has landed</h1>\n' >"$work/docs/index.html"
head -c 268435456 /dev/urandom >"$work/docs/large"

"$out/h3_server" -a 127.0.0.1 -p 0 -c "$out/certs/cert.pem" -k "$out/certs/key.pem" "$work/docs" >"$work/log" 2>&1 &
server=$!
tries=0
until grep -q '^serving' "$work/log" 2>/dev/null; do
  tries=$((tries + 1))
  if [ "$tries" -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
    echo "demo: the server did not start:" >&2
    cat "$work/log" >&2
    exit 1
  fi
  sleep 0.05
done
port=$(sed -n 's/^serving .*:\([0-9]*\)\/ .*/\1/p' "$work/log")
url=https://localhost:$port

echo "== 256 MiB over HTTP/3 while the client's socket is replaced"
begin=$(date +%s%N)
"$out/migrate" -n 12 -o "$work/got" -c "$out/certs/ca.pem" "$url/large"
took=$((($(date +%s%N) - begin) / 1000000))
echo "throughput     $((268435456 * 8 / 1000 / (took > 0 ? took : 1))) Mbit/s ($took ms with handshake and $(grep -c 'path changed' "$work/log" || true) path changes seen by the server)"

want=$(sha256sum <"$work/docs/large" | cut -d ' ' -f 1)
have=$(sha256sum <"$work/got" | cut -d ' ' -f 1)
if [ "$want" != "$have" ]; then
  echo "demo: SHA-256 differs: $have, not $want" >&2
  exit 1
fi
echo "SHA-256        $have, as it should be"

echo "== one page with Python"
WHIMBREL_LIBRARY=$(ls "$out"/libwhimbrel.so "$out"/libwhimbrel.dylib 2>/dev/null | head -1) PYTHONPATH=bindings/python \
  python3 -c '
import sys, whimbrel
r = whimbrel.get(sys.argv[1], ca=sys.argv[2])
print("python        ", r, r.text().strip())
sys.exit(r.status != 200)' "$url/" "$out/certs/ca.pem"
