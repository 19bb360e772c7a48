"""Stopping on Ctrl-C at points of our choosing: one that raised anywhere could leave a process behind."""

import signal
from types import TracebackType
from typing import Self


class Stopped(KeyboardInterrupt):
    """A signal asked for the end; of this kind, so that no library takes it for an error of its own."""


class StopSignal:
    """Takes note of SIGINT and SIGTERM while it is entered."""

    def __init__(self) -> None:
        self._has_come = False
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise `Stopped` when a signal has come."""
        if self._has_come:
            raise Stopped

    def _note(self, *_: object) -> None:
        self._has_come = True
