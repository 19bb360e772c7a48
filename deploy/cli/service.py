"""The service as processes on one machine: store, API and workers."""

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from deploy.cli.api_server import api_command
from deploy.cli.child_process import ChildProcess
from deploy.cli.embedded_store import EmbeddedStore, EmbeddedStoreError
from deploy.cli.ingest import hand_over
from deploy.cli.instance import Instance, instance_file, spool_dir, write_secret
from deploy.cli.ports import LOOPBACK
from deploy.cli.store_option import with_store
from deploy.cli.sync_follow import follow
from deploy.sample_feed import SAMPLE_FEED
from shared import store_keys
from shared.api_keys import Scope, Wanted, create_api_key, find_api_key
from shared.feeds.profiles import read_profiles
from shared.feeds.syncs import Sync, SyncState
from shared.key_secrets import is_well_formed, new_secret
from shared.settings import Settings, on_own_machine, variable_of
from shared.store import Store

_DEMO_ORGANIZATION = "demo"
_SAMPLE_CARRIER = "sample"
_READY_TIMEOUT_SECONDS = 60.0
_LOOK_INTERVAL_SECONDS = 0.1
_STORE_PAUSE_SECONDS = 1.0
"""Between two attempts to bring the store back, so that one that cannot start does not fill the screen."""
_STOP_TIMEOUT_SECONDS = 3.0
"""For API and worker; with what the store takes, everything has stopped within 5 seconds."""


def worker(name: str, module: str, environment: dict[str, str], log: Path) -> ChildProcess:
    """Give a worker process that is not started yet."""
    arguments = (f"{module}.WorkerSettings", "--custom-log-dict", "worker.process.LOGS")
    return ChildProcess(name, "arq", *arguments, environment=environment, log=log)


class Service:
    """Store, API and workers as processes, and what one needs to use them."""

    def __init__(
        self,
        data_dir: Path,
        port: int,
        api_workers: int,
        settings: Settings,
        redis_url: str | None,
        check_stop: Callable[[], None],
    ) -> None:
        """Prepare; nothing runs yet. `check_stop` raises when it is time to stop."""
        self._check_stop = check_stop
        self._ready_file: Path | None = None
        self._data_dir = data_dir
        self._port = port
        self._api_workers = api_workers
        self._settings = settings
        self._given_url = redis_url
        self._store: EmbeddedStore | None = None
        self._children: list[ChildProcess] = []

    @contextmanager
    def running(self, ready_file: Path | None) -> Iterator[None]:
        """Run everything while the body does; the store is the first to come and the last to go.

        Raises:
            BadProfiles: the profiles of feeds cannot be read; nothing was started.
        """
        self._ready_file = ready_file
        # The workers would end over profiles that cannot be read, one by one and in their logs only.
        read_profiles(self._settings.feeds_file)
        try:
            redis_url = self._given_url or self._start_store()
            self._retract()
            self._settings = msgspec.structs.replace(
                self._settings,
                redis_url=redis_url,
                # Whole, for API and worker run in the data directory.
                spool_dir=str(Path(self._settings.spool_dir or spool_dir(self._data_dir)).resolve()),
            )
            key = with_store(self._settings, self._demo_key)
            self._instance = Instance(f"http://{LOOPBACK}:{self._port}", key, _DEMO_ORGANIZATION, redis_url)
            self._start_children()
            write_secret(instance_file(self._data_dir), msgspec.json.encode(self._instance))
            yield
        finally:
            self._stop()

    def _start_store(self) -> str:
        self._store = EmbeddedStore(self._data_dir / "store", self._check_stop)
        self._store.start()
        return self._store.url

    async def _demo_key(self, store: Store) -> str:
        """Give the secret of a live key with all scopes: that of the last run, if it is still good."""
        path = self._data_dir / "demo-key"
        secret = path.read_text().strip() if path.exists() else ""
        known = await find_api_key(store, secret, self._settings.key_pepper)
        if known is not None and known.key.is_live(known.at_ms):
            return secret
        # The secret of a store that is another one now serves again; one that was revoked does not.
        if known is not None or not is_well_formed(secret):
            secret = new_secret()
        write_secret(path, f"{secret}\n".encode())
        wanted = Wanted(tuple(Scope), "numbers up")
        await create_api_key(store, _DEMO_ORGANIZATION, wanted, secret, self._settings.key_pepper)
        return secret

    def _start_children(self) -> None:
        settings = on_own_machine(self._settings)
        environment = {
            variable_of("redis_url"): settings.redis_url,
            variable_of("spool_dir"): settings.spool_dir or "",
            variable_of("search_rate"): str(settings.search_rate),
            variable_of("write_rate"): str(settings.write_rate),
            # Their logs are files, which people look into.
            variable_of("log_format"): "text" if settings.log_format == "auto" else settings.log_format,
        }
        if self._settings.feeds_file is not None:
            # Whole, as the spool is.
            environment[variable_of("feeds_file")] = str(Path(self._settings.feeds_file).resolve())
        api = api_command(self._port, self._api_workers)
        self._children = [
            ChildProcess("API", *api, environment=environment, log=self._data_dir / "api.log"),
            worker("worker", "worker.main", environment, self._data_dir / "worker.log"),
            worker("feed worker", "worker.feeds.main", environment, self._data_dir / "feeds.log"),
        ]
        for child in self._children:
            child.log.write_bytes(b"")
            child.start()
            self._check_stop()

    def wait_until_ready(self) -> None:
        """Wait until requests are served; raises `ClickException` when that does not come."""
        deadline = time.monotonic() + _READY_TIMEOUT_SECONDS
        while not self._is_ready():
            self._check_stop()
            for child in self._children:
                if (code := child.exit_code()) is not None:
                    raise click.ClickException(f"the {child.name} ended with {code}; see {child.log}")
            if time.monotonic() > deadline:
                raise click.ClickException(
                    f"not ready after {_READY_TIMEOUT_SECONDS:.0f} s; see {self._children[0].log}"
                )
            time.sleep(_LOOK_INTERVAL_SECONDS)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def bring_sample(self) -> None:
        """Have the worker ingest the sample feed, unless it did so before."""

        async def ingest(store: Store) -> Sync | None:
            if await store.execute("HEXISTS", store_keys.feed(_SAMPLE_CARRIER), "applied"):
                return None
            with SAMPLE_FEED.open("rb") as file:
                sync = await hand_over(store, self._settings, self._data_dir, _SAMPLE_CARRIER, file)
            return await follow(store, sync, is_quiet=False, meanwhile=self._look_after)

        sync = with_store(self._settings, ingest)
        if sync is None or sync.state is SyncState.APPLIED:
            return
        # The service is of use without the sample.
        click.echo(f"the sample feed is {sync.state}: {sync.reason}", err=True)

    def announce(self) -> None:
        """Say how to use the service, on the screen and in the ready file."""
        instance = self._instance
        click.echo(f"API   {instance.url}\nDocs  {instance.url}/docs\nKey   {instance.key}\nTry\n")
        click.echo(f"  curl -s {instance.url}/v1/phone-numbers/search \\")
        click.echo(f"    -H 'Authorization: Bearer {instance.key}' \\")
        click.echo("    -H 'Content-Type: application/json' \\")
        click.echo("""    -d '{"area_code": "415", "pattern": "555"}'\n""")
        click.echo(f"Logs are in {self._data_dir}. Ctrl-C stops everything.")
        if self._ready_file is not None:
            write_secret(self._ready_file, msgspec.json.encode(instance))

    def watch(self) -> None:
        """Bring back what dies, until a signal comes."""
        while True:
            self._look_after()
            time.sleep(_LOOK_INTERVAL_SECONDS)

    def _look_after(self) -> None:
        self._check_stop()
        if self._store is not None and self._store.has_died():
            click.echo("the store has died and is brought back", err=True)
            self._restart_store()
        for child in self._children:
            code = child.exit_code()
            if child.bring_back():
                click.echo(
                    f"the {child.name} ended with {code} and is brought back; see {child.log}", err=True
                )

    def _restart_store(self) -> None:
        try:
            if self._store is not None:
                self._store.start()
        except EmbeddedStoreError as error:
            click.echo(str(error), err=True)
            time.sleep(_STORE_PAUSE_SECONDS)

    def _retract(self) -> None:
        """Take back what says that the service runs."""
        instance_file(self._data_dir).unlink(missing_ok=True)
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)

    def _stop(self) -> None:
        self._retract()
        deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
        for child in self._children:
            child.ask_to_stop()
        for child in self._children:
            child.stop(deadline)
        if self._store is not None:
            self._store.stop()
