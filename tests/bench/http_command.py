"""`python -m tests.bench http`: the whole service over HTTP, compared with peers in the same run."""

import os
import platform
import signal
import time
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any, Final

import click

from tests.bench import machine, postgres
from tests.bench.context import Context, RunOptions
from tests.bench.errors import BenchError
from tests.bench.load import LoadClient
from tests.bench.measurements import growth, latency, memory, orders, pages, rates, start, store_time
from tests.bench.options import json_option, seed_option
from tests.bench.processes import Processes
from tests.bench.progress import show
from tests.bench.report import Report, Row, at_most, failed, print_report, row
from tests.bench.slow_commands import SlowCommands

_MEASUREMENTS: Final[tuple[ModuleType, ...]] = (
    rates,
    orders,
    pages,
    latency,
    growth,
    store_time,
    memory,
    start,
)
_NAMES: Final = tuple(module.NAME for module in _MEASUREMENTS)
_SLOW_GOAL = 1 / 10_000


class _Lengths(click.ParamType[tuple[int, ...]]):
    """Pattern lengths: `3` or `1-7`."""

    name = "lengths"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        first, _, last = str(value).partition("-")
        last = last or first
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 7):
            self.fail(f"{value!r} is not a length from 1 to 7 or a range such as 1-7", param, ctx)
        return tuple(range(int(first), int(last) + 1))


@click.command()
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(_NAMES),
    help="A measurement to make; may be repeated. Without it, all of them.",
)
@click.option(
    "--numbers",
    type=click.IntRange(1_000, 5_000_000),
    default=1_000_000,
    show_default=True,
    help="Numbers in stock.",
)
@click.option("--connections", type=click.IntRange(1, 1_000), default=32, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1),
    default=3.0,
    show_default=True,
    help="Length of each turn.",
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Turns of each subject.")
@click.option(
    "--patterns",
    type=_Lengths(),
    default="1-7",
    show_default=True,
    metavar="LENGTHS",
    help="Lengths of the random patterns.",
)
@click.option("--quantity", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option(
    "--searches",
    type=click.IntRange(10),
    default=500,
    show_default=True,
    help="Searches of each stock and pattern length, where the store's time is measured.",
)
@click.option(
    "--memory-requests",
    type=click.IntRange(1_000),
    default=1_000_000,
    show_default=True,
    help="Requests after which the memory is read; also after a fifth of them.",
)
@seed_option
@json_option
def http(*, only: tuple[str, ...], patterns: tuple[int, ...], as_json: bool, **options: Any) -> None:
    """Measure the service over HTTP, in turns with peers; print figures, ratios and goals.

    Starts everything itself on free ports and in temporary directories, and removes it at the end. With
    the defaults it takes about twenty minutes, half of them for the memory; `--only rates` takes four.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    chosen = [module for module in _MEASUREMENTS if not only or module.NAME in only]
    run_options = RunOptions(lengths=patterns, **options)
    load_before = os.getloadavg()[0]
    began = time.monotonic()
    rows: list[Row] = []
    with LoadClient() as load:
        context = Context(run_options, load, show)
        for module in chosen:
            rows += _measured(module.NAME, module.measure, context)
    if context.slow.commands:
        rows.append(_slow_row(context.slow))
    show("")
    shown = {**options, "patterns": f"{patterns[0]}-{patterns[-1]}"}
    seconds = round(time.monotonic() - began, 1)
    print_report(Report(_machine(load_before), shown, rows, seconds), as_json=as_json)
    if any(line.what == "not measured" for line in rows):
        raise click.exceptions.Exit(1)


def _measured(name: str, measure: Callable[[Context], list[Row]], context: Context) -> list[Row]:
    try:
        return measure(context)
    except BenchError as error:
        return [failed(name, error)]


def _slow_row(slow: SlowCommands) -> Row:
    note = f"{slow.slow} of {slow.commands:,} commands" + (
        f", the longest {slow.worst_us / 1000:.1f} ms" if slow.slow else ""
    )
    share = slow.slow / slow.commands
    return row("store", "commands over 2 ms", [share], "", goal=at_most(_SLOW_GOAL), note=note)


def _machine(load_before: float) -> machine.Machine:
    with Processes(SlowCommands()) as processes:
        server = processes.store().client.info("server")
    name = "Valkey" if "valkey_version" in server else "Redis"
    return machine.Machine(
        processor=machine.processor(),
        cores=machine.usable_cores(),
        load_before=load_before,
        python=platform.python_version(),
        granian=version("granian"),
        event_loop=machine.event_loop(),
        store=f"{name} {server.get('valkey_version') or server['redis_version']}",
        postgresql=postgres.version(),
    )
