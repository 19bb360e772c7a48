"""The configuration: `NUMBERS_…` environment variables, read once into one frozen object."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec
from msgspec import Meta, Struct

_PREFIX = "NUMBERS_"

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Pace = Annotated[float, Meta(ge=0.01, le=86_400)]
"""Seconds, and no busy loop."""
Period = Annotated[float, Meta(ge=0, le=3_650 * 86_400)]
"""Seconds, up to ten years."""

Rate = Annotated[float, Meta(ge=0, le=1_000_000)]
"""Requests a second: 0, or at least `LOWEST_RATE`."""
Burst = Annotated[int, Meta(ge=1, le=1_000_000)]
"""Requests."""

LOWEST_RATE: Final = 0.001
"""With it and the highest burst a time in microseconds is below 2^53, and so exact in Lua."""
_RATES: Final = ("search_rate", "write_rate")

Pepper = Annotated[str, Meta(min_length=16, max_length=1_000)]

LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]

_SECRETS = frozenset({"key_pepper"})
"""Fields whose values are never shown."""

_URL_OPTIONS: Final = (
    "db",
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
)
"""Options in the store's URL: those that every client of the store understands, arq's workers included."""
_CERTIFICATE_CHECKS: Final = ("none", "optional", "required")


class BadSetting(ValueError):
    """An environment variable holds a value that cannot be used; says which, its value, and why."""


class Settings(Struct, frozen=True):
    """What can be set: each field is the variable `NUMBERS_` + its name in capitals."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """The store: `redis://`, `rediss://` (TLS) or `unix://`."""

    spool_dir: str | None = None
    """Where feeds wait for the worker: the same directory for the worker and whoever brings a feed. Without
    it the worker takes `.numbers/spool`, and who brings a feed takes the worker's."""

    feeds_file: str | None = None
    """The profiles of carriers' feeds, a TOML file. Without it those that come with the service."""

    store_timeout_seconds: Seconds = 1.5
    """How long the store may take to answer or to accept a connection before the answer is 503."""

    key_cache_seconds: Seconds = 0.5
    """How long a key's record is believed without asking the store: a revoked key lives no longer."""

    key_pepper: Pepper | None = None
    """What secrets of new keys are digested with (HMAC-SHA-256). The same for all processes; keys that were
    made before there was one go on; if it is lost or changed, those made with it are dead."""

    search_rate: Rate = 100.0
    """Searches a second that an organization may make, and as many other requests that read; 0 means any
    number."""

    search_burst: Burst = 200
    """How many of them may come at once."""

    write_rate: Rate = 20.0
    """Requests a second with which an organization may write; 0 means any number, of new keys too."""

    write_burst: Burst = 50
    """How many of them may come at once."""

    search_hint_megabytes: Annotated[int, Meta(ge=0, le=65_536)] = 32
    """Memory in which each API process, and the worker, remembers where numbers are available: 32 MB are
    enough for 2,000,000 numbers over 300 area codes, or 25 area codes of any size. 0: searches scan the
    stock."""

    feed_lease_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 15.0
    """How long a run that shows no sign of life keeps others from its carrier's feed."""

    sweep_seconds: Pace = 5.0
    """How often the worker looks for work that is due, or that somebody died over."""

    hold_seconds: Pace = 15.0
    """How long an order may take: after that its holds are given back, and who repeats it takes it over."""

    quarantine_seconds: Period = 45 * 86_400.0
    """How long a released number is kept from the next customer; 47 CFR 52.15(f) has 45 days at least."""

    cancel_quarantine_seconds: Period = 0.0
    """The same for the numbers of a cancelled order, which nobody has used yet."""

    cancel_window_seconds: Period = 86_400.0
    """How long after its completion an order can be cancelled."""

    bulk_wait_seconds: Period = 86_400.0
    """How long a bulk order waits for stock before it fails."""

    event_retention_seconds: Annotated[float, Meta(ge=60, le=3_650 * 86_400)] = 30 * 86_400.0
    """How long the events of numbers' lives are kept."""

    log_format: LogFormat = "auto"
    """One JSON object a line, or text for people; `auto` is text on a terminal and in the files of
    `numbers up`, JSON elsewhere. Commands log only when it is set: what they say is for people."""

    log_level: LogLevel = "info"
    """From which level on lines are written. Requests are `info`, those of health checks `debug`."""


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from `environment`; an absent or empty variable means its default.

    Raises:
        BadSetting: a variable's value is unusable.
    """
    values = {
        name: value for name in Settings.__struct_fields__ if (value := environment.get(variable_of(name)))
    }
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise _bad_setting(values) from error
    try:
        check_redis_url(settings.redis_url)
    except ValueError as error:
        shown = without_password(settings.redis_url)
        raise BadSetting(f"{variable_of('redis_url')}={shown!r} cannot be used: {error}") from error
    for name in _RATES:
        if 0 < getattr(settings, name) < LOWEST_RATE:
            shown = f"{variable_of(name)}={values[name]!r}"
            raise BadSetting(f"{shown} cannot be used: it is neither 0 nor {LOWEST_RATE} or more")
    return settings


def on_own_machine(settings: Settings, environment: Mapping[str, str] = os.environ) -> Settings:
    """Give the settings of a service on a developer's own machine, who has nobody to be protected from.

    Its rates are without a limit, but for those that `environment` sets.
    """
    unset = {name: 0.0 for name in _RATES if not environment.get(variable_of(name))}
    return msgspec.structs.replace(settings, **unset)


def check_redis_url(url: str) -> None:
    """Raise `ValueError` with the reason, which repeats no secret, when this is no URL of a store."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("it has characters that no URL has")
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("it does not begin with redis://, rediss:// or unix://")
    if parts.scheme != "unix" and not (parts.hostname and _has_port(parts)):
        raise ValueError("it has no host, or a port that is none; has the password characters to be escaped?")
    options = parse_qs(parts.query)
    for option in options:
        if option not in _URL_OPTIONS:
            raise ValueError(f"it sets {option!r:.40}; only {', '.join(_URL_OPTIONS)} can be set there")
    if options.get("ssl_cert_reqs", ["required"])[0] not in _CERTIFICATE_CHECKS:
        raise ValueError(f"its ssl_cert_reqs is none of {', '.join(_CERTIFICATE_CHECKS)}")
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("it has no path of a socket")
    database = "" if parts.scheme == "unix" else parts.path.removeprefix("/")
    if any(number and not number.isdigit() for number in (database, *options.get("db", []))):
        raise ValueError("its database is no number")


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port is one, or left out."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def without_password(url: str) -> str:
    """Give the URL as it may be shown: without a password, wherever it stands."""
    return re.sub("//.*@", "//***@", re.sub("password=[^&]*", "password=***", url))


def variable_of(field: str) -> str:
    """Give the environment variable of a field of `Settings`."""
    return _PREFIX + field.upper()


def _bad_setting(values: Mapping[str, str]) -> BadSetting:
    for field in msgspec.structs.fields(Settings):
        if field.name not in values:
            continue
        try:
            msgspec.convert(values[field.name], field.type, strict=False)
        except msgspec.ValidationError as error:
            shown = "***" if field.name in _SECRETS else repr(values[field.name])
            return BadSetting(f"{variable_of(field.name)}={shown} cannot be used: {error}")
    raise AssertionError("some field was refused")
