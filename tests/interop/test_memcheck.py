"""The C examples under valgrind's memcheck: no error, nothing definitely lost, in client, server and migration.

ChaCha20-Poly1305 is asked for, because memcheck does not follow ring's AES-GCM; memcheck.supp says what is left of that.
"""
import hashlib
import os
import re
import signal
import subprocess
import time

import pytest
from conftest import BUILD, CERTS, HERE, environment, tool

MEMCHECK = [
    "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
    "--track-origins=yes", "--num-callers=30", "-q", f"--suppressions={HERE / 'memcheck.supp'}",
]
CHACHA = "0x1303"


def under_memcheck(program, *arguments):
    return [tool("valgrind"), *MEMCHECK, str(BUILD / program), *map(str, arguments)]


@pytest.fixture
def checked_server(tmp_path):
    """h3_server under memcheck; when the test is over it is ended in order and must have been clean."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "large").write_bytes(os.urandom(8 << 20))
    (docs / "index.html").write_text("<h1>index</h1>")
    log = open(tmp_path / "server.log", "w+")
    server = subprocess.Popen(
        under_memcheck(
            "h3_server", "-a", "127.0.0.1", "-p", 0, "-w", 2, "-c", CERTS / "cert.pem", "-k", CERTS / "key.pem", docs
        ), stdout=log, stderr=subprocess.STDOUT, env=environment(),
    )
    deadline = time.monotonic() + 60
    port = None
    while port is None:
        text = (tmp_path / "server.log").read_text()
        assert server.poll() is None and time.monotonic() < deadline, text
        found = re.search(r"^serving .*:(\d+)/ ", text, re.M)
        port = found and int(found.group(1))
        time.sleep(0.05)
    yield port, docs
    server.send_signal(signal.SIGINT)
    code = server.wait(60)
    text = (tmp_path / "server.log").read_text()
    assert code == 0 and "==" not in text, text


def clean(argv):
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=240, env=environment())
    assert done.returncode == 0 and "==" not in done.stderr, done.stderr[-6000:]
    return done


def test_client_server_and_migration_are_clean(checked_server, tmp_path):
    port, docs = checked_server
    want = hashlib.sha256((docs / "large").read_bytes()).hexdigest()
    url = f"https://localhost:{port}"
    clean(under_memcheck("h3_get", "-v", "-s", CHACHA, "-c", CERTS / "ca.pem", "-o", tmp_path / "page", f"{url}/"))
    assert (tmp_path / "page").read_text() == "<h1>index</h1>"
    for program, more in (("h3_get", ["-q", tmp_path]), ("migrate", ["-n", "1"])):
        clean(under_memcheck(
            program, *more, "-s", CHACHA, "-c", CERTS / "ca.pem", "-o", tmp_path / "got", f"{url}/large"
        ))
        assert hashlib.sha256((tmp_path / "got").read_bytes()).hexdigest() == want


def test_failures_are_clean_too(checked_server, tmp_path):
    port, _ = checked_server
    for url, code in ((f"https://localhost:{port}/nothing", 9), ("https://127.0.0.1:1/", 5)):
        done = subprocess.run(
            under_memcheck("h3_get", "-f", "-t", "20", "-s", CHACHA, "-c", CERTS / "ca.pem", "-o", tmp_path / "x", url),
            capture_output=True, text=True, timeout=120, env=environment(),
        )
        assert done.returncode == code and "==" not in done.stderr, (done.returncode, done.stderr)


def test_memcheck_would_notice(tmp_path):
    """The same flags report a branch on uninitialised memory and a leak."""
    source = tmp_path / "bad.c"
    source.write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n"
        "int main(int c, char **v) { int *p = malloc(8); (void)v; if (*p == c) puts(\"x\"); p = NULL; return p != NULL; }\n"
    )
    subprocess.run(["cc", "-O0", "-g", "-o", tmp_path / "bad", source], check=True)
    done = subprocess.run([tool("valgrind"), *MEMCHECK, tmp_path / "bad"], capture_output=True, text=True)
    assert done.returncode == 99 and "uninitialised" in done.stderr and "definitely lost" in done.stderr
