import gzip
import io
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from shared.feeds.formats.read import read_feed
from shared.feeds.profiles import Format, Limits, Profile
from shared.feeds.rows import FeedRefused
from tests.rules.feed_files import ONE, PLAIN, TWO, Read, Refused, limited_memory, read_whole

Pack = Callable[[bytes], bytes]

SMALL = b"number\n4155550101\nbad\n"
LARGE = b"number\n" + b"".join(b"415%d\n" % (2_200_000 + at * 13 % 900_000) for at in range(60_000))


def zipped(
    content: bytes, *, method: int = zipfile.ZIP_DEFLATED, names: tuple[str, ...] = ("feed.csv",)
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else content)
    return file.getvalue()


def zstd_packed(content: bytes) -> bytes:
    """Pack as the zstd tool does, with a checksum; without one, some damage cannot be told."""
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


packs = pytest.mark.parametrize("pack", [gzip.compress, zstd_packed, zipped], ids=["gzip", "zstd", "zip"])


@packs
@pytest.mark.parametrize("name", ["feed", "feed.csv", "feed.gz", "feed.zip", "feed.json"])
@pytest.mark.parametrize("content", [SMALL, b'{"number":"4155550101"}\nbad\n'])
def test_compression_is_told_by_content_and_not_by_name(
    tmp_path: Path, pack: Pack, name: str, content: bytes
) -> None:
    plain = read_whole(tmp_path / name, content)
    assert plain.rows == [(ONE, 0)]
    assert read_whole(tmp_path / name, pack(content)) == plain


@pytest.mark.parametrize("pack", [gzip.compress, zstd_packed], ids=["gzip", "zstd"])
def test_reads_several_members_or_frames_with_borders_inside_a_row(read: Read, pack: Pack) -> None:
    content = pack(b"number\n41555") + pack(b"") + pack(b"50101\n2122345678")
    assert read(content) == ([(ONE, 0), (TWO, 0)], [])
    many = b"".join(pack(LARGE[at : at + 1_000]) for at in range(0, len(LARGE), 1_000))
    assert read(many) == read(LARGE)


def test_reads_zstd_with_skippable_frames(read: Read) -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    assert read(skippable + zstd.compress(b"number\n41555") + skippable + zstd.compress(b"50101\n")) == (
        [(ONE, 0)],
        [],
    )


def test_reads_a_zip_that_stores_and_one_with_folders(read: Read) -> None:
    assert read(zipped(SMALL, method=zipfile.ZIP_STORED)).rows == [(ONE, 0)]
    assert read(zipped(SMALL, names=("a/", "a/b/", "a/b/feed.csv"))).rows == [(ONE, 0)]


@packs
def test_gives_the_position_in_the_file_as_it_lies_on_disk(tmp_path: Path, pack: Pack) -> None:
    path = tmp_path / "feed"
    content = b"number,note\n" + b"".join(
        b"+1415%d,%d\n" % (2_200_000 + at, at * 7919 % 10_007) for at in range(90_000)
    )
    for stored in (content, pack(content)):
        path.write_bytes(stored)
        positions = [block.position for block in read_feed(path, PLAIN)]
        assert len(positions) > 1
        assert positions == sorted(positions)
        assert positions[0] < positions[-1]
        assert abs(positions[-1] - len(stored)) < 1_000


@packs
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: whole[:4],
        lambda whole: whole[:11],
        lambda whole: whole + b"garbage",
        lambda whole: whole + b"\0",
        lambda whole: whole[:400] + bytes(byte ^ 0xFF for byte in whole[400:440]) + whole[440:],
        lambda whole: whole[:4] + b"garbage and more of it",
    ],
    ids=[
        "half",
        "one byte",
        "magic only",
        "header only",
        "garbage behind",
        "zero behind",
        "garbage within",
        "garbage",
    ],
)
def test_data_that_is_broken_cut_off_or_goes_on_behind_its_end_is_refused(
    refused: Refused, pack: Pack, damage: Pack
) -> None:
    name = {gzip.compress: "gzip data", zstd_packed: "zstd data"}.get(pack, "zip")
    assert refused(damage(pack(LARGE))).startswith(f"the {name} is broken: ")


@packs
def test_a_small_file_that_is_cut_off_anywhere_is_refused(refused: Refused, pack: Pack) -> None:
    whole = pack(SMALL)
    for size in range(len(whole)):
        refused(whole[:size])


@packs
@pytest.mark.parametrize("inner", [gzip.compress, zstd_packed, zipped], ids=["gzip", "zstd", "zip"])
def test_a_file_that_is_compressed_twice_is_refused(refused: Refused, pack: Pack, inner: Pack) -> None:
    reason = "the file is compressed twice; it has to be compressed once, or not at all"
    assert refused(pack(inner(LARGE))) == reason


@pytest.mark.parametrize("names", [(), ("a.csv", "b.csv"), ("empty/",)])
def test_a_zip_has_to_hold_one_file(refused: Refused, names: tuple[str, ...]) -> None:
    files = sum(not name.endswith("/") for name in names)
    expected = f"the zip holds {files} files; it has to hold one, a CSV or another text file"
    assert refused(zipped(SMALL, names=names)) == expected


def test_a_zip_with_a_large_directory_is_refused_unread(refused: Refused) -> None:
    names = tuple(f"{at:0200}.csv" for at in range(5_000))
    reason = "the zip has a directory of more than a megabyte; it has to hold one file"
    assert refused(zipped(b"", names=names)) == reason


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_in_an_unusual_way_is_refused(refused: Refused, method: int) -> None:
    assert "packed in an unusual way" in refused(zipped(SMALL, method=method))


def test_an_encrypted_zip_is_refused(refused: Refused) -> None:
    whole = bytearray(zipped(SMALL))
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    assert refused(bytes(whole)) == "the zip is encrypted"


def test_zstd_that_needs_much_memory_is_refused(refused: Refused) -> None:
    window, size = zstd.CompressionParameter.window_log, zstd.CompressionParameter.content_size_flag
    options: dict[int, int] = {window: 27, size: 0}
    packer = zstd.ZstdCompressor(options=options)
    content = packer.compress(SMALL) + packer.flush()
    assert "it needs a window of more than 8 MiB" in refused(content)


# Limits


@packs
def test_a_small_regular_file_may_be_packed_to_less_than_a_hundredth(read: Read, pack: Pack) -> None:
    content = b"number\n" + b"4155550101\n" * 200_000
    assert len(pack(content)) * 150 < len(content)
    assert len(read(pack(content)).rows) == 200_000


def gzip_bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    return b"".join([*(packer.compress(zeros) for _ in range(size >> 20)), packer.flush()])


def zstd_bomb(size: int) -> bytes:
    packer = zstd.ZstdCompressor(level=1)
    zeros = bytes(1 << 20)
    return b"".join([*(packer.compress(zeros) for _ in range(size >> 20)), packer.flush()])


def zip_bomb(size: int) -> bytes:
    return zipped(bytes(size))


@pytest.mark.parametrize("bomb", [gzip_bomb, zstd_bomb, zip_bomb])
@pytest.mark.parametrize("format_", [Format.PLAIN, Format.NDJSON, Format.JSON, Format.XML])
def test_a_bomb_ends_soon_and_without_memory(
    tmp_path: Path, bomb: Callable[[int], bytes], format_: Format
) -> None:
    path = tmp_path / "feed"
    path.write_bytes(_kept(bomb))
    started = time.process_time()
    with limited_memory(32_000_000), pytest.raises(FeedRefused):
        list(read_feed(path, Profile(format=format_)))
    assert time.process_time() - started < 2


_bombs: dict[Callable[[int], bytes], bytes] = {}


def _kept(bomb: Callable[[int], bytes]) -> bytes:
    return _bombs.setdefault(bomb, _bombs.get(bomb) or bomb(100 << 20))


@pytest.mark.parametrize("row", [b"4155550101\n", b"x\n", b"\n"])
def test_a_bomb_of_rows_is_refused_before_any_is_read(tmp_path: Path, row: bytes) -> None:
    path = tmp_path / "feed"
    path.write_bytes(zstd.compress(b"number\n" + row * ((70 << 20) // len(row))))
    with pytest.raises(FeedRefused, match=r"^the file expands to more than 200 times its size$"):
        next(read_feed(path, PLAIN))


def test_a_bomb_that_begins_well_is_refused_for_its_ratio(refused: Refused) -> None:
    content = gzip.compress(LARGE * 3, 1) + _kept(gzip_bomb)
    profile = Profile(limits=Limits(expansion=50))
    assert refused(content, profile) == "the file expands to more than 50 times its size"


@packs
def test_the_limits_on_bytes_hold(refused: Refused, pack: Pack) -> None:
    packed = pack(LARGE)
    assert refused(packed, Profile(limits=Limits(bytes=len(packed) - 1))) == (
        f"the file has more than {len(packed) - 1:,} bytes, the limit for this feed"
    )
    few = Profile(limits=Limits(expanded_bytes=len(LARGE) - 1))
    assert refused(packed, few) == f"the file expands to more than {len(LARGE) - 1:,} bytes"


def test_limits_that_are_just_met_refuse_nothing(read: Read) -> None:
    limits = Limits(bytes=len(LARGE), expanded_bytes=len(LARGE), rows=60_000)
    assert len(read(LARGE, Profile(limits=limits)).rows) == 60_000
    assert len(read(gzip.compress(LARGE), Profile(limits=limits)).rows) == 60_000
