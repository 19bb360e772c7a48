"""How long commands keep the store busy, told apart by who sends them.

The store itself adds up the time of all commands (`eventloop_duration_cmd_sum` of INFO). The sums of
`commandstats` would not do: there a script's time contains that of the commands it runs, which are counted
again under their own names.

The bench's own commands are subtracted: its connections have a name, and with a threshold of 0 the slow log
has every command with its time and the name of its connection. Of a connection that runs scripts only the
scripts are taken, because the log has the commands inside them, too. An entry is written after its command
was timed: a plain ZRANGE takes as long with the log as without.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Self, TypeVar

from tests.bench.processes import StoreServer
from tests.bench.slow_commands import SLOW_MICROSECONDS, SlowCommands
from tests.bench.store_connection import BENCH_CLIENT

T = TypeVar("T")

CHANGER_CLIENT: Final = f"{BENCH_CLIENT}-changer"
_BENCH: Final = BENCH_CLIENT.encode()
_CHANGER: Final = CHANGER_CLIENT.encode()
_SCRIPTS: Final = (b"EVALSHA", b"EVAL", b"FCALL")


class _Entry(NamedTuple):
    """An entry of the slow log."""

    microseconds: int
    command: bytes
    client: bytes


class StoreTime(NamedTuple):
    """The time of all commands while something ran."""

    total_us: int
    entries: list[_Entry]
    """Of the slow log: exactly the commands in the total, and those inside scripts."""

    def others(self) -> int:
        """Return the µs of commands that the bench did not send."""
        own = (
            entry.microseconds
            for entry in self.entries
            if entry.client == _BENCH or (entry.client == _CHANGER and entry.command in _SCRIPTS)
        )
        return self.total_us - sum(own)

    def own(self, command: str) -> list[int]:
        """Return the µs of each of the bench's own commands of one kind."""
        return [
            entry.microseconds
            for entry in self.entries
            if entry.client == _BENCH and entry.command == command.encode()
        ]


class StoreMeter:
    """Measures the time of a store while an action runs; all commands are logged within the context."""

    def __init__(self, store: StoreServer, slow: SlowCommands) -> None:
        self._client = store.client
        self._slow = slow

    def __enter__(self) -> Self:
        self._client.execute("CONFIG", "SET", "slowlog-log-slower-than", 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.execute("CONFIG", "SET", "slowlog-log-slower-than", SLOW_MICROSECONDS)
        # Its commands were counted here.
        self._slow.begin(self._client)

    def run(self, action: Callable[[], T]) -> tuple["StoreTime", T]:
        """Return how long the store was busy while `action` ran, and the action's result."""
        self._client.execute("SLOWLOG", "RESET")
        before = self._total()
        result = action()
        total = self._total() - before
        log = self._client.execute("SLOWLOG", "GET", -1)
        entries = [_Entry(entry[2], entry[3][0].upper(), entry[5]) for entry in log]
        # A total contains what ended before it was read, so its own reading is in the next one only. Numbers
        # that change at the same time are logged before the first reading and after the last one, too.
        last, first = [at for at, e in enumerate(entries) if e.client == _BENCH and e.command == b"INFO"]
        entries = entries[last + 1 : first + 1]
        self._slow.add(log, sum(not entry.client.startswith(_BENCH) for entry in entries))
        return StoreTime(total, entries), result

    def _total(self) -> int:
        total: int = self._client.info("stats")["eventloop_duration_cmd_sum"]
        return total
