"""A logging handler that writes the lines of one turn of the event loop with one `write`."""

import asyncio
import logging
import os
import select
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.util import Finalize
from weakref import WeakSet

_LARGEST_WRITE_BYTES = 64 * 1024
"""Bound of the lines that wait for the end of a turn; a longer batch is written in parts."""

Render = Callable[[int, str, str, dict[str, object]], bytes]
"""Returns the line, with its end, of a level, logger name, event and fields."""


class TurnHandler(logging.Handler):
    """Writes lines to stderr, in the order of logging.

    Lines below WARNING that are logged while an event loop runs are written together at the end of its turn.
    All others are written at once, after the lines that were waiting. What waits is also written before a
    fork and at the end of the process; only a kill or a crash of the interpreter loses the lines of its turn.

    A write blocks, so a blocked reader stops the process instead of filling its memory. Lines that cannot be
    written (a full disk, a closed pipe) are dropped.
    """

    def __init__(self, render: Render | None = None, descriptor: int | None = None) -> None:
        """Write to the file `descriptor`, else to stderr; `render` is the format of `write_fields`."""
        super().__init__()
        self.render = render
        if descriptor is None:
            # A process that was started without stderr may have another file as its descriptor 2.
            descriptor = -1 if sys.__stderr__ is None else sys.__stderr__.fileno()
        self._descriptor = descriptor
        self._most = _largest_write(descriptor)
        self._waiting = bytearray()
        self._loop: asyncio.AbstractEventLoop | None = None
        _handlers.add(self)
        # A forked child of multiprocessing, such as a server process of Granian, does not run `atexit`.
        Finalize(None, flush_all, exitpriority=0)

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record and write its line, or keep it until the end of the turn."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            self._add(line, record.levelno)
        except Exception:
            # As in all handlers: a line must not fail its caller.
            self.handleError(record)

    def write_line(self, line: bytes, level: int) -> None:
        """Write a finished line, with its end, as one of this level."""
        with self.lock:  # type: ignore[union-attr]  # `createLock` has set it
            self._add(line, level)

    def flush(self) -> None:
        """Write the waiting lines."""
        with self.lock:  # type: ignore[union-attr]
            self._write()

    def _add(self, line: bytes, level: int) -> None:
        if len(self._waiting) + len(line) > self._most:
            self._write()
        self._waiting += line
        if level >= logging.WARNING:
            self._write()
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write()
            return
        # A loop that was closed before it ran the call leaves its lines to the next one.
        if loop is not self._loop:
            self._loop = loop
            loop.call_soon(self.flush)

    def _write(self) -> None:
        lines, self._waiting, self._loop = self._waiting, bytearray(), None
        with suppress(OSError):
            while lines:
                try:
                    del lines[: os.write(self._descriptor, lines)]
                except BlockingIOError:
                    select.select((), (self._descriptor,), ())


def flush_all() -> None:
    """Write the waiting lines of all handlers."""
    for handler in list(_handlers):
        handler.flush()


def _largest_write(descriptor: int) -> int:
    """Return how many bytes one write may have so that lines of several processes do not mix."""
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        is_pipe = False
    return select.PIPE_BUF if is_pipe else _LARGEST_WRITE_BYTES


_handlers: WeakSet[TurnHandler] = WeakSet()
# A forked child must not have a copy of the lines.
os.register_at_fork(before=flush_all)
