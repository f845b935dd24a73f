"""What is hidden, and what is made from it, is recognized wherever it is carried to."""

from __future__ import annotations

import json
import os
import pickle
from typing import Any
from urllib.parse import quote_plus

import pytest

from machinable.config.config import Config, evaluate_stored
from machinable.config.secrets import is_secret_name, mask_of, masked_paths, secret_texts

TOKEN = "tok-en/12+3 ü"
CONFIG = {
    "_token": TOKEN,
    "header": TOKEN,
    "deep": {"list": [1, {"h": TOKEN}], "_key": "short"},
    "rate": 0.5,
    "nothing": float("nan"),
}
STORED = {
    "header": "$self._token",
    "deep": {"list": [1, {"h": "$self._token"}]},
    "rate": 0.5,
    "nothing": float("nan"),
}


def test_paths_of_values_made_from_hidden_ones_are_found() -> None:
    assert masked_paths(CONFIG, STORED) == {"header", "deep.list[1].h"}
    assert masked_paths(STORED, STORED) == frozenset()


@pytest.mark.parametrize(
    ("hidden", "texts"),
    [
        ("short", set()),
        ("longer", {"longer"}),
        (" padded-secret\n", {"padded-secret"}),
        (1234567, set()),
        (12345678, {"12345678"}),
        (True, set()),
        (None, set()),
        ([["in-a-list"], {"k": "in-a-mapping"}], {"in-a-list", "in-a-mapping"}),
        ("BEGIN\nMIIEpAIBAAKCAQEA\nx\n", {"BEGIN\nMIIEpAIBAAKCAQEA\nx", "MIIEpAIBAAKCAQEA"}),
    ],
)
def test_texts_that_are_long_enough_to_be_recognized_are_secrets(hidden: object, texts: set[str]) -> None:
    assert secret_texts({"_h": hidden, "v": "visible"}, {"v": "visible"}) == texts


def test_secrets_are_left_out_of_texts_in_every_form() -> None:
    mask = mask_of(secret_texts(CONFIG, STORED))
    shown = [TOKEN, repr(TOKEN), json.dumps(TOKEN), f"https://ada:{quote_plus(TOKEN)}@host", f"x{TOKEN}y"]

    assert list(map(mask, shown)) == ["…", "'…'", '"…"', "https://ada:…@host", "x…y"]
    assert mask("rate 0.5, short") == "rate 0.5, short"
    assert mask_of(set())("text") == "text"


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *[
            (name, True)
            for name in ("password", "api-key", "apiKey", "API_TOKEN", "db.passwd", "auth", "AWS_SECRET_ID")
        ],
        *[(name, False) for name in ("tokenizer", "max-tokens", "key", "monkey", "author", "passes", "sort-key")],
    ],
)
def test_names_of_secrets_are_recognized(name: str, is_secret: bool) -> None:
    assert is_secret_name(name) is is_secret


class Methods:
    """Config methods that read the configuration in different ways."""

    config: Config

    def __call__(self, name: str) -> Any:
        return getattr(self, name)

    def item(self) -> Any:
        return len(self.config._token)

    def made(self) -> Any:
        return len(self.config["header"])

    def from_list(self) -> Any:
        return len(self.config.deep.list)

    def from_values(self) -> Any:
        return len([*self.config.deep.values()])

    def copied(self) -> Any:
        return len(dict(self.config.deep)["_key"])

    def everything(self) -> Any:
        return len(str(self.config.to_dict(evaluate=False)))

    def nested(self) -> Any:
        return self.config.item

    def argument(self, value: Any) -> Any:
        return len(value)

    def elsewhere(self) -> Any:
        return os.environ["ELSEWHERE"].upper().lower()

    def visible(self) -> Any:
        return [self.config.rate, len(self.config), sorted(self.config.to_dict(evaluate=False, hidden=False))[:1]]


CALLS = ["item()", "made()", "from_list()", "from_values()", "copied()", "everything()", "nested()", "elsewhere()"]
CALLS += ["argument(config.header)", "argument(config.deep.list[1].h)", "argument(config._token)"]


@pytest.mark.parametrize("call", CALLS)
def test_what_a_config_method_makes_from_a_hidden_value_stays_text(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", TOKEN)
    calls = {"call": call, "item": "item()", "other": "visible()"}
    methods = Methods()
    methods.config = Config(CONFIG | calls, methods=methods, stored=STORED | calls)

    stored, failed = evaluate_stored(methods.config, STORED | calls)

    assert failed == {}
    assert stored["call"] == call
    assert stored["item"] == "item()"
    assert stored["other"] == [0.5, 8, ["call"]]
    assert methods.config.call != call
    assert methods.config.to_dict(hidden=False)["call"] == call


def test_a_configuration_without_hidden_keys_shows_what_is_made_from_hidden_ones_as_written() -> None:
    config = Config(CONFIG, stored=STORED)

    assert config.to_dict()["header"] == TOKEN
    for one in (config, config.copy(), pickle.loads(pickle.dumps(config))):
        assert str(one.to_dict(hidden=False)) == repr(one) == str(STORED)
        assert str(one.deep.to_dict(hidden=False)) == repr(one.deep) == str(STORED["deep"])
