"""A process that runs steps of orders against the store and is cut off right before one of its commands.

    python -m tests.chaos.cut_off

reads cases as lines of JSON and forks a process for each, which kills or stops itself there; the answer is a
line of JSON as soon as it is dead, stopped or at its end. What one that goes on has to say is in its file.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from shared.atomic.order_operations import Ended, OrderRef, Routing
from shared.atomic.requests import RequestKey
from shared.atomic.resource_operations import Cancelled
from shared.atomic.script import source_of
from shared.orders.bulk import BulkRequest, Waiting, fill_waiting, place_bulk_order
from shared.orders.departures import cancel, finish_cancel, release
from shared.orders.placing import (
    Answer,
    InProgress,
    OutcomeUnknown,
    Placed,
    Refused,
    hold_ms_of,
    place_order,
)
from shared.orders.records import Wish
from shared.orders.sweep import sweep
from shared.search.search import Search
from shared.settings import Settings
from shared.store import Argument, Store, StoreUnavailable
from tests.futures import returns_future

SETTINGS = Settings(
    hold_seconds=0.4, quarantine_seconds=0.1, cancel_quarantine_seconds=0, bulk_wait_seconds=600
)
ORGANIZATION = "acme"
ORDER = OrderRef(ORGANIZATION, "01932c07-2c4f-7000-8000-000000000001")
REQUEST = RequestKey("digest", "fingerprint")
NUMBERS = ("+12122000001", "+14152000001", "+12122000002", "+14152000002")
MISSING = "+14152999999"
BULK_QUANTITY = 5

_PARTS = Path(str(files("shared.atomic")))
_NAMES = {
    hashlib.sha1(source_of(path.stem).encode(), usedforsecurity=False).hexdigest(): path.stem
    for path in _PARTS.glob("*.lua")
}


class Case(Struct):
    """What is run, and where it ends."""

    url: str
    saga: str
    cut_at: int
    """Count of the command that is not sent any more, from 1."""
    signal: int
    outcome_file: str

    @property
    def sent_file(self) -> Path:
        """Where it notes, right before it is cut off, which commands it has sent."""
        return Path(self.outcome_file).with_suffix(".sent")


class Cut(Struct):
    """What has become of a case."""

    pid: int
    is_stopped: bool
    is_killed: bool
    sent: list[str]
    """The commands before it was cut off; none when it came to its end: a search draws how many it needs."""


class CutOffStore(Store):
    """Sends one command at a time, and has this process killed or stopped before one of them."""

    def __init__(self, url: str, case: Case | None = None, ends_before: str = "") -> None:
        """`ends_before`: a script from which on the store is out of reach, as for a process that died."""
        super().__init__(url, timeout_seconds=5)
        self.sent: list[str] = []
        """Names of scripts, and of other commands."""
        self._case = case
        self._ends_before = ends_before
        self._has_ended = False
        self._turn = asyncio.Lock()

    @returns_future
    async def execute(self, *command: Argument) -> Any:
        """Send one command when its turn comes."""
        name, *arguments = map(str, command)
        name = _NAMES.get(arguments[0], name) if arguments else name
        async with self._turn:
            if self._case and len(self.sent) + 1 == self._case.cut_at:
                self._case.sent_file.write_bytes(msgspec.json.encode(self.sent))
                os.kill(os.getpid(), self._case.signal)
            self._has_ended = self._has_ended or name == self._ends_before
            if self._has_ended:
                raise StoreUnavailable("this process is dead")
            self.sent.append(name)
            return await super().execute(*command)

    @returns_future
    async def execute_many(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands one after the other: between any two of them a process can end."""
        return [await self.execute(*command) for command in commands]


def _render(outcome: Placed | Refused | Waiting) -> bytes:
    return type(outcome).__name__.lower().encode()


async def run_saga(store: Store, saga: str) -> str:
    """Run one and tell how it ended, as the API would tell its caller; `unknown` is a 503."""
    try:
        return await _run(store, saga)
    except (StoreUnavailable, OutcomeUnknown) as error:
        return f"unknown: {error}"
    except InProgress:
        return "in progress"


async def _run(store: Store, saga: str) -> str:
    match saga:
        case "order":
            outcome = await _order(store, NUMBERS)
        case "refused order":
            outcome = await _order(store, (*NUMBERS, MISSING))
        case "bulk order":
            outcome = await _order_in_bulk(store, BULK_QUANTITY)
        case "waiting bulk order":
            outcome = await _order_in_bulk(store, 1_000)
        case "filling":
            outcome = f"filled {await fill_waiting(store, Search(store, Settings()), SETTINGS)}"
        case "cancel" | "cancel of a waiting bulk order":
            cancelled = await cancel(store, ORDER, SETTINGS, REQUEST)
            await finish_cancel(store, ORDER)
            outcome = "cancelled" if isinstance(cancelled, Cancelled) else "not cancelled"
        case "release" | "return":
            ids = await resource_ids(store)
            is_return = saga == "return"
            released = await release(store, ORGANIZATION, ids, SETTINGS, REQUEST, to_carrier=is_return)
            outcome = f"released {len(released.released)}"
        case _:
            outcome = "swept" if await sweep(store, SETTINGS) else "nothing to sweep"
    return outcome


async def _order(store: Store, numbers: tuple[str, ...]) -> str:
    hold_ms = hold_ms_of(SETTINGS)
    return _told(await place_order(store, ORDER, numbers, Routing(), REQUEST, hold_ms, _render))


async def _order_in_bulk(store: Store, quantity: int) -> str:
    asked = BulkRequest(Wish(quantity), Routing(), REQUEST, _render)
    return _told(await place_bulk_order(store, Search(store, Settings()), SETTINGS, ORDER, asked))


def _told(answer: Answer | Ended) -> str:
    return answer.body.decode() if isinstance(answer, Answer) else f"ended as {answer.status}"


async def resource_ids(store: Store) -> list[str]:
    """Give the ids of the resources of `ORDER`, which its caller was told when it was placed."""
    ids = await store.execute("LRANGE", IDS_KEY, 0, -1)
    return [resource_id.decode() for resource_id in ids]


IDS_KEY = "test:ids"
"""What the caller remembers; a list."""


def _be(case: Case) -> None:
    async def run() -> str:
        store = CutOffStore(case.url, case)
        try:
            return await run_saga(store, case.saga)
        finally:
            await store.close()

    outcome = asyncio.run(run())
    part = Path(case.outcome_file).with_suffix(".part")
    part.write_text(outcome)
    part.replace(case.outcome_file)


def main() -> None:
    """Run the cases that come in, one process for each."""
    for line in sys.stdin:
        case = msgspec.json.decode(line, type=Case)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _be(case)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, os.WUNTRACED)
        is_cut = os.WIFSTOPPED(status) or os.WIFSIGNALED(status)
        sent = msgspec.json.decode(case.sent_file.read_bytes()) if is_cut else []
        cut = Cut(pid, os.WIFSTOPPED(status), os.WIFSIGNALED(status), sent)
        sys.stdout.write(msgspec.json.encode(cut).decode() + "\n")
        sys.stdout.flush()
        with suppress(ChildProcessError):
            # Those that went on and came to their end meanwhile.
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


if __name__ == "__main__":
    main()
