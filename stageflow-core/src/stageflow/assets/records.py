"""Records: what was materialized when and from what, who is at it now, and why it failed.

There is one shared value of the run store for each partition of an asset. It is changed by
compare and set alone, so that of two runs only one can be at a partition, and a run that was
taken for dead cannot record what another one has made meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from stageflow.codec import Codec
from stageflow.contracts.partitions import escape_segment
from stageflow.contracts.shared_values import SharedValue, SharedValues

__all__ = ("AssetClaim", "AssetEntry", "AssetFailure", "AssetRecord", "AssetRecords")

NAMESPACE: Final = "assets"
_FORMAT: Final = 1
_PAGE: Final = 1000
_MOST_VERSIONS: Final = 16


@attrs.frozen(kw_only=True)
class AssetRecord:
    """One materialization.

    Attributes:
        run_id: The run that made it.
        at: When its data were there, in UTC.
        asset_version: The version that the asset had.
        data_version: Names the state of the data; another one for each materialization, unless
            the asset gave the same again.
        upstream: The data versions that it was made from: by asset, then by partition key; of
            many partitions one digest under `*`.
        io_manager: Where the data lie.
        serializer: How they are written, if the asset says so.
        duration_ms: How long it took.
        metadata: What the asset's function said of it.
    """

    run_id: str
    at: datetime
    asset_version: str | None
    data_version: str
    upstream: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict, hash=False)
    io_manager: str = ""
    serializer: str | None = None
    duration_ms: float = 0.0
    metadata: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class AssetClaim:
    """A run that is at it.

    Attributes:
        run_id: The run.
        since: When it began.
        lease: For how many seconds after its last sign the run is taken for alive.
    """

    run_id: str
    since: datetime
    lease: float


@attrs.frozen(kw_only=True)
class AssetFailure:
    """The last attempt to make it, which failed.

    Attributes:
        run_id: The run.
        at: When.
        error: What went wrong.
        error_code: The stable code of the error, if it has one.
    """

    run_id: str
    at: datetime
    error: str
    error_code: str | None = None


@attrs.frozen(kw_only=True)
class AssetEntry:
    """All that is recorded of one partition of an asset.

    Attributes:
        version: Of the shared value; 0 if there is none.
        updated_at: When it was written last.
        record: The last materialization.
        claim: Who is at it.
        failure: Why it failed, if it did after that.
        work: Names what has been begun of the next one and is not done: whoever goes on with it
            finds by that name what scatters and routers have come to.
    """

    version: int = 0
    updated_at: datetime | None = None
    record: AssetRecord | None = None
    claim: AssetClaim | None = None
    failure: AssetFailure | None = None
    work: str | None = None

    def is_running(self, now: datetime) -> bool:
        """Whether a run is at it that has given a sign of life lately."""
        if self.claim is None or self.updated_at is None:
            return False
        return now < self.updated_at + timedelta(seconds=self.claim.lease)

    @property
    def trusted(self) -> AssetRecord | None:
        """The last materialization, if nobody may have changed the data since."""
        return self.record if self.claim is None else None


class AssetRecords:
    """The records of assets in a run store.

    Args:
        values: The run store.
        codec: What records are encoded with.
    """

    def __init__(self, values: SharedValues, *, codec: Codec | None = None) -> None:
        self._values = values
        self._codec = codec or Codec.default()

    async def read(self, asset: str, key: str) -> AssetEntry:
        """Return what is recorded; an empty entry if nothing is."""
        return self._entry(await self._values.read_value(NAMESPACE, _place(asset, key)))

    async def read_many(self, asset: str, keys: Sequence[str]) -> dict[str, AssetEntry]:
        """Return what is recorded of several partitions, by key, in few calls."""
        if len(keys) <= 2:
            return {key: await self.read(asset, key) for key in keys}
        prefix = _place(asset, "")
        wanted = dict.fromkeys(sorted(keys, key=str.encode))
        found: dict[str, AssetEntry] = dict.fromkeys(wanted, AssetEntry())
        left = list(reversed(wanted))
        after: str | None = None
        while left:
            # A page from the next key on holds many of those wanted, or says that none is there.
            after = max(after or "", _before(prefix + left[-1]), key=str.encode)
            limit = min(_PAGE, 2 * len(left) + 8)
            page = await self._values.list_values(
                NAMESPACE, prefix=prefix, after=after, limit=limit
            )
            for each in page:
                key = each.key[len(prefix) :]
                if key in found:
                    found[key] = self._entry(each)
            if len(page) < limit:
                break
            after = page[-1].key
            reached = after[len(prefix) :].encode()
            while left and left[-1].encode() <= reached:
                left.pop()
        return found

    async def write(self, asset: str, key: str, entry: AssetEntry) -> AssetEntry:
        """Write *entry* where its version is still the one there; return it as it is then.

        Raises:
            ValueChangedError: Somebody has written meanwhile.
        """
        payload = self._codec.encode(_plain(entry), where=f"the record of {asset}")
        written = await self._values.write_value(
            NAMESPACE, _place(asset, key), payload, expected=entry.version
        )
        return attrs.evolve(entry, version=written.version, updated_at=written.updated_at)

    async def forget(self, asset: str, key: str, entry: AssetEntry) -> bool:
        """Forget a partition, if *entry* is still what is recorded; return whether it was there.

        Raises:
            ValueChangedError: Somebody has written meanwhile.
        """
        if entry.version == 0:
            return False
        place = _place(asset, key)
        return await self._values.delete_value(NAMESPACE, place, expected=entry.version)

    def _entry(self, shared: SharedValue | None) -> AssetEntry:
        if shared is None:
            return AssetEntry()
        plain = self._codec.decode(shared.value)
        kinds = {"record": AssetRecord, "claim": AssetClaim, "failure": AssetFailure}
        parts = {name: kind(**plain[name]) for name, kind in kinds.items() if plain.get(name)}
        return AssetEntry(
            version=shared.version,
            updated_at=shared.updated_at,
            work=plain.get("work"),
            **parts,
        )


def fold_versions(versions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return data versions by partition key; a digest of them if they are many."""
    pairs = sorted(versions)
    if len(pairs) <= _MOST_VERSIONS:
        return dict(pairs)
    digest = hashlib.sha256()
    for key, version in pairs:
        digest.update(f"{key}\0{version}\0".encode())
    return {"*": f"{len(pairs)}:{digest.hexdigest()}"}


def _place(asset: str, key: str) -> str:
    # No escaped name and no key has a slash.
    return f"{escape_segment(asset)}/{key}"


def _before(place: str) -> str:
    """Return a text that only few places come after and before *place*; keys are ASCII."""
    return f"{place[:-1]}{chr(ord(place[-1]) - 1)}\x7f" if place else ""


def _plain(entry: AssetEntry) -> dict[str, Any]:
    parts = {"record": entry.record, "claim": entry.claim, "failure": entry.failure}
    plain: dict[str, Any] = {
        name: attrs.asdict(part, recurse=False) for name, part in parts.items() if part is not None
    }
    if entry.work is not None:
        plain["work"] = entry.work
    return {"format": _FORMAT, **plain}
