"""Latency of one search at a time in a nearly full area code, and in one with a thousandth of its numbers."""

from tests.bench.context import Context, create_keys
from tests.bench.load import Requests
from tests.bench.load_job import Outcome
from tests.bench.measurements.setup import describe, prepare_searches
from tests.bench.processes import Server
from tests.bench.report import Ratio, Row, at_most, row
from tests.bench.stocks import NUMBERS_PER_AREA, put_in_stock, spread

NAME = "growth"

_LARGE_AREA, _SMALL_AREA = "415", "212"
_FACTOR = 1_000
_LARGE_NUMBERS = 7_900_000
_LARGE_PER_OPTION = _LARGE_NUMBERS / 1_000_000
"""So that `--numbers` shortens this measurement as the others."""
_GOAL, _REVERSE_GOAL = 1.5, 5.0
_WARM_UP_SECONDS = 2.0
_FEWEST_WARM_UPS, _MOST_WARM_UPS = 3, 30
_IS_STEADY = 0.9


def measure(context: Context) -> list[Row]:
    """Return the median latencies, and their ratio both ways."""
    options = context.options
    large = min(int(options.numbers * _LARGE_PER_OPTION), _LARGE_NUMBERS, NUMBERS_PER_AREA)
    sizes = {_LARGE_AREA: large, _SMALL_AREA: max(large // _FACTOR, 1)}
    with context.processes() as processes:
        store = processes.store()
        for area_code, size in sizes.items():
            context.show(f"loading {size:,} numbers")
            put_in_stock(store.client, area_code, spread(size, context.draw(f"growth {area_code}")))
        [secret] = create_keys(store, ["bench"])
        searches = {area_code: prepare_searches(context, area_code, secret) for area_code in sizes}
        api = processes.api(store)
        context.slow.begin(store.client)
        for area_code, size in sizes.items():
            context.show(f"{size:,} numbers: warm-up")
            _warm_up(context, api, searches[area_code])
        outcomes: dict[str, list[Outcome]] = {area_code: [] for area_code in sizes}
        for number in range(1, options.rounds + 1):
            for area_code, size in sizes.items():
                context.show(f"round {number} of {options.rounds}: {size:,} numbers")
                outcomes[area_code].append(
                    context.load.run(api, searches[area_code], 1, seconds=options.seconds)
                )
    large_ms, small_ms = ([one.p50_ms for one in outcomes[area]] for area in (_LARGE_AREA, _SMALL_AREA))
    names = [f"search in {size:,} numbers, p50" for size in sizes.values()]
    notes = [describe(one) for one in outcomes.values()]
    there = Ratio("large / small", large_ms, small_ms)
    back = Ratio("small / large", small_ms, large_ms)
    return [
        row(NAME, names[0], large_ms, "ms", ratio=there, goal=at_most(_GOAL), note=notes[0]),
        row(NAME, names[1], small_ms, "ms", ratio=back, goal=at_most(_REVERSE_GOAL), note=notes[1]),
    ]


def _warm_up(context: Context, api: Server, searches: Requests) -> None:
    """Search until the latency no longer falls: the process learns the stock in the background."""
    before = float("inf")
    seconds = min(_WARM_UP_SECONDS, context.options.seconds)
    for number in range(_MOST_WARM_UPS):
        p50 = context.load.run(api, searches, 1, seconds=seconds).p50_ms
        if number >= _FEWEST_WARM_UPS and p50 >= _IS_STEADY * before:
            return
        before = p50
