"""What the bench and its load client tell each other: one JSON line a job, one an outcome."""

from msgspec import Struct


class Job(Struct, frozen=True):
    """Requests to send to a server."""

    host: str
    port: int
    requests_file: str
    """MessagePack, a list of whole HTTP requests as bytes."""
    connections: int
    seconds: float | None = None
    """When to stop; without it after `count` requests."""
    count: int | None = None
    rate: float | None = None
    """Requests a second at a steady pace; without it each connection sends when its answer has arrived."""
    is_each_once: bool = False
    """Whether the job ends with the last request of the file; otherwise it starts again with the first."""
    timeout_seconds: float = 120.0
    """Without any answer for so long the job has failed."""


class Outcome(Struct, frozen=True):
    """Answers to a job's requests."""

    answers: int
    seconds: float
    """From the first request to the last answer."""
    numbers: int
    """Numbers in all answers."""
    p50_ms: float
    p99_ms: float
    mean_ms: float
    client_busy: float
    """The share of the time in which the client used a processor; near 1 it limits the rate."""
    error: str = ""
    """Why the job failed: the first answer that is not 200, a lost connection, a silent server."""

    @property
    def rate(self) -> float:
        """Return answers a second."""
        return self.answers / self.seconds if self.seconds else 0.0

    @property
    def found(self) -> float:
        """Return the mean numbers in an answer."""
        return self.numbers / self.answers if self.answers else 0.0
