"""The body that every peer of the interop tests serves: a pattern that both ends can make and hash."""
import hashlib

BLOCK = bytes((i * 7 + (i >> 8) * 13) & 0xFF for i in range(65536))


def body(size: int) -> bytes:
    """The first `size` bytes of the pattern."""
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


def digest(size: int) -> str:
    """SHA-256 of `body(size)` without holding it."""
    h = hashlib.sha256()
    for _ in range(size // len(BLOCK)):
        h.update(BLOCK)
    h.update(BLOCK[: size % len(BLOCK)])
    return h.hexdigest()
