"""How syncs look on the command line."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import click
import msgspec
from rich.table import Table
from rich.text import Text

from deploy.cli.store_option import print_table, same_store
from shared.feeds.rows import RejectedRow
from shared.feeds.syncs import Sync, SyncState

SHOWN_REJECTS: Final = 5

_LABEL_WIDTH = 9
_INDENT = " " * (2 + _LABEL_WIDTH + 1)
_STYLES: Final = {
    SyncState.RUNNING: "cyan",
    SyncState.WAITING: "yellow",
    SyncState.APPLIED: "green",
    SyncState.REFUSED: "red",
    SyncState.FAILED: "red",
}
_WIDTH_WITH_REASONS = 130
"""Of a terminal: on a narrower one a list has no room for them."""

_AGES: Final = (
    (timedelta(days=2), 86_400, "d"),
    (timedelta(hours=2), 3_600, "h"),
    (timedelta(minutes=2), 60, "min"),
)


def fields_of(sync: Sync, rejects: Sequence[RejectedRow]) -> dict[str, Any]:
    """Give a sync and its rejected rows as JSON has them."""
    return {**msgspec.to_builtins(sync), "rejects": rejects}


def print_outcome(sync: Sync, rejects: Sequence[RejectedRow]) -> None:
    """Print what has become of a sync; of one that has not ended, that only."""
    click.echo(f"{sync.id} {_state_text(sync)}")
    if sync.state.has_ended:
        _print_counts(sync, rejects)


def print_details(sync: Sync, rejects: Sequence[RejectedRow]) -> None:
    """Print all that is known of a sync."""
    click.echo(f"{sync.id} {_state_text(sync)}")
    print_field("carrier", sync.carrier)
    said = [
        sync.mode or "in the mode of the carrier's profile",
        "passes the guards" if sync.confirm else "",
    ]
    print_field("mode", ", ".join(filter(None, said)))
    print_field("brought", _time_text(sync.created_at))
    print_field("changed", _time_text(sync.updated_at))
    print_field("sha256", sync.sha256 or "fetched from the carrier's source")
    _print_counts(sync, rejects)


def _state_text(sync: Sync) -> str:
    if sync.state is SyncState.RUNNING:
        return f"{sync.state} {sync.progress} %"
    return "dry run" if sync.dry_run and sync.state is SyncState.APPLIED else sync.state


def _print_counts(sync: Sync, rejects: Sequence[RejectedRow]) -> None:
    if sync.read:
        print_field(
            "rows", f"{sync.read:,} read, {sync.rejected:,} rejected; {sync.duplicate:,} duplicate numbers"
        )
    if sync.state not in (SyncState.REFUSED, SyncState.FAILED):
        print_field(
            "numbers",
            f"{sync.added:,} added, {sync.removed:,} removed, {sync.unchanged:,} unchanged; "
            f"{sync.protected:,} protected",
        )
    if sync.reading_ms or sync.applying_ms:
        rate = f" ({sync.read * 1000 / sync.reading_ms:,.0f} rows/s)" if sync.reading_ms else ""
        print_field(
            "took", f"{sync.reading_ms / 1000:.1f} s to read{rate}, {sync.applying_ms / 1000:.1f} s to apply"
        )
    print_rejects(rejects, sync.rejected)
    if sync.rejected > SHOWN_REJECTS:
        print_field("", same_store(f"sync rejects {sync.id}"))
    if sync.state is SyncState.WAITING:
        print_field("waits", sync.reason or "")
        print_field("confirm", same_store(f"sync confirm {sync.id} --wait"))
    elif sync.state in (SyncState.REFUSED, SyncState.FAILED):
        click.echo(f"Error: {printable(sync.reason or sync.state)}", err=True)
    elif sync.reason:
        print_field("reason", sync.reason)


def print_rejects(rejects: Sequence[RejectedRow], count: int) -> None:
    """Print the first of `count` rejected rows."""
    label = "rejected"
    for row in rejects[:SHOWN_REJECTS]:
        begins = f": {row.start!r}" if row.start else ""
        print_field(label, f"line {row.line}: {row.reason}{begins}")
        label = ""
    if count > SHOWN_REJECTS:
        print_field("", f"and {count - SHOWN_REJECTS:,} more")


def print_field(label: str, text: str) -> None:
    """Print a line under a heading; on a terminal it is broken between words."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    begin = f"  {label:<{_LABEL_WIDTH}} "
    shown = textwrap.fill(
        printable(text),
        width,
        initial_indent=begin,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    click.echo(shown)


def printable(text: str) -> str:
    """Give a text that does nothing to the terminal it is shown on, whoever has written it."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def print_list(syncs: Iterable[Sync], now: datetime) -> None:
    """Print a line for each sync."""
    has_room = not sys.stdout.isatty() or shutil.get_terminal_size().columns >= _WIDTH_WITH_REASONS
    table = Table(box=None, pad_edge=False, padding=(0, 2 if has_room else 1, 0, 0))
    # Of an id that is to be copied nothing may be missing.
    table.add_column("id", no_wrap=True)
    table.add_column("carrier", overflow="fold")
    table.add_column("state", no_wrap=True)
    for name in ("age", "added", "removed"):
        table.add_column(name, no_wrap=True, justify="right")
    if has_room:
        table.add_column("reason", overflow="fold")
    for sync in syncs:
        cells: list[str | Text] = [
            sync.id,
            sync.carrier,
            Text(_state_text(sync), _STYLES.get(sync.state, "")),
            age_text(now - sync.created_at),
            f"{sync.added:,}",
            f"{sync.removed:,}",
        ]
        table.add_row(*cells, *([Text(printable(sync.reason or ""))] if has_room else []))
    print_table(table)


def age_text(age: timedelta) -> str:
    """Say how long ago something was, in the largest unit of which there are two: `90 s`, `5 min`."""
    for least, seconds, unit in _AGES:
        if age >= least:
            return f"{age.total_seconds() // seconds:.0f} {unit}"
    return f"{max(age.total_seconds(), 0):.0f} s"


def _time_text(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
