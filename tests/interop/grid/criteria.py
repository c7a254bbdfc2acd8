"""What a capture must show: the interop runner's criteria, one function for each case."""
import wire

CHALLENGE, RESPONSE, ACK_ECN = 0x1A, 0x1B, 3
STREAM = range(8, 16)


class Evidence:
    """Both captures of a cell. The client's shows what the client sent and received, the server's likewise."""

    def __init__(self, case, folder, keylog):
        secrets = wire.keylog(keylog)
        self.case = case
        self.server = wire.Reader(folder / "server.pcap", secrets, case.deep)
        self.client = wire.Reader(folder / "client.pcap", secrets, False)
        self.problems = []

    def need(self, truth, text):
        if not truth:
            self.problems.append(text)

    def of(self, reader, from_client, *kinds):
        return [p for p in reader.packets if p.from_client == from_client and p.kind in kinds]


def judge(case, folder, keylog, our_server):
    """Problems found; an empty list: the case is met. `our_server`: its habits are ours to prove, not a peer's."""
    e = Evidence(case, folder, keylog)
    e.our_server = our_server
    if case.name == "versionnegotiation":
        version_negotiation(e)
        return e.problems
    initials = e.of(e.server, False, "initial")
    shaken = len({p.scid for p in initials})
    e.need(shaken == case.handshakes, f"{shaken} handshakes, {case.handshakes} wanted")
    if case.name == "v2":
        version_2(e)
    else:
        e.need(all(p.version == wire.V1 for p in initials), "an Initial packet of the server is not v1")
    if case.name not in ("retry",):
        e.need(not e.of(e.server, False, "retry"), "the server sent a Retry")
    special = SPECIAL.get(case.kind)
    if special:
        special(e)
    return e.problems


def version_negotiation(e):
    firsts = {(p.dcid, p.scid) for p in e.of(e.client, True, "initial")}
    answers = e.of(e.server, False, "vn")
    e.need(answers, "no Version Negotiation packet")
    e.need(any((p.scid, p.dcid) in firsts for p in answers), "its connection IDs are not those of the Initial, swapped")
    for p in answers:
        offered = {p.datagram.data[i : i + 4] for i in range(7 + len(p.dcid) + len(p.scid), len(p.datagram.data), 4)}
        e.need(wire.V1.to_bytes(4, "big") in offered, "it does not offer v1")


def version_2(e):
    e.need(wire.V1 in {p.version for p in e.of(e.client, True, "initial")}, "the client did not begin with v1")
    e.need(wire.V2 in {p.version for p in e.of(e.server, False, "initial")}, "the server did not go to v2")
    shakes = e.of(e.client, True, "handshake") + e.of(e.server, False, "handshake")
    e.need(shakes and all(p.version == wire.V2 for p in shakes), "a Handshake packet is not v2")
    e.need(not e.of(e.server, False, "vn"), "the server sent Version Negotiation")


def retry(e):
    retries = [p for p in e.of(e.client, False, "retry") if p.token]
    e.need(retries, "no Retry with a token")
    initials = e.of(e.client, True, "initial")
    e.need(any(p.token == r.token for r in retries for p in initials), "no Initial carries the Retry's token")
    if retries:
        before = [p.number for p in initials if p.opened and p.datagram.time < retries[0].datagram.time]
        after = [p.number for p in initials if p.opened and p.token == retries[0].token]
        e.need(before and after and max(before) < min(after), f"packet numbers {before} before the Retry, {after} after")


def certificates(e):
    return [any(t == 11 for t, _ in c.messages(False, "handshake")) for c in e.server.connections]


def resumption(e):
    seen = certificates(e)
    e.need(seen == [True, False], f"Certificate messages by connection: {seen}")


def zero_rtt(e):
    e.need(certificates(e) == [True, False], "the second connection was not resumed")
    early = [p for p in e.server.packets if p.kind == "0rtt"]
    e.need(early, "no 0-RTT packet")
    late = sum(d["length"] for p in e.server.packets if p.kind == "1rtt" and p.from_client for t, d in p.frames if t in STREAM)
    e.need(late <= 40 * 250 // 2, f"{late} bytes of streams came from the client in 1-RTT packets")
    sent = sum(d["length"] for p in early for t, d in p.frames if t in STREAM)
    e.need(sent >= 40 * 250 // 2, f"only {sent} bytes of streams in 0-RTT packets")


def chacha20(e):
    offered = [s for c in e.client.connections for s in c.hello()[1] if s & 0x0F0F != 0x0A0A]
    # 0x00ff says that renegotiation is safe, it is no suite (RFC 5746).
    e.need([s for s in offered if s != 0xFF] == [0x1303], f"suites offered: {[hex(s) for s in offered]}")


def key_update(e):
    for who, name in ((True, "client"), (False, "server")):
        updated = [p for p in e.of(e.server, who, "1rtt") if p.generation >= 1]
        e.need(updated, f"no packet of the {name} with key phase 1")


def multiplexing(e):
    for c in e.server.connections:
        value = c.parameters(False).get(8)
        e.need(value is not None, "no initial_max_streams_bidi")
        if value:
            from aioquic.buffer import Buffer

            streams = Buffer(data=value).pull_uint_var()
            e.need(0 < streams <= 1000, f"initial_max_streams_bidi is {streams}")


def long_rtt(e):
    hellos = [p for p in e.of(e.client, True, "initial") for t, d in p.frames if t == 6 and d["offset"] == 0]
    e.need(len(hellos) >= 2, f"{len(hellos)} ClientHello")


def ipv6(e):
    e.need(all(d.ipv == 6 for d in e.server.datagrams), "there is an IPv4 packet")


def ecn(e):
    for reader, who, name in ((e.client, True, "client"), (e.server, False, "server")):
        marks = {d.ecn for d in reader.datagrams if d.from_client == who}
        e.need(marks & {1, 2}, f"the {name} marks nothing")
        e.need(3 not in marks, f"the {name} sends CE")
    for who, name in ((True, "client"), (False, "server")):
        e.need(any(p.has(ACK_ECN) for p in e.server.packets if p.from_client == who), f"no ECN counts of the {name}")


def amplification(e):
    chain = max((len(c.streams.get((False, "handshake"), b"")) for c in e.server.connections), default=0)
    e.need(chain >= 7500, f"the server's flight has {chain} bytes only")
    e.need(not e.of(e.server, False, "vn"), "the server sent Version Negotiation")
    proof = next((p.datagram.time for p in e.of(e.server, True, "handshake")), float("inf"))
    heard = sent = 0
    for d in e.server.datagrams:
        if d.time >= proof:
            break
        if d.from_client:
            heard += len(d.data)
        else:
            sent += len(d.data)
            e.need(sent <= 3 * heard, f"the server had sent {sent} bytes when it had received {heard}")


def paths(reader):
    """Every path in order of its first packet: (client address, server address)."""
    seen = []
    for d in reader.datagrams:
        path = (d.src, d.dst) if d.from_client else (d.dst, d.src)
        if path not in seen:
            seen.append(path)
    return seen


def path_validation(e):
    """First server packet on every new path has a PATH_CHALLENGE, and each challenge is answered there."""
    every = paths(e.server)
    e.need(len(every) > 1, "only one path was used")
    answers = {d["data"] for p in e.server.packets if p.from_client for t, d in p.frames if t == RESPONSE}
    end = e.server.datagrams[-1].time if e.server.datagrams else 0
    begins = [next(d.time for d in e.server.datagrams if d.src == client and d.dst == server) for client, server in every]
    for number, (client, server) in enumerate(every[1:], 2):
        sent = [p for p in e.server.packets if not p.from_client and (p.datagram.dst, p.datagram.src) == (client, server)]
        if not sent:
            arrived = begins[number - 1]
            e.need(end - arrived < 0.5, f"path {number}: the server sent nothing on it")
            continue
        first = [p for p in sent if p.datagram is sent[0].datagram]
        # The runner asks it of every server. RFC 9000 section 9.3 says only that validation is to begin: of other servers
        # we want that.
        first = first if e.our_server else sent
        e.need(any(p.has(CHALLENGE) for p in first), f"path {number}: the server sent no PATH_CHALLENGE, or not at first")
        # Later ones ask an address that the client has left (RFC 9000 section 9.3.3).
        current = begins[number] if number < len(every) else end
        asked = {d["data"]: p.datagram.time for p in sent for t, d in p.frames if t == CHALLENGE and p.datagram.time < current}
        open_ = [t for data, t in asked.items() if data not in answers and end - t > 0.5]
        # RFC 9000 section 8.2.2 wants every one answered, of us. aioquic's client answers the later of two; one that came
        # back validates the path.
        validated = e.our_server and len(open_) < len(asked)
        e.need(not open_ or validated, f"path {number}: {len(open_)} of {len(asked)} challenges were not answered")


def rebind_address(e):
    path_validation(e)
    e.need(len({client[0] for client, _ in paths(e.server)}) > 1, "one client address only")


def migration(e):
    path_validation(e)
    known = set()
    first_on = {}
    for p in e.of(e.server, True, "initial", "0rtt", "handshake", "1rtt"):
        path = (p.datagram.src, p.datagram.dst)
        if path not in first_on:
            first_on[path] = p.dcid
            e.need(len(first_on) == 1 or p.dcid not in known, "the first packet on the new path has a used connection ID")
        known.add(p.dcid)
    last = paths(e.server)[-1]
    carried = [p for p in e.of(e.server, False, "1rtt") if (p.datagram.dst, p.datagram.src) == last and p.has(*STREAM)]
    e.need(carried, "no stream data on the new path")


def preferred(e):
    migration(e)
    e.need(len({server[0] for _, server in paths(e.server)}) > 1, "one server address only")
    if e.case.v6:
        ipv6(e)


SPECIAL = {
    "retry": retry, "resumption": resumption, "zerortt": zero_rtt, "chacha20": chacha20, "keyupdate": key_update,
    "multiplexing": multiplexing, "longrtt": long_rtt, "ipv6": ipv6, "ecn": ecn, "amplificationlimit": amplification,
    "rebind-port": path_validation, "rebind-addr": rebind_address, "connectionmigration": preferred,
    "clientmigration": migration,
}
