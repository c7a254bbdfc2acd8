#!/bin/sh
# The C boundary under AddressSanitizer and ThreadSanitizer.
#   tests/sanitize.sh                              all of it, with a summary: what `make sanitize` runs
#   tests/sanitize.sh address|thread LOANS [SEED]  the reaper race alone
# The compiler is the project's own: the sanitizers' runtimes come with it, RUSTC_BOOTSTRAP only lets a stable compiler
# take their flags. ThreadSanitizer needs to see the standard library's atomics too (it does not know fences, and Arc has
# one unless built for it), so that is built from the component rust-src. No suppressions. What is missing is a failure.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
began=$(date +%s)
export RUSTC_BOOTSTRAP=1 RUST_BACKTRACE=1
export ASAN_OPTIONS="abort_on_error=1 detect_stack_use_after_return=1"
export TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1 history_size=7"

# A sanitizer that finds nothing in a broken program finds nothing at all.
control() {
  case $1 in
  address) body='let b = Box::new(7u8); let p: *const u8 = &*b; drop(b);
    std::process::exit(i32::from(unsafe { std::ptr::read_volatile(p) } == 9));' ;;
  # Often: of two accesses at the very same moment the sanitizer may see neither.
  thread) body='static mut N: u64 = 0; for _ in 0..100 { let t = std::thread::spawn(|| unsafe { N += 1 });
    unsafe { N += 1 }; t.join().unwrap(); }' ;;
  esac
  printf '#![allow(warnings)] fn main() { %s }\n' "$body" >"$scratch/control.rs"
  rustc --edition 2024 -Zsanitizer="$1" -Cunsafe-allow-abi-mismatch=sanitizer -o "$scratch/control" "$scratch/control.rs"
  if "$scratch/control" >"$scratch/control.log" 2>&1 || ! grep -q "Sanitizer:" "$scratch/control.log"; then
    echo "sanitize: the $1 sanitizer does not see a planted error" >&2
    exit 1
  fi
}

# What the sanitizer's build of cargo's tests is called with.
build_for() {
  case $1 in
  address) RUSTFLAGS="-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer" ;;
  thread)
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
      echo "sanitize: the standard library's source is missing: rustup component add rust-src" >&2
      exit 1
    fi
    RUSTFLAGS="-Zsanitizer=thread"
    set -- "$1" -Zbuild-std
    ;;
  *)
    echo "sanitize: no sanitizer called $1" >&2
    exit 2
    ;;
  esac
  export RUSTFLAGS
  kind=$1
  shift
  control "$kind"
  flags="--locked --target $host --target-dir target/$kind $*"
}

reaper() {
  # shellcheck disable=SC2086 # a list of flags
  if ! WB_REAPER=$1 WB_SEED="${2:-1}" cargo test $flags --test reaper -- --nocapture >"$scratch/reaper.log"; then
    cat "$scratch/reaper.log"
    exit 1
  fi
  figures=$(grep ' loans, ' "$scratch/reaper.log")
  echo "sanitize: $kind: $figures"
}

# Every function times every misuse: the library and the C program that calls it.
misuse() {
  runtime=$(ls "$(rustc --print sysroot)/lib/rustlib/$host/lib/"librustc*_rt.asan.a)
  # shellcheck disable=SC2086 # a list of flags
  if ! WB_ASAN_RUNTIME=$runtime cargo test $flags --test misuse -- --nocapture >"$scratch/misuse.log"; then
    cat "$scratch/misuse.log"
    exit 1
  fi
  figures=$(sed -n 's/^misuse: //p' "$scratch/misuse.log")
  echo "sanitize: $kind: $figures"
}

if [ $# -gt 0 ]; then
  build_for "$1"
  reaper "$2" "${3:-1}"
  exit 0
fi

build_for address
reaper 10000
address=$figures
misuse
misuse=$figures
build_for thread
reaper 5000
thread=$figures
echo "sanitize: address: $address, misuse of $misuse; thread: $thread; no reports; $(($(date +%s) - began)) s"
