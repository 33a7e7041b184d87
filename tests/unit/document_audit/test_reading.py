"""Reading: bytes become the text they stand for; what is wrong with a file is never raised."""

from __future__ import annotations

import codecs
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from document_audit.listing import FileRecord
from document_audit.reading import decode, read_contents

MARKED = {
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
# What may be in a text: no zero characters, and none of the controls that mark binary data.
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\r\n"), min_size=1
)


def codec_of(encoding):
    return {"utf-8-sig": "utf-8", "unknown 8-bit": "latin-1"}.get(encoding, encoding)


@given(texts)
def test_utf8_is_read_as_written(text):
    found = decode(text.encode())
    text = text.removeprefix("\ufeff")  # which is the mark itself
    if found is not None:  # a text may begin as a binary format does
        assert found.text == text
        assert found.encoding in {"ascii", "utf-8", "utf-8-sig"}
        assert (found.encoding == "ascii") == found.text.isascii() or found.encoding == "utf-8-sig"


@given(text=texts, encoding=st.sampled_from(sorted(MARKED)))
def test_a_mark_tells_the_encoding(text, encoding):
    found = decode(MARKED[encoding] + text.encode(codec_of(encoding)))
    assert found is not None
    assert (found.text, found.encoding) == (text, encoding)


@given(st.binary())
def test_decoding_loses_nothing_whatever_the_bytes(data):
    found = decode(data)
    if found is None or found.encoding == "empty":
        return
    again = found.text.encode(codec_of(found.encoding))
    mark = MARKED.get(found.encoding, b"")
    assert data in {again, mark + again}


@given(text=texts, cut=st.integers(0, 200), encoding=st.sampled_from(["utf-8", *MARKED]))
def test_a_text_cut_within_a_character_loses_that_character_alone(text, cut, encoding):
    text += "x" * 30
    whole = MARKED.get(encoding, b"") + text.encode(codec_of(encoding))
    found = decode(whole[: max(len(whole) - cut % 40, 24)], complete=False)
    if found is not None and found.encoding not in {"iso-8859-1", "windows-1252", "unknown 8-bit"}:
        assert text.removeprefix("\ufeff").startswith(found.text)


LEVELS = "The water stands high.\nPegel: fünf Meter, höher als je.\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"", "empty"),
        (b"plain\n", "ascii"),
        (b"colours: \x1b[31mred\x1b[0m\x0c\n", "ascii"),
        (LEVELS.encode(), "utf-8"),
        (LEVELS.encode("latin-1"), "iso-8859-1"),
        (f"\u201c{LEVELS}\u201d \u20ac".encode("cp1252"), "windows-1252"),
        (LEVELS.encode("utf-16-le"), "utf-16-le"),
        (LEVELS.encode("utf-16-be"), "utf-16-be"),
        (LEVELS.encode("utf-32-le"), "utf-32-le"),
        (LEVELS.encode("utf-32-be"), "utf-32-be"),
        ("Река поднималась уже три дня".encode("koi8-r"), "unknown 8-bit"),
        ("三日続けて川の水が上がっていた".encode("euc-jp"), "unknown 8-bit"),
    ],
)
def test_encodings_without_a_mark(data, encoding):
    found = decode(data)
    assert found is not None
    assert found.encoding == encoding


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 4,
        b"\x00" * 40,
        b"%PDF-1.4\nall of it ASCII\n" * 9,
        b"\x89PNG\r\n\x1a\n" + b"x" * 100,
        b"text and \x00 then zeros\x00\x00",
        b"\x01\x02\x03\x04" * 20,
        b"caf\xe9 \x01\x02",
        codecs.BOM_UTF16_LE + b"\x00\x00" * 9,
    ],
)
def test_binary_data_is_not_taken_for_text(data):
    assert decode(data) is None


def put(folder, data, name="f.txt"):
    (folder / name).write_bytes(data)
    return FileRecord(name, len(data), 0)


def test_the_digest_covers_all_and_the_text_what_the_limit_allows(tmp_path):
    data = b"0123456789" * 30_000
    contents = read_contents(str(tmp_path), put(tmp_path, data), limit=25, digest=True)
    assert contents.text == "0123456789012345678901234"
    assert contents.truncated
    assert contents.problem == "only the first 25 bytes were analysed"
    assert contents.sha256 == hashlib.sha256(data).hexdigest()


def test_a_file_of_just_the_limit_is_whole(tmp_path):
    contents = read_contents(str(tmp_path), put(tmp_path, b"x" * 25), limit=25)
    assert (contents.text, contents.truncated, contents.problem) == ("x" * 25, False, "")
    assert contents.sha256 == "", "nobody asked for it"


def test_a_file_that_has_grown_is_read_to_its_end(tmp_path):
    record = put(tmp_path, b"x" * 9)
    put(tmp_path, b"y" * 90)
    assert read_contents(str(tmp_path), record).text == "y" * 90


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_a_file_that_tells_no_size_is_read_to_its_end():
    contents = read_contents("/proc/self", FileRecord("status", 0, 0))
    assert contents.text is not None
    assert len(contents.text.splitlines()) > 5


def test_a_binary_file_has_its_digest_and_its_kind(tmp_path):
    data = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    contents = read_contents(str(tmp_path), put(tmp_path, data), digest=True)
    assert (contents.text, contents.binary_kind) == (None, "PNG image")
    assert contents.sha256 == hashlib.sha256(data).hexdigest()


def test_a_file_that_has_gone_is_a_problem_and_no_error(tmp_path):
    contents = read_contents(str(tmp_path), FileRecord("gone", 1, 1), digest=True)
    assert contents.problem == "cannot be read: No such file or directory"
    assert (contents.text, contents.sha256) == (None, "")


def test_a_file_that_has_become_a_link_is_not_followed(tmp_path):
    put(tmp_path, b"elsewhere", "target")
    (tmp_path / "f.txt").symlink_to("target")
    contents = read_contents(str(tmp_path), FileRecord("f.txt", 9, 0))
    assert contents.text is None
    assert "cannot be read" in contents.problem


def test_a_file_that_has_become_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "f.txt")
    contents = read_contents(str(tmp_path), FileRecord("f.txt", 9, 0))
    assert contents.problem == "cannot be read: it is no longer a regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_a_problem_and_no_error(tmp_path):
    record = put(tmp_path, b"closed")
    (tmp_path / "f.txt").chmod(0)
    assert read_contents(str(tmp_path), record).problem == "cannot be read: Permission denied"
