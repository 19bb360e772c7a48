"""The result of a run: rows of what was measured, what it is compared with, and whether the goal is met."""

import statistics
from collections.abc import Sequence

import click
from msgspec import UNSET, Struct, UnsetType
from rich.table import Table

from deploy.cli.store_option import print_json, print_table
from tests.bench.machine import Machine


class Spread(Struct, frozen=True):
    """The median of some rounds, the lowest and the highest."""

    median: float
    low: float
    high: float


class Goal(Struct, frozen=True):
    """What a ratio or a figure has to be."""

    value: float
    is_at_least: bool

    def is_met_by(self, value: float) -> bool:
        """Return whether a value reaches the goal."""
        return value >= self.value if self.is_at_least else value <= self.value


class Ratio(Struct, frozen=True):
    """Two series of rounds, the first divided by the second."""

    name: str
    above: Sequence[float]
    below: Sequence[float]

    def by_round(self) -> Spread:
        """Return the ratio of each round's two figures: both met the machine in the same state."""
        pairs = zip(self.above, self.below, strict=True)
        return spread([above / below if below else float("inf") for above, below in pairs])


class Row(Struct, frozen=True, omit_defaults=True):
    """One line of the result."""

    measurement: str
    what: str
    unit: str = ""
    figure: Spread | None = None
    ratio: Spread | None = None
    ratio_of: str = ""
    goal: Goal | None = None
    """For the ratio, or for the figure of a row without one."""
    is_met: bool | None = None
    note: str = ""


class Report(Struct, frozen=True):
    """All that was measured in one run."""

    machine: Machine
    options: dict[str, int | float | str]
    rows: list[Row]
    seconds: float | UnsetType = UNSET


def at_least(value: float) -> Goal:
    """Return a goal for something that should be high."""
    return Goal(value, is_at_least=True)


def at_most(value: float) -> Goal:
    """Return a goal for something that should be low."""
    return Goal(value, is_at_least=False)


def spread(values: Sequence[float]) -> Spread:
    """Return median, lowest and highest."""
    return Spread(statistics.median(values), min(values), max(values))


def row(
    measurement: str,
    what: str,
    values: Sequence[float],
    unit: str,
    *,
    ratio: Ratio | None = None,
    goal: Goal | None = None,
    note: str = "",
) -> Row:
    """Return a row; the goal is for the ratio, where there is one."""
    figure = spread(values)
    divided = None if ratio is None else ratio.by_round()
    judged = divided or figure
    return Row(
        measurement,
        what,
        unit,
        figure,
        divided,
        "" if ratio is None else ratio.name,
        goal,
        None if goal is None else goal.is_met_by(judged.median),
        note,
    )


def failed(measurement: str, reason: object) -> Row:
    """Return the row of a measurement that could not be made."""
    return Row(measurement, "not measured", note=str(reason))


def print_report(report: Report, *, as_json: bool) -> None:
    """Print as one table, or as JSON."""
    if as_json:
        print_json(report)
        return
    table = Table(box=None)
    for name in ("", "what", "median", "min-max", "ratio", "min-max", "of", "goal", "met"):
        table.add_column(name, justify="right" if name in ("median", "min-max", "ratio") else "left")
    for line in report.rows:
        goal = (
            "" if line.goal is None else f"{'≥' if line.goal.is_at_least else '≤'} {_short(line.goal.value)}"
        )
        is_met = "" if line.is_met is None else "yes" if line.is_met else "NO"
        table.add_row(
            line.measurement,
            line.what,
            "" if line.figure is None else f"{_short(line.figure.median)} {line.unit}".strip(),
            _range(line.figure),
            "" if line.ratio is None else _short(line.ratio.median),
            _range(line.ratio),
            line.ratio_of,
            goal,
            is_met,
        )
    click.echo(f"{report.machine}\n")
    print_table(table)
    notes = [f"{line.measurement}, {line.what}: {line.note}" for line in report.rows if line.note]
    if notes:
        click.echo("\n" + "\n".join(notes))


def _range(spread_of: Spread | None) -> str:
    if spread_of is None or spread_of.low == spread_of.high:
        return ""
    return f"{_short(spread_of.low)}-{_short(spread_of.high)}"


def _short(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.2g}"
    if abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
