"""Secrets are passed on and never shown."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback

import attrs
import pytest

from stageflow.plugins import Secret, SecretExposureError
from stageflow.plugins.secret import redact, secrets_in

CANARY = "canary-5ecret"


@attrs.frozen
class Holder:
    secret: Secret = attrs.field(factory=lambda: Secret(CANARY))


def test_it_gives_itself_away_when_asked():
    assert Secret(CANARY).reveal() == CANARY


WAYS_TO_SHOW = {
    "repr": repr,
    "str": str,
    "format": lambda secret: f"{secret} {secret!r:>30} {secret:>30}",
    "percent": lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - people still do
    "attrs": lambda secret: repr(Holder(secret)),
    "attrs as a dictionary": lambda secret: repr(attrs.asdict(Holder(secret))),
    "container": lambda secret: repr({"a": [secret], "b": (secret, {secret})}),
    "dir": lambda secret: repr(dir(secret)),
    "json": lambda secret: json.dumps({"a": secret}, default=str),
    "exception": lambda secret: str(ValueError(secret)),
    "copy": lambda secret: repr(copy.deepcopy(Holder(secret))),
}


@pytest.mark.parametrize("shown", WAYS_TO_SHOW.values(), ids=WAYS_TO_SHOW)
def test_no_text_made_of_it_shows_it(shown):
    assert CANARY not in shown(Secret(CANARY))


def test_json_refuses_it_without_showing_it():
    with pytest.raises(TypeError) as caught:
        json.dumps(Secret(CANARY))
    assert CANARY not in str(caught.value)


def test_a_log_line_does_not_show_it(caplog: pytest.LogCaptureFixture):
    logging.getLogger("some").warning("dsn %s %r", Secret(CANARY), Secret(CANARY))
    assert "***" in caplog.text
    assert CANARY not in caplog.text


def test_a_traceback_with_local_variables_does_not_show_it():
    def fails(secret: Secret) -> None:
        raise ValueError(secret)

    try:
        fails(Secret(CANARY))
    except ValueError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        text = "".join(told.format())
    assert "Secret('***')" in text
    assert CANARY not in text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_refuses_to_be_pickled(protocol: int):
    with pytest.raises(SecretExposureError):
        pickle.dumps(Holder(), protocol)


def test_it_is_equal_to_the_same_secret_only():
    assert Secret("ä") == Secret("ä")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_it_does_not_change():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Secret("a")._value = "b"


def test_a_copy_is_the_secret_itself():
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_all_secrets_of_settings_are_found():
    settings = [Holder(Secret("a")), {"k": (Secret("b"), {Secret("c")})}, "d", Secret("")]
    assert secrets_in(settings) == {"a", "b", "c"}


def test_redacting_masks_the_longest_first_and_as_repr_shows_it():
    assert redact("x abc ab", frozenset({"ab", "abc"})) == "x *** ***"
    assert redact(repr("a'\"\n"), frozenset({"a'\"\n"})) == "'***'"
