"""Reading a feed from the spool into bitmaps, in a thread beside the event loop."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct

from shared.feeds.formats.read import read_feed
from shared.feeds.offers import Offers, collector
from shared.feeds.profiles import Mode, Profile
from shared.feeds.rows import FeedRefused, RejectedRow
from shared.feeds.syncs import MAX_KEPT_REJECTS


class Progress(Struct):
    """What a run has done so far: written by the reading thread, shown by the event loop."""

    read: int = 0
    rejected: int = 0
    percent: int = 0
    is_abandoned: bool = False
    """Nobody waits for it any more: what runs in a thread has to stop."""

    def show_sent(self, sent: int, total: int) -> None:
        """Show how much of what has to change has been sent: the second half of the work."""
        self.percent = 50 + 50 * sent // max(total, 1)


class Reading(Struct):
    """What was read from a feed."""

    offers: Offers
    """Of a delta, with what it takes away under `REMOVAL`."""
    duplicate: int
    rejects: list[RejectedRow]


def read_spooled(path: Path, sha256: str, profile: Profile, mode: Mode, progress: Progress) -> Reading:
    """Read a feed that has to have this digest.

    Raises:
        FeedRefused: the feed as a whole cannot be used.
        FileNotFoundError: it is not there.
    """
    # In a thread of its own: while it hashes, Python reads on.
    with ThreadPoolExecutor(1) as beside:
        digest = beside.submit(_digest_of, path)
        try:
            return _read(path, profile, mode, progress)
        finally:
            if digest.result() != sha256:
                reason = "the file is not what was handed over: its SHA-256 is another; bring it again"
                raise FeedRefused(reason)


def _read(path: Path, profile: Profile, mode: Mode, progress: Progress) -> Reading:
    size = path.stat().st_size
    collected = collector(mode)
    rejects: list[RejectedRow] = []
    for block in read_feed(path, profile):
        collected.add(block)
        rejects += block.rejects[: MAX_KEPT_REJECTS - len(rejects)]
        progress.read += block.row_count
        progress.rejected += len(block.rejects)
        progress.percent = 50 * block.position // max(size, 1)
        if progress.is_abandoned:
            break
    offers, _, duplicate = collected.finish()
    return Reading(offers, duplicate, rejects)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
