import json
from pathlib import Path

import pytest

from shared.feeds.formats.read import read_feed
from shared.feeds.profiles import Format, Limits, Profile
from shared.feeds.rows import FeedRefused
from tests.rules.feed_files import PLAIN, RANGES, Refused

FORMATS = [Profile(format=format_) for format_ in Format]
TEXT = [Profile(format=format_) for format_ in (Format.PLAIN, Format.CSV)]

each_format = pytest.mark.parametrize("profile", FORMATS, ids=lambda profile: profile.format)


@each_format
@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_of_nothing_is_refused(refused: Refused, profile: Profile, content: bytes) -> None:
    assert refused(content, profile) == "the file is empty"


def test_a_file_that_begins_with_a_megabyte_of_nothing_is_refused(refused: Refused) -> None:
    content = b" " * 2_000_000 + b"number\n4155550101\n"
    assert refused(content) == "the file begins with nothing but white space"


@each_format
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_a_wide_encoding_is_refused_by_name(refused: Refused, profile: Profile, encoding: str) -> None:
    for text in ("number\n4155550101\n", '{"number":"4155550101"}\n', "[{}]", "<r><tn>4155550101</tn></r>"):
        reason = "the file is text in UTF-16 or UTF-32; only UTF-8 is read, so convert it first"
        assert refused(text.encode(encoding), profile) == reason


@pytest.mark.parametrize("profile", [*TEXT, RANGES], ids=lambda profile: profile.format)
@pytest.mark.parametrize(
    ("content", "look"),
    [
        (b"<!DOCTYPE html>\n<html><body>Login</body></html>", "HTML"),
        (b"\n <HTML><body>Login</body></html>", "HTML"),
        (b"<numbers>\n<number>4155550101</number>\n", "XML"),
        (b'[{"number":"4155550101"}]\n', "a JSON array"),
        (b"\x7fELF\x02\x01\x01\0\x09\x10\0\x05", "not text"),
        (b"%PDF-1.7\x00\x01\x02\x1b[31m\n", "not text"),
    ],
)
def test_csv_that_is_something_else_is_refused_by_what_it_is(
    refused: Refused, profile: Profile, content: bytes, look: str
) -> None:
    assert refused(content, profile).startswith(f"the file is {look}, not CSV; it begins '")


@pytest.mark.parametrize("profile", [Profile(format=Format.JSON), Profile(format=Format.XML)])
@pytest.mark.parametrize("content", [b"number\n4155550101\n", b"Service unavailable", b"\x00\x01"])
def test_what_is_neither_json_nor_xml_is_refused(refused: Refused, profile: Profile, content: bytes) -> None:
    assert ", not " in refused(content, profile)


def test_html_is_neither_json_nor_xml(refused: Refused) -> None:
    html = b"<!doctype html><html><body>504</body></html>"
    assert refused(html, Profile(format=Format.JSON)).startswith(
        "the file is HTML, not a JSON array; it begins "
    )
    assert refused(html, Profile(format=Format.XML)).startswith("the file is HTML, not XML; it begins ")


@pytest.mark.parametrize("profile", TEXT, ids=lambda profile: profile.format)
def test_a_header_without_a_number_is_one_error_that_names_the_columns(
    refused: Refused, profile: Profile
) -> None:
    reason = refused("Phone,Número,sms\n4155550101,x,1\n".encode(), profile)
    assert reason == r"the header has no column 'number'; its columns are: 'Phone, N\xfamero, sms'"


@pytest.mark.parametrize(
    "content",
    [
        b"4155550101\n2122345678\n",
        b"phone;sms\n4155550101;1\n",
        b"x," * 10_000 + b"\n",
        b"a\tb\x7f\n",
        b"\xff\xfa,b\n",
    ],
)
def test_columns_that_are_shown_are_escaped_and_short(refused: Refused, content: bytes) -> None:
    assert refused(content).startswith("the header has no column 'number'; its columns are: '")


def test_with_another_delimiter_the_columns_are_shown_as_that_splits_them(refused: Refused) -> None:
    assert (
        refused(b"phone;sms;a,b\n") == "the header has no column 'number'; its columns are: 'phone, sms, a,b'"
    )


@pytest.mark.parametrize(
    "content", [b'"number\n4155550101\n', b'"number"x\n', b'number\r"4155550101"\r2122345678\r']
)
def test_a_header_that_is_not_csv_is_refused(refused: Refused, content: bytes) -> None:
    assert refused(content).startswith(("the header is not CSV: ", "the header has no column 'number'"))


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedRefused, match=r"^the file cannot be read: No such file or directory$"):
        list(read_feed(tmp_path / "gone", PLAIN))
    with pytest.raises(FeedRefused, match=r"^the file cannot be read: Is a directory$"):
        list(read_feed(tmp_path, PLAIN))


ROWS = {
    Format.PLAIN: "number\n4155550101\nbad\n",
    Format.NDJSON: '{"number":"4155550101"}\nbad\n',
    Format.JSON: json.dumps([{"number": "4155550101"}, 7]),
    Format.XML: "<r><tn>4155550101</tn><tn>bad</tn></r>",
    Format.RANGES: "start,count\n4155550101,2\n",
}


@pytest.mark.parametrize("format_", list(ROWS))
def test_the_limit_on_rows_counts_numbers_and_rejected_rows(
    refused: Refused, tmp_path: Path, format_: Format
) -> None:
    content = ROWS[format_].encode()
    reason = "the feed has more than 1 rows"
    assert refused(content, Profile(format=format_, limits=Limits(rows=1))) == reason
    (tmp_path / "feed").write_bytes(content)
    assert list(read_feed(tmp_path / "feed", Profile(format=format_, limits=Limits(rows=2))))
