"""Who goes next: coroutines over the real store, stopped before every command, in an order that a test sets.

Each actor gets a `Store` of its own. A command does not go out until the test takes the actor's step; so a
test can stop an actor for ever (it was killed), or for long (it comes late), and can have a command run and
its reply lost. The store's clock is the test's: scripts read it from a key instead of `TIME`.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis
from msgspec import Struct

from shared.atomic import script
from shared.atomic.area_operations import Unavailable, read_record
from shared.stock_score import KEPT
from shared.store import Argument, Store, StoreUnavailable
from tests.futures import done

_CLOCK = "test:clock"
_BEGIN_MS = 1_700_000_000_000
_PASSED_OVER = {"TIME", "SMEMBERS", "ZCARD"}
"""Commands before which nobody stops: what they read does not change, or is a hint only."""

_LOOK = """
local function as_map(flat)
  local map = {}
  for i = 1, #flat, 2 do
    map[flat[i]] = flat[i + 1]
  end
  return map
end
local function strings(key)
  return as_map(redis.call('HGETALL', key))
end
local function scores(key)
  return as_map(redis.call('ZRANGE', key, 0, -1, 'WITHSCORES'))
end
local areas, organizations, orders, resources = {}, {}, {}, {}
for _, area in ipairs(redis.call('SMEMBERS', 'areas')) do
  local tag = '{' .. area .. '}:'
  areas[area] = {
    available = scores(tag .. 'available'), unavailable = strings(tag .. 'unavailable'),
    timers = scores(tag .. 'timers'),
  }
end
for _, organization in ipairs(redis.call('SMEMBERS', 'orgs')) do
  local tag = '{org:' .. organization .. '}:'
  for _, id in ipairs(redis.call('ZRANGE', tag .. 'orders', 0, -1)) do
    orders[id] = strings(tag .. 'order:' .. id)
  end
  local owned = strings(tag .. 'owned')
  for _, id in pairs(owned) do
    resources[id] = strings(tag .. 'number:' .. id)
  end
  organizations[organization] = {
    owned = owned, numbers = scores(tag .. 'numbers'), due = scores(tag .. 'due'),
    waiting = scores(tag .. 'waiting'), departures = strings(tag .. 'departures'),
  }
end
return cjson.encode({ areas = areas, organizations = organizations, orders = orders, resources = resources })
"""

_SAVE = """
local saved = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  saved[#saved + 1] = key
  saved[#saved + 1] = math.max(redis.call('PTTL', key), 0)
  saved[#saved + 1] = redis.call('DUMP', key)
end
return saved
"""
_RESTORE = """
redis.call('FLUSHDB')
for at = 1, #ARGV, 3 do
  redis.call('RESTORE', ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
"""


class Area(Struct, frozen=True):
    """The numbers of an area code: in stock, elsewhere, and when something is due for them (Unix ms)."""

    available: dict[str, str]
    unavailable: dict[str, str]
    timers: dict[str, str]


class Organization(Struct, frozen=True):
    """What an organization has, and its open work."""

    owned: dict[str, str]
    numbers: dict[str, str]
    due: dict[str, str]
    waiting: dict[str, str]
    departures: dict[str, str]


class Look(Struct, frozen=True, dict=True):
    """All that the store holds of numbers and orders, at one moment."""

    areas: dict[str, Area]
    organizations: dict[str, Organization]
    orders: dict[str, dict[str, str]]
    resources: dict[str, dict[str, str]]

    @cached_property
    def records(self) -> dict[str, Unavailable]:
        """Give what is known of numbers that are not available."""
        return {
            number: read_record(text.encode())
            for area in self.areas.values()
            for number, text in area.unavailable.items()
        }

    @cached_property
    def available(self) -> dict[str, int]:
        """Give number → attributes of those in stock."""
        return {
            number: int(float(score)) % 2**16
            for area in self.areas.values()
            for number, score in area.available.items()
        }

    def is_kept(self, number: str) -> bool:
        """Tell whether an available number is ours to keep."""
        return bool(self.available[number] & KEPT)


class Step:
    """A command that an actor wants to send."""

    def __init__(self, actor: "Actor", command: Sequence[Argument]) -> None:
        self.actor = actor
        self.command = command
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Actor:
    """A coroutine that goes on when its next step is taken."""

    def __init__(self, name: str, play: "Play", work: Callable[[Store], Awaitable[Any]]) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.taken = 0
        self._work = work
        self._store = _Stopped(self, play)
        self._task: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Let it come to its first command."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> Any:
        return await self._work(self._store)

    @property
    def is_done(self) -> bool:
        """Tell whether it has come to its end; what it sent may still be under way."""
        return self._task is not None and self._task.done()

    @property
    def outcome(self) -> Any:
        """Give what it returned or raised; None when it never came to its end."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception() or self._task.result()

    async def kill(self) -> None:
        """End it where it stands: nothing that it has not sent yet is ever sent."""
        steps, self.steps = self.steps, []
        self._store.is_dead = True
        for step in steps:
            step.reply.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._task is not None and not self._task.cancelled():
            # Nobody else asks what became of it.
            self._task.exception()


class _Stopped(Store):
    """An actor's connection: its commands wait until the test takes them."""

    def __init__(self, actor: Actor, play: "Play") -> None:
        self._actor = actor
        self._play = play
        self.is_dead = False

    def execute(self, *command: Argument) -> asyncio.Future[Any]:
        return self._wait(command)

    def execute_many(self, commands: Sequence[Sequence[Argument]]) -> asyncio.Future[list[Any]]:
        return asyncio.gather(*[self._wait(command) for command in commands])

    def _wait(self, command: Sequence[Argument]) -> asyncio.Future[Any]:
        step = Step(self._actor, command)
        if self.is_dead:
            step.reply.cancel()
        else:
            self._actor.steps.append(step)
        return step.reply


class DirectStore(Store):
    """A connection that waits for each reply.

    While a step is taken there is nobody else who could go on, and a round trip without the event loop takes
    a third of the time.
    """

    def __init__(self, url: str) -> None:
        self._direct = redis.Redis.from_url(url)

    def execute(self, *command: Argument) -> asyncio.Future[Any]:
        return done(lambda: self._run(command))

    def execute_many(self, commands: Sequence[Sequence[Argument]]) -> asyncio.Future[list[Any]]:
        return done(lambda: [self._run(command) for command in commands])

    def _run(self, command: Sequence[Argument]) -> Any:
        return self._direct.execute_command(*command)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        self._direct.close()


class Moment(NamedTuple):
    """A store as it was, and how it came to that."""

    now_ms: int
    trace: tuple[str, ...]
    keys: list[Argument]
    """Of each key its name, how many ms it has left (0 for ever), and its content as `DUMP` gives it."""


class Play:
    """A store, its clock, and what has happened in it."""

    def __init__(self, store: Store) -> None:
        """Prepare; `open` comes first."""
        self.store = store
        self.now_ms = _BEGIN_MS
        self.trace: list[str] = []
        self.actors: list[Actor] = []
        self.after_step: Callable[[Step, Any, Look], None] | None = None
        self.kept: dict[Any, Any] = {}
        """What a test has kept for its next cases."""
        self._scripts: dict[Argument, tuple[str, str]] = {}

    async def open(self, changed: str = "", old: str = "", new: str = "") -> None:
        """Teach the store the scripts, with the test's clock in them; one of them changed, to test a test."""
        self.kept.clear()
        for path in sorted(Path(script.__file__).parent.glob("*.lua")):
            source = script.source_of(path.stem)
            on_our_clock = source.replace(
                "redis.call('TIME')", f"{{ 0, redis.call('GET', '{_CLOCK}') * 1000 }}"
            )
            if path.stem == changed:
                assert old in on_our_clock, f"{changed} has no {old!r} any more"
                on_our_clock = on_our_clock.replace(old, new)
            digest = await self.store.execute("SCRIPT LOAD", on_our_clock)
            real = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            self._scripts[real] = path.stem, digest.decode() if isinstance(digest, bytes) else digest
        self._look = await self.store.execute("SCRIPT LOAD", _LOOK)
        self._restore = await self.store.execute("SCRIPT LOAD", _RESTORE)

    async def begin(self) -> None:
        """Empty the store, and set the clock."""
        await self.store.execute("FLUSHDB")
        self.trace, self.actors = [], []
        self.now_ms = _BEGIN_MS
        await self.store.execute("SET", _CLOCK, self.now_ms)

    async def save(self) -> Moment:
        """Give all that there is, for another play to begin with."""
        return Moment(self.now_ms, tuple(self.trace), await self.store.execute("EVAL", _SAVE, 0))

    async def begin_with(self, moment: Moment) -> None:
        """Have the store and the clock as they were when that was saved."""
        await self.store.execute("EVALSHA", self._restore, 0, *moment.keys)
        self.trace, self.actors = [*moment.trace], []
        self.now_ms = moment.now_ms

    async def end(self) -> None:
        """End all actors."""
        for actor in self.actors:
            await actor.kill()

    def actor(self, name: str, work: Callable[[Store], Awaitable[Any]]) -> Actor:
        """Add an actor, that begins with its first step."""
        actor = Actor(name, self, work)
        self.actors.append(actor)
        return actor

    async def pass_time(self, ms: int) -> None:
        """Move the clock on."""
        self.now_ms += ms
        self.trace.append(f"{ms / 1000:g} s pass")
        await self.store.execute("SET", _CLOCK, self.now_ms)

    async def look(self) -> Look:
        """Read everything."""
        text = await self.store.execute("EVALSHA", self._look, 0)
        # An empty table could be a list, and is written as an object by this encoder.
        return msgspec.json.decode(text, type=Look)

    async def come_to(self, actor: Actor) -> Step | None:
        """Let an actor come to its next command and give it; None when it has come to its end."""
        actor.start()
        loop: Any = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0)
            if loop._ready:
                continue
            # Everybody waits for a reply now.
            passed_over = [step for step in actor.steps if step.command[0] in _PASSED_OVER]
            if not passed_over:
                break
            for step in passed_over:
                actor.steps.remove(step)
                self._answer(step, await self._send(step.command))
        assert actor.steps or actor.is_done, f"{actor.name} waits for something else than the store"
        return actor.steps[0] if actor.steps else None

    async def take(self, step: Step, *, lose_reply: bool = False) -> None:
        """Run an actor's command; it gets the reply, or hears that the store is unavailable."""
        step.actor.steps.remove(step)
        step.actor.taken += 1
        is_watched = step.command[0] == "EVALSHA" and self.after_step is not None
        reply = await self._send(step.command)
        look = await self.look() if is_watched else None
        suffix = " (the reply is lost)" if lose_reply else ""
        self.trace.append(f"{step.actor.name}: {self._name(step.command)} -> {_shown(reply)}{suffix}")
        self._answer(step, StoreUnavailable("the reply was lost") if lose_reply else reply)
        if look is not None and self.after_step is not None:
            self.after_step(step, reply, look)

    def lose(self, step: Step) -> None:
        """Have a command never reach the store; its actor hears that the store is unavailable."""
        step.actor.steps.remove(step)
        step.actor.taken += 1
        self.trace.append(f"{step.actor.name}: {self._name(step.command)} is lost")
        self._answer(step, StoreUnavailable("the command was lost"))

    async def _send(self, command: Sequence[Argument]) -> Any:
        if command[0] == "TIME":
            return [self.now_ms // 1000, self.now_ms % 1000 * 1000]
        if command[0] == "EVALSHA":
            command = ("EVALSHA", self._scripts[command[1]][1], *command[2:])
        try:
            return await self.store.execute(*command)
        except Exception as error:
            # Whatever it is, it is the actor's.
            return error

    def _answer(self, step: Step, reply: Any) -> None:
        if step.reply.done():
            return
        if isinstance(reply, Exception):
            step.reply.set_exception(reply)
        else:
            step.reply.set_result(reply)

    def _name(self, command: Sequence[Argument]) -> str:
        if command[0] != "EVALSHA":
            return " ".join(map(str, command[:2]))
        keys = int(command[2])
        arguments = " ".join(str(argument) for argument in command[3 + keys :])
        return f"{self._scripts[command[1]][0]} {arguments}"

    async def run(self, actor: Actor, steps: int = 10_000, lose_reply_of: int | None = None) -> bool:
        """Take up to so many steps of an actor, in the order it sent them; tell whether it is at its end."""
        for _ in range(steps):
            step = await self.come_to(actor)
            if step is None:
                return True
            await self.take(step, lose_reply=actor.taken == lose_reply_of)
        return await self.come_to(actor) is None

    async def run_past(self, actor: Actor, script_name: str) -> None:
        """Take steps of an actor until it has run a script."""
        while not "".join(self.trace[-1:]).startswith(f"{actor.name}: {script_name} "):
            step = await self.come_to(actor)
            assert step is not None, f"{actor.name} never came to {script_name}"
            await self.take(step)

    async def call(self, name: str, work: Callable[[Store], Awaitable[Any]]) -> Any:
        """Run a coroutine from its beginning to its end, and give what it returned or raised."""
        actor = self.actor(name, work)
        await self.run(actor)
        return actor.outcome


def _shown(reply: Any) -> str:
    if isinstance(reply, Exception):
        return f"{type(reply).__name__}: {reply}"
    if isinstance(reply, list):
        return "[" + ", ".join(map(_shown, reply)) + "]"
    if isinstance(reply, dict):
        return "{" + ", ".join(f"{_shown(name)}: {_shown(value)}" for name, value in reply.items()) + "}"
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    return text if len(text) <= 80 else text[:77] + "..."
