"""One area code, and an API process that searches it: what several measurements begin with."""

from typing import Final, NamedTuple

from tests.bench import requests
from tests.bench.context import Context, create_keys
from tests.bench.load import Requests
from tests.bench.load_job import Outcome
from tests.bench.processes import Processes, Server, StoreServer
from tests.bench.stocks import put_in_stock, spread

AREA_CODE: Final = "415"
_REQUESTS = 20_000
_BUSY_CLIENT = 0.85


class SearchService(NamedTuple):
    """A store with spread numbers in one area code, an API process, and searches for it."""

    store: StoreServer
    api: Server
    secret: str
    numbers: list[int]
    searches: Requests


def start_search(context: Context, processes: Processes) -> SearchService:
    """Start a store and an API process with the numbers and patterns of the options."""
    count = context.options.numbers
    context.show(f"loading {count:,} numbers")
    numbers = spread(count, context.draw("stock"))
    store = processes.store()
    put_in_stock(store.client, AREA_CODE, numbers)
    [secret] = create_keys(store, ["bench"])
    searches = prepare_searches(context, AREA_CODE, secret)
    api = processes.api(store)
    context.slow.begin(store.client)
    return SearchService(store, api, secret, numbers, searches)


def prepare_searches(
    context: Context, area_code: str | None, secret: str, lengths: tuple[int, ...] | None = None
) -> Requests:
    """Return searches of the options' pattern lengths, or of others."""
    options = context.options
    lengths = lengths or options.lengths
    draw = context.draw(f"searches {lengths}")
    return context.load.prepare(
        requests.searches(_REQUESTS, draw, lengths, area_code, options.quantity, secret)
    )


def describe(outcomes: list[Outcome]) -> str:
    """Return how many numbers the answers had, and whether the load client limited the rate."""
    found = sum(outcome.numbers for outcome in outcomes) / max(sum(o.answers for o in outcomes), 1)
    busy = sum(outcome.client_busy for outcome in outcomes) / len(outcomes)
    text = f"{found:.1f} numbers an answer, client {busy:.0%} busy"
    return text + (": it limits this rate" if busy > _BUSY_CLIENT else "")
