"""The configuration as a component reads it: a mapping with attribute access that evaluates calls of config methods."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Container, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from machinable.config.method_calls import called_name, parse
from machinable.config.secrets import mask_of, masked_paths, secret_texts
from machinable.errors import EndlessCall, MissingAttribute, NotAvailable, did_you_mean, near_names
from machinable.serialization import Plain, as_plain, is_hidden, without_hidden

__all__ = ["Config", "Deferred", "evaluate_stored"]

Methods: TypeAlias = Callable[[str], "Callable[..., Any] | None"]
ToPlain: TypeAlias = Callable[[Any], Any]
Convert: TypeAlias = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], ToPlain]]
OriginSource: TypeAlias = Callable[[str], str] | Mapping[str, str]

_MISSING: Any = object()
_SEQUENCES = (list, tuple)
_ATOMS = frozenset({str, int, float, bool, type(None)})
_running = threading.local()  # `.chain`: the calls being evaluated in this thread, outermost first
_converting = threading.RLock()


class _SharedState(Struct, eq=False):
    """State that all parts of one configuration share."""

    methods: Methods | None = None
    flags: Any = None
    evaluate: bool = True
    origin: OriginSource | None = None
    stored: Mapping[str, Plain] = {}
    to_plain: ToPlain | None = None
    remembered: dict[str, Any] | None = None  # values of calls, pickled with the configuration
    known_masked: frozenset[str] | None = None
    known_mask: Callable[[str], str] | None = None
    label: str = "the configuration"
    given: Mapping[str, Any] = {}  # the data at the beginning
    unconverted: tuple[Convert, Mapping[str, Any]] | None = None  # until the first access
    root: Any = None

    @property
    def masked(self) -> frozenset[str]:
        """The paths of visible values that are made from hidden ones."""
        if self.known_masked is None:
            self.known_masked = masked_paths(self.given, self.stored) if self.stored else frozenset()
        return self.known_masked

    def mask(self, text: str) -> str:
        """Return a text without the hidden values and those that are made from them."""
        if self.known_mask is None:
            self.known_mask = mask_of(secret_texts(self.given, self.stored or without_hidden(self.given)))
        return self.known_mask(text)

    def is_secret(self, path: str) -> bool:
        """Return whether a value is hidden, made from a hidden one, or a list with one that is."""
        parts, masked = _PARTS.findall(path), self.masked
        return (
            any(is_hidden(part.removeprefix(".")) for part in parts)
            or any("".join(parts[:end]) in masked for end in range(1, len(parts) + 1))
            or any(one.startswith(f"{path}[") for one in masked)
        )


class _Unknown(Struct):
    """In place of the value of a call that could not be evaluated when the configuration was pickled."""


# For results of config methods: text in them that looks like a call is not evaluated.
_INERT = _SharedState()


class Config(MutableMapping[str, Any]):
    """A configuration, or a mapping in one: `config.data.name` is `config["data"]["name"]`.

    Values that are calls of config methods are evaluated on every access. Changes affect this object only.

    Args:
        data: Plain data with calls as text; it is copied.
        methods: Return the method `config_<name>` for a name, None if there is none. Without it, calls are text.
        flags: The value of `flags` in arguments of calls.
        evaluate: Whether to evaluate calls on access. If not, an access returns a `Deferred`.
        origin: Where values were set: a function of a dotted key path, or a mapping from such paths.
        stored: The data as it may be printed; by default everything but hidden keys.
        convert: Return the data with the values that a component reads, such as a `Path` for text, and a function
            that makes such values plain again. It is called on the first access.
        label: Its name in messages.
    """

    __slots__ = ("__data", "__path", "__scope")
    __data: dict[str, Any]
    __path: str
    __scope: _SharedState

    def __init__(
        self,
        data: Mapping[str, Any],
        *,
        methods: Methods | None = None,
        flags: Any = None,
        evaluate: bool = True,
        origin: OriginSource | None = None,
        stored: Mapping[str, Plain] | None = None,
        convert: Convert | None = None,
        label: str = "the configuration",
    ) -> None:
        scope = _SharedState(methods, flags, evaluate, origin, stored or {}, label=label, given=data)
        if methods is not None:
            scope.root = self  # for arguments of calls; it is a cycle
        if convert is None:
            _fill(self, data, scope, "")
        else:  # `__getattr__` fills the empty slot
            scope.unconverted = convert, data
            object.__setattr__(self, "_Config__scope", scope)

    def __converted(self) -> dict[str, Any]:
        scope = self.__scope
        with _converting:
            if scope.unconverted is not None:
                convert, data = scope.unconverted
                values, scope.to_plain = convert(data)
                _fill(self, values, scope, "")
                scope.unconverted = None
        return self.__data

    def __getitem__(self, key: str) -> Any:
        value = self.__data.get(key, _MISSING)
        if value is _MISSING:
            raise self.__missing(key)
        if _watches:
            _note(self.__scope, _below(self.__path, key))
        kind = type(value)
        if kind is str or kind in _SEQUENCES:
            return _read(value, self.__scope, _below(self.__path, key))
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.__data[key] = _own(value, self.__scope, _below(self.__path, key))

    def __delitem__(self, key: str) -> None:
        if key not in self.__data:
            raise self.__missing(key)
        del self.__data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__data)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.__data)

    def __len__(self) -> int:
        return len(self.__data)

    def __contains__(self, key: object) -> bool:
        return key in self.__data

    # The inherited methods would mistake a KeyError raised by a config method for a missing key.
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value, evaluated, or the default if there is no such key."""
        return self[key] if key in self.__data else default

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Remove a key and return its value, evaluated."""
        if key not in self.__data and default is not _MISSING:
            return default
        value = self[key]
        del self.__data[key]
        return value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value, evaluated, after setting it to the default if there is no such key."""
        if key not in self.__data:
            self[key] = default
        return self[key]

    def __getattr__(self, name: str) -> Any:
        return self.__converted() if name == "_Config__data" else self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name[:2] == "__" and name[-2:] == "__":
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *map(str, self.__data)]

    def __missing(self, key: object) -> MissingAttribute:
        where = self.__path or self.__scope.label
        # Notebooks and copy look up many names such as __deepcopy__, for which near names would be wasted work.
        near = [] if str(key)[:1] == "_" else near_names(key, self.__data)
        known = ", ".join(str(k) for k in self.__data if not is_hidden(k))
        advice = did_you_mean(near) if near else f"Known: {known}" if known else "It is empty."
        return MissingAttribute(f"{where} has no key {key!r}", given=key, known=map(str, self.__data), todo=advice)

    def to_dict(self, evaluate: bool = True, hidden: bool = True) -> dict[str, Any]:
        """Return the configuration as a plain dict of plain dicts, with values as they are stored.

        Args:
            evaluate: Whether to evaluate calls of config methods, even if `_evaluate_` is false, or leave them as text.
            hidden: Whether to include hidden keys, at any depth. If not, values made from them are as written.
        """
        if _watches and hidden:
            _note_all(self.__data, self.__scope, self.__path)
        result = {
            key: _plain(value, self.__scope, _below(self.__path, key), evaluate, hidden)
            for key, value in self.__data.items()
            if hidden or not is_hidden(key)
        }
        to_plain = self.__scope.to_plain
        return result if to_plain is None else {to_plain(key): value for key, value in result.items()}

    toDict = to_dict  # noqa: N815  # spelling of other libraries

    def origin(self, path: str) -> str:
        """Return where a value was set, such as `machinable.yaml:12:7`, or where the value that contains it was set.

        Raises:
            MissingAttribute: The key is unknown.
        """
        origin, full = self.__scope.origin, _below(self.__path, path)
        if callable(origin):
            return origin(full)
        here = full
        while origin is not None and here:
            if here in origin:
                return origin[here]
            here = here[: max(here.rfind("."), here.rfind("["), 0)]
        raise MissingAttribute(f"the origin of {full!r} is not known", given=full, known=origin or ())

    def copy(self) -> Config:
        """Return a copy, independent at any depth."""
        return self.__copied(lambda value: value)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        from copy import deepcopy

        return self.__copied(lambda value: deepcopy(value, memo))

    def __copied(self, leaf: Callable[[Any], Any]) -> Config:
        values = {key: _mapped(value, leaf) for key, value in self.__data.items()}
        scope = replace(self.__scope)
        copied = Config.__new__(Config)
        if scope.root is self:
            scope.root = copied
        return _fill(copied, values, scope, self.__path)

    def __reduce__(self) -> tuple[Any, ...]:
        # The component is not pickled, so the current values of its methods are.
        scope = self.__scope
        data = {key: _mapped(value, lambda leaf: leaf) for key, value in self.__data.items()}
        remembered = scope.remembered
        if scope.methods is not None:
            remembered = {}
            _remember(self.__data, scope, self.__path, remembered)
        origin = scope.origin if isinstance(scope.origin, Mapping) else None
        state = (
            None,
            scope.flags,
            scope.evaluate,
            origin,
            dict(scope.stored),
            scope.to_plain,
            remembered,
            scope.masked,
            None,
            scope.label,
        )
        return _restore, (data, self.__path, state)

    def __repr__(self) -> str:
        return repr(_printable(self.__data, self.__scope, self.__path))


class Deferred:
    """A call to evaluate by hand, as in `config.lr()`, where `_evaluate_` is false."""

    __slots__ = ("_path", "_scope", "_text")

    def __init__(self, text: str, scope: _SharedState, path: str) -> None:
        self._text = text
        self._scope = scope
        self._path = path

    def __call__(self) -> Any:
        """Evaluate the call."""
        return _call(self._text, self._scope, self._path)

    def __repr__(self) -> str:
        return f"<{self._text}>"


def evaluate_stored(
    config: Config, stored: Mapping[str, Plain], only: Container[str] | None = None
) -> tuple[dict[str, Plain], dict[str, Exception]]:
    """Return the configuration for storing, with calls replaced by their values.

    Args:
        config: The live configuration.
        stored: The configuration for storing, with calls as text.
        only: The key paths of the calls to evaluate. None evaluates all.

    Returns:
        The data, and the errors of calls that could not be evaluated, by key path. Those calls remain text, and so do
        calls that read a hidden value or return one.
    """
    failed: dict[str, Exception] = {}
    if config._Config__scope.methods is None:
        return dict(stored), failed
    return {key: _evaluated(value, str(key), config, only, failed) for key, value in stored.items()}, failed


def _evaluated(value: Any, path: str, config: Config, only: Container[str] | None, failed: dict[str, Exception]) -> Any:
    """Return a part of a stored configuration, see `evaluate_stored`; errors go to `failed`."""
    scope: _SharedState = config._Config__scope
    kind = type(value)
    if kind is str:
        if _method(value, scope) is None or (only is not None and path not in only):
            return value
        try:
            _data(config)  # converts the configuration; then its scope can convert values back to plain ones
            with _watch() as is_secret:
                result = without_hidden(as_plain(_plain(value, scope, path, True, True), path, tuples=True))
            return value if is_secret() or scope.mask(text := repr(result)) != text else result
        except Exception as error:  # a method may raise anything; the caller reports it
            failed[path] = error
    elif kind is dict:
        return {key: _evaluated(item, _below(path, key), config, only, failed) for key, item in value.items()}
    elif kind is list:
        return [_evaluated(item, f"{path}[{index}]", config, only, failed) for index, item in enumerate(value)]
    return value


_watches: list[int] = []  # threads that watch which values are read
_PARTS = re.compile(r"\.?[^.\[]+|\[[^\]]*\]")


@contextmanager
def _watch() -> Iterator[Callable[[], bool]]:
    """Watch which values this thread reads; yield a function that says whether one of them is a secret."""
    before = getattr(_running, "reads", None)
    reads: list[tuple[_SharedState, str]] = []
    _running.reads = reads
    _watches.append(threading.get_ident())
    try:
        yield lambda: any(scope.is_secret(path) for scope, path in reads)
    finally:
        _watches.remove(threading.get_ident())
        _running.reads = before
        if before is not None:
            before += reads


def _note(scope: _SharedState, path: str) -> None:
    reads = getattr(_running, "reads", None)
    if reads is not None and scope is not _INERT:
        reads.append((scope, path))


def _note_all(value: Any, scope: _SharedState, path: str) -> None:
    if type(value) is Config:
        value = _data(value)
    if type(value) is dict:
        for key, item in value.items():
            _note_all(item, scope, _below(path, key))
    else:
        _note(scope, path)


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _fill(config: Config, data: Mapping[str, Any], scope: _SharedState, path: str) -> Config:
    object.__setattr__(config, "_Config__scope", scope)
    object.__setattr__(config, "_Config__path", path)
    own = {
        key: value if type(value) in _ATOMS else _own(value, scope, _below(path, key)) for key, value in data.items()
    }
    object.__setattr__(config, "_Config__data", own)
    return config


def _data(config: Config) -> dict[str, Any]:
    return config._Config__data  # type: ignore[no-any-return]


def _own(value: Any, scope: _SharedState, path: str) -> Any:
    """Return a value as this configuration stores it: mappings as `Config`, lists copied."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind in _SEQUENCES:
        return kind([_own(item, scope, f"{path}[{index}]") for index, item in enumerate(value)])
    if kind is Config:
        return _fill(Config.__new__(Config), _data(value), scope, path)
    if isinstance(value, Mapping):
        return _fill(Config.__new__(Config), value, scope, path)
    return value


def _mapped(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Return a held value as plain dicts and lists, not evaluated, with `leaf` applied to other values."""
    if type(value) is Config:
        return {key: _mapped(item, leaf) for key, item in _data(value).items()}
    if type(value) in _SEQUENCES:
        return type(value)([_mapped(item, leaf) for item in value])
    return leaf(value)


def _read(value: Any, scope: _SharedState, path: str) -> Any:
    """Return a held string, list or tuple as an access returns it, with calls evaluated."""
    if type(value) is str:
        if not _is_call(value, scope, path):
            return value
        if scope.evaluate or getattr(_running, "chain", None):
            return _call(value, scope, path)
        return Deferred(value, scope, path)
    if _has_methods(scope) and _has_call(value, scope, path):
        items = [
            _read(item, scope, f"{path}[{index}]") if type(item) is str or type(item) in _SEQUENCES else item
            for index, item in enumerate(value)
        ]
        return type(value)(items)
    return value  # the list itself, so that it can be appended to


def _has_methods(scope: _SharedState) -> bool:
    return scope.methods is not None or scope.remembered is not None


def _method(text: str, scope: _SharedState) -> Callable[..., Any] | None:
    """Return the method that a text calls, None if it calls none."""
    name = called_name(text) if text[-1:] == ")" else None
    return None if name is None or scope.methods is None else scope.methods(name)


def _is_call(text: str, scope: _SharedState, path: str) -> bool:
    return text[-1:] == ")" and (
        path in (scope.remembered or {}) if scope.methods is None else _method(text, scope) is not None
    )


def _has_call(value: Any, scope: _SharedState, path: str) -> bool:
    if type(value) is str:
        return _is_call(value, scope, path)
    return type(value) in _SEQUENCES and any(
        _has_call(item, scope, f"{path}[{index}]") for index, item in enumerate(value)
    )


def _call(text: str, scope: _SharedState, path: str) -> Any:
    if scope.methods is None:
        remembered = scope.remembered or {}
        if type(remembered[path]) is not _Unknown:
            return remembered[path]
        raise NotAvailable(
            f"the call {text!r} of {path} cannot be evaluated: the component is in another process",
            todo="Read the value before the configuration is pickled.",
        )
    chain: list[tuple[_SharedState, str, str]] | None = getattr(_running, "chain", None)
    if chain is None:
        chain = _running.chain = []
    if any(where is scope and at == path for where, at, _ in chain):
        links = [f"{at} = {call}" for _, at, call in chain] + [f"{path} = {text}"]
        raise EndlessCall(
            f"{path} depends on itself", path=path, details=links, todo="Break the cycle in a config method."
        )
    chain.append((scope, path, text))
    try:
        call = parse(text)
        arguments, keywords = call.evaluate(scope.root, scope.flags)
        method = scope.methods(call.name)
        assert method is not None, text
        value = method(*arguments, **keywords)
    finally:
        chain.pop()
    kind = type(value)
    if kind is list or (kind is not Config and isinstance(value, Mapping)):
        return _own(value, _INERT, path)
    return value


def _plain(value: Any, scope: _SharedState, path: str, evaluate: bool, hidden: bool) -> Any:
    kind = type(value)
    if not hidden and path in scope.masked:
        return _stored_at(scope.stored, path)
    if kind is str:
        if evaluate and _is_call(value, scope, path):
            with nullcontext() if hidden else _watch() as is_secret:
                result = _plain(_call(value, scope, path), _INERT, path, evaluate, hidden)
            if is_secret is not None and (is_secret() or scope.mask(text := repr(result)) != text):
                return value
            return result if scope.to_plain is None else scope.to_plain(result)
        return value
    if kind is Config:
        return value.to_dict(evaluate=evaluate, hidden=hidden)
    if kind in _SEQUENCES:
        items = [_plain(item, scope, f"{path}[{index}]", evaluate, hidden) for index, item in enumerate(value)]
        return items if scope.to_plain is not None else kind(items)
    return value if scope.to_plain is None else scope.to_plain(value)


def _remember(value: Any, scope: _SharedState, path: str, into: dict[str, Any]) -> None:
    if type(value) is dict:
        for key, item in value.items():
            _remember(item, scope, _below(path, key), into)
    elif type(value) is Config:
        _remember(_data(value), scope, path, into)
    elif type(value) in _SEQUENCES:
        for index, item in enumerate(value):
            _remember(item, scope, f"{path}[{index}]", into)
    elif type(value) is str and _is_call(value, scope, path):
        try:
            into[path] = _call(value, scope, path)
        except Exception:  # no value to pickle; reading it later raises NotAvailable
            into[path] = _Unknown()


def _restore(data: dict[str, Any], path: str, state: tuple[Any, ...]) -> Config:
    scope = _SharedState(*state)
    scope.root = config = Config.__new__(Config)
    return _fill(config, data, scope, path)


def _stored_at(stored: Any, path: str) -> Any:
    """Return the stored form of a value; None if there is none."""
    for key, item in stored.items() if isinstance(stored, Mapping) else enumerate(stored):
        name = f"[{key}]" if isinstance(stored, list) else str(key)
        if path == name:
            return item
        rest = path.removeprefix(name)
        if rest != path and rest[0] in ".[" and isinstance(item, (Mapping, list)):
            found = _stored_at(item, rest.removeprefix("."))
            if found is not None:
                return found
    return None


def _printable(value: Any, scope: _SharedState, path: str) -> Any:
    """Return a value for printing: without hidden keys, and values made from them as written."""
    if type(value) is Config:
        value = _data(value)
    if type(value) is dict:
        return {key: _printable(item, scope, _below(path, key)) for key, item in value.items() if not is_hidden(key)}
    if type(value) in _SEQUENCES:
        return type(value)([_printable(item, scope, f"{path}[{index}]") for index, item in enumerate(value)])
    return _stored_at(scope.stored, path) if path in scope.masked else value
