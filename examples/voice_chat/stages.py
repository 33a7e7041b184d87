"""The stages of one turn: they hear, think, speak and play, and hand each other what is ready."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Any, Final, Protocol

import attrs

from stageflow import StageContext
from stageflow.contracts.clock import Clock
from stageflow.helpers import (
    AudioChunk,
    MockLLMProvider,
    MockSTTProvider,
    MockTTSProvider,
    Stream,
    StreamWriter,
)

__all__ = ("SOUND", "WORDS", "Hear", "Loudspeaker", "Play", "Sound", "Speak", "Think")

_END: Final = re.compile(r"[.!?](?=\s|$)")


@attrs.frozen
class Sound:
    """A piece of speech.

    Attributes:
        chunk: The audio.
        sentence: The sentence that is said when it has been played; None within a sentence.
    """

    chunk: AudioChunk
    sentence: str | None = None


WORDS: Final = Stream[str]("words", max_size=16)
SOUND: Final = Stream[Sound]("sound", max_size=4)


class Loudspeaker(Protocol):
    """What makes speech audible."""

    async def play(self, chunk: AudioChunk) -> None:
        """Return when *chunk* has been heard."""


@attrs.frozen
class SilentLoudspeaker:
    """A loudspeaker that only takes as long as one would."""

    clock: Clock

    async def play(self, chunk: AudioChunk) -> None:
        """Let the time pass that *chunk* sounds."""
        await self.clock.sleep(chunk.duration_ms / 1000)


@attrs.frozen
class Hear:
    """Turns what the microphone recorded into text."""

    provider: MockSTTProvider

    async def execute(self, ctx: StageContext) -> dict[str, Any]:
        """Understand the run's input `audio`, if there is one."""
        response = await self.provider.transcribe(ctx.inputs.get("audio", default=b""))
        return {"text": response.text, "confidence": response.confidence}


@attrs.frozen
class Think:
    """Asks the model, and hands on each piece of the answer as it comes."""

    provider: MockLLMProvider

    async def execute(self, ctx: StageContext) -> dict[str, Any]:
        """Answer what was heard; say what was answered before it was cut short."""
        question = ctx.inputs.get_from("hear", "text")
        before = ctx.inputs.get_from("remember", "memory_entries", default=[])
        answer: list[str] = []
        stream = self.provider.stream(question, before, chunk_size=8)
        async with WORDS.writer(ctx) as out, aclosing(stream) as pieces:
            async for piece in pieces:
                if not await out.send(piece):
                    break
                answer.append(piece)
        return {"answer": "".join(answer), "interrupted": out.interrupted}


@attrs.frozen
class Speak:
    """Turns each sentence into speech as soon as it is whole."""

    provider: MockTTSProvider

    async def execute(self, ctx: StageContext) -> dict[str, Any]:
        """Speak until there are no words any more."""
        spoken = 0
        sentences = _Sentences()
        async with WORDS.reader(ctx) as pieces, SOUND.writer(ctx) as out:
            async for piece in pieces:
                spoken += await self._say(sentences.add(piece), out)
            spoken += await self._say(sentences.rest(), out)
        return {"sentences": spoken, "interrupted": out.interrupted}

    async def _say(self, sentences: Iterable[str], out: StreamWriter[Sound]) -> int:
        spoken = 0
        for sentence in sentences:
            async with aclosing(self.provider.stream(sentence, chunk_duration_ms=60)) as chunks:
                async for chunk in chunks:
                    await out.send(Sound(chunk, sentence if chunk.is_final else None))
            spoken += 1
        return spoken


@attrs.frozen
class Play:
    """Plays the speech, and knows what of the answer was really heard."""

    loudspeaker: Loudspeaker

    async def execute(self, ctx: StageContext) -> dict[str, Any]:
        """Play until there is no sound any more."""
        heard: list[str] = []
        async with SOUND.reader(ctx) as sounds:
            async for sound in sounds:
                if sounds.received == 1:
                    ctx.try_emit_event("voice.first_sound", {"after_ms": ctx.timer.elapsed_ms()})
                await self.loudspeaker.play(sound.chunk)
                if sound.sentence is not None:
                    heard.append(sound.sentence)
        said = " ".join([*heard, *(["[interrupted]"] if sounds.interrupted else [])])
        return {"heard": said, "chunks": sounds.received, "interrupted": sounds.interrupted}


class _Sentences:
    """Puts pieces together, and gives each sentence when its end has come."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, piece: str) -> Iterator[str]:
        """Give the sentences that *piece* completes."""
        self._text += piece
        while found := _END.search(self._text):
            sentence, self._text = self._text[: found.end()], self._text[found.end() :]
            yield sentence.strip()

    def rest(self) -> Iterator[str]:
        """Give what is left at the end."""
        if rest := self._text.strip():
            yield rest
