"""Mock providers: deterministic, slow or failing on request, and they remember their calls."""

# ruff: noqa: S311 - nothing secret is drawn

from __future__ import annotations

from contextlib import suppress
from hashlib import md5
from random import Random

import pytest

from stageflow.helpers.errors import HelperSettingError, MockAuthError, MockFailureError
from stageflow.helpers.mocks import (
    MockAudioChunk,
    MockAuthProvider,
    MockJWTClaims,
    MockLLMProvider,
    MockSTTProvider,
    MockToolExecutor,
    MockTTSProvider,
)
from stageflow.helpers.providers import LLMResponse, STTResponse
from stageflow.helpers.streaming import AudioChunk, StreamingBuffer, collect_stream
from stageflow.testing import TestClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock():
    return TestClock(autojump=True)


async def answers(llm, *prompts):
    return [(await llm.complete(prompt)).content for prompt in prompts]


# --- MockLLMProvider ------------------------------------------------------------------------


async def test_llm_cycles_through_its_responses():
    assert await answers(MockLLMProvider(responses=["a", "b"]), "1", "2", "3") == ["a", "b", "a"]


async def test_llm_answers_something_by_itself():
    assert await answers(MockLLMProvider(), "hi") != [""]


async def test_llm_prefers_the_first_pattern_then_echo_then_responses():
    patterns = {"weather": "Sunny.", "weather|time": "Noon."}
    llm = MockLLMProvider(patterns=patterns, echo=True, responses=["never"])
    assert await answers(llm, "The WEATHER?", "What time?", "else") == [
        "Sunny.",
        "Noon.",
        "Echo: else",
    ]
    llm = MockLLMProvider(patterns=patterns, responses=["a", "b"])
    assert await answers(llm, "1", "time", "2") == ["a", "Noon.", "b"]


def test_llm_refuses_a_pattern_that_is_none():
    with pytest.raises(HelperSettingError):
        MockLLMProvider(patterns={"(": "x"})


async def test_llm_takes_its_latency_with_jitter_in_both_directions(clock):
    llm = MockLLMProvider(latency_ms=100, latency_jitter_ms=30, random=Random(1), clock=clock)
    times = []
    for _ in range(50):
        before = clock.monotonic()
        response = await llm.complete("x")
        elapsed = (clock.monotonic() - before) * 1000
        assert response.latency_ms == pytest.approx(elapsed, abs=1e-3)
        times.append(elapsed)
    assert 70 <= min(times) < 80
    assert 120 < max(times) <= 130


async def test_llm_latency_is_never_negative(clock):
    llm = MockLLMProvider(latency_ms=1, latency_jitter_ms=1000, random=Random(1), clock=clock)
    latencies = [(await llm.complete("x")).latency_ms for _ in range(20)]
    assert min(latencies) == 0.0


async def test_llm_fails_at_its_rate_with_its_error():
    llm = MockLLMProvider(fail_rate=0.3, fail_error="overloaded", random=Random(1))
    failures = 0
    for _ in range(200):
        with suppress(MockFailureError):
            await llm.complete("x")
            continue
        failures += 1
    assert 40 <= failures <= 80
    with pytest.raises(Exception, match="overloaded"):
        await MockLLMProvider(fail_rate=1, fail_error="overloaded").complete("x")


@pytest.mark.parametrize("options", [{"fail_rate": 1.5}, {"fail_rate": -1}, {"latency_ms": -1}])
def test_llm_refuses_settings_that_make_no_sense(options):
    with pytest.raises(HelperSettingError):
        MockLLMProvider(**options)


async def test_llm_remembers_its_calls():
    llm = MockLLMProvider(fail_rate=1, clock=TestClock())
    with pytest.raises(MockFailureError):
        await llm.complete("hi", [{"role": "system", "content": "be kind"}])
    assert llm.call_count == 1
    assert llm.call_history == [
        {
            "prompt": "hi",
            "messages": [{"role": "system", "content": "be kind"}],
            "timestamp": "2025-01-01T00:00:00+00:00",
        }
    ]


async def test_llm_counts_tokens_as_a_quarter_of_the_characters_or_as_told():
    response = await MockLLMProvider(responses=["x" * 9]).complete("y" * 8)
    assert response.usage == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert isinstance(response, LLMResponse)
    words = MockLLMProvider(responses=["a b c"], token_counter=lambda text: len(text.split()))
    usage = (await words.complete("a b")).usage
    assert usage == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


async def test_llm_streams_chunks_with_ten_milliseconds_between_them(clock):
    llm = MockLLMProvider(responses=["Hello world!"], clock=clock)
    assert [chunk async for chunk in llm.stream("x")] == ["Hello", " worl", "d!"]
    assert clock.monotonic() == pytest.approx(0.02)
    assert [chunk async for chunk in llm.stream("x", chunk_size=6)] == ["Hello ", "world!"]
    assert llm.call_count == 2


async def test_llm_refuses_empty_chunks():
    with pytest.raises(HelperSettingError):
        await anext(MockLLMProvider().stream("x", chunk_size=0))


async def test_llm_reset_forgets_calls_and_begins_anew():
    llm = MockLLMProvider(responses=["a", "b"])
    await llm.complete("x")
    llm.reset()
    assert (llm.call_count, llm.call_history) == (0, [])
    assert await answers(llm, "x") == ["a"]


# --- MockSTTProvider ------------------------------------------------------------------------


async def test_stt_maps_known_audio_and_cycles_for_the_rest():
    key = md5(b"known", usedforsecurity=False).hexdigest()[:16]
    stt = MockSTTProvider(transcriptions=["a", "b"], audio_map={key: "mapped"})
    heard = [(await stt.transcribe(audio)).text for audio in (b"1", b"known", b"2", b"3")]
    assert heard == ["a", "mapped", "b", "a"]
    assert MockSTTProvider.audio_key(b"known") == key


async def test_stt_confidence_is_drawn_or_fixed():
    drawn = [
        (await MockSTTProvider(random=Random(seed)).transcribe(b"x")).confidence
        for seed in range(30)
    ]
    assert min(drawn) >= 0.85
    assert max(drawn) <= 0.99
    assert len(set(drawn)) > 10
    fixed = await MockSTTProvider(simulate_confidence=False).transcribe(b"x")
    assert fixed.confidence == 0.95


async def test_stt_estimates_the_duration_from_the_bytes():
    response = await MockSTTProvider().transcribe(bytes(16_000))
    assert isinstance(response, STTResponse)
    assert response.duration_ms == 500.0


async def test_stt_fails_at_its_rate():
    with pytest.raises(Exception, match="Mock STT error"):
        await MockSTTProvider(fail_rate=1).transcribe(b"x")


async def test_stt_reset_forgets_calls_and_begins_anew():
    stt = MockSTTProvider(transcriptions=["a", "b"])
    await stt.transcribe(b"x")
    assert stt.call_count == 1
    stt.reset()
    assert stt.call_count == 0
    assert (await stt.transcribe(b"x")).text == "a"


# --- MockTTSProvider ------------------------------------------------------------------------


async def test_tts_gives_the_same_audio_for_the_same_text():
    first = await MockTTSProvider(bytes_per_char=50).synthesize("hello")
    assert first == await MockTTSProvider(bytes_per_char=50).synthesize("hello")
    assert first != await MockTTSProvider(bytes_per_char=50).synthesize("hallo")
    assert len(first) == 5 * 50


async def test_tts_speaks_nothing_for_no_text():
    assert await MockTTSProvider().synthesize("") == b""


async def test_tts_fails_at_its_rate():
    with pytest.raises(Exception, match="Mock TTS error"):
        await MockTTSProvider(fail_rate=1).synthesize("x")


async def test_tts_streams_chunks_of_a_duration_with_as_much_time_between_them(clock):
    tts = MockTTSProvider(bytes_per_char=3200, sample_rate=8000, clock=clock)
    chunks = (await collect_stream(tts.stream("abc", chunk_duration_ms=250))).chunks
    assert [len(chunk.data) for chunk in chunks] == [4000, 4000, 1600]
    assert all(isinstance(chunk, MockAudioChunk) for chunk in chunks)
    assert {chunk.sample_rate for chunk in chunks} == {8000}
    assert [chunk.is_final for chunk in chunks] == [False, False, True]
    assert clock.monotonic() == pytest.approx(0.5)
    assert b"".join(chunk.data for chunk in chunks) == await tts.synthesize("abc")


async def test_tts_chunks_are_audio_chunks_that_a_buffer_takes(clock):
    buffer = StreamingBuffer()
    async for chunk in MockTTSProvider(clock=clock).stream("hello", chunk_duration_ms=20):
        assert isinstance(chunk, AudioChunk)
        buffer.add_chunk(chunk)
    assert buffer.duration_ms == 50.0


async def test_tts_refuses_a_chunk_without_a_sample():
    with pytest.raises(HelperSettingError):
        await anext(MockTTSProvider().stream("x", chunk_duration_ms=0.01))


# --- MockAuthProvider -----------------------------------------------------------------------


async def test_auth_returns_the_claims_of_a_known_token():
    claims = MockJWTClaims("anna", roles=("admin",))
    auth = MockAuthProvider(valid_tokens={"token": claims})
    assert await auth.validate("token") == claims


async def test_auth_refuses_an_unknown_token():
    with pytest.raises(ValueError, match="Invalid token"):
        await MockAuthProvider().validate("unknown")


async def test_auth_refuses_an_expired_token():
    clock = TestClock()
    auth = MockAuthProvider(accept_any=True, clock=clock)
    token, claims = auth.create_token("anna", expires_in_seconds=10)
    assert claims.exp == clock.now().timestamp() + 10
    clock.tick(9.9)
    assert await auth.validate(token) == claims
    clock.tick(0.1)
    with pytest.raises(ValueError, match="Token expired") as caught:
        await auth.validate(token)
    assert isinstance(caught.value, MockAuthError)


async def test_auth_accepts_any_token_if_told_to():
    claims = MockJWTClaims("anybody")
    auth = MockAuthProvider(accept_any=True, default_claims=claims)
    assert await auth.validate("unknown") == claims


async def test_auth_creates_tokens_that_are_valid():
    auth = MockAuthProvider(clock=TestClock())
    token, claims = auth.create_token("anna", roles=["user"], org_id="o-1", plan="pro")
    other, _ = auth.create_token("anna")
    assert token != other
    assert (claims.sub, claims.roles, claims.org_id) == ("anna", ("user",), "o-1")
    assert claims.metadata == {"plan": "pro"}
    assert await auth.validate(token) == claims


async def test_auth_fails_at_its_rate():
    auth = MockAuthProvider(fail_rate=1, accept_any=True)
    with pytest.raises(ValueError, match="Mock auth failure"):
        await auth.validate("x")


async def test_auth_remembers_validations_with_tokens_cut_short():
    auth = MockAuthProvider(accept_any=True, clock=TestClock())
    await auth.validate("t" * 20)
    await auth.validate("t" * 21)
    assert auth.validation_count == 2
    at = "2025-01-01T00:00:00+00:00"
    assert auth.validation_history == [
        {"token": "t" * 20, "timestamp": at},
        {"token": "t" * 20 + "...", "timestamp": at},
    ]
    auth.reset()
    assert (auth.validation_count, auth.validation_history) == (0, [])


# --- MockToolExecutor -----------------------------------------------------------------------


async def test_tools_are_functions_of_the_arguments_plain_or_async(clock):
    async def double(arguments):
        return arguments["n"] * 2

    tools = MockToolExecutor(tools={"add": lambda arguments: arguments["n"] + 1}, clock=clock)
    tools.register_tool("double", double)
    assert (await tools.execute("add", {"n": 1})).output == 2
    result = await tools.execute("double", {"n": 4})
    assert (result.success, result.output, result.error) == (True, 8, None)


async def test_tools_take_their_latency(clock):
    result = await MockToolExecutor(clock=clock).execute("x", {})
    assert result.duration_ms == pytest.approx(10)
    assert clock.monotonic() == pytest.approx(0.01)
    result = await MockToolExecutor(latency_ms=250, clock=clock).execute("x", {})
    assert result.duration_ms == pytest.approx(250)


async def test_an_unknown_tool_gives_the_default_output(clock):
    assert (await MockToolExecutor(clock=clock).execute("x", {})).output == {"status": "ok"}
    tools = MockToolExecutor(default_output=[1], clock=clock)
    (await tools.execute("x", {})).output.append(2)
    assert (await tools.execute("x", {})).output == [1]


async def test_what_a_tool_raises_becomes_its_result(clock):
    def broken(arguments):
        raise LookupError("no such row")

    result = await MockToolExecutor(tools={"x": broken}, clock=clock).execute("x", {})
    assert (result.success, result.output, result.error) == (False, None, "no such row")


async def test_tools_fail_at_their_rate_without_being_called(clock):
    called = []
    tools = MockToolExecutor(tools={"x": called.append}, fail_rate=1, clock=clock)
    result = await tools.execute("x", {})
    assert (result.success, result.error) == (False, "Mock tool execution failed")
    assert called == []


async def test_tools_remember_their_calls():
    tools = MockToolExecutor(latency_ms=0, clock=TestClock())
    arguments = {"tags": ["a"]}
    await tools.execute("x", arguments)
    arguments["tags"].append("b")
    assert tools.execution_count == 1
    assert tools.execution_history == [
        {"tool": "x", "arguments": {"tags": ["a"]}, "timestamp": "2025-01-01T00:00:00+00:00"}
    ]
    tools.reset()
    assert (tools.execution_count, tools.execution_history) == (0, [])
