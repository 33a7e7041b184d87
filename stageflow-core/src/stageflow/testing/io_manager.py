"""The kit of the contract `io_manager`: subclass `IOManagerConformance`, give it a manager."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, ClassVar
from uuid import UUID

import pytest

from stageflow.contracts.io_manager import (
    AssetNotFoundError,
    IOManager,
    IOManagerCapabilities,
    PartitionListing,
    UnknownOptionError,
)
from stageflow.contracts.partitions import Partition, PartitionError
from stageflow.contracts.storage import StorageClosedError
from stageflow.testing.conformance import (
    ConformanceKit,
    all_at_once,
    every_cut,
    raising,
    same_value,
)

__all__ = ("IOManagerConformance",)

_NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)
_PARTITIONS: tuple[Partition, ...] = (
    None,
    "eu",
    42,
    -1,
    date(2025, 1, 31),
    _NOON,
    datetime(2025, 1, 31, 12, 30, 0, 5),  # noqa: DTZ001 - a partition may be naive
    ("eu", 1),
    (date(2025, 1, 31), ("a", None)),
    {"day": date(2025, 1, 31), "region": "eu"},
)
# Each stands beside another one that somebody might take it for.
_LOOKALIKES: tuple[Partition, ...] = (
    *(None, "None", "", "-", "null", ()),
    *(1, "1", "i_1", (1,), ((1,),), "01"),
    *("a,b", ("a", "b"), ("a,b",), {"a": "b"}, "a=b"),
    *(date(2025, 1, 31), "2025-01-31", "d_2025-01-31"),
    *(_NOON, _NOON.replace(tzinfo=None), _NOON.isoformat()),
    *("a", "A", "a ", "a.", "a~", "a/", "é", "e\u0301"),
)
# Some lead to others, if they are taken for paths.
_HOSTILE = (
    "..",
    "escape",
    "../escape",
    "asset/../escape",
    "absolute",
    "/absolute",
    "b",
    "a/b",
    "a\\b",
    "C:",
    ".hidden",
    "~",
    "per%2Fcent",
    "line\nbreak",
    "nul\0",
    "'; drop table runs; --",
    "naïve \U0001f600",
    "x" * 300,
)


class _Unknown:
    """Of a type that no manager can store."""


class IOManagerConformance(ConformanceKit):
    """Tests every clause of `IOManager` and of the capabilities that are declared.

    Attributes:
        values: What is stored: two values at least, all of them of kinds that the manager
            can keep. The first two replace each other.
        unstorable: A value that it cannot keep.
    """

    contracts = (IOManager, PartitionListing)
    capabilities: ClassVar[IOManagerCapabilities] = IOManagerCapabilities()
    values: ClassVar[Sequence[Any]] = (
        {"rows": [{"id": 1, "name": "a"}]},
        ["another", ("value", 2)],
        None,
        True,
        2**70,
        0.1,
        "naïve \U0001f600 \0",
        b"\x00\xff",
        Decimal("1.10"),
        UUID(int=7),
        date(2025, 1, 31),
        _NOON,
        PurePosixPath("a/b"),
        {1, 2},
        {},
    )
    unstorable: ClassVar[Any] = _Unknown()

    def change(self, value: Any) -> None:
        """Change *value*, which is like the first of `values`, in place."""
        value["rows"].append("changed")

    @pytest.fixture
    async def io_manager(self) -> Any:
        """Give a manager that holds nothing; every author overrides this."""
        raise NotImplementedError("override the fixture `io_manager`: yield an empty IOManager")

    async def test_it_has_the_shape_of_its_contract(self, io_manager: Any) -> None:
        self.check_shape(io_manager)

    async def test_io1_what_was_stored_is_loaded(self, io_manager: Any) -> None:
        for number, value in enumerate(self.values):
            await io_manager.store("asset", value, number)
        for number, value in enumerate(self.values):
            found = await io_manager.load("asset", number)
            assert same_value(found, value), f"stored {value!r}, loaded {found!r}"

    async def test_io2_what_is_not_stored_is_not_found(self, io_manager: Any) -> None:
        await io_manager.store("asset", self.values[0], "here")
        for name, partition in (("asset", "there"), ("asset", None), ("other", "here")):
            with raising(AssetNotFoundError, f"loading {partition!r} of {name!r}"):
                await io_manager.load(name, partition)

    async def test_io3_exists_tells_whether_it_can_be_loaded(self, io_manager: Any) -> None:
        await io_manager.store("asset", self.values[0], "here")
        answers = [
            await io_manager.exists("asset", "here"),
            await io_manager.exists("asset", "there"),
            await io_manager.exists("other", "here"),
        ]
        assert answers == [True, False, False], f"exists answered {answers}"

    async def test_io4_storing_again_replaces(self, io_manager: Any) -> None:
        first, second = self.values[:2]
        for value in (first, second, first, first):
            await io_manager.store("asset", value, None)
            found = await io_manager.load("asset", None)
            assert same_value(found, value), f"stored {value!r}, loaded {found!r}"

    async def test_io5_what_was_deleted_is_gone(self, io_manager: Any) -> None:
        await io_manager.store("asset", self.values[0], "a")
        await io_manager.store("asset", self.values[0], "b")
        for _ in range(2):
            await io_manager.delete("asset", "a")
        await io_manager.delete("other", "a")
        answers = [await io_manager.exists("asset", name) for name in ("a", "b")]
        assert answers == [False, True], f"after deleting the first of two: {answers}"
        with raising(AssetNotFoundError, "loading what was deleted"):
            await io_manager.load("asset", "a")

    async def test_io6_partitions_are_apart_from_each_other(self, io_manager: Any) -> None:
        await self._tell_apart(io_manager, [("asset", partition) for partition in _LOOKALIKES])

    async def test_io6_assets_are_apart_from_each_other(self, io_manager: Any) -> None:
        names = ("a", "b", "A", "a_b", "a.b", "a-b", "ab", "a__b")
        await self._tell_apart(io_manager, [(name, "x") for name in names])

    async def test_io7_every_kind_of_partition_works(self, io_manager: Any) -> None:
        for partition in _PARTITIONS:
            await io_manager.store("asset", self.values[0], partition)
            assert await io_manager.exists("asset", partition), f"{partition!r} is not there"
            await io_manager.load("asset", partition)
            await io_manager.delete("asset", partition)
            assert not await io_manager.exists("asset", partition), f"{partition!r} stays"

    async def test_io7_equal_partitions_are_the_same(self, io_manager: Any) -> None:
        pairs: list[tuple[Partition, Partition]] = [
            (_NOON, _NOON.astimezone(timezone(timedelta(hours=3)))),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ]
        for first, second in pairs:
            await io_manager.store("asset", self.values[0], first)
            await io_manager.store("asset", self.values[1], second)
            found = await io_manager.load("asset", first)
            assert same_value(found, self.values[1]), f"{first!r} and {second!r} are two"

    async def test_io8_a_name_is_only_a_name(self, io_manager: Any) -> None:
        places = [place for text in _HOSTILE for place in ((text, "x"), ("asset", text))]
        await self._tell_apart(io_manager, places)

    async def test_io9_what_is_kept_is_nobody_elses(self, io_manager: Any) -> None:
        await io_manager.store("plain", self.values[0], None)
        given = await io_manager.load("plain", None)
        await io_manager.store("asset", given, None)
        self.change(given)
        handed_out = await io_manager.load("asset", None)
        assert same_value(handed_out, self.values[0]), f"what was kept has become {handed_out!r}"
        self.change(handed_out)
        found = await io_manager.load("asset", None)
        assert same_value(found, self.values[0]), f"what was kept has become {found!r}"

    async def test_io10_what_cannot_be_stored_raises(self, io_manager: Any) -> None:
        await io_manager.store("asset", self.values[0], "a")
        for partition in ("a", "b"):
            with raising(Exception, f"storing {self.unstorable!r}"):
                await io_manager.store("asset", self.unstorable, partition)
        found = await io_manager.load("asset", "a")
        assert same_value(found, self.values[0]), f"what was there has become {found!r}"
        assert not await io_manager.exists("asset", "b"), "something was stored nevertheless"

    async def test_io11_what_names_no_partition_raises(self, io_manager: Any) -> None:
        for bad in (1.5, True, ["a"], b"a", ("a", 1.5), {1: "a"}):
            for call in self._calls(io_manager, partition=bad):
                with raising(PartitionError, f"the partition {bad!r}"):
                    await call()

    async def test_io12_an_unknown_option_raises(self, io_manager: Any) -> None:
        await io_manager.store("asset", self.values[0], "a")
        calls = self._calls(io_manager, no_such_option=True)
        if self.capabilities.list_partitions:
            calls.append(lambda: io_manager.list_partitions("asset", no_such_option=True))
        for call in calls:
            with raising(UnknownOptionError, "an option that nobody has"):
                await call()

    async def test_io13_stores_at_once_leave_one_whole_value(self, io_manager: Any) -> None:
        first, second = self.values[:2]
        await io_manager.store("asset", first, None)
        results = await all_at_once(
            call
            for n in range(8)
            for call in (
                lambda n=n: io_manager.store("asset", self.values[n % 2], None),
                lambda: io_manager.load("asset", None),
            )
        )
        seen = [*results[1::2], await io_manager.load("asset", None)]
        assert results[::2] == [None] * 8, f"storing raised {results[::2]}"
        for value in seen:
            whole = same_value(value, first) or same_value(value, second)
            assert whole, f"{value!r} is none of the values stored"

    async def test_io14_a_cancelled_store_is_whole(self, io_manager: Any) -> None:
        old, new = self.values[:2]
        await io_manager.store("asset", old, None)
        async for cut in every_cut(lambda _: io_manager.store("asset", new, None)):
            found = await io_manager.load("asset", None)
            allowed = [new] if cut.completed else [old, new]
            whole = any(same_value(found, value) for value in allowed)
            assert whole, f"cut at {cut.step} it left {found!r}"
            await io_manager.store("asset", old, None)

    async def test_io14_a_cancelled_first_store_is_whole(self, io_manager: Any) -> None:
        value = self.values[0]
        async for cut in every_cut(lambda step: io_manager.store("asset", value, step)):
            if await io_manager.exists("asset", cut.step):
                found = await io_manager.load("asset", cut.step)
                assert same_value(found, value), f"cut at {cut.step} it left {found!r}"
            else:
                assert not cut.completed, "a call returned and nothing is stored"

    async def test_io14_a_cancelled_delete_is_whole(self, io_manager: Any) -> None:
        value = self.values[0]
        await io_manager.store("asset", value, None)
        async for cut in every_cut(lambda _: io_manager.delete("asset", None)):
            if await io_manager.exists("asset", None):
                assert not cut.completed, "a call returned and nothing was deleted"
                found = await io_manager.load("asset", None)
                assert same_value(found, value), f"cut at {cut.step} it left {found!r}"
            await io_manager.store("asset", value, None)

    async def test_io15_a_closed_manager_refuses_every_call(self, io_manager: Any) -> None:
        self.needs_closing()
        await io_manager.store("asset", self.values[0], "a")
        await io_manager.aclose()
        await io_manager.aclose()
        calls = self._calls(io_manager)
        if self.capabilities.list_partitions:
            calls.append(lambda: io_manager.list_partitions("asset"))
        for call in calls:
            with raising(StorageClosedError, "a call after aclose"):
                await call()

    async def test_io16_stored_partitions_are_listed(self, io_manager: Any) -> None:
        self.needs("list_partitions")
        for partition in (*_PARTITIONS, *_HOSTILE, "gone"):
            await io_manager.store("asset", self.values[0], partition)
            await io_manager.store("asset", self.values[1], partition)
        await io_manager.store("other", self.values[0], "elsewhere")
        await io_manager.delete("asset", "gone")
        listed = list(await io_manager.list_partitions("asset"))
        expected = [*_PARTITIONS, *_HOSTILE]
        for partition in expected:
            times = sum(same_value(partition, one) for one in listed)
            assert times == 1, f"{partition!r} is listed {times} times"
        assert len(listed) == len(expected), f"{len(expected)} were stored: {listed}"

    async def test_io16_an_asset_without_data_has_none(self, io_manager: Any) -> None:
        self.needs("list_partitions")
        await io_manager.store("asset", self.values[0], "a")
        await io_manager.delete("asset", "a")
        for name in ("asset", "other"):
            listed = list(await io_manager.list_partitions(name))
            assert listed == [], f"{name!r} has no data and lists {listed}"

    async def test_io17_capabilities_are_declared_as_they_are(self, io_manager: Any) -> None:
        declared = IOManagerCapabilities.of(io_manager)
        assert declared == self.capabilities, f"the manager declares {declared}"

    async def _tell_apart(self, io_manager: Any, places: Sequence[tuple[str, Partition]]) -> None:
        """Store in all *places* so often that any two of them hold different values once."""
        for bit in range(len(places).bit_length()):
            values = [self.values[number >> bit & 1] for number in range(len(places))]
            for (name, partition), value in zip(places, values, strict=True):
                await io_manager.store(name, value, partition)
            for (name, partition), value in zip(places, values, strict=True):
                found = await io_manager.load(name, partition)
                where = f"{partition!r} of {name!r}"
                assert same_value(found, value), f"something else took the place of {where}"

    def _calls(
        self, io_manager: Any, partition: Any = "a", **opts: Any
    ) -> list[Callable[[], Awaitable[object]]]:
        return [
            lambda: io_manager.load("asset", partition, **opts),
            lambda: io_manager.store("asset", self.values[0], partition, **opts),
            lambda: io_manager.exists("asset", partition, **opts),
            lambda: io_manager.delete("asset", partition, **opts),
        ]
