"""What tests of running processes share."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from deploy.cli.instance import Instance
from shared import store_keys
from shared.stock_score import SMS, attributes, score
from shared.store import Store

T = TypeVar("T")

SCRIPTS = Path(sysconfig.get_path("scripts"))
_SETTINGS = "NUMBERS_"


def wait_until(predicate: Callable[[], T], description: str, seconds: float = 20.0) -> T:
    """Ask again and again until the answer is true, and give it; fail with the description if it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := predicate()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {description}"
        # Not a guess at how long something takes, but the pace of asking.
        time.sleep(0.02)
    return answer


def environment(**settings: str) -> dict[str, str]:
    """Give this process's environment without settings of the developer's, and with these."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)} | settings


def numbers(*arguments: str | Path, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a `numbers` command to its end."""
    done = subprocess.run(
        [SCRIPTS / "numbers", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        env=environment(**settings),
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Service:
    """A `numbers up` that runs in a data directory of its own."""

    def __init__(self, data_dir: Path, *options: str, api_workers: int | None = 1, **settings: str) -> None:
        """Start it; None runs as many API processes as `numbers up` does by default."""
        self.data_dir = data_dir
        self._ready_file = data_dir / "ready.json"
        data_dir.mkdir(exist_ok=True)
        # One that a run before left behind would make this one look ready.
        self._ready_file.unlink(missing_ok=True)
        self.output = data_dir / "output.log"
        with self.output.open("wb") as output:
            command = [
                "up",
                "--port",
                "0",
                "--data-dir",
                str(data_dir),
                "--ready-file",
                str(self._ready_file),
            ]
            if api_workers is not None:
                # The tests of several services share the cores; those that need more processes ask for them.
                command += ["--api-workers", str(api_workers)]
            self.process = subprocess.Popen(
                [str(SCRIPTS / "numbers"), *command, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(**settings),
            )
        wait_until(self._is_ready_or_dead, "numbers up is ready", 60)
        assert self.process.poll() is None, self.output.read_text()
        self.instance = msgspec.json.decode(self._ready_file.read_bytes(), type=Instance)

    def _is_ready_or_dead(self) -> bool:
        return self._ready_file.exists() or self.process.poll() is not None

    def client(self) -> httpx.Client:
        """Give an HTTP client that carries the service's key."""
        return httpx.Client(
            base_url=self.instance.url, headers={"Authorization": f"Bearer {self.instance.key}"}, timeout=10
        )

    def numbers(
        self, command: str, *arguments: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run another `numbers` command against this service; `command` may have two words."""
        return numbers(*command.split(), "--data-dir", self.data_dir, *arguments, stdin=stdin)

    def ingest(self, carrier: str, feed: bytes) -> dict[str, Any]:
        """Bring a feed, wait until it is applied, and give its sync."""
        done = self.numbers("ingest", "--carrier", carrier, "--wait", "--json", "-", stdin=feed)
        sync: dict[str, Any] = msgspec.json.decode(done.stdout)
        return sync

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(10)


async def put_in_stock(store: Store, area_code: str, locals_: Iterable[int]) -> None:
    """Make local numbers of an area code available, offered by carrier 1."""
    members = [
        item for number in locals_ for item in (score(number, attributes(1, SMS)), f"+1{area_code}{number}")
    ]
    await store.execute("SADD", store_keys.AREAS, area_code)
    for begin in range(0, len(members), 2000):
        await store.execute("ZADD", store_keys.available(area_code), *members[begin : begin + 2000])


def python(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with arguments to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**settings),
        check=False,
    )
