"""Schedules as in a crontab, and the jobs that are made of them."""

import calendar
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis, create_pool
from arq.cron import CronJob, next_cron
from arq.worker import Worker
from cronsim import CronSim
from hypothesis import assume, given, settings, strategies as st

from shared.feeds.profiles import BadProfiles, Profile, Profiles, read_profiles
from shared.feeds.schedules import parse_schedule
from shared.jobs import queue_settings
from worker.feeds.schedule import cron_jobs


def times(text: str, begin: datetime, count: int) -> list[datetime]:
    """When arq runs a job with this schedule."""
    (job,) = cron_jobs(Profiles({"acme": Profile(source="/feed", schedule=text)}, Profile()), start)
    found = []
    for _ in range(count):
        job.calculate_next(begin)
        assert job.next_run is not None
        begin = job.next_run
        found.append(begin.replace(microsecond=0))
    return found


async def start(ctx: dict[Any, Any], *_: Any, **named: Any) -> Any:
    ctx["started"].append(named["carrier"])


def field(low: int, high: int, names: dict[int, str]) -> st.SearchStrategy[str]:
    """Texts of one field of a crontab."""
    value = st.integers(low, high)
    name = value.map(lambda number: names.get(number, str(number)))
    span = st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(1, high)
    stepped = st.tuples(st.one_of(st.just("*"), span), step).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.one_of(
        st.just("*"), stepped, st.lists(st.one_of(name, span), min_size=1, max_size=3).map(",".join)
    )


MONTHS = dict(enumerate(calendar.month_abbr))
WEEKDAYS = dict(enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"]))
CRONTABS = st.tuples(
    field(0, 59, {}), field(0, 23, {}), field(1, 28, {}), field(1, 12, MONTHS), field(0, 7, WEEKDAYS)
).map(" ".join)


@given(CRONTABS, st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
@settings(max_examples=60, deadline=None)
def test_feeds_are_fetched_exactly_when_a_crontab_says(text: str, begin: datetime) -> None:
    _, _, day, _, weekday = text.split()
    assume(day.startswith("*") or weekday.startswith("*"))
    begin = begin.replace(microsecond=0)
    assert times(text, begin, 4) == list(islice(CronSim(text, begin), 4))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("30 4 * * *", "2026-07-02 04:30"),
        ("*/15 * * * *", "2026-07-01 12:15"),
        ("0 6 * * 0", "2026-07-05 06:00"),
        ("0 6 * * 7", "2026-07-05 06:00"),
        ("0 6 * * sun", "2026-07-05 06:00"),
        ("0 6 * * MON-FRI", "2026-07-02 06:00"),
        ("0 0 1 jan *", "2027-01-01 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 1,15 * *", "2026-07-15 00:00"),
    ],
)
def test_a_wednesday_noon_is_followed_by(text: str, first: str) -> None:
    (found,) = times(text, datetime(2026, 7, 1, 12, tzinfo=UTC), 1)
    assert found == datetime.fromisoformat(first).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *"),
        *("* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *", "0 0 31 2 *", "0 0 30 feb *"),
        *(
            "0 0 L * *",
            "0 0 LW * *",
            "0 0 * * 1#2",
            "0 0 * * 5L",
            "0 0 1 * mon",
            "0 0 1-31 * 1",
            "-1 * * * *",
        ),
    ],
)
def test_a_schedule_that_never_comes_or_says_two_things_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^schedule: "):
        parse_schedule(text)


def test_only_feeds_with_a_source_and_a_schedule_are_fetched() -> None:
    by_name = {
        "acme": Profile(source="/feeds/acme", schedule="0 3 * * *"),
        "brim": Profile(source="/feeds/brim"),
        "clef": Profile(schedule="0 3 * * *"),
    }
    assert [job.name for job in cron_jobs(Profiles(by_name, Profile()), start)] == ["fetch:acme"]


async def test_workers_that_see_the_same_minute_come_fetch_a_feed_once(valkey: str, store: object) -> None:
    del store
    pool = await create_pool(queue_settings(valkey, 5))
    started: list[str] = []
    workers = [worker_of(pool, job, started) for job in scheduled("acme", "brim")]
    now = datetime.now(UTC)
    for worker in workers:
        for job in worker.cron_jobs:
            job.next_run = now.replace(microsecond=123_456) - timedelta(minutes=1)
        await worker.run_cron(now, 0.5)
    for worker in workers:
        await worker.run_check()
    assert sorted(started) == ["acme", "brim"]
    await pool.aclose()


def scheduled(*carriers: str) -> list[list[CronJob]]:
    """Make the jobs of these carriers, for each of two workers."""
    by_name = {carrier: Profile(source="/feed", schedule="0 3 1 1 *") for carrier in carriers}
    return [cron_jobs(Profiles(by_name, Profile()), start) for _ in range(2)]


def worker_of(pool: ArqRedis, jobs: list[CronJob], started: list[str]) -> Worker:
    return Worker(
        cron_jobs=jobs,
        redis_pool=pool,
        burst=True,
        poll_delay=0.02,
        ctx={"started": started},
        timezone=UTC,
        handle_signals=False,
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('schedule = "0 0 1 * mon"', "schedule: "),
        ('source = "memory://feed"', "source: "),
        ('allow_networks = ["10.0.0.1/8"]', "allow_networks: 10.0.0.1/8 has host bits set"),
        (
            'source = "/"\nmode = "delta"',
            "source: only the newest file of a directory is fetched, and deltas",
        ),
    ],
)
def test_what_cannot_be_fetched_is_told_when_profiles_are_read(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = tmp_path / "feeds.toml"
    path.write_text(f"[profiles.acme]\n{line}\n")
    with pytest.raises(BadProfiles, match=rf"\[profiles\.acme\]: .*{reason}"):
        read_profiles(str(path))


def test_arq_counts_days_of_the_week_from_monday() -> None:
    assert next_cron(datetime(2026, 7, 1), weekday=0).strftime("%A") == "Monday"
