"""What happens to the processes: they are killed, or stopped for so long that others have taken over."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from deploy.cli.child_process import ChildProcess
from tests.chaos.ledger import Ledger
from tests.processes import Process, processes

_KINDS = {"store": 2, "api": 1, "api-worker": 4, "worker": 2, "feed-worker": 4}
"""What is harmed, and how often beside the others."""


class Fleet:
    """The processes of `numbers up`, and further ones beside them, which are brought back here."""

    def __init__(self, up_pid: int, spare: list[ChildProcess]) -> None:
        self._up_pid = up_pid
        self._spare = spare

    def look_after(self) -> None:
        """Bring back what has died, of what `numbers up` does not look after."""
        for child in self._spare:
            child.bring_back()

    def of(self, kind: str) -> list[Process]:
        """Give the living processes of a kind."""
        everything = processes()
        ours = {self._up_pid, os.getpid()}
        children = [process for process in everything if process.parent in ours]
        servers = {process.pid for process in children if process.command.startswith("granian")}
        match kind:
            case "store":
                return [
                    process
                    for process in children
                    # Not the one of other tests that ran in this process.
                    if process.parent == self._up_pid
                    and Path(process.command.split(" ")[0]).name == "valkey-server"
                ]
            case "api":
                return [process for process in children if process.pid in servers]
            case "api-worker":
                return [process for process in everything if process.parent in servers]
            case _:
                module = {"worker": "worker.main.", "feed-worker": "worker.feeds.main."}[kind]
                return [process for process in children if module in process.command]


class Faults:
    """Picks a process at random and does it harm, again and again."""

    def __init__(self, fleet: Fleet, ledger: Ledger, random: Random, hold_seconds: float) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._random = random
        self._hold_seconds = hold_seconds
        self._resuming: set[asyncio.Task[None]] = set()

    async def strike(self, goes_on: Callable[[], bool]) -> None:
        """Do harm until it is enough; what was stopped is resumed before this returns."""
        # All of them first, so that a short run meets each.
        first = [(kind, is_stop) for kind in _KINDS for is_stop in (False, True)]
        self._random.shuffle(first)
        while goes_on():
            await asyncio.sleep(self._random.uniform(0.2, 1.2))
            self._fleet.look_after()
            kind, is_stop = first[-1] if first else self._any()
            victims = self._fleet.of(kind)
            if not victims:
                continue
            del first[-1:]
            victim = self._random.choice(victims)
            if is_stop:
                seconds = self._hold_seconds * self._random.uniform(0.6, 1.6)
                self._ledger.counts[f"stopped {kind}"] += 1
                task = asyncio.create_task(self._stop_for(victim.pid, seconds))
                self._resuming.add(task)
                task.add_done_callback(self._resuming.discard)
                if kind == "store":
                    await task
            else:
                self._ledger.counts[f"killed {kind}"] += 1
                with suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGKILL)
        await asyncio.gather(*self._resuming)

    def _any(self) -> tuple[str, bool]:
        kind = self._random.choices(list(_KINDS), list(_KINDS.values()))[0]
        return kind, self._random.random() < 0.5

    async def _stop_for(self, pid: int, seconds: float) -> None:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGSTOP)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    signal.pidfd_send_signal(handle, signal.SIGCONT)
        finally:
            os.close(handle)
