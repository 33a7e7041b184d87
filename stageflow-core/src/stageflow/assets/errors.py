"""What can be wrong with assets: with their definition, with what is asked of them, with a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from stageflow._engine.errors import describe
from stageflow.errors import (
    ConfigurationError,
    ContractErrorInfo,
    DefinitionError,
    RunError,
    StageflowError,
    did_you_mean,
)

__all__ = (
    "AssetDefinitionError",
    "AssetFailedError",
    "AssetNotReadyError",
    "AssetRecordsError",
    "AssetResourceError",
    "AssetRunError",
    "AssetRunningError",
    "BackfillFailedError",
    "ClaimLostError",
    "PartitionsError",
    "UnknownAssetError",
    "UnknownPartitionError",
    "UpstreamNotReadyError",
)

DOCS: Final = "docs/reference/errors.md"
_MOST_SHOWN: Final = 10

#: An asset has a name that is none, or that another one has.
NAME_FAULT: Final = "SF701"
#: An asset depends on an asset that is not there.
DEPENDENCY_FAULT: Final = "SF702"
#: Assets depend on each other in a circle.
CYCLE_FAULT: Final = "SF703"
#: Partitions of an asset and of one that it depends on do not go together.
PARTITIONS_FAULT: Final = "SF704"
#: A function has a parameter that can stand for no asset.
PARAMETER_FAULT: Final = "SF705"
#: An option of an asset has a value that it cannot have.
OPTION_FAULT: Final = "SF706"


class AssetDefinitionError(DefinitionError):
    """Assets were declared wrongly; every fault of the declaration is in here.

    Attributes:
        faults: All faults, each with a code of its own.
    """

    code = "SF700"

    def __init__(self, faults: Iterable[ContractErrorInfo]) -> None:
        self.faults = tuple(faults)
        first = self.faults[0]
        if len(self.faults) == 1:
            super().__init__(first.summary, hint=first.fix_hint or "")
        else:
            lines = [f"  {number}. {each}" for number, each in enumerate(self.faults, 1)]
            more = len(lines) - _MOST_SHOWN
            shown = lines[:_MOST_SHOWN] + ([f"  … and {more} more."] if more > 0 else [])
            super().__init__("\n".join([f"The assets have {len(lines)} faults:", *shown]))
        self.code = first.code


class PartitionsError(DefinitionError, ValueError):
    """Partitions were defined in a way that gives none, or no end of them."""

    code = "SF710"


class AssetRunError(RunError):
    """Something is wrong with what was asked of an asset."""

    code = "SF720"


class UnknownAssetError(AssetRunError, LookupError):
    """There is no asset of this name.

    Attributes:
        asset: The name.
    """

    code = "SF721"

    def __init__(self, asset: str, known: Sequence[str] = ()) -> None:
        super().__init__(f"There is no asset {asset!r}.", hint=did_you_mean(asset, known))
        self.asset = asset


class UnknownPartitionError(AssetRunError, LookupError):
    """An asset has no such partition.

    Attributes:
        asset: The asset; empty if the partitions were asked by themselves.
        partition: What was asked for.
        why: Why it is none.
    """

    code = "SF722"

    def __init__(self, asset: str, partition: object, why: str, *, hint: str = "") -> None:
        whose = f"Asset {asset!r}" if asset else "The definition"
        super().__init__(f"{whose} has no partition {partition!r:.100}: {why}.", hint=hint)
        self.asset = asset
        self.partition = partition
        self.why = why


class AssetNotReadyError(AssetRunError):
    """An asset was to be read that is not there, or whose data do not match its record.

    Attributes:
        asset: The asset.
        partition: The partition.
    """

    code = "SF723"

    def __init__(self, asset: str, partition: object, why: str) -> None:
        super().__init__(
            f"{_named(asset, partition)} cannot be read: {why}.", hint="Materialize it first."
        )
        self.asset = asset
        self.partition = partition


class UpstreamNotReadyError(AssetRunError):
    """What an asset needs is not fresh, and was not to be materialized with it.

    Attributes:
        asset: The asset.
        partition: The partition.
        missing: Each upstream partition that is not fresh, and why.
    """

    code = "SF724"

    def __init__(self, asset: str, partition: object, missing: Sequence[str]) -> None:
        shown = "; ".join(missing[:_MOST_SHOWN])
        more = len(missing) - _MOST_SHOWN
        super().__init__(
            f"{_named(asset, partition)} needs what is not fresh: {shown}"
            + (f"; and {more} more." if more > 0 else "."),
            hint="Materialize those first, or this one with_deps=True.",
        )
        self.asset = asset
        self.partition = partition
        self.missing = tuple(missing)


class AssetRunningError(AssetRunError):
    """Another run materializes the same partition right now.

    Attributes:
        asset: The asset.
        partition: The partition.
        run_id: The other run.
    """

    code = "SF725"

    def __init__(self, asset: str, partition: object, run_id: str) -> None:
        super().__init__(
            f"{_named(asset, partition)} is being materialized by run {run_id}.",
            hint="Wait for it: with on_running='wait', what it makes is used.",
        )
        self.asset = asset
        self.partition = partition
        self.run_id = run_id


class ClaimLostError(AssetRunError):
    """A run was away for so long that another one took its partition over; its result is void.

    Attributes:
        asset: The asset.
        partition: The partition.
    """

    code = "SF726"

    def __init__(self, asset: str, partition: object) -> None:
        super().__init__(
            f"{_named(asset, partition)} was taken over by another run meanwhile.",
            hint="Raise `lease` if assets block the event loop for long; then look at its status.",
        )
        self.asset = asset
        self.partition = partition


class AssetFailedError(AssetRunError):
    """An asset could not be materialized.

    Attributes:
        asset: The asset that failed, perhaps one that was needed on the way.
        partition: Its partition.
        stage: Both together, as the run calls them.
        original: What went wrong.
        run_id: The run, under which its record is found.
    """

    code = "SF727"

    def __init__(
        self,
        asset: str,
        partition: object,
        original: BaseException,
        run_id: str,
        *,
        stage: str = "",
    ) -> None:
        told = describe(original)
        if isinstance(original, StageflowError):
            # Its code says more than its class, and its hint is this one's.
            told = f"[{original.code}] {original.message}"
        super().__init__(
            f"{_named(asset, partition)} failed in run {run_id}: {told}",
            hint=getattr(original, "hint", "") or "Mend the cause and materialize it again.",
        )
        self.asset = asset
        self.partition = partition
        self.stage = stage or asset
        self.original = original
        self.run_id = run_id


class BackfillFailedError(AssetRunError):
    """Some partitions of a backfill could not be materialized.

    Attributes:
        asset: The asset.
        failed: How many failed.
        total: How many were asked for.
    """

    code = "SF728"

    def __init__(self, asset: str, failed: int, total: int, first: str = "") -> None:
        super().__init__(
            f"{failed:,} of {total:,} partitions of asset {asset!r} failed."
            + (f" The first: {first}" if first else ""),
            hint="Mend the cause and start it again: what is there is not made again.",
        )
        self.asset = asset
        self.failed = failed
        self.total = total


class AssetRecordsError(ConfigurationError):
    """The run store cannot keep the records of assets."""

    code = "SF740"

    def __init__(self, store: str) -> None:
        super().__init__(
            f"The run store {store} keeps no shared values, which the records of assets are.",
            hint="Choose one with the capability `shared_values`, such as memory or sqlite.",
        )
        self.store = store


class AssetResourceError(ConfigurationError):
    """Assets name resources that the runtime has not opened.

    Attributes:
        missing: Their names.
    """

    code = "SF741"

    def __init__(self, missing: Sequence[str], known: Sequence[str] = ()) -> None:
        named = ", ".join(map(repr, missing))
        hint = did_you_mean(missing[0], known) if missing and known else ""
        super().__init__(
            f"Assets need resources that are not open: {named}.",
            hint=f"Configure them, or give them to the Runtime. {hint}".rstrip(),
        )
        self.missing = tuple(missing)


def _named(asset: str, partition: object) -> str:
    return f"Asset {asset!r}" if partition is None else f"Partition {partition} of asset {asset!r}"
