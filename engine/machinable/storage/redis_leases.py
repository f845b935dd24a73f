"""Leases on a Redis server: a key for each, which ends by itself."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from machinable.errors import InvalidValue, NotAvailable, StorageUnavailable
from machinable.plain import Plain, dumps, loads
from machinable.storage.credentials import harmless, secrets_of, without_credentials
from machinable.storage.leases import Found

__all__ = ["RedisLeases", "open_redis"]

_SCHEMES = ("redis", "rediss", "unix")
_CONNECTING, _ANSWERING = 3.0, 5.0  # seconds

# What is looked at and changed is one step of the server: nobody can come between.
_IF_SAME = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end "
_REPLACE = _IF_SAME + "redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3]) return 1"
_RENEW = _IF_SAME + "return redis.call('pexpire', KEYS[1], ARGV[2])"
_REMOVE = _IF_SAME + "return redis.call('del', KEYS[1])"


def open_redis(url: str, storage: str) -> RedisLeases:
    """The leases of a storage on a server that answers.

    Args:
        url: `redis://host:6379/0`, may have credentials: they are not shown. storage: the URL of the storage.

    Raises:
        InvalidValue: no such URL. NotAvailable: the client is not installed. StorageUnavailable: no answer.
    """
    shown = without_credentials(url)
    if not re.match(rf"({'|'.join(_SCHEMES)})://", url):
        raise InvalidValue(
            f"{shown!r} is no lock server", given=shown, known=_SCHEMES, todo="Give a URL such as redis://host:6379/0."
        )
    try:
        import redis
    except ImportError as error:
        raise NotAvailable(
            f"the lock server {shown!r} needs the client of Redis",
            todo="Install it: pip install 'machinable-engine[redis]'",
        ) from error
    secrets = secrets_of(url)
    problem: Exception
    try:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # Once more, for the server may have closed a connection that was not used for long.
        client = redis.Redis.from_url(
            url, socket_connect_timeout=_CONNECTING, socket_timeout=_ANSWERING, retry=Retry(NoBackoff(), 1)
        )
    except Exception as failure:
        problem = failure
    else:
        leases = RedisLeases(client, url, storage)
        try:
            leases.ask("ping")
        except BaseException:
            leases.close()
            raise
        return leases
    raise InvalidValue(
        f"{shown!r} is no lock server: {_told(problem, secrets)}", given=shown,
        todo="Give a URL such as redis://host:6379/0.",
    ) from harmless(problem, secrets)  # fmt: skip


class RedisLeases:
    """Leases as keys, `machinable:` with the storage and the path.

    Args:
        client: of redis. url: may have credentials, they are not shown. storage: the URL of the storage.
    """

    def __init__(self, client: Any, url: str, storage: str) -> None:
        self._client = client
        self._shown = without_credentials(url)
        self._secrets = secrets_of(url)
        parts = urlsplit(url)
        self._place = parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        # The same directory can have several names on one host.
        self._storage = os.path.realpath(storage) if os.path.isabs(storage) else storage

    def ask(self, command: str, *arguments: Any, **options: Any) -> Any:
        """The server's answer.

        Raises:
            StorageUnavailable: there is none; names host and port.
        """
        from redis.exceptions import RedisError

        try:
            return getattr(self._client, command)(*arguments, **options)
        except (RedisError, OSError) as failure:
            problem = failure
        raise StorageUnavailable(
            f"the lock server at {self._place} cannot be used: {_told(problem, self._secrets)}", given=self._shown,
            todo="Start it, or check the URL: `locks` in the `execution:` section, or MACHINABLE_LOCKS.",
        ) from harmless(problem, self._secrets)  # fmt: skip

    def _key(self, path: str) -> str:
        return f"machinable:{self._storage}/{path}"

    def take(self, path: str, facts: Mapping[str, Plain], is_over: Callable[[Found], bool]) -> bool:
        key, value, length = self._key(path), dumps(facts), _milliseconds(facts)
        if self.ask("set", key, value, nx=True, px=length):
            return True
        found = self.find(path)
        if found is None:  # given back, or over, meanwhile
            return bool(self.ask("set", key, value, nx=True, px=length))
        if found.facts.get("token") == facts["token"]:  # the answer was lost, and the client has asked again
            return True
        return is_over(found) and bool(self.ask("eval", _REPLACE, 1, key, found.mark, value, length))

    def renew(self, path: str, facts: Mapping[str, Plain]) -> bool:
        return bool(self.ask("eval", _RENEW, 1, self._key(path), dumps(facts), _milliseconds(facts)))

    def remove(self, path: str, facts: Mapping[str, Plain], is_fresh: bool) -> None:
        self.ask("eval", _REMOVE, 1, self._key(path), dumps(facts))

    def find(self, path: str) -> Found | None:
        key = self._key(path)
        value = self.ask("get", key)
        left = self.ask("pttl", key)
        if value is None or left < 0:
            return None
        facts = loads(value)
        return Found(facts, value, (_milliseconds(facts) - left) / 1000)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _milliseconds(facts: Mapping[str, Plain]) -> int:
    return max(1, round(1000 * float(facts["lease"])))


def _told(problem: Exception, secrets: list[str]) -> str:
    told = " ".join(str(problem).split()) or type(problem).__name__
    for secret in secrets:
        told = told.replace(secret, "…")
    return told
