import io
from pathlib import Path

import pytest

from shared.feeds import spool as spool_module
from shared.feeds.spool import Spool

ID = "01932c07-2c4f-7000-8000-000000000000"


def test_a_feed_that_would_take_the_last_room_on_the_disk_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.put(ID, io.BytesIO(b"number\n"), 1_000)
    spool.remove(ID)
    monkeypatch.setattr(spool_module, "_KEPT_FREE_BYTES", 1 << 60)

    with pytest.raises(OSError, match="MiB are free"):
        spool.put(ID, io.BytesIO(b"number\n"), 1_000)

    assert list(tmp_path.iterdir()) == []
