"""Retries and timeouts as interceptors: every strategy, and who decides what is tried again."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest

from stageflow import BackoffStrategy, JitterStrategy, Pipeline, PipelineContext, RetryPolicy
from stageflow._engine.call import execute_attempts
from stageflow._engine.run import RunOptions, RunReport
from stageflow.contracts.error_normalizer import NormalizedError
from stageflow.interceptors import (
    BaseInterceptor,
    RateLimitError,
    RetryInterceptor,
    ServiceUnavailableError,
    TimeoutInterceptor,
    TransientError,
)
from stageflow.pipeline import StageTimeoutError
from stageflow.testing import TestClock
from support.runs import RememberingSink

pytestmark = pytest.mark.anyio

EXPONENTIAL, LINEAR, CONSTANT = (
    BackoffStrategy.EXPONENTIAL,
    BackoffStrategy.LINEAR,
    BackoffStrategy.CONSTANT,
)
NONE, FULL, EQUAL, DECORRELATED = (
    JitterStrategy.NONE,
    JitterStrategy.FULL,
    JitterStrategy.EQUAL,
    JitterStrategy.DECORRELATED,
)


class Chance(Random):
    """Gives a fixed share of whatever range it is asked for, and remembers the ranges."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share
        self.ranges: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.ranges.append((a, b))
        return a + (b - a) * self.share


class Fails:
    """Raises what it is given, in turn and for ever."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = errors
        self.calls = 0

    async def execute(self, ctx: Any) -> None:
        self.calls += 1
        raise self.errors[min(self.calls, len(self.errors)) - 1]


async def delays_of(
    retry: RetryInterceptor, *errors: BaseException, chance: Random | None = None
) -> list[float]:
    sink = RememberingSink()
    clock = TestClock(autojump=True)
    options = RunOptions(clock=clock, random=chance or Chance(1.0))
    graph = (
        Pipeline()
        .with_stage("a", Fails(*(errors or (TransientError(),))), "work")
        .build(interceptors=[retry], options=options)
    )
    began = clock.monotonic()
    await graph.execute(PipelineContext(event_sink=sink))
    told = [event["delay_ms"] for event in sink.of("stage.retry_scheduled")]
    assert (clock.monotonic() - began) * 1000 == pytest.approx(sum(told))
    return told


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (EXPONENTIAL, [100, 200, 400, 800, 1000, 1000]),
        (LINEAR, [100, 200, 300, 400, 500, 600]),
        (CONSTANT, [100] * 6),
    ],
)
async def test_the_delay_grows_by_its_strategy_up_to_its_bound(
    backoff: BackoffStrategy, expected: list[float]
) -> None:
    retry = RetryInterceptor(7, 100, 1000, backoff, NONE)
    assert await delays_of(retry) == expected


@pytest.mark.parametrize(
    ("jitter", "share", "expected"),
    [
        (NONE, 0.5, [100, 200, 400]),
        (FULL, 0.0, [0, 0, 0]),
        (FULL, 0.5, [50, 100, 200]),
        (FULL, 1.0, [100, 200, 400]),
        (EQUAL, 0.0, [50, 100, 200]),
        (EQUAL, 0.5, [75, 150, 300]),
        (EQUAL, 1.0, [100, 200, 400]),
        (DECORRELATED, 0.0, [100, 100, 100]),
        (DECORRELATED, 0.5, [200, 350, 575]),
        (DECORRELATED, 1.0, [300, 900, 1000]),
    ],
)
async def test_chance_spreads_the_delay_by_its_strategy(
    jitter: JitterStrategy, share: float, expected: list[float]
) -> None:
    retry = RetryInterceptor(4, 100, 1000, EXPONENTIAL, jitter)
    assert await delays_of(retry, chance=Chance(share)) == expected


async def test_no_jitter_asks_no_chance() -> None:
    chance = Chance(0.5)
    await delays_of(RetryInterceptor(3, 100, 1000, EXPONENTIAL, NONE), chance=chance)
    assert chance.ranges == []


@pytest.mark.parametrize("backoff", list(BackoffStrategy))
@pytest.mark.parametrize("jitter", list(JitterStrategy))
async def test_no_strategy_goes_beyond_the_bound(
    backoff: BackoffStrategy, jitter: JitterStrategy
) -> None:
    retry = RetryInterceptor(30, 100, 700, backoff, jitter)
    chance = Random(5)  # noqa: S311 - a test wants the same chance each time
    delays = await delays_of(retry, chance=chance)
    assert len(delays) == 29
    assert all(0 <= delay <= 700 for delay in delays)


async def test_the_same_chance_gives_the_same_delays() -> None:
    retry = RetryInterceptor(5, 100)
    first, second = [await delays_of(retry, chance=Random(3)) for _ in range(2)]  # noqa: S311
    assert first == second
    assert len(set(first)) == 4


class TestRateLimits:
    async def test_bug012_a_rate_limit_is_waited_for_at_least_as_long_as_it_says(self) -> None:
        retry = RetryInterceptor(4, 100, 1000, EXPONENTIAL, NONE)
        errors = [RateLimitError("slow down", 0.15), RateLimitError("slow down", 0.15)]
        assert await delays_of(retry, *errors, RateLimitError(retry_after=60)) == [150, 200, 60_000]

    @pytest.mark.parametrize("asked", [None, 0, -1, float("nan"), float("inf"), "soon"])
    async def test_a_rate_limit_that_says_no_time_gets_the_usual_delay(self, asked: Any) -> None:
        retry = RetryInterceptor(2, 100, 1000, EXPONENTIAL, NONE)
        assert await delays_of(retry, RateLimitError("slow down", asked)) == [100]

    async def test_what_is_waited_for_a_service_does_not_make_later_delays_grow(self) -> None:
        retry = RetryInterceptor(3, 100, 100_000, EXPONENTIAL, DECORRELATED)
        errors = [RateLimitError("slow down", 50), TransientError()]
        assert await delays_of(retry, *errors) == [50_000, 900]

    async def test_exceptions_of_others_say_so_by_the_same_name(self) -> None:
        class TooManyRequests(ConnectionError):
            retry_after = 7

        retry = RetryInterceptor(2, 100, 1000, EXPONENTIAL, NONE)
        assert await delays_of(retry, TooManyRequests()) == [7000]


async def report_of(error: BaseException, *, calls: int, **build: Any) -> RunReport:
    stage = Fails(error)
    build.setdefault("interceptors", [RetryInterceptor(3)])
    graph = Pipeline().with_stage("a", stage, "work").build(clock=TestClock(autojump=True), **build)
    report = await graph.execute(PipelineContext())
    assert stage.calls == calls
    return report


class TestClassification:
    @pytest.mark.parametrize(
        "error",
        [
            TransientError(),
            RateLimitError(),
            ServiceUnavailableError(),
            TimeoutError(),
            ConnectionResetError(),
            BlockingIOError(),
            ExceptionGroup("several", [TimeoutError(), ConnectionError()]),
        ],
    )
    async def test_bug077_passing_errors_are_tried_again(self, error: BaseException) -> None:
        await report_of(error, calls=3)

    @pytest.mark.parametrize(
        "error",
        [
            ValueError(),
            TypeError(),
            PermissionError(),
            FileNotFoundError(),
            KeyError("x"),
            type("NobodyKnows", (Exception,), {})(),
            ExceptionGroup("several", [TimeoutError(), ValueError()]),
        ],
    )
    async def test_bug077_lasting_and_unknown_errors_are_not(self, error: BaseException) -> None:
        await report_of(error, calls=1)

    async def test_bug077_the_interceptor_may_name_what_is_tried_again(self) -> None:
        retry = RetryInterceptor(3, retryable_errors=[LookupError])
        await report_of(KeyError("x"), calls=3, interceptors=[retry])
        await report_of(TimeoutError(), calls=1, interceptors=[retry])

    async def test_bug077_a_graph_can_be_given_another_normalizer(self) -> None:
        class Contrary:
            def normalize(self, error: BaseException) -> NormalizedError:
                return NormalizedError("x", str(error), isinstance(error, ValueError))

        await report_of(ValueError(), calls=3, error_normalizer=Contrary())
        await report_of(TimeoutError(), calls=1, error_normalizer=Contrary())

    async def test_bug077_a_normalizer_that_fails_has_nothing_tried_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken:
            def normalize(self, error: BaseException) -> NormalizedError:
                raise RuntimeError("broken")

        report = await report_of(TimeoutError("own"), calls=1, error_normalizer=Broken())
        assert isinstance(report.error, TimeoutError)
        assert "error_normalizer.failed" in caplog.text

    async def test_bug077_the_engine_and_the_standard_normalizer_agree(self) -> None:
        from stageflow._engine.retrying import STANDARD_RULES, is_transient
        from stageflow.builtin.normalizers import StandardErrorNormalizer

        normalizer = StandardErrorNormalizer()
        known = [
            getattr(__import__("builtins"), name.removeprefix("builtins."))
            for name in STANDARD_RULES
            if name.startswith("builtins.")
        ]
        errors = [cls() for cls in known] + [TransientError(), ValueError(), OSError(11, "again")]
        assert [is_transient(e) for e in errors] == [
            normalizer.normalize(e).retryable for e in errors
        ]


class TestPolicies:
    async def test_events_of_a_retry_say_everything(self) -> None:
        sink = RememberingSink()
        graph = (
            Pipeline()
            .with_stage("a", Fails(TransientError("no")), "work")
            .build(
                interceptors=[RetryInterceptor(2, 100, jitter_strategy=NONE)],
                clock=TestClock(autojump=True),
            )
        )
        await graph.execute(PipelineContext(event_sink=sink))
        (scheduled,), (exhausted,) = (
            sink.of("stage.retry_scheduled"),
            sink.of("stage.retry_exhausted"),
        )
        shared = {"stage": "a", "kind": "work", "max_attempts": 2}
        assert {**scheduled, **shared, "attempt": 1, "delay_ms": 100} == scheduled
        assert {**exhausted, **shared, "attempt": 2} == exhausted
        assert "TransientError" in scheduled["error"]

    async def test_a_stages_own_policies_win(self) -> None:
        stage = Fails(TransientError())
        graph = (
            Pipeline()
            .with_stage("a", stage, "work", retry=RetryPolicy(5), timeout=2)
            .build(
                interceptors=[RetryInterceptor(2), TimeoutInterceptor(9)],
                clock=TestClock(autojump=True),
            )
        )
        await graph.execute(PipelineContext())
        assert stage.calls == 5
        assert graph.plan.calls[0].policy.timeout == 2

    async def test_a_timeout_limits_each_attempt_and_is_tried_again(self) -> None:
        calls: list[int] = []

        async def hangs(ctx: Any) -> None:
            calls.append(1)
            await anyio.sleep_forever()

        graph = (
            Pipeline()
            .with_stage("a", hangs, "work")
            .build(
                interceptors=[TimeoutInterceptor(4), RetryInterceptor(3, 0)],
                clock=TestClock(autojump=True),
            )
        )
        report = await graph.execute(PipelineContext())
        assert len(calls) == 3
        assert isinstance(report.error, StageTimeoutError)
        assert report.duration_ms == 12_000

    @pytest.mark.parametrize("seconds", [0, -1, float("nan")])
    def test_a_timeout_that_is_no_time_is_refused(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="timeout_seconds"):
            TimeoutInterceptor(seconds)

    @pytest.mark.parametrize(
        "wrong", [{"max_attempts": 0}, {"base_delay_ms": -1}, {"backoff_strategy": "sometimes"}]
    )
    def test_a_retry_that_makes_no_sense_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError):
            RetryInterceptor(**wrong)


def test_who_only_sets_a_policy_adds_no_step_of_its_own() -> None:
    going_on: Any = object()
    for interceptor in (TimeoutInterceptor(1), RetryInterceptor()):
        assert interceptor.around(None, lambda: going_on) is going_on  # type: ignore[arg-type]

    async def stage(ctx: Any) -> None: ...

    pipeline = Pipeline("p").with_stage("a", stage).with_stage("b", stage)
    alone = pipeline.build(interceptors=[TimeoutInterceptor(1)]).plan.calls
    assert [call.layered for call in alone] == [execute_attempts] * 2
    assert [call.policy.timeout for call in alone] == [1, 1]


def test_stages_with_the_same_interceptors_share_one_chain() -> None:
    async def stage(ctx: Any) -> None: ...

    class NotAroundC(BaseInterceptor):
        async def before(self, stage_name: str, ctx: PipelineContext) -> None: ...

        def applies_to(self, name: str, kind: Any) -> bool:
            return name != "c"

    class Before(BaseInterceptor):
        async def before(self, stage_name: str, ctx: PipelineContext) -> None: ...

    pipeline = Pipeline("p")
    for name in "abc":
        pipeline = pipeline.with_stage(name, stage)
    a, b, c = (
        call.layered for call in pipeline.build(interceptors=[Before(), NotAroundC()]).plan.calls
    )
    assert a is b
    assert a is not c


async def test_a_timeout_that_looks_at_stages_as_well_is_asked_and_still_limits() -> None:
    asked: list[str] = []

    class Curious(TimeoutInterceptor):
        async def before(self, stage_name: str, ctx: PipelineContext) -> None:
            asked.append(stage_name)

    class Hangs:
        async def execute(self, ctx: Any) -> None:
            await anyio.sleep_forever()

    graph = (
        Pipeline()
        .with_stage("a", Hangs(), "work")
        .build(interceptors=[Curious(5)], options=RunOptions(clock=TestClock(autojump=True)))
    )
    report = await graph.execute(PipelineContext(event_sink=None))
    assert asked == ["a"]
    assert isinstance(report.error, StageTimeoutError)
