"""Ids of resources: UUIDv7 in text form, which sort by the time at which they were made."""

from ulid import ULID


def new_id() -> str:
    """Make an id."""
    return str(ULID().to_uuid7(compliant=True))
