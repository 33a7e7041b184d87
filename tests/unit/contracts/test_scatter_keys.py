"""Keys of scatters have one normal form, and failures one rule."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.codec import Codec, UnencodableValueError
from stageflow.contracts.coordination import coordination_id, error_as_value, run_prefix
from stageflow.contracts.scatter_coordinator import (
    BarrierNotFoundError,
    BarrierStatus,
    FailureMode,
    FailurePolicy,
    ScatterOptionError,
)
from stageflow.contracts.scatter_keys import ScatterKey, ScatterResults

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
hashables = st.recursive(scalars | st.binary(), lambda inner: st.tuples(inner, inner), max_leaves=4)
values = st.recursive(
    hashables,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.dictionaries(hashables, inner, max_size=3)
    ),
    max_leaves=12,
)


def shuffled(value, order):
    """Return the same value with the names of each mapping in another order."""
    if isinstance(value, dict):
        pairs = [(key, shuffled(item, order)) for key, item in value.items()]
        order.shuffle(pairs)
        return dict(pairs)
    if isinstance(value, list):
        return [shuffled(item, order) for item in value]
    return value


@given(values, st.randoms(use_true_random=False))
def test_a_key_is_written_in_one_way_only(value, order):
    key, same = ScatterKey.of(value), ScatterKey.of(shuffled(value, order))
    assert (key, key.payload, key.digest) == (same, same.payload, same.digest)
    assert hash(key) == hash(same)
    assert key.value == value
    assert ScatterKey.of(key) is key


@given(values, values)
def test_only_the_same_key_has_the_same_form(one, other):
    codec = Codec.default()
    alike = ScatterKey.of(one) == ScatterKey.of(other)
    assert alike == (
        codec.encode(ScatterKey.of(one).value) == codec.encode(ScatterKey.of(other).value)
    )
    if alike:
        assert one == other
        assert type(one) is type(other)


@given(values)
def test_an_identity_is_short_and_no_digest_is_taken_for_a_payload(value):
    key = ScatterKey.of(value)
    assert len(key.identity) <= 128
    assert (key.identity is key.payload) == (len(key.payload) <= 128)
    assert len(key.payload) > len(key.digest) == 16


def test_digests_are_the_same_in_every_process():
    program = (
        "from stageflow.contracts.scatter_keys import ScatterKey;"
        "print(ScatterKey.of({'b': {2, 1, 'x'}, 'a': (1, None)}).digest.hex())"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    here = ScatterKey.of({"a": (1, None), "b": {"x", 1, 2}})
    assert found.stdout.strip() == here.digest.hex()


def test_a_key_keeps_its_own_copy():
    item = {"id": [1]}
    key = ScatterKey.of(item)
    item["id"].append(2)
    assert key.value == {"id": [1]}
    assert repr(key) == "ScatterKey({'id': [1]})"
    assert key != {"id": [1]}


def test_a_key_of_an_unknown_type_is_named():
    with pytest.raises(UnencodableValueError, match="key"):
        ScatterKey.of(object())


def test_keys_of_registered_types_are_read_back():
    @attrs.frozen
    class Place:
        name: str

    codec = Codec()
    codec.register(Place)
    for value in (Place("eu"), datetime(2025, 1, 31, tzinfo=UTC), Decimal("1.10"), UUID(int=1)):
        key = ScatterKey.of(value, codec)
        assert ScatterKey(key.payload, codec).value == value


def test_results_are_a_mapping_of_any_keys():
    results = ScatterResults([({"id": 1}, "a"), (1, "b"), (True, "c"), ([1], "d")])
    assert [results[key] for key in ({"id": 1}, 1, True, [1])] == ["a", "b", "c", "d"]
    assert list(results) == [{"id": 1}, 1, True, [1]]
    assert len(results) == 4
    assert [1] in results
    assert 2 not in results
    assert results == ScatterResults(reversed(list(results.items())))
    assert ScatterResults([("a", 1)]) == {"a": 1}
    assert ScatterResults([("a", 1)]) != {"a": 2}
    assert ScatterResults() != []
    assert repr(results) == "ScatterResults(4 keys)"
    with pytest.raises(KeyError, match="2"):
        results[2]


@given(st.integers(0, 100), st.integers(0, 300))
def test_a_share_means_what_its_digits_say(percent, total):
    policy = FailurePolicy.of(percent / 100, "partial")
    for failed in range(total + 1):
        decided = policy.decide(sealed=True, total=total, completed=0, failed=failed)
        assert (decided is BarrierStatus.THRESHOLD_EXCEEDED) == (failed * 100 > percent * total)


@pytest.mark.parametrize("threshold", [-1, True, 2.0, -0.5, "3", float("nan"), float("inf")])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(ScatterOptionError) as caught:
        FailurePolicy.of(threshold, "partial")
    assert caught.value.option == "failure_threshold"
    assert "share" in caught.value.hint


def test_a_mode_that_is_none_is_refused_with_those_there_are():
    with pytest.raises(ScatterOptionError, match="partly") as caught:
        FailurePolicy.of(None, "partly")
    assert "'partial'" in caught.value.hint
    assert FailurePolicy.of(None, FailureMode.PARTIAL) == FailurePolicy.of(None, "partial")


def test_ids_tell_runs_apart():
    assert coordination_id("run", "asset", None) == "run/asset/-"
    assert coordination_id(UUID(int=1), "a/b", ("eu", 1)).startswith(run_prefix(UUID(int=1)))
    places = [("r", "a/b", "c"), ("r/a", "b", "c"), ("r", "a", "b/c"), ("r", "a", "b")]
    assert len({coordination_id(*place) for place in places}) == len(places)


def test_an_exception_becomes_a_value():
    assert error_as_value({"any": 1}) == {"any": 1}
    assert error_as_value(ValueError("broken")) == {
        "type": "builtins.ValueError",
        "message": "broken",
    }
    assert error_as_value(BarrierNotFoundError("b"))["code"] == "SF491"


def test_shuffling_shuffles():
    assert list(shuffled({1: 1, 2: 2, 3: 3}, random.Random(1))) != [1, 2, 3]  # noqa: S311
