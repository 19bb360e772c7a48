"""`numbers`: start the service, hand out keys, bring feeds, look at the stock."""

import sys

import click
from redis.exceptions import RedisError

from deploy.cli.audit import audit
from deploy.cli.feeds import feeds
from deploy.cli.history import history
from deploy.cli.ingest import ingest
from deploy.cli.keys import keys
from deploy.cli.limits import limits
from deploy.cli.stats import stats
from deploy.cli.sync import sync
from deploy.cli.up import up
from shared.atomic.feed_operations import TooManyCarriers
from shared.feeds.profiles import BadProfiles
from shared.logs import set_up_logs
from shared.settings import BadSetting, read_settings
from shared.store import StoreUnavailable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="phone-number-inventory")
def numbers() -> None:
    """Phone-number inventory: carriers' feeds go in, a search for available numbers comes out."""
    settings = read_settings()
    if settings.log_format != "auto":
        set_up_logs(settings)


for _command in (up, keys, limits, ingest, sync, feeds, stats, history, audit):
    numbers.add_command(_command)


def main() -> None:
    """Run the command; what a user can run into is one line and a non-zero exit."""
    try:
        code = numbers.main(prog_name="numbers", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        see = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        _give_up(error.format_message() + see, error.exit_code)
    except click.ClickException as error:
        _give_up(error.format_message())
    except click.Abort:
        _give_up("aborted")
    except StoreUnavailable as error:
        _give_up(f"the store cannot be reached: {error}")
    except RedisError as error:
        _give_up(f"the store refuses a command: {error}")
    except (BadSetting, BadProfiles, TooManyCarriers) as error:
        _give_up(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _give_up(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _give_up(message: str, code: int = 1) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
