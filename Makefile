# Whimbrel. `make demo` shows it, `make check` proves it, `make install` installs it.
CARGO  ?= cargo
CC     ?= cc
PYTHON ?= python3
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
OUT    := build
VENV   := $(OUT)/venv

ABI     := 0
# What the static library needs of the system: said once.
PRIVATE := $(shell sed -n 's/^Libs.private: //p' tools/whimbrel.pc.in)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
UNAME   := $(shell uname -s)
ifeq ($(UNAME),Darwin)
LIB   := libwhimbrel.dylib
RPATH := -Wl,-rpath,@loader_path
else
LIB   := libwhimbrel.so
RPATH := -Wl,-rpath,'$$ORIGIN'
endif

CFLAGS   ?= -O2 -g
CWARN    := -std=c11 -Wall -Wextra -Werror -pedantic -D_GNU_SOURCE
EXAMPLES := $(patsubst examples-c/%.c,$(OUT)/%,$(wildcard examples-c/*.c))

.PHONY: all lib examples demo test sanitize models seeded check grid matrix lint bench instructions lookups setup install uninstall clean peers certs duvet

all: lib examples

lib: $(OUT)
	$(CARGO) build --release --locked --features worker-heap
	cp target/release/$(LIB) $(OUT)/$(LIB)
	[ "$(UNAME)" = Darwin ] || ln -sf $(LIB) $(OUT)/$(LIB).$(ABI)

$(OUT):
	mkdir -p $(OUT)

examples: lib $(EXAMPLES)

$(OUT)/%: examples-c/%.c include/whimbrel.h $(wildcard examples-c/*.h) | lib
	$(CC) $(CWARN) $(CFLAGS) -Iinclude -o $@ $< -L$(OUT) -lwhimbrel $(RPATH)

$(OUT)/wb_bench: $(wildcard benches/whimbrel/*.[ch]) include/whimbrel.h | lib
	$(CC) $(CWARN) $(CFLAGS) -Iinclude -o $@ $(wildcard benches/whimbrel/*.c) -L$(OUT) -lwhimbrel $(RPATH)

$(OUT)/cases: benches/instructions/cases.c include/whimbrel.h | lib
	$(CC) $(CWARN) $(CFLAGS) -Iinclude -o $@ $< -L$(OUT) -lwhimbrel $(RPATH)

# A throw-away certificate authority and a certificate for localhost. Not a release build: examples are built with what
# tests need (the feature sim), and the library that is shipped is not built a second time for it.
certs: $(OUT)/certs/cert.pem
$(OUT)/certs/cert.pem: tools/make_cert.rs | $(OUT)
	$(CARGO) run --locked --quiet --example make_cert -- $(OUT)/certs

demo: all certs
	tools/demo.sh $(OUT)

# What the tests need beside Rust: C compilers, foreign peers, a browser, Python packages.
setup:
	tests/setup.sh $(VENV)

peers: | $(OUT)
	for peer in quinn quiche link; do (cd tests/peers/$$peer && $(CARGO) build --release --locked) || exit 1; done

# The quick tier: a few minutes, needs Rust, a C compiler and Python.
test: lib
	$(CARGO) test --locked
	WB_LIBRARY=$(OUT)/$(LIB) $(CARGO) test --locked --test misuse

# The fault matrix in full: MATRIX rows of a covering array, some minutes.
MATRIX ?= 3000
matrix:
	WB_MATRIX=$(MATRIX) $(CARGO) test --locked --test matrix
	WB_CONGESTION_SEEDS=5 $(CARGO) test --locked --test congestion seeds::

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# Instructions per packet, request and handshake in virtual time, against benches/instructions/baseline.txt; needs valgrind.
instructions: lib certs $(OUT)/cases
	$(PYTHON) benches/instructions/run.py $(OUT)

# Everything: the quick tier, lints, C and Python programs, foreign peers in both roles, a browser.
check: setup lint all certs instructions peers $(OUT)/wb_bench test matrix
	$(VENV)/bin/python -m pytest -q --color=no bindings/python/tests
	$(VENV)/bin/python -m pytest -q --color=no tests/interop
	$(VENV)/bin/python tests/interop/grid/run.py
	$(MAKE) sanitize
	$(MAKE) models
	$(PYTHON) tests/seeded/run.py --quick
	tests/darwin.sh

# The concurrency of the C boundary under model checkers (tests/models): loom for what stands on memory orderings, shuttle for
# the whole library. A workspace of its own with a target folder beside the library's.
MODELS := cd tests/models && $(CARGO) test --locked --target-dir ../../target/models
models:
	$(MODELS) -p whimbrel-loom -- --nocapture
	$(MODELS) --test all -- --nocapture

# Bugs planted on purpose are found, each by the model, race or program that must (tests/seeded). All of them take some ten
# minutes; `make check` looks whether every patch still applies and plants those that loom finds.
seeded:
	$(PYTHON) tests/seeded/run.py

# The interop grid alone (needs root, for network namespaces); writes its table into docs/interop.md.
grid: setup lib certs peers
	$(VENV)/bin/python tests/interop/grid/run.py --write docs/interop.md

# The reaper race under AddressSanitizer and ThreadSanitizer: what the library still reads when memory is taken away, and
# what its threads do to each other. Needs the compiler's component rust-src (`make setup`).
sanitize:
	tests/sanitize.sh

# Whimbrel beside its peers (benches/run.py says how to shorten it). BENCH='--write docs/performance.md' writes the tables.
BENCH ?=
bench: setup all certs $(OUT)/wb_bench
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r benches/requirements.txt
	$(VENV)/bin/python benches/run.py $(OUT) $(BENCH)

# The citations of the specifications once more, by duvet (docs/requirements/README.md). SPECS: a folder with rfcNNNN.txt; without
# it duvet downloads them. Not part of `check`, which has a checker of its own: duvet takes five minutes of CPU to build.
DUVET := $(OUT)/duvet
RFCS  := .duvet/specifications/www.rfc-editor.org/rfc
duvet: | $(OUT)
	[ -x $(DUVET)/bin/duvet ] || $(CARGO) install duvet --version 0.4.3 --locked --root $(DUVET)
	[ -z "$(SPECS)" ] || { mkdir -p $(RFCS) && for n in 8999 9000 9001 9002 9221 9287 9368 9369; do \
	  cp "$$(ls $(SPECS)/rfc$$n*.txt | head -1)" $(RFCS)/rfc$$n.txt || exit 1; done; }
	$(DUVET)/bin/duvet report
	$(PYTHON) tests/requirements/duvet.py $(OUT)/duvet/report.json

# Share of handle look-ups in the CPU time, by perf and by callgrind (docs/performance.md).
lookups: all certs
	$(PYTHON) benches/lookups.py $(OUT)
	$(PYTHON) benches/lookups.py $(OUT) callgrind

install: lib
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(LIBDIR)/cmake/whimbrel $(DESTDIR)$(PREFIX)/include
	install -m 644 include/whimbrel.h include/whimbrel.hpp $(DESTDIR)$(PREFIX)/include/
	install -m 644 target/release/libwhimbrel.a $(DESTDIR)$(LIBDIR)/
ifeq ($(UNAME),Darwin)
	install -m 755 target/release/$(LIB) $(DESTDIR)$(LIBDIR)/
else
	install -m 755 target/release/$(LIB) $(DESTDIR)$(LIBDIR)/$(LIB).$(VERSION)
	ln -sf $(LIB).$(VERSION) $(DESTDIR)$(LIBDIR)/$(LIB).$(ABI)
	ln -sf $(LIB).$(ABI) $(DESTDIR)$(LIBDIR)/$(LIB)
endif
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|' tools/whimbrel.pc.in \
	  > $(DESTDIR)$(LIBDIR)/pkgconfig/whimbrel.pc
	for page in whimbrelConfig whimbrelConfigVersion; do \
	  sed -e 's|@ABI@|$(ABI)|; s|@VERSION@|$(VERSION)|; s|@PRIVATE@|$(PRIVATE)|' tools/$$page.cmake.in \
	    > $(DESTDIR)$(LIBDIR)/cmake/whimbrel/$$page.cmake || exit 1; done

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/include/whimbrel.h $(DESTDIR)$(PREFIX)/include/whimbrel.hpp $(DESTDIR)$(LIBDIR)/pkgconfig/whimbrel.pc \
	  $(DESTDIR)$(LIBDIR)/libwhimbrel.a $(DESTDIR)$(LIBDIR)/$(LIB) $(DESTDIR)$(LIBDIR)/$(LIB).$(ABI) \
	  $(DESTDIR)$(LIBDIR)/$(LIB).$(VERSION)
	rm -rf $(DESTDIR)$(LIBDIR)/cmake/whimbrel

clean:
	rm -rf $(OUT) target tests/peers/*/target benches/peers/target
