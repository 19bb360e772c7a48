"""Logs: all that a process and its libraries have to say comes out in one format, on stderr.

Our own modules use the standard library's `logging`; what a line tells beyond its message are fields, which
they give as `extra`. What is bound with `structlog.contextvars` (the id of a request, of a job) is a field of
every line that is written meanwhile.
"""

import json
import logging
import logging.config
import re
import sys
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any

import msgspec
from structlog.contextvars import merge_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, format_exc_info
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import Processor

from shared.clock import time_text
from shared.settings import LogFormat, Settings, read_settings
from shared.turn_handler import Render, TurnHandler

logger = logging.getLogger(__name__)

Fields = MutableMapping[str, Any]

AUDIT_LOGGER = "audit"
"""Of what is done to API keys: it is told whatever the level is."""

_OURS = ("api", "worker", "shared")
_EVENT_WIDTH = 20
_LEVEL_WIDTH = 9

_ROOT = logging.getLogger()
_PLAIN = re.compile(r"[\w./{}:+-]*", re.ASCII)
"""Values that look the same in a line of text."""
_QUOTED = frozenset(" \t=\r\n\"'")
"""Characters whose values have quotes in a line of text."""


def set_up_logs(settings: Settings) -> None:
    """Have all loggers of this process write as the settings say."""
    logging.config.dictConfig(logs_config(settings))


def logs_config(settings: Settings) -> dict[str, Any]:
    """Give the configuration of all loggers, for `logging.config.dictConfig`.

    The level is that of our own lines. Libraries only warn: at lower levels some of them write down what they
    send, credentials too. Handlers that they have brought along are taken from them.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"()": new_handler, "log_format": settings.log_format}},
        "root": {"handlers": ["stderr"], "level": max(level, logging.WARNING)},
        "loggers": {
            **{name: {"level": level} for name in _OURS},
            AUDIT_LOGGER: {"level": logging.INFO},
            "_granian": {"handlers": [], "propagate": True, "level": max(level, logging.INFO)},
            # A line when a job starts and one when it ends: there is one of ours that says more.
            "arq": {"handlers": [], "propagate": True, "level": max(level, logging.WARNING)},
        },
    }


def log_fields(logger: logging.Logger, level: int, event: str, fields: dict[str, Any]) -> None:
    """Log a line with exactly these fields; the caller has checked that the level is enabled.

    For lines of which there are thousands a second: without a `LogRecord` and bound context variables, one
    costs 4 µs as JSON and 8 µs as text, its share of the write included, instead of 44 and 90. Where the
    process has other handlers, or writes to a terminal in colours, it is an ordinary record.
    """
    handlers = _ROOT.handlers
    if len(handlers) == 1 and isinstance(handler := handlers[0], TurnHandler) and handler.render:
        handler.write_line(handler.render(level, logger.name, event, fields), level)
    else:
        logger.log(level, event, extra=fields)


def log_crash(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Log what ends the process, as `sys.excepthook`: a bare traceback is as many entries as it has lines."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        logger.critical("the process ends", exc_info=(kind, error, traceback))


def new_formatter(log_format: LogFormat | None = None) -> ProcessorFormatter:
    """Make what turns records into lines; without `log_format` it is taken from the environment.

    Raises:
        BadSetting: a variable's value is unusable.
    """
    is_terminal = sys.stderr.isatty()
    is_text = _is_text(log_format or read_settings().log_format)
    rendering = [_escape, _text_renderer(is_terminal)] if is_text else [format_exc_info, _JSON]
    return ProcessorFormatter(
        foreign_pre_chain=[merge_contextvars, ExtraAdder(), _put_heading],
        processors=[ProcessorFormatter.remove_processors_meta, *rendering],
    )


def new_handler(log_format: LogFormat) -> TurnHandler:
    """Return the handler of all lines of a process."""
    render: Render | None = _json_line
    if _is_text(log_format):
        render = None if sys.stderr.isatty() else _text_line
    handler = TurnHandler(render)
    handler.setFormatter(new_formatter(log_format))
    return handler


def _is_text(log_format: LogFormat) -> bool:
    return log_format == "text" or (log_format == "auto" and sys.stderr.isatty())


def _text_renderer(is_coloured: bool) -> Processor:
    return ConsoleRenderer(
        colors=is_coloured,
        sort_keys=False,
        timestamp_key="time",
        pad_event_to=_EVENT_WIDTH,
        # Not the one that shows the values of variables: they may be secret.
        exception_formatter=plain_traceback,
    )


def _put_heading(_: Any, __: str, fields: Fields) -> Fields:
    """Put first what every line has."""
    record: logging.LogRecord = fields["_record"]
    return {
        "time": time_text(datetime.fromtimestamp(record.created, UTC)),
        "level": record.levelname.lower(),
        "logger": record.name,
        **fields,
    }


def _escape(_: Any, __: str, fields: Fields) -> Fields:
    """Let nobody forge lines or steer a terminal with what he has us write."""
    return {
        name: repr(value)[1:-1] if isinstance(value, str) and not value.isprintable() else value
        for name, value in fields.items()
    }


_encode = msgspec.json.Encoder(enc_hook=str).encode


def _json_bytes(fields: Fields) -> bytes:
    try:
        # A sixth of the time of the standard library, on every request.
        return _encode(fields)
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8, and must not cost us the line.
        return json.dumps(fields, default=str).encode()


def _as_json(fields: Fields, **_: Any) -> str:
    return _json_bytes(fields).decode()


_JSON = JSONRenderer(serializer=_as_json)


def _json_line(level: int, logger: str, event: str, fields: dict[str, Any]) -> bytes:
    now = _ms_text(time.time_ns() // 1_000_000)
    line = {"time": now, "level": _level_name(level), "logger": logger, "event": event, **fields}
    return _json_bytes(line) + b"\n"


def _text_line(level: int, logger: str, event: str, fields: dict[str, Any]) -> bytes:
    """Return the line that `_text_renderer` would without colours, in a tenth of its time."""
    shown = "".join([f" {name}={_shown(value)}" for name, value in fields.items()])
    now = _ms_text(time.time_ns() // 1_000_000)
    heading = f"{now} [{_level_name(level):{_LEVEL_WIDTH}}] {event:{_EVENT_WIDTH}} [{logger}]"
    return f"{heading}{shown}\n".encode()


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(value):
        return value
    if not value.isprintable():
        value = repr(value)[1:-1]
    return repr(value) if not _QUOTED.isdisjoint(value) else value


@lru_cache
def _level_name(level: int) -> str:
    return logging.getLevelName(level).lower()


@lru_cache(maxsize=2)
def _ms_text(ms: int) -> str:
    """Return the time as in all lines; where the cost of a line matters, a millisecond has several."""
    return f"{_second_text(ms // 1000)}{ms % 1000:03}Z"


@lru_cache(maxsize=2)
def _second_text(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
