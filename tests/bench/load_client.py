"""The load client, a process of its own: `python -m tests.bench.load_client`.

It reads jobs from standard input and writes an outcome for each. It does as little as possible for a request,
because it shares the processors with the server: requests are prebuilt, and of an answer only the status and
the Content-Length are parsed.
"""

import asyncio
import gc
import itertools
import os
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop

from tests.bench.load_job import Job, Outcome

_LENGTH = b"content-length: "
_STATUS = slice(9, 12)
"""Of `HTTP/1.1 200 OK`."""
_SHOWN_BYTES = 500


class _Connection(asyncio.Protocol):
    """One keep-alive connection; at most one request is under way."""

    __slots__ = ("_run", "_unread", "due", "transport")

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._unread = b""
        self.due = 0.0
        """From when the latency counts."""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a TCP connection

    def data_received(self, data: bytes) -> None:
        if self._unread:
            data = self._unread + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._unread = data
            return
        at = data.find(_LENGTH, 0, end)
        if at < 0:
            at = data[:end].lower().find(_LENGTH)
            if at < 0:
                self._run.fail(f"an answer without a length: {data[:_SHOWN_BYTES]!r}")
                return
        at += len(_LENGTH)
        if len(data) < end + 4 + int(data[at : data.find(b"\r", at)]):
            self._unread = data
            return
        self._unread = b""
        if data[_STATUS] != b"200":
            self._run.fail(f"answered {data[:_SHOWN_BYTES].decode(errors='replace')}")
            return
        self._run.answered(self, data.count(b'"number":'))

    def connection_lost(self, error: Exception | None) -> None:
        self._run.fail(f"the server closed a connection: {error or 'no reason'}")


class _Run:
    """One job: who sends next, and what has arrived."""

    def __init__(self, job: Job, requests: Iterator[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._requests = requests
        self._connections: list[_Connection] = []
        self._idle: deque[_Connection] = deque()
        self._overdue: deque[float] = deque()
        """Due requests that wait for a connection."""
        self._open = 0
        self._is_paced = job.rate is not None
        self._has_ended = False
        self._job = job
        self.latencies = array("d")
        self.numbers = 0
        self.error = ""
        self.done = asyncio.Event()
        self.ended_at = 0.0

    async def connect(self) -> None:
        """Open all connections."""
        for _ in range(self._job.connections):
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self), self._job.host, self._job.port
            )
            self._connections.append(connection)

    def start(self, deadline: float) -> None:
        """Send a request on each connection, or keep them for the pace."""
        self._deadline = deadline
        if self._is_paced:
            self._idle.extend(self._connections)
            return
        for connection in self._connections:
            self._send(connection, time.perf_counter())
        self._end_if_idle()

    def send_due(self, due: float) -> None:
        """Send a request that is due, as soon as a connection is free."""
        if self._idle:
            self._send(self._idle.popleft(), due)
        else:
            self._overdue.append(due)

    def stop_sending(self) -> None:
        """End after the answers that are under way."""
        self._has_ended = True
        self._end_if_idle()

    def answered(self, connection: _Connection, numbers: int) -> None:
        """Count an answer, and send the next request."""
        now = time.perf_counter()
        self.latencies.append(now - connection.due)
        self.numbers += numbers
        self._open -= 1
        if self._is_paced:
            if self._overdue:
                self._send(connection, self._overdue.popleft())
            else:
                self._idle.append(connection)
        elif now < self._deadline:
            self._send(connection, now)
        if not self._open:
            self.ended_at = now
            self._end_if_idle()

    def fail(self, error: str) -> None:
        """End the job; the first error counts."""
        if not self.done.is_set():
            self.error = error
            self.done.set()

    def close(self) -> None:
        """Close all connections."""
        self.done.set()
        for connection in self._connections:
            connection.transport.abort()

    def _send(self, connection: _Connection, due: float) -> None:
        request = next(self._requests, None)
        if request is None:
            self._has_ended = True
            return
        self._open += 1
        connection.due = due
        connection.transport.write(request)

    def _end_if_idle(self) -> None:
        if not self._open and not self._overdue and (self._has_ended or not self._is_paced):
            self.done.set()


class _Pacer(threading.Thread):
    """Wakes the loop when a request is due; the loop's own timers have a resolution of a millisecond."""

    def __init__(self, run: _Run, began: float, job: Job) -> None:
        super().__init__(daemon=True)
        self._run, self._began, self._rate = run, began, job.rate or 1.0
        self._count = job.count or int((job.seconds or 0) * self._rate)
        self._sent = 0
        self._read, self._write = os.pipe()
        asyncio.get_running_loop().add_reader(self._read, self._wake)

    def run(self) -> None:
        for index in range(self._count):
            time.sleep(max(self._began + index / self._rate - time.perf_counter(), 0))
            os.write(self._write, b".")

    def _wake(self) -> None:
        for _ in os.read(self._read, 4096):
            self._run.send_due(self._began + self._sent / self._rate)
            self._sent += 1
        if self._sent == self._count:
            asyncio.get_running_loop().remove_reader(self._read)
            os.close(self._read)
            os.close(self._write)
            self._run.stop_sending()


async def _serve(job: Job, requests: list[bytes]) -> Outcome:
    order: Iterator[bytes] = iter(requests) if job.is_each_once else itertools.cycle(requests)
    run = _Run(job, order if job.count is None else itertools.islice(order, job.count))
    await run.connect()
    busy, began = time.process_time(), time.perf_counter()
    run.start(began + job.seconds if job.seconds else float("inf"))
    if job.rate is not None:
        _Pacer(run, began, job).start()
    while not run.done.is_set():
        answers = len(run.latencies)
        try:
            await asyncio.wait_for(run.done.wait(), job.timeout_seconds)
        except TimeoutError:
            if len(run.latencies) == answers:
                run.fail(f"no answer for {job.timeout_seconds:g} s")
    seconds = (run.ended_at or time.perf_counter()) - began
    busy = time.process_time() - busy
    run.close()
    return _outcome(run, seconds, busy)


def _outcome(run: _Run, seconds: float, busy: float) -> Outcome:
    ordered = sorted(run.latencies)
    count = len(ordered)
    return Outcome(
        answers=count,
        seconds=seconds,
        numbers=run.numbers,
        p50_ms=1000 * ordered[count // 2] if count else 0.0,
        p99_ms=1000 * ordered[min(count * 99 // 100, count - 1)] if count else 0.0,
        mean_ms=1000 * sum(ordered) / count if count else 0.0,
        client_busy=busy / seconds if seconds else 0.0,
        error=run.error,
    )


def main() -> None:
    """Do one job after the other until standard input ends."""
    gc.disable()
    for line in sys.stdin.buffer:
        job = msgspec.json.decode(line, type=Job)
        try:
            requests = msgspec.msgpack.decode(Path(job.requests_file).read_bytes(), type=list[bytes])
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                outcome = runner.run(_serve(job, requests))
        except OSError as error:
            outcome = Outcome(0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, error=str(error))
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()
        gc.collect()


if __name__ == "__main__":
    main()
