"""Profiles: what is known of each carrier's feed, from the file `feeds.toml`.

A table `[profiles.NAME]` is how the carrier NAME's feed is read, guarded and fetched; one with `like` takes
over what another profile says and adds to it. A carrier without a profile uses the plain format. The table
`[defaults]` holds what all profiles take over.
"""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from shared.feeds.schedules import parse_schedule
from shared.feeds.sources import DIRECTORY_OF_DELTAS, parse_networks, parse_source

CARRIER_NAME = re.compile(r"[a-z0-9-]{1,32}")

_MOST_LIKES = 8

_UNNAMEABLE = re.compile(r'["\\\x00-\x1f\x7f]')
"""What no name of a column, member or element has in it: in JSON it would be written otherwise."""


class BadProfiles(ValueError):
    """The file of profiles cannot be used; says where and why."""


class Format(StrEnum):
    """How a feed is written; each has its parser in `shared.feeds.formats`."""

    PLAIN = "plain"
    """CSV or NDJSON, whichever the content is."""
    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"
    """One JSON array of objects, alone or as a member (`rows`) of an object."""
    XML = "xml"
    RANGES = "ranges"
    """CSV of thousands blocks (`npa,nxx,x`) or ranges (`start,count`)."""


class Mode(StrEnum):
    """What a feed says."""

    SNAPSHOT = "snapshot"
    """All that the carrier offers: what is not in it, it does not offer any more."""
    DELTA = "delta"
    """What has changed: only rows that say so take a number away."""


Count = Annotated[int, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class Guards(Struct, frozen=True, forbid_unknown_fields=True):
    """What a feed may do without being looked at; above it, removals wait for a person."""

    removed_percent: Percent = 5.0
    """Share of the carrier's numbers that a feed may remove; more than that, and
    than `removed_numbers`, waits."""
    removed_numbers: Count = 1_000
    emptied_area: Count = 100
    """An area code with so many of the carrier's numbers may not lose them all."""
    rejected_percent: Percent = 10.0
    """Share of a feed's rows that may be unreadable; a feed with more than that, and
    than `rejected_rows`, is refused."""
    rejected_rows: Count = 10


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How big a feed may be; one that is bigger is refused."""

    bytes: Annotated[int, Meta(ge=1)] = 4 << 30
    """As it comes."""
    expanded_bytes: Annotated[int, Meta(ge=1)] = 16 << 30
    """Once it is unpacked."""
    expansion: Annotated[float, Meta(ge=1)] = 200.0
    """How many times bigger unpacking may make it: numbers in order, the most regular rows there are, come to
    about 40."""
    line_bytes: Annotated[int, Meta(ge=64, le=1 << 24)] = 64 << 10
    """A longer row is rejected."""
    rows: Annotated[int, Meta(ge=1)] = 50_000_000


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """How one carrier's feed is read, guarded and fetched."""

    format: Format = Format.PLAIN
    rows: str | None = None
    """JSON: the member that holds the array. XML: the element that is a row."""
    number: str | None = None
    """The column, member or element of the number; without it, its usual names."""
    sms: str | bool | None = None
    """The same of the flag, or what all numbers of this carrier can do."""
    mms: str | bool | None = None
    features: str | None = None
    """The column or member that lists what the number can do: `sms|mms`, or `[{"name": "sms"}]`."""
    mode: Mode = Mode.SNAPSHOT
    action: str | None = None
    """The column or member that says what a row does; without it, its usual names."""
    precedence: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    """Of two carriers that offer one number, the attributes of the lower one count."""
    source: str | None = None
    """Where the feed is fetched: a file, a directory (its newest file), or a URL of http, https, s3, sftp."""
    source_options: Mapping[str, Any] = {}
    """For the library that fetches; a text `env:NAME` stands for the value of an environment variable."""
    source_checksum: bool = False
    """Beside the source lies another one, named `<source>.sha256`, that the feed has to agree with."""
    allow_networks: tuple[str, ...] = ()
    """Private networks (`10.1.0.0/16`) that the source may lie in, redirects included."""
    schedule: str | None = None
    """When it is fetched: five fields as in a crontab, UTC."""
    guards: Guards = Guards()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        """Check what types do not say; msgspec tells a `ValueError` like any other bad value."""
        for part in ("rows", "number", "sms", "mms", "features", "action"):
            name = getattr(self, part)
            if isinstance(name, str) and _UNNAMEABLE.search(name):
                raise ValueError(f"{part}: {name!r}: no name has quotes, backslashes or control characters")
        if self.source is not None:
            source = parse_source(self.source)
            if self.mode is Mode.DELTA and source.is_directory():
                raise ValueError(f"source: {DIRECTORY_OF_DELTAS}")
        if self.schedule is not None:
            parse_schedule(self.schedule)
        parse_networks(self.allow_networks)


class Profiles(Struct, frozen=True):
    """The profiles of all carriers that have one."""

    by_name: Mapping[str, Profile]
    default: Profile

    def of(self, carrier: str) -> Profile:
        """Give a carrier's profile, the plain one when it has none."""
        return self.by_name.get(carrier, self.default)

    def order(self, ordinals: Mapping[str, int]) -> list[int]:
        """Give the ordinals of carriers (name → ordinal) in the order in which their offers count."""
        return sorted(ordinals.values(), key=_key_of(self, ordinals))


def read_profiles(feeds_file: str | None) -> Profiles:
    """Read the profiles of a file, without one those that come with the service; raises `BadProfiles`."""
    path = Path(feeds_file) if feeds_file else Path(str(files("deploy"))) / "feeds.toml"
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadProfiles(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BadProfiles(f"{path}: {error}") from error
    unknown = tables.keys() - {"defaults", "profiles"}
    if unknown:
        raise BadProfiles(f"{path}: there is no table {min(unknown)!r}, only defaults and profiles")
    defaults, profiles = _table(path, "defaults", tables), _table(path, "profiles", tables)
    by_name = {name: _profile(path, name, profiles, defaults) for name in profiles}
    return Profiles(by_name, _convert(path, "defaults", defaults))


def _table(path: Path, name: str, tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise BadProfiles(f"{path}: {prefix}{name} is no table")
    return table


def _profile(path: Path, name: str, tables: Mapping[str, Any], defaults: Mapping[str, Any]) -> Profile:
    if not CARRIER_NAME.fullmatch(name):
        raise BadProfiles(f"{path}: [profiles.{name}]: a name has 1-32 characters of a-z, 0-9 and -")
    merged, at = dict(_table(path, name, tables, "profiles.")), name
    for _ in range(_MOST_LIKES):
        like = merged.pop("like", None)
        if like is None:
            return _convert(path, f"profiles.{name}", _merge(defaults, merged))
        if not isinstance(like, str) or like not in tables:
            raise BadProfiles(f"{path}: [profiles.{at}]: like = {like!r}, and there is no such profile")
        merged, at = _merge(_table(path, like, tables, "profiles."), merged), like
    raise BadProfiles(f"{path}: [profiles.{name}]: its `like` leads in a circle")


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table over another; tables in them alike."""
    merged = {**under, **over}
    for key, value in under.items():
        if isinstance(value, dict) and isinstance(over.get(key), dict):
            merged[key] = _merge(value, over[key])
    return merged


def _convert(path: Path, table: str, values: Mapping[str, Any]) -> Profile:
    try:
        return msgspec.convert(values, Profile)
    except msgspec.ValidationError as error:
        raise BadProfiles(f"{path}: [{table}]: {error}") from error


def _key_of(profiles: Profiles, ordinals: Mapping[str, int]) -> Any:
    names = {ordinal: name for name, ordinal in ordinals.items()}
    return lambda ordinal: (profiles.of(names[ordinal]).precedence, ordinal)
