"""`numbers audit`: does all that the store says of numbers, orders and organizations agree?"""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import click
import msgspec
from rich.console import Console
from rich.status import Status

from deploy.cli.stats import print_states
from deploy.cli.store_option import find_settings, print_json, store_options, with_store
from shared.audit.repair import Repair, repair
from shared.audit.run import Counts, Report, audit as audit_store
from shared.audit.violations import Violation
from shared.settings import Settings
from shared.store import Store

_QUIET_SECONDS = 1.0
"""An audit that takes less shows no progress."""


@click.command()
@click.option("--repair", "is_repair", is_flag=True, help="Mend what is safe to mend, and audit again.")
@click.option("--thorough", is_flag=True, help="Read every available number, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def audit(*, is_repair: bool, thorough: bool, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Count every state and name all that does not agree; exit 1 when something does not.

    It runs beside the service and stops nobody. What looks wrong is looked at again when every open order has
    had its time, and counts only when it is still wrong in the very same way.
    """
    settings = find_settings(redis_url, data_dir)
    report, repairs = with_store(
        settings, lambda store: _run(store, settings, thorough=thorough, is_repair=is_repair)
    )
    if as_json:
        fields = msgspec.structs.asdict(report)
        print_json(fields | ({"repairs": [_flat(one) for one in repairs]} if is_repair else {}))
    else:
        _print(report, repairs, is_repair=is_repair)
    if not report.clean:
        sys.exit(1)


async def _run(
    store: Store, settings: Settings, *, thorough: bool, is_repair: bool
) -> tuple[Report, list[Repair]]:
    with _Progress() as progress:
        report = await audit_store(
            store, settings, thorough=thorough, announce=progress.announce, progress=progress.show
        )
        if not is_repair or report.clean:
            return report, []
        repairs = await repair(store, settings, report.violations)
        if repairs:
            report = await audit_store(
                store, settings, thorough=thorough, announce=progress.announce, progress=progress.show
            )
        return report, repairs


class _Progress:
    """Says on standard error what is being done when it takes long."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._begun = time.monotonic()
        self._status: Status | None = None

    def show(self, what: str, count: int) -> None:
        """Show how far the audit has come, on a terminal."""
        if not self._console.is_terminal or time.monotonic() - self._begun < _QUIET_SECONDS:
            return
        if self._status is None:
            self._status = self._console.status("")
            self._status.start()
        self._status.update(f"{what}: {count:,}")

    def announce(self, suspects: int, seconds: float) -> None:
        """Say why it takes longer."""
        self._stop()
        noun = "1 suspect, looking at it" if suspects == 1 else f"{suspects:,} suspects, looking at them"
        click.echo(f"{noun} again in {seconds:g} s", err=True)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._stop()


def _flat(repaired: Repair) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(repaired.violation)
    return fields | {"done": repaired.done}


def _print(report: Report, repairs: list[Repair], *, is_repair: bool) -> None:
    print_states(report.area_codes)
    click.echo(_text_of(report.counts))
    for one in repairs:
        click.echo(f"mended {_line(one.violation)}; {one.done}")
    for violation in report.violations:
        remedy = "`--repair` mends it" if violation.repairable and not is_repair else "needs a person"
        if violation.repairable and is_repair:
            remedy = "not mended: run it again"
        click.echo(f"{_line(violation)}; {remedy}")
    count = len(report.violations)
    click.echo("clean" if report.clean else f"{count:,} violation{'s' * (count > 1)}")


def _text_of(counts: Counts) -> str:
    fields: dict[str, int | dict[str, int]] = msgspec.structs.asdict(counts)
    parts = [f"{value:,} {name}" for name, value in fields.items() if isinstance(value, int)]
    orders = [f"{count:,} {status}" for status, count in counts.orders.items()]
    return f"{', '.join(parts)}\norders: {', '.join(orders)}"


def _line(violation: Violation) -> str:
    names = [
        ("", violation.number),
        ("area code ", None if violation.number else violation.area_code),
        ("organization ", violation.organization),
        ("order ", violation.order),
        ("resource ", violation.resource),
    ]
    where = ", ".join(f"{what}{name}" for what, name in names if name)
    return f"{violation.kind}  {where}: {violation.detail}"
