"""Audio chunks: how long they last and how they are written down."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow.codec import Codec
from stageflow.helpers.errors import AudioFormatError
from stageflow.helpers.streaming import (
    AudioChunk,
    AudioFormat,
    calculate_audio_duration_ms,
    encode_audio_for_logging,
)

chunks = st.builds(
    AudioChunk,
    data=st.binary(max_size=64),
    sample_rate=st.integers(1, 192_000),
    channels=st.integers(1, 8),
    format=st.sampled_from(AudioFormat),
    timestamp_ms=st.floats(0, 1e9),
    sequence=st.integers(0, 10**9),
    is_final=st.booleans(),
    metadata=st.dictionaries(st.text(), st.integers() | st.text()),
)


@pytest.mark.parametrize(
    ("size", "rate", "channels", "audio_format", "duration_ms"),
    [
        (32_000, 16_000, 1, AudioFormat.PCM_16, 1000.0),
        (32_000, 16_000, 2, AudioFormat.PCM_16, 500.0),
        (32_000, 16_000, 1, AudioFormat.PCM_32, 500.0),
        (32_000, 16_000, 1, AudioFormat.FLOAT_32, 500.0),
        (176_400, 44_100, 2, AudioFormat.PCM_16, 1000.0),
        (0, 16_000, 1, AudioFormat.PCM_16, 0.0),
    ],
)
def test_duration_counts_two_bytes_a_sample_for_pcm_16_and_else_four(
    size, rate, channels, audio_format, duration_ms
):
    chunk = AudioChunk(bytes(size), rate, channels, audio_format)
    assert chunk.duration_ms == duration_ms


def test_to_dict_writes_samples_in_base64_and_every_field():
    chunk = AudioChunk(
        b"\x00\x01",
        sample_rate=8000,
        channels=2,
        format=AudioFormat.FLOAT_32,
        timestamp_ms=20.0,
        sequence=3,
        is_final=True,
        metadata={"speaker": "a"},
    )
    assert chunk.to_dict() == {
        "data": "AAE=",
        "sample_rate": 8000,
        "channels": 2,
        "format": "float_32",
        "timestamp_ms": 20.0,
        "sequence": 3,
        "is_final": True,
        "metadata": {"speaker": "a"},
    }


def test_from_dict_applies_the_defaults():
    chunk = AudioChunk.from_dict({"data": "AAE="})
    assert chunk == AudioChunk(b"\x00\x01", 16_000, 1, AudioFormat.PCM_16)
    assert (chunk.sequence, chunk.is_final, chunk.metadata) == (0, False, {})


@settings(max_examples=25)
@given(chunks)
def test_a_chunk_survives_being_written_as_json(chunk):
    assert AudioChunk.from_dict(json.loads(json.dumps(chunk.to_dict()))) == chunk


@settings(max_examples=25)
@given(chunks)
def test_a_chunk_survives_the_codec(chunk):
    assert Codec.default().decode(Codec.default().encode(chunk)) == chunk


@pytest.mark.parametrize("broken", [{"data": "not base64!"}, {"data": "AAE=", "format": "mp3"}])
def test_from_dict_refuses_what_is_no_chunk(broken):
    with pytest.raises(AudioFormatError) as caught:
        AudioChunk.from_dict(broken)
    assert caught.value.code == "SF603"


def test_a_chunk_is_immutable_and_does_not_print_its_samples():
    chunk = AudioChunk(b"secret words")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        chunk.data = b""
    assert "secret" not in repr(chunk)


def test_encode_audio_for_logging_shows_everything_that_fits():
    assert encode_audio_for_logging(b"\x00\x01", 2) == "<audio:2B,data:AAE=>"


def test_encode_audio_for_logging_says_when_it_is_cut():
    assert encode_audio_for_logging(b"\x00\x01\x02", 2) == "<audio:3B,sample:AAE=...>"


def test_encode_audio_for_logging_stays_short():
    assert len(encode_audio_for_logging(bytes(10**6))) < 200


@pytest.mark.parametrize(
    ("arguments", "duration_ms"),
    [((32_000,), 1000.0), ((32_000, 8_000), 2000.0), ((32_000, 16_000, 2, 4), 250.0)],
)
def test_calculate_audio_duration(arguments, duration_ms):
    assert calculate_audio_duration_ms(*arguments) == duration_ms
