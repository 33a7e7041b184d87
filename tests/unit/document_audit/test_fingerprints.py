"""Sketches: the same everywhere, small, and near the truth about how alike two texts are."""

from __future__ import annotations

import struct
from hashlib import blake2b, sha256

import pytest

from document_audit.fingerprints import SIZE, from_text, similarity, sketch, to_text
from support.labelled_folder import drawing

WORDS = [f"word{number}" for number in range(5_000)]


def text_of(seed, count=800):
    return drawing(seed).choices(WORDS, k=count)


def runs(words):
    return set(zip(words, words[1:], words[2:], strict=False))


def test_a_sketch_is_the_same_in_every_process_and_version():
    made = sketch(" ".join(WORDS[:900]))
    assert made is not None
    assert len(made) == SIZE == 256
    assert sha256(made).hexdigest()[:16] == "ae4607bf30606490"


def plain_sketch(words):
    """What a sketch is, said without haste: the smallest hash of a run in each place."""
    hashes = [
        int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little") for word in words
    ]
    smallest = {}
    for a, b, c in zip(hashes, hashes[1:], hashes[2:], strict=False):
        run = (a ^ (b >> 5) ^ (c >> 11)) % 2**38
        smallest[run % 64] = min(smallest.get(run % 64, run), run)
    return [smallest[place] >> 6 if place in smallest else None for place in range(64)]


@pytest.mark.parametrize(
    ("count", "texts"), [(30, 9), (900, 1), (1_027, 40), (6_000, 1), (30_000, 1)]
)
def test_a_sketch_keeps_the_smallest_hash_of_every_place(count, texts):
    """Long texts are sketched in parts; no run that crosses from one to the next is lost."""
    for seed in range(texts):
        words = text_of(seed, count)
        plain, made = plain_sketch(words), struct.unpack("<64I", sketch(" ".join(words)))
        assert all(want in (None, got) for want, got in zip(plain, made, strict=True))
        assert set(made) <= set(plain), "an empty place borrows from another"


@pytest.mark.parametrize("changes", [0, 4, 12, 30, 80, 300])
def test_similarity_is_near_the_share_of_common_runs(changes):
    errors = []
    for seed in range(12):
        words = text_of(seed)
        changed = list(words)
        for place in drawing(-seed).sample(range(len(words)), changes):
            changed[place] = "changed"
        one, other = runs(words), runs(changed)
        truth = len(one & other) / len(one | other)
        estimate = similarity(sketch(" ".join(words)), sketch(" ".join(changed)))
        errors.append(abs(estimate - truth))
    assert max(errors) <= 0.25
    assert sum(errors) / len(errors) <= 0.07


def test_what_has_nothing_in_common_is_not_alike():
    one, other = sketch(" ".join(WORDS[:900])), sketch(" ".join(WORDS[1_000:1_900]))
    assert similarity(one, other) < 0.1
    assert similarity(one, one) == 1.0


def test_the_order_of_words_counts_and_their_case_and_marks_do_not():
    words = text_of(3)
    plain = sketch(" ".join(words))
    assert sketch(", ".join(words).upper() + "!") == plain
    assert similarity(plain, sketch(" ".join(sorted(words)))) < 0.2
    assert similarity(plain, sketch(" ".join(reversed(words)))) < 0.2


@pytest.mark.parametrize("text", ["", "a few words only", "the same word " * 300, "1 " * 2_000])
def test_what_is_too_short_or_too_monotonous_has_no_sketch(text):
    assert sketch(text) is None
    assert to_text(sketch(text)) == ""


def test_short_texts_fill_empty_places_alike():
    words = text_of(9, 40)
    one, other = sketch(" ".join(words)), sketch(" ".join([*words, "more"]))
    assert one is not None
    assert other is not None
    assert similarity(one, other) > 0.8


def test_any_characters_can_be_sketched_and_stored():
    made = sketch("\ud800 " + " ".join(f"\u00fc\u6c34{n} x\u2019{n}" for n in range(60)))
    assert made is not None
    assert from_text(to_text(made)) == made
    assert to_text(made).isascii()
