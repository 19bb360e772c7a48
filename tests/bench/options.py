"""Options that several commands have."""

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
seed_option = click.option(
    "--seed", default=1, show_default=True, help="The same seed repeats the same numbers and patterns."
)
