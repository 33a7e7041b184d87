"""Contract: the name and version of something a plugin may implement."""

from __future__ import annotations

import attrs

__all__ = ("Contract",)


@attrs.frozen
class Contract:
    """Identity of one contract.

    A plugin written for version `1.2` works with every core whose version of the
    contract is `1.n` with `n >= 2`.

    Attributes:
        name: Singular snake-case name, such as `io_manager`.
        version: `MAJOR.MINOR` of the contract as this core defines it.
        plural: Name of its registry and settings table; the name with an `s` unless given.
    """

    name: str
    version: str
    plural: str = attrs.field()

    @plural.default
    def _regular_plural(self) -> str:
        return f"{self.name}s"

    @property
    def group(self) -> str:
        """The entry-point group in which implementations are found."""
        return f"stageflow.{self.plural}"
