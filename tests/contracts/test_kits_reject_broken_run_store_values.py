"""The kit of run stores notices each broken clause about shared values.

The first clause that a broken store names is the one it is about. Where it names more, the
others cannot be kept without the first.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import anyio
import anyio.lowlevel
import attrs
import pytest

from stageflow.builtin.memory_run_store import MemoryRunStore
from stageflow.contracts.shared_values import SharedValues, ValueChangedError
from stageflow.testing.conformance import clauses_of
from support.broken_run_stores import failures_of, named_clauses

pytestmark = pytest.mark.anyio


class TakesValuesForText(MemoryRunStore):
    """RS-54"""

    async def write_values(self, namespace, values):
        texts = [(k, value.decode(errors="replace").encode(), e) for k, value, e in values]
        return await super().write_values(namespace, texts)


class GivesNaiveTimes(MemoryRunStore):
    """RS-54"""

    async def read_value(self, namespace, key):
        found = await super().read_value(namespace, key)
        return found and attrs.evolve(found, updated_at=found.updated_at.replace(tzinfo=None))

    async def write_values(self, namespace, values):
        try:
            written = await super().write_values(namespace, values)
        except ValueChangedError as error:
            now = await self.read_value(namespace, error.key)
            raise ValueChangedError(namespace, error.key, error.expected, now) from None
        return [
            attrs.evolve(value, updated_at=value.updated_at.replace(tzinfo=None))
            for value in written
        ]

    async def list_values(self, namespace, **given):
        listed = await super().list_values(namespace, **given)
        return [
            attrs.evolve(value, updated_at=value.updated_at.replace(tzinfo=None))
            for value in listed
        ]

    async def delete_value(self, namespace, key, **given):
        try:
            return await super().delete_value(namespace, key, **given)
        except ValueChangedError as error:
            now = await self.read_value(namespace, error.key)
            raise ValueChangedError(namespace, error.key, error.expected, now) from None


class ComparesTooEarly(MemoryRunStore):
    """RS-55"""

    async def write_value(self, namespace, key, value, *, expected=None):
        current = await self.read_value(namespace, key)
        if expected == (current.version if current else 0):
            await anyio.lowlevel.checkpoint()
            expected = None
        return await super().write_value(namespace, key, value, expected=expected)


class TakesNoneForAny(MemoryRunStore):
    """RS-55"""

    async def write_value(self, namespace, key, value, *, expected=None):
        return await super().write_value(namespace, key, value, expected=expected or None)


class TakesOlderVersions(MemoryRunStore):
    """RS-55"""

    async def write_value(self, namespace, key, value, *, expected=None):
        current = await self.read_value(namespace, key)
        if expected and current is not None and expected > current.version:
            expected = None
        return await super().write_value(namespace, key, value, expected=expected)


class ShowsNoCurrentValue(MemoryRunStore):
    """RS-55, RS-58"""

    async def write_value(self, namespace, key, value, *, expected=None):
        try:
            return await super().write_value(namespace, key, value, expected=expected)
        except ValueChangedError as error:
            raise ValueChangedError(namespace, key, error.expected, None) from None


class CountsInTwoSteps(MemoryRunStore):
    """RS-56"""

    async def write_value(self, namespace, key, value, *, expected=None):
        before = await self.read_value(namespace, key)
        written = await super().write_value(namespace, key, value, expected=expected)
        if expected is None and before is None:
            await anyio.lowlevel.checkpoint()
            self._namespaces[namespace].values[key] = written
        return written


class CountsInStepsOfTwo(MemoryRunStore):
    """RS-56, RS-54, RS-55, RS-57, RS-58"""

    async def write_values(self, namespace, values):
        written = []
        for value in await super().write_values(namespace, values):
            doubled = attrs.evolve(value, version=value.version + (value.version > 1))
            self._namespaces[namespace].put(doubled)
            written.append(doubled)
        return written


class WritesOneByOne(MemoryRunStore):
    """RS-57"""

    async def write_values(self, namespace, values):
        written = []
        for value in values:
            if len(values) > 1:
                await anyio.lowlevel.checkpoint()
            written += await super().write_values(namespace, [value])
        return written


class StopsAtTheFirstMismatch(MemoryRunStore):
    """RS-57"""

    async def write_values(self, namespace, values):
        written = []
        for value in values:
            written += await super().write_values(namespace, [value])
        return written


class ShowsWritesInPieces(MemoryRunStore):
    """RS-57"""

    async def write_values(self, namespace, values):
        if any(expected is not None for _, _, expected in values) or len(values) < 2:
            return await super().write_values(namespace, values)
        written = []
        with anyio.CancelScope(shield=True):
            for value in values:
                written += await super().write_values(namespace, [value])
                await anyio.lowlevel.checkpoint()
        return written


class CountsAnewAfterDeletion(MemoryRunStore):
    """RS-58"""

    async def delete_value(self, namespace, key, **given):
        deleted = await super().delete_value(namespace, key, **given)
        self._namespaces[namespace].last_versions.pop(key, None)
        return deleted


class DeletesWhateverIsExpected(MemoryRunStore):
    """RS-58"""

    async def delete_value(self, namespace, key, *, expected=None):
        return await super().delete_value(namespace, key)


class AlwaysSaysDeleted(MemoryRunStore):
    """RS-58"""

    async def delete_value(self, namespace, key, **given):
        await super().delete_value(namespace, key, **given)
        return True


class DeletesInTwoSteps(MemoryRunStore):
    """RS-58"""

    async def delete_value(self, namespace, key, *, expected=None):
        found = await self.read_value(namespace, key)
        await anyio.lowlevel.checkpoint()
        await super().delete_value(namespace, key, expected=expected)
        return found is not None


class TakesPrefixesForPatterns(MemoryRunStore):
    """RS-59"""

    async def list_values(self, namespace, *, prefix="", after=None, limit=1000):
        pattern = f"{prefix}*".replace("%", "*").replace("_", "?")
        listed = await super().list_values(namespace, after=after)
        return [value for value in listed if fnmatchcase(value.key, pattern)][:limit]


class IgnoresTheCaseOfPrefixes(MemoryRunStore):
    """RS-59"""

    async def list_values(self, namespace, *, prefix="", after=None, limit=1000):
        listed = await super().list_values(namespace, after=after)
        wanted = prefix.casefold()
        return [value for value in listed if value.key.casefold().startswith(wanted)][:limit]


class SortsAsUtf16(MemoryRunStore):
    """RS-59"""

    async def list_values(self, namespace, **given):
        listed = await super().list_values(namespace, **given)
        return sorted(listed, key=lambda value: value.key.encode("utf-16-be"))


class EndsAPrefixAtTheLastCharacter(MemoryRunStore):
    """RS-59"""

    async def list_values(self, namespace, *, prefix="", after=None, limit=1000):
        listed = await super().list_values(namespace, after=after)
        return [value for value in listed if prefix <= value.key < f"{prefix}\uffff"][:limit]


class RepeatsTheLastOfThePage(MemoryRunStore):
    """RS-59"""

    async def list_values(self, namespace, *, after=None, limit=1000, **given):
        listed = await super().list_values(namespace, after=after, limit=limit, **given)
        last = None if after is None else await self.read_value(namespace, after)
        return listed if last is None else (last, *listed)[:limit]


class JoinsNamespaceAndKey(MemoryRunStore):
    """RS-60"""

    def _place(self, namespace, key):
        return ("a", "b/c") if f"{namespace}/{key}" == "a/b/c" else (namespace, key)

    async def read_value(self, namespace, key):
        return await super().read_value(*self._place(namespace, key))

    async def write_value(self, namespace, key, value, **given):
        return await super().write_value(*self._place(namespace, key), value, **given)


class KnowsNoCaseOfNamespaces(MemoryRunStore):
    """RS-60"""

    async def read_value(self, namespace, key):
        return await super().read_value(namespace.lower(), key)

    async def write_values(self, namespace, values):
        return await super().write_values(namespace.lower(), values)


class HasNoEmptyKey(MemoryRunStore):
    """RS-60, RS-59"""

    async def write_values(self, namespace, values):
        if any(key == "" for key, _, _ in values):
            raise ValueError("a key must not be empty")
        return await super().write_values(namespace, values)


BROKEN = [
    store
    for store in list(globals().values())
    if isinstance(store, type) and issubclass(store, MemoryRunStore)
    if (store.__doc__ or "").startswith("RS-")
]


def test_every_clause_has_a_broken_store():
    assert named_clauses(BROKEN) == clauses_of(SharedValues).keys()


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_store_fails_exactly_its_clause(broken):
    failures = await failures_of(broken)
    assert set(failures) == set(broken.__doc__.split(", ")), failures
