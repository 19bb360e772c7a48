"""The spool: where a feed waits for the worker, in a directory that both sides share."""

from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20
_MODE = 0o600


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

    def put(self, sync_id: str, source: BinaryIO) -> None:
        """Copy a feed into the spool, whole or not at all; raises `OSError`."""
        self.make()
        part = self.path_of(sync_id).with_suffix(".part")
        try:
            with part.open("wb") as target:
                part.chmod(_MODE)
                while chunk := source.read(_CHUNK_BYTES):
                    target.write(chunk)
            part.replace(self.path_of(sync_id))
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def remove(self, sync_id: str) -> None:
        """Forget a feed; one that is gone already is fine."""
        self.path_of(sync_id).unlink(missing_ok=True)
