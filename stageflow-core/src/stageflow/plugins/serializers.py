"""The serialisers that are installed, as IO managers choose from them."""

from __future__ import annotations

from functools import partial

from stageflow.contracts.serializer import Serializer, Serializers
from stageflow.plugins.catalogue import CORE_CONTRACTS
from stageflow.plugins.discovery import Discovery, process_discovery
from stageflow.plugins.known import known_distribution
from stageflow.plugins.registry import Registry

__all__ = ("installed_serializers",)

# Cheap to ask and exact about what they take; any other is imported for other values alone.
_FIRST = ("bytes", "text", "json")


def installed_serializers(registry: Registry[Serializer] | None = None) -> Serializers:
    """Return the serialisers of a registry; those that are installed unless one is given.

    Core's own are asked first: bytes, text, then JSON for what the codec knows. The rest are
    imported when a value is none of these, and asked by name.

    Args:
        registry: Of the contract `serializer`, such as that of a project's plugins.
    """
    if registry is None:
        registry = _registry(process_discovery())
    names = sorted({entry.name for entry in registry.list()}, key=_order)
    offers = {name: partial(registry.resolve_with_config, name) for name in names}
    plural = registry.contract.plural
    return Serializers(offers, install=lambda name: known_distribution(plural, name))


def _registry(discovery: Discovery) -> Registry[Serializer]:
    entry = next(each for each in CORE_CONTRACTS if each.name == "serializer")
    registry: Registry[Serializer] = Registry(entry)
    for found in discovery.group(entry.group):
        registry.offer(found)
    return registry


def _order(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)
