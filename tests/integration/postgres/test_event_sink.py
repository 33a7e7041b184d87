"""Events arrive once, whatever becomes of the connection, and a failing database stops nobody."""

from __future__ import annotations

import pytest

from stageflow.testing import EventSinkConformance
from stageflow_io_postgres.event_sink import PostgresEventSink


class TestPostgresEventSink(EventSinkConformance):
    event_loops = ("asyncio",)

    @pytest.fixture
    async def sink(self, database):
        async with PostgresEventSink(database, flush_interval=0) as sink:
            yield sink

    async def arrived(self, sink):
        return [(event.type, event.data) for event in await sink.read()]
