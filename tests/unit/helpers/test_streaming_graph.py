"""Streams between stages: side by side, bounded, and whatever happens nobody waits in vain."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from stageflow import (
    BaseInterceptor,
    CycleDetectedError,
    GuardRetryPolicy,
    GuardRetryStrategy,
    InterceptorResult,
    Pipeline,
    PipelineContext,
    Runtime,
    StageKind,
    StageOutput,
    StageResult,
    StageStatus,
    UnifiedPipelineCancelled,
    UnifiedStageExecutionError,
    stage,
)
from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.context.cancellation import CancellationToken
from stageflow.helpers.analytics import AnalyticsSink
from stageflow.helpers.errors import HelperSettingError, StreamItemError
from stageflow.helpers.events import HELPER_EVENTS
from stageflow.helpers.streaming import (
    Stream,
    StreamBrokenError,
    StreamingGraph,
    StreamNotLinkedError,
    StreamUseError,
    StreamWiringError,
)
from stageflow.pipeline.nested import SubpipelineStage
from stageflow.stages.retry import RetryPolicy
from stageflow.testing import create_test_stage_context

pytestmark = pytest.mark.anyio

tokens: Stream[int] = Stream("tokens", 2)
audio: Stream[int] = Stream("audio", 2)


class Told:
    def __init__(self):
        self.events = []

    async def emit(self, *, type, data):
        raise AssertionError("nobody waits")

    def try_emit(self, *, type, data):
        self.events.append((type, data))

    def of(self, event_type):
        return [data for told, data in self.events if told == event_type]


@pytest.fixture
def told():
    return Told()


@pytest.fixture(autouse=True)
async def nothing_hangs():
    with anyio.fail_after(5):
        yield


async def write_three(ctx):
    async with tokens.writer(ctx) as out:
        for number in range(3):
            await out.send(number)
    return {"sent": out.sent, "interrupted": out.interrupted}


async def read_all(ctx):
    got = []
    async with tokens.reader(ctx) as chunks:
        async for number in chunks:
            got.append(number)  # noqa: PERF401 - what came before a failure would be lost
    return {"got": got, "interrupted": chunks.interrupted}


async def nothing(ctx):
    return {}


def graph(write=write_three, read=read_all, *, before=nothing, options=None, **with_read):
    pipeline = (
        Pipeline("talk")
        .with_stage("guard", before)
        .with_stage("write", write, dependencies=["guard"])
        .with_stage("read", read, **with_read)
    )
    return StreamingGraph(pipeline, [tokens.link("write", to="read")], **(options or {}))


async def outputs_of(built, told=None, **kwargs):
    """Run, and return the outputs and the first failure, if there is one."""
    ctx = PipelineContext(event_sink=told) if told is not None else PipelineContext()
    try:
        return await built.run(ctx, **kwargs), None
    except UnifiedStageExecutionError as error:
        return error.results, error


def books_balance(told, readers=1):
    finished = told.of("stream.finished")
    assert len(finished) == readers
    for facts in finished:
        assert facts["accepted"] == facts["received"] + facts["dropped"]
    for event_type, facts in told.events:
        if event_type.startswith("stream."):
            assert HELPER_EVENTS.faults(event_type, facts) == ()
    return finished


# --- how it goes when all goes well ---------------------------------------------------------


async def test_a_reader_gets_chunks_while_the_writer_still_runs(told):
    heard = anyio.Event()

    async def write(ctx):
        async with tokens.writer(ctx) as out:
            await out.send(1)
            await heard.wait()
            await out.send(2)
        return {"sent": out.sent}

    async def read(ctx):
        async with tokens.reader(ctx) as chunks:
            first = await anext(chunks)
            heard.set()
            return {"got": [first, *[chunk async for chunk in chunks]]}

    outputs, _ = await outputs_of(graph(write, read), told)
    assert outputs["write"].data == {"sent": 2}
    assert outputs["read"].data == {"got": [1, 2]}
    (facts,) = books_balance(told)
    assert facts | {"outcome": "completed", "received": 2} == facts


async def test_the_writer_waits_for_a_slow_reader():
    ahead = []

    async def write(ctx):
        async with tokens.writer(ctx) as out:
            for number in range(20):
                await out.send(number)
                ahead.append(out.sent)

    async def read(ctx):
        most = 0
        async with tokens.reader(ctx) as chunks:
            async for _ in chunks:
                for _ in range(5):
                    await checkpoint()
                most = max(most, ahead[-1] - chunks.received)
        return {"most": most, "received": chunks.received}

    outputs, _ = await outputs_of(graph(write, read))
    assert outputs["read"].data["received"] == 20
    assert outputs["read"].data["most"] == tokens.max_size


async def test_a_stream_that_drops_on_overflow_never_waits(told):
    lossy: Stream[int] = Stream("lossy", 2, drop_on_overflow=True)
    done = anyio.Event()

    async def write(ctx):
        async with lossy.writer(ctx) as out:
            for number in range(5):
                await out.send(number)
        done.set()

    async def read(ctx):
        await done.wait()
        async with lossy.reader(ctx) as chunks:
            return {"got": [chunk async for chunk in chunks]}

    pipeline = Pipeline("lossy").with_stage("write", write).with_stage("read", read)
    built = StreamingGraph(pipeline, [lossy.link("write", to="read")])
    outputs, _ = await outputs_of(built, told)
    assert outputs["read"].data == {"got": [3, 4]}
    (facts,) = books_balance(told)
    assert (facts["accepted"], facts["dropped"]) == (5, 3)
    assert {facts["stream"] for facts in told.of("stream.chunk_dropped")} == {"lossy"}


async def test_each_of_several_readers_gets_every_chunk(told):
    pipeline = (
        Pipeline("fan")
        .with_stage("write", write_three)
        .with_stage("left", read_all)
        .with_stage("right", read_all)
    )
    built = StreamingGraph(pipeline, [tokens.link("write", to=["left", "right"])])
    outputs, _ = await outputs_of(built, told)
    assert outputs["left"].data["got"] == outputs["right"].data["got"] == [0, 1, 2]
    assert outputs["write"].data["sent"] == 3
    assert {facts["consumer"] for facts in books_balance(told, 2)} == {"left", "right"}


async def test_connected_stages_start_when_what_any_of_them_waits_for_is_done():
    order = []

    def noted(body):
        async def run(ctx):
            order.append(ctx.stage_name)
            return await body(ctx)

        return run

    async def slow(ctx):
        await checkpoint()
        return {"voice": "low"}

    async def read(ctx):
        return {**await read_all(ctx), "voice": ctx.inputs.get_from("voice", "voice")}

    pipeline = (
        Pipeline("talk")
        .with_stage("write", noted(write_three))
        .with_stage("voice", noted(slow))
        .with_stage("read", noted(read), dependencies=["voice"])
    )
    built = StreamingGraph(pipeline, [tokens.link("write", to="read")])
    outputs, _ = await outputs_of(built)
    assert order[0] == "voice"
    assert outputs["read"].data == {"got": [0, 1, 2], "interrupted": False, "voice": "low"}
    assert {spec.name: spec.dependencies for spec in built.stage_specs}["write"] == ("voice",)


async def test_functions_made_stages_take_streams_and_inputs():
    @stage
    async def write(ctx, count: int) -> dict:
        async with tokens.writer(ctx) as out:
            for number in range(count):
                await out.send(number)
        return {}

    @stage
    async def read(ctx, offset: int = 0) -> int:
        async with tokens.reader(ctx) as chunks:
            return sum([offset + chunk async for chunk in chunks])

    built = StreamingGraph(
        Pipeline("sum").with_stages([write, read]), [tokens.link("write", to="read")]
    )
    outputs = await built.run(PipelineContext(inputs={"count": 4}))
    assert outputs["read"].data["value"] == 6
    assert set(built.inputs) == {"count", "offset"}


async def test_a_streaming_graph_is_a_stage_of_another_and_runs_in_a_runtime():
    outer = Pipeline("outer").with_stage(
        "inner", SubpipelineStage(graph(), outputs={"got": "read"})
    )
    assert (await outer.run())["inner"].data["got"]["got"] == [0, 1, 2]
    async with Runtime() as runtime:
        result = await runtime.run(graph())
    assert result.outputs["read"].data["got"] == [0, 1, 2]


async def test_two_runs_at_once_have_streams_of_their_own():
    built = graph()
    async with anyio.create_task_group() as group:
        results = []

        async def run():
            results.append((await built.run(PipelineContext()))["read"].data["got"])

        for _ in range(5):
            group.start_soon(run)
    assert results == [[0, 1, 2]] * 5


# --- when one side ends before its time -----------------------------------------------------


async def write_two_then_fail(ctx):
    async with tokens.writer(ctx) as out:
        await out.send(0)
        await out.send(1)
        raise ValueError("the model is gone")


async def test_a_producer_that_fails_stops_its_readers_as_any_failure_does(told):
    outputs, error = await outputs_of(graph(write_two_then_fail), told)
    assert error.stage == "write"
    assert outputs["read"].status is StageStatus.CANCEL
    books_balance(told)


async def test_a_failure_goes_downstream_after_the_chunks_that_came(told):
    seen = []

    async def read(ctx):
        async with tokens.reader(ctx) as chunks, audio.writer(ctx) as out:
            async for chunk in chunks:
                seen.append(chunk)
                await out.send(chunk)

    async def play(ctx):
        async with audio.reader(ctx) as chunks:
            async for chunk in chunks:
                seen.append(f"played {chunk}")  # noqa: PERF401 - those before the failure count

    pipeline = (
        Pipeline("talk")
        .with_stage("write", write_two_then_fail)
        .with_stage("read", read)
        .with_stage("play", play)
    )
    built = StreamingGraph(
        pipeline,
        [tokens.link("write", to="read"), audio.link("read", to="play")],
        on_failure="continue",
    )
    report = await built.execute(PipelineContext(event_sink=told))
    assert {name: out.status for name, out in report.outputs.items()} == dict.fromkeys(
        ("write", "read", "play"), StageStatus.FAIL
    )
    assert sorted(map(str, seen)) == ["0", "1", "played 0", "played 1"]
    assert "the model is gone" in report.outputs["read"].error
    assert "the model is gone" in report.outputs["play"].error
    outcomes = {facts["stream"]: facts["outcome"] for facts in books_balance(told, 2)}
    assert outcomes == {"tokens": "broken", "audio": "broken"}


async def test_the_error_says_which_stage_broke_off_and_how(told):
    caught = []

    async def read(ctx):
        async with tokens.reader(ctx) as chunks:
            try:
                async for _ in chunks:
                    pass
            except StreamBrokenError as error:
                caught.append(error)
        return {}

    built = graph(write_two_then_fail, read, options={"on_failure": "continue"})
    await outputs_of(built, told)
    (error,) = caught
    assert (error.stream, error.producer, error.status) == ("tokens", "write", "fail")
    assert error.received == 2
    assert "the model is gone" in error.message


async def skip(ctx):
    return StageOutput.skip("nothing to say")


async def test_a_producer_that_writes_nothing_is_an_error_unless_it_may():
    outputs, error = await outputs_of(graph(skip))
    assert error.stage == "read"
    assert "nothing to say" in str(error)

    async def read(ctx):
        async with tokens.reader(ctx, optional=True) as chunks:
            return {"got": [chunk async for chunk in chunks]}

    outputs, error = await outputs_of(graph(skip, read))
    assert outputs["read"].data == {"got": []}


async def test_optional_is_no_excuse_for_breaking_off():
    async def read(ctx):
        async with tokens.reader(ctx, optional=True) as chunks:
            return {"got": [chunk async for chunk in chunks]}

    built = graph(write_two_then_fail, read, options={"on_failure": "continue"})
    outputs, _ = await outputs_of(built)
    assert outputs["read"].status is StageStatus.FAIL


async def test_a_guard_that_fails_keeps_both_sides_from_starting(told):
    async def refuse(ctx):
        return StageOutput.fail("not this")

    for on_failure in ("stop", "continue"):
        built = graph(before=refuse, options={"on_failure": on_failure})
        outputs, error = await outputs_of(built, told)
        assert error.stage == "guard"
        assert {outputs["write"].status, outputs["read"].status} <= {
            StageStatus.SKIP,
            StageStatus.CANCEL,
        }
    assert not [facts for facts in told.of("stage.started") if facts["stage"] != "guard"]
    assert told.of("stream.finished") == []


class Stands(BaseInterceptor):
    """Answers for one stage, so that its body is never called."""

    name = "stands"
    priority = 10

    def __init__(self, stage_name, **answer):
        self.stage_name = stage_name
        self.answer = answer

    async def before(self, stage_name, ctx):
        if stage_name == self.stage_name:
            return InterceptorResult(stage_ran=False, **self.answer)
        return None


async def test_a_denied_producer_lets_no_reader_wait(told):
    options = {"interceptors": [Stands("write", error="denied")], "on_failure": "continue"}
    outputs, _ = await outputs_of(graph(options=options), told)
    assert outputs["read"].status is StageStatus.FAIL
    assert "denied" in outputs["read"].error
    books_balance(told)


async def test_a_producer_answered_for_from_a_cache_lets_no_reader_wait():
    now = PipelineContext.now()
    cached = StageResult("write", StageStatus.OK, now, now, {"sent": 3})
    options = {"interceptors": [Stands("write", result=cached)]}
    outputs, error = await outputs_of(graph(options=options))
    assert outputs["write"].status is StageStatus.OK
    assert error.stage == "read"
    assert "wrote nothing" in str(error)


async def write_many(ctx):
    answers = []
    async with tokens.writer(ctx) as out:
        for number in range(10):
            answers.append(await out.send(number))
            if not answers[-1]:
                break
    return {"answers": answers}


async def test_a_denied_reader_lets_no_producer_wait(told):
    options = {"interceptors": [Stands("read", error="denied")], "on_failure": "continue"}
    outputs, _ = await outputs_of(graph(write_many, options=options), told)
    assert outputs["write"].data["answers"][-1] is False
    (facts,) = books_balance(told)
    assert (facts["outcome"], facts["received"]) == ("abandoned", 0)


async def read_one(ctx):
    async with tokens.reader(ctx) as chunks:
        return {"got": await anext(chunks)}


async def read_one_then_fail(ctx):
    async with tokens.reader(ctx) as chunks:
        await anext(chunks)
        raise ValueError("no voice")


async def read_one_then_cancel_its_branch(ctx):
    async with tokens.reader(ctx) as chunks:
        await anext(chunks)
    return StageOutput.cancel("enough", scope="branch")


async def never_read(ctx):
    return {}


@pytest.mark.parametrize(
    ("read", "received"),
    [
        (read_one, 1),
        (read_one_then_fail, 1),
        (read_one_then_cancel_its_branch, 1),
        (never_read, 0),
        (skip, 0),
    ],
)
async def test_a_reader_that_ends_early_frees_the_writer(read, received, told):
    built = graph(write_many, read, options={"on_failure": "continue"})
    outputs, _ = await outputs_of(built, told)
    answers = outputs["write"].data["answers"]
    assert answers == [True] * (len(answers) - 1) + [False]
    (facts,) = books_balance(told)
    assert (facts["outcome"], facts["received"]) == ("abandoned", received)


async def test_a_writer_that_ignores_the_answer_does_not_hold_the_loop(told):
    async def write(ctx):
        async with tokens.writer(ctx) as out:
            while True:
                await out.send(1)

    token = CancellationToken()

    async def read(ctx):
        await read_one(ctx)
        token.cancel("enough")
        return {}

    built = graph(write, never_read, before=nothing)
    with anyio.move_on_after(0.02):
        await built.run(PipelineContext(event_sink=told))
    books_balance(told)


async def test_cancelling_the_run_closes_both_sides(told):
    ctx = PipelineContext(event_sink=told)

    async def read(inner):
        await read_one(inner)
        ctx.mark_canceled("the caller hung up")
        await anyio.sleep_forever()

    with pytest.raises(UnifiedPipelineCancelled):
        await graph(write_many, read).run(ctx)
    books_balance(told)


async def test_a_reader_that_times_out_frees_the_writer(told):
    async def read(ctx):
        async with tokens.reader(ctx) as chunks:
            await anext(chunks)
            await anyio.sleep_forever()

    built = graph(write_many, read, timeout=0.01, options={"on_failure": "continue"})
    outputs, _ = await outputs_of(built, told)
    assert outputs["read"].status is StageStatus.FAIL
    assert outputs["write"].data["answers"][-1] is False
    books_balance(told)


# --- trying again ---------------------------------------------------------------------------

AGAIN = RetryPolicy(max_attempts=2, base_delay_ms=0)


def fails_once(attempts, body):
    async def run(ctx):
        return await body(ctx, first=attempts.append(ctx.attempt) or len(attempts) == 1)

    return run


def retried(write, read, **options):
    pipeline = (
        Pipeline("again")
        .with_stage("write", write, retry=AGAIN)
        .with_stage("read", read, retry=AGAIN)
    )
    return StreamingGraph(pipeline, [tokens.link("write", to="read")], **options)


async def test_a_producer_tried_again_before_its_first_chunk_goes_unnoticed():
    async def body(ctx, *, first):
        async with tokens.writer(ctx) as out:
            if first:
                raise ConnectionError("busy")
            await out.send(7)

    outputs, _ = await outputs_of(retried(fails_once([], body), read_all))
    assert outputs["read"].data["got"] == [7]


async def test_a_producer_tried_again_never_hands_on_a_chunk_twice():
    async def body(ctx, *, first):
        async with tokens.writer(ctx) as out:
            await out.send(1)
            if first:
                raise ConnectionError("busy")

    built = retried(fails_once([], body), read_all, on_failure="continue")
    outputs, error = await outputs_of(built)
    assert error.stage == "write"
    assert isinstance(error.original, StreamUseError)
    assert "1 chunk" in str(error.original)
    assert outputs["read"].status is StageStatus.FAIL


async def test_a_producer_that_can_goes_on_where_it_was():
    async def body(ctx, *, first):
        async with tokens.writer(ctx, resume=True) as out:
            for number in range(out.sent, 4):
                await out.send(number)
                if first and number == 1:
                    raise ConnectionError("busy")
        return {"sent": out.sent}

    outputs, _ = await outputs_of(retried(fails_once([], body), read_all))
    assert outputs["read"].data["got"] == [0, 1, 2, 3]
    assert outputs["write"].data == {"sent": 4}


async def test_a_reader_tried_again_says_that_chunks_are_gone_or_goes_on():
    def body_with(**resume):
        async def body(ctx, *, first):
            async with tokens.reader(ctx, **resume) as chunks:
                if first:
                    await anext(chunks)
                    raise ConnectionError("busy")
                return {"got": [chunk async for chunk in chunks], "received": chunks.received}

        return body

    outputs, _ = await outputs_of(retried(write_three, fails_once([], body_with(resume=True))))
    assert outputs["read"].data == {"got": [1, 2], "received": 3}
    built = retried(write_three, fails_once([], body_with()), on_failure="continue")
    outputs, error = await outputs_of(built)
    assert isinstance(error.original, StreamUseError)
    assert outputs["write"].status is StageStatus.OK


# --- interrupting ---------------------------------------------------------------------------


def talk(play, *, more=()):
    """Three stages and two streams: a model that never ends, a voice, a loudspeaker."""

    async def model(ctx):
        async with tokens.writer(ctx) as out:
            number = 0
            while True:
                await out.send(number)
                number += 1
        return {"interrupted": out.interrupted, "reason": out.reason}

    async def voice(ctx):
        async with tokens.reader(ctx) as pieces, audio.writer(ctx) as out:
            async for piece in pieces:
                await out.send(piece)
        return {"interrupted": pieces.interrupted and out.interrupted, "reason": pieces.reason}

    pipeline = (
        Pipeline("talk")
        .with_stage("model", model)
        .with_stage("voice", voice)
        .with_stage("play", play)
        .with_stage("after", nothing, dependencies=["play"])
    )
    for name, body in more:
        pipeline = pipeline.with_stage(name, body)
    return StreamingGraph(
        pipeline, [tokens.link("model", to="voice"), audio.link("voice", to="play")]
    )


def play_until(asks):
    async def play(ctx):
        heard = []
        async with audio.reader(ctx) as chunks:
            async for chunk in chunks:
                heard.append(chunk)
                for _ in range(20):
                    await checkpoint()
                if len(heard) == 3:
                    await asks(ctx)
                    await anyio.sleep_forever()
        return {"heard": heard, "interrupted": chunks.interrupted, "reason": chunks.reason}

    return play


@pytest.mark.parametrize("where", ["loop", "thread", "stage"])
async def test_an_interrupt_flushes_everything_and_the_run_goes_on(where, told):
    token = CancellationToken()

    async def asks(ctx):
        if where == "loop":
            token.cancel("barge-in")
        elif where == "thread":
            await anyio.to_thread.run_sync(token.cancel, "barge-in")
        else:
            assert audio.interrupt(ctx, "barge-in") == 4
            assert audio.interrupt(ctx, "again") == 0

    outputs, _ = await outputs_of(talk(play_until(asks)), told, interrupt=token)
    assert outputs["play"].data == {"heard": [0, 1, 2], "interrupted": True, "reason": "barge-in"}
    for name in ("model", "voice"):
        assert outputs[name].data == {"interrupted": True, "reason": "barge-in"}
    assert outputs["after"].status is StageStatus.OK
    finished = books_balance(told, 2)
    assert {facts["outcome"] for facts in finished} == {"interrupted"}
    (facts,) = told.of("stream.interrupted")
    assert facts["streams"] == ["audio", "tokens"]
    assert facts["dropped"] == sum(facts["dropped"] for facts in finished) == 4
    closed = told.of("stream.queue_closed")
    assert sum(facts["dropped_items"] for facts in closed) == 4


async def test_a_sink_that_must_be_awaited_misses_nothing_of_an_interrupted_run():
    exported = []

    class Exporter:
        async def export(self, event):
            await checkpoint()
            exported.append(event.event_type)

        async def export_batch(self, events):
            raise AssertionError("the sink exports one by one")

        flush = close = checkpoint

    token = CancellationToken()

    async def asks(ctx):
        token.cancel("barge-in")

    await outputs_of(talk(play_until(asks)), AnalyticsSink(Exporter()), interrupt=token)
    assert exported.count("stream.interrupted") == 1
    assert exported.count("stream.finished") == 2
    assert exported.count("stream.queue_closed") == 2


async def test_a_stage_beside_the_streams_may_interrupt_them():
    playing = anyio.Event()

    async def play(ctx):
        async with audio.reader(ctx) as chunks:
            await anext(chunks)
            playing.set()
            await anyio.sleep_forever()
        return {"interrupted": chunks.interrupted}

    async def listen(ctx):
        await playing.wait()
        return {"dropped": tokens.interrupt(ctx, "barge-in")}

    outputs, _ = await outputs_of(talk(play, more=[("listen", listen)]))
    assert outputs["play"].data == {"interrupted": True}
    assert outputs["listen"].data["dropped"] > 0


async def test_an_interrupt_before_anything_is_written_ends_the_blocks_at_once(told):
    token = CancellationToken()
    token.cancel("never mind")
    outputs, _ = await outputs_of(graph(), told, interrupt=token)
    assert outputs["write"].data == {"sent": 0, "interrupted": True}
    assert outputs["read"].data == {"got": [], "interrupted": True}
    assert len(told.of("stream.interrupted")) == 1
    books_balance(told)


async def test_an_interrupt_after_all_is_read_does_nothing(told):
    token = CancellationToken()

    async def read(ctx):
        found = await read_all(ctx)
        token.cancel("too late")
        return found

    outputs, _ = await outputs_of(graph(read=read), told, interrupt=token)
    assert outputs["read"].data == {"got": [0, 1, 2], "interrupted": False}
    assert told.of("stream.interrupted") == []
    books_balance(told)


async def test_a_token_outlives_the_run_it_was_given_to():
    token = CancellationToken()
    await graph().run(PipelineContext(), interrupt=token)
    token.cancel("much later")


# --- wrong definitions ----------------------------------------------------------------------


def wired(*links, deps=None, kinds=None, **options):
    pipeline = Pipeline("wrong")
    for name in ("a", "b", "c"):
        pipeline = pipeline.with_stage(name, nothing, dependencies=(deps or {}).get(name, ()))
    return StreamingGraph(pipeline, links, **options)


@pytest.mark.parametrize(
    ("links", "deps", "options", "says"),
    [
        ((), {}, {}, "No stream is linked"),
        ((tokens.link("aa", to="b"),), {}, {}, "written by 'aa', which is not a stage"),
        ((tokens.link("a", to="bb"),), {}, {}, "read by 'bb', which is not a stage"),
        ((tokens.link("a", to=[]),), {}, {}, "has no reader"),
        ((tokens.link("a", to="a"),), {}, {}, "writes stream 'tokens' and reads it"),
        (
            (tokens.link("a", to="c"), tokens.link("b", to="c")),
            {},
            {},
            "linked 2 times, with the producers 'a', 'b'",
        ),
        ((tokens.link("a", to="b"),), {"b": "a"}, {}, "'b' waits for the end of 'a'"),
        ((tokens.link("a", to="b"),), {"a": "b"}, {}, "'a' waits for the end of 'b'"),
        ((tokens.link("a", to="b"),), {"c": "a", "b": "c"}, {}, "'b' waits for the end of 'a'"),
        (
            (tokens.link("a", to="b"), audio.link("b", to="c")),
            {"c": "a"},
            {},
            "'c' waits for the end of 'a'",
        ),
        ((tokens.link("a", to="b"),), {}, {"max_concurrency": 1}, "less than the 2 stages"),
    ],
)
async def test_wrong_wiring_is_refused_before_anything_runs(links, deps, options, says):
    with pytest.raises(StreamWiringError, match=says) as caught:
        wired(*links, deps=deps, **options)
    assert caught.value.code == "SF660"
    assert caught.value.faults
    assert all(fault.code == "SF660" and fault.fix_hint for fault in caught.value.faults)


async def test_all_faults_come_at_once_those_of_the_pipeline_too():
    with pytest.raises(StreamWiringError) as caught:
        wired(tokens.link("aa", to="bb"), deps={"c": "nobody"}, on_failure="sometimes")
    text = str(caught.value)
    for part in ("'aa'", "'bb'", "'nobody'", "'sometimes'"):
        assert part in text
    assert len(caught.value.faults) == 4


async def test_streams_that_wait_for_each_other_in_a_circle_are_refused():
    pipeline = Pipeline("circle")
    for name, needs in {"a": "d", "b": "c", "c": (), "d": ()}.items():
        pipeline = pipeline.with_stage(name, nothing, dependencies=needs)
    # c feeds d, a feeds b: each pair would have to end before the other one begins.
    fine = StreamingGraph(pipeline, [tokens.link("a", to="b"), audio.link("c", to="d")])
    assert set(fine.stage_specs[0].dependencies) == {"c", "d"}
    crossed = Pipeline("circle")
    for name, needs in {"a": (), "b": "c", "c": (), "d": "a"}.items():
        crossed = crossed.with_stage(name, nothing, dependencies=needs)
    with pytest.raises(CycleDetectedError):
        StreamingGraph(crossed, [tokens.link("a", to="b"), audio.link("c", to="d")])


async def test_a_guard_that_sends_the_run_back_cannot_lie_around_streams():
    pipeline = (
        Pipeline("again")
        .with_stage("write", write_three)
        .with_stage("read", read_all)
        .with_stage("guard", nothing, StageKind.GUARD, dependencies=["read"])
    )
    strategy = GuardRetryStrategy(policies={"guard": GuardRetryPolicy(retry_stage="read")})
    with pytest.raises(ValueError, match="cannot be taken back"):
        StreamingGraph(pipeline, [tokens.link("write", to="read")], guard_retry_strategy=strategy)


async def test_a_limit_set_later_leaves_room_for_all_that_run_side_by_side():
    assert (await outputs_of(graph().with_max_concurrency(2)))[1] is None
    with pytest.raises(ValueError, match="less than the 2 stages"):
        graph().with_max_concurrency(1)
    with pytest.raises(ValueError, match="at least 1"):
        graph().with_max_concurrency(0)


def routed(route, **how):
    pipeline = (
        Pipeline("routed")
        .with_stage("router", route, StageKind.ROUTE)
        .with_stage("write", write_three, dependencies=["router"], conditional=True, **how)
        .with_stage(
            "other", nothing, dependencies=["router"], conditional=True, branch_key="silence"
        )
        .with_stage("read", read_all)
    )
    return StreamingGraph(pipeline, [tokens.link("write", to="read")])


@pytest.mark.parametrize("route", ["speech", "silence"])
async def test_a_branch_that_is_not_taken_takes_its_readers_along(route, told):
    async def choose(ctx):
        return {"route": route}

    outputs, error = await outputs_of(routed(choose, branch_key="speech"), told)
    assert error is None
    expected = StageStatus.OK if route == "speech" else StageStatus.SKIP
    assert outputs["write"].status is outputs["read"].status is expected
    books_balance(told, 1 if route == "speech" else 0)


async def test_a_branch_picked_by_name_cannot_take_its_readers_along():
    with pytest.raises(ValueError, match="Give 'write' a branch_key"):
        routed(nothing)


async def test_what_a_skipped_dependency_skips_are_all_that_are_connected(told):
    pipeline = (
        Pipeline("talk")
        .with_stage("guard", skip)
        .with_stage("write", write_three, dependencies=["guard"], conditional=True)
        .with_stage("read", read_all)
    )
    built = StreamingGraph(pipeline, [tokens.link("write", to="read")])
    outputs, _ = await outputs_of(built, told)
    assert outputs["write"].status is outputs["read"].status is StageStatus.SKIP
    assert told.of("stream.finished") == []


async def test_links_are_links_of_a_pipeline_that_is_not_built():
    pipeline = Pipeline("talk").with_stage("write", write_three).with_stage("read", read_all)
    link = tokens.link("write", to=["read", "read"])
    assert StreamingGraph(pipeline, link).links == (tokens.link("write", to="read"),)
    for wrong, given in ((pipeline, [tokens]), (pipeline.build(), [link]), ("talk", [link])):
        with pytest.raises(HelperSettingError):
            StreamingGraph(wrong, given)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": ""},
        {"name": 5},
        {"name": "x", "max_size": 0},
        {"name": "x", "max_size": 2.5},
        {"name": "x", "max_size": "2"},
    ],
)
async def test_a_stream_is_checked_where_it_is_declared(settings):
    with pytest.raises(HelperSettingError):
        Stream(**settings)


# --- wrong use ------------------------------------------------------------------------------


async def test_a_stream_is_only_open_to_the_stages_it_connects():
    refused = []

    async def meddle(ctx):
        for open_it in (tokens.writer, tokens.reader, Stream("tokes").reader, audio.interrupt):
            with pytest.raises(StreamNotLinkedError) as caught:
                open_it(ctx)
            refused.append(str(caught.value))
        return {}

    pipeline = (
        Pipeline("talk")
        .with_stage("write", write_three)
        .with_stage("read", read_all)
        .with_stage("meddle", meddle)
    )
    await StreamingGraph(pipeline, [tokens.link("write", to="read")]).run(PipelineContext())
    assert "stage 'write' does" in refused[0]
    assert "'read'" in refused[1]
    assert "'tokens'" in refused[2]
    with pytest.raises(StreamNotLinkedError, match="StreamingGraph"):
        tokens.writer(create_test_stage_context(stage_name="write"))


async def test_wrong_use_says_what_is_wrong():
    async def write(ctx):
        writer = tokens.writer(ctx)
        with pytest.raises(StreamUseError, match="outside"):
            await writer.send(1)
        async with writer:
            with pytest.raises(StreamItemError):
                await writer.send(None)
            with pytest.raises(StreamUseError, match="already"):
                async with tokens.writer(ctx):
                    pass
            await writer.send(1)
        with pytest.raises(StreamUseError, match="outside"):
            await writer.send(2)
        with pytest.raises(StreamUseError, match="finished"):
            async with tokens.writer(ctx):
                pass

    async def read(ctx):
        reader = tokens.reader(ctx)
        with pytest.raises(StreamUseError, match="outside"):
            await anext(reader)
        async with reader:
            with pytest.raises(StreamUseError, match="already"):
                async with tokens.reader(ctx):
                    pass
            got = [chunk async for chunk in reader]
        with pytest.raises(StreamUseError, match="has read it"):
            async with tokens.reader(ctx):
                pass
        return {"got": got}

    outputs, error = await outputs_of(graph(write, read))
    assert error is None
    assert outputs["read"].data == {"got": [1]}


async def test_each_stage_has_a_wide_event_of_its_own(told):
    built = graph(options={"emit_stage_wide_events": True, "emit_pipeline_wide_event": True})
    await outputs_of(built, told)
    assert {facts["stage"] for facts in told.of("stage.wide")} == {"guard", "write", "read"}
    assert len(told.of("pipeline.wide")) == 1


async def test_who_does_not_listen_pays_for_no_event(monkeypatch):
    from stageflow.events import NoOpEventSink

    monkeypatch.setattr(NoOpEventSink, "try_emit", None)
    outputs, error = await outputs_of(graph())
    assert error is None
    assert outputs["read"].data["got"] == [0, 1, 2]


async def test_a_durable_run_that_was_interrupted_streams_anew_on_both_sides():
    ran: list[str] = []
    fails = True

    @stage(kind=StageKind.WORK)
    async def before():
        ran.append("before")
        return 3

    @stage(kind=StageKind.WORK, after="before")
    async def llm(ctx):
        ran.append("llm")
        async with tokens.writer(ctx) as out:
            for number in range(3):
                await out.send(number)
        return 3

    @stage(kind=StageKind.WORK, after="before")
    async def tts(ctx):
        ran.append("tts")
        async with tokens.reader(ctx) as chunks:
            got = [chunk async for chunk in chunks]
        if fails:
            raise ValueError("the voice is out")
        return got

    pipeline = Pipeline("voice").with_stages([before, llm, tts])
    graph = StreamingGraph(pipeline, [tokens.link("llm", to="tts")], on_failure="continue")
    async with Runtime(run_store=MemoryRunStore()) as runtime:
        first = await runtime.run(graph, durability="step", raise_on_error=False)
        assert (first.status, first.outputs["llm"].status) == ("failed", StageStatus.OK)
        fails = False

        again = await runtime.resume(first.run_id)

    assert again.status == "completed"
    assert again.outputs["tts"].data["value"] == [0, 1, 2]
    assert again.restored == ("before",)
    assert sorted(ran) == ["before", "llm", "llm", "tts", "tts"]
