"""tcpdump and tshark read what our two sides say to each other, opened with our key log.

The capture is tcpdump's, on the server's device in a network namespace. tshark must find nothing malformed and nothing
that its experts call an error, fail to open no packet, and must have seen inside what the scenario is about.
"""
import os
import re
import subprocess
import sys
import time

import pytest

from conftest import CERTS, HERE, tool

sys.path.insert(0, str(HERE / "grid"))
import network  # noqa: E402

PEER = HERE / "grid" / "whimbrel_peer.py"
FILES = {"small": 2_000, "large": 700_000}
#: tshark's numbers for the severity of expert remarks.
ERROR = 8388608
#: Frames as tshark numbers them.
STREAM, CHALLENGE, RESPONSE, DATAGRAM, DONE, NEW_ID = range(8, 16), 0x1A, 0x1B, {0x30, 0x31}, 0x1E, 0x18

SCENARIOS = [
    # case, ALPN, version, what must have been seen
    ("http3", "h3", "1", {"h3"}),
    ("http3", "h3", "2", {"h3"}),
    ("keyupdate", "h3", "1", {"key phase"}),
    ("keyupdate", "hq-interop", "2", {"key phase"}),
    ("clientmigration", "hq-interop", "1", {"migration"}),
    ("clientmigration", "h3", "2", {"migration"}),
    ("datagrams", "h3", "1", {"datagrams"}),
    ("datagrams", "hq-interop", "2", {"datagrams"}),
    ("retry", "h3", "1", {"retry"}),
    ("retry", "hq-interop", "2", {"retry"}),
    ("zerortt", "h3", "1", {"early"}),
    ("zerortt", "hq-interop", "2", {"early"}),
]


def play(folder, case, alpn, version):
    """Runs both sides and gives the capture."""
    (folder / "www").mkdir()
    (folder / "out").mkdir()
    for name, size in FILES.items():
        (folder / "www" / name).write_bytes(bytes(i * 7 & 0xFF for i in range(size)))
    (folder / "paths").write_text("".join(f"/{n}\n" for n in FILES))
    common = ["--case", case, "--alpn", alpn, "--keylog", folder / "keys.log"]
    with network.Network(f"wt{os.getpid() % 100000:x}", folder, ["--rate", "50000000", "--delay-ms", "5"], 7) as net:
        dump = net.start(net.server, "tcpdump", [
            tool("tcpdump"), "-i", "link0", "-U", "-Z", "root", "--immediate-mode", "-w", folder / "tcpdump.pcap", "udp"])
        end = time.monotonic() + 20
        while "listening on" not in net.log("tcpdump"):
            assert dump.poll() is None and time.monotonic() < end, net.log("tcpdump")
            time.sleep(0.02)
        server = net.start(net.server, "server", [
            sys.executable, PEER, "server", *common, "--bind", "0.0.0.0", "--cert", CERTS / "cert.pem",
            "--key", CERTS / "key.pem", "--www", folder / "www"], network.environment())
        net.wait_for_text("server", server)
        client = net.start(net.client, "client", [
            sys.executable, PEER, "client", *common, "--host", net.host, "--ca", CERTS / "ca.pem", "--version", version,
            "--start", "--out", folder / "out", "--paths", folder / "paths"], network.environment())
        assert client.wait(60) == 0, net.log("client")
        net.stop(server)
        time.sleep(0.2)
        net.stop(dump)
    for name in FILES:
        assert (folder / "out" / name).read_bytes() == (folder / "www" / name).read_bytes()
    return folder / "tcpdump.pcap"


def tshark(folder, capture, *more):
    env = dict(os.environ, HOME=str(folder), LC_ALL="C.UTF-8")
    argv = [tool("tshark"), "-r", capture, "-o", f"tls.keylog_file:{folder / 'keys.log'}", "-d", "udp.port==443,quic", *more]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def column(text):
    """All values of the second column: a datagram may have several."""
    return [v for line in text.splitlines() for v in line.split("\t")[1].split(",") if v]


@pytest.mark.parametrize("case,alpn,version,wanted", SCENARIOS, ids=lambda v: v if isinstance(v, str) else "")
def test_decodes_without_complaint(tmp_path, case, alpn, version, wanted):
    capture = play(tmp_path, case, alpn, version)

    plain = subprocess.run([tool("tcpdump"), "-nn", "-v", "-r", str(capture)], capture_output=True, text=True, timeout=60)
    assert plain.returncode == 0, plain.stderr
    datagrams = plain.stdout.count(" UDP, length") or plain.stdout.count("quic")
    assert datagrams > 30, plain.stdout[:2000]
    # "[|udp]" is how tcpdump marks what is cut short.
    assert not re.search(r"bad udp cksum|\[\||malformed|invalid|truncated", plain.stdout, re.IGNORECASE), plain.stdout

    remarks = tshark(tmp_path, capture, "-Y", f"_ws.malformed or _ws.expert.severity >= {ERROR}",
                     "-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message")
    assert remarks == "", remarks
    closed = tshark(tmp_path, capture, "-Y", "quic.decryption_failed",
                    "-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message")
    assert closed == "", closed

    versions = {int(v, 16) for v in column(tshark(
        tmp_path, capture, "-Y", "quic.header_form == 1", "-T", "fields", "-e", "frame.number", "-e", "quic.version"))}
    assert (0x6B3343CF if version == "2" else 1) in versions, versions
    # Frames of 1-RTT packets only show when they could be opened.
    seen = {int(v) for v in column(tshark(
        tmp_path, capture, "-Y", "quic.header_form == 0", "-T", "fields", "-e", "frame.number", "-e", "quic.frame_type"))}
    assert seen & set(STREAM) and {DONE, NEW_ID} <= seen, seen
    if "h3" in wanted:
        def of(field):
            return set(column(tshark(tmp_path, capture, "-Y", "http3", "-T", "fields", "-e", "frame.number", "-e", field)))

        # HEADERS and SETTINGS (RFC 9114 section 7.2); the control stream and both of QPACK. Field sections stay closed to
        # the tshark of Debian 12.
        assert {"1", "4"} <= of("http3.frame_type")
        assert {"0", "2", "3"} <= of("http3.stream_type")
        assert of("http3.settings.qpack.max_table_capacity")
    if "key phase" in wanted:
        for side in ("udp.dstport == 443", "udp.srcport == 443"):
            new = tshark(tmp_path, capture, "-Y", f"{side} and quic.key_phase == 1 and quic.frame",
                         "-T", "fields", "-e", "frame.number", "-e", "quic.frame_type")
            assert new, f"no opened packet with key phase 1: {side}"
    if "migration" in wanted:
        assert {CHALLENGE, RESPONSE} <= seen, seen
        ports = set(column(tshark(
            tmp_path, capture, "-Y", "udp.dstport == 443 and quic.frame", "-T", "fields", "-e", "frame.number", "-e", "udp.srcport")))
        assert len(ports) == 2, ports
    if "datagrams" in wanted:
        assert seen & DATAGRAM, seen
    # Packet types as the version numbers them (RFC 9000 section 17.2, RFC 9369 section 3.2).
    of_type = "quic.long.packet_type_v2" if version == "2" else "quic.long.packet_type"
    early, retry = (2, 0) if version == "2" else (1, 3)
    if "retry" in wanted:
        assert tshark(tmp_path, capture, "-Y", f"udp.srcport == 443 and {of_type} == {retry}"), "no Retry"
    if "early" in wanted:
        opened = tshark(tmp_path, capture, "-Y", f"udp.dstport == 443 and {of_type} == {early} and quic.stream.stream_id")
        assert opened, "no 0-RTT packet that could be opened"
