"""Read a file without trusting it: bounded, links not followed, and decoded by what it holds."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from document_audit.listing import FileRecord

__all__ = ("Contents", "Decoded", "decode", "read_contents")

MAX_BYTES = 4 * 1024 * 1024
_CHUNK = 1024 * 1024
_SAMPLE = 4096

# The longer marks first: that of UTF-32-LE begins with that of UTF-16-LE.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16-be"),
)
# Beginnings of binary formats that may pass for text, or that deserve their name in a report.
_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"\x89PNG\r\n", "PNG image"),
    (b"GIF8", "GIF image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b\x08", "gzip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (b"\x7fELF", "ELF program"),
    (b"\xcf\xfa\xed\xfe", "Mach-O program"),
    (b"MZ", "Windows program"),
    (b"\x00asm", "WebAssembly"),
    (b"\xca\xfe\xba\xbe", "Java class"),
    (b"SQLite format 3\x00", "SQLite database"),
    (b"wOF", "web font"),
    (b"OTTO", "OpenType font"),
    (b"\x00\x01\x00\x00", "TrueType font"),
    (b"RIFF", "RIFF media"),
    (b"OggS", "Ogg media"),
    (b"ID3", "MP3 audio"),
    (b"II*\x00", "TIFF image"),
    (b"MM\x00*", "TIFF image"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"\xd0\xcf\x11\xe0", "Office document"),
)
_SURELY_BINARY = frozenset({"PDF", "PNG image", "JPEG image", "ZIP archive", "gzip archive"})
# Tab, line feed, vertical tab, form feed, carriage return and escape do appear in texts.
_TEXT_CONTROLS = bytes((0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1B))
_CONTROLS = bytes(sorted(set(range(0x20)) - set(_TEXT_CONTROLS))) + b"\x7f"
_HIGH = bytes(range(0x80, 0x100))
_C1 = bytes(range(0x80, 0xA0))
_UNDEFINED_IN_1252 = b"\x81\x8d\x8f\x90\x9d"


@attrs.frozen
class Decoded:
    """A text and the name of the encoding that it was found to be in."""

    text: str
    encoding: str


@attrs.frozen(kw_only=True)
class Contents:
    """What was found in one file.

    Attributes:
        text: Its text, or the first part of it; None if there is none to be had.
        encoding: The encoding of the text; empty if there is none.
        binary_kind: What sort of binary file it is; empty for texts.
        problem: Why the file could not be read (wholly); empty if it could.
        truncated: True if *text* is only the first part.
        sha256: The digest of all its bytes; empty if not asked for or not readable.
    """

    text: str | None = None
    encoding: str = ""
    binary_kind: str = ""
    problem: str = ""
    truncated: bool = False
    sha256: str = ""


def read_contents(
    root: str, record: FileRecord, *, limit: int = MAX_BYTES, digest: bool = False
) -> Contents:
    """Read one file; whatever is wrong with it is told in the result and never raised.

    Args:
        root: The audited folder.
        record: Which file below it.
        limit: How many bytes are decoded at most; the digest always covers all.
        digest: Whether to compute the digest.
    """
    try:
        data, more, sha256 = _read_bytes(f"{root}/{record.path}", limit, digest)
    except OSError as error:
        return Contents(problem=f"cannot be read: {error.strerror or error}")
    decoded = decode(data, complete=not more)
    if decoded is None:
        return Contents(binary_kind=_binary_kind(data), sha256=sha256)
    return Contents(
        text=decoded.text,
        encoding=decoded.encoding,
        problem=f"only the first {limit:,} bytes were analysed" if more else "",
        truncated=more,
        sha256=sha256,
    )


def _read_bytes(path: str, limit: int, digest: bool) -> tuple[bytes, bool, str]:
    """Return the first *limit* bytes, whether there are more, and the digest of all."""
    # The file may have been replaced since it was listed: by a link, or by a pipe to wait on.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise OSError("it is no longer a regular file")
        data = file.read(min(info.st_size, limit) + 1)
        if len(data) > info.st_size:  # it grew, or it belongs to a system that tells no sizes
            data += file.read(limit + 1 - len(data))
        more = len(data) > limit
        if not digest:
            return data[:limit], more, ""
        sha256 = hashlib.sha256(data)
        while more and (chunk := file.read(_CHUNK)):
            sha256.update(chunk)
        return data[:limit], more, sha256.hexdigest()


def decode(data: bytes, *, complete: bool = True) -> Decoded | None:
    """Return the text in *data* and its encoding, or None if it is not text.

    Nothing is lost: but for a byte order mark, encoding the text again gives *data*.

    Args:
        data: The bytes.
        complete: False if *data* may end within a character, which is then left out.
    """
    if not data:
        return Decoded("", "empty")
    for mark, encoding, codec in _MARKS:
        if data.startswith(mark):
            text = _strict(data[len(mark) :], codec, complete)
            if text is not None and "\0" not in text:
                return Decoded(text, encoding)
    if _known_magic(data) in _SURELY_BINARY:
        return None
    if b"\0" in data:
        return _without_mark(data, complete)
    controls = len(data) - len(data.translate(None, _CONTROLS))
    if controls > len(data) // 100:
        return None
    if data.isascii():
        return Decoded(data.decode("ascii"), "ascii")
    text = _strict(data, "utf-8", complete)
    if text is not None:
        return Decoded(text, "utf-8")
    return None if controls else _single_byte(data)


def _strict(data: bytes, codec: str, complete: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(codec)("strict").decode(data, complete)
    except UnicodeDecodeError:
        return None


def _without_mark(data: bytes, complete: bool) -> Decoded | None:
    """Recognise UTF-16 and UTF-32 without a mark by where the zero bytes of ASCII fall."""
    sample = data[:_SAMPLE]
    for width, codec, significant in (
        (4, "utf-32-le", 0),
        (4, "utf-32-be", 3),
        (2, "utf-16-le", 0),
        (2, "utf-16-be", 1),
    ):
        lanes = [sample[lane::width] for lane in range(width)]
        ascii_lane = lanes.pop(significant)
        zeros = [lane.count(0) / len(lane) if lane else 0.0 for lane in lanes]
        if ascii_lane.count(0) == 0 and min(zeros) > 0.6:
            text = _strict(data, codec, complete)
            if text is not None and "\0" not in text and _mostly_printable(text[:_SAMPLE]):
                return Decoded(text, codec)
    return None


def _mostly_printable(text: str) -> bool:
    odd = sum(1 for char in text if not char.isprintable() and char not in "\t\n\r\f\v\x1b")
    return odd <= len(text) // 100


def _single_byte(data: bytes) -> Decoded | None:
    """Name the Western encodings; anything else of one byte a letter is read but not named."""
    text = data.decode("latin-1")
    high = len(data) - len(data.translate(None, _HIGH))
    if high > len(data) * 0.3:
        return Decoded(text, "unknown 8-bit")
    if len(data) == len(data.translate(None, _C1)):
        return Decoded(text, "iso-8859-1")
    if len(data) == len(data.translate(None, _UNDEFINED_IN_1252)):
        return Decoded(data.decode("cp1252"), "windows-1252")
    return Decoded(text, "unknown 8-bit")


def _known_magic(data: bytes) -> str:
    return next((name for magic, name in _MAGIC if data.startswith(magic)), "")


def _binary_kind(data: bytes) -> str:
    return _known_magic(data) or "binary data"
