"""Looks for what should be told to nobody, in files that are about to be copied somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Finding", "scan"]

LARGEST = 2**20  # bytes of a file that is looked through: larger ones are data
LONGEST = 2000  # characters of a line: longer ones are data, too


class Finding(NamedTuple):
    """Something that looks like a secret, which is not in here.

    Attributes:
        file: its name. line: from 1, or 0 if it is the file as a whole. kind: what it looks like.
    """

    file: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.kind}" if self.line else f"{self.file} {self.kind}"


_FILES = re.compile(
    r"(?P<settings>\.env(?:\.(?!example|sample|template|dist|defaults?)[\w.-]+)?)"
    r"|(?P<private_key>id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?)"
    r"|(?P<passwords>\.netrc|_netrc|\.pgpass|\.htpasswd|\.git-credentials|\.pypirc)"
)
_OF_FILES = {
    "settings": "(settings of an environment)", "private_key": "(a private key)", "passwords": "(passwords)",
}  # fmt: skip

# What a text must have somewhere (a search for fixed letters takes next to nothing), and what it then looks like.
_TEXTS = (
    ("a private key", (b"PRIVATE KEY", b"PuTTY-User-Key-File-"),
     re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-")),
    ("a key of AWS", (b"AKIA", b"ASIA"), re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a token of GitHub", (b"gh", b"github_pat_"),
     re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22}")),
    ("a key of Google", (b"AIza", b"GOCSPX-"), re.compile(rb"\bAIza[0-9A-Za-z_-]{35}|\bGOCSPX-[0-9A-Za-z_-]{20}")),
    ("a token of Slack", (b"xox", b"hooks.slack.com"),
     re.compile(rb"\bxox[abeoprs]-[0-9A-Za-z-]{10}|hooks\.slack\.com/services/T[0-9A-Za-z]+/B")),
    ("a password in a URL", (b"://",),
     re.compile(rb"://[^\s:@/'\"<>${}]*:[^\s:@/'\"<>${}]{3,}@[\w.-]")),
)  # fmt: skip

_WORDS = rb"passw(?:or)?d|passphrase|secret|token|api_?key|access_?key|account_?key|credential"
_WORD = re.compile(_WORDS)
_ASSIGNED = re.compile(
    rb"(?i)(?P<name>[\w.-]*(?:" + _WORDS + rb")[\w.-]*)[\"']?[ \t]*(?::=?|=)[ \t]*"
    rb"(?:[bru]{0,2}(?P<quote>[\"'])(?P<quoted>[^\s\"'<>${}()%]{8,200})(?P=quote)"
    rb"|(?P<bare>[^\s\"'<>${}()\[\]%,;#]{8,200})[ \t]*(?:#|$))",
)
_ALLOWED = re.compile(rb"gitleaks:allow|pragma: allowlist secret|not a secret")
_PLACEHOLDER = re.compile(rb"(?i)example|placeholder|dummy|change|your|xxx|\*\*\*|\.\.\.|test|redacted|none|null|todo")


def scan(name: str, content: bytes) -> Iterator[Finding]:
    """What of a file looks like a secret.

    A line that says so is none: `gitleaks:allow`, `pragma: allowlist secret` or `not a secret`. Large files, and those
    that are no text, are judged by their names only.

    Args:
        name: of the file, with / between folders. content: what is in it.
    """
    found = _FILES.fullmatch(name.rpartition("/")[2])
    if found and content.strip():
        yield Finding(name, 0, _OF_FILES[found.lastgroup or ""])
        return
    if len(content) > LARGEST or b"\0" in content[:8192]:
        return
    seen = set()
    for kind, needles, pattern in _TEXTS:
        if not any(needle in content for needle in needles):
            continue
        for number, line in _lines(content, pattern, content):
            if number not in seen and not _ALLOWED.search(line):
                seen.add(number)
                yield Finding(name, number, kind)
    for number, line in _lines(content.lower(), _WORD, content):
        if number not in seen and len(line) <= LONGEST and _is_assigned(line):
            yield Finding(name, number, "a value that is called a secret")


def _lines(searched: bytes, pattern: re.Pattern[bytes], content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of the content, with their numbers, in which a pattern is found; it is searched in another spelling."""
    number, counted, position = 1, 0, 0
    while match := pattern.search(searched, position):
        number += content.count(b"\n", counted, match.start())
        counted = match.start()
        beginning = content.rfind(b"\n", 0, counted) + 1
        end = content.find(b"\n", counted)
        position = len(content) if end < 0 else end
        yield number, content[beginning:position]


def _is_assigned(line: bytes) -> bool:
    """Whether a line gives a secret's name to what looks like one: letters and digits, and no word of a program."""
    for match in _ASSIGNED.finditer(line):
        value = match["quoted"] or match["bare"]
        has_both = re.search(rb"[0-9]", value) and re.search(rb"[A-Za-z]", value)
        is_code = match["bare"] and re.search(rb"[.:=]", value)
        if has_both and not is_code and not _PLACEHOLDER.search(value):
            return not _ALLOWED.search(line)
    return False
