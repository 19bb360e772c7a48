"""What a profile may name as the source of its feed."""

import pytest

from shared.feeds.sources import parse_networks, parse_source


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("/var/feeds/acme", None),
        ("/var/feeds/a::b://c", None),
        ("http://carrier.example/feed.csv?day=today", "http"),
        ("https://user:word@carrier.example:8443/feed", "https"),
        ("https://[2001:db8::1]/feed", "https"),
        ("s3://bucket/path/feed.csv.gz", "s3"),
        ("sftp://carrier@files.example:2222/out/feed.csv", "sftp"),
    ],
)
def test_a_source_is_a_path_from_the_root_or_a_url(text: str, scheme: str | None) -> None:
    assert parse_source(text).scheme == scheme


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "feed.csv",
            "~/feed.csv",
            "memory:feed",
            "memory://feed",
            "file:///etc/passwd",
            "ftp://host/hush",
        ),
        *(
            "simplecache::s3://bucket/hush",
            "zip://a.csv::https://host/hush",
            "HTTP://host/",
            "s3:/bucket/hush",
        ),
        *("http://", "http:///hush", "https://host:port/hush", "http://host/a#hush", "http://host/\nhush"),
        *("s3://bucket", "s3://bucket/", "s3://key:hush@bucket/feed", "s3://bucket/feed?versionId=hush"),
        *("sftp://host", "sftp://host/feed?hush", "http://[::1/hush"),
    ],
)
def test_anything_else_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^source: |URL") as caught:
        parse_source(text)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown", "checksum"),
    [
        ("/feeds/a.csv", "/feeds/a.csv", "/feeds/a.csv.sha256"),
        ("https://u:hush@h:8/a?k=hush", "https://h:8/a", "https://u:hush@h:8/a.sha256?k=hush"),
        ("s3://bucket/a%20b", "s3://bucket/a%20b", "s3://bucket/a%20b.sha256"),
    ],
)
def test_secrets_of_a_url_are_not_shown_and_its_checksum_lies_beside_it(
    text: str, shown: str, checksum: str
) -> None:
    source = parse_source(text)
    assert source.shown == shown
    assert source.beside(".sha256").text == checksum


@pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "10.0.0.0/33", ""])
def test_networks_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^allow_networks: "):
        parse_networks([text])
