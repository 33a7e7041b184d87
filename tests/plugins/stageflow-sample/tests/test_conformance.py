"""The sink and the manager keep every clause of their contracts."""

from __future__ import annotations

import pytest
from stageflow_sample.event_sink import TranscriptEventSink, TranscriptSettings, read_transcript
from stageflow_sample.io_manager import FolderIOManager, FolderSettings

from stageflow.testing import EventSinkConformance, IOManagerConformance


class TestTranscriptEventSink(EventSinkConformance):
    @pytest.fixture
    async def sink(self, tmp_path):
        self.path = tmp_path / "events.txt"
        async with TranscriptEventSink(TranscriptSettings(path=self.path)) as sink:
            yield sink

    async def arrived(self, sink):
        await sink.aclose()
        return read_transcript(self.path)


class TestFolderIOManager(IOManagerConformance):
    @pytest.fixture
    def io_manager(self, tmp_path):
        return FolderIOManager(FolderSettings(root=tmp_path))
