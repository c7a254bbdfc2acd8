#!/bin/sh
# The reaper race under AddressSanitizer and ThreadSanitizer. The compiler is the project's own: the sanitizers' runtimes
# come with it, RUSTC_BOOTSTRAP only lets a stable compiler take their flag.
#   tests/sanitize.sh address|thread LOANS [SEED]
set -eu
kind=$1
export WB_REAPER=$2 WB_SEED="${3:-1}"
host=$(rustc -vV | sed -n 's/^host: //p')
here=$(cd "$(dirname "$0")" && pwd)
export RUSTC_BOOTSTRAP=1 RUST_BACKTRACE=1
export RUSTFLAGS="-Zsanitizer=$kind -Cunsafe-allow-abi-mismatch=sanitizer"
export ASAN_OPTIONS="abort_on_error=1 detect_stack_use_after_return=1"
export TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1 history_size=7"
cd "$here/.."
cargo test --locked --target "$host" --target-dir "target/$kind" --test reaper -- --nocapture
