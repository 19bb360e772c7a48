import gzip
import re
from pathlib import Path

import msgspec
import pytest

from tests.cli.conftest import Here

PROFILES = """
[profiles.acme]
format = "json"
rows = "numbers"
sms = true
source = "https://user:secret@feeds.example.com/numbers.json?token=hidden"
schedule = "*/20 * * * *"
precedence = 5

[profiles.changes]
mode = "delta"

[profiles.blocks]
format = "ranges"
"""


@pytest.fixture
def feeds_file(tmp_path: Path) -> Path:
    path = tmp_path / "feeds.toml"
    path.write_text(PROFILES)
    return path


@pytest.fixture
def feed_file(tmp_path: Path) -> Path:
    return tmp_path / "feed"


def without_times(text: str) -> list[str]:
    return re.sub(r" in [0-9.]+ s \([0-9,]+ rows/s\)", "", text).splitlines()


# numbers feeds check


def test_check_shows_what_would_be_read_without_a_service(
    here: Here, tmp_path: Path, feed_file: Path
) -> None:
    rows = [f"415220{local:04},1,{local % 2}" for local in range(1_000)]
    rows += ["2122200000,0,0", "2122200000,0,0", "hello,1,1", "9112200000,1,1"]
    feed_file.write_text("\n".join(["number,sms,mms", *rows]) + "\n")
    done = here("feeds check", "plain-carrier", feed_file, "--feeds-file", _profiles(tmp_path, ""))
    assert (done.returncode, done.stderr) == (0, "")
    assert without_times(done.stdout) == [
        "plain-carrier: can be read",
        "  profile   plain, snapshot; there is no profile of this name",
        "  rows      1,004 read, 2 rejected",
        "  numbers   1,001 offered, 0 removed by a row, 1 duplicate",
        "  features  1,000 with sms, 500 with mms",
        "  areas     2: 415 (1,000), 212 (1)",
        "  rejected  line 1004: has letters: 'hello,1,1'",
        "            line 1005: area code 911 is a service code: '9112200000,1,1'",
    ]


def _profiles(directory: Path, text: str) -> Path:
    path = directory / "feeds.toml"
    path.write_text(text)
    return path


def test_check_reads_by_the_profile_of_the_carrier(here: Here, feeds_file: Path, feed_file: Path) -> None:
    content = '{"numbers": [{"tn": "4152200000"}, {"tn": "4152200001"}, {"tn": 7}]}'
    feed_file.write_bytes(gzip.compress(content.encode()))
    done = here("feeds check", "acme", feed_file, "--json", NUMBERS_FEEDS_FILE=str(feeds_file))
    assert (done.returncode, done.stderr) == (0, "")
    found = msgspec.json.decode(done.stdout)
    rejects = found.pop("rejects")
    assert found.pop("seconds") >= 0
    assert found == {
        "carrier": "acme",
        "has_profile": True,
        "format": "json",
        "mode": "snapshot",
        "rows": 3,
        "rejected": 1,
        "numbers": 2,
        "removals": 0,
        "duplicate": 0,
        "area_codes": {"415": 2},
        "sms": 2,
        "mms": 0,
        "refused": None,
    }
    assert [row["line"] for row in rejects] == [3]


def test_check_counts_the_numbers_of_blocks(here: Here, feeds_file: Path, feed_file: Path) -> None:
    feed_file.write_text("npa,nxx,x\n415,220,1\n212,220,A\n")
    done = here("feeds check", "blocks", feed_file, "--feeds-file", feeds_file)
    assert done.returncode == 0
    assert "  rows      2 read, 0 rejected" in without_times(done.stdout)
    assert "  areas     2: 212 (10,000), 415 (1,000)" in done.stdout


def test_check_counts_what_rows_remove_and_mode_says_what_that_means(
    here: Here, feeds_file: Path, feed_file: Path
) -> None:
    feed_file.write_text("number,action\n4152200000,delete\n4152200001,delete\n4152200000,add\n")
    for options, counted in (((), (1, 1, 1)), (("--mode", "snapshot"), (0, 2, 1))):
        done = here("feeds check", "changes", feed_file, "--feeds-file", feeds_file, "--json", *options)
        found = msgspec.json.decode(done.stdout)
        assert (found["numbers"], found["removals"], found["duplicate"]) == counted


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("number\n" + "hello\n" * 11 + "4152200000\n" * 50, "11 of 61 rows cannot be read, more than 10 %"),
        ("number\n", "the feed holds no number that can be used"),
        ("", "the file is empty"),
        ("phone\n4152200000\n", ""),
    ],
)
def test_check_ends_with_1_and_the_reason_when_the_feed_would_be_refused(
    here: Here, feed_file: Path, content: str, reason: str
) -> None:
    feed_file.write_text(content)
    done = here("feeds check", "any", feed_file)
    assert done.returncode == 1
    assert done.stdout.startswith("any: would be refused\n")
    assert done.stderr.startswith(f"Error: {reason}")
    assert done.stderr.count("\n") == 1


def test_check_writes_rejected_rows_as_csv(here: Here, tmp_path: Path, feed_file: Path) -> None:
    feed_file.write_text("number\n=cmd|x\n" + "4152200000\n")
    done = here("feeds check", "any", feed_file, "--rejects", tmp_path / "rejects.csv")
    assert done.returncode == 0
    assert (tmp_path / "rejects.csv").read_bytes() == b"line,reason,start\r\n2,has letters,'=cmd|x\r\n"


def test_check_does_nothing_to_the_terminal_that_a_feed_would_have_it_do(here: Here, feed_file: Path) -> None:
    feed_file.write_bytes(b"number\n\x1b[31mred\n4152200000\n")
    done = here("feeds check", "any", feed_file)
    assert "line 2: has letters: '\\x1b[31mred'" in done.stdout


def test_check_reads_standard_input(here: Here) -> None:
    done = here("feeds check", "any", "-", stdin=b"number\n4152200000\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 offered" in done.stdout


# numbers feeds list


def test_list_shows_profiles_and_no_secret(here: Here, feeds_file: Path) -> None:
    done = here("feeds list", "--feeds-file", feeds_file)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines == [
        ["name", "format", "mode", "precedence", "schedule", "source"],
        ["acme", "json", "snapshot", "5", "*/20", *"****", "https://feeds.example.com/numbers.json"],
        ["blocks", "ranges", "snapshot", "100"],
        ["changes", "plain", "delta", "100"],
    ]
    done = here("feeds list", "--json", NUMBERS_FEEDS_FILE=str(feeds_file))
    assert msgspec.json.decode(done.stdout)[0] == {
        "name": "acme",
        "format": "json",
        "mode": "snapshot",
        "precedence": 5,
        "schedule": "*/20 * * * *",
        "source": "https://feeds.example.com/numbers.json",
    }


def test_list_knows_the_profiles_that_come_with_the_service(here: Here) -> None:
    done = here("feeds list", "--json")
    assert "bandwidth" in [profile["name"] for profile in msgspec.json.decode(done.stdout)]


@pytest.mark.parametrize(
    "line",
    [
        'source = "ftp://user:secret@host/feed.csv"',
        'schedule = "whenever"',
        'allow_networks = ["here"]',
        'format = "fax"',
    ],
)
def test_a_profile_that_cannot_be_used_is_one_line_without_a_secret(
    here: Here, tmp_path: Path, line: str
) -> None:
    done = here("feeds list", "--feeds-file", _profiles(tmp_path, f"[profiles.acme]\n{line}\n"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert "[profiles.acme]: " in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
