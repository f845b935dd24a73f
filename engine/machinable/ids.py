"""Ids and seeds: the id of an execution encodes its seed, from which the seeds and uids of its trials follow.

A trial has the same seed whatever else is in the plan, and the id is enough to draw the same numbers again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from machinable.errors import InvalidType, InvalidValue
from machinable.serialization import Plain, canonical

__all__ = [
    "assign",
    "decode",
    "doubt_about",
    "encode",
    "folder_name",
    "is_by_content",
    "is_folder_name",
    "level_seed",
    "paired_seed",
    "parse_folder_name",
    "seed_of",
    "seed_of_content",
    "seed_of_text",
]

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LENGTH = 6
LOWEST = 62 ** (LENGTH - 1)
HIGHEST = 62**LENGTH - 1
CONTENT = "content"
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]  # two digits at once halve the time
_T = TypeVar("_T", int, str)
_FOLDER = re.compile(r"([1-9A-Za-z][0-9A-Za-z]{5})(?:-(?!1\Z)([1-9][0-9]*))?", re.ASCII)


def encode(number: int, length: int = LENGTH) -> str:
    """Return the number in base 62, most significant digit first, padded with zeros to `length`."""
    pairs = []
    while number:
        number, pair = divmod(number, 62 * 62)
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs)).lstrip("0").rjust(length, "0")


def decode(text: str) -> int:
    """Return the seed that an execution id stands for: `OY1p1o` → 22490017876.

    Raises:
        InvalidValue: The text is not an id.
    """
    identifier, run = parse_folder_name(text)
    if run != 1:
        raise InvalidValue(
            f"{text!r} is not an execution id", given=text, todo=f"Leave out the suffix: {identifier!r}."
        )
    number = 0
    for character in identifier:
        number = number * 62 + _VALUES[character]
    return number


def parse_folder_name(text: str) -> tuple[str, int]:
    """Return the id and the run number in a folder name: `OY1p1o` → `("OY1p1o", 1)`, `OY1p1o-2` → `("OY1p1o", 2)`.

    Raises:
        InvalidValue: The text is neither an id nor an id with a rerun suffix.
    """
    match = _FOLDER.fullmatch(text)
    if match is None:
        raise InvalidValue(
            f"{text!r} is not an execution id",
            given=text,
            todo="An id has six characters of 0-9 A-Z a-z and does not begin with 0, such as OY1p1o; "
            "a rerun has a suffix from -2 on, such as OY1p1o-2. For a number, pass an int.",
        )
    return match[1], int(match[2] or 1)


def is_folder_name(text: str) -> bool:
    """Return whether a name can be that of the folder of an execution."""
    return _FOLDER.fullmatch(text) is not None


def folder_name(identifier: str, run: int) -> str:
    """Return the name of the folder of an execution: the id, with a suffix from the second run on."""
    return identifier if run == 1 else f"{identifier}-{run}"


def is_by_content(seed: object) -> bool:
    """Return whether the trials of an execution take their seeds from their content: `content`, `content:OY1p1o`."""
    return isinstance(seed, str) and (seed == CONTENT or seed.startswith(f"{CONTENT}:"))


def seed_of(seed: object) -> int:
    """Return the seed of an execution for the argument `seed`.

    None and "content" draw one from the operating system, an int is mapped into the range of ids, and an id encodes
    one, also after "content:".

    Raises:
        InvalidValue: A text is not an id.
        InvalidType: The seed is a bool or of another type.
    """
    if seed is None or seed == CONTENT:
        from random import SystemRandom

        return SystemRandom().randint(LOWEST, HIGHEST)
    if isinstance(seed, str):
        return decode(parse_folder_name(seed.removeprefix(f"{CONTENT}:"))[0])
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidType(
            f"{seed!r} is not a seed",
            given=seed,
            todo="A seed is None, an int, an execution id such as 'OY1p1o', or 'content'.",
        )
    from random import Random

    return Random(seed).randint(LOWEST, HIGHEST)


def doubt_about(seed: object) -> str | None:
    """Return a warning about a seed that probably should be another one, None if there is no doubt."""
    if isinstance(seed, str) and any(seed == CONTENT[:at] + CONTENT[at + 1 :] for at in range(len(CONTENT))):
        return f"seed={seed!r} is an execution id; for seeds from the content of trials: seed={CONTENT!r}"
    if isinstance(seed, bool) or not isinstance(seed, int):
        return None
    if seed < 0:
        return f"seed={seed} draws the same numbers as seed={-seed}: the sign of a seed does not count"
    if LOWEST <= seed <= HIGHEST:
        return f"seed={seed} is the number in the id {encode(seed)}; for its numbers, use the id: seed={encode(seed)!r}"
    return None


def seed_of_text(text: str) -> int | str:
    """Return the seed in a text from the command line or a variable: digits are a number, everything else is an id.

    An id of digits only is written `id:…`.

    Raises:
        InvalidValue: The text is neither.
    """
    if re.fullmatch(r"[-+]?[0-9]+", text, re.ASCII):
        return int(text)
    if text == CONTENT:
        return text
    identifier = text.removeprefix(f"{CONTENT}:" if is_by_content(text) else "id:")
    if _FOLDER.fullmatch(identifier) is None:
        raise InvalidValue(
            f"the seed {text!r} is neither a number nor an execution id",
            given=text,
            todo="Write a whole number, such as 42, or an id, such as OY1p1o: six characters of 0-9 A-Z a-z that do not"
            " begin with 0. An id of digits only is written id:123456. Or write content: trials take their seeds from"
            " their content.",
        )
    return text if is_by_content(text) else identifier


def _draw(head: str, tail: str) -> int:
    from hashlib import blake2b  # 3 ms with OpenSSL, which commands that read do not need

    hashed = blake2b(f"{head}{tail}]".encode("ascii"), digest_size=16).digest()
    return int.from_bytes(hashed, "big")


def level_seed(execution_seed: int, label: str) -> int:
    """Return the seed (31 bit) that all trials of a level of `repeat` or `split` share."""
    return _draw(canonical([execution_seed, "level", label])[:-1], "") % 2**31


def paired_seed(execution_seed: int, numbers: Plain) -> int:
    """Return the seed (31 bit) that all trials with the same numbers in all levels share."""
    return _draw(canonical([execution_seed, "paired", numbers])[:-1], "") % 2**31


def seed_of_content(content: str) -> int:
    """Return the seed (31 bit) of a required component, which is the same in every execution."""
    return _draw(canonical(["seed", content])[:-1], "") % 2**31


def assign(
    execution_seed: int, keys: Sequence[str], chosen: Sequence[int | None], taken: set[str] | None = None
) -> list[tuple[int, str]]:
    """Return the seed (31 bit) and uid (12 characters) of each trial, unique in the plan and independent of its order.

    Trials draw in the order of their keys; each gets the first draw that no earlier one has.

    The keys are the canonical JSON that distinguishes the trials. Seeds chosen by the user do not affect other draws.
    Uids that are `taken` are not drawn; those that are drawn are added to them.
    """
    result: list[tuple[int, str]] = [(0, "")] * len(keys)
    seeds: set[int] = set()
    uids: set[str] = set() if taken is None else taken
    for index in sorted(range(len(keys)), key=keys.__getitem__):
        seed = chosen[index]
        if seed is None:
            seed = _first_free(execution_seed, "seed", keys[index], seeds, lambda draw: draw % 2**31)
        uid = _first_free(execution_seed, "uid", keys[index], uids, lambda draw: encode(draw % 62**12, 12))
        result[index] = seed, uid
    return result


def _first_free(execution_seed: int, purpose: str, text: str, taken: set[_T], value_of: Callable[[int], _T]) -> _T:
    head = f'[{execution_seed},"{purpose}",{text}'
    value = value_of(_draw(head, ""))
    n = 0
    while value in taken:
        n += 1
        value = value_of(_draw(head, f",{n}"))
    taken.add(value)
    return value
