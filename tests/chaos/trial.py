"""The trial: buyers in a crowd, feeds that come and go, processes that die. Then everything has to be right.

    python -m tests.chaos.trial --seconds 60 --buyers 64 --seed 1

starts a whole service, lets the crowd at it for so long, waits until it is quiet and compares the store, the
API and what the buyers were told.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec

from deploy.cli.api_server import api_command
from deploy.cli.child_process import ChildProcess
from deploy.cli.ports import LOOPBACK
from deploy.cli.service import worker
from shared import store_keys
from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from shared.settings import read_settings
from shared.store import Store, StoreUnavailable
from tests.chaos import verdict
from tests.chaos.buyers import AREA_CODES, Buyer
from tests.chaos.client import Client
from tests.chaos.faults import Faults, Fleet
from tests.chaos.feeds import Carrier, Feeds
from tests.chaos.ledger import Ledger
from tests.chaos.picture import Picture, Violation, inconsistencies, take_picture, unsettled
from tests.processes import free_port, run
from tests.support import SCRIPTS, Service

HOLD_SECONDS = 2.0
SETTINGS = {
    "NUMBERS_HOLD_SECONDS": str(HOLD_SECONDS),
    "NUMBERS_SWEEP_SECONDS": "0.5",
    "NUMBERS_QUARANTINE_SECONDS": "3",
    "NUMBERS_STORE_TIMEOUT_SECONDS": "0.7",
    "NUMBERS_FEED_LEASE_SECONDS": "1",
    "NUMBERS_BULK_WAIT_SECONDS": "6",
    "NUMBERS_SEARCH_RATE": "0",
    "NUMBERS_WRITE_RATE": "0",
}
ORGANIZATIONS = ("acme", "globex", "initech")
_NUMBERS_PER_AREA = 150
# No exchange may end in 11.
_LOCALS = [local for local in range(2_000_000, 3_000_000, 7) if local // 10_000 % 100 != 11]
_SEEN = 40
_QUIET_SECONDS = 40.0
_LOOK_SECONDS = 0.1
_LOG_COMPLAINTS = (": unhandled error\n", "could not do a step", " failed\nTraceback")
"""What API and worker write when something happens that nobody thought of."""


@dataclass
class Outcome:
    """How a trial went."""

    violations: list[Violation]
    counts: Mapping[str, int]
    evidence: list[str]
    numbers: int
    orders: int
    seconds: Mapping[str, float]
    """How long each part took."""


def run_trial(data_dir: Path, seconds: float, buyers: int, seed: int) -> Outcome:
    """Run the whole trial in a data directory of its own."""
    service = Service(data_dir, "--no-sample", api_workers=2, **SETTINGS)
    try:
        with _spare_processes(service) as (spare, address):
            return asyncio.run(_Trial(service, spare, address, seed).run(seconds, buyers))
    finally:
        service.stop()


@contextmanager
def _spare_processes(service: Service) -> Iterator[tuple[list[ChildProcess], tuple[str, int]]]:
    """Run one more API and one more worker of each kind against the same store."""
    environment = SETTINGS | {
        "NUMBERS_REDIS_URL": service.instance.redis_url,
        "NUMBERS_SPOOL_DIR": str(service.data_dir / "spool"),
    }
    port = free_port()
    api = api_command(port)
    spare = [
        ChildProcess("API", *api, environment=environment, log=service.data_dir / "spare-api.log"),
        *(
            worker(module, module, environment, service.data_dir / f"spare-{module}.log")
            for module in ("worker.main", "worker.feeds.main")
        ),
    ]
    try:
        for child in spare:
            child.start()
        yield spare, (LOOPBACK, port)
    finally:
        deadline = time.monotonic() + 3
        for child in spare:
            child.ask_to_stop()
        for child in spare:
            child.stop(deadline)


class _Trial:
    """One trial against a running service."""

    def __init__(
        self, service: Service, spare: list[ChildProcess], spare_address: tuple[str, int], seed: int
    ) -> None:
        self._service = service
        self._fleet = Fleet(service.process.pid, spare)
        host, port = service.instance.url.removeprefix("http://").split(":")
        self._addresses = [(host, int(port)), spare_address]
        self._random = Random(seed)  # noqa: S311 - to be run again
        self._ledger = Ledger()
        self._seconds: dict[str, float] = {}
        everything = [
            f"+1{area}{local}"
            for area in AREA_CODES
            for local in self._random.sample(_LOCALS, _NUMBERS_PER_AREA)
        ]
        self._carriers = [Carrier(name, everything, self._own_random()) for name in ("alpha", "beta")]

    def _own_random(self) -> Random:
        return Random(self._random.getrandbits(32))  # noqa: S311 - to be run again

    async def run(self, seconds: float, buyers: int) -> Outcome:
        async with self._connected() as store:
            keys = {name: await self._key(store, name) for name in ORGANIZATIONS}
            settings = msgspec.structs.replace(
                read_settings(SETTINGS), redis_url=self._service.instance.redis_url
            )
            feeds = Feeds(store, settings, self._service.data_dir, self._ledger)
            with self._timed("starting"):
                await asyncio.gather(*(feeds.bring(carrier) for carrier in self._carriers))
                await self._until_running(keys)
            await self._let_loose(feeds, keys, seconds, buyers)
            with self._timed("until quiet"):
                await asyncio.gather(*(feeds.bring(carrier) for carrier in self._carriers))
                picture = await self._until_quiet(store)
            with self._timed("judging"):
                violations = await self._judge(store, picture, keys)
                evidence = await _evidence(store, violations[:10])
        return Outcome(
            violations,
            self._ledger.counts,
            evidence,
            len(picture.known()),
            sum(1 for _ in picture.orders()),
            self._seconds,
        )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._seconds[part] = time.monotonic() - began

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Store]:
        store = Store(self._service.instance.redis_url, timeout_seconds=5)
        try:
            yield store
        finally:
            await store.close()

    async def _key(self, store: Store, organization: str) -> str:
        secret = new_secret()
        await create_api_key(store, organization, Wanted(tuple(Scope), "trial"), secret)
        return secret

    async def _let_loose(self, feeds: Feeds, keys: Mapping[str, str], seconds: float, buyers: int) -> None:
        """Let buyers, feeds and faults at the service for so long, and buyers then see to what is open."""
        ends_at = time.monotonic() + seconds
        faults = Faults(self._fleet, self._ledger, self._own_random(), HOLD_SECONDS)
        seen: deque[str] = deque(maxlen=_SEEN)
        crowd = [
            Buyer(
                f"{name}-{number}",
                name,
                Client(self._addresses, keys[name], self._own_random()),
                self._ledger,
                seen,
                self._own_random(),
            )
            for number, name in zip(range(buyers), itertools.cycle(ORGANIZATIONS), strict=False)
        ]

        def goes_on() -> bool:
            return time.monotonic() < ends_at

        async with asyncio.TaskGroup() as group:
            for buyer in crowd:
                group.create_task(buyer.buy(goes_on))
            for carrier in self._carriers:
                group.create_task(feeds.keep_coming(carrier, goes_on))
            with self._timed("harm"):
                await faults.strike(goes_on)
            with self._timed("until all is back"):
                await self._until_running(keys)
        with self._timed("last looks"):
            async with asyncio.TaskGroup() as group:
                for buyer in crowd:
                    group.create_task(buyer.finish())

    async def _until_running(self, keys: Mapping[str, str]) -> None:
        """Wait until every process is back."""
        deadline = time.monotonic() + _QUIET_SECONDS
        clients = [Client([address], next(iter(keys.values())), self._random) for address in self._addresses]
        while True:
            self._fleet.look_after()
            counts = [len(self._fleet.of(kind)) for kind in ("store", "api", "api-worker", "worker")]
            answers = [await client.send("GET", "/readyz") for client in clients]
            statuses = [answer and answer.status for answer in answers]
            if counts == [1, 2, 3, 2] and statuses == [200, 200]:
                break
            assert time.monotonic() < deadline, f"not all is back: {counts}, {statuses}"
            await asyncio.sleep(_LOOK_SECONDS)
        for client in clients:
            client.close()

    async def _until_quiet(self, store: Store) -> Picture:
        """Wait until nobody has anything left to do; what is not done by then is told by the verdict."""
        deadline = time.monotonic() + _QUIET_SECONDS
        while True:
            with suppress(StoreUnavailable):
                is_quiet = _is_quiet(await take_picture(store)) and await _is_relayed(store)
                if is_quiet or time.monotonic() > deadline:
                    return await take_picture(store, with_events=True)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _judge(self, store: Store, picture: Picture, keys: Mapping[str, str]) -> list[Violation]:
        offers = await self._offers(store)
        return [
            *self._ledger.violations,
            *unsettled(picture),
            *inconsistencies(picture),
            *verdict.feed_violations(picture, offers),
            *verdict.memory_violations(picture, self._ledger),
            *verdict.history_violations(picture, self._ledger),
            *verdict.relay_violations(picture),
            *verdict.api_violations(picture, await self._list_everything(keys)),
            *self._complaints(),
            *self._audit(),
        ]

    async def _offers(self, store: Store) -> dict[int, dict[str, int]]:
        ordinals = await store.execute("HGETALL", store_keys.FEEDS)
        return {int(ordinals[carrier.name.encode()]): carrier.offers for carrier in self._carriers}

    async def _list_everything(self, keys: Mapping[str, str]) -> verdict.Listed:
        listed = {}
        for name, key in keys.items():
            client = Client(self._addresses, key, self._own_random())
            orders = await self._all_pages(client, "/v1/phone-numbers/orders")
            listed[name] = orders, await self._all_pages(client, "/v1/phone-numbers")
            client.close()
        return listed

    async def _all_pages(self, client: Client, path: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        cursor = ""
        while True:
            answer = await client.send("GET", f"{path}?limit=100{cursor}")
            assert answer is not None
            assert answer.status == 200, answer
            found += answer.data
            meta = answer.json["meta"]
            if meta["next_cursor"] is None:
                if meta["total"] != len(found):
                    self._ledger.violation(f"{path}: total {meta['total']}, {len(found)} listed")
                return found
            cursor = f"&cursor={meta['next_cursor']}"

    def _complaints(self) -> Iterable[Violation]:
        for log in self._service.data_dir.glob("*.log"):
            text = log.read_text(errors="replace")
            for complaint in _LOG_COMPLAINTS:
                if complaint in text:
                    at = text.index(complaint)
                    yield Violation(f"{log.name} says {text[max(at - 300, 0) : at + 6000]}")

    def _audit(self) -> Iterable[Violation]:
        command: list[str | Path] = [SCRIPTS / "numbers", "audit", "--json", "--thorough"]
        command += ["--data-dir", self._service.data_dir]
        done = run(command, **SETTINGS)
        if done.returncode != 0:
            yield Violation(f"numbers audit ended with {done.returncode}: {done.stdout}")


def _is_quiet(picture: Picture) -> bool:
    """Tell whether nothing more will happen but that quarantines end."""
    return not unsettled(picture) and not any(one.waiting for one in picture.organizations.values())


async def _is_relayed(store: Store) -> bool:
    """Tell whether the last event of every area code has been relayed."""
    relayed = await store.execute("HGETALL", store_keys.EVENTS_RELAYED)
    last = [
        await store.execute("XREVRANGE", store_keys.events(area), "+", "-", "COUNT", 1) for area in AREA_CODES
    ]
    return all(
        not entries or relayed.get(area.encode()) == entries[0][0]
        for area, entries in zip(AREA_CODES, last, strict=True)
    )


async def _evidence(store: Store, violations: Iterable[Violation]) -> list[str]:
    """Give what the store has about the numbers and the orders of violations."""
    found: list[str] = []
    organizations = [name.decode() for name in await store.execute("SMEMBERS", store_keys.ORGANIZATIONS)]
    for violation in violations:
        found.append(f"== {violation.text}")
        for order_id in violation.orders:
            records = await store.execute_many(
                [("HGETALL", store_keys.order(name, order_id)) for name in organizations]
            )
            found += [f"order {order_id}: {record}" for record in records if record]
        for number in violation.numbers[:5]:
            area = number[2:5]
            found.append(
                f"{number}: record {await store.execute('HGET', store_keys.unavailable(area), number)}, "
                f"available {await store.execute('ZSCORE', store_keys.available(area), number)}, "
                f"timer {await store.execute('ZSCORE', store_keys.timers(area), number)}"
            )
            for entry_id, fields in await store.execute("XRANGE", store_keys.events(area), "-", "+"):
                if fields.get(b"number") == number.encode():
                    event = {name.decode(): value.decode() for name, value in fields.items()}
                    found.append(f"  {entry_id.decode()} {json.dumps(event)}")
    return found


def summary(outcome: Outcome) -> str:
    """Give the figures of a trial as lines of text."""
    lines = [f"{name:32} {count:>8,}" for name, count in sorted(outcome.counts.items())]
    lines.append(f"{'numbers known at the end':32} {outcome.numbers:>8,}")
    lines.append(f"{'orders on record':32} {outcome.orders:>8,}")
    lines += [f"{f'seconds: {part}':32} {seconds:>8.1f}" for part, seconds in outcome.seconds.items()]
    lines.append(f"{'violations':32} {len(outcome.violations):>8,}")
    return "\n".join(lines)


def main() -> None:
    """Run a trial from the command line; exit 1 when something is not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--buyers", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data-dir", type=Path, default=None)
    options = parser.parse_args()
    data_dir = options.data_dir or Path(tempfile.mkdtemp(prefix="trial-"))
    outcome = run_trial(data_dir, options.seconds, options.buyers, options.seed)
    sys.stdout.write(f"{summary(outcome)}\n")
    for violation in outcome.violations:
        sys.stdout.write(f"VIOLATION {violation.text[:600]}\n")
    sys.stdout.write("\n".join(outcome.evidence) + "\n")
    sys.exit(1 if outcome.violations else 0)


if __name__ == "__main__":
    main()
