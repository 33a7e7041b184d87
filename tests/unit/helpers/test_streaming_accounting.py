"""Whatever happens to a stream, its books balance."""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from stageflow import Pipeline, PipelineContext
from stageflow.helpers.streaming import (
    AudioChunk,
    ChunkQueue,
    Stream,
    StreamingBuffer,
    StreamingGraph,
)

# --- the buffer: received = read + buffered + dropped ---------------------------------------

adds = st.tuples(st.just("add"), st.integers(0, 4000))
reads = st.tuples(st.just("read"), st.floats(0, 200))
clears = st.tuples(st.just("clear"), st.none())


@given(
    steps=st.lists(adds | reads | clears, max_size=40),
    max_ms=st.integers(1, 120),
    channels=st.integers(1, 2),
    rate=st.sampled_from([8000, 11025, 16000, 22050]),
)
def test_received_is_read_plus_buffered_plus_dropped(steps, max_ms, channels, rate):
    buffer = StreamingBuffer(
        target_duration_ms=0, max_duration_ms=max_ms, sample_rate=rate, channels=channels
    )
    sent, heard = bytearray(), bytearray()
    for step, amount in steps:
        if step == "add":
            data = bytes((len(sent) + n) % 251 for n in range(amount))
            sent += data
            buffer.add_chunk(AudioChunk(data, rate, channels))
        elif step == "read":
            heard += buffer.read(amount)
        else:
            buffer.clear()
        stats = buffer.stats
        assert stats["total_received"] == len(sent)
        assert stats["total_read"] == len(heard)
        assert stats["total_received"] == (
            stats["total_read"] + stats["bytes_buffered"] + stats["total_dropped"]
        )
        assert buffer.duration_ms <= max_ms
    # What is left is the newest audio, in order.
    left = buffer.read(max_ms + 1)
    assert sent.endswith(left)


# --- the queue: accepted = got + waiting + dropped --------------------------------------------

queue_steps = st.lists(
    st.sampled_from(["put", "put_nowait", "get", "clear", "pause", "cancel"]), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(steps=queue_steps, max_size=st.integers(1, 4), drops=st.booleans())
def test_accepted_is_got_plus_waiting_plus_dropped(steps, max_size, drops):
    for backend in ("asyncio", "trio"):
        anyio.run(_play, steps, max_size, drops, backend=backend)


async def _play(steps, max_size, drops):  # noqa: C901 - one branch per kind of step
    reasons = []
    queue = ChunkQueue(
        max_size,
        drop_on_overflow=drops,
        event_emitter=lambda kind, data: (
            reasons.append(data["reason"]) if kind == "stream.chunk_dropped" else None
        ),
    )
    accepted, refused, got = [], [], []
    scopes = []

    async def put(item):
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            (accepted if await queue.put(item) else refused).append(item)
            return
        refused.append(item)

    async def get():
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            item = await queue.get()
            if item is not None:
                got.append(item)

    def check_books():
        overflowed = [reason for reason in reasons if reason != "queue_full"]
        assert queue.monitor.stats.total_items == len(got) + len(queue) + len(overflowed)
        assert queue.monitor.stats.dropped_items == len(reasons)
        assert len(queue) <= max_size

    async with anyio.create_task_group() as group:
        for number, step in enumerate(steps):
            if step == "put":
                group.start_soon(put, number)
            elif step == "put_nowait":
                (accepted if queue.put_nowait(number) else refused).append(number)
            elif step == "get":
                group.start_soon(get)
            elif step == "clear":
                queue.clear()
            elif step == "cancel" and scopes:
                scopes[number % len(scopes)].cancel()
            else:
                for _ in range(4):
                    await checkpoint()
                # Between a woken consumer's taking its item and its saying so lies no step.
                check_books()
        for _ in range(4):
            await checkpoint()
        await queue.close()
    got += [item async for item in queue]
    check_books()
    assert len(got) == len(set(got))
    assert set(got) <= set(accepted)
    lost = len(accepted) - len(got)
    assert lost == sum(reason != "queue_full" for reason in reasons)


# --- streams between stages: accepted = received + dropped, for each reader, however it goes ----

ends = st.sampled_from(["whole", "leave", "fail", "interrupt", "cancel", "skip"])


@settings(max_examples=50, deadline=None)
@given(
    sends=st.integers(0, 6),
    size=st.integers(1, 3),
    lossy=st.booleans(),
    ends=st.tuples(ends, ends, ends, ends),
    at=st.tuples(*[st.integers(0, 4)] * 4),
    on_failure=st.sampled_from(["stop", "continue"]),
)
def test_every_reader_of_a_stream_ends_and_its_books_balance(
    sends, size, lossy, ends, at, on_failure
):
    for backend in ("asyncio", "trio"):
        anyio.run(_talk, sends, size, lossy, ends, at, on_failure, backend=backend)


async def _talk(sends, size, lossy, ends, at, on_failure):  # noqa: C901 - one stage each
    first, second = Stream("a", size, drop_on_overflow=lossy), Stream("b", size)
    finished, sent, got = [], {}, {}
    ctx = PipelineContext(event_sink=_Sink(finished))

    async def wind_up(inner, how):
        await checkpoint()
        if how == "fail":
            raise ValueError("planned")
        if how == "interrupt":
            first.interrupt(inner)
        if how == "cancel":
            ctx.mark_canceled("planned")
        return how == "leave"

    async def model(inner):
        if ends[0] == "skip":
            return
        async with first.writer(inner) as out:
            for number in range(sends):
                if number == at[0] and await wind_up(inner, ends[0]):
                    break
                if await out.send(number):
                    sent.setdefault("a", []).append(number)

    async def voice(inner):
        if ends[1] == "skip":
            return
        async with first.reader(inner) as pieces, second.writer(inner) as out:
            async for piece in pieces:
                got.setdefault("voice", []).append(piece)
                if piece == at[1] and await wind_up(inner, ends[1]):
                    break
                await out.send(piece)

    def reads(stream, number):
        async def read(inner):
            if ends[number] == "skip":
                return
            async with stream.reader(inner) as chunks:
                async for chunk in chunks:
                    got.setdefault(inner.stage_name, []).append(chunk)
                    if chunk == at[number] and await wind_up(inner, ends[number]):
                        break

        return read

    pipeline = (
        Pipeline("talk")
        .with_stage("model", model)
        .with_stage("voice", voice)
        .with_stage("play", reads(second, 2))
        .with_stage("captions", reads(first, 3))
    )
    graph = StreamingGraph(
        pipeline,
        [first.link("model", to=["voice", "captions"]), second.link("voice", to="play")],
        on_failure=on_failure,
    )
    with anyio.fail_after(20):
        await graph.execute(ctx)
    everybody = ["captions", "play", "voice"]
    assert sorted(facts["consumer"] for facts in finished) in ([], everybody)
    assert finished or not got
    for facts in finished:
        chunks = got.get(facts["consumer"], [])
        assert facts["received"] == len(chunks)
        assert facts["accepted"] == facts["received"] + facts["dropped"]
        assert chunks == sorted(chunks)
        if facts["outcome"] == "completed" and not lossy and facts["stream"] == "a":
            assert chunks == sent.get("a", [])


class _Sink:
    def __init__(self, finished):
        self._finished = finished

    async def emit(self, *, type, data):
        raise AssertionError("nobody waits")

    def try_emit(self, *, type, data):
        if type == "stream.finished":
            self._finished.append(data)
