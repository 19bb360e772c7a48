"""`numbers keys`: create, list, show, rotate and revoke API keys."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import click
import msgspec
from msgspec import Meta

from deploy.cli.keys_output import print_key, print_keys, rendered, resource_of
from deploy.cli.store_option import (
    Command,
    find_settings,
    print_json,
    same_store,
    store_options,
    with_store,
)
from shared import clock
from shared.api_keys import (
    MAX_LABEL_CHARACTERS,
    MOST_KEYS,
    ORGANIZATION_NAME,
    ApiKey,
    Scope,
    Wanted,
    create_api_key,
    find_organization,
    in_order,
    list_api_keys,
    list_organizations,
    read_api_key,
    revoke_api_key,
    rotate_api_key,
)
from shared.atomic.key_operations import KeyIsDead, KeysAreFull
from shared.key_events import read_key_events
from shared.key_secrets import new_secret
from shared.settings import Settings
from shared.store import Store

T = TypeVar("T")

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def keys() -> None:
    """Hand out API keys, and take them back."""


def organization_name(_: click.Context, __: click.Parameter, name: str) -> str:
    """Give the name of an organization back; raises `BadParameter` when it is none."""
    if not ORGANIZATION_NAME.fullmatch(name):
        raise click.BadParameter("must be 1-64 characters of a-z, 0-9, _ and -")
    return name


def _optional_organization(
    context: click.Context, parameter: click.Parameter, name: str | None
) -> str | None:
    return None if name is None else organization_name(context, parameter, name)


def _label(_: click.Context, __: click.Parameter, label: str | None) -> str | None:
    if label is not None and not (0 < len(label) <= MAX_LABEL_CHARACTERS and label.isprintable()):
        raise click.BadParameter(f"must be 1-{MAX_LABEL_CHARACTERS} printable characters")
    return label


def _expiry(_: click.Context, __: click.Parameter, text: str | None) -> datetime | timedelta | None:
    if text is None:
        return None
    try:
        if duration := _DURATION.fullmatch(text):
            return timedelta(**{_UNITS[duration[2]]: int(duration[1])})
        time: datetime = msgspec.convert(text, Annotated[datetime, Meta(tz=True)])
    except (msgspec.ValidationError, OverflowError) as error:
        raise click.BadParameter(
            "must be a duration such as 90d or 12h (s, m, h, d, w), or a time with an offset such as "
            "2030-01-31T09:30:00Z"
        ) from error
    return time


async def _expiry_ms(store: Store, expires: datetime | timedelta | None) -> int | None:
    """Give when a key is to expire, Unix ms; raises `BadParameter` when that is over by the store's clock."""
    if expires is None:
        return None
    now = await clock.now(store)
    try:
        time = now + expires if isinstance(expires, timedelta) else expires.astimezone(UTC)
    except OverflowError as error:
        raise click.BadParameter("must be before the year 10000", param_hint="--expires") from error
    if time <= now:
        shown = clock.time_text(now)
        raise click.BadParameter(f"must be in the future; it is {shown}", param_hint="--expires")
    return (time - _EPOCH) // timedelta(milliseconds=1)


@keys.command()
@click.option(
    "--org", required=True, callback=organization_name, help="The organization that the key belongs to."
)
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What the key may do; give it once for each scope.",
)
@click.option("--label", callback=_label, help="What the key is for.")
@click.option(
    "--expires",
    callback=_expiry,
    metavar="WHEN",
    help="When it dies by itself: after 90d or 12h, say, or at 2030-01-31T09:30:00Z.  [default: never]",
)
@_json_option
@store_options
def create(
    *,
    org: str,
    scopes: tuple[str, ...],
    label: str | None,
    expires: datetime | timedelta | None,
    as_json: bool,
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """Create a key and show its secret, this once."""
    settings, secret = find_settings(redis_url, data_dir), new_secret()
    wanted = in_order([Scope(scope) for scope in scopes])

    async def make(store: Store) -> ApiKey:
        expires_ms = await _expiry_ms(store, expires)
        return await create_api_key(
            store, org, Wanted(wanted, label, expires_ms), secret, settings.key_pepper
        )

    try:
        key = with_store(settings, make)
    except KeysAreFull as error:
        raise click.ClickException(
            f"{org} has {MOST_KEYS} live keys, and no more than that are kept; "
            f"revoke one: `{same_store(f'keys list --org {org}')}` shows them"
        ) from error
    _print_secret(key, secret, as_json=as_json)


def _print_secret(key: ApiKey, secret: str, *, as_json: bool) -> None:
    """Print the secret alone on standard output, for a script to take, and what it is for beside it."""
    if as_json:
        print_json(resource_of(key, secret))
        return
    click.echo(secret)
    until = f" until {rendered(key.expires_ms)}" if key.expires_ms is not None else ""
    click.echo(
        f"key {key.id} of {key.org_id} with {', '.join(key.scopes)}{until}: "
        "keep the secret, it is not shown again",
        err=True,
    )


@keys.command("list")
@click.option("--org", callback=_optional_organization, metavar="NAME", help="Only this organization's.")
@click.option("--live", "only_live", is_flag=True, help="Leave out those that are revoked or expired.")
@_json_option
@store_options
def list_(*, org: str | None, only_live: bool, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """List the keys of all organizations, the newest first in each, without their secrets.

    When a key was last used is known to about ten seconds.
    """

    async def find(store: Store) -> tuple[list[ApiKey], datetime]:
        names = await list_organizations(store) if org is None else [org]
        return [key for name in names for key in await list_api_keys(store, name)], await clock.now(store)

    found, now = with_store(find_settings(redis_url, data_dir), find)
    now_ms = (now - _EPOCH) // timedelta(milliseconds=1)
    shown = [key for key in found if not only_live or key.is_live(now_ms)]
    if as_json:
        print_json([resource_of(key) for key in shown])
    elif shown:
        print_keys(shown, now)
    elif found:
        click.echo("no live keys: make one with `numbers keys create`")
    else:
        of_it = "" if org is None else f" of {org}"
        click.echo(f"no keys{of_it} yet: make one with `numbers keys create`")


def _id_argument(command: Command) -> Command:
    return click.argument("key_id", metavar="ID")(command)


def _with_key(settings: Settings, key_id: str, action: Callable[[Store, str], Awaitable[T | None]]) -> T:
    """Give what `action` does with the store and the organization that has the key.

    Raises:
        ClickException: no organization has a key of this id.
    """

    async def run(store: Store) -> T | None:
        organization = await find_organization(store, key_id)
        return None if organization is None else await action(store, organization)

    done = with_store(settings, run)
    if done is None:
        raise click.ClickException(f"no key has the id {key_id}; `{same_store('keys list')}` shows them")
    return done


@keys.command()
@_id_argument
@_json_option
@store_options
def show(*, key_id: str, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Show the key with this ID, and what has become of it: who did it, and with which request.

    The last thousand or so events of an organization are kept.
    """

    async def look(store: Store, organization: str) -> Any:
        key = await read_api_key(store, organization, key_id)
        return key and (key, await read_key_events(store, organization, key_id), await clock.now(store))

    key, events, now = _with_key(find_settings(redis_url, data_dir), key_id, look)
    if as_json:
        told = [msgspec.to_builtins(event) | {"time": clock.time_text(event.time)} for event in events]
        print_json(resource_of(key) | {"events": told})
    else:
        print_key(key, events, now)


@keys.command()
@_id_argument
@_json_option
@store_options
def rotate(*, key_id: str, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Give the key with this ID another secret and show it, this once; the one before is dead at once."""
    settings, secret = find_settings(redis_url, data_dir), new_secret()

    async def change(store: Store, organization: str) -> ApiKey | None:
        return await rotate_api_key(store, organization, key_id, secret, settings.key_pepper)

    try:
        key = _with_key(settings, key_id, change)
    except KeyIsDead as error:
        raise click.ClickException(
            f"the key {key_id} is revoked or expired, and gets no other secret; "
            "make another key with `numbers keys create`"
        ) from error
    _print_secret(key, secret, as_json=as_json)


@keys.command()
@_id_argument
@_json_option
@store_options
def revoke(*, key_id: str, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Revoke the key with this ID, for ever: it is refused from then on."""
    settings = find_settings(redis_url, data_dir)

    async def end(store: Store, organization: str) -> ApiKey | None:
        return await revoke_api_key(store, organization, key_id)

    key = _with_key(settings, key_id, end)
    if as_json:
        print_json(resource_of(key))
    else:
        click.echo(
            f"key {key.id} of {key.org_id} is revoked; within {settings.key_cache_seconds:g} s it is dead"
        )
