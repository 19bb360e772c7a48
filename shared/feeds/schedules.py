"""When feeds are fetched: five fields as in a crontab, read into what each of them allows."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from cronsim import CronSim, CronSimError

_FIELDS = 5
_DAYS_OF_A_WEEK = 7


class Schedule(NamedTuple):
    """The minutes at which something happens: those that all five sets allow, in UTC."""

    months: set[int]
    """1-12."""
    days: set[int]
    """1-31, of the month."""
    weekdays: set[int]
    """0-6, Monday is 0."""
    hours: set[int]
    minutes: set[int]


def parse_schedule(text: str) -> Schedule:
    """Read the five fields: lists, ranges, steps, names of months and of weekdays; 0 and 7 are Sunday.

    Raises:
        ValueError: it cannot be read, never comes, or is read differently by different programs.
    """
    if len(text.split()) != _FIELDS:
        raise ValueError(f"schedule: {text!r} does not have the five fields of a crontab")
    try:
        parsed = CronSim(text, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"schedule: {text!r}: {error}") from error
    if not parsed.day_and:
        # crontab(5): "the command will be run when either field matches", which hardly anybody expects.
        raise ValueError(f"schedule: {text!r} names days of the month and of the week; use one of them")
    return Schedule(
        months=_plain(parsed.months),
        days=_plain(parsed.days),
        weekdays={(day - 1) % _DAYS_OF_A_WEEK for day in _plain(parsed.weekdays)},
        hours=_plain(parsed.hours),
        minutes=_plain(parsed.minutes),
    )


def _plain(items: Iterable[object]) -> set[int]:
    """Give what a field allows: numbers, which the library's `L` and `#` are not."""
    numbers = {item for item in items if isinstance(item, int) and item >= 0}
    if numbers != items:
        raise ValueError("schedule: a crontab knows neither L nor #")
    return numbers
