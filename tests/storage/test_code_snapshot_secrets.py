"""Possible secrets in code, and false alarms. They are concatenated here, so that scanners do not find them."""

from __future__ import annotations

import pytest

from machinable.storage.code_snapshot import scan

DIGITS = "a1B2c3D4e5"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("-----BEGIN RSA PRIV" + "ATE KEY-----", "a private key"),
        ("-----BEGIN PRIV" + "ATE KEY-----", "a private key"),
        ("-----BEGIN OPENSSH PRIV" + "ATE KEY-----", "a private key"),
        ("-----BEGIN PGP PRIV" + "ATE KEY BLOCK-----", "a private key"),
        ('{"private_key": "-----BEGIN PRIV' + 'ATE KEY-----\\nMII"}', "a private key"),
        ("key = 'AK" + "IA" + "ABCDEFGHIJ234567'", "an AWS key"),
        ("gh" + "p_" + "Ab3" * 12, "a GitHub token"),
        ("gith" + "ub_pat_" + "Ab3" * 12, "a GitHub token"),
        ("AI" + "za" + "Ab3-_" * 7, "a Google API key"),
        ("xo" + "xb-1234567890-abcdef", "a Slack token"),
        ("https://hooks.sl" + "ack.com/services/T0/B0/x", "a Slack token"),
        ("url: s3://KEY:" + DIGITS + "@bucket/x", "a password in a URL"),
        ("redis://:" + DIGITS + "@localhost:6379/0", "a password in a URL"),
        ("pass" + f"word = '{DIGITS}'", "a value with the name of a secret"),
        ("DB_PASS" + f"WD={DIGITS}", "a value with the name of a secret"),
        ('    "api' + f'_key": "{DIGITS}",', "a value with the name of a secret"),
        ("  _to" + f"ken: {DIGITS}   # of the server", "a value with the name of a secret"),
        ("client_sec" + f"ret := b'{DIGITS}'", "a value with the name of a secret"),
        ("aws_secret_acc" + f"ess_key={DIGITS}/{DIGITS}", "a value with the name of a secret"),
    ],
)
def test_a_possible_secret_is_found_in_its_line(line: str, kind: str) -> None:
    content = f"first\nsecond\n{line}\nlast\n".encode()
    assert list(scan("a/b.py", content)) == [f"a/b.py:3 {kind}"]
    assert list(scan("a/b.py", line.encode() + b"  # gitleaks:allow")) == []
    assert list(scan("a/b.py", line.encode() + b"  # not a secret")) == []


@pytest.mark.parametrize(
    "line",
    [
        "token = tokenizer.next_token2()",
        "password = os.environ['PASSWORD2']",
        "password: ${DB_PASSWORD_2}",
        "secret = get_secret('name', version=2)",
        "token = 'end_of_sequence'",
        "self.token = self.tokens[2]",
        "password = 'your-password-1'",
        "api_key: <your key 1>",
        "max_tokens = 123456789",
        "token_ids=batch1.token_ids",
        "https://example.org:8080/a@b",
        "git@github.com:user/repository2.git",
        "s3://${KEY}:${SECRET}@bucket",
        "f'redis://:{password}@{host}'",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "# the password has 8 letters and 2 digits",
    ],
)
def test_code_that_mentions_secrets_is_no_finding(line: str) -> None:
    assert list(scan("a.py", line.encode())) == []


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        (".env", True),
        ("a/.env", True),
        (".env.local", True),
        (".env.production", True),
        (".env.example", False),
        (".env.template", False),
        ("x.env", False),
        ("id_rsa", True),
        (".ssh/id_ed25519", True),
        ("id_rsa.pub", False),
        (".netrc", True),
        (".pgpass", True),
        ("env.py", False),
        (".envrc", False),
    ],
)
def test_some_files_are_secrets_by_their_names(name: str, is_secret: bool) -> None:
    assert [found.startswith(f"{name} (") for found in scan(name, b"A=1\n")] == ([True] if is_secret else [])
    assert list(scan(name, b" \n")) == []


def test_data_is_not_scanned() -> None:
    secret = b"AK" + b"IAABCDEFGHIJ234567\n"
    assert list(scan("x.bin", b"\0" + secret)) == []
    assert list(scan("x.csv", secret + b"1,2,3\n" * 300_000)) == []
    assert len(list(scan("x.csv", secret))) == 1


@pytest.mark.parametrize(
    "text", [b"a" * 2**20, b"token_" * 170_000, b"a:" * 500_000, b"://a" * 250_000, b"x-" * 500_000]
)
def test_a_scan_ends_in_time(text: bytes) -> None:
    """Expressions that go back and forth in such texts would take hours."""
    assert list(scan("x", text[: 2**20])) == []
