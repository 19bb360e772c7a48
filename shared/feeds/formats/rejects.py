"""Why a row of a feed cannot be read."""

from shared.feeds.rows import RejectedRow

_START_BYTES = 64
_REASON_CHARACTERS = 100

MANY_REJECTS = 10_000
"""So many are given at once: of rows of two bytes, a chunk's would take 130 MB."""


class BadRow(Exception):
    """Why a row cannot be read: one short line that repeats little of it."""


def rejected(line: int, reason: Exception | str, row: str | bytes) -> RejectedRow:
    """Say of the row in line (or element) `line` why it cannot be read, and how it begins."""
    return RejectedRow(line, str(reason)[:_REASON_CHARACTERS], _start_of(row))


def too_long(max_bytes: int) -> BadRow:
    """Give the reason against a row with more than so many bytes."""
    return BadRow(f"is longer than {max_bytes} bytes")


def _start_of(row: str | bytes) -> str:
    if isinstance(row, bytes):
        return row[:_START_BYTES].decode("utf-8", "replace")
    # A character that the cut goes through is left out: the text itself has none that is broken.
    return row[:_START_BYTES].encode()[:_START_BYTES].decode("utf-8", "ignore")
