"""Key records in the process: most requests need not ask the store who is calling."""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import store_keys
from shared.api_keys import ApiKey, find_api_key
from shared.rate_limits import Overrides
from shared.settings import Settings
from shared.store import Store
from shared.store_url import StoreUrl

logger = logging.getLogger(__name__)

_MAX_ENTRIES = 10_000
"""Of keys, and as many again of secrets that are nobody's: about 20 MB."""

_STRANGERS_A_SECOND = 50
"""Secrets that are nobody's, which a process asks the store about; and so many at once."""

_LINK_PAUSE_SECONDS = 1.0


class Caller(Struct, frozen=True):
    """Who is calling, and what limits are set for its organization."""

    key: ApiKey
    overrides: Overrides


class TooManyStrangers(Exception):
    """So many unknown secrets came that no further one is looked up just now."""


class _Entry(Struct, frozen=True):
    caller: Caller | None
    """None: the secret is nobody's, or its key is dead."""
    good_until: float
    """Of the monotonic clock."""


class _Question(Struct, frozen=True):
    """To the store, about a secret."""

    answer: asyncio.Task[_Entry]
    asked_at: float
    """Of the monotonic clock."""
    forgotten: set[str]
    """Ids of keys that changed meanwhile: an answer about one of them is not believed."""


class KeyCache:
    """Digest of a secret → who has it, believed for `key_cache_seconds`, or until the store says otherwise.

    What is known of strangers has a room of its own: however many come, nobody who is known is forgotten
    for them, and they cost the store `_STRANGERS_A_SECOND` questions.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        """Begin empty."""
        self._store = store
        self._pepper = settings.key_pepper
        self._max_age_seconds = settings.key_cache_seconds
        self._callers: OrderedDict[bytes, _Entry] = OrderedDict()
        self._strangers: OrderedDict[bytes, _Entry] = OrderedDict()
        self._questions: dict[bytes, _Question] = {}
        self._strangers_left = float(_STRANGERS_A_SECOND)
        self._counted_at = time.monotonic()

    def known(self, secret: str) -> Caller | None:
        """Return the caller with this secret if its record is in the cache and young enough."""
        entry = self._callers.get(_name_of(secret))
        return entry.caller if entry is not None and time.monotonic() < entry.good_until else None

    async def find(self, secret: str) -> Caller | None:
        """Give who has this secret; None when it is nobody's, or its key is dead.

        Raises:
            TooManyStrangers: it is not known, and was not looked up.
            StoreUnavailable: the store did not answer.
        """
        name = _name_of(secret)
        entry = self._callers.get(name) or self._strangers.get(name)
        if entry is None or time.monotonic() >= entry.good_until:
            entry = await self._asked(name, secret)
        return entry.caller

    def forget(self, key_id: str) -> None:
        """Believe nothing of a key any longer, nor an answer that is still under way."""
        for name, entry in list(self._callers.items()):
            if entry.caller is not None and entry.caller.key.id == key_id:
                del self._callers[name]
        for question in self._questions.values():
            question.forgotten.add(key_id)

    async def _asked(self, name: bytes, secret: str) -> _Entry:
        """Ask the store, once for all who ask the same at the same time."""
        entry = None
        while entry is None:
            question = self._questions.get(name)
            now = time.monotonic()
            # An answer that is slow to come says how things were when it was asked for.
            if question is None or now >= question.asked_at + self._max_age_seconds:
                if name not in self._callers:
                    self._admit_stranger()
                question = self._ask(name, secret)
            # Who goes away takes nobody else's answer.
            entry = await asyncio.shield(question.answer)
            if entry.caller is not None and entry.caller.key.id in question.forgotten:
                entry = None
        return entry

    def _ask(self, name: bytes, secret: str) -> _Question:
        asked_at = time.monotonic()
        answer = asyncio.create_task(self._answer(secret, asked_at))
        question = self._questions[name] = _Question(answer, asked_at, set())
        answer.add_done_callback(lambda _: self._note(name, question))
        return question

    async def _answer(self, secret: str, asked_at: float) -> _Entry:
        found = await find_api_key(self._store, secret, self._pepper)
        # The age counts from before the question: a revocation while it is under way is not missed.
        good_until = asked_at + self._max_age_seconds
        if found is None or not found.key.is_live(found.at_ms):
            return _Entry(None, good_until)
        if found.key.expires_ms is not None:
            good_until = min(good_until, asked_at + (found.key.expires_ms - found.at_ms) / 1000)
        return _Entry(Caller(found.key, found.overrides), good_until)

    def _note(self, name: bytes, question: _Question) -> None:
        """Keep an answer that has come, unless a later question is under way."""
        if self._questions.get(name) is not question:
            return
        del self._questions[name]
        if question.answer.cancelled() or question.answer.exception() is not None:
            return
        entry = question.answer.result()
        if entry.caller is None or entry.caller.key.id not in question.forgotten:
            self._keep(name, entry)

    def _keep(self, name: bytes, entry: _Entry) -> None:
        if entry.caller is not None and name not in self._callers:
            self._strangers_left += 1
        self._callers.pop(name, None)
        self._strangers.pop(name, None)
        room = self._strangers if entry.caller is None else self._callers
        # The newest last, so that who is served goes on being remembered.
        room[name] = entry
        if len(room) > _MAX_ENTRIES:
            room.popitem(last=False)

    def _admit_stranger(self) -> None:
        now = time.monotonic()
        grown = self._strangers_left + (now - self._counted_at) * _STRANGERS_A_SECOND
        self._strangers_left, self._counted_at = min(grown, _STRANGERS_A_SECOND), now
        if self._strangers_left < 1:
            raise TooManyStrangers
        self._strangers_left -= 1


def _name_of(secret: str) -> bytes:
    """Return the name of an entry: not the secret itself, which is in memory only while its request is."""
    return hashlib.sha256(secret.encode()).digest()


async def follow_changes(redis_url: str, timeout_seconds: float, keys: KeyCache) -> None:
    """Forget keys as soon as the store says that they have changed; runs until it is cancelled.

    While the link is cut, nothing is lost but time: records are believed for `key_cache_seconds` only.
    """
    options = StoreUrl.parse(redis_url).client_options
    while True:
        try:
            async with (
                Redis(**options, socket_connect_timeout=timeout_seconds, socket_keepalive=True) as client,
                client.pubsub(ignore_subscribe_messages=True) as link,
            ):
                await link.subscribe(store_keys.API_KEYS_CHANGED)
                async for message in link.listen():
                    keys.forget(message["data"].decode(errors="replace"))
        except (RedisError, OSError) as error:
            logger.debug("no word of changed keys: %s", error)
        await asyncio.sleep(_LINK_PAUSE_SECONDS)
