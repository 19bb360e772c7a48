"""What a profile hands to the library that fetches its feed, with secrets from the environment."""

import os
from collections.abc import Mapping
from typing import Any, Final

from worker.feeds.sources.opened import SourceUnavailable

_ENVIRONMENT: Final = "env:"


def fill_in(value: Any) -> Any:
    """Put the values of environment variables in the places of the texts `env:NAME`, however deep they lie.

    Raises:
        SourceUnavailable: a variable is not set; names it.
    """
    if isinstance(value, Mapping):
        return {name: fill_in(item) for name, item in value.items()}
    if isinstance(value, list):
        return [fill_in(item) for item in value]
    if not isinstance(value, str) or not value.startswith(_ENVIRONMENT):
        return value
    name = value.removeprefix(_ENVIRONMENT)
    if not os.environ.get(name):
        raise SourceUnavailable(f"source_options: the environment variable {name} is not set")
    return os.environ[name]
