"""What tests need to see and to end processes."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import Any, NamedTuple

from tests.support import SCRIPTS, environment


class Process(NamedTuple):
    """A process as the kernel shows it."""

    pid: int
    parent: int
    group: int
    command: str


_PORTS = range(10_000, 32_768)
"""Below those that a connection, or whoever asks for any port, is given while ours is not taken yet."""


def free_port() -> int:
    """Give a port that nobody listens on.

    A store that is left to itself looks for one in an order, as that of another process of tests does at the
    same time: it would find the same, and both would work with one store without knowing it.
    """
    while True:
        # Drawn, for tests in other processes look for one at the same time.
        port = SystemRandom().choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def processes() -> list[Process]:
    """Give all that live; one that ended but was not yet waited for does not."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (
                (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            )
            # After the name in parentheses: state, parent, group.
            state, parent, group = (directory / "stat").read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                found.append(Process(int(directory.name), int(parent), int(group), command))
    return found


def processes_of(data_dir: Path) -> list[Process]:
    """Give those that work in or were told of this directory, whoever started them."""
    return [process for process in processes() if _has_to_do_with(process, data_dir)]


def _has_to_do_with(process: Process, data_dir: Path) -> bool:
    directory = Path(f"/proc/{process.pid}")
    try:
        if str(data_dir) in process.command or (directory / "cwd").readlink().is_relative_to(data_dir):
            return True
        return str(data_dir).encode() in (directory / "environ").read_bytes()
    except OSError:
        return False


@contextmanager
def running(log: Path, script: str, /, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a console script with these settings while the body does, and end it with all that it started."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(SCRIPTS / script), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(**settings),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[Any], seconds: float = 10) -> None:
    """Ask a process to end, and kill what is left of its session."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(command: Sequence[str | Path], /, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its two outputs come as one."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        env=environment(**settings),
        check=False,
    )
