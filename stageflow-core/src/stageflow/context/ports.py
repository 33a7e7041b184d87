"""Ports: capabilities that an application hands to its stages, grouped by what they serve.

A stage reads a port by name from its inputs; one that was not given counts as missing there.
"""

from __future__ import annotations

from typing import Any

import attrs

__all__ = (
    "AudioPorts",
    "CorePorts",
    "LLMPorts",
    "create_audio_ports",
    "create_core_ports",
    "create_llm_ports",
)


@attrs.frozen
class CorePorts:
    """Capabilities that any stage may need.

    Attributes:
        db: A database handle or session.
        db_lock: What serialises the use of `db`.
        call_logger: What records calls to providers.
        call_logger_db: The database handle for `call_logger`.
        retry_fn: What runs a call again after a passing fault.
        send_status: What tells the caller how far the run is.
    """

    db: Any = None
    db_lock: Any = None
    call_logger: Any = None
    call_logger_db: Any = None
    retry_fn: Any = None
    send_status: Any = None


@attrs.frozen
class LLMPorts:
    """Capabilities of stages that talk to a language model.

    Attributes:
        llm_provider: The model.
        chat_service: What keeps the conversation.
        llm_chunk_queue: Where pieces of an answer go as they arrive.
        send_token: What sends one piece to the caller.
    """

    llm_provider: Any = None
    chat_service: Any = None
    llm_chunk_queue: Any = None
    send_token: Any = None


@attrs.frozen
class AudioPorts:
    """Capabilities of stages that hear or speak.

    Attributes:
        tts_provider: What turns text into speech.
        stt_provider: What turns speech into text.
        send_audio_chunk: What sends a piece of speech to the caller.
        send_transcript: What sends the recognised text to the caller.
        audio_data: What was recorded.
        audio_format: The format it was recorded in.
        tts_text_queue: Where text waits to be spoken.
        recording: The recording that the audio belongs to.
    """

    tts_provider: Any = None
    stt_provider: Any = None
    send_audio_chunk: Any = None
    send_transcript: Any = None
    audio_data: bytes | None = attrs.field(default=None, repr=False)
    audio_format: str | None = None
    tts_text_queue: Any = None
    recording: Any = None


def create_core_ports(**ports: Any) -> CorePorts:
    """Return `CorePorts` of the given capabilities, named as its attributes are."""
    return CorePorts(**ports)


def create_llm_ports(**ports: Any) -> LLMPorts:
    """Return `LLMPorts` of the given capabilities, named as its attributes are."""
    return LLMPorts(**ports)


def create_audio_ports(**ports: Any) -> AudioPorts:
    """Return `AudioPorts` of the given capabilities, named as its attributes are."""
    return AudioPorts(**ports)
