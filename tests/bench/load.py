"""The bench's side of the load client: it starts the process and hands it jobs."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from deploy.cli.ports import LOOPBACK
from tests.bench.errors import BenchError
from tests.bench.load_job import Job, Outcome
from tests.bench.processes import ROOT, Server

_STOP_SECONDS = 2.0


class Requests:
    """Prebuilt requests in a file that is removed with the load client."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self.count = count


class LoadClient:
    """A process that sends requests; one job at a time."""

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="numbers-bench-load-")
        self._files = 0
        # In a session of its own, so that Ctrl-C reaches it through us only.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load_client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Leaving it closes its pipes.
        with self._process:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._directory.cleanup()

    def prepare(self, requests: Iterable[bytes]) -> Requests:
        """Write requests to a file, from which jobs take them."""
        listed = list(requests)
        self._files += 1
        path = Path(self._directory.name) / str(self._files)
        path.write_bytes(msgspec.msgpack.encode(listed))
        return Requests(path, len(listed))

    def run(
        self,
        server: Server,
        requests: Requests,
        connections: int,
        *,
        seconds: float | None = None,
        count: int | None = None,
        rate: float | None = None,
        is_each_once: bool = False,
    ) -> Outcome:
        """Send requests and return the outcome; raises `BenchError` when an answer is not 200."""
        job = Job(
            LOOPBACK,
            server.port,
            str(requests.path),
            connections,
            seconds=seconds,
            count=count,
            rate=rate,
            is_each_once=is_each_once,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the load client has ended")
        outcome = msgspec.json.decode(line, type=Outcome)
        if outcome.error:
            raise BenchError(f"the {server.process.name}: {outcome.error}")
        return outcome
