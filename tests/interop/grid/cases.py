"""The cases of the interop grid: files, link, and what a peer cannot do."""
import pathlib
from dataclasses import dataclass

ABI = pathlib.Path(__file__).resolve().parents[3] / "bindings" / "whimbrel.abi.json"

KB, MB = 1000, 1_000_000


@dataclass(frozen=True)
class Case:
    name: str
    #: Sizes of the files.
    files: tuple
    title: str
    link: tuple = ()
    limit: int = 60
    #: Handshakes that the capture must show.
    handshakes: int = 1
    v6: bool = False
    #: 1-RTT packets must be opened for judging.
    deep: bool = False
    long_names: bool = False
    chain: str = "short"

    @property
    def kind(self) -> str:
        """What programs and criteria call it: the same over IPv6 is no other thing to them."""
        return self.name.removesuffix("-v6")


MANY = tuple([1 * KB] * 50)

CASES = [
    Case("handshake", (1 * KB,), "handshake and one small file"),
    Case("transfer", (2 * MB, 3 * MB, 5 * MB), "three files at once, flow control opened under way"),
    Case("retry", (10 * KB,), "Retry, its token comes back, packet numbers go on", deep=True),
    Case("resumption", (5 * KB, 10 * KB), "second connection without a Certificate", handshakes=2, deep=True),
    Case("zerortt", tuple([32] * 40), "39 requests in early data", handshakes=2, deep=True, long_names=True),
    Case("chacha20", (3 * MB,), "ChaCha20-Poly1305 is the only suite offered"),
    Case("keyupdate", (3 * MB,), "both directions go to key phase 1", deep=True),
    Case("multiplexing", tuple([32] * 1999), "1999 streams, credit of at most 1000 renewed"),
    Case("http3", (5 * KB, 10 * KB, 500 * KB), "an HTTP/3 exchange"),
    Case("longrtt", (1 * KB,), "1.5 s round trip: the first flight is sent again", ("--delay-ms", "750")),
    Case("blackhole", (10 * MB,), "the link is dead for 2 s in every 5 s", ("--outage-ms", "5000,2000"), limit=90),
    Case("multiconnect", MANY, "50 connections, one after the other", handshakes=50, limit=120),
    Case("handshakeloss", MANY, "50 connections, 30 % loss each way", ("--loss", "0.3"), 300, 50),
    Case("handshakecorruption", MANY, "50 connections, 30 % of packets damaged", ("--corrupt", "0.3"), 300, 50),
    Case("transferloss", (2 * MB,), "2 MB, 2 % loss each way", ("--loss", "0.02")),
    Case("transfercorruption", (2 * MB,), "2 MB, 2 % of packets damaged", ("--corrupt", "0.02")),
    Case("ipv6", (5 * KB, 10 * KB), "IPv6 only", v6=True),
    Case("v2", (1 * KB,), "v1 becomes v2 without another round trip (RFC 9368)"),
    Case("versionnegotiation", (1 * KB,), "Version Negotiation answers an unknown version"),
    Case("rebind-port", (10 * MB,), "the NAT changes the port after 1 s, then every 5 s",
         ("--rebind-port-ms", "1000,5000"), limit=90, deep=True),
    Case("rebind-addr", (10 * MB,), "the NAT changes port and address",
         ("--rebind-addr-ms", "1000,5000"), limit=90, deep=True),
    Case("connectionmigration", (2 * MB,), "the client moves to the server's preferred address", deep=True),
    Case("connectionmigration-v6", (2 * MB,), "the same over IPv6", v6=True, deep=True),
    Case("clientmigration", (2 * MB,), "the client moves to another port of its own", deep=True),
    Case("ecn", (100 * KB,), "both sides mark, both report", deep=True),
    Case("amplificationlimit", (5 * KB,), "3x limit with a chain that does not fit, client datagrams 2 to 7 lost",
         ("--drop-client", "2,7"), deep=True, chain="long"),
]

PEERS = ["aioquic", "ngtcp2", "quinn", "quiche"]
#: Role of the peer.
ROLES = ["client", "server"]

#: (case, peer, role of the peer) -> why the peer cannot do it.
LACKING = {
    ("v2", "ngtcp2", "client"): "0.12.1 (Debian 12) speaks the draft's version 0x709a50c4, not that of RFC 9369",
    ("v2", "ngtcp2", "server"): "0.12.1 (Debian 12) speaks the draft's version 0x709a50c4, not that of RFC 9369",
    ("v2", "quinn", "client"): "quinn 0.11 has no version 2",
    ("v2", "quinn", "server"): "quinn 0.11 has no version 2",
    ("v2", "quiche", "client"): "quiche 0.30 has no version 2",
    ("v2", "quiche", "server"): "quiche 0.30 has no version 2",
    ("ecn", "aioquic", "client"): "aioquic neither marks nor reports",
    ("ecn", "aioquic", "server"): "aioquic neither marks nor reports",
    ("ecn", "quiche", "client"): "quiche neither marks nor reports",
    ("ecn", "quiche", "server"): "quiche neither marks nor reports",
    ("chacha20", "quiche", "client"): "BoringSSL cannot be told to offer one TLS 1.3 suite only",
}

#: Preferred addresses, over either family.
_MOVES = {
    ("aioquic", "server"): "aioquic's server cannot offer a preferred address",
    ("quinn", "client"): "quinn's client keeps the connection ID and ignores the address",
    ("quiche", "client"): "quiche ignores the preferred address",
    ("quiche", "server"): "quiche cannot offer a preferred address",
}
for _where, _why in _MOVES.items():
    for _name in ("connectionmigration", "connectionmigration-v6"):
        LACKING[(_name, *_where)] = _why

if "WB_KEY_VERSIONS" not in ABI.read_text():
    for _role in ROLES:
        LACKING["v2", "aioquic", _role] = "not run: this build of ours has no transport.versions to ask for version 2 with"

#: (case, peer, role of the peer) -> (what the report must contain, why): run, must fail in just this way.
EXPECTED_FAILURES = {
    ("rebind-port", "quiche", "server"): (
        "idle for too long",
        "quiche 0.30's server forgets what was in flight when the client's address changed: packets that were never "
        "acknowledged are not sent again, and the stream stops at the hole"),
    ("rebind-addr", "quiche", "server"): (
        "idle for too long",
        "quiche 0.30's server forgets what was in flight when the client's address changed: packets that were never "
        "acknowledged are not sent again, and the stream stops at the hole"),
    ("connectionmigration", "quinn", "server"): (
        "the server sent nothing on it",
        "quinn 0.11 offers the address but answers from the one on which the connection began, so the path cannot be "
        "validated; the transfer ends on the old one"),
    ("connectionmigration-v6", "quinn", "server"): (
        "the server sent nothing on it",
        "quinn 0.11 offers the address but answers from the one on which the connection began, so the path cannot be "
        "validated; the transfer ends on the old one"),
}


def protocol(peer: str, case: Case) -> str:
    """gtlsclient and gtlsserver know HTTP/3 only."""
    return "h3" if peer == "ngtcp2" or case.name == "http3" else "hq-interop"


def names(case: Case):
    """File names of a case, unlike in every case so that a cell cannot find another's files."""
    if case.long_names:
        return [f"{case.name}-{i:03d}-".ljust(250, "x") for i in range(len(case.files))]
    return [f"{case.name}-{i}" for i in range(len(case.files))]
