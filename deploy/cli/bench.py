"""`numbers bench`: measure."""

import click


@click.group()
def bench() -> None:
    """Measure the service."""
