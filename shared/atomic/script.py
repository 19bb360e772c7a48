"""Lua scripts of the store: loaded from their files, run by digest."""

import asyncio
import hashlib
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from shared.futures import mark_retrieved
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
        """Run the script and return its reply; raises like `Store.execute`."""
        try:
            return await store.execute("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self._load(store, (len(keys), *keys, *arguments))

    def start(self, store: Store, keys: list[str], *arguments: Argument) -> "Run":
        """Send the script; its reply is waited for later."""
        numbered = (len(keys), *keys, *arguments)
        sent = store.execute("EVALSHA", self._digest, *numbered)
        return Run(sent, lambda: self._load(store, numbered))

    def _load(self, store: Store, numbered: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        """Run the script by its source: after a restart or a failover the store has no scripts."""
        return store.execute("EVAL", self._source, *numbered)


class Run:
    """A script that was sent, ahead of all commands that are given later."""

    def __init__(self, sent: "asyncio.Future[Any]", load: Callable[[], "asyncio.Future[Any]"]) -> None:
        self._sent, self._load = sent, load
        # The caller may come to another end before it waits for the reply.
        self._sent.add_done_callback(mark_retrieved)

    async def reply(self) -> Any:
        """Return the reply; raises like `Store.execute`."""
        try:
            return await self._sent
        except NoScriptError:
            return await self._load()
