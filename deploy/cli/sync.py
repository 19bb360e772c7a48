"""`numbers sync`: look at what feeds have done, confirm what waits, take back what was done."""

import re
import shutil
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import click

from deploy.cli.ingest import carrier_name
from deploy.cli.store_option import Command, find_settings, print_json, store_options, with_store
from deploy.cli.sync_follow import EXIT_CODES, wait_for, wake_worker
from deploy.cli.sync_output import fields_of, print_details, print_list, print_outcome
from shared import clock
from shared.feeds.rejects_csv import rejects_csv
from shared.feeds.rows import RejectedRow
from shared.feeds.syncs import (
    Sync,
    SyncNotApplied,
    SyncNotWaiting,
    SyncState,
    confirm_sync,
    list_syncs,
    read_rejects,
    read_sync,
    roll_back_sync,
)
from shared.settings import Settings
from shared.store import Store

_ID = re.compile(r"[0-9a-f-]{36}")
_READ_AT_ONCE = 500
_MOST_LISTED = 10_000

_wait_option = click.option(
    "--wait", is_flag=True, help="Wait until it has ended, and tell by the exit code how."
)


@click.group()
def sync() -> None:
    """Look at what feeds have done to the stock; confirm it or take it back.

    A sync is one feed that was brought, or fetched from a carrier's source; syncs are kept for 30 days.

    \b
    Exit codes with --wait:
      0  applied, or rolled back
      1  refused or failed; the reason is on standard error
      3  its removals wait for a confirmation
      4  superseded by a newer feed
    """  # noqa: D301 - click leaves lines after a backspace as they are


def _optional_carrier(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    return None if name is None else carrier_name(context, parameter, name)


def _id_argument(command: Command) -> Command:
    return click.argument("sync_id", metavar="ID")(command)


@sync.command("list")
@click.option("--carrier", callback=_optional_carrier, metavar="NAME", help="Only syncs of this carrier.")
@click.option(
    "--state", type=click.Choice([state.value for state in SyncState]), help="Only syncs in this state."
)
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_LISTED),
    default=20,
    show_default=True,
    metavar="N",
    help="How many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@store_options
def list_(
    *,
    carrier: str | None,
    state: str | None,
    limit: int,
    as_json: bool,
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """List syncs, newest first."""

    def is_wanted(one: Sync) -> bool:
        return carrier in (None, one.carrier) and state in (None, one.state)

    async def look(store: Store) -> tuple[list[Sync], datetime]:
        return await _newest(store, limit, is_wanted), await clock.now(store)

    found, now = with_store(find_settings(redis_url, data_dir), look)
    if as_json:
        print_json(found)
    elif found:
        print_list(found, now)
    else:
        click.echo("no such sync" if carrier or state else "no syncs yet: bring a feed with `numbers ingest`")


async def _newest(store: Store, limit: int, is_wanted: Callable[[Sync], bool]) -> list[Sync]:
    found: list[Sync] = []
    before: str | None = None
    while True:
        page, _ = await list_syncs(store, _READ_AT_ONCE, before)
        found += filter(is_wanted, page)
        if not page or len(found) >= limit:
            return found[:limit]
        before = page[-1].id


@sync.command()
@_id_argument
@_wait_option
@click.option("--json", "as_json", is_flag=True, help="Print the sync as JSON.")
@store_options
def show(*, sync_id: str, wait: bool, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Show how far the sync ID is, what it has changed, and its first rejected rows.

    Numbers are protected when a feed does not change their state: they are held, assigned, quarantined,
    returned to their carrier, or ours to keep because they were assigned once.
    """
    settings = find_settings(redis_url, data_dir)
    found = _find(settings, sync_id)
    if wait:
        found = wait_for(settings, found, is_quiet=as_json)
    rejects = _rejects_of(settings, sync_id)
    if as_json:
        print_json(fields_of(found, rejects))
    else:
        print_details(found, rejects)
    sys.exit(EXIT_CODES[found.state] if wait else 0)


@sync.command()
@_id_argument
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write them to FILE.  [default: standard output]",
)
@store_options
def rejects(*, sync_id: str, output: Path | None, redis_url: str | None, data_dir: Path) -> None:
    """Write the rows of the sync ID that could not be read as CSV.

    A line has the row's line in the feed, the reason, and the first 64 bytes of the row. The first 1,000 are
    kept. The file is safe to open in a spreadsheet.
    """
    settings = find_settings(redis_url, data_dir)
    found = _find(settings, sync_id)
    kept = _rejects_of(settings, sync_id)
    write_rejects(kept, output)
    if len(kept) < found.rejected:
        click.echo(f"these are the first {len(kept):,} of {found.rejected:,} rejected rows", err=True)


def write_rejects(rows: list[RejectedRow], output: Path | None) -> None:
    """Write rejected rows as CSV to a file or to standard output; raises `OSError`."""
    text = rejects_csv(rows)
    if output is None:
        click.echo(text.encode(), nl=False)
    else:
        output.write_bytes(text.encode())


@sync.command()
@_id_argument
@_wait_option
@store_options
def confirm(*, sync_id: str, wait: bool, redis_url: str | None, data_dir: Path) -> None:
    """Have the removals done that the sync ID waits with.

    What is removed is worked out anew from the present stock: what a later feed offers again stays.
    """
    settings = find_settings(redis_url, data_dir)
    found = _find(settings, sync_id)
    try:
        found = _queue(settings, found, confirm_sync)
    except SyncNotWaiting as error:
        raise click.ClickException(f"nothing waits for a confirmation: {error}") from error
    if wait:
        found = wait_for(settings, found)
    print_outcome(found, _rejects_of(settings, sync_id))
    sys.exit(EXIT_CODES[found.state])


@sync.command()
@_id_argument
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@_wait_option
@store_options
def rollback(*, sync_id: str, is_sure: bool, wait: bool, redis_url: str | None, data_dir: Path) -> None:
    """Bring back what the carrier offered before the sync ID.

    It has to be the carrier's last sync that changed anything. On a terminal it asks first. Numbers that were
    assigned meanwhile stay with their organizations.
    """
    settings = find_settings(redis_url, data_dir)
    found = _find(settings, sync_id)
    if not is_sure and sys.stdin.isatty():
        _ask(found)
    try:
        found = _queue(settings, found, roll_back_sync)
    except SyncNotApplied as error:
        raise click.ClickException(f"nothing can be rolled back: {error}") from error
    if wait:
        found = wait_for(settings, found)
    # Rolled back, it is as if the feed before it were the newer one.
    if found.state.has_ended and found.state is not SyncState.SUPERSEDED:
        raise click.ClickException(found.reason or f"it is {found.state}")
    click.echo(f"{found.id} {found.reason if found.state.has_ended else found.state}")


def _ask(found: Sync) -> None:
    text = (
        f"What {found.carrier} offered before this sync comes back: the {found.added:,} numbers that it "
        f"added leave the stock, the {found.removed:,} that it removed return, and removals that wait are "
        "forgotten. The carrier's next feed counts as always."
    )
    click.echo(click.wrap_text(text, shutil.get_terminal_size().columns), err=True)
    click.confirm("Roll back?", abort=True, err=True)


def _find(settings: Settings, sync_id: str) -> Sync:
    found = with_store(settings, lambda store: read_sync(store, sync_id)) if _ID.fullmatch(sync_id) else None
    if found is None:
        raise click.ClickException(f"there is no sync {sync_id!r:.50}; `numbers sync list` shows them")
    return found


def _rejects_of(settings: Settings, sync_id: str) -> list[RejectedRow]:
    return with_store(settings, lambda store: read_rejects(store, sync_id))


def _queue(settings: Settings, found: Sync, queue: Callable[[Store, Sync], Awaitable[Sync]]) -> Sync:
    async def run(store: Store) -> Sync:
        queued = await queue(store, found)
        await wake_worker(settings, found.carrier)
        return queued

    return with_store(settings, run)
