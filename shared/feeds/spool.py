"""The spool: where a feed waits for the worker, in a directory that both sides share."""

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20
_KEPT_FREE_BYTES = 512 << 20
"""Of the spool's disk, which may be the store's too: a store that cannot write refuses every order."""
_PART = ".part"
_PART_SECONDS = 86_400
"""No upload takes longer: what is left then, nobody goes on with."""


class FeedTooLarge(Exception):
    """A feed has more bytes than it may have; nothing of it was kept."""


class SpoolWriter:
    """A feed on its way into the spool."""

    def __init__(self, target: BinaryIO, max_bytes: int) -> None:
        """Write to `target`, at most so many bytes."""
        self._target = target
        self._room = max_bytes
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The digest of what was written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Write some bytes; raises `FeedTooLarge` and `OSError`."""
        self._room -= len(chunk)
        if self._room < 0:
            raise FeedTooLarge(f"the feed has more than {self._max_bytes:,} bytes")
        self._check_disk()
        self._digest.update(chunk)
        self._target.write(chunk)

    def _check_disk(self) -> None:
        disk = os.fstatvfs(self._target.fileno())
        if disk.f_bavail * disk.f_frsize < _KEPT_FREE_BYTES:
            raise OSError(
                errno.ENOSPC, f"fewer than {_KEPT_FREE_BYTES >> 20} MiB are free on the spool's disk"
            )


class Spool:
    """The feeds that wait, one file a sync."""

    def __init__(self, directory: Path) -> None:
        """Use `directory`."""
        self._directory = directory

    def make(self) -> None:
        """Make the directory, so that whoever brings a feed can see that it is there; raises `OSError`."""
        self._directory.mkdir(parents=True, exist_ok=True)

    def path_of(self, sync_id: str) -> Path:
        """Give the place of a sync's feed."""
        return self._directory / f"{sync_id}.feed"

    @contextmanager
    def writing(self, sync_id: str, max_bytes: int) -> Iterator[SpoolWriter]:
        """Take a feed, whole or, when the body raises, not at all; raises `OSError`."""
        self.make()
        # A name of its own, for somebody who is late may still be writing; only its owner may read it.
        handle, name = tempfile.mkstemp(suffix=_PART, prefix=f"{sync_id}.", dir=self._directory)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as target:
                yield SpoolWriter(target, max_bytes)
            part.replace(self.path_of(sync_id))
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def put(self, sync_id: str, source: BinaryIO, max_bytes: int) -> str:
        """Copy a feed into the spool and give its SHA-256 in hex; raises `FeedTooLarge` and `OSError`."""
        with self.writing(sync_id, max_bytes) as writer:
            while chunk := source.read(_CHUNK_BYTES):
                writer.write(chunk)
        return writer.sha256

    def forget_leftovers(self, older_than_seconds: float) -> None:
        """Delete what nobody has come back for: feeds last written so long ago, and parts of feeds."""
        now = time.time()
        for suffix, seconds in ((_PART, _PART_SECONDS), (".feed", older_than_seconds)):
            for path in self._directory.glob(f"*{suffix}"):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < now - seconds:
                        path.unlink()

    def remove(self, sync_id: str) -> None:
        """Forget a feed; one that is gone already is fine."""
        self.path_of(sync_id).unlink(missing_ok=True)
