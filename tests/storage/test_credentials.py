"""URLs are shown without secrets."""

from __future__ import annotations

import pytest

from machinable.storage.credentials import without_credentials


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://KEY:SECRET@bucket/a", "s3://bucket/a"),
        ("s3://KEY:SE/CR+ET@bucket/a/b", "s3://bucket/a/b"),
        ("s3://KEY:SEC@RET@bucket/a@b", "s3://bucket/a%40b"),
        ("S3://KEY@bucket", "S3://bucket"),
        ("s3://bucket/a?endpoint_url=http%3A%2F%2Fh%3A1", "s3://bucket/a?endpoint_url=http%3A%2F%2Fh%3A1"),
        ("s3://bucket?endpoint_url=http%3A%2F%2Fu%3ASECRET%40h%3A1", "s3://bucket?endpoint_url=http%3A%2F%2Fh%3A1"),
        ("s3://bucket?token=SECRET&acl=x&Secret_Key=SECRET", "s3://bucket?acl=x"),
        ("s3://bucket?password=SECRET", "s3://bucket"),
        ("mem://", "mem://"),
        ("/home/me@work/a?b", "/home/me@work/a?b"),
        ("osfs:///home/me@work", "osfs:///home/me@work"),
    ],
)
def test_shown_urls_contain_no_secret(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
    assert without_credentials(shown) == shown
