"""`numbers limits`: how many requests organizations may make, and what is set for one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct
from rich.table import Table

from deploy.cli.keys import organization_name
from deploy.cli.store_option import (
    Command,
    find_settings,
    print_json,
    print_table,
    same_store,
    store_options,
    with_store,
)
from shared.api_keys import list_organizations
from shared.rate_limits import (
    Limited,
    Overrides,
    clear_overrides,
    limit_of,
    list_overrides,
    read_overrides,
    set_overrides,
)
from shared.settings import LOWEST_RATE, Burst, Rate, Settings, on_own_machine
from shared.store import Store

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_organization_argument = click.argument("org", metavar="ORG", callback=organization_name)

_MEANT: Final = {
    Limited.SEARCH: "searches",
    Limited.READ: "other requests that read",
    Limited.WRITE: "requests that write",
    Limited.KEYS: "keys created and rotated",
}


class InForce(Struct, frozen=True):
    """The limit for a kind of requests."""

    rate: float
    """Requests a second; 0 is unlimited."""
    burst: int | None
    """Requests that may come at once; None where the rate is unlimited."""
    source: str
    """`organization`, `settings`, or `fixed` for what cannot be set."""


@click.group()
def limits() -> None:
    """Say how many requests an organization may make.

    For all, NUMBERS_SEARCH_RATE, NUMBERS_SEARCH_BURST, NUMBERS_WRITE_RATE and NUMBERS_WRITE_BURST say it, as
    the API was started with them; a `numbers up` without them has no limits. What is set here for an
    organization comes before them. Those of searches are also those of other requests that read.
    """


def _settings_of(redis_url: str | None, data_dir: Path) -> Settings:
    """Give the settings as the service has them, as far as it can be seen; raises as `find_settings`."""
    settings = find_settings(redis_url, data_dir)
    return on_own_machine(settings) if redis_url is None else settings


async def _check_known(store: Store, organization: str) -> None:
    """Refuse an organization that never had a key: it is none, or mistyped."""
    if organization not in await list_organizations(store):
        raise click.ClickException(
            f"no organization {organization} has ever had a key; "
            f"`{same_store('keys list')}` shows those that have"
        )


@limits.command()
@_organization_argument
@_json_option
@store_options
def show(*, org: str, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Show what limits are in force for ORG, and which of them were set for it.

    What is not set for it is shown as the settings of this command have it: run it where the API runs.
    """
    settings = _settings_of(redis_url, data_dir)

    async def look(store: Store) -> Overrides:
        await _check_known(store, org)
        return await read_overrides(store, org)

    _print(org, with_store(settings, look), settings, as_json=as_json)


def _print(org: str, overrides: Overrides, settings: Settings, *, as_json: bool) -> None:
    limits = {kind: _in_force(kind, settings, overrides) for kind in Limited}
    if as_json:
        print_json({"org_id": org, "limits": limits})
        return
    table = Table(box=None)
    for name in ("", "a second", "at once", "from"):
        table.add_column(name, justify="left" if name in ("", "from") else "right")
    for kind, limit in limits.items():
        burst = "" if limit.burst is None else f"{limit.burst:,}"
        source = f"set for {org}" if limit.source == "organization" else limit.source
        table.add_row(_MEANT[kind], _rate_text(limit.rate), burst, source)
    print_table(table)


def _in_force(kind: Limited, settings: Settings, overrides: Overrides) -> InForce:
    limit = limit_of(kind, settings, overrides)
    if limit is not None and kind is Limited.KEYS:
        return InForce(limit.rate, limit.burst, "fixed")
    own = overrides.of(kind)
    # A burst of its own means nothing where the rate that all have is unlimited.
    is_own = any(value is not None for value in (own if limit else own[:1]))
    source = "organization" if is_own else "settings"
    return InForce(0.0, None, source) if limit is None else InForce(limit.rate, limit.burst, source)


def _rate_text(rate: float) -> str:
    return f"{rate:,.3f}".rstrip("0").rstrip(".") if rate else "unlimited"


def _bounded(bounds: Any) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Make what reads an option as a setting is read."""

    def read(_: click.Context, __: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            value = msgspec.convert(text, bounds, strict=False)
        except msgspec.ValidationError as error:
            raise click.BadParameter(f"{text!r:.40} cannot be used: {error}") from error
        if bounds is Rate and 0 < value < LOWEST_RATE:
            raise click.BadParameter(f"{text!r:.40} is neither 0 nor {LOWEST_RATE} or more")
        return value

    return read


def _limit_option(name: str, bounds: Any, meaning: str) -> Callable[[Command], Command]:
    metavar = "RATE" if bounds is Rate else "N"
    return click.option(f"--{name}", callback=_bounded(bounds), metavar=metavar, help=meaning)


@limits.command("set")
@_organization_argument
@_limit_option("search-rate", Rate, "Searches a second; 0 is unlimited.")
@_limit_option("search-burst", Burst, "Searches that may come at once.")
@_limit_option("write-rate", Rate, "Requests a second that write; 0 is unlimited, for new keys too.")
@_limit_option("write-burst", Burst, "Requests that write, which may come at once.")
@_json_option
@store_options
def set_(*, org: str, as_json: bool, redis_url: str | None, data_dir: Path, **wanted: Any) -> None:
    """Set limits for ORG instead of those for all; what is not named stays as it is."""
    overrides = Overrides(**wanted)
    if overrides == Overrides():
        raise click.UsageError("nothing to set: give at least one limit")
    settings = _settings_of(redis_url, data_dir)

    async def change(store: Store) -> Overrides:
        await _check_known(store, org)
        await set_overrides(store, org, overrides)
        return await read_overrides(store, org)

    _print(org, with_store(settings, change), settings, as_json=as_json)
    _say_when(settings)


@limits.command()
@_organization_argument
@_json_option
@store_options
def clear(*, org: str, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Have the limits for all hold for ORG again."""
    settings = _settings_of(redis_url, data_dir)

    async def change(store: Store) -> None:
        await _check_known(store, org)
        await clear_overrides(store, org)

    with_store(settings, change)
    _print(org, Overrides(), settings, as_json=as_json)
    _say_when(settings)


def _say_when(settings: Settings) -> None:
    click.echo(f"in force within {settings.key_cache_seconds:g} s", err=True)


@limits.command("list")
@_json_option
@store_options
def list_(*, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """List the organizations for which limits are set, and these."""

    async def find(store: Store) -> dict[str, Overrides]:
        return await list_overrides(store, await list_organizations(store))

    found = with_store(find_settings(redis_url, data_dir), find)
    names = Overrides.__struct_fields__
    if as_json:
        print_json([{"org_id": org, **msgspec.structs.asdict(own)} for org, own in found.items()])
        return
    if not found:
        click.echo("no organization has limits of its own: set them with `numbers limits set`")
        return
    table = Table(box=None)
    table.add_column("organization", overflow="fold")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for org, own in found.items():
        table.add_row(org, *(_value_text(getattr(own, name), is_rate="rate" in name) for name in names))
    print_table(table)


def _value_text(value: float | None, *, is_rate: bool) -> str:
    if value is None:
        return "as for all"
    return _rate_text(value) if is_rate else f"{value:,}"
