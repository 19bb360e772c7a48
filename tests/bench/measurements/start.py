"""From the start of `numbers up` on a durable stock to the first answer to a search."""

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from deploy.cli.child_process import ChildProcess
from deploy.cli.instance import Instance
from deploy.cli.ports import LOOPBACK, free_port
from tests.bench.context import Context
from tests.bench.errors import BenchError
from tests.bench.measurements.setup import AREA_CODE
from tests.bench.processes import ROOT, StoreServer, no_settings, wait_for_rewrite
from tests.bench.report import Row, at_most, row
from tests.bench.requests import SEARCH_PATH
from tests.bench.stocks import put_in_stock, spread
from tests.bench.store_connection import StoreConnection

NAME = "start"

_GOAL_SECONDS = 3.0
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.01
_BODY = msgspec.json.encode({"area_code": AREA_CODE, "pattern": "5"})


def measure(context: Context) -> list[Row]:
    """Return the seconds until the first 200 of a search; each round is a start of its own."""
    options = context.options
    with context.processes() as processes:
        data_dir = processes.directory / "data"
        ready_file = processes.directory / "ready.json"
        with _up(data_dir, ready_file):
            instance = _wait_until_ready(ready_file)
            context.show(f"loading {options.numbers:,} numbers, durable")
            with StoreConnection(instance.redis_url) as client:
                put_in_stock(client, AREA_CODE, spread(options.numbers, context.draw("stock")))
                wait_for_rewrite(StoreServer(instance.redis_url, client))
        seconds = []
        for number in range(1, options.rounds + 1):
            context.show(f"start {number} of {options.rounds}")
            began = time.monotonic()
            with _up(data_dir, ready_file) as port:
                numbers = _wait_for_search(port, instance.key)
                seconds.append(time.monotonic() - began)
                # One that is not ready yet would be stopped in the middle of its start.
                _wait_until_ready(ready_file)
    what = f"`numbers up` with {options.numbers:,} numbers on disk to the first search"
    return [
        row(
            NAME,
            what,
            seconds,
            "s",
            goal=at_most(_GOAL_SECONDS),
            note=f"{numbers} numbers in the first answer",
        )
    ]


@contextmanager
def _up(data_dir: Path, ready_file: Path) -> Iterator[int]:
    """Run the service while the body runs; yield its port."""
    port = free_port()
    options = ["--port", str(port), "--data-dir", str(data_dir), "--ready-file", str(ready_file)]
    child = ChildProcess(
        "numbers up",
        "numbers",
        *("up", "--no-sample", *options),
        environment={**no_settings(), "PYTHONPATH": str(ROOT)},
        log=data_dir.parent / "up.log",
    )
    child.start()
    try:
        yield port
    finally:
        child.ask_to_stop()
        child.stop(time.monotonic() + _STOP_SECONDS)


def _wait_until_ready(ready_file: Path) -> Instance:
    deadline = time.monotonic() + _START_SECONDS
    while not ready_file.exists():
        if time.monotonic() > deadline:
            raise BenchError(f"`numbers up` was not ready after {_START_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)
    return msgspec.json.decode(ready_file.read_bytes(), type=Instance)


def _wait_for_search(port: int, key: str) -> int:
    """Search until the answer is 200; return how many numbers it has."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", SEARCH_PATH, _BODY, headers)
            response = connection.getresponse()
            body = response.read()
            if response.status == http.HTTPStatus.OK:
                connection.close()
                return len(msgspec.json.decode(body)["data"])
        connection.close()
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"`numbers up` answered no search for {_START_SECONDS:g} s")
