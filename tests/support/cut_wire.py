"""A wire between a client and a server that can be cut, also just before an answer arrives."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ("CutWire",)


class CutWire:
    """Passes everything on between clients and the server at a port, until told otherwise.

    Args:
        port: The server's, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallows = b""
        self._answers = 0
        self._every = 0
        self.cuts = 0

    @property
    def port(self) -> int:
        """Where clients connect."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def swallow(self, answer: bytes) -> None:
        """Keep the next answer that holds *answer* to itself, and cut all connections instead."""
        self._swallows = answer

    def cut_every(self, answers: int) -> None:
        """Cut all connections instead of passing on the n-th answer, the 2n-th and so on."""
        self._answers, self._every = 0, answers

    def cut(self) -> None:
        """Cut all connections."""
        self.cuts += 1
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, server_writer}
        back = asyncio.ensure_future(self._answer(server_reader, writer))
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    server_writer.write(data)
                    await server_writer.drain()
        finally:
            server_writer.transport.abort()
            with suppress(OSError):
                await back
            self._writers -= {writer, server_writer}

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self._answers += 1
            is_due = self._every and self._answers % self._every == 0
            if is_due or (self._swallows and self._swallows in data):
                self._swallows = b""
                self.cut()
                return
            writer.write(data)
            await writer.drain()
        writer.transport.abort()
