"""Subjects take turns within one run, so that a machine that changes its speed changes all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.bench.context import Context
from tests.bench.load import Requests
from tests.bench.load_job import Outcome
from tests.bench.processes import Server

_WARM_UP_SECONDS = 1.0


class Subject(NamedTuple):
    """A server, and the requests that it is measured with."""

    server: Server
    requests: Callable[[], Requests]
    """For each turn; orders can be placed once only."""
    is_each_once: bool = False


def repeated(server: Server, requests: Requests) -> Subject:
    """Return a subject whose turns all send the same requests."""
    return Subject(server, lambda: requests)


def take_turns(context: Context, subjects: Mapping[str, Subject]) -> dict[str, list[Outcome]]:
    """Measure the highest rate of each subject, in turns; return name → outcome of each round."""
    options = context.options
    outcomes: dict[str, list[Outcome]] = {name: [] for name in subjects}
    for name in subjects:
        context.show(f"{name}: warm-up")
        _turn(context, subjects[name], min(_WARM_UP_SECONDS, options.seconds))
    for number in range(1, options.rounds + 1):
        for name, subject in subjects.items():
            context.show(f"round {number} of {options.rounds}: {name}")
            outcomes[name].append(_turn(context, subject, options.seconds))
    return outcomes


def rates(outcomes: Sequence[Outcome]) -> list[float]:
    """Return answers a second of each round."""
    return [outcome.rate for outcome in outcomes]


def _turn(context: Context, subject: Subject, seconds: float) -> Outcome:
    return context.load.run(
        subject.server,
        subject.requests(),
        context.options.connections,
        seconds=seconds,
        is_each_once=subject.is_each_once,
    )
