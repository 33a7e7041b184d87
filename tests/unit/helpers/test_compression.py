"""Deltas between dictionaries turn the one into the other, and say what they save."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stageflow.compression import CompressionMetrics, apply_delta, compress, compute_delta

values = st.none() | st.booleans() | st.integers(-3, 3) | st.lists(st.integers(0, 1), max_size=2)
dictionaries = st.dictionaries(st.sampled_from("abcdefü"), values)


def test_delta_sets_new_and_changed_keys_and_removes_those_that_are_gone():
    base = {"same": 1, "changed": 1, "gone": 1}
    current = {"same": 1, "changed": 2, "new": 3}
    assert compute_delta(base, current) == {"set": {"changed": 2, "new": 3}, "remove": ["gone"]}


def test_delta_leaves_out_what_is_empty():
    assert compute_delta({"a": 1}, {"a": 1}) == {}
    assert compute_delta({}, {"a": None}) == {"set": {"a": None}}
    assert compute_delta({"a": 1}, {}) == {"remove": ["a"]}


def test_delta_is_shallow():
    assert compute_delta({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}) == {
        "set": {"a": {"x": 1, "y": 3}}
    }


def test_apply_passes_over_removals_that_are_not_there():
    assert apply_delta({"a": 1}, {"remove": ["b"]}) == {"a": 1}


def test_apply_changes_neither_argument():
    base, delta = {"a": 1, "b": 2}, {"set": {"a": 3}, "remove": ["b"]}
    assert apply_delta(base, delta) == {"a": 3}
    assert base == {"a": 1, "b": 2}
    assert delta == {"set": {"a": 3}, "remove": ["b"]}


@given(dictionaries, dictionaries)
def test_the_delta_turns_the_base_into_the_current_one(base, current):
    assert apply_delta(base, compute_delta(base, current)) == current


@given(dictionaries)
def test_there_is_no_delta_between_equals(current):
    assert compute_delta(current, dict(current)) == {}


@given(dictionaries, dictionaries)
def test_metrics_are_the_sizes_of_the_json(base, current):
    delta, metrics = compress(base, current)
    assert delta == compute_delta(base, current)
    assert metrics.original_bytes == len(json.dumps(current).encode())
    assert metrics.delta_bytes == len(json.dumps(delta).encode())


def test_metrics_count_what_json_does_not_know_as_text_at_any_depth():
    run, at = UUID(int=1), datetime(2025, 1, 1, tzinfo=UTC)
    current = {"run": run, "deep": [{"at": at}, (run,)], "keys": {run: 1}}
    _, metrics = compress({}, current)
    as_text = {
        "run": str(run),
        "deep": [{"at": str(at)}, [str(run)]],
        "keys": {str(run): 1},
    }
    assert metrics.original_bytes == len(json.dumps(as_text).encode())


def test_metrics_survive_a_value_that_contains_itself():
    circle = {}
    circle["self"] = [circle]
    assert compress({}, circle)[1].original_bytes > 0


@pytest.mark.parametrize(
    ("original", "delta", "reduction", "ratio"),
    [(100, 25, 75, 0.25), (100, 150, 0, 1.5), (0, 10, 0, 1.0)],
)
def test_metrics_tell_what_is_saved(original, delta, reduction, ratio):
    metrics = CompressionMetrics(original, delta)
    assert metrics.reduction_bytes == reduction
    assert metrics.ratio == ratio


def test_computing_a_delta_looks_at_each_key_a_constant_number_of_times():
    class Counting(dict):
        looks = 0

        def __getitem__(self, key):
            Counting.looks += 1
            return super().__getitem__(key)

    counts = []
    for size in (100, 1000):
        Counting.looks = 0
        compute_delta(Counting.fromkeys(range(size), 0), dict.fromkeys(range(size), 1))
        counts.append(Counting.looks)
    assert counts == [100, 1000]
