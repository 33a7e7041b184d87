"""Responses of model providers, and what traces are told of them."""

from __future__ import annotations

import attrs
import pytest

from stageflow.codec import Codec
from stageflow.helpers.providers import LLMResponse, STTResponse, TTSResponse

RAW = object()
LLM = LLMResponse(
    "hello", "m-1", "acme", 7, 5, 120.5, "stop", [{"id": "1", "name": "search"}], 3, RAW
)
STT = STTResponse("hi", 0.9, 1500.0, "de", "acme", "ears", 80.0, [{"word": "hi"}], False, RAW)
TTS = TTSResponse(b"\x00" * 10, 250.0, 24_000, "pcm_16", "acme", "voice", 60.0, 2, 5, RAW)


@pytest.mark.parametrize("response", [LLM, STT, TTS])
def test_responses_are_immutable_and_have_slots(response):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        response.model = "other"
    assert not hasattr(response, "__dict__")


def test_llm_defaults():
    response = LLMResponse("hello", "m", "p")
    assert (response.input_tokens, response.output_tokens, response.cached_tokens) == (0, 0, 0)
    assert (response.latency_ms, response.finish_reason) == (0.0, None)
    assert (response.tool_calls, response.raw_response) == ([], None)


def test_llm_total_tokens_are_input_and_output():
    assert LLM.total_tokens == 12


def test_llm_to_dict_leaves_the_raw_response_out():
    assert LLM.to_dict() == {
        "content": "hello",
        "model": "m-1",
        "provider": "acme",
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "latency_ms": 120.5,
        "finish_reason": "stop",
        "tool_calls": [{"id": "1", "name": "search"}],
        "cached_tokens": 3,
    }


LLM_ATTRIBUTES = {
    "llm.model": "m-1",
    "llm.provider": "acme",
    "llm.input_tokens": 7,
    "llm.output_tokens": 5,
    "llm.total_tokens": 12,
    "llm.latency_ms": 120.5,
    "llm.finish_reason": "stop",
    "llm.cached_tokens": 3,
}


def test_llm_otel_attributes():
    assert LLM.to_otel_attributes() == LLM_ATTRIBUTES


def test_llm_otel_attributes_with_the_names_of_the_semantic_conventions_beside_them():
    assert LLM.to_otel_attributes(gen_ai=True) == LLM_ATTRIBUTES | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.response.model": "m-1",
        "gen_ai.output.type": "text",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.response.finish_reasons": ["stop"],
    }


def test_otel_attributes_are_never_none():
    for response in (LLMResponse("", "m", "p"), STTResponse(""), TTSResponse(b"")):
        for gen_ai in (False, True):
            assert None not in response.to_otel_attributes(gen_ai=gen_ai).values()


def test_stt_defaults():
    response = STTResponse("hi")
    assert (response.confidence, response.language, response.is_final) == (1.0, "en", True)


def test_stt_to_dict_leaves_the_raw_response_out():
    assert STT.to_dict() == {
        "text": "hi",
        "confidence": 0.9,
        "duration_ms": 1500.0,
        "language": "de",
        "provider": "acme",
        "model": "ears",
        "latency_ms": 80.0,
        "words": [{"word": "hi"}],
        "is_final": False,
    }


def test_stt_otel_attributes():
    attributes = STT.to_otel_attributes()
    assert attributes == {
        "stt.provider": "acme",
        "stt.model": "ears",
        "stt.confidence": 0.9,
        "stt.duration_ms": 1500.0,
        "stt.language": "de",
        "stt.latency_ms": 80.0,
        "stt.is_final": False,
    }
    assert STT.to_otel_attributes(gen_ai=True) == attributes | {
        "gen_ai.operation.name": "speech_to_text",
        "gen_ai.provider.name": "acme",
        "gen_ai.response.model": "ears",
        "gen_ai.output.type": "text",
    }


def test_tts_byte_count():
    assert TTS.byte_count == 10


def test_tts_to_dict_leaves_the_sound_and_the_raw_response_out():
    assert TTS.to_dict() == {
        "byte_count": 10,
        "duration_ms": 250.0,
        "sample_rate": 24_000,
        "format": "pcm_16",
        "provider": "acme",
        "model": "voice",
        "latency_ms": 60.0,
        "channels": 2,
        "characters_processed": 5,
    }


def test_tts_otel_attributes():
    attributes = TTS.to_otel_attributes()
    assert attributes == {
        "tts.provider": "acme",
        "tts.model": "voice",
        "tts.duration_ms": 250.0,
        "tts.sample_rate": 24_000,
        "tts.format": "pcm_16",
        "tts.latency_ms": 60.0,
        "tts.byte_count": 10,
        "tts.characters_processed": 5,
    }
    assert TTS.to_otel_attributes(gen_ai=True) == attributes | {
        "gen_ai.operation.name": "text_to_speech",
        "gen_ai.provider.name": "acme",
        "gen_ai.response.model": "voice",
        "gen_ai.output.type": "speech",
    }


@pytest.mark.parametrize("response", [LLM, STT, TTS])
def test_responses_can_be_stored_without_the_raw_response(response):
    stored = Codec.default().decode(Codec.default().encode(response))
    assert stored == response
    assert stored.raw_response is None
