"""Searches a second, and those of the peers, of a rate limit in force and of a search over all area codes."""

from tests.bench import requests
from tests.bench.context import Context, create_keys
from tests.bench.errors import NotInstalled
from tests.bench.load_job import Outcome
from tests.bench.postgres import fill, start_postgres
from tests.bench.processes import Processes, Server, StoreServer
from tests.bench.report import Ratio, Row, at_least, row
from tests.bench.stocks import put_in_stock, spread, spread_over_areas
from tests.bench.turns import Subject, rates, repeated, take_turns

NAME = "rates"
AREA_CODE = "415"

_SEARCH = "search, one area code"
_NOOP = "no-op Litestar"
_BARE = "bare ASGI"
_REDIS = "plain redis-py"
_POSTGRES = "FastAPI + PostgreSQL"
_LIMITED = "search, rate limit in force"
_EVERYWHERE = "search, 300 area codes, none named"

_GOALS = {_NOOP: 0.9, _BARE: 0.3, _REDIS: 3.0, _POSTGRES: 4.0}
_LIMITED_GOAL, _EVERYWHERE_GOAL = 0.85, 0.7
_NEVER_REFUSES = "1000000"
_REQUESTS = 20_000
_BUSY_CLIENT = 0.85


def measure(context: Context) -> list[Row]:
    """Return rates, and the search's ratios to them."""
    with context.processes() as processes:
        subjects, missing = _start(context, processes)
        outcomes = take_turns(context, subjects)
    found = rates(outcomes[_SEARCH])
    context.best_rate = sorted(found)[len(found) // 2]
    rows = [row(NAME, _SEARCH, found, "/s", note=_note(outcomes[_SEARCH]))]
    for peer, goal in _GOALS.items():
        if peer in outcomes:
            theirs = rates(outcomes[peer])
            ratio = Ratio(f"search / {peer}", found, theirs)
            rows.append(
                row(NAME, peer, theirs, "/s", ratio=ratio, goal=at_least(goal), note=_note(outcomes[peer]))
            )
    rows += [Row(NAME, _POSTGRES, note=reason) for reason in missing]
    for name, goal in ((_LIMITED, _LIMITED_GOAL), (_EVERYWHERE, _EVERYWHERE_GOAL)):
        here = rates(outcomes[name])
        ratio = Ratio("this / search", here, found)
        rows.append(row(NAME, name, here, "/s", ratio=ratio, goal=at_least(goal), note=_note(outcomes[name])))
    return rows


def _note(outcomes: list[Outcome]) -> str:
    found = sum(outcome.numbers for outcome in outcomes) / max(sum(o.answers for o in outcomes), 1)
    busy = sum(outcome.client_busy for outcome in outcomes) / len(outcomes)
    text = f"{found:.1f} numbers an answer, client {busy:.0%} busy"
    return text + (": it limits this rate" if busy > _BUSY_CLIENT else "")


def _start(context: Context, processes: Processes) -> tuple[dict[str, Subject], list[str]]:
    """Start everything; return the subjects in the order of their turns, and why a peer is missing."""
    options, show = context.options, context.show
    show(f"loading {options.numbers:,} numbers")
    numbers = spread(options.numbers, context.draw("stock"))
    store = processes.store()
    put_in_stock(store.client, AREA_CODE, numbers)
    [secret] = create_keys(store, ["bench"])
    asked = context.load.prepare(
        requests.searches(
            _REQUESTS, context.draw("searches"), options.lengths, AREA_CODE, options.quantity, secret
        )
    )
    subjects = {
        _SEARCH: repeated(processes.api(store), asked),
        _NOOP: repeated(processes.peer("noop_litestar"), asked),
        _BARE: repeated(processes.peer("bare_asgi"), asked),
        _REDIS: repeated(processes.peer("plain_redis", NUMBERS_REDIS_URL=store.url), asked),
    }
    missing = []
    try:
        subjects[_POSTGRES] = repeated(_start_postgres(context, processes, numbers, secret), asked)
    except NotInstalled as error:
        missing.append(str(error))
    limited = processes.api(store, search_rate=_NEVER_REFUSES, search_burst=_NEVER_REFUSES)
    subjects[_LIMITED] = repeated(limited, asked)
    everywhere, secret = _start_everywhere(context, processes)
    asked_everywhere = context.load.prepare(
        requests.searches(
            _REQUESTS, context.draw("searches"), options.lengths, None, options.quantity, secret
        )
    )
    subjects[_EVERYWHERE] = repeated(processes.api(everywhere), asked_everywhere)
    for one in (store, everywhere):
        context.slow.begin(one.client)
    return subjects, missing


def _start_postgres(context: Context, processes: Processes, numbers: list[int], secret: str) -> Server:
    context.show(f"loading {len(numbers):,} numbers into PostgreSQL")
    dsn = start_postgres(processes)
    fill(dsn, [(AREA_CODE, numbers)], secret)
    return processes.peer("postgres", BENCH_POSTGRES_DSN=dsn)


def _start_everywhere(context: Context, processes: Processes) -> tuple[StoreServer, str]:
    context.show("loading 300 area codes")
    store = processes.store()
    for area_code, numbers in spread_over_areas(context.options.numbers, context.draw("areas")):
        put_in_stock(store.client, area_code, numbers)
    return store, create_keys(store, ["bench"])[0]
