"""The configuration: `NUMBERS_…` environment variables, read once into one frozen object."""

import os
import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec
from msgspec import Meta, Struct

_PREFIX = "NUMBERS_"

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Pace = Annotated[float, Meta(ge=0.01, le=86_400)]
"""Seconds, and no busy loop."""
Period = Annotated[float, Meta(ge=0, le=3_650 * 86_400)]
"""Seconds, up to ten years."""


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
    return settings


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
        if option != "db" and not option.startswith("ssl_"):
            raise ValueError(f"it sets {option!r:.40}; only db and ssl_… can be set there")
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
            return BadSetting(f"{variable_of(field.name)}={values[field.name]!r} cannot be used: {error}")
    raise AssertionError("some field was refused")
