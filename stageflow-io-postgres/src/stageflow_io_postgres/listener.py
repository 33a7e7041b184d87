"""Listener: hears what other processes announce, so that nobody has to ask all the time.

A notification is a hint and nothing else: one that gets lost, with a connection or behind a
pooler that does not pass them on, costs time and never an answer, since whoever waits also looks
by itself from time to time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, final

import anyio
import attrs

from stageflow.contracts.clock import Clock
from stageflow.contracts.logs import get_logger
from stageflow.contracts.storage import StorageError
from stageflow_io_postgres.errors import translated
from stageflow_io_postgres.queries import quoted
from stageflow_io_postgres.settings import PostgresSettings

__all__ = ("Listener", "Subscription")

_log = get_logger("stageflow.postgres")
_CLOSE_TIMEOUT: Final = 2.0


@attrs.define(eq=False)
class Subscription:
    """What one waiter hears of; made by `Listener.subscribe`."""

    _listener: Listener
    _channel: str
    _key: str | None
    _news: anyio.Event = attrs.field(factory=anyio.Event)

    async def wait(self, timeout: float) -> bool:
        """Return True once something was announced since the last call, False after *timeout*.

        Args:
            timeout: Seconds after which the caller looks by itself.
        """
        with anyio.move_on_after(timeout):
            await self._listener.connect(self._channel)
            await self._news.wait()
        heard = self._news.is_set()
        self._news = anyio.Event()
        return heard

    def tell(self, key: str | None) -> None:
        """Wake the waiter if *key* is its own; None is anybody's."""
        if key is None or self._key is None or key == self._key:
            self._news.set()


@final
class Listener:
    """One connection that listens, opened for the first subscription and again after a loss.

    Args:
        settings: How to connect.
        label: What the database is called in messages.
        clock: Says when the next attempt to connect is due.
    """

    def __init__(self, settings: PostgresSettings, label: str, clock: Clock) -> None:
        self._settings = settings
        self._label = label
        self._clock = clock
        self._connection: Any = None
        self._heard: set[str] = set()
        self._subscriptions: set[Subscription] = set()
        self._lock = anyio.Lock()
        self._next_attempt = 0.0
        self._is_closed = False

    @asynccontextmanager
    async def subscribe(self, channel: str, key: str | None = None) -> AsyncIterator[Subscription]:
        """Hear of what is announced on *channel* within the block.

        Args:
            channel: Its name.
            key: Only what is announced with this text; everything, unless given.
        """
        subscription = Subscription(self, channel, key)
        self._subscriptions.add(subscription)
        try:
            await self.connect(channel)
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def connect(self, channel: str) -> None:
        """Listen to *channel*, if that is possible; one who cannot looks by himself."""
        if self._settings.pooler == "transaction" or self._is_closed:
            return
        async with self._lock:
            if self._connection is not None and channel in self._heard:
                return
            if self._connection is None and self._clock.monotonic() < self._next_attempt:
                return
            try:
                with translated(self._label), anyio.fail_after(self._settings.connect_timeout):
                    await self._listen(channel)
            except StorageError as error:
                self._next_attempt = self._clock.monotonic() + 1.0
                _log.warning("notifications.not_heard", reason=error.message)

    async def aclose(self) -> None:
        """Stop listening; again is no error."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with anyio.move_on_after(_CLOSE_TIMEOUT, shield=True) as closing:
            await connection.close()
        if closing.cancelled_caught:
            connection.terminate()

    async def _listen(self, channel: str) -> None:
        if self._connection is None:
            import asyncpg

            self._heard.clear()
            self._connection = await asyncpg.connect(**self._settings.connect_arguments())
            self._connection.add_termination_listener(self._lost)
        await self._connection.add_listener(quoted(channel)[1:-1], self._hear)
        self._heard.add(channel)

    def _hear(self, _: Any, __: int, channel: str, payload: object) -> None:
        for each in list(self._subscriptions):
            if each._channel == channel:
                each.tell(str(payload))

    def _lost(self, connection: Any) -> None:
        if connection is self._connection:
            self._connection = None
            # Something may have been announced meanwhile.
            for each in list(self._subscriptions):
                each.tell(None)
