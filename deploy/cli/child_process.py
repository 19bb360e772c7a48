"""A process that `numbers up` keeps running."""

import ctypes
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_GOOD_RUN_SECONDS = 10.0
"""Who has run that long is brought back at once; who dies sooner, after ever longer pauses."""

_PR_SET_PDEATHSIG = 1


class ChildProcess:
    """One process in a group of its own, so that Ctrl-C reaches it through us only, and its log."""

    def __init__(
        self, name: str, script: str, *arguments: str, environment: Mapping[str, str], log: Path
    ) -> None:
        """Describe it: `script` is a console script of this installation."""
        self.name = name
        self.log = log
        self._command = [str(Path(sysconfig.get_path("scripts")) / script), *arguments]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    def start(self) -> None:
        """Start it; raises `OSError`."""
        self._started_at = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own scripts and arguments
                self._command,
                env=self._environment,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - we have no threads
            )

    @property
    def pid(self) -> int:
        """The process id; 0 before it was started."""
        return self._process.pid if self._process else 0

    def exit_code(self) -> int | None:
        """Give the exit code of a process that has ended, None while it runs."""
        return self._process.poll() if self._process else 0

    def bring_back(self) -> bool:
        """Start it again if it has ended and its pause is over; tell whether it was started."""
        if self.exit_code() is None:
            return False
        ran_seconds = time.monotonic() - self._started_at
        if ran_seconds >= _GOOD_RUN_SECONDS:
            self._pause_seconds = _FIRST_PAUSE_SECONDS
        elif ran_seconds < self._pause_seconds:
            return False
        else:
            self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
        self._signal(signal.SIGKILL)
        self.start()
        return True

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def stop(self, deadline: float) -> None:
        """Wait for its end until `deadline` (monotonic), then kill it and all that it started."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(deadline - time.monotonic(), 0))
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        """Signal its whole group: a server's workers outlive it otherwise."""
        if self._process:
            try:
                os.killpg(self._process.pid, number)
            except (ProcessLookupError, PermissionError):
                # Nobody is left in the group; macOS says so with the latter.
                return


def _die_with_parent() -> None:
    """Have Linux end this process when `numbers up` is killed; elsewhere it is left behind then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
