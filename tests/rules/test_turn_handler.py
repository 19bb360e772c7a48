"""How lines reach stderr: in order, with one write for a turn of the event loop, and none is lost."""

import asyncio
import json
import logging
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.logs import log_fields
from shared.turn_handler import TurnHandler
from tests.processes import free_port, running
from tests.support import python, wait_until

SERVER_LOGS = Path(__file__).parents[2] / "deploy" / "server_logs.json"


class Output:
    """A logger whose handler writes to a socket that keeps the writes apart."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._reader.setblocking(False)
        self.logger = logging.Logger("shared.here")
        self.logger.addHandler(TurnHandler(descriptor=self._writer.fileno()))

    def writes(self) -> list[str]:
        """Return the text of each write so far."""
        found = []
        while select.select([self._reader], [], [], 0)[0]:
            found.append(self._reader.recv(1_000_000).decode())
        return found

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


@pytest.fixture
def output() -> Iterator[Output]:
    output = Output()
    yield output
    output.close()


# The event loop's turns. Each test has a loop of its own, whose turns it counts.


def test_the_lines_of_a_turn_are_one_write(output: Output) -> None:
    async def log() -> None:
        for turn in range(3):
            for line in range(20):
                output.logger.info("%s-%s", turn, line)
            assert output.writes() == []
            await asyncio.sleep(0)
            assert output.writes() == ["".join(f"{turn}-{line}\n" for line in range(20))]

    asyncio.run(log())


def test_a_warning_is_written_at_once_after_the_lines_before_it(output: Output) -> None:
    async def log() -> None:
        output.logger.info("first")
        output.logger.warning("second")
        assert output.writes() == ["first\nsecond\n"]
        output.logger.info("third")
        output.logger.error("fourth")
        output.logger.info("fifth")
        assert output.writes() == ["third\nfourth\n"]

    asyncio.run(log())
    assert output.writes() == ["fifth\n"]


def test_a_line_without_a_loop_is_written_at_once(output: Output) -> None:
    output.logger.info("first")
    output.logger.info("second")

    assert output.writes() == ["first\n", "second\n"]


def test_lines_that_a_stopped_loop_has_left_are_written_with_the_next(output: Output) -> None:
    def log(loop: asyncio.AbstractEventLoop, line: str) -> None:
        output.logger.info(line)
        loop.stop()

    for line in ("first", "second"):
        loop = asyncio.new_event_loop()
        loop.call_soon(log, loop, line)
        loop.run_forever()
        loop.close()

    assert output.writes() == []
    output.logger.info("third")
    assert output.writes() == ["first\nsecond\nthird\n"]


def test_lines_that_a_stopped_loop_has_left_do_not_stop_the_next(output: Output) -> None:
    loop = asyncio.new_event_loop()
    loop.call_soon(output.logger.info, "first")
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()

    async def log() -> None:
        output.logger.info("second")
        await asyncio.sleep(0)
        assert output.writes() == ["first\nsecond\n"]

    asyncio.run(log())


def test_a_loop_runs_on_after_another_one_has_written_its_lines(output: Output) -> None:
    async def log() -> None:
        output.logger.info("first")
        await asyncio.to_thread(asyncio.run, log_elsewhere())
        output.logger.info("third")
        await asyncio.sleep(0)

    async def log_elsewhere() -> None:
        output.logger.info("second")
        await asyncio.sleep(0)

    asyncio.run(log())
    assert "".join(output.writes()) == "first\nsecond\nthird\n"


def test_lines_of_threads_are_written_at_once_and_whole(output: Output) -> None:
    def log(thread: int) -> None:
        for line in range(50):
            output.logger.info("%s-%s", thread, line)

    async def log_here_too() -> None:
        output.logger.info("before")
        threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for line in range(50):
            output.logger.info("4-%s", line)
            await asyncio.sleep(0)
        for thread in threads:
            thread.join()

    asyncio.run(log_here_too())
    lines = "".join(output.writes()).splitlines()
    assert lines[0] == "before"
    assert len(lines) == 251
    for thread in range(5):
        ours = [line for line in lines if line.startswith(f"{thread}-")]
        assert ours == [f"{thread}-{line}" for line in range(50)]


def test_an_error_in_the_format_of_a_line_does_not_reach_its_caller(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    output.logger.info("%d", "text")
    output.logger.info("next")

    assert output.writes() == ["next\n"]


# Bounds


def sizes_of_writes(monkeypatch: pytest.MonkeyPatch, descriptor: int, lines: int) -> list[int]:
    """Log lines of 100 bytes in one turn, and return the sizes of the writes."""
    sizes = []

    def write(_: int, data: bytearray) -> int:
        assert data.endswith(b"\n")
        sizes.append(len(data))
        return len(data)

    monkeypatch.setattr("shared.turn_handler.os.write", write)
    logger = logging.Logger("shared.here")
    logger.addHandler(TurnHandler(descriptor=descriptor))

    async def log() -> None:
        for _ in range(lines):
            logger.info("x" * 99)

    asyncio.run(log())
    return sizes


def test_a_pipe_that_processes_share_gets_writes_that_cannot_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    try:
        sizes = sizes_of_writes(monkeypatch, writer, 1000)
    finally:
        os.close(reader)
        os.close(writer)

    assert sum(sizes) == 100_000
    assert max(sizes) <= select.PIPE_BUF
    assert len(sizes) <= 100_000 // (select.PIPE_BUF - 100) + 1


def test_lines_that_wait_have_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        sizes = sizes_of_writes(monkeypatch, file.fileno(), 10_000)

    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 65_536


def test_a_write_that_takes_a_part_is_completed(monkeypatch: pytest.MonkeyPatch, output: Output) -> None:
    whole = os.write
    monkeypatch.setattr("shared.turn_handler.os.write", lambda to, data: whole(to, bytes(data[:3])))

    output.logger.info("abcdefgh")

    assert output.writes() == ["abc", "def", "gh\n"]


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    logger = logging.Logger("shared.here")
    logger.addHandler(TurnHandler(descriptor=writer))
    found = bytearray()

    def read() -> None:
        while part := os.read(reader, 65_536):
            found.extend(part)

    thread = threading.Thread(target=read)
    for _ in range(2):
        # More than a pipe holds.
        logger.info("x" * 30_000)
    thread.start()
    for _ in range(10):
        logger.info("x" * 30_000)
    os.close(writer)
    thread.join()
    os.close(reader)

    assert len(found) == 12 * 30_001


def test_a_closed_pipe_costs_lines_but_not_the_process() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logger = logging.Logger("shared.here")
    logger.addHandler(TurnHandler(descriptor=writer))

    logger.warning("nobody reads this")

    os.close(writer)


# Ends of a process

ENDS = {
    "return": ("loop.stop()", 0),
    "exit": ("sys.exit(3)", 3),
    "exception in a turn": ("loop.stop(); raise LookupError", 0),
    "exit in a callback": ("loop.call_soon(sys.exit, 3); await asyncio.sleep(5)", 3),
    "exit in another task": ("task = asyncio.create_task(leave()); await asyncio.sleep(5)", 3),
    "signal with a handler": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); os.kill(os.getpid(), signal.SIGTERM)",
        3,
    ),
    "interrupt": ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
}

SCRIPT = """
import asyncio, logging, multiprocessing, os, signal, sys
from shared.logs import set_up_logs
from shared.settings import Settings

async def leave():
    sys.exit(3)

async def log_and_end():
    set_up_logs(Settings(log_format="json"))
    loop = asyncio.get_running_loop()
    for line in ("first", "second"):
        logging.getLogger("shared.here").info(line)
    {end}

def run():
    # Not `asyncio.run`, which gives the loop more turns after the end of its task.
    loop = asyncio.new_event_loop()
    task = loop.create_task(log_and_end())
    loop.run_forever()

{start}
"""
STARTS = {
    "program": "run()",
    # As Granian starts its server processes: they end with `os._exit`.
    "forked child": (
        "child = multiprocessing.get_context('fork').Process(target=run)\n"
        "child.start()\nchild.join()\nsys.exit(child.exitcode)"
    ),
}


def events(text: str) -> list[str]:
    """Return the events that the scripts have logged."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line["event"] for line in lines if line["logger"] == "shared.here"]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("end", ENDS)
def test_the_lines_of_the_last_turn_are_written_at_the_end(end: str, start: str) -> None:
    statement, code = ENDS[end]

    done = python("-c", SCRIPT.format(end=statement, start=STARTS[start]))

    assert events(done.stderr) == ["first", "second"]
    # The parent of an interrupted child goes on, and ends with 1.
    assert done.returncode == (1 if (end, start) == ("interrupt", "forked child") else code)


def test_a_fork_does_not_double_the_lines_that_wait() -> None:
    end = "os.waitpid(child, 0) if (child := os.fork()) else sys.exit(); loop.stop()"

    done = python("-c", SCRIPT.format(end=end, start=STARTS["program"]))

    assert done.returncode == 0
    assert events(done.stderr) == ["first", "second"]


SERVED = """
import logging
from shared.logs import set_up_logs
from shared.settings import Settings

logger = logging.getLogger("shared.here")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        set_up_logs(Settings(log_format="json"))
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                logger.info("shut down")
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                logger.info("last line")
                return
    logger.info("request")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
"""


def test_a_server_process_that_is_stopped_writes_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    log, port = tmp_path / "log", free_port()
    arguments = ("--interface", "asgi", "--port", str(port), "--log-config", str(SERVER_LOGS))

    def is_up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}").is_success
        except httpx.TransportError:
            return False

    with running(log, "granian", *arguments, "--working-dir", str(tmp_path), "served:app") as server:
        wait_until(is_up, "it serves")
        server.terminate()
        server.wait(10)

    assert events(log.read_text()) == ["request", "shut down", "last line"]


# Lines without a record


def test_lines_of_fields_are_in_the_order_of_logging() -> None:
    done = python(
        "-c",
        "import asyncio, logging\n"
        "from shared.logs import log_fields, set_up_logs\n"
        "from shared.settings import Settings\n"
        "set_up_logs(Settings(log_format='json'))\n"
        "logger = logging.getLogger('shared.here')\n"
        "async def log():\n"
        "    for line in range(3):\n"
        "        log_fields(logger, logging.INFO, f'fields {line}', {'line': line})\n"
        "        logger.info('record %s', line)\n"
        "asyncio.run(log())\n",
    )

    assert events(done.stderr) == [f"{kind} {line}" for line in range(3) for kind in ("fields", "record")]


def test_fields_are_a_record_where_other_handlers_listen(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("shared.here")
    caplog.set_level(logging.INFO, "shared.here")

    log_fields(logger, logging.INFO, "request", {"status": 200})

    [record] = caplog.records
    assert (record.getMessage(), vars(record)["status"]) == ("request", 200)
