"""Lua scripts of the store: loaded from their files, run by digest."""

import hashlib
import re
from collections.abc import Awaitable, Coroutine, Sequence
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
        command = self._command(keys, arguments)
        return await self._reply(store.execute(*command), store, keys, arguments)

    def begin(self, store: Store, keys: list[str], *arguments: Argument) -> Coroutine[Any, Any, Any]:
        """Send the script's command at once, ahead of what is sent later; its reply is what is awaited."""
        return self._reply(store.submit(self._command(keys, arguments)), store, keys, arguments)

    def _command(self, keys: list[str], arguments: Sequence[Argument]) -> tuple[Argument, ...]:
        return ("EVALSHA", self._digest, len(keys), *keys, *arguments)

    async def _reply(
        self, reply: Awaitable[Any], store: Store, keys: list[str], arguments: Sequence[Argument]
    ) -> Any:
        try:
            return await reply
        except NoScriptError:
            # After a restart or a failover the store has forgotten its scripts; EVAL teaches it again.
            return await store.execute("EVAL", self._source, len(keys), *keys, *arguments)
