"""`numbers stats`: how many numbers there are, and in which states."""

from pathlib import Path

import click
from rich.table import Table

from deploy.cli.store_option import find_settings, print_json, print_table, store_options, with_store
from shared.number_states import StateCounts, count_states, total_of
from shared.phone_number import number_type_of


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def stats(*, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Count the numbers by area code and state."""
    counts = with_store(find_settings(redis_url, data_dir), count_states)
    total = total_of(counts.values())
    if as_json:
        print_json({"total": total, "area_codes": counts})
        return
    print_states(counts)
    areas = sum(bool(area.available) for area in counts.values())
    others = ", ".join(
        f"{getattr(total, state):,} {state}"
        for state in StateCounts.__struct_fields__
        if state != "available"
    )
    click.echo(others)
    click.echo(f"{total.available:,} numbers available in {areas} area codes")


def print_states(counts: dict[str, StateCounts]) -> None:
    """Print a line for each area code."""
    table = Table("area code", "type", box=None)
    for state in StateCounts.__struct_fields__:
        table.add_column(state, justify="right")
    for area_code, area in counts.items():
        numbers = (f"{getattr(area, state):,}" for state in StateCounts.__struct_fields__)
        table.add_row(area_code, number_type_of(area_code), *numbers)
    print_table(table)
