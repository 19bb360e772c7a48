"""Reading the Lua scripts as text: their headers, and what their code does with keys and numbers."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from shared import atomic

DIRECTORY = Path(str(atomic.__file__)).parent


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

    def used(self, table: str) -> set[int]:
        """Give the indices of KEYS or ARGV that the code names."""
        return {int(index) for index in re.findall(rf"{table}\[(\d+)\]", self.source)}

    def uses_the_rest(self, table: str) -> bool:
        """Tell whether the code goes through KEYS or ARGV."""
        return bool(re.search(rf"#{table}\b|\b{table}\[[a-z]|unpack\({table}\b", self.source))

    def includes(self) -> list[str]:
        return re.findall(r"-- include (\S+)", self.source)


CALL = re.compile(r"redis\.call\(")
FUNCTION = re.compile(r"^local function (\w+)\(([^)]*)\)\n(.*?)^end$", re.MULTILINE | re.DOTALL)


def code_of(text: str) -> str:
    return re.sub(r"--.*", "", text)


def included(name: str) -> str:
    return code_of((DIRECTORY / "include" / f"{name}.lua").read_text(encoding="ascii"))


def split_list(text: str) -> list[str]:
    """Split a list of expressions at the commas that are not within brackets or texts."""
    items, depth, quoted = [""], 0, False
    for sign in text:
        if sign == "'":
            quoted = not quoted
        elif not quoted:
            depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0 and not quoted:
            items.append("")
        else:
            items[-1] += sign
    return [item.strip() for item in items]


def arguments_at(code: str, begin: int) -> list[str]:
    """Give the arguments of the call whose bracket was opened just before."""
    depth, end = 1, begin
    while depth:
        depth += (code[end] in "([{") - (code[end] in ")]}")
        end += 1
    return split_list(code[begin : end - 1])


def commands_in(code: str) -> list[list[str]]:
    """Give the commands: name, key and arguments, as they are written."""
    return [arguments_at(code, call.end()) for call in CALL.finditer(code)]


def assignments(code: str) -> Iterator[tuple[str, str]]:
    """Give each name that is given a value, with the expression; a table's, for what is put into it."""
    joined = re.sub(r"([=,({])\n\s*", r"\1 ", code)
    for names, values in re.findall(r"^\s*(?:local )?(\w[^=~<>(]*?) = (.+)$", joined, re.MULTILINE):
        expressions = split_list(values)
        for place, name in enumerate(names.split(", ")):
            yield base_of(name), expressions[min(place, len(expressions) - 1)]


def base_of(expression: str) -> str:
    """Give the table in which something is: `keys` of `keys.due` and of `keys[i]`."""
    return re.split(r"[.\[]", expression)[0]


def is_key(expression: str, keys: set[str]) -> bool:
    is_name = re.fullmatch(r"\w+(\.\w+|\[[^\]]+\])?", expression)
    return bool(is_name) and base_of(expression) in {*keys, "KEYS"}


def keys_in(code: str) -> set[str]:
    """Give the names that stand for a key, or for a table of nothing but keys."""
    values: dict[str, list[str]] = {}
    for name, value in assignments(code):
        table = re.fullmatch(r"\{(.*)\}", value)
        inside = [part.rpartition(" = ")[2].strip() for part in split_list(table[1])] if table else [value]
        values.setdefault(name, []).extend(part for part in inside if part)
    found: set[str] = set()
    for name, parts in values.items():
        if parts and all(is_key(part, found) for part in parts):
            found.add(name)
    return found


def parameters_of(code: str, wanted: Callable[[list[str]], list[str]]) -> dict[str, list[int]]:
    """Give, for each function of the code, the places of the parameters that its commands want."""
    functions = {}
    for function, parameters, body in FUNCTION.findall(code):
        used = {base_of(argument) for command in commands_in(body) for argument in wanted(command)}
        functions[function] = [
            place for place, parameter in enumerate(split_list(parameters)) if parameter in used
        ]
    return functions


def passed_to(code: str, functions: dict[str, list[int]]) -> Iterator[str]:
    """Give what is passed in these places of the functions' parameters."""
    for function, places in functions.items():
        for call in re.finditer(rf"(?<!function )\b{function}\(", code):
            arguments = arguments_at(code, call.end())
            yield from (arguments[place] for place in places)


def keys_touched(code: str, includes: list[str]) -> list[str]:
    """Give what stands for a key in commands; for a function's parameter, what is passed to it."""
    touched = []
    for _, parameters, body in [*FUNCTION.findall(code), ("", "", FUNCTION.sub("", code))]:
        keys = [key for command in commands_in(body) for key in key_in(command)]
        touched += [key for key in keys if base_of(key) not in split_list(parameters)]
    for functions in (code, *map(included, includes)):
        touched += passed_to(code, parameters_of(functions, key_in))
    return touched


def strange_keys(code: str, includes: list[str]) -> list[str]:
    keys = keys_in(code)
    return [key for key in keys_touched(code, includes) if not is_key(key, keys)]


def key_in(command: list[str]) -> list[str]:
    # A channel is no key: it is in no slot, and may be named as an argument.
    if command[0] == "'PUBLISH'":
        return []
    has_subcommand = command[0] == "'XGROUP'"
    return command[2:3] if has_subcommand else command[1:2]


# Redis 7.2 may write a Lua number that is a round one as 1.7e+12. A sorted set reads that, and a reply is an
# integer; what is kept as text has to be formatted. Small numbers are written as they are.
KEEPS_TEXT = {"HSET", "HSETNX", "HMSET", "SET", "SETEX", "XADD", "SADD", "RPUSH", "LPUSH"}
SMALL_NUMBERS = {"ordinal", "count", "added", "#gone"}
MAKES_A_NUMBER = re.compile(r"tonumber\(|read_clock_ms\(|math\.|\S [-+*/%] \S|#\w")
IS_TEXT = re.compile(
    r"'[^']*'|\d{1,6}|(ms_text|score_of|text_of|string\.format|table\.concat|cmsgpack\.pack)\(.*\)"
    r"|ARGV\[.*\]|unpack\(ARGV\b.*\)|.* \.\. .*"
)


def kept_in(command: list[str]) -> list[str]:
    """Give what a command keeps as text; of a whole list, the list."""
    if command[0].strip("'") not in KEEPS_TEXT:
        return []
    return [re.sub(r"^unpack\((\w+).*\)$", r"\1", argument) for argument in command[2:]]


def numbers_kept_as_text(code: str, includes: list[str]) -> list[str]:
    """Give what is a Lua number and is kept as it is, by the code or by what it includes."""
    numbers: set[str] = set()

    def is_number(expression: str) -> bool:
        bare = re.sub(r"'[^']*'", "''", expression)
        return not IS_TEXT.fullmatch(expression) and bool(
            expression in numbers or MAKES_A_NUMBER.search(bare)
        )

    for name, value in assignments(code):
        if is_number(value):
            numbers.add(name)
    kept = [argument for command in commands_in(code) for argument in kept_in(command)]
    for include in includes:
        kept += passed_to(code, parameters_of(included(include), kept_in))
    return [argument for argument in kept if is_number(argument) and argument not in SMALL_NUMBERS]
