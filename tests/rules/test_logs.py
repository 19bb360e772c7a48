"""What a line of the log looks like, whatever is put into it."""

import json
import logging
import logging.config
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from shared.logs import AUDIT_LOGGER, logs_config, new_formatter, new_handler
from shared.settings import LogFormat, LogLevel, Settings
from tests.support import environment

SURROGATES = st.text(st.characters() | st.characters(categories=["Cs"]))
SAY = (
    "import logging\n"
    "from shared.logs import set_up_logs\n"
    "from shared.settings import read_settings\n"
    "set_up_logs(read_settings())\n"
    "logging.getLogger('shared.here').warning('%s is said', 'it', extra={'count': 3})\n"
)


def line_of(log_format: LogFormat, message: str, exc_info: Any = None, /, **fields: Any) -> str:
    logger = logging.getLogger("shared.here")
    record = logger.makeRecord(logger.name, logging.INFO, "", 1, message, (), exc_info, extra=fields)
    return new_formatter(log_format).format(record)


@given(SURROGATES, SURROGATES)
def test_a_line_of_json_is_one_object_on_one_line_and_loses_nothing(message: str, value: str) -> None:
    line = line_of("json", message, value=value)

    assert "\n" not in line
    fields = json.loads(line)
    assert list(fields) == ["time", "level", "logger", "event", "value"]
    assert (fields["level"], fields["logger"]) == ("info", "shared.here")
    assert (fields["event"], fields["value"]) == (message, value)


@given(SURROGATES, SURROGATES)
def test_nobody_forges_a_line_of_text_or_steers_a_terminal(message: str, value: str) -> None:
    line = line_of("text", message, value=value)

    assert line.isprintable()
    assert " [info     ] " in line


@given(
    st.dictionaries(
        st.sampled_from(["request_id", "method", "route", "status", "organization", "client_gone"]),
        SURROGATES | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.booleans() | st.none(),
    )
)
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_line_of_fields_is_that_of_a_record_with_them(
    log_format: LogFormat, fields: dict[str, Any]
) -> None:
    render = new_handler(log_format).render
    assert render is not None

    line = render(logging.INFO, "shared.here", "request", fields)

    def without_time(line: str) -> str:
        return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME", line, count=1)

    recorded = line_of(log_format, "request", **fields)
    assert without_time(line.decode()) == without_time(f"{recorded}\n")
    assert without_time(recorded).startswith(('{"time":"TIME"', "TIME [info"))


def raised_with(password: str) -> Any:
    try:
        raise LookupError(len(password))
    except LookupError:
        return sys.exc_info()


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_shows_where_but_not_what_variables_hold(log_format: LogFormat) -> None:
    line = line_of(log_format, "failed", raised_with("pass" + "word-7"))

    assert "raised_with" in line
    assert "LookupError: 10" in line
    assert "password-7" not in line


def said(log_format: str, *, on_terminal: bool) -> str:
    """Give what a process writes to its stderr."""
    command, settings = [sys.executable, "-c", SAY], environment(NUMBERS_LOG_FORMAT=log_format)
    if not on_terminal:
        return subprocess.run(command, stderr=subprocess.PIPE, env=settings, check=True).stderr.decode()
    ours, its = pty.openpty()
    try:
        subprocess.run(command, stderr=its, env=settings, check=True)
        return os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(its)


@pytest.mark.parametrize(
    ("log_format", "on_terminal", "is_json"),
    [("", False, True), ("", True, False), ("json", True, True), ("text", False, False)],
)
def test_logs_are_text_on_a_terminal_and_json_elsewhere_unless_told(
    log_format: str, on_terminal: bool, is_json: bool
) -> None:
    line = said(log_format, on_terminal=on_terminal)

    if is_json:
        fields = json.loads(line)
        assert fields.pop("time").endswith("Z")
        assert fields == {"level": "warning", "logger": "shared.here", "event": "it is said", "count": 3}
    else:
        assert "it is said" in line
        assert "shared.here" in line
    # Colours are for terminals.
    assert ("\x1b" in line) == (on_terminal and not is_json)


@pytest.fixture
def configured() -> Iterator[None]:
    """Leave pytest's own loggers as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("api", "worker", "shared", AUDIT_LOGGER, "_granian", "arq"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def level_of(name: str) -> int:
    return logging.getLogger(name).getEffectiveLevel()


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_that_of_our_own_lines_and_libraries_never_write_what_they_send(level: LogLevel) -> None:
    logging.config.dictConfig(logs_config(Settings(log_level=level)))

    wanted = getattr(logging, level.upper())
    assert {level_of(name) for name in ("api.errors", "worker.loops", "shared.orders")} == {wanted}
    assert level_of("botocore.auth") == level_of("asyncssh") == max(wanted, logging.WARNING)
    # Its lines of each job would say what ours say.
    assert level_of("arq.worker") == max(wanted, logging.WARNING)
    assert level_of(AUDIT_LOGGER) == logging.INFO


@pytest.mark.usefixtures("configured")
def test_libraries_have_no_format_of_their_own_any_more() -> None:
    logger = logging.getLogger("arq")
    logger.addHandler(logging.StreamHandler())

    logging.config.dictConfig(logs_config(Settings()))

    assert logger.handlers == []
    assert len(logging.getLogger().handlers) == 1
