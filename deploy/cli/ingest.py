"""`numbers ingest`: bring a carrier's feed."""

import os
import re
import stat
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import wrap_file

from deploy.cli.store_option import default_spool_dir, find_settings, print_json, store_options, with_store
from deploy.cli.sync_follow import EXIT_CODES, wait_for, wake_worker
from deploy.cli.sync_output import fields_of, print_outcome
from shared import store_keys
from shared.atomic.feed_operations import TooManyCarriers
from shared.feeds.profiles import CARRIER_NAME, Mode, read_profiles
from shared.feeds.rows import RejectedRow
from shared.feeds.spool import FeedTooLarge, Spool
from shared.feeds.syncs import Sync, SyncOptions, new_sync_id, queue_feed, read_rejects
from shared.settings import Settings, variable_of
from shared.store import Store

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BYTES_WITH_BAR = 128 << 20
"""A file that is smaller is in the spool before one has read what a bar says."""
_SHOWN_PER_SECOND = 4

mode_option = click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    help="Whether the feed holds all that the carrier offers, or what has changed; "
    "without it, as the carrier's profile says.",
)


def carrier_name(_: click.Context, __: click.Parameter, name: str) -> str:
    """Check the name of a carrier, as click's callback; raises `BadParameter`."""
    if not CARRIER_NAME.fullmatch(name):
        raise click.BadParameter("must be 1-32 characters of a-z, 0-9 and -")
    return name


def _digest(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text is not None and not _SHA256.fullmatch(text.lower()):
        raise click.BadParameter("must be 64 hexadecimal digits")
    return text and text.lower()


@click.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option(
    "--carrier", required=True, callback=carrier_name, metavar="NAME", help="Whose numbers these are."
)
@click.option(
    "--source", "is_fetched", is_flag=True, help="Fetch the feed from the carrier's source instead."
)
@mode_option
@click.option("--dry-run", is_flag=True, help="Wait, show what would change, and change nothing.")
@click.option("--confirm", is_flag=True, help="Pass the guards: what is removed waits for no confirmation.")
@click.option("--sha256", metavar="HEX", callback=_digest, help="Refuse a FILE with another digest.")
@click.option("--wait", is_flag=True, help="Wait until the sync has ended, and tell by the exit code how.")
@click.option("--json", "as_json", is_flag=True, help="Print the sync as JSON.")
@store_options
def ingest(  # noqa: PLR0913 - what can be said of a feed
    *,
    file: BinaryIO | None,
    carrier: str,
    is_fetched: bool,
    mode: str | None,
    dry_run: bool,
    confirm: bool,
    sha256: str | None,
    wait: bool,
    as_json: bool,
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """Bring FILE (or - for standard input), a carrier's feed.

    It is read as the carrier's profile says (`numbers feeds list`); without a profile, as CSV with a header
    (`number`, optionally `sms` and `mms`) or NDJSON (`{"number": "+14155550123"}`). It may be packed with
    gzip, zstd or zip. Of a snapshot, the default, what the carrier offered before and is not in it leaves the
    stock; when that is too much, it waits for `numbers sync confirm`.

    \b
    Exit codes with --wait and --dry-run:
      0  applied, or shown
      1  refused or failed; the reason is on standard error
      3  its removals wait for a confirmation; what it adds is applied
      4  superseded by a newer feed
    """  # noqa: D301 - click leaves lines after a backspace as they are
    if is_fetched == (file is not None):
        raise click.UsageError("give a FILE (- for standard input) or --source, one of them")
    if is_fetched and sha256:
        raise click.UsageError("--sha256 is for a FILE; a source has `source_checksum` in its profile")
    settings = find_settings(redis_url, data_dir)
    options = SyncOptions(Mode(mode) if mode else None, dry_run, confirm)
    if file is None:
        sync = with_store(settings, lambda store: fetch_source(store, settings, carrier, options))
    else:
        with _shown(file, is_quiet=as_json) as shown:
            sync = with_store(
                settings, lambda store: hand_over(store, settings, data_dir, carrier, shown, options, sha256)
            )
    rejects: list[RejectedRow] = []
    if wait or dry_run:
        sync = wait_for(settings, sync, is_quiet=as_json)
        rejects = with_store(settings, lambda store: read_rejects(store, sync.id))
    if as_json:
        print_json(fields_of(sync, rejects))
    else:
        print_outcome(sync, rejects)
    sys.exit(EXIT_CODES[sync.state])


def _shown(file: BinaryIO, *, is_quiet: bool) -> AbstractContextManager[BinaryIO]:
    """Give a file whose reading is shown on a terminal when it takes long."""
    console = Console(stderr=True)
    status = os.fstat(file.fileno())
    is_long = stat.S_ISREG(status.st_mode) and status.st_size >= _BYTES_WITH_BAR
    return wrap_file(
        file,
        total=status.st_size,
        description="copying to the spool",
        console=console,
        transient=True,
        refresh_per_second=_SHOWN_PER_SECOND,
        disable=is_quiet or not is_long or not console.is_terminal,
    )


async def fetch_source(store: Store, settings: Settings, carrier: str, options: SyncOptions) -> Sync:
    """Queue a sync of the feed at the carrier's configured source, and wake the worker.

    Raises:
        ClickException: its profile has no source.
        BadProfiles: the profiles cannot be read.
        TooManyCarriers: there is no room for another.
        StoreUnavailable: the store did not answer.
    """
    if read_profiles(settings.feeds_file).of(carrier).source is None:
        file = settings.feeds_file or "the file that comes with the service"
        raise click.ClickException(
            f"{carrier} has no source in {file}; {variable_of('feeds_file')} names another file of profiles"
        )
    sync = await queue_feed(store, new_sync_id(), carrier, options, sha256=None)
    await wake_worker(settings, carrier)
    return sync


async def hand_over(
    store: Store,
    settings: Settings,
    data_dir: Path,
    carrier: str,
    file: BinaryIO,
    options: SyncOptions = SyncOptions(),  # noqa: B008 - it cannot be changed
    sha256: str | None = None,
) -> Sync:
    """Copy a feed to the worker's spool, queue its sync and wake the worker.

    `sha256`, in hex, is the digest that the feed has to have.

    Raises:
        ClickException: the spool cannot be written, or the feed has another digest; nothing was kept.
        BadProfiles: the profiles, which say how big it may be, cannot be read.
        TooManyCarriers: there is no room for another.
        StoreUnavailable: the store did not answer.
    """
    limit = read_profiles(settings.feeds_file).of(carrier).limits.bytes
    spool = Spool(await _spool_dir(store, settings, data_dir))
    sync_id = new_sync_id()
    found = _copy(file, spool, sync_id, limit)
    if sha256 not in (None, found):
        spool.remove(sync_id)
        raise click.ClickException(f"the feed is not the one that is meant: its SHA-256 is {found}")
    try:
        sync = await queue_feed(store, sync_id, carrier, options, sha256=found)
    except TooManyCarriers:
        spool.remove(sync_id)
        raise
    await wake_worker(settings, carrier)
    return sync


def _copy(file: BinaryIO, spool: Spool, sync_id: str, limit: int) -> str:
    try:
        return spool.put(sync_id, file, limit)
    except FeedTooLarge as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = error.filename or spool.path_of(sync_id).parent
        raise click.ClickException(
            f"the feed cannot be copied to the spool: {error.strerror}: {place}"
        ) from error


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
