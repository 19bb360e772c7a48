"""Store time of one search at a time, for each pattern length and stock; quiet, and while numbers change.

The plain ZRANGE that a search is compared with is sent between the searches: other processes have used the
processor since the command before, as they have before a search. In a tight loop, with warm caches, it takes
half as long; the note has that figure.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Final, NamedTuple

from shared import store_keys
from tests.bench.changes import CHANGES_A_SECOND, Changes
from tests.bench.context import Context, create_keys
from tests.bench.load import Requests
from tests.bench.load_job import Outcome
from tests.bench.measurements.setup import prepare_searches
from tests.bench.processes import Server, StoreServer
from tests.bench.report import Ratio, Row, at_most, row
from tests.bench.stocks import BLOCK_NUMBERS, SPARSE_NUMBERS, in_blocks, put_in_stock, spread
from tests.bench.store_meter import StoreMeter

NAME = "store-time"

_WARM_UP_SECONDS = 3.0
_CHANGING_FACTOR = 2
_READ_SECONDS = 0.001


class _Stock(NamedTuple):
    """A stock of one area code, and the goals of its searches."""

    name: str
    area_code: str
    numbers: Callable[[int, Random], list[int]]
    goal: float
    """Times a ZRANGE."""
    goals: dict[int, float]
    """For some pattern lengths another one."""


_STOCKS: Final = (
    _Stock("spread", "415", spread, 3.0, {5: 8.0}),
    _Stock("in thousands blocks", "212", in_blocks, 5.0, {5: 10.0}),
    _Stock("spread", "907", lambda count, draw: spread(min(count, SPARSE_NUMBERS), draw), 8.0, {}),
)


class _Measured(NamedTuple):
    """Mean µs of each round."""

    search_us: list[float]
    zrange_us: list[float]
    tight_us: list[float]
    """ZRANGE in a tight loop, with warm caches."""
    found: float


def measure(context: Context) -> list[Row]:
    """Return the store's time for a search in multiples of a plain ZRANGE."""
    return [line for stock in _STOCKS for line in _measure_stock(context, stock)]


def _measure_stock(context: Context, stock: _Stock) -> Iterator[Row]:
    count = context.options.numbers // BLOCK_NUMBERS * BLOCK_NUMBERS
    numbers = stock.numbers(count, context.draw(f"store time {stock.area_code}"))
    name = f"{len(numbers):,} {stock.name}"
    with context.processes() as processes:
        context.show(f"loading {name}")
        store = processes.store()
        put_in_stock(store.client, stock.area_code, numbers)
        [secret] = create_keys(store, ["bench"])
        api = processes.api(store)
        searches = {
            length: prepare_searches(context, stock.area_code, secret, (length,))
            for length in context.options.lengths
        }
        context.load.run(api, prepare_searches(context, stock.area_code, secret), 1, seconds=_WARM_UP_SECONDS)
        with StoreMeter(store, context.slow) as meter:
            bench = _StockBench(context, meter, store, api, stock.area_code, len(numbers))
            measured: dict[int, _Measured] = {}
            for length, asked in searches.items():
                context.show(f"{name}, {length} digits")
                measured[length] = bench.measure(asked)
            yield from _rows(name, measured, stock, 1)
            changing = numbers[:]
            context.draw("changes").shuffle(changing)
            with Changes(store.url, stock.area_code, changing) as changes:
                for length, asked in searches.items():
                    context.show(f"{name}, {length} digits, {CHANGES_A_SECOND} changes a second")
                    measured[length] = bench.measure(asked)
                what = f"{name}, {changes.rate:.0f} changes/s"
            yield from _rows(what, measured, stock, _CHANGING_FACTOR)


def _rows(name: str, by_length: dict[int, _Measured], stock: _Stock, factor: int) -> Iterator[Row]:
    """Yield a row for each pattern length; the first also has how many numbers were found."""
    found = ", ".join(f"{measured.found:.1f}" for measured in by_length.values())
    zrange_us = statistics.mean(us for measured in by_length.values() for us in measured.zrange_us)
    tight_us = statistics.mean(us for measured in by_length.values() for us in measured.tight_us)
    note = f"ZRANGE {zrange_us:.1f} µs ({tight_us:.1f} in a tight loop); numbers an answer by length {found}"
    for length, measured in by_length.items():
        ratio = Ratio("search / ZRANGE", measured.search_us, measured.zrange_us)
        goal = at_most(factor * stock.goals.get(length, stock.goal))
        what = f"{name}, {length} digits"
        yield row(NAME, what, measured.search_us, "µs", ratio=ratio, goal=goal, note=note)
        note = ""


class _StockBench:
    """Measures searches and plain reads of one stock, in turns."""

    def __init__(
        self, context: Context, meter: StoreMeter, store: StoreServer, api: Server, area_code: str, size: int
    ) -> None:
        self._context, self._meter, self._api = context, meter, api
        self._client = store.client
        self._key = store_keys.available(area_code)
        self._size = size
        self._draw = context.draw(f"ranks {area_code}")

    def measure(self, searches: Requests) -> _Measured:
        """Return the store's time for searches and for plain reads of as many numbers."""
        options = self._context.options
        count = max(options.searches // options.rounds, 1)
        search_us, zrange_us, tight_us, found = [], [], [], 0
        for _ in range(options.rounds):
            used, outcome = self._meter.run(lambda: self._search_and_read(searches, count))
            search_us.append(used.others() / count)
            zrange_us.append(statistics.mean(used.own("ZRANGE")))
            found += outcome.numbers
            used, _ = self._meter.run(lambda: self._read_many(count))
            tight_us.append(statistics.mean(used.own("ZRANGE")))
        return _Measured(search_us, zrange_us, tight_us, found / (count * options.rounds))

    def _search_and_read(self, searches: Requests, count: int) -> Outcome:
        """Send searches one at a time, and plain reads at a pace between them."""
        run = self._context.load.run
        with ThreadPoolExecutor(1) as executor:
            searching = executor.submit(lambda: run(self._api, searches, 1, count=count))
            while not searching.done():
                self._read()
                time.sleep(_READ_SECONDS)
            return searching.result()

    def _read_many(self, count: int) -> None:
        for _ in range(count):
            self._read()

    def _read(self) -> None:
        quantity = self._context.options.quantity
        start = self._draw.randrange(max(self._size - quantity, 1))
        self._client.execute("ZRANGE", self._key, start, start + quantity - 1)
