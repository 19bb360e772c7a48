"""`numbers feeds generate`: write a made-up feed."""

from typing import BinaryIO

import click

from deploy.generated_feed import FeedFormat, make_rows, write_feed
from deploy.sample_feed.generate import AREA_CODES


@click.command()
@click.argument("file", type=click.File("wb"))
@click.option("--rows", type=click.IntRange(1, 50_000_000), default=1_000_000, show_default=True)
@click.option("--area-codes", type=click.IntRange(1, len(AREA_CODES)), default=300, show_default=True)
@click.option(
    "--format", "form", type=click.Choice([form.value for form in FeedFormat]), default=FeedFormat.CSV.value
)
@click.option("--seed", default=1, show_default=True, help="Repeats the same numbers.")
@click.option(
    "--churn",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="The share of the numbers that others replace, beside the feed of the same seed without.",
)
def generate(*, file: BinaryIO, rows: int, area_codes: int, form: str, seed: int, churn: float) -> None:
    """Write a made-up feed of any size to FILE (or - for standard output), to try and to measure with.

    The JSON array needs a profile with `format = "json"`, the XML is in the shape of `bandwidth`.
    """
    most = area_codes * _NUMBERS_PER_AREA
    if rows * (1 + churn) > most:
        raise click.UsageError(f"{area_codes} area codes have room for {most:,} numbers")
    write_feed(file, make_rows(rows, area_codes, seed, churn), FeedFormat(form))


_NUMBERS_PER_AREA = 7_000_000
"""What can be sold of an area code, and some to choose from."""
