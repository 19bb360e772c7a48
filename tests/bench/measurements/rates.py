"""Searches a second, and those of the peers, of a rate limit in force and of a search over all area codes."""

import statistics

from tests.bench.context import Context, create_keys
from tests.bench.errors import NotInstalled
from tests.bench.measurements.setup import (
    AREA_CODE,
    SearchService,
    describe,
    prepare_searches,
    start_search,
)
from tests.bench.postgres import fill, start_postgres
from tests.bench.processes import Processes, Server
from tests.bench.report import Ratio, Row, at_least, row
from tests.bench.stocks import put_in_stock, spread_over_areas
from tests.bench.turns import Subject, rates, repeated, take_turns

NAME = "rates"

_SEARCH = "search, one area code"
_NOOP = "no-op Litestar"
_BARE = "bare ASGI"
_REDIS = "plain redis-py"
_POSTGRES = "FastAPI + PostgreSQL"
_LIMITED = "search, rate limit in force"
_EVERYWHERE = "search, 300 area codes, none named"

_PEER_GOALS = {_NOOP: 0.9, _BARE: 0.3, _REDIS: 3.0, _POSTGRES: 4.0}
_OWN_GOALS = {_LIMITED: 0.85, _EVERYWHERE: 0.7}
_NEVER_REFUSES = "1000000"


def measure(context: Context) -> list[Row]:
    """Return rates, and the search's ratios to them."""
    with context.processes() as processes:
        subjects, missing = _start(context, processes)
        outcomes = take_turns(context, subjects)
    ours = rates(outcomes[_SEARCH])
    context.best_rate = statistics.median(ours)
    rows = [row(NAME, _SEARCH, ours, "/s", note=describe(outcomes[_SEARCH]))]
    for name, goal in {**_PEER_GOALS, **_OWN_GOALS}.items():
        if name not in outcomes:
            rows.append(Row(NAME, name, note=missing))
            continue
        here = rates(outcomes[name])
        ratio = (
            Ratio("search / this", ours, here) if name in _PEER_GOALS else Ratio("this / search", here, ours)
        )
        note = describe(outcomes[name])
        rows.append(row(NAME, name, here, "/s", ratio=ratio, goal=at_least(goal), note=note))
    return rows


def _start(context: Context, processes: Processes) -> tuple[dict[str, Subject], str]:
    """Start everything; return the subjects in the order of their turns, and why PostgreSQL is missing."""
    service = start_search(context, processes)
    asked, missing = service.searches, ""
    subjects = {
        _SEARCH: repeated(service.api, asked),
        _NOOP: repeated(processes.peer("noop_litestar"), asked),
        _BARE: repeated(processes.peer("bare_asgi"), asked),
        _REDIS: _start_plain_redis(context, processes, service),
    }
    try:
        subjects[_POSTGRES] = repeated(_start_postgres(context, processes, service), asked)
    except NotInstalled as error:
        missing = str(error)
    limited = processes.api(service.store, search_rate=_NEVER_REFUSES, search_burst=_NEVER_REFUSES)
    subjects[_LIMITED] = repeated(limited, asked)
    subjects[_EVERYWHERE] = _start_everywhere(context, processes)
    return subjects, missing


def _start_plain_redis(context: Context, processes: Processes, service: SearchService) -> Subject:
    context.show(f"loading {len(service.numbers):,} numbers for plain redis-py")
    # A store of its own: the commands over 2 ms are to be the service's.
    store = processes.store(is_peers=True)
    put_in_stock(store.client, AREA_CODE, service.numbers)
    [secret] = create_keys(store, ["bench"])
    peer = processes.peer("plain_redis", NUMBERS_REDIS_URL=store.url)
    return repeated(peer, prepare_searches(context, AREA_CODE, secret))


def _start_postgres(context: Context, processes: Processes, service: SearchService) -> Server:
    context.show(f"loading {len(service.numbers):,} numbers into PostgreSQL")
    dsn = start_postgres(processes)
    fill(dsn, [(AREA_CODE, service.numbers)], service.secret)
    return processes.peer("postgres", BENCH_POSTGRES_DSN=dsn)


def _start_everywhere(context: Context, processes: Processes) -> Subject:
    context.show("loading 300 area codes")
    store = processes.store()
    for area_code, numbers in spread_over_areas(context.options.numbers, context.draw("areas")):
        put_in_stock(store.client, area_code, numbers)
    [secret] = create_keys(store, ["bench"])
    context.slow.begin(store.client)
    return repeated(processes.api(store), prepare_searches(context, None, secret))
