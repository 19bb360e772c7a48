"""The Lua scripts: what their headers say, who runs them, and a store that has forgotten them."""

import ast
import re
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared import store_keys
from shared.atomic.area_operations import confirm, give_back, hold, restock, take_back
from shared.atomic.event_operations import forget_consumer, relay_events
from shared.atomic.feed_operations import (
    FeedRun,
    Offerer,
    Overtaken,
    adopt_snapshot,
    claim_feed,
    forget_removals,
    intend_snapshot,
    leave_feed,
    let_removals_wait,
    mark_sync,
    raise_fence,
    record_run,
    register_carrier,
    renew_feed,
    stock,
    withdraw,
    write_feed,
)
from shared.atomic.key_operations import Actor, create_key, note_key_uses, revoke_key, rotate_key
from shared.atomic.order_operations import (
    Attempt,
    end_cancel,
    fail_order,
    forget_order,
    keep_answer,
    let_wait,
    pick_numbers,
    take_order,
)
from shared.atomic.permit_operations import take_permit
from shared.atomic.repair_operations import (
    Span,
    Trace,
    index_resource,
    mend_departures,
    mend_order,
    mend_timers,
    reassign,
    trace_numbers,
    unlist,
)
from shared.atomic.request_operations import Begun, Repeated, Running, begin_request, end_request
from shared.atomic.resource_operations import (
    Cancelled,
    Patched,
    cancel_order,
    end_departures,
    patch_number,
    read_fields,
    release_numbers,
)
from shared.atomic.script import Script, source_of
from shared.store import Argument, Store
from tests.store.lua_text import (
    DIRECTORY,
    FUNCTION,
    Header,
    code_of,
    commands_in,
    included,
    keys_touched,
    numbers_kept_as_text,
    strange_keys,
)
from tests.store.ordering import (
    AREA,
    MINUTE_MS,
    NUMBER,
    ORDER,
    ORGANIZATION,
    QUARANTINE,
    REQUEST,
    SECOND,
    commit,
    complete,
    deadline,
    end_attempt,
    end_timer,
    offer,
    open_,
    open_bulk,
    put,
    resource_id,
)
from tests.support import put_in_stock

ROOT = DIRECTORY.parents[1]
WRAPPER_MODULES = sorted(DIRECTORY.glob("*_operations.py"))
SCRIPTS = sorted(path.stem for path in DIRECTORY.glob("*.lua"))
RUN = FeedRun("acme", 1, "read", "a-sync")
OFFERER = Offerer(RUN, 1, ",1,")
PACKED = struct.pack("<2I", 5_550_123, 5_550_124)
INCLUDES = sorted(path.stem for path in (DIRECTORY / "include").glob("*"))


async def claimed(store: Store) -> FeedRun:
    await store.execute("RPUSH", "{feed:acme}:queue", RUN.work)
    run = await claim_feed(store, "acme", 60_000)
    assert run is not None
    return run


async def do_register_carrier(store: Store) -> None:
    assert await register_carrier(store, "acme") == 1


async def do_claim_feed(store: Store) -> None:
    assert await claimed(store) == RUN


async def do_renew_feed(store: Store) -> None:
    await renew_feed(store, await claimed(store), 60_000)


async def do_intend_snapshot(store: Store) -> None:
    await intend_snapshot(store, await claimed(store))
    assert await store.execute("HGET", "{feed:acme}", "intended") == b"1"


async def do_adopt_snapshot(store: Store) -> None:
    await adopt_snapshot(store, await claimed(store), "a-sync", 6, [7, 8], protected=0)
    assert await store.execute("HGET", "{feed:acme}", "applied") == b"1"


async def do_write_feed(store: Store) -> None:
    snapshot = store_keys.feed_snapshot("acme", 1)
    await write_feed(store, await claimed(store), snapshot, ["415:1", b"bitmap", "415:2", b"other"])
    assert await store.execute("HLEN", snapshot) == 2


async def do_let_removals_wait(store: Store) -> None:
    await let_removals_wait(store, await claimed(store))
    assert await store.execute("SMEMBERS", "{feed:acme}:waiting") == {b"a-sync"}


async def do_forget_removals(store: Store) -> None:
    run = await claimed(store)
    await let_removals_wait(store, run)
    await forget_removals(store, run, ["a-sync", "another"])
    assert await store.execute("EXISTS", "{feed:acme}:waiting") == 0


async def do_mark_sync(store: Store) -> None:
    await record_run(store, RUN, ["state", "waiting"])
    assert await mark_sync(store, "a-sync", ("waiting", "queued"), "", "now", generation=1)


async def do_record_run(store: Store) -> None:
    await record_run(store, RUN, ["state", "running", "read", 7])
    assert await store.execute("HGET", "sync:a-sync", "read") == b"7"


async def do_leave_feed(store: Store) -> None:
    await leave_feed(store, await claimed(store))
    assert await store.execute("LLEN", "{feed:acme}:queue") == 0


async def do_raise_fence(store: Store) -> None:
    await raise_fence(store, RUN, 1, "415")
    with pytest.raises(Overtaken):
        await raise_fence(store, RUN._replace(generation=0), 1, "415")


async def do_stock(store: Store) -> None:
    await stock(store, OFFERER, "415", PACKED)
    assert await store.execute("ZCARD", "{415}:available") == 2


async def do_withdraw(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123, 5_550_125])
    await withdraw(store, OFFERER, "415", PACKED)
    assert await store.execute("ZRANGE", "{415}:available", 0, -1) == [b"+14155550125"]


async def do_hold(store: Store) -> None:
    await offer(store, NUMBER, SECOND)
    due_ms = await deadline(store)
    for order in ("one", "another"):
        await hold(store, AREA, order, 1, ORGANIZATION, due_ms, [NUMBER, SECOND])
    assert await store.execute("ZCARD", "{415}:timers") == 2


async def do_confirm(store: Store) -> None:
    await put(store, NUMBER, "held")
    assert await confirm(store, AREA, ORDER.id, [NUMBER, SECOND]) == 1


async def do_give_back(store: Store) -> None:
    await put(store, NUMBER, "held")
    assert await give_back(store, AREA, ORDER.id, 1, "refused", [NUMBER, SECOND]) == 1


async def do_take_back(store: Store) -> None:
    await put(store, NUMBER, "assigned")
    assert await take_back(store, AREA, ORDER.id, QUARANTINE, [NUMBER, SECOND]) == 1


async def do_restock(store: Store) -> None:
    await put(store, NUMBER, "quarantined")
    await end_timer(store, NUMBER)
    assert await restock(store, AREA, [NUMBER, SECOND]) == 1


async def do_open_order(store: Store) -> None:
    assert (await open_(store, request=REQUEST)).number == 1


async def do_take_order(store: Store) -> None:
    await open_(store)
    await end_attempt(store, ORDER)
    assert isinstance(await take_order(store, ORDER, MINUTE_MS), Attempt)


async def do_pick_numbers(store: Store) -> None:
    assert await pick_numbers(store, await open_bulk(store), MINUTE_MS, [NUMBER, SECOND])


async def do_let_wait(store: Store) -> None:
    assert await let_wait(store, await open_bulk(store, request=REQUEST), REQUEST, b"wait")


async def do_commit_order(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    assert await commit(store, attempt, NUMBER, SECOND, request=REQUEST) == "complete"


async def do_fail_order(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    assert await fail_order(store, attempt, REQUEST, "late", b"") == "failed"


async def do_cancel_order(store: Store) -> None:
    await offer(store, NUMBER)
    await complete(store, ORDER, NUMBER)
    ids = [resource_id(ORDER, NUMBER)]
    cancelled = await cancel_order(store, ORDER, "complete", REQUEST, MINUTE_MS, 0, ids)
    assert isinstance(cancelled, Cancelled)


async def do_end_cancel(store: Store) -> None:
    await do_cancel_order(store)
    assert not await end_cancel(store, ORDER)


async def do_forget_order(store: Store) -> None:
    await open_(store)
    assert not await forget_order(store, ORDER)


async def do_keep_answer(store: Store) -> None:
    attempt = await open_(store, request=REQUEST)
    assert await keep_answer(store, attempt.order, REQUEST, b"first") == b"first"
    assert await keep_answer(store, attempt.order, REQUEST, b"second") == b"first"


async def do_release_numbers(store: Store) -> None:
    await offer(store, NUMBER)
    await complete(store, ORDER, NUMBER)
    ids = [resource_id(ORDER, NUMBER), "unknown"]
    released = await release_numbers(
        store, ORGANIZATION, ids, QUARANTINE, MINUTE_MS, REQUEST, keep_only_a_release=True
    )
    assert released.released == ids[:1]


async def do_end_departures(store: Store) -> None:
    await store.execute("HSET", "{org:buyer}:departures", NUMBER, "a departure")
    assert await end_departures(store, ORGANIZATION, [(NUMBER, "a departure")]) == 1


async def do_patch_number(store: Store) -> None:
    await offer(store, NUMBER)
    await complete(store, ORDER, NUMBER)
    changes = {"label": "front desk", "inbound_url": ""}
    patched = await patch_number(store, ORGANIZATION, resource_id(ORDER, NUMBER), changes, REQUEST)
    assert isinstance(patched, Patched)


async def do_relay_events(store: Store) -> None:
    entries = [(b"1-0", {b"from": b"held", b"to": b"assigned"}), (b"2-0", {b"from": b"assigned"})]
    assert await relay_events(store, AREA, b"", entries) == 2
    assert await store.execute("XLEN", "events:numbers") == 2


async def do_forget_consumer(store: Store) -> None:
    await store.execute("XGROUP", "CREATE", "events:orders", "readers", "0", "MKSTREAM")
    await store.execute("XGROUP", "CREATECONSUMER", "events:orders", "readers", "one")
    assert await forget_consumer(store, "readers", b"one")
    assert await store.execute("XINFO", "CONSUMERS", "events:orders", "readers") == []


async def do_read_fields(store: Store) -> None:
    await store.execute("HSET", "{org:buyer}:number:1", "number", NUMBER)
    keys = ["{org:buyer}:number:1", "{org:buyer}:number:2"]
    assert await read_fields(store, keys, "number", "label") == [[NUMBER.encode(), None], [None, None]]


async def do_unlist(store: Store) -> None:
    await offer(store, NUMBER, having=0)
    await offer(store, SECOND)
    assert await unlist(store, AREA, [NUMBER, SECOND]) == 1


async def do_mend_timers(store: Store) -> None:
    await put(store, NUMBER, "held")
    await store.execute("DEL", "{415}:timers")
    span = Span(MINUTE_MS, MINUTE_MS)
    assert await mend_timers(store, AREA, span, span, [NUMBER, SECOND]) == 1


async def do_reassign(store: Store) -> None:
    await offer(store, NUMBER)
    assert await reassign(store, AREA, NUMBER, ORDER, 1)


async def do_index_resource(store: Store) -> None:
    await store.execute("HSET", "{org:buyer}:number:1", "number", NUMBER)
    assert await index_resource(store, ORGANIZATION, NUMBER, "1") == 2


async def do_mend_order(store: Store) -> None:
    await open_(store)
    await store.execute("DEL", "{org:buyer}:due")
    assert await mend_order(store, ORDER) == 1


async def do_mend_departures(store: Store) -> None:
    await store.execute("HSET", "{org:buyer}:departures", NUMBER, "a departure")
    assert await mend_departures(store, ORGANIZATION, [NUMBER, SECOND]) == 1


async def do_trace_numbers(store: Store) -> None:
    await open_(store)
    claims = [(NUMBER, ORDER.id), (SECOND, ORDER.id)]
    traces = [Trace("pending", is_named=True), Trace("pending", is_named=False)]
    assert await trace_numbers(store, ORGANIZATION, claims) == traces


async def begun(store: Store) -> Begun:
    begun = await begin_request(store, ORGANIZATION, REQUEST, "a-sync", MINUTE_MS)
    assert isinstance(begun, Begun)
    return begun


async def do_begin_request(store: Store) -> None:
    assert (await begun(store)).id == "a-sync"
    running = await begin_request(store, ORGANIZATION, REQUEST, "another", MINUTE_MS)
    assert isinstance(running, Running)
    assert 0 < running.for_ms <= MINUTE_MS


async def do_end_request(store: Store) -> None:
    assert await end_request(store, ORGANIZATION, REQUEST, await begun(store), b"answer")
    again = await begin_request(store, ORGANIZATION, REQUEST, "another", MINUTE_MS)
    assert again == Repeated(b"answer")


async def created(store: Store) -> None:
    record = b'{"label": null, "digest": "one", "prefix": "am_live_0000", "scopes": ["numbers:read"]}'
    await create_key(store, ORGANIZATION, "a-key", record, 10, Actor("command line"))


async def do_create_key(store: Store) -> None:
    await created(store)
    assert await store.execute("HKEYS", "{org:buyer}:keys") == [b"a-key"]


async def do_rotate_key(store: Store) -> None:
    await created(store)
    written = await rotate_key(store, ORGANIZATION, "a-key", "two", "am_live_1111", Actor("a-key", "request"))
    assert written is not None
    assert written.dead_digest == "one"


async def do_revoke_key(store: Store) -> None:
    await created(store)
    assert await revoke_key(store, ORGANIZATION, "a-key", Actor("a-key", "request"))


async def do_note_key_uses(store: Store) -> None:
    await created(store)
    await note_key_uses(store, ORGANIZATION, [("a-key", 2), ("another", 3)])
    assert await store.execute("HGETALL", "{org:buyer}:keys:used") == {b"a-key": b"2"}


async def do_take_permit(store: Store) -> None:
    permits = [await take_permit(store, ORGANIZATION, "search", 60_000_000, 1).wait() for _ in range(2)]
    assert [permit.is_granted for permit in permits] == [True, False]


EXERCISES: dict[str, Callable[[Store], Awaitable[None]]] = {
    name.removeprefix("do_"): function for name, function in globals().items() if name.startswith("do_")
}
EXERCISED = sorted(EXERCISES.keys() & {*SCRIPTS})


# What stands in the headers for the part of a key that differs, and what the exercises have there.
PATTERNS = {
    "npa": "415",
    "carrier": "acme",
    "id": "a-sync",
    "X": ORGANIZATION,
    "ID": ORDER.id,
    "DIGEST": "(digest|none)",
    "RID": r"\S+",
    "N": r"\d+",
    "SYNC": r"\S+",
    "PLACE": r"\S+",
    "NAME": "search",
}


def pattern_of(documented: str) -> str:
    """Give the regular expression of the keys that a header means by `{org:X}:number:RID`."""
    parts = re.split(r"(\w+)", documented)
    return "".join(PATTERNS.get(part, re.escape(part)) for part in parts)


async def calls_of(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int]]:
    """Exercise a script's wrapper; give the keys and the number of arguments of each run."""
    calls = []

    def recording(send: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(self: Script, store: Store, keys: list[str], *arguments: Argument) -> Any:
            if self.name == name:
                calls.append((keys, len(arguments)))
            return send(self, store, keys, *arguments)

        return recorded

    monkeypatch.setattr(Script, "start", recording(Script.start))
    monkeypatch.setattr(Script, "run", recording(Script.run))
    await EXERCISES[name](store)
    assert calls
    return calls


def test_every_script_is_exercised_here() -> None:
    missing, of_nothing = {*SCRIPTS} - EXERCISES.keys(), EXERCISES.keys() - {*SCRIPTS}
    assert not missing, f"write do_{', do_'.join(sorted(missing))}"
    assert not of_nothing


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_declares_itself_so_that_the_store_refuses_it_whole_when_memory_is_short(name: str) -> None:
    assert re.fullmatch(r"#!lua( flags=no-writes)?", Header(name).first)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_header_names_the_script_and_says_what_it_takes_gives_and_keeps(name: str) -> None:
    header = Header(name)
    assert re.match(rf"-- {name}: [a-z].*\S", header.lines[0])
    headings = [word[1] for line in header.lines if (word := re.match(r"-- ([A-Z]+) ", line))]
    assert headings == ["KEYS", "ARGV", "RETURNS", "INVARIANT"]
    assert all(re.match(r"-- [A-Z]+ +\S", line) for line in header.lines if re.match(r"-- [A-Z]+ ", line))


@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_keys_and_arguments_are_numbered_from_one_and_only_the_last_may_repeat(name: str, table: str) -> None:
    numbers = [entry.split()[0] for entry in Header(name).entries(table)]
    assert numbers
    assert [int(number.removesuffix("...")) for number in numbers] == list(range(1, len(numbers) + 1))
    assert not any(number.endswith("...") for number in numbers[:-1])


@pytest.mark.parametrize("name", EXERCISED)
async def test_a_wrapper_passes_the_keys_and_as_many_arguments_as_the_header_says(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = Header(name)
    keys, arguments = header.entries("KEYS"), header.entries("ARGV")
    for passed_keys, passed_arguments in await calls_of(store, name, monkeypatch):
        for place, key in enumerate(passed_keys):
            documented = keys[min(place, len(keys) - 1)].split(" ", 1)[1].split(",")[0]
            assert re.fullmatch(pattern_of(documented), key)
        for passed, entries in ((len(passed_keys), keys), (passed_arguments, arguments)):
            assert passed >= len(entries) if "..." in entries[-1] else passed == len(entries)


@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_code_uses_all_that_the_header_lists_and_nothing_else(name: str, table: str) -> None:
    header = Header(name)
    entries = header.entries(table)
    fixed = [entry for entry in entries if "..." not in entry.split()[0]]
    assert header.used(table) == set(range(1, len(fixed) + 1))
    assert header.uses_the_rest(table) == (len(entries) > len(fixed))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_touches_no_key_but_those_it_is_given(name: str) -> None:
    header = Header(name)
    code = code_of(header.source)
    assert keys_touched(code, header.includes())
    assert strange_keys(code, header.includes()) == []
    commands = commands_in(code)
    assert all(re.fullmatch(r"'[A-Z]+'", command[0]) for command in commands)
    assert code.count("redis.") == len(commands)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("redis.call('GET', KEYS[1])", []),
        ("redis.call('GET', one)", []),
        ("redis.call('GET', KEYS[3 + i])", []),
        ("redis.call('GET', keys.first)", []),
        ("redis.call('TIME')", []),
        ("redis.call('GET', number)", ["number"]),
        ("redis.call('GET', '{415}:fence')", ["'{415}:fence'"]),
        ("redis.call('GET', one .. 'x')", ["one .. 'x'"]),
        ("redis.call('DEL', mixed.second)", ["mixed.second"]),
        ("tell(two, number, 'from', 'to', record, now_ms, 'cause')", []),
        ("tell(number, number, 'from', 'to', record, now_ms, 'cause')", ["number"]),
        ("local function own(key)\n  redis.call('DEL', key)\nend\nown(two)", []),
        ("local function own(key)\n  redis.call('DEL', key)\nend\nown(number)", ["number"]),
    ],
)
def test_the_check_of_keys_would_see_strange_ones(line: str, found: list[str]) -> None:
    before = """
local one, two, number =
  KEYS[1], KEYS[2], ARGV[1]
local keys, mixed = { first = one, second = two }, { first = one, second = number }
"""
    assert strange_keys(before + line, ["event"]) == found


@pytest.mark.parametrize("name", INCLUDES)
def test_an_include_touches_no_key_but_the_parameters_of_its_functions(name: str) -> None:
    code = included(name)
    assert not re.search(r"\b(KEYS|ARGV)\b", code)
    assert strange_keys(code, []) == []
    within = sum(len(commands_in(body)) for _, _, body in FUNCTION.findall(code))
    assert code.count("redis.") == within


def test_every_include_is_a_file_that_some_script_includes() -> None:
    assert {*INCLUDES} == {include for name in SCRIPTS for include in Header(name).includes()}


@pytest.mark.parametrize("name", INCLUDES)
def test_an_include_begins_with_what_it_is_for_and_includes_nothing(name: str) -> None:
    text = (DIRECTORY / "include" / f"{name}.lua").read_text(encoding="ascii")
    assert re.match(r"-- [A-Z].*[.:]", text)
    assert "-- include" not in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_includes_nothing_twice_and_nothing_that_it_does_not_need(name: str) -> None:
    includes = Header(name).includes()
    assert len({*includes}) == len(includes)
    whole = source_of(name)
    assert "-- include" not in whole
    code = code_of(whole)
    for include in includes:
        defined = re.findall(
            r"^local (?:function )?([\w, ]+?)(?:\(.*| = .*)$", included(include), re.MULTILINE
        )
        names = [one for names in defined for one in names.split(", ")]
        assert any(len(re.findall(rf"\b{one}\b", code)) > 1 for one in names), include


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_number_is_kept_as_the_text_that_redis_makes_of_it(name: str) -> None:
    header = Header(name)
    assert numbers_kept_as_text(code_of(header.source), header.includes()) == []


@pytest.mark.parametrize("name", INCLUDES)
def test_no_include_keeps_a_number_of_its_own_as_text(name: str) -> None:
    assert numbers_kept_as_text(included(name), []) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("redis.call('HSET', order, 'due_ms', due_ms)", ["due_ms"]),
        ("redis.call('HSET', order, 'due_ms', now_ms + 5)", ["now_ms + 5"]),
        ("redis.call(\n  'XADD', events, '*', 'time', now_ms\n)", ["now_ms"]),
        ("redis.call('HSET', order, 'due_ms', ms_text(now_ms + 5), 'attempt', 1)", []),
        ("redis.call('HSET', order, 'due_ms', given_ms)", []),
        ("redis.call('ZADD', due, now_ms + 5, id)", []),
        ("local list = {}\nlist[1], list[2] = id, now_ms\nredis.call('HSET', due, unpack(list))", ["list"]),
        ("tell_count(events, 'from', 'to', carrier, now_ms, now_ms, 'feed')", ["now_ms"]),
    ],
)
def test_the_check_of_numbers_as_texts_would_see_them(line: str, found: list[str]) -> None:
    before = "local now_ms, given_ms = read_clock_ms(), ARGV[1]\nlocal due_ms = now_ms + tonumber(ARGV[2])\n"
    assert numbers_kept_as_text(before + line, ["feed_event"]) == found


def wrappers() -> dict[str, list[str]]:
    """Give, for each script that a module of wrappers names, the functions that run it."""
    users: dict[str, list[str]] = {}
    for module in WRAPPER_MODULES:
        users |= wrappers_in(ast.parse(module.read_text(encoding="utf-8")))
    return users


def wrappers_in(tree: ast.Module) -> dict[str, list[str]]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            call, (target,) = node.value, node.targets
            if isinstance(call.func, ast.Name) and call.func.id == "Script":
                assert isinstance(target, ast.Name)
                (argument,) = call.args
                assert isinstance(argument, ast.Constant)
                assert argument.value not in names.values()
                names[target.id] = str(argument.value)
    users: dict[str, list[str]] = {script: [] for script in names.values()}
    for function in ast.walk(tree):
        if isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef):
            used = [node.id for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in names]
            for name in used:
                users[names[name]].append(function.name)
    return users


def test_every_script_has_exactly_one_wrapper_which_bears_its_name() -> None:
    assert wrappers() == {name: [name] for name in SCRIPTS}


def test_no_other_module_runs_a_script() -> None:
    allowed = {*WRAPPER_MODULES, DIRECTORY / "script.py"}
    others = [
        path
        for package in ("api", "worker", "shared", "deploy")
        for path in (ROOT / package).rglob("*.py")
        if path not in allowed
    ]
    assert len(others) > 20
    for path in others:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bScript\(|atomic\.script|register_script|\.lua\b", text), path
        assert not re.search(r"""\(\s*["'](EVAL|EVALSHA|FCALL)(_RO)?["']""", text), path


@pytest.mark.parametrize("name", EXERCISED)
async def test_a_store_that_has_forgotten_its_scripts_learns_them_again(store: Store, name: str) -> None:
    await EXERCISES[name](store)
    await store.execute("FLUSHALL")
    await store.execute("SCRIPT", "FLUSH")
    await EXERCISES[name](store)
    # And once it has learned one, the digest is enough.
    await store.execute("CONFIG", "RESETSTAT")
    await store.execute("FLUSHALL")
    await EXERCISES[name](store)
    assert "cmdstat_eval" not in await store.execute("INFO", "commandstats")
