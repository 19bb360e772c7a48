"""`numbers keys`: create, list and revoke API keys."""

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table

from deploy.cli.store_option import find_settings, print_json, print_table, store_options, with_store
from shared.api_keys import (
    ORGANIZATION_NAME,
    ApiKey,
    Scope,
    UnknownApiKey,
    create_api_key,
    list_api_keys,
    new_secret,
    revoke_api_key,
)

_MAX_LABEL_CHARACTERS = 255


@click.group()
def keys() -> None:
    """Hand out API keys."""


def _organization(_: click.Context, __: click.Parameter, name: str) -> str:
    if not ORGANIZATION_NAME.fullmatch(name):
        raise click.BadParameter("must be 1-64 characters of a-z, 0-9, _ and -")
    return name


def _label(_: click.Context, __: click.Parameter, label: str | None) -> str | None:
    if label is not None and not (0 < len(label) <= _MAX_LABEL_CHARACTERS and label.isprintable()):
        raise click.BadParameter(f"must be 1-{_MAX_LABEL_CHARACTERS} printable characters")
    return label


@keys.command()
@click.option(
    "--org", required=True, callback=_organization, help="The organization that the key belongs to."
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
@click.option("--json", "as_json", is_flag=True, help="Print the key as JSON.")
@store_options
def create(
    *,
    org: str,
    scopes: tuple[str, ...],
    label: str | None,
    as_json: bool,
    redis_url: str | None,
    data_dir: Path,
) -> None:
    """Create a key and show its secret, this once."""
    secret = new_secret()
    wanted = tuple(scope for scope in Scope if scope in scopes)
    key = with_store(
        find_settings(redis_url, data_dir), lambda store: create_api_key(store, org, wanted, label, secret)
    )
    if as_json:
        print_json(_resource(key, secret))
        return
    click.echo(secret)
    click.echo(
        f"key {key.id} of {org} with {', '.join(wanted)}: keep the secret, it is not shown again", err=True
    )


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@store_options
def list_(*, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """List all keys, oldest first, without their secrets."""
    found = with_store(find_settings(redis_url, data_dir), list_api_keys)
    if as_json:
        print_json([_resource(key, None) for key in found])
        return
    if not found:
        click.echo("no keys yet: make one with `numbers keys create`")
        return
    table = Table(box=None)
    for name in ("id", "prefix", "organization", "state", "label", "scopes"):
        table.add_column(name, overflow="fold", no_wrap=name in ("id", "prefix"))
    for key in found:
        state = "live" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
        table.add_row(key.id, key.prefix, key.org_id, state, key.label or "", " ".join(key.scopes))
    print_table(table)


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the key as JSON.")
@store_options
def revoke(*, key_id: str, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Revoke the key with this ID: it is refused from then on."""
    settings = find_settings(redis_url, data_dir)
    try:
        key = with_store(settings, lambda store: revoke_api_key(store, key_id))
    except UnknownApiKey as error:
        raise click.ClickException(f"no key has the id {key_id}; `numbers keys list` shows them") from error
    if as_json:
        print_json(_resource(key, None))
    else:
        click.echo(
            f"key {key.id} of {key.org_id} is revoked; within {settings.key_cache_seconds:g} s it is dead"
        )


def _resource(key: ApiKey, plaintext: str | None) -> dict[str, Any]:
    """Give the key resource of the contract."""
    return {**msgspec.to_builtins(key), "plaintext": plaintext}
