#!/bin/sh
# Installs what `make check` needs on Debian: the standard library's source (for ThreadSanitizer), C compilers, ngtcp2's
# programs, Chromium, tshark and tcpdump, iproute2, what BoringSSL (for quiche) is built with, and a Python environment with
# aioquic and pytest. Does nothing for what is there already; fails loudly otherwise.
set -eu
venv=$1

if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
  rustup component add rust-src
fi

need=
for pair in gcc:gcc g++:g++ clang:clang make:make valgrind:valgrind gtlsclient:ngtcp2-client gtlsserver:ngtcp2-server \
    chromium:chromium certutil:libnss3-tools \
    pkg-config:pkg-config ip:iproute2 tshark:tshark tcpdump:tcpdump cmake:cmake; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || need="$need ${pair##*:}"
done
python3 -c 'import venv, ensurepip' 2>/dev/null || need="$need python3-venv"

# bindgen, for quiche's BoringSSL, loads this library by itself.
ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || need="$need libclang-dev"

if [ -n "$need" ]; then
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: missing$need, and this system has no apt-get: install them with its package manager" >&2
    exit 1
  fi
  as_root=
  [ "$(id -u)" = 0 ] || as_root=sudo
  echo "setup: installing$need"
  $as_root apt-get -o DPkg::Lock::Timeout=300 update -qq
  # shellcheck disable=SC2086 # a list of packages
  DEBIAN_FRONTEND=noninteractive $as_root apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $need
fi

if ! "$venv/bin/python" -c 'import aioquic, pytest' 2>/dev/null; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
fi
