"""Commands over 2 ms of the store's time, of all processes but the bench's own, over the whole run."""

from contextlib import suppress
from typing import Any, Final

import redis

from tests.bench.store_connection import BENCH_CLIENT, StoreConnection

SLOW_MICROSECONDS: Final = 2_000
_NAMED = 5
"""Position of the client's name in an entry of the slow log; before it id, time, µs, command, address."""


class SlowCommands:
    """Counts commands and slow commands of stores."""

    def __init__(self) -> None:
        self.commands = 0
        self.slow = 0
        self.worst_us = 0

    def begin(self, client: StoreConnection) -> None:
        """Count from now on: what has loaded the stock does not count."""
        client.execute("SLOWLOG", "RESET")
        client.execute("CONFIG", "RESETSTAT")

    def collect(self, client: StoreConnection) -> None:
        """Add what a store has done since it started or since `begin`."""
        # After Ctrl-C the store may be gone before.
        with suppress(redis.RedisError):
            entries = client.execute("SLOWLOG", "GET", -1)
            self.add(entries, client.info("stats")["total_commands_processed"])

    def add(self, entries: list[list[Any]], commands: int) -> None:
        """Add entries of a slow log, and commands."""
        self.commands += commands
        for entry in entries:
            if entry[2] > SLOW_MICROSECONDS and not entry[_NAMED].startswith(BENCH_CLIENT.encode()):
                self.slow += 1
                self.worst_us = max(self.worst_us, entry[2])
