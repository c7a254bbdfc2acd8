"""Headless Chromium shows a page that h3_server serves, and its net log proves that it came over HTTP/3."""
import json
import os
import re

from conftest import BUILD, CERTS, run, tool

PAGE = "<!doctype html><title>w</title><h1>The whimbrel has landed</h1><p id=how></p><script src=probe.js></script>"
SCRIPT = "document.getElementById('how').textContent = performance.getEntriesByType('navigation')[0].nextHopProtocol"


def trust(home):
    """Adds our CA to the browser's own store: real verification, no certificate error is ignored."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    run([tool("certutil"), "-d", f"sql:{store}", "-N", "--empty-password"])
    run([tool("certutil"), "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "whimbrel", "-i", CERTS / "ca.pem"])


def events(log):
    """(name, params) of each event; the log may lack its closing brackets when the browser was ended."""
    text = log.read_text(errors="replace")
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = json.loads(text.rstrip().rstrip(",") + "]}")
    names = {number: name for name, number in whole["constants"]["logEventTypes"].items()}
    return [(names.get(e["type"]), e.get("params", {})) for e in whole["events"]]


def test_chromium_shows_our_page_over_h3(servers, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.html").write_text(PAGE)
    (docs / "probe.js").write_text(SCRIPT)
    port = servers.start("h3_server", docs=docs)
    home = tmp_path / "home"
    trust(home)
    log = tmp_path / "net.json"
    os.environ["HOME"], before = str(home), os.environ.get("HOME")
    try:
        done = run([
            tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-quic",
            f"--origin-to-force-quic-on=localhost:{port}",
            "--host-resolver-rules=MAP localhost 127.0.0.1 , EXCLUDE 127.0.0.1 , MAP * ~NOTFOUND",
            f"--log-net-log={log}", "--net-log-capture-mode=Everything", "--virtual-time-budget=5000",
            "--dump-dom", f"https://localhost:{port}/",
        ], timeout=90)
    finally:
        if before is not None:
            os.environ["HOME"] = before
    assert "The whimbrel has landed" in done.stdout, done.stdout + done.stderr + servers.log_of_last()
    assert re.search(r'id="?how"?>h3<', done.stdout), done.stdout
    seen = events(log)
    versions = [p.get("version") for name, p in seen if name == "QUIC_SESSION_VERSION_NEGOTIATED"]
    assert "RFCv1" in versions, versions
    names = {name for name, _ in seen}
    for proof in ("QUIC_SESSION_CERTIFICATE_VERIFIED", "HTTP3_SETTINGS_SENT", "HTTP3_SETTINGS_RECEIVED"):
        assert proof in names, f"{proof} is not in the net log"
    assert '"GET /' in servers.log_of_last() or "GET /" in servers.log_of_last(), "the access log is silent"
    assert BUILD.exists()
