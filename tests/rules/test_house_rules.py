"""What holds for every module, whoever writes it."""

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "worker", "shared", "deploy")
MAY_IMPORT = {
    "api": {"api", "shared"},
    "worker": {"worker", "shared"},
    "shared": {"shared"},
    "deploy": {"deploy", "shared"},
}
READERS_OF_THE_ENVIRONMENT = {
    "shared/settings.py",
    "deploy/cli/child_process.py",
    # Secrets of carriers' sources stand nowhere else: `env:NAME` in a profile.
    "worker/feeds/sources/options.py",
}
QUEUES_OF_ARQ = {"arq:feeds"}
"""Not keys of ours."""
MAX_LINES = 350

MODULES = sorted(
    str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)
SOURCES = MODULES + sorted(str(path.relative_to(ROOT)) for path in (ROOT / "shared").rglob("*.lua"))


@lru_cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imports(module: str) -> Iterator[str]:
    """Give what a module imports, wherever in it: `shared`, `shared.store`, `shared.store.Store`."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def docstrings(tree: ast.Module) -> set[ast.Constant]:
    """Give the string statements: docstrings, and those that describe a name."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def strings(module: str) -> Iterator[str]:
    """Give the texts in a module's code; of an f-string its text with `{}` for each value."""
    tree = tree_of(module)
    ignored = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [value.value if isinstance(value, ast.Constant) else "<>" for value in node.values]
            ignored |= {value for value in node.values if isinstance(value, ast.Constant)}
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in ignored:
            yield node.value


def test_the_modules_are_found() -> None:
    assert {module.split("/")[0] for module in MODULES} == set(PACKAGES)
    assert {"shared/store.py", "api/app.py", "worker/main.py", "deploy/cli/main.py"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_the_packages_it_may_know(module: str) -> None:
    ours = {name.split(".")[0] for name in imports(module)} & {*PACKAGES, "tests"}
    assert ours <= MAY_IMPORT[module.split("/", maxsplit=1)[0]]


def test_the_check_of_imports_sees_them_all() -> None:
    assert "shared.store.Store" in set(imports("shared/search/hints.py"))
    assert "asyncio" in set(imports("shared/search/hints.py"))


@pytest.mark.parametrize("module", sorted({*MODULES} - READERS_OF_THE_ENVIRONMENT))
def test_the_environment_is_read_in_one_place(module: str) -> None:
    names = {node.attr for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)}
    names |= {name.rpartition(".")[2] for name in imports(module)}
    assert not names & {"environ", "environb", "getenv", "getenvb"}


# `{415}:…`, `{feed:…}`, and the families of keys that have no hash tag.
KEY_NAME = re.compile(
    r"\{.*\}:.*|\{\w+:.*\}|(key|keys|sync|feed|org|orgs|arq|events):.*|spool-dir", re.DOTALL
)
# Words that mean many things, and a key only where they stand beside a command or another key.
KEY_WORD = re.compile(r"areas|feeds|keys|orgs|syncs")
COMMAND = re.compile(r"[A-Z]{2,}")


def key_names(module: str) -> set[str]:
    """Give the names of keys that are written in a module."""
    names = {text for text in strings(module) if KEY_NAME.fullmatch(text)}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            names |= key_words(node.args)
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            names |= key_words(node.elts)
    return names


def key_words(neighbours: list[ast.expr]) -> set[str]:
    """Give those of the values in a call or a list that are keys, for a command or a key is beside them."""
    texts = {
        node.value for node in neighbours if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    mentioned = {node.id for value in neighbours for node in ast.walk(value) if isinstance(node, ast.Name)}
    if "store_keys" in mentioned or any(COMMAND.fullmatch(text) for text in texts):
        return {text for text in texts if KEY_WORD.fullmatch(text)}
    return set()


@pytest.mark.parametrize("module", sorted({*MODULES} - {"shared/store_keys.py"}))
def test_keys_of_the_store_are_named_in_one_place(module: str) -> None:
    assert not key_names(module) - QUEUES_OF_ARQ


def test_the_check_of_key_names_would_see_them() -> None:
    assert {
        "{<>}:available",
        "{org:<>}:order:<>",
        "{feed:<>}",
        "key:<>",
        "sync:<>",
        "events:numbers",
        "{events:numbers}:relayed",
        "spool-dir",
    } <= key_names("shared/store_keys.py")


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('store.execute("SMEMBERS", "areas")', {"areas"}),
        ('store.execute_many([("SMEMBERS", "orgs"), ("HGETALL", "keys")])', {"orgs", "keys"}),
        ('script.run(store, ["feeds", store_keys.feed(carrier)], 1)', {"feeds"}),
        ('store.execute("ZCARD", "syncs")', {"syncs"}),
        ('context["feeds"] += 1', set()),
        ('group("keys", help="keys of the API")', set()),
        ('fields = ("areas", "feeds")', set()),
    ],
)
def test_a_word_is_a_key_where_the_store_is_spoken_to(
    code: str, seen: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = ast.parse(code)
    monkeypatch.setitem(globals(), "tree_of", lambda _: tree)
    assert key_names("some module") == seen


def test_every_constant_key_is_a_name_that_the_check_knows() -> None:
    constants = {
        node.value.value
        for node in tree_of("shared/store_keys.py").body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    names = {name for name in constants if isinstance(name, str)}
    assert len(names) > 5
    assert {name for name in names if KEY_NAME.fullmatch(name) or KEY_WORD.fullmatch(name)} == names


@pytest.mark.parametrize("source", SOURCES)
def test_a_file_is_short_enough_to_be_read_at_once(source: str) -> None:
    assert len((ROOT / source).read_text(encoding="utf-8").splitlines()) < MAX_LINES


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree_of(module))
