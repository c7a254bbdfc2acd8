"""Prints a capture of the grid, one line for each packet: show.py FOLDER [client|server] [FIRST [LAST]]."""
import pathlib
import sys

import wire

NAMES = {0: "PADDING", 1: "PING", 2: "ACK", 3: "ACK_ECN", 6: "CRYPTO", 7: "NEW_TOKEN", 0x18: "NEW_CID", 0x19: "RETIRE",
         0x1A: "CHALLENGE", 0x1B: "RESPONSE", 0x1C: "CLOSE", 0x1D: "CLOSE_APP", 0x1E: "DONE", 0x10: "MAX_DATA",
         0x11: "MAX_STREAM_DATA", 0x12: "MAX_STREAMS"}


def text(t, d):
    if 8 <= t <= 15:
        return f"STREAM {d['stream']}:{d['offset']}+{d['length']}{' fin' if d['fin'] else ''}"
    more = " ".join(v.hex() if isinstance(v, bytes) and k != "data" or t in (0x1A, 0x1B) else str(v)
                    for k, v in d.items() if t != 6 or k != "data")
    return (NAMES.get(t, hex(t)) + " " + more).strip()


def main():
    folder = pathlib.Path(sys.argv[1])
    side = sys.argv[2] if len(sys.argv) > 2 else "server"
    first, last = (float(sys.argv[i]) if len(sys.argv) > i else v for i, v in ((3, 0.0), (4, 1e9)))
    reader = wire.Reader(folder / f"{side}.pcap", wire.keylog(folder / "keys.log"))
    zero = reader.datagrams[0].time
    for p in reader.packets:
        at = p.datagram.time - zero
        if first <= at <= last:
            arrow = "C>S" if p.from_client else "S>C"
            frames = ", ".join(text(t, d) for t, d in p.frames if t) if p.opened else "not opened"
            print(f"{at:9.4f} {arrow} {p.datagram.src[0]}:{p.datagram.src[1]}>{p.datagram.dst[0]}:{p.datagram.dst[1]} "
                  f"{p.kind}{p.number if p.opened else ''} {p.size} {p.dcid.hex()[:8]} {frames}")


main()
