"""Pages of 20 of an organization's 1,000 numbers a second."""

from tests.bench import requests
from tests.bench.context import Context
from tests.bench.measurements.setup import AREA_CODE, describe, start_search
from tests.bench.report import Ratio, Row, at_least, row
from tests.bench.turns import rates, repeated, take_turns

NAME = "pages"

_NOOP = "no-op Litestar"
_PAGE = "page of 20 of 1,000 numbers"
_GOAL = 0.3
_OWNED = 1_000
_NUMBERS_PER_ORDER = 100


def measure(context: Context) -> list[Row]:
    """Return the rate of pages, and its ratio to the no-op handler."""
    with context.processes() as processes:
        service = start_search(context, processes)
        owned = [f"+1{AREA_CODE}{number}" for number in service.numbers[:_OWNED]]
        orders = [
            requests.order(owned[begin : begin + _NUMBERS_PER_ORDER], service.secret)
            for begin in range(0, len(owned), _NUMBERS_PER_ORDER)
        ]
        context.show(f"ordering {len(owned):,} numbers")
        context.load.run(service.api, context.load.prepare(orders), 1, is_each_once=True)
        pages = context.load.prepare([requests.page(service.secret)])
        noop = repeated(processes.peer("noop_litestar"), service.searches)
        outcomes = take_turns(context, {_NOOP: noop, _PAGE: repeated(service.api, pages)})
    base, here = rates(outcomes[_NOOP]), rates(outcomes[_PAGE])
    ratio = Ratio("this / no-op", here, base)
    return [
        row(NAME, _NOOP, base, "/s", note=describe(outcomes[_NOOP])),
        row(NAME, _PAGE, here, "/s", ratio=ratio, goal=at_least(_GOAL), note=describe(outcomes[_PAGE])),
    ]
