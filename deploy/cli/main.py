"""`numbers`: start the service, hand out keys, bring feeds, look at the stock."""

import sys

import click
from redis.exceptions import RedisError

from deploy.cli.bench import bench
from deploy.cli.ingest import ingest
from deploy.cli.keys import keys
from deploy.cli.stats import stats
from deploy.cli.up import up
from shared.atomic.operations import TooManyCarriers
from shared.settings import BadSetting
from shared.store import StoreUnavailable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="phone-number-inventory")
def numbers() -> None:
    """Phone-number inventory: carriers' feeds go in, a search for available numbers comes out."""


for _command in (up, keys, ingest, stats, bench):
    numbers.add_command(_command)


def main() -> None:
    """Run the command; what a user can run into is one line and a non-zero exit."""
    try:
        numbers(prog_name="numbers")
    except StoreUnavailable as error:
        _give_up(f"the store cannot be reached: {error}")
    except TooManyCarriers as error:
        _give_up(str(error))
    except RedisError as error:
        _give_up(f"the store refuses a command: {error}")
    except BadSetting as error:
        _give_up(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _give_up(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _give_up(message: str) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)
