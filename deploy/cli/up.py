"""`numbers up`: the whole service on one machine."""

import os
from pathlib import Path

import click

from deploy.cli.embedded_store import EmbeddedStoreError
from deploy.cli.instance import owned
from deploy.cli.ports import PortUnusable, free_port
from deploy.cli.service import Service
from deploy.cli.stop_signal import Stopped, StopSignal
from deploy.cli.store_option import checked_url, data_dir_option, redis_url_option
from shared.settings import read_settings

_HIGHEST_PORT = 65_535
_MOST_DEFAULT_WORKERS = 4
"""Store, workers and clients need the other cores; each process has 40 MB of its own."""


def default_workers() -> int:
    """Return how many processes serve the API by default: one for each core that this process may use."""
    # Absent on macOS.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_DEFAULT_WORKERS)


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, _HIGHEST_PORT),
    default=8000,
    show_default=True,
    help="The port of the API; 0 takes a free one.",
)
@data_dir_option
@redis_url_option
@click.option("--no-sample", is_flag=True, help="Do not bring the sample feed.")
@click.option(
    "--api-workers",
    type=click.IntRange(1),
    default=default_workers,
    show_default="one for each usable core, at most 4",
    metavar="N",
    help="Processes that serve the API.",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help='Write {"url", "key", "org", "redis_url"} here once requests are served.',
)
def up(
    *,
    port: int,
    data_dir: Path,
    redis_url: str | None,
    no_sample: bool,
    api_workers: int,
    ready_file: Path | None,
) -> None:
    """Run the whole service: store, API and workers, until Ctrl-C.

    The store is embedded and durable in the data directory, unless --redis-url names another.
    """
    settings = read_settings()
    given_url = None if redis_url is None else checked_url(redis_url)
    port = _port_to_use(port)
    with StopSignal() as stop, owned(data_dir):
        service = Service(data_dir.resolve(), port, api_workers, settings, given_url, stop.check)
        try:
            with service.running(ready_file):
                service.wait_until_ready()
                if not no_sample:
                    service.bring_sample()
                service.announce()
                service.watch()
        except Stopped:
            click.echo("\nstopped")
        except EmbeddedStoreError as error:
            raise click.ClickException(str(error)) from error


def _port_to_use(port: int) -> int:
    try:
        return free_port(port)
    except PortUnusable as error:
        raise click.ClickException(f"{error}; choose another with --port") from error
