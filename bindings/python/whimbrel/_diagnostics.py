"""What the library tells about itself: counters, logs of connections (qlog), and lines for ``logging``.

The functions of the caller run on the library's threads. There is one C function for each kind of them, made once and kept until
the process ends; the functions of the caller are found by number, so that a late call finds nobody instead of freed memory.
"""
from __future__ import annotations

import atexit
import ctypes
import itertools
import logging
from typing import Callable, Dict, NamedTuple, Optional, Tuple

from . import _abi
from ._library import check, lib

#: Gets a number that is the connection's, whole records of its log, and whether these were the last.
QlogFunction = Callable[[int, bytes, bool], object]

_log = logging.getLogger("whimbrel")
#: Names of counters in the order of their keys.
_COUNTERS: Tuple[str, ...] = tuple(
    name[len("WB_COUNTER_"):].lower()
    for name, _ in sorted(((n, k) for n, k in vars(_abi).items() if n.startswith("WB_COUNTER_")), key=lambda pair: pair[1])
)


def counters(handle: int) -> Dict[str, int]:
    """The counters of an endpoint or a runtime by name: ``WB_COUNTER_*`` in small letters, without that."""
    values = (ctypes.c_uint64 * len(_COUNTERS))()
    check(lib.wb_counters(handle, 0, values, len(values)))
    return dict(zip(_COUNTERS, values))


class _Sink(NamedTuple):
    function: QlogFunction
    #: The runtime that calls it.
    runtime: int
    #: It is of one connection, and over with its log.
    once: bool


_sinks: Dict[int, _Sink] = {}
_numbers = itertools.count(1)


@_abi.wb_sink_fn
def _on_records(number: int, conn: int, data: Optional[int], size: int, end: int) -> None:
    sink = _sinks.get(number)
    if sink is None:
        return
    if end and sink.once:
        _sinks.pop(number, None)
    try:
        sink.function(conn, ctypes.string_at(data, size) if data else b"", bool(end))
    except Exception:
        _log.exception("a function for logs of connections failed")


def qlog(runtime: int, handle: int, function: Optional[QlogFunction], once: bool) -> None:
    """Hands the log of a connection (``once``), or those of an endpoint's later connections, to a function."""
    if function is None:
        check(lib.wb_qlog(handle, _abi.wb_sink_fn(), None, _abi.wb_destroy_fn()))
        return
    number = next(_numbers)
    _sinks[number] = _Sink(function, runtime, once)
    status = lib.wb_qlog(handle, _on_records, number, _abi.wb_destroy_fn())
    if status:
        _sinks.pop(number, None)
        check(status)


def forget(runtime: int) -> None:
    """The runtime has ended: nothing calls what was registered there."""
    for number, sink in list(_sinks.items()):
        if sink.runtime == runtime:
            _sinks.pop(number, None)


_LEVELS = {
    _abi.WB_LOG_ERROR: logging.ERROR, _abi.WB_LOG_WARN: logging.WARNING,
    _abi.WB_LOG_INFO: logging.INFO, _abi.WB_LOG_DEBUG: logging.DEBUG,
}
_loggers: Dict[str, logging.Logger] = {}
_parent = _log


@_abi.wb_log_fn
def _on_line(_ctx: Optional[int], level: int, room: int, text: int, size: int) -> None:
    try:
        name = ctypes.string_at(room).decode()
        # Found once: the parent may change at any time, and its children keep their names.
        parent = _parent
        logger = _loggers.get(name)
        if logger is None or logger.parent is not parent:
            logger = _loggers[name] = parent.getChild(name)
        logger.log(_LEVELS.get(level, logging.ERROR), "%s", ctypes.string_at(text, size).decode("utf-8", "replace"))
    except Exception:
        _log.exception("a line could not be logged")


def log_to(logger: Optional[logging.Logger] = _log, level: int = logging.INFO) -> None:
    """Sends the library's own messages to ``logging``, for the whole process; off by default, and off again with ``None``.

    They come as records of children of ``logger``: ``whimbrel.socket``, ``.handshake`` (why one failed, and whose),
    ``.connection``, ``.path``, ``.keys``, ``.retry``, ``.qlog``. ``level`` is one of ``logging``'s; what is below it is not even
    made, so set it no lower than wanted. Handlers run on the library's threads. Peers can cause lines: bound what is kept.
    """
    global _parent
    wanted = _abi.WB_LOG_OFF
    if logger is not None:
        wanted = max((ours for ours, theirs in _LEVELS.items() if theirs >= level), default=_abi.WB_LOG_OFF)
        _parent = logger
    function = _on_line if wanted != _abi.WB_LOG_OFF else _abi.wb_log_fn()
    check(lib.wb_log_set(wanted, function, None, _abi.wb_destroy_fn()))


# Before the interpreter goes: no library thread may run Python code afterwards.
atexit.register(log_to, None)
