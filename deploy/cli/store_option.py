"""Which store a command works on, and how it gets there."""

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from deploy.cli.instance import DEFAULT_DATA_DIR, read_instance, spool_dir
from shared.settings import Settings, check_redis_url, read_settings, variable_of, without_password
from shared.store import Store

T = TypeVar("T")
_WIDTH_FOR_SCRIPTS = 300
Command = Callable[..., Any]

redis_url_option = click.option(
    "--redis-url",
    metavar="URL",
    envvar=variable_of("redis_url"),
    help="The store: redis://, rediss:// or unix://  [env: NUMBERS_REDIS_URL]",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="The data directory of `numbers up`.",
)


feeds_file_option = click.option(
    "--feeds-file",
    metavar="FILE",
    envvar=variable_of("feeds_file"),
    help="The profiles of carriers' feeds; without it those that come with the service.  "
    "[env: NUMBERS_FEEDS_FILE]",
)


def store_options(command: Command) -> Command:
    """Add `--redis-url` and `--data-dir` to a command."""
    return redis_url_option(data_dir_option(command))


def find_settings(redis_url: str | None, data_dir: Path) -> Settings:
    """Give the settings with the store of `redis_url`, else that of the service that runs for `data_dir`.

    Raises:
        BadSetting: a variable's value is unusable.
        ClickException: the URL is unusable, or no service runs there.
    """
    settings = read_settings()
    if redis_url is None:
        instance = read_instance(data_dir)
        if instance is None:
            raise click.ClickException(
                f"no service runs for the data directory {data_dir}: start one with `numbers up`, "
                "or name a store with --redis-url or NUMBERS_REDIS_URL"
            )
        redis_url = instance.redis_url
    return msgspec.structs.replace(settings, redis_url=checked_url(redis_url))


def same_store(command: str) -> str:
    """Give a `numbers` command as it has to be typed to work on the store that this one works on."""
    context = click.get_current_context()
    words = ["numbers", *command.split()]
    for name in ("redis_url", "data_dir"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words += [f"--{name.replace('_', '-')}", without_password(str(context.params[name]))]
    return shlex.join(words)


def checked_url(redis_url: str) -> str:
    """Give the URL back; raises `BadParameter` when it is none of a store."""
    try:
        check_redis_url(redis_url)
    except ValueError as error:
        shown = without_password(redis_url)
        raise click.BadParameter(f"{shown!r} cannot be used: {error}", param_hint="--redis-url") from error
    return redis_url


def default_spool_dir(data_dir: Path) -> str:
    """Give the spool when neither a variable nor a worker names one."""
    return str(spool_dir(data_dir).resolve())


def with_store(settings: Settings, action: Callable[[Store], Awaitable[T]]) -> T:
    """Run `action` with a connection to the store and give what it gives; raises `StoreUnavailable`."""

    async def run() -> T:
        store = Store(settings.redis_url, settings.store_timeout_seconds)
        try:
            return await action(store)
        finally:
            await store.close()

    return asyncio.run(run())


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal or, for a script, as wide as it needs to be."""
    Console(width=None if sys.stdout.isatty() else _WIDTH_FOR_SCRIPTS).print(table)


def print_json(value: Any) -> None:
    """Print a value as JSON for a script, one line."""
    click.echo(msgspec.json.encode(value).decode())
