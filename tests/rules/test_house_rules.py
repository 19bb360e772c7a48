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
READERS_OF_THE_ENVIRONMENT = {"shared/settings.py", "deploy/cli/child_process.py"}
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
    assert "shared.store.Store" in set(imports("shared/search/walk.py"))
    assert "asyncio" in set(imports("shared/search/walk.py"))


@pytest.mark.parametrize("module", sorted({*MODULES} - READERS_OF_THE_ENVIRONMENT))
def test_the_environment_is_read_in_one_place(module: str) -> None:
    names = {node.attr for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)}
    names |= {name.rpartition(".")[2] for name in imports(module)}
    assert not names & {"environ", "environb", "getenv", "getenvb"}


# `{415}:…`, `{feed:…}`, and the families of keys that have no hash tag.
KEY_NAME = re.compile(r"\{.*\}:.*|\{\w+:.*\}|(key|sync|feed|org|arq):.*|areas|feeds|spool-dir", re.DOTALL)


@pytest.mark.parametrize("module", sorted({*MODULES} - {"shared/store_keys.py"}))
def test_keys_of_the_store_are_named_in_one_place(module: str) -> None:
    assert not [text for text in strings(module) if KEY_NAME.fullmatch(text)]


def test_the_check_of_key_names_would_see_them() -> None:
    seen = {text for text in strings("shared/store_keys.py") if KEY_NAME.fullmatch(text)}
    assert {"{<>}:available", "{<>}:also", "{feed:<>}", "key:<>", "sync:<>", "areas", "spool-dir"} <= seen


@pytest.mark.parametrize("source", SOURCES)
def test_a_file_is_short_enough_to_be_read_at_once(source: str) -> None:
    assert len((ROOT / source).read_text(encoding="utf-8").splitlines()) < MAX_LINES


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree_of(module))
