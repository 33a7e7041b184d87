"""The part of the kit of run stores that is about shared values."""
# ruff: noqa: D102 - the name of a test says what it proves

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio.lowlevel

from stageflow.contracts.shared_values import SharedValue, ValueChangedError
from stageflow.testing.conformance import all_at_once, every_cut, raising
from stageflow.testing.run_store_base import RunStoreKit

__all__ = ("SharedValuesConformance",)

# In the order of their UTF-8 bytes, which is neither that of UTF-16 nor that of any language.
_KEYS = (
    *("", "\0", " ", "%", "'; --", "10", "9", "A", "B", "_", "a", "a\0", "a%", "a/b", "aB", "a_b"),
    *("a_bc", "aab", "axb", "b", "é", "\ufb01", "\uffff", "\U0001f600"),
)


class SharedValuesConformance(RunStoreKit):
    """Tests how shared values are written, deleted and listed; part of the whole kit."""

    async def test_rs54_a_value_is_read_as_it_was_written_last(self, store: Any) -> None:
        self.needs("shared_values")
        assert await store.read_value("n", "k") is None, "there is a value that nobody wrote"
        for version, value in enumerate((b"", bytes(range(256)), b"x" * 70_000), start=1):
            written = await store.write_value("n", "k", value)
            found = await store.read_value("n", "k")
            assert isinstance(found, SharedValue), f"read a {type(found).__name__}"
            assert found == written, f"written as {written}, found as {found}"
            facts = (found.namespace, found.key, found.version, type(found.value))
            assert facts == ("n", "k", version, bytes), f"found {facts}"
            assert found.value == value, "it has other bytes"
            assert found.updated_at.utcoffset() == timedelta(0), f"{found.updated_at}: not UTC"

    async def test_rs55_a_write_obeys_what_it_expects(self, store: Any) -> None:
        self.needs("shared_values")
        for expected in (1, 7):
            async with _refused(store, "n", "k", expected):
                await store.write_value("n", "k", b"no", expected=expected)
        assert await store.read_value("n", "k") is None, "a refused write made a value"
        first = await store.write_value("n", "k", b"1", expected=0)
        assert first.version == 1, f"the first version is {first.version}"
        second = await store.write_value("n", "k", b"2", expected=1)
        assert second.version == 2, f"version {second.version} follows 1"
        for expected in (0, 1, 3):
            async with _refused(store, "n", "k", expected):
                await store.write_value("n", "k", b"no", expected=expected)

    async def test_rs55_of_many_that_expect_the_same_one_succeeds(self, store: Any) -> None:
        self.needs("shared_values")
        for expected in (0, 1):
            results = await all_at_once(
                lambda n=n, expected=expected: store.write_value(  # type: ignore[misc]
                    "n", "k", b"%d" % n, expected=expected
                )
                for n in range(10)
            )
            winners = [result for result in results if isinstance(result, SharedValue)]
            assert len(winners) == 1, f"{len(winners)} of 10 writes succeeded: {results}"
            losers = [result for result in results if result is not winners[0]]
            for error in losers:
                assert isinstance(error, ValueChangedError), f"a loser was told {error!r}"
                assert error.current == winners[0], f"a loser was shown {error.current}"
            assert await store.read_value("n", "k") == winners[0], "what is there is no winner's"

    async def test_rs55_counting_loses_nothing(self, store: Any) -> None:
        self.needs("shared_values")

        async def count() -> None:
            while True:
                now = await store.read_value("n", "k")
                value, version = (int(now.value), now.version) if now else (0, 0)
                try:
                    await store.write_value("n", "k", b"%d" % (value + 1), expected=version)
                except ValueChangedError:
                    continue
                return

        await all_at_once([count] * 8)
        found = await store.read_value("n", "k")
        assert (found.value, found.version) == (b"8", 8), f"8 tasks counted to {found.value}"

    async def test_rs56_a_write_that_expects_nothing_succeeds(self, store: Any) -> None:
        self.needs("shared_values")
        results = await all_at_once(
            lambda n=n: store.write_value("n", "k", b"%d" % n)  # type: ignore[misc]
            for n in range(10)
        )
        versions = [getattr(result, "version", result) for result in results]
        assert sorted(versions) == list(range(1, 11)), f"10 writes made the versions {versions}"
        found = await store.read_value("n", "k")
        assert found == max(results, key=lambda each: each.version), f"the last is not {found}"

    async def test_rs57_writes_of_one_call_happen_together(self, store: Any) -> None:
        self.needs("shared_values")
        await store.write_value("n", "b", b"old")
        assert list(await store.write_values("n", [])) == [], "nothing was written as something"
        written = await store.write_values("n", [("c", b"3", 0), ("b", b"2", 1), ("a", b"1", None)])
        found = [(each.key, each.value, each.version) for each in written]
        assert found == [("c", b"3", 1), ("b", b"2", 2), ("a", b"1", 1)], f"written {found}"
        listed = list(await store.list_values("n"))
        assert listed == sorted(written, key=lambda each: each.key), f"listed {listed}"
        for bad in (0, 1, 2):
            values = [("a", b"no", 1), ("b", b"no", 2), ("d", b"no", 0)]
            values[bad] = (values[bad][0], b"no", 7)
            async with _refused(store, "n", values[bad][0], 7):
                await store.write_values("n", values)
            found = list(await store.list_values("n"))
            assert found == listed, f"a refused call changed {listed} to {found}"

    async def test_rs57_cancelled_writes_are_whole(self, store: Any) -> None:
        self.needs("shared_values")
        before: list[int] = [1, 1, 1]

        def write(step: int) -> Any:
            return store.write_values("n", [(key, b"%d" % step, None) for key in "abc"])

        await write(0)
        async for cut in every_cut(write):
            found = [each.version for each in await store.list_values("n")]
            after = [version + 1 for version in before]
            allowed = [after] if cut.completed else [before, after]
            assert found in allowed, f"cut at {cut.step}, {before} became {found}"
            before = found

    async def test_rs57_writes_of_calls_at_once_do_not_mix(self, store: Any) -> None:
        self.needs("shared_values")
        seen: list[Sequence[SharedValue]] = []

        async def write(n: int) -> None:
            keys = "abcd" if n % 2 else "dcba"
            await store.write_values("n", [(key, b"%d" % n, None) for key in keys])

        async def look(_: int) -> None:
            for _ in range(8):
                seen.append(await store.list_values("n"))
                await anyio.lowlevel.checkpoint()

        results = await all_at_once(
            lambda call=call, n=n: call(n)  # type: ignore[misc]
            for n in range(8)
            for call in (write, look)
        )
        assert results == [None] * 16, f"raised {results}"
        for listed in seen:
            mixed = {(each.value, each.version) for each in listed}
            assert len(mixed) <= 1, f"of several calls were seen {mixed}"

    async def test_rs58_a_deletion_obeys_what_it_expects(self, store: Any) -> None:
        self.needs("shared_values")
        answers = [
            await store.delete_value("n", "k"),
            await store.delete_value("n", "k", expected=0),
        ]
        assert answers == [False, False], f"deleting nothing was answered with {answers}"
        async with _refused(store, "n", "k", 1):
            await store.delete_value("n", "k", expected=1)
        await store.write_value("n", "k", b"1")
        await store.write_value("n", "k", b"2")
        await store.write_value("n", "other", b"1")
        for expected in (0, 1, 3):
            async with _refused(store, "n", "k", expected):
                await store.delete_value("n", "k", expected=expected)
        assert await store.delete_value("n", "k", expected=2) is True, "it was not there"
        assert await store.read_value("n", "k") is None, "a deleted value is read"
        listed = [each.key for each in await store.list_values("n")]
        assert listed == ["other"], f"after the deletion are listed {listed}"
        assert await store.delete_value("n", "k") is False, "it was deleted twice"

    async def test_rs58_a_version_never_comes_back(self, store: Any) -> None:
        self.needs("shared_values")
        await store.write_value("n", "k", b"1")
        last = await store.write_value("n", "k", b"2")
        for expected in (0, None):
            await store.delete_value("n", "k")
            written = await store.write_value("n", "k", b"new", expected=expected)
            assert written.version > last.version, f"{written.version} follows {last.version}"
            async with _refused(store, "n", "k", last.version):
                await store.write_value("n", "k", b"no", expected=last.version)
            last = written
        await store.delete_value("n", "k", expected=last.version)
        (written,) = await store.write_values("n", [("k", b"new", 0)])
        assert written.version > last.version, f"{written.version} follows {last.version}"

    async def test_rs58_one_of_many_at_once_deletes(self, store: Any) -> None:
        self.needs("shared_values")
        await store.write_value("n", "k", b"1")
        answers = await all_at_once([lambda: store.delete_value("n", "k")] * 6)
        assert sorted(answers) == [False] * 5 + [True], f"deleting at once: {answers}"

    async def test_rs59_values_are_listed_by_key(self, store: Any) -> None:
        self.needs("shared_values")
        await self._fill(store)
        listed = [each.key for each in await store.list_values("n")]
        assert listed == list(_KEYS), f"listed {listed}"
        prefixes = ("a", "a_", "a%", "%", "_", "A", "a/", "é", "\uffff", "\0", "zz", "'", "\\")
        for prefix in prefixes:
            wanted = [key for key in _KEYS if key.startswith(prefix)]
            found = [each.key for each in await store.list_values("n", prefix=prefix)]
            assert found == wanted, f"beginning with {prefix!r}: {found}, not {wanted}"

    async def test_rs59_pages_show_each_value_once(self, store: Any) -> None:
        self.needs("shared_values")
        await self._fill(store)
        for prefix in ("", "a"):
            wanted = [key for key in _KEYS if key.startswith(prefix)]
            for size in (1, 2, 5, len(wanted), len(wanted) + 1):
                seen: list[str] = []
                for _ in range(len(wanted) + 1):
                    page = await store.list_values(
                        "n", prefix=prefix, after=seen[-1] if seen else None, limit=size
                    )
                    assert len(page) <= size, f"a page of {size} has {len(page)} values"
                    seen += [each.key for each in page]
                    if not page:
                        break
                assert seen == wanted, f"in pages of {size}, beginning with {prefix!r}: {seen}"
        found = [each.key for each in await store.list_values("n", prefix="a", after="a0")]
        wanted = [key for key in _KEYS if key.startswith("a") and key.encode() > b"a0"]
        assert found == wanted, f"after a key that is not there: {found}, not {wanted}"
        found = [each.key for each in await store.list_values("n", prefix="b", after="a")]
        assert found == ["b"], f"beginning with b, after a: {found}"

    async def test_rs60_namespaces_are_apart(self, store: Any) -> None:
        self.needs("shared_values")
        places = [("a", "b/c"), ("a/b", "c"), ("a", "bc"), ("ab", "c"), ("A", "b/c"), ("", "")]
        places += [("%", "c"), ("a", ""), ("", "a"), ("a\0b", "c"), ("a", "\0b")]
        for number, (namespace, key) in enumerate(places):
            written = await store.write_value(namespace, key, b"%d" % number, expected=0)
            assert written.version == 1, f"{key!r} of {namespace!r} was there before"
        for number, (namespace, key) in enumerate(places):
            found = await store.read_value(namespace, key)
            facts = found and (found.namespace, found.key, found.value)
            assert facts == (namespace, key, b"%d" % number), f"found {facts} there"
        for namespace in {namespace for namespace, _ in places}:
            listed = [each.key for each in await store.list_values(namespace)]
            wanted = sorted(key for its, key in places if its == namespace)
            assert listed == wanted, f"{namespace!r} lists {listed}, not {wanted}"
        await store.delete_value("a", "b/c")
        assert await store.read_value("A", "b/c") is not None, "another namespace lost its value"

    async def _fill(self, store: Any) -> None:
        """Write a value for each key, in another order, and some that are in the way."""
        for key in sorted(_KEYS, key=lambda key: key[::-1]):
            await store.write_value("n", key, b"1")
        await store.write_value("n2", "a", b"1")
        await store.write_value("n", "gone", b"1")
        await store.delete_value("n", "gone")


@asynccontextmanager
async def _refused(store: Any, namespace: str, key: str, expected: int) -> AsyncIterator[None]:
    """Fail unless the block is refused for what it expects, and told what there is."""
    before = await store.read_value(namespace, key)
    with raising(ValueChangedError, f"expecting version {expected} of {before}"):
        try:
            yield
        except ValueChangedError as error:
            told = (error.namespace, error.key, error.expected, error.current)
            assert told == (namespace, key, expected, before), f"the error tells {told}"
            raise
    after = await store.read_value(namespace, key)
    assert after == before, f"the refused call changed {before} to {after}"
