"""The errors of streams between stages; their codes are SF661 to SF669.

`StreamWiringError`, which is SF660, stands beside the graph that raises it.
"""

from __future__ import annotations

from stageflow.errors import RunError

__all__ = (
    "StreamBrokenError",
    "StreamNotLinkedError",
    "StreamUseError",
)


class StreamNotLinkedError(RunError):
    """A stage opened a stream that does not connect it with another one.

    Attributes:
        stream: The stream's name.
        stage: The stage.
    """

    code = "SF661"

    def __init__(self, stream: str, stage: str, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.stream = stream
        self.stage = stage


class StreamUseError(RunError):
    """A stream was used in a way that would lose chunks, or hand some on twice.

    Attributes:
        stream: The stream's name.
        stage: The stage.
    """

    code = "SF662"

    def __init__(self, stream: str, stage: str, what: str, *, hint: str) -> None:
        super().__init__(f"Stage {stage!r} {what}.", hint=hint)
        self.stream = stream
        self.stage = stage


class StreamBrokenError(RunError):
    """A stream came to no proper end; the chunks that were read are all there will be.

    Attributes:
        stream: The stream's name.
        producer: The stage that should have written it to its end.
        status: How that stage ended.
        received: How many chunks the reader got.
    """

    code = "SF663"

    def __init__(
        self, stream: str, producer: str, status: str, reason: str, *, received: int
    ) -> None:
        because = f" ({reason[:200]})" if reason else ""
        super().__init__(
            f"Stream {stream!r} broke off after {received} chunk(s): stage {producer!r}, which"
            f" writes it, ended as {status}{because} without finishing it.",
            hint=f"Mend {producer!r}; open with `optional=True` if it may write nothing at all.",
        )
        self.stream = stream
        self.producer = producer
        self.status = status
        self.received = received
