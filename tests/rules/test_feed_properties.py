import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
from backports import zstd
from hypothesis import given, settings, strategies as st
from msgspec.structs import replace

from shared.feeds.formats.delimited import read_delimited
from shared.feeds.formats.json_array import read_json_array
from shared.feeds.formats.json_lines import read_json_lines
from shared.feeds.formats.ranges import read_ranges
from shared.feeds.formats.xml_rows import read_xml
from shared.feeds.profiles import Format, Limits, Profile
from shared.feeds.rows import REMOVAL, FeedRefused, Range, Row
from shared.phone_number import PhoneNumber
from shared.stock_score import MMS, SMS
from tests.rules.feed_files import Parse, parse_whole, reason_against

PARSERS: dict[Format, Parse] = {
    Format.CSV: read_delimited,
    Format.NDJSON: read_json_lines,
    Format.JSON: read_json_array,
    Format.XML: read_xml,
    Format.RANGES: read_ranges,
}

numbers = st.builds(
    PhoneNumber,
    st.sampled_from(["415", "212", "604", "800", "367"]),
    st.integers(2_000_000, 9_999_999).filter(lambda local: local // 10_000 % 100 != 11),
)
bad_texts = st.sampled_from(["hello", "", "12345", "9115550101", "+44 20 7946 0958", "415555010é"])
notes = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n", exclude_categories=["Cc"]), max_size=12
)


class Written(NamedTuple):
    """A row as it is written down."""

    number: PhoneNumber | None
    """None for a row that holds none."""
    text: str
    sms: bool
    mms: bool
    is_removed: bool
    note: str
    blank_lines_before: int

    @property
    def meaning(self) -> int:
        return REMOVAL if self.is_removed else SMS * self.sms | MMS * self.mms


@st.composite
def written_rows(draw: st.DrawFn) -> Written:
    number = draw(st.one_of(st.none(), numbers, numbers, numbers))
    text = draw(bad_texts)
    if number is not None:
        national = f"{number.area_code}{number.local}"
        spelled = f"({national[:3]}) {national[3:6]}-{national[6:]}"
        text = draw(st.sampled_from([national, f"1{national}", number.e164, spelled]))
    flags = draw(st.tuples(st.booleans(), st.booleans(), st.sampled_from([False, False, True])))
    return Written(number, text, *flags, draw(notes), draw(st.sampled_from([0, 0, 0, 1, 2])))


class Form(NamedTuple):
    """How rows are written down."""

    columns: list[str]
    quoting: Any
    delimiter: str
    has_list: bool
    """Features are listed, not flagged."""
    as_integers: bool
    end: str


forms = st.builds(
    Form,
    columns=st.permutations(["Number", "sms", "MMS", "features", "action", "note"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    has_list=st.booleans(),
    as_integers=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)


def said_by(row: Written, form: Form) -> dict[str, Any]:
    features = [name for name, has in (("sms", row.sms), ("mms", row.mms)) if has]
    said = {"features": features} if form.has_list else {"sms": row.sms, "mms": row.mms}
    return {**said, "action": "delete" if row.is_removed else "add", "note": row.note}


def render_csv(rows: list[Written], form: Form) -> str:
    output = io.StringIO()
    writer = csv.writer(output, quoting=form.quoting, delimiter=form.delimiter, lineterminator=form.end)
    writer.writerow(form.columns)
    for row in rows:
        output.write(form.end * row.blank_lines_before)
        fields = {"number": row.text, **said_by(row, form)}
        fields["features"] = " ".join(fields.get("features", []))
        writer.writerow(fields.get(column.lower(), "") for column in form.columns)
    return output.getvalue()


def as_object(row: Written, form: Form) -> dict[str, Any]:
    is_integer = form.as_integers and row.text.isascii() and row.text.isdigit()
    return {"number": int(row.text) if is_integer else row.text, **said_by(row, form)}


def render_ndjson(rows: list[Written], form: Form) -> str:
    return "".join(
        form.end * row.blank_lines_before + json.dumps(as_object(row, form)) + form.end for row in rows
    )


def render_array(rows: list[Written], form: Form) -> str:
    return json.dumps([as_object(row, form) for row in rows])


def render_xml(rows: list[Written], form: Form) -> str:
    elements = []
    for row in rows:
        fields = {"number": row.text, **said_by(row, form)}
        fields["features"] = "".join(f"<f>{name}</f>" for name in fields.get("features", []))
        fields["note"] = (
            fields["note"]
            .replace("&", "&amp;")
            .replace("<", "&lt;")
            .replace("\ufffe", "")
            .replace("\uffff", "")
        )
        columns = [column for column in form.columns if fields.get(column.lower(), "") != ""] + ["x"]
        columns += [] if "Number" in columns else ["Number"]
        elements.append(
            "".join(f"<{column}>{fields.get(column.lower(), '')}</{column}>" for column in columns)
        )
    return f"<r>{''.join(f'<row>{element}</row>' for element in elements)}</r>"


RENDERERS: dict[Format, Callable[[list[Written], Form], str]] = {
    Format.CSV: render_csv,
    Format.NDJSON: render_ndjson,
    Format.JSON: render_array,
    Format.XML: render_xml,
}


def expected_of(rows: list[Written], format_: Format) -> tuple[list[Row], list[int]]:
    line, good, bad = 2 if format_ is Format.CSV else 1, [], []
    for row in rows:
        if format_ in (Format.CSV, Format.NDJSON):
            line += row.blank_lines_before
        if row.number is None:
            bad.append(line)
        else:
            good.append((row.number, row.meaning))
        line += format_ is not Format.XML
    return good, bad


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(written_rows(), min_size=1, max_size=25), form=forms, size=st.integers(1, 200))
@pytest.mark.parametrize("format_", list(RENDERERS))
def test_the_rows_read_are_the_rows_written(
    format_: Format, rows: list[Written], form: Form, size: int
) -> None:
    content = RENDERERS[format_](rows, form).encode()
    read, rejects = parse_whole(PARSERS[format_], content, size, Profile(format=format_))
    good, bad = expected_of(rows, format_)
    assert read == good
    assert [line for line, _ in rejects] == bad


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(written_rows(), min_size=1, max_size=25), form=forms, line_bytes=st.integers(64, 400))
@pytest.mark.parametrize("format_", [Format.CSV, Format.NDJSON, Format.JSON])
def test_how_rows_are_taken_together_makes_no_difference(
    format_: Format, rows: list[Written], form: Form, line_bytes: int
) -> None:
    content = RENDERERS[format_](rows, form).encode()
    whole = parse_whole(PARSERS[format_], content, 1 << 20, Profile(format=format_))
    # A small limit makes small pieces, most of one row; longer rows than it are rejected, and only those.
    few = Profile(format=format_, limits=Limits(line_bytes=line_bytes))
    try:
        read, rejects = parse_whole(PARSERS[format_], content, 1 << 20, few)
    except FeedRefused:
        # The header is too long itself.
        assert len(",".join(form.columns)) + 2 * len(form.columns) > line_bytes
        return
    too_long = [line for line, reason in rejects if reason == f"is longer than {line_bytes} bytes"]
    assert len(read) + len(rejects) == len(whole.rows) + len(whole.rejects)
    if not too_long:
        assert (read, rejects) == whole


# Any bytes

PROFILES = [Profile(format=format_) for format_ in Format]
PROFILES += [
    Profile(format=Format.JSON, rows="data", number="n", features="f"),
    Profile(format=Format.XML, rows="row", number="n", sms="s"),
    Profile(number="n", sms=True, features="f", action="a"),
]
STARTS = [
    b"",
    b"number,sms\n",
    b"npa,nxx,x\n",
    b"start,count\n",
    b"{}\n",
    b'{"number":"4155550101"}\n',
    b'[{"number":',
]
STARTS += [b'[{"number":1},', b'{"data":[', b"<r><row>", b"<?xml ", b"<r><tn>4", b"\x1f\x8b", b"PK\x03\x04"]
STARTS += [
    b"\x1f\x8b\x08\0\0\0\0\0\0\3",
    b"\x28\xb5\x2f\xfd",
    b"\x50\x2a\x4d\x18",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
]
bits = st.sampled_from(
    [b",", b"\n", b"\r", b'"', b"{", b"}", b"[", b"]", b":", b"<tn>", b"</tn>", b"\\", b"4155550101"]
)
contents = st.one_of(
    st.binary(max_size=200), st.lists(st.one_of(bits, st.binary(max_size=3)), max_size=40).map(b"".join)
)


@settings(max_examples=300, deadline=None)
@given(profile=st.sampled_from(PROFILES), start=st.sampled_from(STARTS), content=contents)
def test_whatever_the_bytes_they_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, profile: Profile, start: bytes, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    small = replace(profile, limits=Limits(line_bytes=64))
    for each in (profile, small):
        reason = reason_against(path, start + content, each)
        assert len(reason) < 400
        assert reason.isprintable()


@settings(max_examples=200, deadline=None)
@given(
    profile=st.sampled_from(PROFILES),
    start=st.sampled_from(STARTS),
    content=contents,
    size=st.integers(1, 40),
)
def test_whatever_the_bytes_a_parser_gives_rows_or_refuses(
    profile: Profile, start: bytes, content: bytes, size: int
) -> None:
    parse = PARSERS.get(profile.format, read_delimited)
    try:
        parse_whole(parse, start + content, size, replace(profile, limits=Limits(line_bytes=64)))
    except FeedRefused:
        return


@settings(max_examples=80, deadline=None)
@given(
    damage=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4)
)
@pytest.mark.parametrize("pack", ["gzip", "zstd", "zip"])
def test_damaged_archives_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, pack: str, damage: list[tuple[int, bytes]]
) -> None:
    whole = bytearray(PACKS[pack](b"number\n4155550101\n2122345678\n"))
    for at, data in damage:
        begin = at % len(whole)
        whole[begin : begin + len(data)] = data
    assert reason_against(tmp_path_factory.getbasetemp() / "damaged", bytes(whole)).isprintable()


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("feed.csv", content)
    return file.getvalue()


PACKS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress, "zip": zipped}


# Files that are cut off

CUT = {
    "csv": (
        Profile(),
        "sms,number,mms\n1,4155550101,true\n0,2122345678,\n1,bad,1\nyes,+16049876543,0\n,(415) 555-0102,no",
    ),
    "csv of numbers": (Profile(), "number\n4155550101\n+12122345678\n1-604-987-6543\n14155550102"),
    "csv with features": (
        Profile(),
        "number,features\n4155550101,sms|mms\n2122345678,mms sms\n6049876543,sms,\n",
    ),
    "csv with actions": (
        Profile(),
        "number,action\n4155550101,add\n2122345678,deactivated\n6049876543,delete\n",
    ),
    "csv with marks": (Profile(), "number,marked_for_deletion\r\n4155550101,true\r\n2122345678,false\r\n"),
    "csv quoted": (Profile(), '"number","features"\r\n"4155550101","sms,mms"\r\n"2122345678","mms"\r\n'),
    "ndjson": (
        Profile(),
        '{"number":"4155550101","sms":true,"mms":true}\n{"sms":true,"number":2122345678}\n{"number":"x"}\n',
    ),
    "blocks": (
        Profile(format=Format.RANGES),
        "sms,npa,nxx,x\n1,415,555,1\n0,415,556,A\n1,415,558,9\n",
    ),
    "ranges": (Profile(format=Format.RANGES), "start,count\n4155550100,1000\n+12122345678,25\n"),
    "ends": (Profile(format=Format.RANGES), "start,end\n4155550100,4155550199\n12122345678,+12122345699\n"),
}
WHOLE_OR_NOTHING = {
    "json": (
        Profile(format=Format.JSON),
        '[{"number":"4155550101","sms":true},\n {"number":2122345678,"features":[{"name":"mms"}]}, 7]',
    ),
    "json member": (
        Profile(format=Format.JSON, rows="data"),
        '{"m":{"x":[1]},"data":[{"number":"4155550101","sms":true},{"number":2122345678}],"meta":{"a":[{}]}}',
    ),
    "xml": (
        Profile(format=Format.XML),
        "<?xml version='1.0'?><r><d><tn>4155550101</tn><sms>1</sms></d><tn>2122345678</tn><!----><tn/></r>",
    ),
}


def said_of_numbers(read: Iterable[Row | Range]) -> dict[tuple[str, int], set[int]]:
    """Give what was said of each number, those in ranges included."""
    said: dict[tuple[str, int], set[int]] = {}
    for row in read:
        first, count, features = (
            ((row.area_code, row.first), row.length, row.features)
            if isinstance(row, Range)
            else (row[0], 1, row[1])
        )
        for local in range(first[1], first[1] + count):
            said.setdefault((first[0], local), set()).add(features)
    return said


@pytest.mark.parametrize(("profile", "text"), CUT.values(), ids=CUT)
def test_a_file_of_lines_that_is_cut_off_says_nothing_that_the_whole_does_not(
    profile: Profile, text: str
) -> None:
    content = text.encode()
    parse = PARSERS[
        profile.format
        if profile.format is not Format.PLAIN
        else Format.NDJSON
        if text[0] == "{"
        else Format.CSV
    ]
    whole = said_of_numbers(parse_whole(parse, content, 1_000, profile).rows)
    assert len(whole) > 1
    for size in range(len(content)):
        try:
            cut = said_of_numbers(parse_whole(parse, content[:size], 1_000, profile).rows)
        except FeedRefused:
            continue
        for number, said in cut.items():
            assert said == whole.get(number), (size, number)


@pytest.mark.parametrize(("profile", "text"), WHOLE_OR_NOTHING.values(), ids=WHOLE_OR_NOTHING)
def test_a_document_that_is_cut_off_anywhere_is_refused(profile: Profile, text: str) -> None:
    content = text.encode()
    parse = PARSERS[profile.format]
    assert len(parse_whole(parse, content, 1_000, profile).rows) == 2
    for size in range(1, len(content)):
        for chunk in (1, 1_000):
            with pytest.raises(FeedRefused):
                parse_whole(parse, content[:size], chunk, profile)
