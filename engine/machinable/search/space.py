"""What a search varies: a domain for each key of a configuration, and for the version `~`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from machinable.config.nodes import Source
from machinable.config.reader import read as read_yaml
from machinable.errors import (
    InvalidType,
    InvalidValue,
    MachinableError,
    MalformedText,
    Place,
    SeveralErrors,
    UnknownName,
    WrongType,
    near_names,
    suggestion,
)
from machinable.search.domains import DOMAINS, Choice, Domain, Number, domain_from, written_domain
from machinable.serialization import Plain, as_plain, is_hidden

__all__ = ["Pick", "Space", "read_domain", "read_space"]

# From the name of a setting and its domain to a value, for a choice to the number of an option.
Pick = Callable[[str, Domain], Any]

_VERSION = "~"
_NO: Any = object()
_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\(")
_EXAMPLE = 'Write {"rate": ml.loguniform(1e-4, 1e-1)}, in YAML {rate: {loguniform: [1e-4, 1e-1]}}.'


class Space:
    """The domains of a search by the keys of the configuration, with dots; `~` is the version.

    A domain within an option of a choice is a setting, too: its name is the key with the number of the option,
    `optimizer[0].momentum`.

    Args:
        domains: The domains, by key.
    """

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        self.domains = dict(domains)

    def __repr__(self) -> str:
        return f"Space({self.domains!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and list(self.domains.items()) == list(other.domains.items())

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The keys that have domains."""
        return tuple(self.domains)

    @cached_property
    def settings(self) -> dict[str, Domain]:
        """All domains by name, also those that are chosen only if an option is."""
        return dict(found for path, domain in self.domains.items() for found in _settings(path, domain))

    @cached_property
    def size(self) -> int | None:
        """The number of different samples, None if a domain is continuous."""
        return _product(map(_count, self.domains.values()))

    @cached_property
    def grid_size(self) -> int:
        """The number of combinations of the values in the `grid`s, 1 if there are none."""
        return math.prod(map(len, self._grids.values()))

    @cached_property
    def _grids(self) -> dict[str, tuple[Any, ...]]:
        return {
            path: domain.options
            for path, domain in self.domains.items()
            if isinstance(domain, Choice) and domain.kind == "grid"
        }

    def draw(self, pick: Pick) -> dict[str, Any]:
        """Return a value for each key, made of what `pick` returns for each setting that is reached, in order."""
        return {path: _draw(domain, path, pick) for path, domain in self.domains.items()}

    def combination(self, number: int) -> dict[str, Any]:
        """Return the values of a sample of all, by its number from 0; the last key varies fastest."""
        values = {}
        for path, domain in reversed(self.domains.items()):
            number, index = divmod(number, _count(domain) or 1)
            values[path] = _at(domain, index)
        return {path: values[path] for path in self.domains}

    def grid_point(self, number: int) -> dict[str, int]:
        """Return the numbers of the options of all `grid`s in a combination, which is `number` modulo their count."""
        point = {}
        for path, options in reversed(self._grids.items()):
            number, point[path] = divmod(number, len(options))
        return point

    def picks(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `draw` must pick for values of this space: numbers, and for choices the numbers of options."""
        picks: dict[str, Any] = {}
        for path, domain in self.domains.items():
            _match(domain, values[path], path, picks)
        return picks

    def read(self, values: Any) -> dict[str, Any]:
        """Return values as plain data, numbers in the type of their domains.

        Raises:
            InvalidType, InvalidValue: It is not a mapping, has other keys, or a value is not in its domain.
            WrongType: A value is not plain data.
        """
        if not isinstance(values, Mapping):
            todo = f"A sample is a mapping with {', '.join(map(repr, self.paths))}."
            raise InvalidType(f"{values!r} is not a mapping from keys to values", given=values, todo=todo)
        unknown = [key for key in values if key not in self.domains]
        problems: list[MachinableError] = [UnknownName("key of the space", key, self.paths) for key in unknown]
        result = {}
        for path, domain in self.domains.items():
            if path not in values:
                problems.append(InvalidValue(f"{path!r} has no value", path=path, todo=f"Expected: {domain!r}."))
                continue
            plain = as_plain(values[path], path)
            result[path] = _match(domain, plain, path, {})
            if result[path] is _NO:
                problems.append(
                    InvalidValue(f"{path} = {plain!r} is not in {domain!r}", path=path, given=plain, known=self.paths)
                )
        SeveralErrors.raise_any(problems)
        return result

    def plain(self) -> Plain:
        """Return the space as it is written in YAML, which `read_space` reads again."""
        return {path: domain.plain() for path, domain in self.domains.items()}


def read_space(given: Any) -> Space:
    """Return the space that a mapping describes: from keys to domains, also as in YAML, `{"uniform": [0, 1]}`.

    Mappings of keys stand for keys with dots. The old spelling `{"grid_search": [1, 2]}` is `grid([1, 2])`.

    Raises:
        InvalidType, InvalidValue: It is not such a mapping, or the arguments of a domain are wrong.
        SeveralErrors: Several of its domains are wrong.
    """
    if isinstance(given, Space):
        return given
    if not isinstance(given, Mapping) or isinstance(given, (Number, Choice)):
        raise InvalidType(f"a space is a mapping from keys to domains, not {given!r}", given=given, todo=_EXAMPLE)
    if not given:
        raise InvalidValue("the space is empty, so there is nothing to search", given=given, todo=_EXAMPLE)
    problems: list[MachinableError] = []
    domains: dict[str, Domain] = {}
    for path, value in _flat(given, ()):
        try:
            domain = _read_one(path, value)
        except MachinableError as error:
            error.path = error.path or path
            problems.extend(error.parts)
        else:
            if path in domains:
                problems.append(InvalidValue(f"{path!r} is twice in the space", path=path, given=path))
            domains[path] = domain
    for path in domains:
        outer = next((other for other in domains if path.startswith(f"{other}.")), None)
        if outer is not None:
            problems.append(
                InvalidValue(
                    f"{path!r} is part of {outer!r}, which has a domain, too",
                    path=path,
                    given=path,
                    todo=f"Write it within the values of {outer!r}, or give only keys below {outer!r} a domain.",
                )
            )
    SeveralErrors.raise_any(problems)
    return Space(domains)


def _flat(given: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        path = ".".join([*above, str(key)])
        is_domain = not isinstance(value, Mapping) or not value or _spells_domain(value)
        if is_domain or not isinstance(key, str) or key == _VERSION:
            yield path, value
        else:
            yield from _flat(value, (*above, key))


def _spells_domain(value: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is meant as a domain: its only key is the name of one, or nearly, with arguments."""
    if len(value) != 1:
        return False
    ((key, arguments),) = value.items()
    if not isinstance(key, str) or isinstance(arguments, (Number, Choice)):
        return False
    if key in DOMAINS or key == "grid_search":
        return True
    return isinstance(arguments, (list, tuple)) and bool(near_names(key, DOMAINS))


def _read_one(path: str, value: Any) -> Domain:
    parts = path.split(".")
    if not all(part == part.strip() != "" for part in parts):
        raise InvalidValue(f"{path!r} is not a key", path=path, given=path, todo="Write names of keys, with dots.")
    if any(map(is_hidden, parts)):
        todo = "Set it in the version of the task; what is searched is stored and shown."
        raise InvalidValue(f"{path!r} is a hidden key, which a search cannot choose", path=path, todo=todo)
    if _VERSION in parts[1:] or (parts[0] == _VERSION and len(parts) > 1):
        todo = 'Write "~": choice(["~small", "~large"]).'
        raise InvalidValue(f"{path!r} is not a key: '~' alone is the version", path=path, given=path, todo=todo)
    domain: Domain | None
    if isinstance(value, (Number, Choice)):
        domain = value
    elif isinstance(value, Mapping) and _spells_domain(value) and (domain := written_domain(value)) is None:
        raise UnknownName("domain", next(iter(value)), DOMAINS, path=path)
    else:
        domain = written_domain(value)
    if domain is None:
        raise _no_domain(path, value)
    _check_texts(path, domain)
    if path == _VERSION and isinstance(domain, Number):
        todo = 'Write "~": choice(["~small", "~large"]).'
        raise InvalidValue(f"a version is one of several, not {domain!r}", path=path, given=domain, todo=todo)
    return domain


def _check_texts(name: str, template: Any) -> None:
    """Check that no text is the beginning of a domain, which YAML splits at its comma: `{rate: uniform(0, 1)}`.

    Raises:
        InvalidValue: One is.
    """
    if isinstance(template, str):
        call = _CALL.match(template)
        if call is not None and call[1] in DOMAINS and _closing(template, call.end()) is None:
            todo = f"Write {_example(call[1], in_yaml=True)} instead of a call."
            raise InvalidValue(f"{template!r} is a part of a domain", path=name, given=template, todo=todo)
    for below, inner in _parts(name, template):
        _check_texts(below, inner)


def _no_domain(path: str, value: Any) -> MachinableError:
    if isinstance(value, str):
        call = _CALL.match(value)
        if call is not None and value.rstrip().endswith(")"):
            inner = value.strip()[len(call[0].strip()) : -1]
            todo = suggestion(call[1], DOMAINS) if call[1] not in DOMAINS else f"Write {{{call[1]}: [{inner}]}}."
            return InvalidValue(f"{value!r} is text, not a domain", path=path, given=value, todo=todo)
    module = type(value).__module__.partition(".")[0]
    if module in ("ray", "optuna", "scipy"):
        todo = "Write one of machinable's: " + ", ".join(f"ml.{name}" for name in DOMAINS) + "."
        return InvalidType(f"{value!r} is a domain of {module}", path=path, given=value, todo=todo)
    if callable(value):
        name = getattr(value, "__name__", repr(value))
        called = f"Call it: {name}(…)." if name in DOMAINS else None
        return InvalidType(f"{name} is a function, not a domain", path=path, given=value, todo=called or _EXAMPLE)
    if isinstance(value, (list, tuple, set, frozenset, range)):
        shown = list(value)
        todo = f"Write choice({shown!r}) to choose one, grid({shown!r}) to try each."
    else:
        todo = "Set a value that does not vary in the version of the task, or write a domain: uniform(0, 1)."
    return InvalidType(f"{value!r} is not a domain", path=path, given=value, todo=todo)


def read_domain(text: str, place: Callable[[int], Place] | None = None) -> Domain:
    """Return the domain that a text spells: `loguniform(1e-4, 1e-1)`, `choice(sgd, adam)`, or YAML `{uniform: [0, 1]}`.

    The arguments are YAML. `choice([32], [64, 64])` has two values; a single list is the list of all values, as in
    Python.

    Args:
        text: The text.
        place: Returns the place of a character, by its number from 0; by default, that in the text.

    Raises:
        MalformedText, UnknownName: It is not a domain; the error points at the character.
        InvalidType, InvalidValue: Its arguments are wrong.
    """

    def at(character: int) -> Place:
        return place(character) if place is not None else Place("domain", 1, character + 1, text)

    try:
        return _read_text(text, at)
    except MachinableError as error:
        error.at = error.at or at(len(text) - len(text.lstrip()))
        raise


def _read_text(text: str, at: Callable[[int], Place]) -> Domain:
    if text.lstrip().startswith("{"):
        domain = written_domain(_yaml(text, text, 0, at))
        if domain is None:
            raise MalformedText(f"{text!r} is not a domain", given=text, todo=_todo())
        return domain
    call = _CALL.match(text)
    if call is None:
        name = re.match(r"\s*[A-Za-z_]\w*", text)
        known = name is not None and name[0].strip() in DOMAINS
        todo = f"Write its arguments in parentheses: {_example(name[0].strip())}." if known and name else _todo()
        what = f"{text!r} has no arguments in parentheses" if known else f"{text!r} is not a domain"
        raise MalformedText(what, at=at(name.end() if known and name else 0), given=text, todo=todo)
    kind = "grid" if call[1] == "grid_search" else call[1]
    if kind not in DOMAINS:
        raise UnknownName("domain", kind, DOMAINS, at=at(call.start(1)))
    end = len(text.rstrip())
    closed = _closing(text, call.end())
    if closed is None:
        raise MalformedText(
            f"the parenthesis of {kind} is not closed", at=at(end), given=text, todo=f"Write {text.rstrip()})."
        )
    if closed != end - 1:
        raise MalformedText(
            f"{text[closed + 1 : end]!r} follows the domain", at=at(closed + 1), given=text, todo="Remove it."
        )
    inner = text[call.end() : closed]
    arguments = _yaml(f"[{inner}]", text, call.end() - 1, at)
    if kind in ("choice", "grid") and not (len(arguments) == 1 and isinstance(arguments[0], list)):
        return domain_from(kind, arguments)
    return domain_from(kind, arguments[0] if kind in ("choice", "grid") else arguments)


def _closing(text: str, start: int) -> int | None:
    """Return the position of the parenthesis that closes the one before `start`; quotes hide others."""
    depth, quote = 1, ""
    for position in range(start, len(text)):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0:
                return position
    return None


def _yaml(yaml: str, text: str, offset: int, at: Callable[[int], Place]) -> Any:
    try:
        return as_plain(read_yaml(Source("domain", yaml)))
    except (MalformedText, WrongType) as error:
        column = min(error.at.column - 1, len(yaml)) if error.at is not None and error.at.line == 1 else len(yaml)
        message = f"the arguments are not YAML: {error.message.removeprefix('this is not YAML: ')}"
        raise MalformedText(message, at=at(min(offset + column, len(text))), given=text, todo=_todo()) from None


def _todo() -> str:
    return f"Write one of: {', '.join(_example(name) for name in DOMAINS)}."


def _example(kind: str, in_yaml: bool = False) -> str:
    bounds = {"uniform": "0,1", "quniform": "0,1,0.25", "randint": "1,8", "lograndint": "1,1024"}
    arguments = "32,64" if kind in ("choice", "grid") else bounds.get(kind, "1e-4,1e-1")
    return f"{{{kind}: [{arguments.replace(',', ', ')}]}}" if in_yaml else f"{kind}({arguments})"


# Templates: a domain, a value, or a mapping or list with domains in it


def _settings(name: str, template: Any) -> Iterator[tuple[str, Domain]]:
    if isinstance(template, (Number, Choice)):
        yield name, template
    for below, inner in _parts(name, template):
        yield from _settings(below, inner)


def _parts(name: str, template: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(template, Choice):
        template = template.options
    if isinstance(template, dict):
        yield from ((f"{name}.{key}", inner) for key, inner in template.items())
    elif isinstance(template, (list, tuple)):
        yield from ((f"{name}[{number}]", inner) for number, inner in enumerate(template))


def _draw(template: Any, name: str, pick: Pick) -> Any:
    if isinstance(template, Number):
        return pick(name, template)
    if isinstance(template, Choice):
        index = pick(name, template)
        return _draw(template.options[index], f"{name}[{index}]", pick)
    if isinstance(template, dict):
        return {key: _draw(inner, f"{name}.{key}", pick) for key, inner in template.items()}
    if isinstance(template, list):
        return [_draw(inner, f"{name}[{number}]", pick) for number, inner in enumerate(template)]
    return template


def _match(template: Any, value: Any, name: str, picks: dict[str, Any]) -> Any:
    """Return a value as the template has it, and add what leads to it to `picks`; `_NO` if it has no such value."""
    if isinstance(template, Number):
        found = template.read(value)
        picks[name] = found
        return _NO if found is None else found
    if isinstance(template, Choice):
        for index, option in enumerate(template.options):
            inner: dict[str, Any] = {}
            found = _match(option, value, f"{name}[{index}]", inner)
            if found is not _NO:
                picks.update({name: index, **inner})
                return found
        return _NO
    if isinstance(template, dict):
        if not isinstance(value, dict) or template.keys() != value.keys():
            return _NO
        matched: Any = {key: _match(inner, value[key], f"{name}.{key}", picks) for key, inner in template.items()}
        return _NO if any(part is _NO for part in matched.values()) else matched
    if isinstance(template, list):
        if not isinstance(value, list) or len(template) != len(value):
            return _NO
        matched = [_match(inner, value[n], f"{name}[{n}]", picks) for n, inner in enumerate(template)]
        return _NO if any(part is _NO for part in matched) else matched
    same = type(template) is type(value) or {type(template), type(value)} == {int, float}
    return template if same and template == value else _NO


def _product(counts: Iterator[int | None] | map[int | None]) -> int | None:
    found = list(counts)
    return None if None in found else math.prod(count or 0 for count in found)


def _count(template: Any) -> int | None:
    if isinstance(template, Number):
        return template.count
    if isinstance(template, Choice):
        counts = list(map(_count, template.options))
        return None if None in counts else sum(count or 0 for count in counts)
    if isinstance(template, (dict, list)):
        return _product(map(_count, template.values() if isinstance(template, dict) else template))
    return 1


def _at(template: Any, number: int) -> Any:
    if isinstance(template, Number):
        return template.at(number)
    if isinstance(template, Choice):
        for option in template.options:
            count = _count(option) or 0
            if number < count:
                return _at(option, number)
            number -= count
    if isinstance(template, (dict, list)):
        items = list(template.items() if isinstance(template, dict) else enumerate(template))
        values = {}
        for key, inner in reversed(items):
            number, index = divmod(number, _count(inner) or 1)
            values[key] = _at(inner, index)
        return {key: values[key] for key, _ in items} if isinstance(template, dict) else [values[k] for k, _ in items]
    return template
