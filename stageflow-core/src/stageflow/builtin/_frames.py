"""Frames: how a process executor and its workers talk, over pipes.

A frame is four bytes with a length, the most significant first, and so many bytes. A worker says
one frame when it begins. A request is a frame with facts and one with the arguments; an answer
is a frame with facts and one with the result. Facts are a value of the codec.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from stageflow.codec import Codec

__all__ = ("HEADER", "LONGEST", "decode_facts", "encode_facts", "frame", "length_of")

HEADER: Final = struct.calcsize(">I")
# Longer ones come from something that writes where only frames should be.
LONGEST: Final = 2**30


def frame(content: bytes) -> bytes:
    """Return *content* as a frame."""
    return struct.pack(">I", len(content)) + content


def length_of(header: bytes) -> int:
    """Return the length that the head of a frame tells.

    Raises:
        ValueError: It is no head of a frame.
    """
    (length,) = struct.unpack(">I", header)
    if length > LONGEST:
        raise ValueError(f"a frame of {length} bytes")
    return int(length)


def encode_facts(**facts: Any) -> bytes:
    """Return *facts* as the content of a frame."""
    return Codec.default().encode(facts)


def decode_facts(content: bytes) -> dict[str, Any]:
    """Return the facts that a frame holds.

    Raises:
        ValueError: It holds something else.
    """
    facts = Codec.default().decode(content)
    if not isinstance(facts, dict):
        raise ValueError("facts are a dictionary")  # noqa: TRY004 - bytes are wrong, not a type
    return facts
