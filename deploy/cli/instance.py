"""A running `numbers up`: where it leaves word of itself, so that the other commands find its store."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from msgspec import Struct

DEFAULT_DATA_DIR = Path(".numbers")
_SECRET_MODE = 0o600


class Instance(Struct, frozen=True):
    """What one needs to use a running service; also the content of a ready file."""

    url: str
    key: str
    org: str
    redis_url: str


def instance_file(data_dir: Path) -> Path:
    """Give the file in which a running `numbers up` describes itself."""
    return data_dir / "running.json"


def spool_dir(data_dir: Path) -> Path:
    """Give where feeds wait for the worker of this data directory."""
    return data_dir / "spool"


def read_instance(data_dir: Path) -> Instance | None:
    """Give the service that runs for this data directory, None when none does."""
    try:
        return msgspec.json.decode(instance_file(data_dir).read_bytes(), type=Instance)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRET_MODE), "wb") as file:
        file.write(content)
    part.replace(path)


@contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Make the data directory, and keep a second `numbers up` out of it; raises `ClickException`."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise click.ClickException(
            f"the data directory {data_dir} cannot be used: {error.strerror}"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise click.ClickException(
            f"a `numbers up` is running in {data_dir}; stop it, or choose another with --data-dir"
        ) from error
    try:
        yield
    finally:
        os.close(lock)
