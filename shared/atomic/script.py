"""Lua scripts of the store: loaded from their files, run by digest."""

import hashlib
import re
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from shared.store import Argument, Store

_DIRECTORY = files(__package__)
_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)


def source_of(name: str) -> str:
    """Give the source of `name`.lua, `-- include x` replaced by include/x.lua: Redis knows no modules."""
    source = _DIRECTORY.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return _INCLUDE.sub(
        lambda line: _DIRECTORY.joinpath("include", f"{line[1]}.lua").read_text(encoding="utf-8"), source
    )


class Script:
    """One Lua file of this package; the store learns it when it first says that it does not know it."""

    def __init__(self, name: str) -> None:
        """Load `name`.lua."""
        self.name = name
        self._source = source_of(name)
        self._digest = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, store: Store, keys: list[str], *arguments: Argument) -> Any:
        """Run the script and give its reply; raises like `Store.execute`."""
        try:
            return await store.execute("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            # After a restart or a failover the store has forgotten its scripts; EVAL teaches it again.
            return await store.execute("EVAL", self._source, len(keys), *keys, *arguments)
