"""Orders of one number a second, on a store as durable as that of `numbers up` and on one in memory only."""

from collections.abc import Iterator
from itertools import cycle, islice

from tests.bench import requests
from tests.bench.context import Context, create_keys
from tests.bench.load import Requests
from tests.bench.measurements.setup import AREA_CODE, describe
from tests.bench.processes import DURABLE, Processes, wait_for_rewrite
from tests.bench.report import Ratio, Row, at_least, row
from tests.bench.stocks import put_in_stock, spread
from tests.bench.turns import Subject, rates, repeated, take_turns

NAME = "orders"

_NOOP = "no-op Litestar"
_DURABLE = "orders, every write on disk"
_VOLATILE = "orders, store in memory only"
_GOAL = 0.25
_MOST_ORDERS_A_SECOND = 10_000


def measure(context: Context) -> list[Row]:
    """Return rates of orders, and their ratios to the no-op handler."""
    with context.processes() as processes:
        durable = _start(context, processes, DURABLE)
        volatile = _start(context, processes, {})
        searches = context.load.prepare([requests.search(AREA_CODE, "5", context.options.quantity, "")])
        noop = repeated(processes.peer("noop_litestar"), searches)
        outcomes = take_turns(context, {_NOOP: noop, _DURABLE: durable, _VOLATILE: volatile})
    base = rates(outcomes[_NOOP])
    rows = [row(NAME, _NOOP, base, "/s", note=describe(outcomes[_NOOP]))]
    for name in (_DURABLE, _VOLATILE):
        here = rates(outcomes[name])
        ratio = Ratio("this / no-op", here, base)
        note = describe(outcomes[name])
        rows.append(row(NAME, name, here, "/s", ratio=ratio, goal=at_least(_GOAL), note=note))
    return rows


def _start(context: Context, processes: Processes, config: dict[str, str]) -> Subject:
    options = context.options
    context.show(f"loading {options.numbers:,} numbers")
    store = processes.store(config)
    numbers = spread(options.numbers, context.draw("orders"))
    put_in_stock(store.client, AREA_CODE, numbers)
    # Each buyer is an organization of its own.
    secrets = create_keys(store, [f"buyer-{index}" for index in range(options.connections)])
    wait_for_rewrite(store)
    api = processes.api(store)
    context.slow.begin(store.client)
    orders = (
        requests.order([f"+1{AREA_CODE}{number}"], secret)
        for number, secret in zip(numbers, cycle(secrets), strict=False)
    )
    # The warm-up is a turn, too.
    share = options.numbers // (options.rounds + 1)
    count = max(min(share, int(_MOST_ORDERS_A_SECOND * options.seconds)), 1)
    return Subject(api, lambda: _next_orders(context, orders, count), is_each_once=True)


def _next_orders(context: Context, orders: Iterator[bytes], count: int) -> Requests:
    return context.load.prepare(islice(orders, count))
