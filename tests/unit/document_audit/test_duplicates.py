"""Duplicates: every pair that is alike meets, and no file is compared with all the others."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from document_audit import duplicates
from document_audit.duplicates import equal_groups, near_groups
from document_audit.fingerprints import PLACES, sketch
from support.labelled_folder import drawing


@given(st.lists(st.binary(max_size=1), max_size=40))
def test_equal_groups_are_those_of_a_plain_dictionary(digests):
    plain = defaultdict(list)
    for number, digest in enumerate(digests):
        plain[digest].append(number)
    wanted = [group for group in plain.values() if len(group) > 1]
    assert equal_groups(enumerate(digests)) == wanted


def text_of(draw, count=400):
    return [f"w{draw.randrange(4_000)}" for _ in range(count)]


def test_groups_of_similar_texts_are_found_and_others_are_not():
    draw = drawing(4)
    texts, wanted = [], []
    for family in range(40):
        first = text_of(draw)
        members = [len(texts)]
        texts.append(first)
        for _ in range(family % 4):
            changed = list(first)
            for place in draw.sample(range(400), 4):
                changed[place] = "other"
            members.append(len(texts))
            texts.append(changed)
        if len(members) > 1:
            wanted.append(members)
    sketches = [sketch(" ".join(words)) for words in texts]
    numbers = [7 * place for place in range(len(texts))]
    found = list(near_groups(numbers, sketches))
    assert sorted([number // 7 for number, _ in group] for group in found) == wanted
    for group in found:
        assert group[0][1] == 1.0
        assert all(0.7 < share <= 1.0 for _, share in group)


def test_a_chain_of_similar_texts_is_one_group():
    draw = drawing(5)
    words, texts = text_of(draw), []
    for step in range(6):
        words = list(words)
        for place in range(step, 400, 50):
            words[place] = f"step{step}"
        texts.append(words)
    sketches = [sketch(" ".join(words)) for words in texts]
    (group,) = near_groups(range(6), sketches)
    assert [number for number, _ in group] == list(range(6))


def test_how_alike_is_asked_for():
    draw = drawing(6)
    first = text_of(draw)
    second = first[:320] + text_of(draw, 80)
    sketches = [sketch(" ".join(words)) for words in (first, second)]
    assert list(near_groups([0, 1], sketches, alike=0.95)) == []
    assert len(list(near_groups([0, 1], sketches, alike=0.5))) == 1
    assert list(near_groups([], [])) == []


def test_many_texts_that_share_a_part_are_not_all_compared(monkeypatch):
    """The worst case: all meet in a bucket, and no two are alike enough to be joined."""
    draw = drawing(7)
    common = draw.randbytes(4 * PLACES // 2)
    sketches = [common + draw.randbytes(4 * PLACES // 2) for _ in range(600)]
    compared = 0

    def counted(one, other, real=duplicates.similarity):
        nonlocal compared
        compared += 1
        return real(one, other)

    monkeypatch.setattr(duplicates, "similarity", counted)
    assert list(near_groups(range(600), sketches)) == []
    assert compared <= 600 * 8 * 8, "of 180,000 pairs; half of the sixteen bands are common"
