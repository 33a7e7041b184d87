"""What can go wrong where an asset is made of many: items, branches, and ways to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stageflow.assets.errors import AssetRunError
from stageflow.errors import did_you_mean

if TYPE_CHECKING:
    from stageflow.contracts.scatter_coordinator import BarrierState

__all__ = (
    "BatchResultError",
    "BranchTimeoutError",
    "GatherError",
    "ItemFailedError",
    "ItemTimeoutError",
    "ParallelFailedError",
    "RouteError",
    "ScatterFailedError",
    "UpstreamFailedError",
)

_MOST_SHOWN = 3


class ScatterFailedError(AssetRunError):
    """More items of a scatter failed than may.

    Attributes:
        asset: The asset.
        state: The counts of its items.
        errors: What the first of the failures said, by key.
    """

    code = "SF750"

    def __init__(
        self, asset: str, state: BarrierState, errors: Sequence[tuple[Any, str]] = ()
    ) -> None:
        shown = "; ".join(f"{key!r:.60}: {error:.200}" for key, error in errors[:_MOST_SHOWN])
        super().__init__(
            f"{state.failed:,} of {state.total:,} items of asset {asset!r} failed"
            + (f": {shown}." if shown else "."),
            hint="Mend the cause and materialize it again: items that are done are not done again.",
        )
        self.asset = asset
        self.state = state
        self.errors = tuple(errors)


class GatherError(AssetRunError):
    """The results of a scatter cannot be put together the way it does unless told otherwise.

    Attributes:
        asset: The asset.
        key: The first key that cannot be one of a dictionary.
    """

    code = "SF751"

    def __init__(self, asset: str, key: Any) -> None:
        super().__init__(
            f"The results of asset {asset!r} make no dictionary: {key!r:.100} is no key of one.",
            hint="Give the scatter a function as `gather`, or as `fold`.",
        )
        self.asset = asset
        self.key = key


class BatchResultError(AssetRunError):
    """The function of a scatter did not give one result for each item of a batch.

    Attributes:
        asset: The asset.
        given: How many results there were; None if they were no list at all.
        wanted: How many items there were.
    """

    code = "SF752"

    def __init__(self, asset: str, given: int | None, wanted: int) -> None:
        told = "no list" if given is None else f"{given} results"
        super().__init__(
            f"The function of asset {asset!r} returned {told} for a batch of {wanted} items.",
            hint="Return a list with one result for each item, in their order, or None.",
        )
        self.asset = asset
        self.given = given
        self.wanted = wanted


class ItemTimeoutError(AssetRunError, TimeoutError):
    """An item, or a batch of items, took too long.

    Attributes:
        timeout: The time allowed, in seconds.
    """

    code = "SF753"

    def __init__(self, asset: str, timeout: float) -> None:
        super().__init__(
            f"An item of asset {asset!r} has taken longer than {timeout:g} s.",
            hint="Allow items more time (`item_timeout`), or have them do less.",
        )
        self.asset = asset
        self.timeout = timeout


class ItemFailedError(AssetRunError):
    """One item of a batch failed, as the function said of it.

    Attributes:
        reason: What the function said.
    """

    code = "SF754"

    def __init__(self, reason: str) -> None:
        super().__init__(reason, hint="The function of the scatter gave this as an ItemFailure.")
        self.reason = reason


class ParallelFailedError(AssetRunError):
    """A branch failed without which a parallel asset cannot be made.

    Attributes:
        asset: The asset.
        branch: The branch.
        error: Why it failed.
    """

    code = "SF755"

    def __init__(self, asset: str, branch: str, error: str) -> None:
        super().__init__(
            f"Branch {branch!r} of asset {asset!r} failed: {error}",
            hint="Mend the cause and materialize it again, or declare the branch optional.",
        )
        self.asset = asset
        self.branch = branch
        self.error = error


class BranchTimeoutError(AssetRunError, TimeoutError):
    """A branch, or all branches together, took too long.

    Attributes:
        asset: The parallel asset.
        branch: The branch whose time was over; empty if it was the time of all.
        timeout: The time allowed, in seconds.
    """

    code = "SF756"

    def __init__(self, asset: str, branch: str, timeout: float) -> None:
        what = f"Branch {branch!r}" if branch else "The branches"
        super().__init__(
            f"{what} of asset {asset!r} took longer than {timeout:g} s.",
            hint="Allow more time, or declare the branch optional.",
        )
        self.asset = asset
        self.branch = branch
        self.timeout = timeout


class RouteError(AssetRunError):
    """A router chose what is none of its branches.

    Attributes:
        asset: The router.
        route: What it chose.
    """

    code = "SF757"

    def __init__(self, asset: str, route: Any, branches: Sequence[str]) -> None:
        hint = "Return the key of a branch, or None for none."
        if isinstance(route, str):
            hint = did_you_mean(route, branches) or hint
        super().__init__(
            f"Router {asset!r} chose {route!r:.100}, which is none of its branches.", hint=hint
        )
        self.asset = asset
        self.route = route


class UpstreamFailedError(AssetRunError):
    """What an asset is made from failed, which only the branches of a parallel asset survive.

    Attributes:
        asset: What failed.
        error: Why.
    """

    code = "SF758"

    def __init__(self, asset: str, error: str) -> None:
        super().__init__(f"{asset} failed: {error}", hint="Mend the cause and materialize again.")
        self.asset = asset
        self.error = error
