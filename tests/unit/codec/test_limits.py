"""Large and deep values: stored in linear time, or refused with the limit's name."""

from __future__ import annotations

import json
import sys

import pytest

from stageflow.codec import Codec, CodecLimitError
from support.values import Account, user_codec

HUGE = 10**5000


def nested(depth, leaf=None):
    value = leaf
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


def calls_made(action):
    """Return how many Python and C calls *action* makes: its cost without a clock."""
    count = 0

    def count_call(_frame, event, _arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_call)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def test_v15_an_int_of_5001_digits_is_stored_and_read():
    codec = Codec()
    assert len(f"{HUGE:x}") > 4000
    with pytest.raises(ValueError, match="4300 digits"):
        json.dumps(HUGE)
    value = {"n": [HUGE, -HUGE], HUGE: "as a key"}
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("limit", [0, 100_000])
def test_v15_a_process_that_allows_more_digits_writes_what_others_can_read(limit):
    codec = Codec()
    default = sys.get_int_max_str_digits()
    for value in ([HUGE], [(), HUGE], {"a": 10**640}):
        sys.set_int_max_str_digits(limit)
        try:
            payload = codec.encode(value)
            sys.set_int_max_str_digits(640)
            assert codec.decode(payload) == value
        finally:
            sys.set_int_max_str_digits(default)


@pytest.mark.parametrize("leaf", [None, (1, 2)])
def test_bug006_bug024_depth_100_comes_back(leaf):
    codec = Codec()
    value = nested(100, leaf)
    assert codec.decode(codec.encode(value)) == value


def test_depth_100_of_objects_and_odd_keys_comes_back():
    codec = user_codec()
    for wrap in (Account, lambda v: (v,), lambda v: {1: v}, lambda v: {"$type": v}):
        value = None
        for _ in range(100):
            value = wrap(value)
        assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("leaf", [1, (1,)])
def test_the_depth_limit_is_exact_and_names_the_limit(leaf):
    codec = Codec(max_depth=5)
    at_most = 5 if leaf == 1 else 4
    codec.encode(nested(at_most, leaf))
    with pytest.raises(CodecLimitError, match="deeper than 5 levels") as caught:
        codec.encode(nested(at_most + 1, leaf), where="data")
    assert caught.value.limit == "max_depth"
    assert caught.value.allowed == 5
    assert caught.value.path.startswith("data.a[0].a" if leaf == 1 else "data[0].a")
    assert "max_depth" in caught.value.hint


@pytest.mark.parametrize("depth", [129, 1_000, 100_000])
def test_bug006_bug024_too_deep_is_a_limit_error_and_no_recursion_error(depth):
    with pytest.raises(CodecLimitError):
        Codec().encode(nested(depth))
    with pytest.raises(CodecLimitError):
        Codec().encode(nested(depth, ()))


@pytest.mark.parametrize("key", ["plain", "tagged"])
def test_stored_data_that_is_too_deep_is_a_limit_error_and_no_recursion_error(key):
    text = f'{{"stageflow":1,"{key}":{"[" * 100_000}{"]" * 100_000}}}'
    with pytest.raises(CodecLimitError):
        Codec().decode(text)


def test_encode_functions_that_call_for_each_other_are_a_limit_error():
    class A:
        pass

    class B:
        pass

    codec = Codec()
    codec.register(A, encode=lambda _: B(), decode=lambda v: v)
    codec.register(B, encode=lambda _: A(), decode=lambda v: v)
    with pytest.raises(CodecLimitError):
        codec.encode(A())


@pytest.mark.parametrize("value", ["x" * 100, ["x"] * 30, ("x" * 100,), {"a": {1: "x" * 100}}])
def test_a_value_that_takes_more_bytes_than_allowed_is_refused(value):
    size = len(Codec().encode(value))
    assert Codec(max_bytes=size).decode(Codec(max_bytes=size).encode(value)) == value
    with pytest.raises(CodecLimitError) as caught:
        Codec(max_bytes=size - 1).encode(value, where="data")
    assert caught.value.limit == "max_bytes"
    assert caught.value.allowed == size - 1
    assert "IO manager" in caught.value.hint
    with pytest.raises(CodecLimitError, match=f"{size} bytes"):
        Codec(max_bytes=size - 1).decode(Codec().encode(value))


@pytest.mark.parametrize("more", [[], [()], [{1: 2}]], ids=["plain", "tuple", "odd keys"])
def test_a_small_value_that_unfolds_to_a_huge_one_is_refused_early(more):
    value = []
    for _ in range(60):
        value = [value, value, *more]
    with pytest.raises(CodecLimitError) as caught:
        Codec(max_bytes=10_000).encode(value)
    assert caught.value.limit == "max_bytes"


def test_bug006_bug024_the_cost_is_linear_in_size():
    codec = user_codec()
    for make in (
        lambda n: [{"i": i, "t": ["x"] * 3} for i in range(n)],
        lambda n: [(i, {"t": {i}}) for i in range(n)],
        lambda n: {i: Account(i) for i in range(n)},
    ):
        small, large = make(50), make(500)
        once = calls_made(lambda small=small: codec.decode(codec.encode(small)))
        ten_times = calls_made(lambda large=large: codec.decode(codec.encode(large)))
        assert ten_times < 11 * once


def test_bug006_bug024_the_cost_is_linear_in_depth():
    codec = Codec()
    for leaf in (1, ()):
        once = calls_made(lambda leaf=leaf: codec.decode(codec.encode(nested(10, leaf))))
        ten_times = calls_made(lambda leaf=leaf: codec.decode(codec.encode(nested(100, leaf))))
        assert ten_times < 11 * once


@pytest.mark.slow
def test_bug006_bug024_20_megabytes_come_back():
    codec = Codec()
    for value in ([{"t": "x" * 1000, "n": [1, 2.5, None]}] * 20_000, [("x" * 1000,)] * 20_000):
        payload = codec.encode(value)
        assert 20_000_000 < len(payload) < codec.max_bytes
        assert codec.decode(payload) == value


def test_a_codec_with_other_limits_knows_the_same_classes():
    codec = Codec()
    tight = codec.with_limits(max_bytes=60)
    codec.register(Account)
    assert tight.max_depth == codec.max_depth
    with pytest.raises(CodecLimitError):
        tight.encode(Account("x" * 100))
    assert tight.with_limits(max_bytes=1000).encode(Account("x")) == codec.encode(Account("x"))


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_depth": -1}])
def test_limits_that_allow_nothing_are_refused(limits):
    with pytest.raises(ValueError, match="max_"):
        Codec(**limits)
