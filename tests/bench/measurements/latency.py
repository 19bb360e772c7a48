"""Latency of searches at half of the highest rate, at a steady pace."""

import statistics

from tests.bench.context import Context
from tests.bench.measurements.setup import describe, start_search
from tests.bench.report import Ratio, Row, at_most, row
from tests.bench.turns import rates, repeated, take_turns

NAME = "latency"

_GOAL = 4.0
_SHARE = 0.5


def measure(context: Context) -> list[Row]:
    """Return median and 99th percentile; each request counts from the moment at which it was due."""
    options = context.options
    with context.processes() as processes:
        service = start_search(context, processes)
        if not context.best_rate:
            outcomes = take_turns(context, {"search": repeated(service.api, service.searches)})
            context.best_rate = statistics.median(rates(outcomes["search"]))
        rate = _SHARE * context.best_rate
        outcomes_paced = []
        # The first warms up.
        for number in range(options.rounds + 1):
            context.show(f"latency at {rate:,.0f} a second: round {number} of {options.rounds}")
            outcomes_paced.append(
                context.load.run(
                    service.api, service.searches, options.connections, seconds=options.seconds, rate=rate
                )
            )
    rounds = outcomes_paced[1:]
    p50 = [outcome.p50_ms for outcome in rounds]
    p99 = [outcome.p99_ms for outcome in rounds]
    what = f"search at {rate:,.0f} a second"
    return [
        row(NAME, f"{what}, p50", p50, "ms", note=describe(rounds)),
        row(NAME, f"{what}, p99", p99, "ms", ratio=Ratio("p99 / p50", p99, p50), goal=at_most(_GOAL)),
    ]
