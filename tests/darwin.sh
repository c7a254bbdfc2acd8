#!/bin/sh
# The library for macOS, checked on Linux: every line that only macOS compiles passes the compiler and clippy. Nothing is linked
# and nothing runs. The standard library is built from the component rust-src; ring's C needs clang and a handful of headers, and
# as no object of it is linked, headers that declare what it names are enough in place of Apple's.
#   tests/darwin.sh [TARGET]      aarch64-apple-darwin by default
set -eu
cd "$(dirname "$0")/.."
target=${1:-aarch64-apple-darwin}
for tool in clang ar; do
  command -v "$tool" >/dev/null || { echo "darwin: $tool is missing: make setup" >&2; exit 1; }
done
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
  echo "darwin: the standard library's source is missing: rustup component add rust-src" >&2
  exit 1
fi

sdk=$(mktemp -d)
trap 'rm -rf "$sdk"' EXIT
mkdir -p "$sdk/usr/include"
printf '#define TARGET_OS_MAC 1\n#define TARGET_OS_OSX 1\n#define TARGET_OS_IPHONE 0\n' >"$sdk/usr/include/TargetConditionals.h"
for header in assert string stdlib; do
  cat >"$sdk/usr/include/$header.h" <<'C'
#pragma once
#include <stddef.h>
#define assert(x) ((void)0)
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
C
done

name=$(echo "$target" | tr - _)
export SDKROOT="$sdk" RUSTC_BOOTSTRAP=1
export "CC_$name=clang" "AR_$name=ar"
export "CFLAGS_$name=--target=$target -ffreestanding -I$sdk/usr/include"
cargo clippy --locked --quiet --lib -Zbuild-std=std,panic_abort --target "$target" --target-dir target/darwin -- -D warnings
echo "darwin: $target compiles without a warning"
