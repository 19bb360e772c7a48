"""The Lua scripts: what their headers say, who runs them, and a store that has forgotten them."""

import ast
import re
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shared import atomic
from shared.atomic.area_operations import search_area
from shared.atomic.feed_operations import (
    FeedRun,
    Overtaken,
    adopt_snapshot,
    claim_feed,
    intend_snapshot,
    keep_snapshot,
    leave_feed,
    raise_fence,
    record_run,
    register_carrier,
    renew_feed,
    stock,
    withdraw,
)
from shared.atomic.script import Script
from shared.store import Argument, Store
from tests.support import put_in_stock

DIRECTORY = Path(str(atomic.__file__)).parent
ROOT = DIRECTORY.parents[1]
WRAPPER_MODULES = sorted(DIRECTORY.glob("*_operations.py"))
SCRIPTS = sorted(path.stem for path in DIRECTORY.glob("*.lua"))
RUN = FeedRun("acme", 1, "a-sync")
PACKED = struct.pack("<2I", 5_550_123, 5_550_124)


async def claimed(store: Store) -> FeedRun:
    await store.execute("RPUSH", "{feed:acme}:queue", "a-sync")
    run = await claim_feed(store, "acme", 60_000)
    assert run is not None
    return run


async def do_search_area(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    windows = [(2_000_000, 10**7, 8 * 10**6)]
    _, numbers = await search_area(store, "415", windows, "*", 1, (0, 0), b"")
    assert numbers == [b"+14155550123"]


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
    await adopt_snapshot(store, await claimed(store), [7, 8])
    assert await store.execute("HGET", "{feed:acme}", "applied") == b"1"


async def do_keep_snapshot(store: Store) -> None:
    await keep_snapshot(store, await claimed(store), ["415:1", b"bitmap", "415:2", b"other"])
    assert await store.execute("HLEN", "{feed:acme}:snapshot:1") == 2


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
    await stock(store, RUN, 64, "415", PACKED)
    assert await store.execute("ZCARD", "{415}:available") == 2


async def do_withdraw(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123, 5_550_125])
    await withdraw(store, RUN, 1, "415", PACKED)
    assert await store.execute("ZRANGE", "{415}:available", 0, -1) == [b"+14155550125"]


EXERCISES: dict[str, Callable[[Store], Awaitable[None]]] = {
    name.removeprefix("do_"): function for name, function in globals().items() if name.startswith("do_")
}


class Header:
    """What the comment at the top of a script says."""

    def __init__(self, name: str) -> None:
        self.source = (DIRECTORY / f"{name}.lua").read_text(encoding="ascii")
        lines = self.source.splitlines()
        self.first, self.lines = lines[0], []
        for line in lines[1:]:
            if not line.startswith("--"):
                break
            self.lines.append(line)

    def entries(self, heading: str) -> list[str]:
        """Give the entries of KEYS or ARGV: "1 {npa}:available, sorted set…", "6... windows…"."""
        texts, inside = [], False
        for line in self.lines:
            if word := re.match(r"-- ([A-Z]+) ", line):
                inside = word[1] == heading
            text = line[11:] if inside else ""
            if re.match(r"\d+(\.\.\.)? ", text):
                texts.append(text)
        return texts

    def used(self, table: str) -> int:
        """Give the highest index that the code uses of KEYS or ARGV."""
        return max(int(index) for index in re.findall(rf"{table}\[(\d+)\]", self.source))


async def calls_of(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int]]:
    """Exercise a script's wrapper; give the keys and the number of arguments of each run."""
    calls = []
    run = Script.run

    async def recorded(self: Script, store: Store, keys: list[str], *arguments: Argument) -> Any:
        if self.name == name:
            calls.append((keys, len(arguments)))
        return await run(self, store, keys, *arguments)

    monkeypatch.setattr(Script, "run", recorded)
    await EXERCISES[name](store)
    assert calls
    return calls


def test_every_script_is_exercised_here() -> None:
    assert sorted(EXERCISES) == SCRIPTS


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


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_wrapper_passes_the_keys_and_as_many_arguments_as_the_header_says(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = Header(name)
    keys, arguments = header.entries("KEYS"), header.entries("ARGV")
    for passed_keys, passed_arguments in await calls_of(store, name, monkeypatch):
        for place, key in enumerate(passed_keys):
            documented = keys[min(place, len(keys) - 1)].split(" ", 1)[1].split(",")[0]
            example = documented.replace("npa", "415").replace("carrier", "acme").replace(":id", ":a-sync")
            assert re.fullmatch(re.escape(example).replace(":N", r":\d+"), key)
        for passed, entries in ((len(passed_keys), keys), (passed_arguments, arguments)):
            assert passed >= len(entries) if "..." in entries[-1] else passed == len(entries)


@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_code_uses_all_that_the_header_lists_and_nothing_else(name: str, table: str) -> None:
    header = Header(name)
    entries = header.entries(table)
    fixed = [entry for entry in entries if "..." not in entry.split()[0]]
    assert header.used(table) == len(fixed)
    indices = {int(index) for index in re.findall(rf"{table}\[(\d+)\]", header.source)}
    assert indices == set(range(1, len(fixed) + 1))
    assert (f"#{table}" in header.source) == (len(entries) > len(fixed))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_touches_no_key_but_those_it_is_given(name: str) -> None:
    source = Header(name).source
    commands = re.findall(r"redis\.call\(\s*'([A-Z]+)'\s*(?:,\s*([^,)\s]+))?", source)
    assert commands
    given = {*re.findall(r"KEYS\[[^\]]+\]", source)}
    given |= set(re.findall(r"\b(available|also|fence|feed|feeds|queue|snapshot|sync)\b", source))
    assert {key for command, key in commands if command != "TIME"} <= given
    assert source.count("redis.") == source.count("redis.call(") == len(commands)


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
        if isinstance(function, ast.AsyncFunctionDef):
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


@pytest.mark.parametrize("name", SCRIPTS)
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
