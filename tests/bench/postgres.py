"""A PostgreSQL of the bench's own, in a temporary directory, where PostgreSQL is installed."""

import asyncio
import ctypes
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.errors import BenchError, NotInstalled
from tests.bench.processes import Processes

_USER = "bench"
_UNPRIVILEGED = ("postgres", "nobody")
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1
_LOG_LINES = 10

_SETTINGS: Final = {
    "listen_addresses": "",
    "shared_buffers": "512MB",
    "effective_cache_size": "2GB",
    "work_mem": "16MB",
    "random_page_cost": "1.1",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
}

_SCHEMA = """
create extension pg_trgm;
create table api_keys (digest text primary key, organization text not null, scopes text[] not null,
                       revoked_at timestamptz);
create table available (number text not null, area_code text not null);
"""
_INDEXES = """
create unique index on available (number);
create index on available (area_code);
create index on available using gin (number gin_trgm_ops);
vacuum analyze available;
vacuum analyze api_keys;
"""


def find_programs() -> Path:
    """Return the directory of PostgreSQL's programs; raises `NotInstalled`."""
    found = [Path(path).resolve().parent for name in ("initdb",) if (path := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for directory in found:
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    raise NotInstalled("PostgreSQL is not installed: apt-get install postgresql")


def version() -> str:
    """Return the version that would be used."""
    try:
        done = subprocess.run([find_programs() / "postgres", "--version"], capture_output=True, check=True)
    except (NotInstalled, OSError, subprocess.SubprocessError):
        return "no PostgreSQL"
    words = done.stdout.decode().split()
    return f"PostgreSQL {words[2]}" if len(words) > 2 else "PostgreSQL"


def start_postgres(processes: Processes) -> str:
    """Start a server with an empty database; return its DSN. Raises `NotInstalled` and `BenchError`."""
    programs = find_programs()
    directory = processes.directory / "postgres"
    directory.mkdir()
    user = _unprivileged_user()
    if user is not None:
        # PostgreSQL refuses to run as root; the user has to be able to reach its directory.
        os.chown(directory, user.pw_uid, user.pw_gid)
        processes.directory.chmod(0o711)
    account: dict[str, Any] = (
        {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    )
    data = directory / "data"
    options = ["--username", _USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
    made = subprocess.run(
        [programs / "initdb", *options, "--pgdata", data],
        capture_output=True,
        cwd=directory,
        check=False,
        **account,
    )
    if made.returncode:
        raise BenchError(f"initdb failed: {made.stderr.decode(errors='replace').strip()}")
    settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    log = directory / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", directory, *settings],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            start_new_session=True,
            preexec_fn=_stop_with_parent,  # noqa: PLW1509 - the bench has no threads here
            **account,
        )
    processes.stack.callback(_stop, server)
    deadline = time.monotonic() + _START_SECONDS
    while not (directory / ".s.PGSQL.5432").exists() or b"ready to accept" not in log.read_bytes():
        if server.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            raise BenchError("PostgreSQL does not start:\n" + "\n".join(lines))
        time.sleep(_POLL_SECONDS)
    return f"postgresql://{_USER}@/postgres?host={directory}"


def fill(dsn: str, stock: Iterable[tuple[str, Sequence[int]]], secret: str) -> None:
    """Load area codes with their local numbers by COPY, and a key."""
    asyncio.run(_fill(dsn, stock, secret))


async def _fill(dsn: str, stock: Iterable[tuple[str, Sequence[int]]], secret: str) -> None:
    # Here, so that the other commands do not need it.
    import asyncpg  # noqa: PLC0415

    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_SCHEMA)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        insert = "insert into api_keys values ($1, 'bench', array['numbers:write'], null)"
        await connection.execute(insert, digest)
        for area_code, numbers in stock:
            records = ((f"+1{area_code}{number}", area_code) for number in numbers)
            await connection.copy_records_to_table("available", records=records)
        for statement in _INDEXES.split(";"):
            if statement.strip():
                await connection.execute(statement)
    finally:
        await connection.close()


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return the account for the server when this process is root's, else None."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise BenchError(f"PostgreSQL does not run as root, and there is no user {' or '.join(_UNPRIVILEGED)}")


def _stop_with_parent() -> None:
    """Ask Linux to stop this process when the bench is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    # The fast shutdown: it does not wait for clients.
    server.send_signal(signal.SIGINT)
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
