"""`numbers feeds`: the carriers' profiles, and what would be read of a file."""

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import click
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from deploy.cli.feeds_generate import generate
from deploy.cli.ingest import carrier_name, mode_option
from deploy.cli.store_option import feeds_file_option, print_json, print_table
from deploy.cli.sync import write_rejects
from deploy.cli.sync_output import print_field, print_rejects, printable
from shared.feeds.formats.read import read_feed
from shared.feeds.guards import refusal
from shared.feeds.offers import collector
from shared.feeds.profiles import Mode, Profile, read_profiles
from shared.feeds.rows import REMOVAL, Block, FeedRefused, RejectedRow
from shared.feeds.schedules import parse_schedule
from shared.feeds.sources import parse_networks, parse_source
from shared.feeds.spool import FeedTooLarge, Spool
from shared.feeds.syncs import MAX_KEPT_REJECTS
from shared.stock_score import MMS, SMS

_NAMED_AREAS = 5
_BAR_WIDTH = 20
_SHOWN_PER_SECOND = 4
_YOUNG_OBJECTS = 100_000
"""As in the worker: rows make young objects by the million, and looking for garbage among them takes as long
as reading them."""


@click.group()
def feeds() -> None:
    """Look at the carriers' profiles, and at feeds before they are brought."""


feeds.add_command(generate)


class Found(Struct):
    """What was found in a feed."""

    rows: int = 0
    rejected: int = 0
    numbers: int = 0
    """That the carrier offers."""
    removals: int = 0
    """Numbers that rows take away."""
    duplicate: int = 0
    """Numbers that came in another row too."""
    area_codes: dict[str, int] = {}
    """Numbers by area code, the most first."""
    sms: int = 0
    mms: int = 0
    seconds: float = 0.0
    refused: str | None = None
    """Why it would be refused."""


class _Gathering:
    """Collects what blocks hold, as the worker does."""

    def __init__(self, mode: Mode) -> None:
        self.found = Found()
        self.rejects: list[RejectedRow] = []
        self._collector = collector(mode)

    def add(self, block: Block) -> None:
        self._collector.add(block)
        self.rejects += block.rejects[: MAX_KEPT_REJECTS - len(self.rejects)]
        self.found.rows += block.row_count
        self.found.rejected += len(block.rejects)

    def finish(self) -> None:
        """Count the numbers."""
        found = self.found
        offers, found.removals, found.duplicate = self._collector.finish()
        by_area: Counter[str] = Counter()
        for area_code, places in offers.items():
            for features, numbers in places.items():
                if features != REMOVAL:
                    by_area[area_code] += len(numbers)
                    found.sms += len(numbers) * bool(features & SMS)
                    found.mms += len(numbers) * bool(features & MMS)
        found.area_codes = dict(sorted(by_area.items(), key=lambda item: (-item[1], item[0])))
        found.numbers = by_area.total()


@feeds.command()
@click.argument("carrier", callback=carrier_name, metavar="PROFILE")
@click.argument("file", type=click.File("rb"))
@mode_option
@click.option(
    "--rejects",
    "rejects_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"Write the rows that cannot be read to FILE, as CSV: the first {MAX_KEPT_REJECTS:,}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@feeds_file_option
def check(
    *,
    carrier: str,
    file: BinaryIO,
    mode: str | None,
    rejects_file: Path | None,
    as_json: bool,
    feeds_file: str | None,
) -> None:
    """Show what would be read of FILE (or - for standard input) as the feed of the carrier PROFILE.

    It needs no service and changes nothing. A carrier without a profile has the plain format. Exit 1 when the
    feed would be refused as a whole; whether its removals would wait depends on the stock, and
    `numbers ingest --dry-run` tells that.
    """
    gc.set_threshold(_YOUNG_OBJECTS)
    profiles = read_profiles(feeds_file)
    profile = profiles.of(carrier)
    chosen = Mode(mode) if mode else profile.mode
    with _on_disk(file, profile) as path:
        gathered = _read(path, profile, chosen, is_quiet=as_json)
    if rejects_file is not None:
        write_rejects(gathered.rejects, rejects_file)
    said = {"carrier": carrier, "has_profile": carrier in profiles.by_name}
    said |= {"format": profile.format, "mode": chosen}
    if as_json:
        print_json({**said, **msgspec.structs.asdict(gathered.found), "rejects": gathered.rejects})
    else:
        _print(said, gathered)
    sys.exit(1 if gathered.found.refused else 0)


@contextmanager
def _on_disk(file: BinaryIO, profile: Profile) -> Iterator[Path]:
    """Give the path of a file; standard input is copied to one first, for formats jump about in theirs."""
    if file is not sys.stdin.buffer:
        yield Path(file.name)
        return
    with TemporaryDirectory() as directory:
        spool = Spool(Path(directory))
        try:
            spool.put("stdin", file, profile.limits.bytes)
        except FeedTooLarge as error:
            raise click.ClickException(str(error)) from error
        yield spool.path_of("stdin")


def _read(path: Path, profile: Profile, mode: Mode, *, is_quiet: bool) -> _Gathering:
    gathered = _Gathering(mode)
    found = gathered.found
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(_BAR_WIDTH),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    begun = time.monotonic()
    with Progress(
        *columns,
        console=console,
        transient=True,
        refresh_per_second=_SHOWN_PER_SECOND,
        disable=is_quiet or not console.is_terminal,
    ) as progress:
        task = progress.add_task("reading", total=path.stat().st_size)
        try:
            for block in read_feed(path, profile):
                gathered.add(block)
                rate = found.rows / max(time.monotonic() - begun, 1e-9)
                shown = f"{found.rows:,} rows  {rate:,.0f} rows/s"
                progress.update(task, description=shown, completed=block.position)
        except FeedRefused as error:
            found.refused = str(error)
    found.seconds = time.monotonic() - begun
    gathered.finish()
    found.refused = found.refused or refusal(
        profile.guards, mode, rows=found.rows, rejected=found.rejected, numbers=found.numbers
    )
    return gathered


def _print(said: dict[str, Any], gathered: _Gathering) -> None:
    found = gathered.found
    click.echo(f"{said['carrier']}: {'would be refused' if found.refused else 'can be read'}")
    no_profile = "" if said["has_profile"] else "; there is no profile of this name"
    print_field("profile", f"{said['format']}, {said['mode']}{no_profile}")
    rate = found.rows / max(found.seconds, 1e-9)
    print_field(
        "rows",
        f"{found.rows:,} read in {found.seconds:.1f} s ({rate:,.0f} rows/s), {found.rejected:,} rejected",
    )
    print_field(
        "numbers",
        f"{found.numbers:,} offered, {found.removals:,} removed by a row, {found.duplicate:,} duplicate",
    )
    print_field("features", f"{found.sms:,} with sms, {found.mms:,} with mms")
    print_field("areas", _areas_text(found.area_codes))
    print_rejects(gathered.rejects, found.rejected)
    if found.refused:
        click.echo(f"Error: {printable(found.refused)}", err=True)


def _areas_text(area_codes: dict[str, int]) -> str:
    named = [f"{area_code} ({count:,})" for area_code, count in list(area_codes.items())[:_NAMED_AREAS]]
    more = len(area_codes) - len(named)
    listed = ", ".join(named) + (f" and {more} more" if more else "")
    return f"{len(area_codes)}: {listed}" if named else "0"


class Listed(Struct):
    """A profile as it is listed; of its source what is no secret."""

    name: str
    format: str
    mode: str
    precedence: int
    schedule: str | None
    source: str | None


@feeds.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@feeds_file_option
def list_(*, as_json: bool, feeds_file: str | None) -> None:
    """List the carriers' profiles; exit 1 when one of them cannot be used.

    Of two carriers that offer one number, the attributes of the one with the lower precedence count.
    Schedules are in UTC.
    """
    profiles = read_profiles(feeds_file).by_name
    listed = [_listed(name, profile) for name, profile in sorted(profiles.items())]
    if as_json:
        print_json(listed)
        return
    if not listed:
        click.echo("no profiles: every carrier has the plain format")
        return
    table = Table(box=None)
    for column in Listed.__struct_fields__:
        table.add_column(column, no_wrap=column != "source", overflow="fold")
    for one in listed:
        values = msgspec.structs.astuple(one)
        table.add_row(*(Text("" if value is None else str(value)) for value in values))
    print_table(table)


def _listed(name: str, profile: Profile) -> Listed:
    try:
        source = parse_source(profile.source).shown if profile.source else None
        parse_networks(profile.allow_networks)
        if profile.schedule:
            parse_schedule(profile.schedule)
    except ValueError as error:
        raise click.ClickException(f"[profiles.{name}]: {error}") from error
    return Listed(name, profile.format, profile.mode, profile.precedence, profile.schedule, source)
