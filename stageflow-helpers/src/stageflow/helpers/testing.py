"""The conformance kit of memory stores; needs pytest.

An author writes

    class TestMyStore(MemoryStoreConformance):
        @pytest.fixture
        async def store(self):
            async with MyStore() as store:
                yield store

and has each clause of `MemoryStore` tested on each event loop. A store without `aclose` says
`closable = False`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from stageflow.helpers.errors import MemoryStoreError
from stageflow.helpers.memory.contract import (
    MemoryConfig,
    MemoryEntry,
    MemoryStore,
    MemoryWindow,
)
from stageflow.testing.conformance import ConformanceKit, all_at_once, every_cut

__all__ = ("MemoryStoreConformance",)

_SESSION = UUID("00000000-0000-4000-8000-000000000001")
_OTHER = UUID("00000000-0000-4000-8000-000000000002")
_NO_LIMITS = MemoryConfig(max_entries=None, max_tokens=None)


class MemoryStoreConformance(ConformanceKit):
    """One test or more per clause of `MemoryStore`; override the fixture `store`."""

    contracts = (MemoryStore,)

    @pytest.fixture
    async def store(self) -> MemoryStore:
        """Give a fresh, empty store."""
        raise NotImplementedError("override `store`: yield a fresh, empty MemoryStore")

    async def test_mm1_entry_comes_back_with_everything(self, store: MemoryStore) -> None:
        """Fetch what was written, down to the microsecond and the nested metadata."""
        entry = _entry(
            "1",
            role="tool",
            content="Grüße, 世界 \x00 🙂\n'; drop table memory_entries; --",
            timestamp=datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
            metadata={"score": 0.5, "tags": ["a", None], "ref": _OTHER, "at": datetime.now(UTC)},
        )
        await store.write(entry)
        (found,) = await store.fetch(_SESSION, _NO_LIMITS)
        assert found == entry

    async def test_mm1_time_keeps_its_zone(self, store: MemoryStore) -> None:
        """Fetch a time as it was written, also one that is not in UTC."""
        written = datetime.fromisoformat("2024-05-01T12:00:00+05:30")
        await store.write(_entry("1", timestamp=written))
        (found,) = await store.fetch(_SESSION, _NO_LIMITS)
        assert found.timestamp.isoformat() == written.isoformat()

    async def test_mm2_oldest_first_in_order_of_writing(self, store: MemoryStore) -> None:
        """Order by writing, whatever the times say."""
        start = datetime(2025, 1, 1, tzinfo=UTC)
        for number in range(5):
            await store.write(_entry(str(number), timestamp=start - timedelta(days=number)))
        assert _ids(await store.fetch(_SESSION, _NO_LIMITS)) == ["0", "1", "2", "3", "4"]

    async def test_mm3_too_old_entries_are_left_out(self, store: MemoryStore) -> None:
        """Leave out what is older than the window, before any limit applies."""
        await store.write(_entry("new", timestamp=datetime(9999, 1, 1, tzinfo=UTC)))
        await store.write(_entry("old", timestamp=datetime(1999, 1, 1, tzinfo=UTC)))
        config = MemoryConfig(recency_window_seconds=60, max_entries=1)
        window = await store.fetch(_SESSION, config)
        assert _ids(window) == ["new"]
        assert _left_out(window) == 0

    async def test_mm3_system_entries_are_left_out_on_request(self, store: MemoryStore) -> None:
        """Leave out the role `system` before the newest are counted."""
        for number, role in enumerate(("user", "assistant", "system", "system")):
            await store.write(_entry(str(number), role=role))
        without = MemoryConfig(include_system=False, max_entries=2)
        assert _ids(await store.fetch(_SESSION, without)) == ["0", "1"]
        assert _ids(await store.fetch(_SESSION, MemoryConfig(max_entries=3))) == ["1", "2", "3"]

    async def test_mm3_limits_keep_the_newest_and_count_the_rest(self, store: MemoryStore) -> None:
        """Keep the newest entries, then those of them that the tokens suffice for."""
        for number in range(10):
            await store.write(_entry(str(number), content="x" * 40))
        window = await store.fetch(_SESSION, MemoryConfig(max_entries=4))
        assert (_ids(window), _left_out(window)) == (["6", "7", "8", "9"], 6)
        window = await store.fetch(_SESSION, MemoryConfig(max_entries=4, max_tokens=25))
        assert (_ids(window), _left_out(window)) == (["8", "9"], 8)
        assert _ids(await store.fetch(_SESSION, MemoryConfig(max_entries=0))) == []

    async def test_mm3_tokens_stop_at_the_first_that_does_not_fit(self, store: MemoryStore) -> None:
        """Never skip an entry in between: what is remembered has no holes."""
        for number, size in enumerate((4, 400, 4)):
            await store.write(_entry(str(number), content="x" * size))
        assert _ids(await store.fetch(_SESSION, MemoryConfig(max_tokens=10))) == ["2"]

    async def test_mm3_tokens_are_counted_as_configured(self, store: MemoryStore) -> None:
        """Use the counter of the configuration."""
        for number in range(3):
            await store.write(_entry(str(number), content="a b c"))
        config = MemoryConfig(max_tokens=6, count_tokens=lambda text: len(text.split()))
        assert _ids(await store.fetch(_SESSION, config)) == ["1", "2"]

    async def test_mm3_default_limits(self, store: MemoryStore) -> None:
        """Apply the limits of `MemoryConfig()` when none are given."""
        for number in range(21):
            await store.write(_entry(str(number)))
        assert len(await store.fetch(_SESSION)) == 20

    async def test_mm4_sessions_are_apart(self, store: MemoryStore) -> None:
        """Show no entry of another session; an unknown one is empty."""
        await store.write(_entry("mine"))
        await store.write(_entry("theirs", session_id=_OTHER))
        assert _ids(await store.fetch(_SESSION)) == ["mine"]
        assert _ids(await store.fetch(UUID(int=3))) == []

    async def test_mm5_written_again_is_stored_once(self, store: MemoryStore) -> None:
        """Recognise an entry that differs in its time only."""
        first = _entry("1", timestamp=datetime(2025, 1, 1, tzinfo=UTC))
        await store.write(first)
        await store.write(_entry("1", timestamp=datetime(2025, 1, 2, tzinfo=UTC)))
        assert list(await store.fetch(_SESSION)) == [first]

    async def test_mm5_fifty_duplicates_at_once_are_one(self, store: MemoryStore) -> None:
        """Have one effect of any number of concurrent writes."""
        outcomes = await all_at_once([lambda: store.write(_entry("1"))] * 50)
        assert outcomes == [None] * 50
        assert _ids(await store.fetch(_SESSION, _NO_LIMITS)) == ["1"]

    async def test_mm6_same_id_other_contents(self, store: MemoryStore) -> None:
        """Keep entries that share an id and differ in role, content or metadata."""
        entries = [
            _entry("1"),
            _entry("1", role="assistant"),
            _entry("1", content="other"),
            _entry("1", metadata={"run": 2}),
            _entry("1", session_id=_OTHER),
        ]
        for entry in entries:
            await store.write(entry)
        assert list(await store.fetch(_SESSION, _NO_LIMITS)) == entries[:4]

    async def test_mm7_clearing_counts_and_removes(self, store: MemoryStore) -> None:
        """Clear one session only, and let it begin anew."""
        for number in range(3):
            await store.write(_entry(str(number)))
        await store.write(_entry("theirs", session_id=_OTHER))
        assert await store.clear(_SESSION) == 3
        assert await store.clear(_SESSION) == 0
        assert _ids(await store.fetch(_SESSION)) == []
        assert _ids(await store.fetch(_OTHER)) == ["theirs"]
        await store.write(_entry("0"))
        assert _ids(await store.fetch(_SESSION)) == ["0"]

    async def test_mm8_cancelled_write_is_whole_or_nothing(self, store: MemoryStore) -> None:
        """Cut a write at each of its suspensions."""
        expected: list[str] = []
        async for cut in every_cut(lambda step: store.write(_entry(str(step)))):
            found = _ids(await store.fetch(_SESSION, _NO_LIMITS))
            assert found in (expected, [*expected, str(cut.step)])
            assert not cut.completed or found[-1:] == [str(cut.step)]
            expected = found

    async def test_mm9_metadata_that_cannot_be_stored(self, store: MemoryStore) -> None:
        """Refuse what the codec does not know, and write nothing."""
        with pytest.raises(MemoryStoreError):
            await store.write(_entry("1", metadata={"call": _entry}))
        assert _ids(await store.fetch(_SESSION)) == []

    async def test_mm10_what_is_fetched_is_the_callers(self, store: MemoryStore) -> None:
        """Let the caller do as it likes with what it gave and got."""
        given: dict[str, Any] = {"tags": ["a"]}
        await store.write(_entry("1", metadata=given))
        given["tags"].append("b")
        (first,) = await store.fetch(_SESSION)
        first.metadata["tags"].append("c")
        (second,) = await store.fetch(_SESSION)
        assert second.metadata == {"tags": ["a"]}

    async def test_mm11_a_closed_store_refuses(self, store: Any) -> None:
        """Refuse every call once closed; closing again does no harm."""
        self.needs_closing()
        await store.write(_entry("1"))
        await store.aclose()
        await store.aclose()
        with pytest.raises(MemoryStoreError):
            await store.fetch(_SESSION)
        with pytest.raises(MemoryStoreError):
            await store.write(_entry("2"))
        with pytest.raises(MemoryStoreError):
            await store.clear(_SESSION)


def _entry(id: str, **fields: Any) -> MemoryEntry:
    defaults = {"session_id": _SESSION, "role": "user", "content": "hello"}
    return MemoryEntry(id, **{**defaults, **fields})


def _ids(entries: Any) -> list[str]:
    return [entry.id for entry in entries]


def _left_out(window: object) -> int:
    assert isinstance(window, MemoryWindow), "fetch must return a MemoryWindow"
    return window.left_out
