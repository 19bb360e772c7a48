import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.api_keys import Scope
from tests.http.answers import succeeded
from tests.http.organizations import Organization, Organizations
from tests.support import SCRIPTS, Service, environment

EXAMPLES = 10
"""Of each operation, beside those of the document and the corners of its schemas; some seconds in all."""
DEADLY = ("rotateApiKey", "revokeApiKey")
"""A key that comes upon itself here has no answer but 401 from then on."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose orders and keys are in nobody's way."""
    service = Service(tmp_path_factory.mktemp("schema"), "--no-sample")
    yield service
    service.stop()


def explore(own: Service, organization: Organization, directory: Path, *options: str) -> str:
    """Have Schemathesis try the document out, and give what it says."""
    command = [
        *(str(SCRIPTS / "schemathesis"), "run", f"{own.instance.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {organization.secret}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1"),
        # What fits a schema may still be refused: an Idempotency-Key that came before with another body, and
        # 5.0, which is an integer for JSON Schema but not for the contract.
        *("--exclude-checks", "positive_data_acceptance"),
        *("--continue-on-failure", "--generation-database", "none", "--warnings", "off", "--no-color"),
    ]
    # What it keeps for the next time it keeps where it runs.
    done = subprocess.run(
        [*command, *options],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    return done.stdout


def test_every_answer_to_what_the_document_allows_or_forbids_is_as_it_says(
    own: Service, organizations: Organizations, tmp_path: Path
) -> None:
    organization = organizations.of(own, "schema", tuple(Scope))
    assert own.ingest("schema", b"number\n+12095550100\n+12095550101\n")["state"] == "applied"

    explore(
        own, organization, tmp_path, *(part for name in DEADLY for part in ("--exclude-operation-id", name))
    )

    # Nothing of it was about a key that had died.
    succeeded(organization.client.get("/v1/inventory/coverage"))
    log = (own.data_dir / "api.log").read_text()
    assert "Traceback" not in log
    assert "unhandled" not in log


def test_so_are_those_of_what_ends_keys(own: Service, organizations: Organizations, tmp_path: Path) -> None:
    organization = organizations.of(own, "schema-of-keys", tuple(Scope))

    explore(
        own, organization, tmp_path, *(part for name in DEADLY for part in ("--include-operation-id", name))
    )
