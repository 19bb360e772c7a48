"""Fetching feeds at the times that their profiles say."""

from functools import partial
from typing import cast

from arq import cron
from arq.cron import CronJob
from arq.typing import WorkerCoroutine

from shared.feeds.profiles import Profiles
from shared.feeds.schedules import parse_schedule

_TIMEOUT_SECONDS = 60
"""For putting the work into the queue; the fetching itself is the feed's own job."""
_TRIES = 5
"""arq repeats only what was cut off because its worker had to stop; a second fetch finds nothing new."""


def cron_jobs(profiles: Profiles, start: WorkerCoroutine) -> list[CronJob]:
    """Make the jobs, each `fetch:<carrier>`, of all profiles with a source and a schedule.

    A job calls `start(ctx, carrier=…)`. The worker's `timezone` has to be UTC. Workers that see the same
    minute come share one job, for its id is made of its name and its time.
    """
    return [
        _job(carrier, profile.schedule, start)
        for carrier, profile in profiles.by_name.items()
        if profile.source is not None and profile.schedule is not None
    ]


def _job(carrier: str, schedule: str, start: WorkerCoroutine) -> CronJob:
    times = parse_schedule(schedule)
    return cron(
        # What arq asks of a coroutine is more than it uses.
        cast("WorkerCoroutine", partial(start, carrier=carrier)),
        name=f"fetch:{carrier}",
        month=times.months,
        day=times.days,
        weekday=times.weekdays,
        hour=times.hours,
        minute=times.minutes,
        second=0,
        unique=True,
        timeout=_TIMEOUT_SECONDS,
        keep_result=0,
        max_tries=_TRIES,
    )
