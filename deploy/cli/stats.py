"""`numbers stats`: how many numbers there are."""

from pathlib import Path

import click
from rich.table import Table

from deploy.cli.store_option import find_settings, print_json, print_table, store_options, with_store
from shared.phone_number import number_type_of
from shared.search.area_stock import count_available


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def stats(*, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Count the numbers by area code and state."""
    available = with_store(find_settings(redis_url, data_dir), count_available)
    total = sum(available.values())
    if as_json:
        areas = {area_code: {"available": count} for area_code, count in available.items()}
        print_json({"total": {"available": total}, "area_codes": areas})
        return
    table = Table("area code", "type", box=None)
    table.add_column("available", justify="right")
    for area_code, count in available.items():
        table.add_row(area_code, number_type_of(area_code), f"{count:,}")
    print_table(table)
    click.echo(f"{total:,} numbers available in {sum(map(bool, available.values()))} area codes")
