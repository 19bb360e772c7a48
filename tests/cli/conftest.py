"""Commands in the process of the tests: starting one for each costs half a second."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from deploy.cli.main import main


class Here(Protocol):
    """Runs a `numbers` command to its end, with these settings."""

    def __call__(
        self, command: str, *arguments: str | Path, stdin: bytes = b"", **settings: str
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Here:
    for name in [name for name in os.environ if name.startswith("NUMBERS_")]:
        monkeypatch.delenv(name)

    def run(
        command: str, *arguments: str | Path, stdin: bytes = b"", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        words = ["numbers", *command.split(), *map(str, arguments)]
        (tmp_path / "stdin").write_bytes(stdin)
        capsys.readouterr()
        with monkeypatch.context() as patch, (tmp_path / "stdin").open("rb") as standard_input:
            patch.setattr(sys, "stdin", io.TextIOWrapper(standard_input))
            patch.setattr(sys, "argv", words)
            for name, value in settings.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        return subprocess.CompletedProcess(words, code if isinstance(code, int) else 0, *capsys.readouterr())

    return run
