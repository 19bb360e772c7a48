"""The line that each job leaves."""

import asyncio
import logging
from typing import Any

import pytest
from arq import Retry
from structlog.contextvars import get_contextvars

from worker.job_log import Context, logged


@logged("greet", "who")
async def greet(_: Context, who: str, secret: str = "", error: BaseException | None = None) -> str:
    if error is not None:
        raise error
    return f"{who} {secret} {get_contextvars()['job_id']}"


async def run(*args: Any, **kwargs: Any) -> Any:
    # In a task of its own, as arq runs it.
    return await asyncio.create_task(greet({"job_id": "the-id", "job_try": 2}, *args, **kwargs))


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "worker.job_log")


def told(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Give the fields of the one line, and check what every line has."""
    [line] = [vars(record) for record in caplog.records if record.name == "worker.job_log"]
    assert (line["msg"], line["job"], line["attempt"]) == ("job", "greet", 2)
    assert 0 <= line["duration_ms"] < 1000
    assert line["exc_info"] is None
    return {name: line[name] for name in ("who", "secret", "outcome", "error") if name in line}


@pytest.mark.parametrize("by_name", [False, True])
async def test_a_job_leaves_one_line_with_its_outcome_and_the_arguments_that_may_be_seen(
    caplog: pytest.LogCaptureFixture, by_name: bool
) -> None:
    arguments = {"who": "acme", "secret": "hunter2"}

    given = await (run(**arguments) if by_name else run(*arguments.values()))

    assert given == "acme hunter2 the-id"
    assert told(caplog) == {"who": "acme", "outcome": "done"}


async def test_a_job_that_fails_says_so_and_leaves_the_traceback_to_arq(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(LookupError):
        await run("acme", error=LookupError("hunter2"))

    assert told(caplog) == {"who": "acme", "outcome": "failed", "error": "LookupError"}


async def test_a_job_that_is_put_off_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Retry):
        await run("acme", error=Retry(defer=5))

    assert told(caplog) == {"who": "acme", "outcome": "retried"}


async def test_a_job_that_is_cut_off_leaves_its_line(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(asyncio.CancelledError):
        await run("acme", error=asyncio.CancelledError())

    assert told(caplog) == {"who": "acme", "outcome": "cancelled"}
