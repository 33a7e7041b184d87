"""What language, speech-to-text and text-to-speech providers answer, and how traces show it.

Each response exports the attribute names of its own family (`llm.*`, `stt.*`, `tts.*`). With
`gen_ai=True` the names of OpenTelemetry's semantic conventions for generative AI stand beside
them, so that a backend that knows those draws its own views.
"""

from __future__ import annotations

from typing import Any

import attrs

from stageflow.codec import codec_type

__all__ = ("LLMResponse", "STTResponse", "TTSResponse")


def _without_raw(response: Any) -> dict[str, Any]:
    """Return the fields as they are stored: a provider's own object is not kept."""
    stored = attrs.asdict(response, recurse=False)
    del stored["raw_response"]
    return stored


def _gen_ai(operation: str, provider: str, model: str, output_type: str) -> dict[str, Any]:
    """The attributes that every kind of generative call has; unknown ones are left out."""
    found = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.response.model": model,
        "gen_ai.output.type": output_type,
    }
    return {key: value for key, value in found.items() if value}


@codec_type(
    name="stageflow.LLMResponse",
    encode=_without_raw,
    decode=lambda fields: LLMResponse(**fields),
)
@attrs.frozen
class LLMResponse:
    """The answer of a language model.

    Attributes:
        content: The text.
        model: The model that answered.
        provider: Who runs the model.
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens of the answer.
        latency_ms: Time until the answer was complete.
        finish_reason: Why the model stopped, in the provider's word.
        tool_calls: Calls the model asks for, in the provider's form.
        cached_tokens: Prompt tokens that the provider had cached.
        raw_response: The provider's own object; never exported.
    """

    content: str
    model: str
    provider: str
    input_tokens: int = 0
    output_tokens: int = 0
    latency_ms: float = 0.0
    finish_reason: str | None = None
    tool_calls: list[dict[str, Any]] = attrs.field(factory=list, hash=False)
    cached_tokens: int = 0
    raw_response: Any = attrs.field(default=None, repr=False, eq=False)

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and answer together."""
        return self.input_tokens + self.output_tokens

    def to_dict(self) -> dict[str, Any]:
        """Return every field but `raw_response`, and the total of tokens."""
        return {
            "content": self.content,
            "model": self.model,
            "provider": self.provider,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "latency_ms": self.latency_ms,
            "finish_reason": self.finish_reason,
            "tool_calls": list(self.tool_calls),
            "cached_tokens": self.cached_tokens,
        }

    def to_otel_attributes(self, *, gen_ai: bool = False) -> dict[str, Any]:
        """Return span attributes; a finish reason that is not known is the empty text.

        Args:
            gen_ai: Also give OpenTelemetry's `gen_ai.*` names.
        """
        attributes: dict[str, Any] = {
            "llm.model": self.model,
            "llm.provider": self.provider,
            "llm.input_tokens": self.input_tokens,
            "llm.output_tokens": self.output_tokens,
            "llm.total_tokens": self.total_tokens,
            "llm.latency_ms": self.latency_ms,
            "llm.finish_reason": self.finish_reason or "",
            "llm.cached_tokens": self.cached_tokens,
        }
        if gen_ai:
            attributes |= _gen_ai("chat", self.provider, self.model, "text")
            attributes["gen_ai.usage.input_tokens"] = self.input_tokens
            attributes["gen_ai.usage.output_tokens"] = self.output_tokens
            attributes["gen_ai.usage.cache_read.input_tokens"] = self.cached_tokens
            if self.finish_reason:
                attributes["gen_ai.response.finish_reasons"] = [self.finish_reason]
        return attributes


@codec_type(
    name="stageflow.STTResponse",
    encode=_without_raw,
    decode=lambda fields: STTResponse(**fields),
)
@attrs.frozen
class STTResponse:
    """What a speech recogniser understood.

    Attributes:
        text: The words as one text.
        confidence: How sure the recogniser is, from 0 to 1.
        duration_ms: Length of the audio.
        language: Language of the audio.
        provider: Who runs the model.
        model: The model that answered.
        latency_ms: Time until the answer was complete.
        words: The single words with their times, in the provider's form.
        is_final: False for a guess that a later answer replaces.
        raw_response: The provider's own object; never exported.
    """

    text: str
    confidence: float = 1.0
    duration_ms: float = 0.0
    language: str = "en"
    provider: str = ""
    model: str = ""
    latency_ms: float = 0.0
    words: list[dict[str, Any]] = attrs.field(factory=list, hash=False)
    is_final: bool = True
    raw_response: Any = attrs.field(default=None, repr=False, eq=False)

    def to_dict(self) -> dict[str, Any]:
        """Return every field but `raw_response`."""
        return {
            "text": self.text,
            "confidence": self.confidence,
            "duration_ms": self.duration_ms,
            "language": self.language,
            "provider": self.provider,
            "model": self.model,
            "latency_ms": self.latency_ms,
            "words": list(self.words),
            "is_final": self.is_final,
        }

    def to_otel_attributes(self, *, gen_ai: bool = False) -> dict[str, Any]:
        """Return span attributes.

        Args:
            gen_ai: Also give OpenTelemetry's `gen_ai.*` names.
        """
        attributes: dict[str, Any] = {
            "stt.provider": self.provider,
            "stt.model": self.model,
            "stt.confidence": self.confidence,
            "stt.duration_ms": self.duration_ms,
            "stt.language": self.language,
            "stt.latency_ms": self.latency_ms,
            "stt.is_final": self.is_final,
        }
        if gen_ai:
            attributes |= _gen_ai("speech_to_text", self.provider, self.model, "text")
        return attributes


@codec_type(
    name="stageflow.TTSResponse",
    encode=_without_raw,
    decode=lambda fields: TTSResponse(**fields),
)
@attrs.frozen
class TTSResponse:
    """Speech made from text.

    Attributes:
        audio: The sound; never exported.
        duration_ms: Length of the sound.
        sample_rate: Samples per second of each channel.
        format: Name of the encoding.
        provider: Who runs the model.
        model: The model that spoke.
        latency_ms: Time until the sound was complete.
        channels: Number of channels.
        characters_processed: Characters of the text that were spoken.
        raw_response: The provider's own object; never exported.
    """

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    duration_ms: float = 0.0
    sample_rate: int = 16000
    format: str = "pcm_16"
    provider: str = ""
    model: str = ""
    latency_ms: float = 0.0
    channels: int = 1
    characters_processed: int = 0
    raw_response: Any = attrs.field(default=None, repr=False, eq=False)

    @property
    def byte_count(self) -> int:
        """Size of the sound in bytes."""
        return len(self.audio)

    def to_dict(self) -> dict[str, Any]:
        """Return every field but the sound and `raw_response`, and the size of the sound."""
        return {
            "byte_count": self.byte_count,
            "duration_ms": self.duration_ms,
            "sample_rate": self.sample_rate,
            "format": self.format,
            "provider": self.provider,
            "model": self.model,
            "latency_ms": self.latency_ms,
            "channels": self.channels,
            "characters_processed": self.characters_processed,
        }

    def to_otel_attributes(self, *, gen_ai: bool = False) -> dict[str, Any]:
        """Return span attributes.

        Args:
            gen_ai: Also give OpenTelemetry's `gen_ai.*` names.
        """
        attributes: dict[str, Any] = {
            "tts.provider": self.provider,
            "tts.model": self.model,
            "tts.duration_ms": self.duration_ms,
            "tts.sample_rate": self.sample_rate,
            "tts.format": self.format,
            "tts.latency_ms": self.latency_ms,
            "tts.byte_count": self.byte_count,
            "tts.characters_processed": self.characters_processed,
        }
        if gen_ai:
            attributes |= _gen_ai("text_to_speech", self.provider, self.model, "speech")
        return attributes
