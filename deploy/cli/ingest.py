"""`numbers ingest`: bring a carrier's feed."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from deploy.cli.store_option import default_spool_dir, find_settings, print_json, store_options, with_store
from shared import store_keys
from shared.atomic.feed_operations import TooManyCarriers
from shared.jobs import WORKER_HEALTH_KEY, JobQueue
from shared.settings import Settings, variable_of
from shared.spool import Spool
from shared.store import Store, StoreUnavailable
from shared.syncs import (
    CARRIER_NAME,
    RejectedRow,
    Sync,
    SyncState,
    new_sync_id,
    queue_sync,
    read_rejects,
    read_sync,
)

_LOOK_INTERVAL_SECONDS = 0.2
_SHOWN_REJECTS = 5


def _carrier(_: click.Context, __: click.Parameter, name: str) -> str:
    if not CARRIER_NAME.fullmatch(name):
        raise click.BadParameter("must be 1-32 characters of a-z, 0-9 and -")
    return name


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--carrier", required=True, callback=_carrier, metavar="NAME", help="Whose numbers these are.")
@click.option("--wait", is_flag=True, help="Wait until the feed is applied; exit 1 when it fails.")
@click.option("--json", "as_json", is_flag=True, help="Print the sync as JSON.")
@store_options
def ingest(
    *, file: BinaryIO, carrier: str, wait: bool, as_json: bool, redis_url: str | None, data_dir: Path
) -> None:
    """Bring FILE (or - for standard input): all numbers that a carrier offers now.

    CSV with a header (`number`, optionally `sms` and `mms`) or NDJSON (`{"number": "+14155550123"}`), either
    one gzipped. What the carrier offered before and is not in FILE leaves the stock.
    """
    settings = find_settings(redis_url, data_dir)
    sync = with_store(settings, lambda store: hand_over(store, settings, data_dir, carrier, file))
    rejects: list[RejectedRow] = []
    if wait:
        sync = with_store(settings, lambda store: follow(store, sync, is_quiet=as_json))
        rejects = with_store(settings, lambda store: read_rejects(store, sync.id))
    if as_json:
        print_json({**msgspec.to_builtins(sync), "rejects": rejects})
    else:
        _print(sync, rejects)
    if sync.state is SyncState.FAILED:
        sys.exit(1)


async def hand_over(store: Store, settings: Settings, data_dir: Path, carrier: str, file: BinaryIO) -> Sync:
    """Copy a feed to the worker's spool, queue its sync and wake the worker.

    Raises:
        ClickException: the spool cannot be written.
        StoreUnavailable: the store did not answer.
    """
    spool = Spool(await _spool_dir(store, settings, data_dir))
    sync_id = new_sync_id()
    try:
        spool.put(sync_id, file)
    except OSError as error:
        place = error.filename or spool.path_of(sync_id).parent
        raise click.ClickException(
            f"the feed cannot be copied to the spool: {error.strerror}: {place}"
        ) from error
    try:
        sync = await queue_sync(store, sync_id, carrier)
    except TooManyCarriers:
        spool.remove(sync_id)
        raise
    queue = JobQueue(settings.redis_url, settings.store_timeout_seconds)
    try:
        # The feed is queued: a wake-up that is lost is made up for by the worker's sweep.
        with suppress(StoreUnavailable):
            await queue.wake_feed(carrier)
    finally:
        await queue.close()
    return sync


async def _spool_dir(store: Store, settings: Settings, data_dir: Path) -> Path:
    """Give the spool that is set, else that of the worker, else that of the data directory."""
    if settings.spool_dir is not None:
        return Path(settings.spool_dir)
    named = await store.execute("GET", store_keys.SPOOL_DIR)
    if named is None:
        return Path(default_spool_dir(data_dir))
    directory = Path(named.decode())
    if not _is_here(directory):
        raise click.ClickException(
            f"the worker looks for feeds in {directory}, which is not on this machine: "
            f"run this command where the worker runs, or set {variable_of('spool_dir')} to the same volume"
        )
    return directory


def _is_here(directory: Path) -> bool:
    return directory.is_dir()


async def follow(
    store: Store, sync: Sync, *, is_quiet: bool, meanwhile: Callable[[], None] = lambda: None
) -> Sync:
    """Show a bar until the sync has ended, and give its record then.

    Raises:
        StoreUnavailable: the store did not answer.
        BaseException: whatever `meanwhile`, which is called again and again, raises.
    """
    console = Console(stderr=True, quiet=is_quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(sync.state, total=100)
        while not sync.state.has_ended:
            await asyncio.sleep(_LOOK_INTERVAL_SECONDS)
            meanwhile()
            seen = await read_sync(store, sync.id)
            if seen is None:
                raise click.ClickException(f"the sync {sync.id} is gone from the store")
            sync = seen
            description = f"{sync.state}, {sync.read:,} rows"
            if sync.state is SyncState.QUEUED and not await store.execute("EXISTS", WORKER_HEALTH_KEY):
                description = "queued; no worker is running, the feed waits for one"
            progress.update(task, description=description, completed=sync.progress, refresh=True)
    return sync


def _print(sync: Sync, rejects: list[RejectedRow]) -> None:
    if not sync.state.has_ended:
        click.echo(f"{sync.id} {sync.state}")
        return
    click.echo(
        f"{sync.id} {sync.state}: {sync.read:,} rows read, {sync.added:,} numbers added, "
        f"{sync.removed:,} removed, {sync.unchanged:,} unchanged; "
        f"{sync.rejected:,} rows rejected, {sync.duplicate:,} duplicate"
    )
    for row in rejects[:_SHOWN_REJECTS]:
        click.echo(f"  line {row.line}: {row.reason}", err=True)
    if sync.rejected > _SHOWN_REJECTS:
        click.echo(f"  and {sync.rejected - _SHOWN_REJECTS:,} more", err=True)
    if sync.reason:
        click.echo(f"Error: {sync.reason}", err=True)
