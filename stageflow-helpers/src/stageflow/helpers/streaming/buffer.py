"""StreamingBuffer: evens out audio that arrives unevenly."""

from __future__ import annotations

from typing import Any

from stageflow.helpers._telemetry import EventEmitter, guarded
from stageflow.helpers.errors import AudioFormatError, HelperSettingError, check_whole_number
from stageflow.helpers.streaming.audio import (
    AudioChunk,
    AudioFormat,
    calculate_audio_duration_ms,
)

__all__ = ("StreamingBuffer",)

_BYTES_PER_SAMPLE = AudioFormat.PCM_16.bytes_per_sample
_DROP_STEP_MS = 50


class StreamingBuffer:
    """A jitter buffer for 16-bit audio: filled by chunks, read by duration, bounded.

    Every byte is accounted for: received = read + buffered + dropped, at any moment. Audio beyond
    `max_duration_ms` makes room by dropping the oldest in steps of 50 ms; the bound is hard, also
    for a single chunk that is longer than it.

    Args:
        target_duration_ms: How much must be buffered before playing should begin.
        max_duration_ms: How much is kept at most.
        sample_rate: Samples per second of each channel.
        channels: Number of channels.
        event_emitter: Called as `emitter(event_type, data)` for `stream.*` events; what it raises
            is logged.
    """

    def __init__(
        self,
        *,
        target_duration_ms: float = 200,
        max_duration_ms: float = 2000,
        sample_rate: int = 16000,
        channels: int = 1,
        event_emitter: EventEmitter | None = None,
    ) -> None:
        for name, value in (("sample_rate", sample_rate), ("channels", channels)):
            check_whole_number("StreamingBuffer", name, value, 1)
        if not 0 <= target_duration_ms <= max_duration_ms or not max_duration_ms:
            raise HelperSettingError(
                "StreamingBuffer",
                "target_duration_ms, max_duration_ms",
                (target_duration_ms, max_duration_ms),
                rule="durations above 0, the target not above the maximum",
            )
        self.target_duration_ms = target_duration_ms
        self.max_duration_ms = max_duration_ms
        self.sample_rate = sample_rate
        self.channels = channels
        self._emit = guarded(event_emitter)
        self._buffer = bytearray()
        self._max_bytes = self._bytes_for(max_duration_ms)
        self._drop_step = max(self._bytes_for(_DROP_STEP_MS), _BYTES_PER_SAMPLE * channels)
        self._received = 0
        self._read = 0
        self._dropped = 0
        self._underrun = False

    @property
    def duration_ms(self) -> float:
        """How long the buffered audio sounds."""
        return self._duration_of(len(self._buffer))

    @property
    def stats(self) -> dict[str, Any]:
        """The level and the totals since the beginning, in bytes."""
        return {
            "duration_ms": self.duration_ms,
            "bytes_buffered": len(self._buffer),
            "total_received": self._received,
            "total_read": self._read,
            "total_dropped": self._dropped,
            "is_ready": self.is_ready(),
            "underrun_active": self._underrun,
        }

    def is_ready(self) -> bool:
        """Return whether the target duration is buffered."""
        return self.duration_ms >= self.target_duration_ms

    def add_chunk(self, chunk: AudioChunk) -> None:
        """Append the audio of *chunk*, dropping the oldest audio if it would become too much.

        Raises:
            AudioFormatError: The chunk's format, rate or channels are not those of the buffer.
        """
        self._check_format(chunk)
        data = chunk.data
        self._received += len(data)
        dropped = self._drop_buffered(len(data))
        excess = len(data) - self._max_bytes
        if excess > 0:
            # The chunk alone is too long: its own beginning is the oldest audio there is.
            cut = min(-(-excess // self._drop_step) * self._drop_step, len(data))
            data = data[cut:]
            dropped += cut
        self._buffer += data
        if dropped:
            self._dropped += dropped
            if self._emit is not None:
                self._emit(
                    "stream.buffer_overflow",
                    {
                        "bytes_dropped": dropped,
                        "buffer_duration_ms": self.duration_ms,
                        "max_duration_ms": self.max_duration_ms,
                    },
                )

    def read(self, duration_ms: float = 20) -> bytes:
        """Take the oldest *duration_ms* of audio, or all there is if that is less."""
        wanted = self._bytes_for(duration_ms)
        data = bytes(self._buffer[:wanted])
        del self._buffer[: len(data)]
        self._read += len(data)
        is_underrun = len(data) < wanted
        if is_underrun is not self._underrun:
            self._underrun = is_underrun
            if self._emit is not None:
                self._emit(
                    "stream.buffer_underrun" if is_underrun else "stream.buffer_recovered",
                    {
                        "requested_ms": duration_ms,
                        "read_ms": self._duration_of(len(data)),
                        "buffer_duration_ms": self.duration_ms,
                    },
                )
        return data

    def clear(self) -> None:
        """Drop everything that is buffered; it counts as dropped."""
        self._dropped += len(self._buffer)
        self._buffer.clear()

    def _drop_buffered(self, coming: int) -> int:
        """Drop from the buffer, step by step, until *coming* bytes fit or it is empty."""
        excess = len(self._buffer) + coming - self._max_bytes
        if excess <= 0:
            return 0
        steps = -(-excess // self._drop_step)
        dropped = min(steps * self._drop_step, len(self._buffer))
        del self._buffer[:dropped]
        return dropped

    def _check_format(self, chunk: AudioChunk) -> None:
        found = (chunk.format, chunk.sample_rate, chunk.channels)
        if found == (AudioFormat.PCM_16, self.sample_rate, self.channels):
            return
        raise AudioFormatError(
            f"A chunk of {chunk.format.value}, {chunk.sample_rate} Hz, {chunk.channels} channel(s)"
            f" does not fit a buffer of pcm_16, {self.sample_rate} Hz, {self.channels} channel(s).",
            hint="Convert the audio first, or build the buffer for what arrives.",
        )

    def _bytes_for(self, duration_ms: float) -> int:
        """Return the size of *duration_ms*, in whole frames."""
        return int(self.sample_rate * duration_ms / 1000) * _BYTES_PER_SAMPLE * self.channels

    def _duration_of(self, byte_count: int) -> float:
        return calculate_audio_duration_ms(
            byte_count, self.sample_rate, self.channels, _BYTES_PER_SAMPLE
        )
