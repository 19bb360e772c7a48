from pathlib import Path

import msgspec
import pytest

from shared.feeds.formats.read import read_feed
from shared.feeds.formats.xml_rows import read_xml
from shared.feeds.profiles import Format, Limits, Profile
from shared.feeds.rows import REMOVAL, FeedRefused
from shared.stock_score import MMS, SMS
from tests.rules.feed_files import ONE, THREE, TWO, XML, Read, Refused, limited_memory, parse_whole

NAMED = Profile(format=Format.XML, rows="row", number="line")


def rows_of(*rows: str) -> bytes:
    return f"<r>{''.join(f'<d>{row}</d>' for row in rows)}</r>".encode()


def test_reads_elements_of_details_with_the_number_anywhere_among_them(read: Read) -> None:
    content = rows_of(
        "<City>Reno &amp; more</City><FullNumber>4155550101</FullNumber><Tier>0</Tier>",
        "<FullNumber> +1 (212) 234-5678\n</FullNumber>",
        "<Tier/><x><y>1</y></x><FullNumber><![CDATA[604]]>9876543<!-- one --></FullNumber>",
    )
    assert read(content, XML) == ([(ONE, 0), (TWO, 0), (THREE, 0)], [])


@pytest.mark.parametrize("name", ["TelephoneNumber", "FullNumber", "tn", "ns:Number", "phone_number"])
def test_reads_a_list_in_which_the_element_of_the_number_itself_repeats(read: Read, name: str) -> None:
    numbers = "".join(f"<{name}>{number}</{name}>\n" for number in ("4155550101", "bad", "2122345678"))
    content = f"<r><Count>3</Count><list>\n{numbers}</list><e/></r>"
    assert read(content.encode(), XML) == ([(ONE, 0), (TWO, 0)], [(4, "has letters")])


def test_of_an_element_of_a_number_in_another_the_inner_one_counts(read: Read) -> None:
    content = (
        b"<r><TelephoneNumber><FullNumber>4155550101</FullNumber><sms>1</sms></TelephoneNumber>"
        b"<TelephoneNumber><mms>1</mms><FullNumber>2122345678</FullNumber></TelephoneNumber></r>"
    )
    assert read(content, XML) == ([(ONE, SMS), (TWO, MMS)], [])


def test_reads_flags_features_and_actions_before_and_behind_the_number(read: Read) -> None:
    content = rows_of(
        "<sms>true</sms><tn>4155550101</tn><mms>1</mms>",
        "<tn>2122345678</tn><Features><Feature>MMS</Feature><Feature>voice</Feature></Features>",
        "<action>delete</action><tn>6049876543</tn>",
        "<tn>4155550101</tn>",
        "<tn>4155550101</tn><sms>perhaps</sms>",
    )
    rows = [(ONE, SMS | MMS), (TWO, MMS), (THREE, REMOVAL), (ONE, 0)]
    assert read(content, XML) == (rows, [(1, "sms is neither true nor false")])


def test_what_is_said_elsewhere_says_nothing_about_a_number(read: Read) -> None:
    content = (
        b"<r><sms>1</sms><q><mms>1</mms></q><d><tn>4155550101</tn><deep><mms>1</mms></deep></d>"
        b"<action>delete</action><d><tn>2122345678</tn></d><q><action>delete</action></q></r>"
    )
    assert read(content, XML) == ([(ONE, 0), (TWO, 0)], [])


def test_the_profile_names_the_row_and_its_elements(read: Read) -> None:
    content = (
        b"<r><line>1</line><row><a><line>4155550101</line></a><sms>1</sms></row>\n<row><sms>1</sms></row>\n"
        b"<row><line>1</line><line>2</line></row><row><row><line>2122345678</line></row></row><line>1</line></r>"
    )
    expected = [(ONE, SMS), (TWO, 0)], [(2, "has 0 numbers"), (3, "has 2 numbers")]
    assert read(content, NAMED) == expected


def test_the_row_may_be_the_element_of_the_number(read: Read) -> None:
    profile = Profile(format=Format.XML, rows="tn", number="tn", sms=True)
    assert read(b"<r><tn>4155550101</tn><tn>2122345678</tn></r>", profile) == ([(ONE, SMS), (TWO, SMS)], [])


def test_a_bad_row_is_given_with_the_line_where_it_ends_and_its_number(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"<r>\n<d>\n<tn>hello</tn>\n</d>\n<d><tn/></d></r>")
    [block, _] = read_feed(path, XML)
    assert [(row.line, row.reason, row.start) for row in block.rejects] == [
        (4, "has letters", "hello"),
        (5, "empty", ""),
    ]


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        ("", "utf-8"),
        ("<?xml version='1.0'?>", "utf-8"),
        ('<?xml version="1.0" encoding="UTF-8"?>', "utf-8-sig"),
        ('<?xml version="1.0" encoding="iso-8859-1" ?>', "latin-1"),
        ("<?xml version='1.0' encoding='windows-1252'?>", "cp1252"),
    ],
)
def test_reads_the_encodings_in_use(read: Read, start: str, encoding: str) -> None:
    content = f"{start}<r><d><city>Montréal</city><tn>415\u00a05550101</tn></d></r>"
    assert read(content.encode(encoding), XML) == ([(ONE, 0)], [])


def test_what_is_not_utf_8_and_zeros_cost_nothing_beside_the_number(read: Read) -> None:
    content = rows_of("<c>@</c><tn>4155550101</tn>", "<tn>212@2345678</tn>", "<tn>6049876543</tn>")
    for byte in (b"\xff", b"\0", b"\xe9"):
        rows, rejects = read(content.replace(b"@", byte), XML)
        assert rows == [(ONE, 0), (THREE, 0)]
        assert len(rejects) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE r [<!ENTITY a '4'>]><r><tn>&a;155550101</tn></r>", "the XML has a document type, "),
        (b"<!DOCTYPE r SYSTEM 'file:///etc/passwd'><r/>", "the XML has a document type, "),
        (b"<r><tn>&a;</tn></r>", "the XML is broken: undefined entity"),
        (b"<r><tn>4155550101</tn></d>", "the XML is broken: mismatched tag"),
        (b"<r/><r/>", "the XML is broken: junk after document element"),
        (b"<r><tn>\x01</tn></r>", "the XML is broken: not well-formed"),
        (
            b"<r><Error>Invalid <b>zip</b></Error></r>",
            "the XML has no element of a number; it begins '<r><Error>",
        ),
        (b"<?xml version='1.0' encoding='utf-7'?><r/>", "the XML is in 'utf-7', which is not read"),
        (b"<r>" * 101, "the XML is deeper than 100 elements"),
        (
            b"<r>" + b"".join(b"<a%d/>" % at for at in range(1_100)),
            "the XML is deeper than 100 elements or has 1000 names",
        ),
        (
            b"<r>" + b"".join(b"<a b%d=''/>" % at for at in range(1_100)),
            "the XML is deeper than 100 elements or has 1000 names",
        ),
        (b"<r><tn>4155550101</tn>", "the XML ends too early, as if it was cut off: "),
        (b'{"number":1}', "the file is JSON, not XML; it begins "),
        (b"number\n4155550101\n", "the file is text, not XML; it begins "),
    ],
    ids=lambda value: value[:30],
)
def test_a_document_that_cannot_be_trusted_is_refused(refused: Refused, content: bytes, reason: str) -> None:
    assert refused(content, XML).startswith(reason)


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_chunks_of_any_size_make_no_difference(size: int) -> None:
    content = "<r>é<d><tn>4155550101</tn><sms>1</sms></d><d><tn>x</tn></d>"
    content += "<tn>2122345678</tn><tn>6049876543</tn></r>"
    whole = parse_whole(read_xml, content.encode(), 1_000, XML)
    assert whole == ([(ONE, SMS), (TWO, 0), (THREE, 0)], [(1, "has letters")])
    assert parse_whole(read_xml, content.encode(), size, XML) == whole


def test_a_text_that_is_too_long_costs_its_row(read: Read) -> None:
    profile = Profile(format=Format.XML, limits=Limits(line_bytes=64))
    long = "4" * 70
    content = rows_of(
        f"<tn>{long}</tn>", f"<tn>4155550101</tn><features>sms {long}</features>", "<tn>4155550101</tn>"
    )
    assert read(content, profile) == ([(ONE, 0)], [(1, "is longer than 64 bytes")] * 2)


@pytest.mark.parametrize("profile", [XML, Profile(format=Format.XML, rows="d")], ids=["parents", "named"])
@pytest.mark.parametrize(
    "said", ["<features>aaaaa</features>" * 20, "<features/>" * 100, "<features><f>a</f></features>" * 30]
)
def test_all_that_is_said_in_a_row_has_one_limit(read: Read, profile: Profile, said: str) -> None:
    profile = msgspec.structs.replace(profile, limits=Limits(line_bytes=80))
    good = "<tn>4155550101</tn><features>sms</features><features>mms</features>"
    content = rows_of(good, f"{said}<tn>2122345678</tn>", f"<tn>2122345678</tn>{said}", good)
    expected = [(1, "is longer than 80 bytes")] * 2
    assert read(content, profile) == ([(ONE, SMS | MMS)] * 2, expected)


def test_what_is_too_long_elsewhere_costs_no_row(read: Read) -> None:
    profile = Profile(format=Format.XML, limits=Limits(line_bytes=64))
    long = f"<features>{'a' * 70}</features>"
    content = f"<r>{long}<q>{long}</q><d><tn>4155550101</tn></d>{long}</r>"
    assert read(content.encode(), profile) == ([(ONE, 0)], [])


@pytest.mark.parametrize(
    "element",
    [b"<features>aaaaa</features>", b"<features>" + b"a" * 60_000 + b"</features>", b"<features/>"],
    ids=["short", "long", "empty"],
)
@pytest.mark.parametrize("start", [b"<r>", b"<r><row>"])
def test_memory_stays_flat_over_5_mb_said_about_no_number(
    tmp_path: Path, start: bytes, element: bytes
) -> None:
    path = tmp_path / "feed"
    path.write_bytes(start + element * (5_000_000 // len(element)))
    with limited_memory(16_000_000), pytest.raises(FeedRefused, match="cut off"):
        list(read_feed(path, NAMED if start == b"<r><row>" else XML))


def test_memory_stays_flat_over_a_row_of_200_000_numbers(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"<r><row>" + b"<line>4155550101</line>" * 200_000 + b"</row></r>")
    with limited_memory(8_000_000):
        rejects = [row for block in read_feed(path, NAMED) for row in block.rejects]
    assert [row.reason for row in rejects] == ["has 200000 numbers"]


@pytest.mark.parametrize("start", [b"<r><tn>", b"<r><city>", b"<r><![CDATA[", b"<r><tn><![CDATA["])
def test_memory_stays_flat_over_a_text_of_50_mb(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "feed"
    write_long(path, start)
    with limited_memory(16_000_000), pytest.raises(FeedRefused, match="cut off"):
        list(read_feed(path, XML))


@pytest.mark.parametrize("start", [b"<", b"<r><a b='", b"<r><!--", b"<?", b"<r></"])
def test_a_tag_without_an_end_is_refused_at_once(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "feed"
    write_long(path, start)
    with (
        limited_memory(16_000_000),
        pytest.raises(FeedRefused, match="a tag or a comment of more than 65536 bytes"),
    ):
        list(read_feed(path, XML))


def write_long(path: Path, start: bytes) -> None:
    with path.open("wb") as file:
        file.write(start)
        for _ in range(50):
            file.write(b"y" * 1_000_000)
