"""Logs: all that a process and its libraries have to say comes out in one format, on stderr.

Our own modules use the standard library's `logging`; what a line tells beyond its message are fields, which
they give as `extra`. What is bound with `structlog.contextvars` (the id of a request, of a job) is a field of
every line that is written meanwhile.
"""

import json
import logging
import logging.config
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
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

logger = logging.getLogger(__name__)

Fields = MutableMapping[str, Any]

AUDIT_LOGGER = "audit"
"""Of what is done to API keys: it is told whatever the level is."""

_OURS = ("api", "worker", "shared")
_EVENT_WIDTH = 20


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
        "formatters": {"fields": {"()": new_formatter, "log_format": settings.log_format}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "fields"}},
        "root": {"handlers": ["stderr"], "level": max(level, logging.WARNING)},
        "loggers": {
            **{name: {"level": level} for name in _OURS},
            AUDIT_LOGGER: {"level": logging.INFO},
            "_granian": {"handlers": [], "propagate": True, "level": max(level, logging.INFO)},
            # A line when a job starts and one when it ends: there is one of ours that says more.
            "arq": {"handlers": [], "propagate": True, "level": max(level, logging.WARNING)},
        },
    }


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
    log_format = log_format or read_settings().log_format
    is_terminal = sys.stderr.isatty()
    is_text = log_format == "text" or (log_format == "auto" and is_terminal)
    rendering = [_escape, _text_renderer(is_terminal)] if is_text else [format_exc_info, _JSON]
    return ProcessorFormatter(
        foreign_pre_chain=[merge_contextvars, ExtraAdder(), _put_heading],
        processors=[ProcessorFormatter.remove_processors_meta, *rendering],
    )


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


def _as_json(fields: Fields, **_: Any) -> str:
    try:
        # A sixth of the time of the standard library, on every request.
        return msgspec.json.encode(fields, enc_hook=str).decode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8, and must not cost us the line.
        return json.dumps(fields, default=str)


_JSON = JSONRenderer(serializer=_as_json)
