"""Progress on a terminal."""

import sys

import click


def show(text: str) -> None:
    """Replace the last line of the terminal's standard error; without a terminal, write no text."""
    if sys.stderr.isatty():
        click.echo(f"\x1b[2K\r{text}", nl=False, err=True)
