"""The listing: the right files, in an order that does not change, in batches that hold."""

from __future__ import annotations

import os
import subprocess

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from document_audit.listing import FileRecord, Listing, list_files, printable, split_batches
from stageflow.errors import ConfigurationError


def names(listing):
    return [record.path for record in listing.files]


def fill(folder, *paths):
    for path in paths:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(path)


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A fresh repository, and a function that runs git in it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def run(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    run("init", "-q")
    return run


def test_files_are_sorted_with_their_sizes_and_times(tmp_path):
    fill(tmp_path, "b/z.txt", "b.txt", "a/y/x.txt", "B.txt")
    listing = list_files(tmp_path)
    assert names(listing) == ["B.txt", "a/y/x.txt", "b.txt", "b/z.txt"]
    assert listing.source == "walk"
    info = (tmp_path / "b.txt").stat()
    assert listing.files[2] == FileRecord("b.txt", info.st_size, info.st_mtime_ns)
    assert listing.total_bytes == sum(len(name) for name in names(listing))


def test_links_are_told_and_never_followed(tmp_path):
    outside = tmp_path / "outside"
    fill(outside, "secret.txt")
    root = tmp_path / "root"
    fill(root, "real.txt")
    (root / "file").symlink_to(outside / "secret.txt")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    listing = list_files(root)
    assert names(listing) == ["real.txt"]
    assert {one.path: one.reason for one in listing.skipped} == {
        "file": "symbolic link, not followed",
        "folder": "symbolic link, not followed",
        "loop": "symbolic link, broken",
        "pipe": "neither file nor folder",
    }
    assert listing.skipped_count == 4


def test_what_tools_have_made_is_left_out(tmp_path):
    fill(tmp_path, "kept.txt", "build/x", "__pycache__/x", "node_modules/a/b", ".hg/x", "env/bin/x")
    (tmp_path / "env" / "pyvenv.cfg").touch()
    listing = list_files(tmp_path)
    assert names(listing) == ["kept.txt"]
    told = {one.path for one in listing.skipped}
    assert told == {"build", "node_modules", "env"}, "caches are not worth a word, the others are"


def test_in_a_checkout_git_tells_what_belongs_to_it(tmp_path, git):
    fill(tmp_path, ".gitignore", "new.txt", "tracked.txt", "gone.txt", "notes.log", "build/kept.py")
    fill(tmp_path, "dist/untracked.txt", "inner/.git/config", "sub/deep.txt")
    (tmp_path / ".gitignore").write_text("*.log\n")
    git("add", "tracked.txt", "gone.txt", ".gitignore", "build/kept.py")
    git("commit", "-qm", "x")
    (tmp_path / "gone.txt").unlink()
    listing = list_files(tmp_path)
    assert listing.source == "git"
    assert names(listing) == [
        ".gitignore",
        "build/kept.py",
        "new.txt",
        "sub/deep.txt",
        "tracked.txt",
    ]
    assert names(list_files(tmp_path / "sub")) == ["deep.txt"]


def test_a_folder_that_its_checkout_ignores_is_walked(tmp_path, git):
    fill(tmp_path, ".gitignore", "ignored/a.txt")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    listing = list_files(tmp_path / "ignored")
    assert (listing.source, names(listing)) == ("walk", ["a.txt"])


def test_a_checkout_within_a_checkout_is_listed_too(tmp_path, git):
    fill(tmp_path, "a.txt", "inner/b.txt")
    git("init", "-q", "inner")
    assert names(list_files(tmp_path)) == ["a.txt", "inner/b.txt"]


def test_a_strange_repository_cannot_run_its_own_commands(tmp_path, git):
    fill(tmp_path, "a.txt")
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    hook.chmod(0o755)
    git("add", "a.txt")
    git("config", "core.fsmonitor", str(hook))
    assert "a.txt" in names(list_files(tmp_path))
    assert not (tmp_path / "was-run").exists()


def test_a_git_that_the_caller_runs_in_does_not_answer(tmp_path, git, monkeypatch):
    fill(tmp_path, "a.txt")
    other = tmp_path.parent / f"{tmp_path.name}-other"
    fill(other, "b.txt")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert names(list_files(other)) == ["b.txt"]


def test_without_git_the_folder_is_walked(tmp_path, git, monkeypatch):
    fill(tmp_path, "a.txt")
    monkeypatch.setenv("PATH", "")
    listing = list_files(tmp_path)
    assert (listing.source, names(listing)) == ("walk", ["a.txt"])


def test_excluded_places_are_left_out(tmp_path):
    fill(tmp_path, "a.txt", "out/report.json", "outside.txt", "deep/out/x.txt")
    listing = list_files(
        tmp_path, exclude=[tmp_path / "out", "/elsewhere", tmp_path / "deep/out/x.txt"]
    )
    assert names(listing) == ["a.txt", "outside.txt"]


def test_names_that_are_not_unicode_can_be_shown(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    (record,) = list_files(tmp_path).files
    assert (tmp_path / record.path).read_text() == "x"
    assert printable(record.path) == "caf\\xe9.txt"


@pytest.mark.parametrize("place", ["missing", "file.txt"])
def test_what_is_no_folder_is_refused_with_a_hint(tmp_path, place):
    fill(tmp_path, "file.txt")
    with pytest.raises(ConfigurationError) as caught:
        list_files(tmp_path / place)
    assert place in caught.value.message
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_told(tmp_path):
    fill(tmp_path, "a.txt", "closed/b.txt")
    (tmp_path / "closed").chmod(0)
    try:
        listing = list_files(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert names(listing) == ["a.txt"]
    assert [one.path for one in listing.skipped] == ["closed"]


records = st.lists(st.integers(0, 500), max_size=60).map(
    lambda sizes: tuple(FileRecord(f"f{n}", size, n) for n, size in enumerate(sizes))
)


@given(files=records, most=st.integers(1, 9), most_bytes=st.integers(1, 900))
def test_batches_hold_every_file_once_in_order_and_within_limits(files, most, most_bytes):
    listing = Listing(root="r", files=files)
    batches = list(split_batches(listing, max_files=most, max_bytes=most_bytes))
    assert tuple(record for batch in batches for record in batch.files) == files
    assert [batch.index for batch in batches] == list(range(len(batches)))
    for batch in batches:
        assert 1 <= len(batch.files) <= most
        assert batch.total_bytes <= most_bytes or len(batch.files) == 1


@pytest.mark.parametrize(
    ("most", "sizes"), [(9, [1, 1, 1]), (10, [2, 1]), (15, [3]), (1, [1, 1, 1])]
)
def test_a_batch_is_filled_up_to_its_limit(most, sizes):
    listing = Listing(root="r", files=tuple(FileRecord(f"f{n}", 5, n) for n in range(3)))
    assert [len(batch.files) for batch in split_batches(listing, max_bytes=most)] == sizes


def test_the_key_of_a_batch_changes_with_any_of_its_files():
    files = (FileRecord("a", 1, 2), FileRecord("b", 3, 4))
    (batch,) = split_batches(Listing(root="r", files=files))
    keys = {batch.key}
    for changed in ({"path": "c"}, {"size": 9}, {"mtime_ns": 9}):
        other = attrs.evolve(batch, files=(attrs.evolve(files[0], **changed), files[1]))
        keys.add(other.key)
    keys.add(attrs.evolve(batch, files=files[:1]).key)
    assert len(keys) == 5
    assert attrs.evolve(batch, index=7, root="elsewhere").key == batch.key


@pytest.mark.parametrize("limits", [{"max_files": 0}, {"max_bytes": 0}])
def test_batches_that_hold_nothing_are_refused(limits):
    with pytest.raises(ConfigurationError):
        list(split_batches(Listing(root="r", files=()), **limits))
