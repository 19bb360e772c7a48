from pathlib import Path

import pytest

from shared.feeds.profiles import (
    BadProfiles,
    Format,
    Guards,
    Limits,
    Mode,
    Profile,
    read_profiles,
)
from shared.feeds.rows import REMOVAL, Range
from shared.stock_score import MMS, SMS
from tests.rules.feed_files import ONE, THREE, TWO, Read


def profiles_of(tmp_path: Path, text: str) -> str:
    path = tmp_path / "feeds.toml"
    path.write_text(text)
    return str(path)


# The file


def test_a_carrier_without_a_profile_has_the_plain_one_with_the_defaults(tmp_path: Path) -> None:
    profiles = read_profiles(profiles_of(tmp_path, "[defaults]\nsms = true\n[profiles.acme]\nmms = true\n"))
    assert profiles.of("unknown") == Profile(sms=True)
    assert profiles.of("acme") == Profile(sms=True, mms=True)
    assert read_profiles(profiles_of(tmp_path, "")).of("acme") == Profile()


def test_a_profile_takes_over_what_another_says_and_tables_in_it_alike(tmp_path: Path) -> None:
    text = """
        [defaults.guards]
        removed_percent = 7
        emptied_area = 50
        [profiles.base]
        format = "json"
        rows = "data"
        guards = { removed_percent = 8 }
        limits = { rows = 10 }
        [profiles.middle]
        like = "base"
        precedence = 1
        [profiles.acme]
        like = "middle"
        rows = "items"
        guards = { removed_numbers = 9 }
    """
    assert read_profiles(profiles_of(tmp_path, text)).of("acme") == Profile(
        format=Format.JSON,
        rows="items",
        precedence=1,
        guards=Guards(removed_percent=8, emptied_area=50, removed_numbers=9),
        limits=Limits(rows=10),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[profiles.acme", "Expected ']'"),
        ("[profile.acme]", "there is no table 'profile', only defaults and profiles"),
        ("[profiles.Acme]", "[profiles.Acme]: a name has 1-32 characters of a-z, 0-9 and -"),
        ("[profiles.acme]\nformt = 'csv'", "[profiles.acme]: Object contains unknown field `formt`"),
        ("[profiles.acme]\nformat = 'xls'", "[profiles.acme]: Invalid enum value 'xls' - at `$.format`"),
        ("[profiles.acme]\nguards = { removed_percent = 101 }", "- at `$.guards.removed_percent`"),
        ("[profiles.acme]\nlimits = { line_bytes = 1 }", "- at `$.limits.line_bytes`"),
        ("[profiles.acme]\nlike = 'none'", "[profiles.acme]: like = 'none', and there is no such profile"),
        ("[profiles.acme]\nlike = 'acme'", "[profiles.acme]: its `like` leads in a circle"),
        ("[profiles.a]\nlike = 'b'\n[profiles.b]\nlike = 'a'", "[profiles.a]: its `like` leads in a circle"),
        ("[defaults]\nnumber = 7", "[defaults]: Expected `str | null`, got `int` - at `$.number`"),
        ("profiles = 7", "profiles is no table"),
        ("[profiles]\nacme = 7", "profiles.acme is no table"),
        ("defaults = 7", "defaults is no table"),
        ("[profiles.acme]\nlike = 7", "[profiles.acme]: like = 7"),
        ("[profiles.acme]\nnumber = '\"tn\"'", "[profiles.acme]: number: '\"tn\"': no name has quotes"),
        ("[profiles.acme]\nrows = 'a\\b'", "[profiles.acme]: rows: 'a\\\\b': no name has"),
        ('[profiles.acme]\nsms = "s\\tms"', "[profiles.acme]: sms: 's\\tms': no name has"),
        ('[profiles.acme]\naction = "\\u007f"', "[profiles.acme]: action: "),
        ('[defaults]\nmms = "\\u0000"', "[defaults]: mms: "),
        ("[profiles.acme]\nfeatures = 'x\"'", "[profiles.acme]: features: "),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path: Path, text: str, reason: str) -> None:
    path = profiles_of(tmp_path, text)
    with pytest.raises(BadProfiles) as caught:
        read_profiles(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_a_file_that_is_missing_or_no_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadProfiles, match="No such file or directory"):
        read_profiles(str(tmp_path / "none.toml"))
    path = tmp_path / "feeds.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadProfiles):
        read_profiles(str(path))


def test_carriers_are_ordered_by_precedence_and_then_by_when_they_came(tmp_path: Path) -> None:
    text = "[profiles.late]\nprecedence = 200\n[profiles.first]\nprecedence = 1\n"
    profiles = read_profiles(profiles_of(tmp_path, text))
    assert profiles.order({"late": 1, "b": 2, "a": 3, "first": 4}) == [4, 2, 3, 1]


# The file that comes with the service


SHIPPED = read_profiles(None)


def test_the_shipped_defaults_are_those_of_the_code_written_out() -> None:
    assert SHIPPED.default == Profile()


def test_the_shipped_profiles_are_the_known_shapes() -> None:
    names = {"bandwidth", "bandwidth-json", "bulkvs", "peerless", "telnyx", "somleng", "blocks"}
    assert set(SHIPPED.by_name) == names


def test_reads_bandwidths_xml(read: Read) -> None:
    content = b"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
        <SearchResult><ResultCount>2</ResultCount><TelephoneNumberDetailList>
          <TelephoneNumberDetail><City>SAN FRANCISCO</City><LATA>722</LATA><RateCenter>SNFC CNTRL</RateCenter>
            <State>CA</State><FullNumber>4155550101</FullNumber><Tier>0</Tier><VendorId>49</VendorId>
            <VendorName>Bandwidth CLEC</VendorName></TelephoneNumberDetail>
          <TelephoneNumberDetail><City>NEW YORK</City><LATA>132</LATA><RateCenter>NWYRCYZN01</RateCenter>
            <State>NY</State><FullNumber>+12122345678</FullNumber><Tier>1</Tier><VendorId>49</VendorId>
            <VendorName>Bandwidth CLEC</VendorName></TelephoneNumberDetail>
        </TelephoneNumberDetailList></SearchResult>"""
    assert read(content, SHIPPED.of("bandwidth")) == ([(ONE, 0), (TWO, 0)], [])


def test_reads_bandwidths_json(read: Read) -> None:
    content = b"""[
        {"city": "SAN FRANCISCO", "fullNumber": "+14155550101", "lata": "722", "rateCenter": "SNFC CNTRL",
         "state": "CA", "tier": 0, "vendorId": 49, "vendorName": "Bandwidth CLEC"},
        {"city": "NEW YORK", "fullNumber": "2122345678", "state": "NY", "tier": 1}]"""
    assert read(content, SHIPPED.of("bandwidth-json")) == ([(ONE, 0), (TWO, 0)], [])


def test_reads_bulkvs(read: Read) -> None:
    content = b"""[
        {"TN": "14155550101", "Rate Center": "SNFC CNTRL", "State": "CA", "Per Minute Rate": "0.003"},
        {"TN": "12122345678", "Rate Center": "NWYRCYZN01", "State": "NY", "Per Minute Rate": "0.0030"}]"""
    assert read(content, SHIPPED.of("bulkvs")) == ([(ONE, 0), (TWO, 0)], [])


def test_reads_peerless(read: Read) -> None:
    content = b'[{"did": "4155550101", "category": "0"}, {"did": "2122345678", "category": "1"}]'
    assert read(content, SHIPPED.of("peerless")) == ([(ONE, 0), (TWO, 0)], [])


def test_reads_telnyx(read: Read) -> None:
    content = b"""{"data": [
        {"record_type": "available_phone_number", "phone_number": "+14155550101", "best_effort": false,
         "features": [{"name": "sms"}, {"name": "mms"}, {"name": "voice"}],
         "region_information": [{"region_type": "state", "region_name": "CA"}], "quickship": true},
        {"phone_number": "+12122345678", "features": [{"name": "voice"}, {"name": "emergency"}],
         "region_information": [], "cost_information": {"upfront_cost": "1.0", "currency": "USD"}},
        {"phone_number": "+442079460958", "features": [{"name": "sms"}], "region_information": []}],
        "meta": {"total_results": 3, "best_effort_results": 0}}"""
    rows, rejects = read(content, SHIPPED.of("telnyx"))
    assert rows == [(ONE, SMS | MMS), (TWO, 0)]
    assert rejects == [(3, "country code is not 1")]


def test_reads_somleng_in_which_what_is_not_listed_stays(read: Read) -> None:
    header = b"number,type,visibility,country,price,region,locality,lata,rate_center,latitude,longitude"
    row = b",local,public,US,1.15,CA,San Francisco,722,SNFC CNTRL,37.77,-122.41"
    content = header + b"\n14155550101" + row + b'\n"12122345678"' + row + b"\n2442" + row + b"\n"
    somleng = SHIPPED.of("somleng")
    assert somleng.mode is Mode.DELTA
    assert read(content, somleng) == ([(ONE, 0), (TWO, 0)], [(4, "has 4 digits, needs 10")])
    content = header + b",marked_for_deletion\n14155550101" + row + b",true\n12122345678" + row + b",\n"
    assert read(content, somleng) == ([(ONE, REMOVAL), (TWO, 0)], [])


def test_reads_blocks_and_ranges(read: Read) -> None:
    blocks = SHIPPED.of("blocks")
    assert read(b"npa,nxx,x\n415,555,1\n212,234,A\n", blocks).rows == [
        Range("415", 5_551_000, 1_000, 0),
        Range("212", 2_340_000, 10_000, 0),
    ]
    assert read(b"start,count\n4155550101,20\n", blocks).rows == [Range("415", 5_550_101, 20, 0)]


def test_reads_every_spelling_seen_in_carriers_feeds(read: Read) -> None:
    spellings = [
        "4155550101",
        "14155550101",
        "+14155550101",
        "1-415-555-0101",
        "+(1) 415-555-0101",
        "(415) 555-0101",
    ]
    content = "number\n" + "".join(f"{spelling}\n" for spelling in spellings)
    assert read(content.encode()) == ([(ONE, 0)] * len(spellings), [])
    assert read(b"number\n6049876543\n").rows == [(THREE, 0)]
