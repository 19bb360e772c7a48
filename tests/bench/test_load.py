"""The load client sends the requests of its job, and reports an answer that is not a success."""

from collections.abc import Iterator

import pytest

from tests.bench import requests
from tests.bench.errors import BenchError
from tests.bench.load import LoadClient, Requests
from tests.bench.processes import Processes, Server
from tests.bench.slow_commands import SlowCommands


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Processes(SlowCommands()) as processes:
        yield processes.peer("noop_litestar")


@pytest.fixture(scope="module")
def load() -> Iterator[LoadClient]:
    with LoadClient() as client:
        yield client


@pytest.fixture(scope="module")
def searches(load: LoadClient) -> Requests:
    return load.prepare([requests.search("415", pattern, 10, "secret") for pattern in ("1", "22", "333")])


def test_so_many_requests_are_sent_and_their_numbers_counted(
    load: LoadClient, server: Server, searches: Requests
) -> None:
    outcome = load.run(server, searches, 4, count=50)
    assert (outcome.answers, outcome.numbers) == (50, 500)
    assert 0 < outcome.p50_ms <= outcome.p99_ms


def test_requests_that_can_be_sent_once_are_sent_once(
    load: LoadClient, server: Server, searches: Requests
) -> None:
    assert load.run(server, searches, 8, seconds=5, is_each_once=True).answers == 3


def test_a_pace_is_kept(load: LoadClient, server: Server, searches: Requests) -> None:
    outcome = load.run(server, searches, 4, seconds=1, rate=100)
    assert outcome.answers == 100
    assert outcome.seconds > 0.9


def test_time_ends_a_run(load: LoadClient, server: Server, searches: Requests) -> None:
    outcome = load.run(server, searches, 2, seconds=0.3)
    assert outcome.answers > 0
    assert outcome.seconds > 0.25


def test_an_answer_that_is_not_200_is_an_error(load: LoadClient, server: Server) -> None:
    with pytest.raises(BenchError, match="404"):
        load.run(server, load.prepare([requests.page("secret")]), 1, count=1)


def test_a_closed_port_is_an_error(load: LoadClient, server: Server, searches: Requests) -> None:
    with pytest.raises(BenchError):
        load.run(Server(1, server.process), searches, 1, count=1)
