"""What a stream between two stages costs, and how fast an interrupt goes through to the end.

A chunk through a `Stream` stands beside one through a bare bounded `asyncio.Queue` between two
tasks, and `ChunkQueue` beside the same; both sides of a ratio run in turns in one process, and the
figures are medians. The run's set-up is in the figure of the stream.

The interrupt is a user who begins to speak while an answer is spoken: a model writes words, a
voice turns each into ten pieces of sound, a loudspeaker plays them, all queues are full. Measured
is the time from the request, in the loop or from another thread, until nothing waits any more and
the loudspeaker's block is left.

    python bench/streaming.py [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import threading
import time
from collections.abc import Awaitable, Callable

import anyio

from stageflow import Pipeline, PipelineContext, StageContext
from stageflow.context.cancellation import CancellationToken
from stageflow.helpers.streaming import ChunkQueue, Stream, StreamingGraph

TURNS = 15
CHUNKS = 10_000
INTERRUPTS = 50
FLUSH_MS = 20.0

numbers: Stream[int] = Stream("numbers", 100)
words: Stream[str] = Stream("words", 100)
sound: Stream[bytes] = Stream("sound", 100)


async def produce(ctx: StageContext) -> None:
    """Write all chunks."""
    async with numbers.writer(ctx) as out:
        for number in range(CHUNKS):
            await out.send(number)


async def consume(ctx: StageContext) -> None:
    """Read all chunks."""
    async with numbers.reader(ctx) as chunks:
        async for _ in chunks:
            pass


STREAMED = StreamingGraph(
    Pipeline("pass-on").with_stage("produce", produce).with_stage("consume", consume),
    [numbers.link("produce", to="consume")],
)


async def through_stream() -> None:
    """Hand the chunks from stage to stage."""
    await STREAMED.run(PipelineContext())


async def through_queue(queue: asyncio.Queue[int] | ChunkQueue[int]) -> None:
    """Hand the chunks from task to task."""

    async def put() -> None:
        for number in range(CHUNKS):
            await queue.put(number)

    async def get() -> None:
        for _ in range(CHUNKS):
            await queue.get()

    await asyncio.gather(put(), get())


async def compare(
    name: str,
    ours: Callable[[], Awaitable[None]],
    plain: Callable[[], Awaitable[None]],
    at_most: float | None,
) -> dict[str, object]:
    """Return what both cost per chunk, and the median of their ratios."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(TURNS):
        for side, call in (("plain", plain), ("ours", ours)):
            gc.collect()
            began = time.perf_counter()
            await call()
            seconds[side].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    return {
        "name": name,
        "ours_us": statistics.median(seconds["ours"]) / CHUNKS * 1e6,
        "plain_us": statistics.median(seconds["plain"]) / CHUNKS * 1e6,
        "ratio": statistics.median(ratios),
        "at_most": at_most,
    }


class Turn:
    """One answer that is interrupted: three stages, two streams, and when the sound stopped."""

    def __init__(self) -> None:
        self.token = CancellationToken()
        self.full = anyio.Event()
        self.stopped_at = 0.0

    async def model(self, ctx: StageContext) -> None:
        """Write words until interrupted."""
        async with words.writer(ctx) as out:
            while True:
                await out.send("word")

    async def voice(self, ctx: StageContext) -> None:
        """Turn each word into ten pieces of sound."""
        async with words.reader(ctx) as heard, sound.writer(ctx) as out:
            async for word in heard:
                for _ in range(10):
                    if out.sent == sound.max_size:
                        self.full.set()
                    await out.send(word.encode())

    async def play(self, ctx: StageContext) -> None:
        """Play the first piece for ever, which is what waiting for a device looks like."""
        async with sound.reader(ctx) as pieces:
            async for _ in pieces:
                await anyio.sleep_forever()
        self.stopped_at = time.perf_counter()

    async def interrupted_after(self, *, thread: bool) -> float:
        """Return the milliseconds from the request until everything was quiet."""
        pipeline = Pipeline("answer")
        for body in (self.model, self.voice, self.play):
            pipeline = pipeline.with_stage(body.__name__, body)
        graph = StreamingGraph(
            pipeline, [words.link("model", to="voice"), sound.link("voice", to="play")]
        )
        began = 0.0

        async def barge_in() -> None:
            nonlocal began
            await self.full.wait()
            await anyio.sleep(0.002)
            began = time.perf_counter()
            if thread:
                threading.Thread(target=self.token.cancel, args=("barge-in",)).start()
            else:
                self.token.cancel("barge-in")

        async with anyio.create_task_group() as group:
            group.start_soon(barge_in)
            await graph.run(PipelineContext(), interrupt=self.token)
        return (self.stopped_at - began) * 1000


async def interrupts(*, thread: bool) -> dict[str, object]:
    """Return how long it takes until an interrupt has flushed everything."""
    times = sorted([await Turn().interrupted_after(thread=thread) for _ in range(INTERRUPTS)])
    where = "another thread" if thread else "the loop"
    return {
        "name": f"interrupt from {where}",
        "median_ms": statistics.median(times),
        "worst_ms": times[-1],
        "at_most_ms": FLUSH_MS,
    }


async def main(*, as_json: bool) -> None:
    """Measure and print everything."""
    ratios = [
        await compare(
            "ChunkQueue, put+get, two tasks, 100",
            lambda: through_queue(ChunkQueue(100)),
            lambda: through_queue(asyncio.Queue(100)),
            2.0,
        ),
        await compare(
            "Stream, send+receive, two stages, 100",
            through_stream,
            lambda: through_queue(asyncio.Queue(100)),
            None,
        ),
    ]
    flushes = [await interrupts(thread=False), await interrupts(thread=True)]
    if as_json:
        print(json.dumps([*ratios, *flushes]))
        return
    for row in ratios:
        limit, ratio = row["at_most"], float(str(row["ratio"]))
        mark = "" if limit is None else f"  (at most {limit})"
        over = "  OVER" if limit is not None and ratio > float(str(limit)) else ""
        print(
            f"{row['name']!s:40} ours {row['ours_us']:7.3f}  plain {row['plain_us']:7.3f} us"
            f"   ratio {ratio:5.2f}{mark}{over}"
        )
    for row in flushes:
        over = "  OVER" if float(str(row["worst_ms"])) > FLUSH_MS else ""
        print(
            f"{row['name']!s:40} median {row['median_ms']:6.3f}  worst {row['worst_ms']:6.3f} ms"
            f"   (at most {FLUSH_MS:g} ms){over}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asyncio.run(main(as_json=parser.parse_args().json))
