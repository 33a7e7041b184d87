"""MockSTTProvider and MockTTSProvider: ears and a voice for tests."""

from __future__ import annotations

import random as random_module
from collections.abc import AsyncGenerator, Mapping, Sequence
from hashlib import md5
from typing import Final

import attrs

from stageflow.contracts.clock import Clock
from stageflow.helpers.errors import HelperSettingError, MockFailureError, check_whole_number
from stageflow.helpers.mocks._simulation import Simulation, several
from stageflow.helpers.providers import STTResponse
from stageflow.helpers.streaming.audio import AudioChunk, calculate_audio_duration_ms

__all__ = ("MockAudioChunk", "MockSTTProvider", "MockTTSProvider")

_DEFAULT_TRANSCRIPTIONS: Final = ("This is a mock transcription.",)


@attrs.frozen
class MockAudioChunk(AudioChunk):
    """A piece of the audio that `MockTTSProvider` makes."""


class MockSTTProvider:
    """A speech recogniser for tests.

    Args:
        transcriptions: What to understand, in turn, over and over.
        audio_map: What to understand for certain audio, by the first 16 characters of the MD5 of
            its bytes in hexadecimal, which `audio_key` gives.
        simulate_confidence: Draw the confidence between 0.85 and 0.99; otherwise it is 0.95.
        latency_ms: How long a call takes.
        latency_jitter_ms: How far it may be from that, in either direction.
        fail_rate: Share of the calls that fail.
        random: Source of the draws; of a fixed seed unless given.
        clock: Source of the time.
    """

    def __init__(
        self,
        *,
        transcriptions: Sequence[str] | None = None,
        audio_map: Mapping[str, str] | None = None,
        simulate_confidence: bool = True,
        latency_ms: float = 0,
        latency_jitter_ms: float = 0,
        fail_rate: float = 0.0,
        random: random_module.Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._transcriptions = (
            several("MockSTTProvider", "transcriptions", transcriptions) or _DEFAULT_TRANSCRIPTIONS
        )
        self._audio_map = dict(audio_map or {})
        self._simulate_confidence = simulate_confidence
        self._simulation = Simulation(
            "MockSTTProvider",
            latency_ms=latency_ms,
            latency_jitter_ms=latency_jitter_ms,
            fail_rate=fail_rate,
            random=random,
            clock=clock,
        )
        self.reset()

    def reset(self) -> None:
        """Forget all calls and begin with the first transcription again."""
        self.call_count = 0
        self._next_transcription = 0

    @staticmethod
    def audio_key(audio: bytes) -> str:
        """Return the key of *audio* in `audio_map`."""
        return md5(audio, usedforsecurity=False).hexdigest()[:16]

    async def transcribe(self, audio: bytes) -> STTResponse:
        """Understand *audio*, taken to be 16-bit, 16 kHz, mono.

        Raises:
            MockFailureError: The call was drawn to fail.
        """
        self.call_count += 1
        latency_ms = await self._simulation.pass_time()
        if self._simulation.fails():
            raise MockFailureError("Mock STT error")
        confidence = 0.95
        if self._simulate_confidence:
            confidence = self._simulation.random.uniform(0.85, 0.99)
        return STTResponse(
            text=self._select(audio),
            confidence=confidence,
            duration_ms=calculate_audio_duration_ms(len(audio)),
            provider="mock",
            model="mock-stt",
            latency_ms=latency_ms,
        )

    def _select(self, audio: bytes) -> str:
        mapped = self._audio_map.get(self.audio_key(audio))
        if mapped is not None:
            return mapped
        text = self._transcriptions[self._next_transcription % len(self._transcriptions)]
        self._next_transcription += 1
        return text


class MockTTSProvider:
    """A voice for tests: the same text always gives the same bytes.

    Args:
        bytes_per_char: How much audio a character makes; an even number keeps samples whole.
        sample_rate: Samples per second.
        latency_ms: How long a call takes.
        latency_jitter_ms: How far it may be from that, in either direction.
        fail_rate: Share of the calls that fail.
        random: Source of the draws; of a fixed seed unless given.
        clock: Source of the time.
    """

    def __init__(
        self,
        *,
        bytes_per_char: int = 320,
        sample_rate: int = 16000,
        latency_ms: float = 0,
        latency_jitter_ms: float = 0,
        fail_rate: float = 0.0,
        random: random_module.Random | None = None,
        clock: Clock | None = None,
    ) -> None:
        for name, value in (("bytes_per_char", bytes_per_char), ("sample_rate", sample_rate)):
            check_whole_number("MockTTSProvider", name, value, 1)
        self.sample_rate = sample_rate
        self._bytes_per_char = bytes_per_char
        self._simulation = Simulation(
            "MockTTSProvider",
            latency_ms=latency_ms,
            latency_jitter_ms=latency_jitter_ms,
            fail_rate=fail_rate,
            random=random,
            clock=clock,
        )
        self.reset()

    def reset(self) -> None:
        """Forget all calls."""
        self.call_count = 0

    async def synthesize(self, text: str) -> bytes:
        """Speak *text*; return 16-bit mono audio.

        Raises:
            MockFailureError: The call was drawn to fail.
        """
        self.call_count += 1
        await self._simulation.pass_time()
        if self._simulation.fails():
            raise MockFailureError("Mock TTS error")
        size = len(text) * self._bytes_per_char
        seed = md5(text.encode(errors="surrogatepass"), usedforsecurity=False).digest()
        return (seed * (size // len(seed) + 1))[:size]

    async def stream(
        self, text: str, *, chunk_duration_ms: float = 100
    ) -> AsyncGenerator[MockAudioChunk, None]:
        """Speak *text* piece by piece, with as much time between the pieces as they sound.

        Raises:
            MockFailureError: The call was drawn to fail.
            HelperSettingError: A chunk would hold no sample.
        """
        chunk_size = int(self.sample_rate * chunk_duration_ms / 1000) * 2
        if chunk_size < 2:
            raise HelperSettingError(
                "MockTTSProvider", "chunk_duration_ms", chunk_duration_ms, rule="a sample or more"
            )
        audio = await self.synthesize(text)
        for sequence, start in enumerate(range(0, len(audio), chunk_size)):
            if start:
                await self._simulation.clock.sleep(chunk_duration_ms / 1000)
            yield MockAudioChunk(
                audio[start : start + chunk_size],
                self.sample_rate,
                timestamp_ms=sequence * chunk_duration_ms,
                sequence=sequence,
                is_final=start + chunk_size >= len(audio),
            )
