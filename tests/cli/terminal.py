"""Commands on a terminal."""

import os
import pty
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support import SCRIPTS, environment, wait_until


class Terminal:
    """A `numbers` command on a terminal of 80 columns, and what it has written there."""

    def __init__(self, *arguments: str | Path) -> None:
        self._side, other = pty.openpty()
        self.text = ""
        self.process = subprocess.Popen(
            [SCRIPTS / "numbers", *arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment(TERM="xterm", COLUMNS="80"),
            start_new_session=True,
        )
        os.close(other)

    def shows(self, wanted: str) -> bool:
        """Read what there is, and tell whether this is among all that came."""
        # A terminal whose last user has ended raises.
        with suppress(OSError):
            while select.select([self._side], [], [], 0)[0] and (more := os.read(self._side, 4096)):
                self.text += more.decode(errors="replace")
        return wanted in self.text

    def type(self, text: str) -> None:
        os.write(self._side, text.encode())

    def end(self) -> int:
        """Wait until the command ends and give its exit code."""

        def has_ended() -> bool:
            ended = self.process.poll() is not None
            self.shows("")
            return ended

        wait_until(has_ended, "the command ends")
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._side)


@contextmanager
def on_terminal(*arguments: str | Path) -> Iterator[Terminal]:
    """Run a command on a terminal, at the longest while the body runs."""
    terminal = Terminal(*arguments)
    try:
        yield terminal
    finally:
        terminal.close()
