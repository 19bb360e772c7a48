from pathlib import Path

import pytest

from shared.feeds.profiles import Profile
from tests.rules.feed_files import PLAIN, Read, Refused, Whole, read_whole, refusal


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Give what reads a feed of some bytes whole."""

    def read(content: bytes, profile: Profile = PLAIN) -> Whole:
        return read_whole(tmp_path / "feed", content, profile)

    return read


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Give what tells why a feed of some bytes is refused."""

    def refused(content: bytes, profile: Profile = PLAIN) -> str:
        return refusal(tmp_path / "feed", content, profile)

    return refused
