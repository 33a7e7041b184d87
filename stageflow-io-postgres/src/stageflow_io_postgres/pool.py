"""Pool: a bounded number of connections, lent one by one.

The driver has a pool, too. It starts two tasks for each loan and resets the session by a round
trip after it, which together cost half as much as the statement that the loan is for. Sessions
are not changed here, so there is nothing to reset; whoever may have changed one resets it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import anyio

__all__ = ("ConnectionPool",)

_MEND_TIMEOUT: Final = 5.0


@final
class ConnectionPool:
    """Lends connections; who asks first is served first, and the warmest one is lent.

    Args:
        connect: Opens a connection.
        size: How many there are at most.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]], size: int) -> None:
        self._connect = connect
        self._size = size
        self._free = anyio.Semaphore(size, fast_acquire=True)
        self._idle: deque[Any] = deque()
        self._lent: set[Any] = set()
        self.is_closed = False

    async def borrow(self, timeout: float) -> Any:
        """Return a connection that nobody else has; give it back by `give_back` or `mend`.

        Raises:
            TimeoutError: All are lent, and none came back in time.
        """
        try:
            self._free.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.fail_after(timeout):
                await self._free.acquire()
        try:
            connection = await self._open_one()
        except BaseException:
            self._free.release()
            raise
        self._lent.add(connection)
        return connection

    def give_back(self, connection: Any) -> None:
        """Take back a connection that is as it was."""
        self._lent.discard(connection)
        if self.is_closed:
            connection.terminate()
        elif not connection.is_closed():
            self._idle.append(connection)
        self._free.release()

    async def mend(self, connection: Any, *, whole: bool = False) -> None:
        """Take back a connection on which something failed or was cut short.

        What it was doing is over when this returns. One that cannot be mended in time is closed.

        Args:
            connection: Which one.
            whole: Whether anything at all of its session may have been changed.
        """
        with anyio.move_on_after(_MEND_TIMEOUT, shield=True) as mending:
            try:
                if connection.is_closed():
                    pass
                elif whole:
                    await connection.reset()
                else:
                    await connection.execute("rollback")
            except Exception:  # noqa: BLE001 - it cannot be used again, whatever the reason
                connection.terminate()
        if mending.cancelled_caught:
            connection.terminate()
        self.give_back(connection)

    async def warm(self, count: int) -> None:
        """Open connections, until there are *count*."""
        while len(self._idle) + len(self._lent) < count:
            self._idle.appendleft(await self._connect())

    async def aclose(self, timeout: float) -> None:
        """Close all connections; those still lent after *timeout* are cut off."""
        self.is_closed = True
        with anyio.move_on_after(timeout, shield=True):
            while self._idle:
                await self._idle.popleft().close()
            for _ in range(self._size):
                await self._free.acquire()
        for connection in (*self._idle, *self._lent):
            connection.terminate()
        self._idle.clear()
        for _ in range(self._size):  # whoever still waits learns that it is closed
            self._free.release()

    async def _open_one(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._connect()
