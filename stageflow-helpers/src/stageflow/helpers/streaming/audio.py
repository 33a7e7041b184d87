"""Pieces of raw audio: how long they last, and how they are written down."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from stageflow.codec import codec_type
from stageflow.helpers.errors import AudioFormatError

__all__ = (
    "AudioChunk",
    "AudioFormat",
    "calculate_audio_duration_ms",
    "encode_audio_for_logging",
)


@codec_type(
    name="stageflow.AudioFormat",
    encode=lambda audio_format: audio_format.value,
    decode=lambda value: AudioFormat(value),  # noqa: PLW0108 - the name is not bound yet
)
class AudioFormat(StrEnum):
    """How one sample is stored. Only raw formats: their length tells how long they last."""

    PCM_16 = "pcm_16"
    PCM_32 = "pcm_32"
    FLOAT_32 = "float_32"

    @property
    def bytes_per_sample(self) -> int:
        """Size of one sample of one channel."""
        return 2 if self is AudioFormat.PCM_16 else 4


def _as_format(given: AudioFormat | str) -> AudioFormat:
    if isinstance(given, AudioFormat):
        return given
    try:
        return AudioFormat(given)
    except ValueError:
        raise AudioFormatError(
            f"There is no audio format {given!r}.",
            hint=f"Give one of {', '.join(AudioFormat)}.",
        ) from None


@codec_type(name="stageflow.AudioChunk")
@attrs.frozen
class AudioChunk:
    """A piece of raw audio.

    Attributes:
        data: The samples, channels interleaved.
        sample_rate: Samples per second of each channel.
        channels: Number of channels.
        format: How one sample is stored.
        timestamp_ms: Where in the stream the chunk begins.
        sequence: Its number in the stream.
        is_final: Whether it is the stream's last.
        metadata: Whatever else is known.
    """

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    sample_rate: int = 16000
    channels: int = 1
    format: AudioFormat = attrs.field(default=AudioFormat.PCM_16, converter=_as_format)
    timestamp_ms: float = 0.0
    sequence: int = 0
    is_final: bool = False
    metadata: dict[str, Any] = attrs.field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.data, bytes | bytearray | memoryview):
            raise AudioFormatError(
                f"The samples of an audio chunk are bytes, not {type(self.data).__name__}.",
                hint="Give raw audio; `AudioChunk.from_dict` reads base64.",
            )
        if self.sample_rate < 1 or self.channels < 1:
            raise AudioFormatError(
                f"An audio chunk of {self.sample_rate} Hz and {self.channels} channel(s) has no"
                " duration.",
                hint="Give a sample rate and a number of channels, both at least 1.",
            )

    @property
    def duration_ms(self) -> float:
        """How long the chunk sounds."""
        return calculate_audio_duration_ms(
            len(self.data), self.sample_rate, self.channels, self.format.bytes_per_sample
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the chunk as JSON has words for it, the samples in base64."""
        return {
            "data": b64encode(self.data).decode("ascii"),
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "format": self.format.value,
            "timestamp_ms": self.timestamp_ms,
            "sequence": self.sequence,
            "is_final": self.is_final,
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AudioChunk:
        """Return the chunk that `to_dict` wrote; only `data` must be there.

        Raises:
            AudioFormatError: The samples are no base64, or the format has no such name.
        """
        try:
            samples = b64decode(data["data"], validate=True)
            audio_format = AudioFormat(data.get("format", AudioFormat.PCM_16))
        except (binascii.Error, ValueError) as error:
            raise AudioFormatError(
                f"An audio chunk cannot be read: {error}.",
                hint="Give what `AudioChunk.to_dict` returns.",
            ) from error
        return cls(
            data=samples,
            sample_rate=data.get("sample_rate", 16000),
            channels=data.get("channels", 1),
            format=audio_format,
            timestamp_ms=data.get("timestamp_ms", 0.0),
            sequence=data.get("sequence", 0),
            is_final=data.get("is_final", False),
            metadata=dict(data.get("metadata") or {}),
        )


def calculate_audio_duration_ms(
    byte_count: int, sample_rate: int = 16000, channels: int = 1, bytes_per_sample: int = 2
) -> float:
    """Return how long *byte_count* bytes of raw audio sound."""
    return byte_count / (bytes_per_sample * channels) / sample_rate * 1000


def encode_audio_for_logging(data: bytes, max_bytes: int = 100) -> str:
    """Return a short text for *data*: its size and, in base64, at most its first *max_bytes*."""
    head = b64encode(data[:max_bytes]).decode("ascii")
    if len(data) <= max_bytes:
        return f"<audio:{len(data)}B,data:{head}>"
    return f"<audio:{len(data)}B,sample:{head}...>"
